//! Carrying out a spread: fetch, verify, put, copy, several packs at once, one region's failure kept to itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use futures::stream::{FuturesUnordered, StreamExt};

use super::control::{Command, ReplicationControl};
use super::plan::{Holdings, Lacking, compare};
use super::spread::{Sender, Spread, Transfer};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::{Clock, Workers};
use crate::image::manifest::Manifest;
use crate::image::reach::Needs;
use crate::image::replicas::Replicas;
use crate::image::{Cargo, Digest, Request, Slot, UploadId};
use crate::model::Region;

/// Packs on their way over borders at a time, over all regions: each is up to 16 MiB in memory.
const CROSSING: usize = 4;

/// Packs on their way within a region at a time.
const WITHIN_A_REGION: usize = 4;

/// A region to complete.
#[derive(Debug)]
pub(crate) struct RegionRun {
    pub(crate) region: Region,
    /// How many replicas all are to hold the version.
    pub(crate) replicas: u32,
    /// Every slot to fill, and the replica that it is a copy of: one slot each, or one in every zone.
    slots: Vec<(u32, Slot)>,
    lacking: Lacking,
    /// Slots that could not be looked at, with what was said.
    pub(crate) away: Vec<(usize, Error)>,
    /// No more than so many bytes a second over its border.
    pub(crate) bytes_per_second: Option<u64>,
}

/// What was moved for a region.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// Over its border.
    pub(crate) cross_region_bytes: u64,
    /// Between its slots.
    pub(crate) local_bytes: u64,
    /// Of what all its slots need: what is there.
    pub(crate) present_bytes: u64,
}

/// Looks at what a region's slots have of what a version needs. `replicas` has the copies of each: one, or one in every
/// zone, of which most must be there.
pub(crate) async fn look(
    region: Region,
    replicas: Vec<Vec<Slot>>,
    manifest: &Manifest,
    needs: &Needs,
) -> Result<RegionRun> {
    let (count, mut slots, mut holdings, mut away) = (replicas.len() as u32, Vec::new(), Vec::new(), Vec::new());
    for (number, copies) in (0..).zip(replicas) {
        let can_do_without = copies.len() > 1;
        for slot in copies {
            match slot.holdings(uploads(manifest)).await {
                Ok(held) => holdings.push(held),
                Err(error) if can_do_without => {
                    away.push((slots.len(), error));
                    holdings.push(Holdings::new());
                }
                Err(error) => return Err(error),
            }
            slots.push((number, slot));
        }
    }
    let lacking = compare(&manifest.packs, needs, &holdings);
    let run = RegionRun { region, replicas: count, slots, lacking, away, bytes_per_second: None };
    match run.replica_without(&run.away.iter().map(|(slot, _)| *slot).collect::<Vec<_>>()) {
        None => Ok(run),
        Some(_) => Err(run.away.into_iter().next().map_or_else(no_replica, |(_, error)| error)),
    }
}

fn no_replica() -> Error {
    Error::corrupt("replica", "there is no slot for it")
}

fn uploads(manifest: &Manifest) -> std::collections::BTreeSet<UploadId> {
    manifest.packs.iter().map(|pack| pack.id.upload).collect()
}

impl RegionRun {
    /// The bytes that are to cross the region's border, and those that are missing over all slots.
    pub(crate) fn missing_bytes(&self) -> (u64, u64) {
        self.lacking.sizes()
    }

    /// Of what all slots need: what is there, and all.
    pub(crate) fn present_bytes(&self) -> (u64, u64) {
        (self.lacking.present_bytes, self.lacking.needed_bytes)
    }

    /// A replica that has not most of its copies left when `gone` are gone.
    fn replica_without(&self, gone: &[usize]) -> Option<u32> {
        (0..self.replicas).find(|number| {
            let copies = || self.slots.iter().enumerate().filter(|(_, (of, _))| of == number);
            let left = copies().filter(|(slot, _)| !gone.contains(slot)).count();
            left * 2 <= copies().count()
        })
    }
}

/// The engine for one version.
pub(crate) struct Engine<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) digest: Digest,
    /// Whoever has everything: slots in all regions where the version is whole.
    pub(crate) sources: &'a Replicas,
    pub(crate) workers: &'a Workers,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) control: &'a ReplicationControl,
    pub(crate) deadline: Option<DateTime<Utc>>,
    /// Whether the first region that fails ends the work for all.
    pub(crate) stop_at_first: bool,
}

/// A region's share of a run.
struct Job<'a> {
    run: &'a RegionRun,
    spread: Spread,
    under_way: usize,
    /// Of these, over the border.
    crossing: usize,
    moved: Moved,
    /// Slots that are lost, with what was said.
    gone: BTreeMap<usize, Error>,
    outcome: Option<Result<()>>,
}

/// Why something did not arrive.
enum Undelivered {
    /// Nobody has it.
    Source(Error),
    /// The slot that was to send it does not have it.
    NotThere,
    /// The slot that was to get it.
    Target(Error),
}

impl Job<'_> {
    fn lose(&mut self, slot: usize, error: Error) {
        self.spread.leave(slot);
        self.gone.entry(slot).or_insert(error);
        self.check();
    }

    /// Fails where a replica has too few copies left.
    fn check(&mut self) {
        let gone: Vec<usize> = self.gone.keys().copied().collect();
        if let Some(error) = self.gone.values().next().filter(|_| self.run.replica_without(&gone).is_some()) {
            self.outcome.get_or_insert(Err(error.clone()));
        }
    }
}

impl Engine<'_> {
    /// Brings to every region what it lacks, and tells after each pack what has been moved for its region. `finish` is
    /// called for a region, by its place in the list, as soon as it has everything, durably; others may still be under
    /// way. A region that fails gets no more packs and does not stop the others, unless it is to.
    pub(crate) async fn run<'f>(
        &self,
        regions: &[RegionRun],
        on_moved: &(dyn Fn(usize, &Moved) + Sync),
        finish: &(dyn Fn(usize, &Moved) -> BoxFuture<'f, Result<()>> + Sync),
    ) -> Vec<(Moved, Result<()>)> {
        let mut jobs: Vec<Job<'_>> = regions.iter().map(|run| self.job(run)).collect();
        let mut under_way = FuturesUnordered::new();
        let (mut crossing, mut time_is_up) = (0, self.time_is_up());
        loop {
            // ORDER: from before the look, or a command given in between would be missed.
            let changed = self.control.changed();
            let stopped = match self.control.now() {
                Command::GoOn => false,
                Command::Pause => true,
                Command::Cancel => return given_up(jobs, "it was cancelled"),
            };
            for (place, job) in jobs.iter_mut().enumerate() {
                if job.outcome.is_none() && job.under_way == 0 && job.spread.is_done() {
                    job.outcome = Some(self.complete(job, place, finish).await);
                    on_moved(place, &job.moved);
                }
            }
            if self.stop_at_first && jobs.iter().any(|job| matches!(job.outcome, Some(Err(_)))) {
                return given_up(jobs, "another region failed");
            }
            if jobs.iter().all(|job| job.outcome.is_some()) {
                break;
            }
            // Regions take turns, so that none waits for another to finish.
            let mut issued = !stopped;
            while issued {
                issued = false;
                for (place, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.outcome.is_none()) {
                    if job.under_way >= WITHIN_A_REGION {
                        continue;
                    }
                    // One with a limit of its own takes nothing from the others' share while it waits.
                    let limited = job.run.bytes_per_second.is_some();
                    let may_cross = if limited { job.crossing == 0 } else { crossing < CROSSING };
                    let Some(transfer) = job.spread.next(may_cross) else { continue };
                    if transfer.from == Sender::Border {
                        job.crossing += 1;
                        crossing += usize::from(!limited);
                    }
                    job.under_way += 1;
                    under_way.push(self.carry(job.run, place, transfer));
                    issued = true;
                }
            }
            if under_way.is_empty() && !stopped {
                // Nobody has what is lacking, and nothing is coming.
                jobs.iter_mut()
                    .filter(|job| job.outcome.is_none())
                    .for_each(|job| job.outcome = Some(Err(no_replica())));
                continue;
            }
            let arrived = match under_way.is_empty() {
                false => under_way.select_next_some().left_future(),
                true => futures::future::pending().right_future(),
            };
            match select(arrived, select(changed, &mut time_is_up)).await {
                Either::Left(((place, transfer, carried), _)) => {
                    let Some(job) = jobs.get_mut(place) else { continue };
                    if transfer.from == Sender::Border {
                        job.crossing -= 1;
                        crossing -= usize::from(job.run.bytes_per_second.is_none());
                    }
                    job.under_way -= 1;
                    job.note(transfer, carried);
                    on_moved(place, &job.moved);
                }
                Either::Right((Either::Left(_), _)) => {}
                Either::Right((Either::Right(_), _)) => return given_up(jobs, "its deadline has passed"),
            }
        }
        jobs.into_iter().map(|job| (job.moved, job.outcome.unwrap_or(Ok(())))).collect()
    }

    fn time_is_up(&self) -> BoxFuture<'static, ()> {
        match self.deadline {
            Some(deadline) => {
                let left = deadline.signed_duration_since(self.clock.now()).to_std().unwrap_or_default();
                self.clock.sleep(left)
            }
            None => futures::future::pending().boxed(),
        }
    }

    fn job<'r>(&self, run: &'r RegionRun) -> Job<'r> {
        let Lacking { pieces, has, wants, present_bytes, .. } = &run.lacking;
        let mut job = Job {
            run,
            spread: Spread::new(pieces.len(), has, wants),
            under_way: 0,
            crossing: 0,
            moved: Moved { present_bytes: *present_bytes, ..Moved::default() },
            gone: BTreeMap::new(),
            outcome: None,
        };
        run.away.iter().for_each(|(slot, error)| job.lose(*slot, error.clone()));
        job
    }

    /// Carries one pack to one slot; over a border with a limit it takes the time that it has to.
    async fn carry(
        &self,
        run: &RegionRun,
        place: usize,
        transfer: Transfer,
    ) -> (usize, Transfer, Result<Delivered, Undelivered>) {
        let request = run.lacking.pieces.get(transfer.item);
        let limit = run.bytes_per_second.filter(|_| transfer.from == Sender::Border);
        let takes = limit.zip(request).map(|(rate, request)| request.bytes() as f64 / rate.max(1) as f64);
        let takes = takes.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let pace = async {
            if let Some(takes) = takes {
                self.clock.sleep(takes).await;
            }
        };
        let carried = async {
            match (request, run.slots.get(transfer.to)) {
                (Some(request), Some((_, to))) => self.deliver(run, request, transfer.from, to).await,
                _ => Err(Undelivered::Source(no_replica())),
            }
        };
        let (carried, ()) = futures::join!(carried, pace);
        (place, transfer, carried)
    }

    async fn deliver(
        &self,
        run: &RegionRun,
        request: &Request,
        from: Sender,
        to: &Slot,
    ) -> Result<Delivered, Undelivered> {
        let delivered = |cargo: &Cargo, sent: bool, crossed: bool| Delivered {
            crossed_bytes: if sent && crossed { cargo.length() } else { 0 },
            local_bytes: if sent && !crossed { cargo.length() } else { 0 },
            needed_bytes: request.extents.bytes(),
        };
        let Sender::Slot(from) = from else {
            let (cargo, bytes) = self.sources.fetch(request, self.workers).await.map_err(Undelivered::Source)?;
            let sent = to.put_cargo(&cargo, bytes).await.map_err(Undelivered::Target)?;
            return Ok(delivered(&cargo, sent, true));
        };
        let Some((_, from)) = run.slots.get(from) else { return Err(Undelivered::NotThere) };
        // Within a store it is copied as it is, by the store.
        if from.is_beside(to) {
            let there = from.find_cargo(request).await.map_err(|_| Undelivered::NotThere)?;
            if let Some(cargo) = there {
                return match to.copy_cargo(from, &cargo).await {
                    Ok(sent) => Ok(delivered(&cargo, sent, false)),
                    Err(error) if error.kind() == ErrorKind::NotFound => Err(Undelivered::NotThere),
                    Err(error) => Err(Undelivered::Target(error)),
                };
            }
        }
        let fetched = Replicas::one(from).fetch(request, self.workers).await;
        let (cargo, bytes) = fetched.map_err(|_| Undelivered::NotThere)?;
        let sent = to.put_cargo(&cargo, bytes).await.map_err(Undelivered::Target)?;
        Ok(delivered(&cargo, sent, false))
    }

    /// All packs are there: the manifest too, then all of it durably, then the word that it is there.
    async fn complete<'f>(
        &self,
        job: &mut Job<'_>,
        place: usize,
        finish: &(dyn Fn(usize, &Moved) -> BoxFuture<'f, Result<()>> + Sync),
    ) -> Result<()> {
        for (number, (_, slot)) in job.run.slots.iter().enumerate() {
            if job.gone.contains_key(&number) {
                continue;
            }
            if let Err(error) = self.settle(slot).await {
                job.lose(number, error);
            }
        }
        if let Some(Err(error)) = job.outcome.take() {
            return Err(error);
        }
        finish(place, &job.moved).await
    }

    async fn settle(&self, slot: &Slot) -> Result<()> {
        if !slot.has_manifest(&self.digest).await? {
            slot.put_manifest(&self.digest, self.manifest.encode()?.1).await?;
        }
        // ORDER: what an earlier run has put here is durable before a commit says that it is here.
        slot.persist(uploads(self.manifest)).await
    }
}

/// What came of one transfer.
struct Delivered {
    crossed_bytes: u64,
    local_bytes: u64,
    needed_bytes: u64,
}

impl Job<'_> {
    fn note(&mut self, transfer: Transfer, carried: Result<Delivered, Undelivered>) {
        match carried {
            Ok(Delivered { crossed_bytes, local_bytes, needed_bytes }) => {
                self.spread.arrived(&transfer);
                self.moved.cross_region_bytes += crossed_bytes;
                self.moved.local_bytes += local_bytes;
                self.moved.present_bytes += needed_bytes;
            }
            Err(Undelivered::NotThere) => self.spread.not_there(&transfer),
            Err(Undelivered::Source(error)) => {
                self.spread.lost(&transfer);
                self.outcome.get_or_insert(Err(error));
            }
            Err(Undelivered::Target(error)) => {
                self.spread.lost(&transfer);
                self.lose(transfer.to, error);
            }
        }
    }
}

/// What is not done is told to be given up.
fn given_up(jobs: Vec<Job<'_>>, why: &str) -> Vec<(Moved, Result<()>)> {
    let stopped = |region: &Region| {
        let what = format!("{why} before the region was complete: replicate again, and it goes on where it was");
        Error::new(Problem::new(ErrorKind::Cancelled, "OperationPreempted", region.to_string(), what))
    };
    jobs.into_iter().map(|job| (job.moved, job.outcome.unwrap_or_else(|| Err(stopped(&job.run.region))))).collect()
}
