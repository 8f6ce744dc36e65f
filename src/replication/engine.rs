//! The engine: fetches, verifies, puts and copies several packs at once. One region's failure does not affect the
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};

use super::control::{Command, ReplicationControl};
use super::lacking::{Holdings, Lacking, compare};
use super::spread::{Sender, Spread, Transfer};
use super::tracker::Tracker;
use crate::content::manifest::Manifest;
use crate::content::names::UploadId;
use crate::content::recode::Recoding;
use crate::error::{Error, ErrorKind, Result};
use crate::host::in_flight::{Budget, REQUESTS, bytes_of, together};
use crate::host::sync::Mutex;
use crate::host::{Clock, Workers};
use crate::model::Region;
use crate::replica::holders::Holders;
use crate::replica::parcel::{Parcel, ParcelRequest};
use crate::replica::slot::Slot;
use crate::store::Latency;

/// A parcel of at most this many bytes goes through this process: to have the store copy it takes a round trip more.
const SMALL: u64 = 256 << 10;

/// A parcel of at most this many bytes that crosses the border is put into all slots that lack it at once: putting it takes no
/// longer than the round trips of one slot after the other.
const AT_ONCE: u64 = 2 << 20;

/// Parcels that are read and encoded while one is on its way over a border that has a rate, and that one.
const PREPARED: usize = 3;

/// The most parcels that a run remembers.
const MAX_KNOWN: usize = 1024;

/// A region to complete.
#[derive(Debug)]
pub(crate) struct RegionRun {
    pub(crate) region: Region,
    /// The number of replicas that are to hold the version.
    pub(crate) replicas: u32,
    /// Every slot to fill, with the number of its replica: one slot for each replica, or one in every zone.
    slots: Vec<(u32, Slot)>,
    lacking: Lacking,
    /// Slots that could not be listed, by index, with the error.
    pub(crate) away: Vec<(usize, Error)>,
    /// Cap on the traffic over its border.
    pub(crate) bytes_per_second: Option<u64>,
    /// One parcel is on its way over a border that has a rate.
    line: Budget,
    /// What this run has put: for a piece and a slot, by index, the parcel.
    put: Mutex<BTreeMap<(usize, usize), Parcel>>,
}

/// The bytes that were moved for a region.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// Over its border.
    pub(crate) cross_region_bytes: u64,
    /// Between its slots.
    pub(crate) local_bytes: u64,
    /// The bytes of its slots' needs that are there.
    pub(crate) present_bytes: u64,
    /// True if a zone failed during the replication and is missing content, while a majority of each replica's copies
    /// is complete.
    pub(crate) degraded: bool,
}

/// The listed slots of a region.
pub(crate) struct Listed {
    region: Region,
    replicas: u32,
    slots: Vec<(u32, Slot)>,
    holdings: Vec<Holdings>,
    away: Vec<(usize, Error)>,
}

impl Listed {
    /// Lists the holdings of a region's slots of the packs of a version. `replicas` has the copies of each replica: one, or one in
    /// every zone, of which a majority must answer.
    pub(crate) async fn read(region: Region, replicas: Vec<Vec<Slot>>, manifest: &Manifest) -> Result<Self> {
        let (count, uploads) = (replicas.len() as u32, uploads(manifest));
        let (mut slots, mut holdings, mut away) = (Vec::new(), Vec::new(), Vec::new());
        let copies = (0..).zip(replicas).flat_map(|(number, copies)| {
            let can_do_without = copies.len() > 1;
            copies.into_iter().map(move |slot| (number, slot, can_do_without))
        });
        let listing = copies.map(|(number, slot, can_do_without)| {
            let uploads = &uploads;
            async move { (slot.holdings(uploads).await, number, slot, can_do_without) }
        });
        for (held, number, slot, can_do_without) in together(listing.collect()).await {
            match held {
                Ok(held) => holdings.push(held),
                Err(error) if can_do_without => {
                    away.push((slots.len(), error));
                    holdings.push(Holdings::new());
                }
                Err(error) => return Err(error),
            }
            slots.push((number, slot));
        }
        let gone: Vec<usize> = away.iter().map(|(slot, _)| *slot).collect();
        match replica_without(count, &slots, &gone) {
            None => Ok(Self { region, replicas: count, slots, holdings, away }),
            Some(_) => Err(away.into_iter().next().map_or_else(no_replica, |(_, error)| error)),
        }
    }

    /// Compares the holdings with the needs of the version.
    pub(crate) fn compare(self, manifest: &Manifest) -> RegionRun {
        let Self { region, replicas, slots, holdings, away } = self;
        let lacking = compare(manifest.packs.iter(), &manifest.needs, &holdings);
        let (bytes_per_second, line, put) = (None, Budget::new(1), Mutex::default());
        RegionRun { region, replicas, slots, lacking, away, bytes_per_second, line, put }
    }
}

/// Returns a replica that is left without a majority of its copies when the slots `gone` are lost.
fn replica_without(replicas: u32, slots: &[(u32, Slot)], gone: &[usize]) -> Option<u32> {
    (0..replicas).find(|number| {
        let copies = || slots.iter().enumerate().filter(|(_, (of, _))| of == number);
        let left = copies().filter(|(slot, _)| !gone.contains(slot)).count();
        left * 2 <= copies().count()
    })
}

fn no_replica() -> Error {
    Error::corrupt("replica", "the replica has no slot")
}

fn uploads(manifest: &Manifest) -> BTreeSet<UploadId> {
    manifest.packs.iter().map(|pack| pack.id.upload).collect()
}

impl RegionRun {
    /// Sets the region's progress from this listing of its slots.
    pub(crate) fn observed_by(&self, tracker: &Tracker) {
        tracker.observe(&self.region, self.present_bytes(), self.away.first().map(|(_, error)| error));
    }

    /// Returns the bytes that are to cross the region's border, and those that are missing over all slots.
    pub(crate) fn missing_bytes(&self) -> (u64, u64) {
        self.lacking.sizes()
    }

    /// Returns the bytes of the slots' needs that are there, and all of them.
    pub(crate) fn present_bytes(&self) -> (u64, u64) {
        (self.lacking.present_bytes, self.lacking.needed_bytes)
    }

    fn replica_without(&self, gone: &[usize]) -> Option<u32> {
        replica_without(self.replicas, &self.slots, gone)
    }

    /// Returns the memory that a transfer takes. What a store copies by itself is here while it is verified, half of the time.
    fn bytes_of(&self, transfer: Transfer) -> u64 {
        let bytes = self.lacking.pieces.get(transfer.item).map_or(0, ParcelRequest::bytes);
        let slot = |number: usize| self.slots.get(number).map(|(_, slot)| slot);
        let is_copied = match transfer.from {
            Sender::Slot(from) => slot(from).zip(slot(transfer.to)).is_some_and(|(from, to)| from.is_beside(to)),
            Sender::Border => false,
        };
        if is_copied && bytes > SMALL { bytes / 2 } else { bytes }
    }

    /// Returns how many other slots get what has just crossed the border from this process, and not from the slot that it went to: all
    /// of them if it is small; one if the store is far away, where reading it back, to verify what is to be copied, takes as long.
    fn served_at_once(&self, transfer: Transfer) -> usize {
        let bytes = self.lacking.pieces.get(transfer.item).map_or(0, ParcelRequest::bytes);
        let is_far = |(_, slot): &(u32, Slot)| slot.capabilities().latency() == Latency::High;
        if bytes <= AT_ONCE {
            return usize::MAX;
        }
        self.slots.get(transfer.to).is_some_and(is_far).into()
    }

    /// Returns what this run has put into a slot of a piece.
    fn known_in(&self, piece: usize, slot: usize) -> Option<Parcel> {
        self.put.lock().get(&(piece, slot)).cloned()
    }

    /// Notes a parcel that is there now, and returns what was moved for it.
    fn delivered(
        &self,
        request: &ParcelRequest,
        transfer: Transfer,
        parcel: &Parcel,
        (sent, crossed): (bool, bool),
    ) -> Delivered {
        self.note_put(transfer, parcel);
        Delivered {
            crossed_bytes: if sent && crossed { parcel.length() } else { 0 },
            local_bytes: if sent && !crossed { parcel.length() } else { 0 },
            needed_bytes: request.pack.bytes_of(&request.extents),
        }
    }

    fn note_put(&self, transfer: Transfer, parcel: &Parcel) {
        let Some((_, slot)) = self.slots.get(transfer.to) else { return };
        let mut put = self.put.lock();
        if put.len() >= MAX_KNOWN {
            // Eviction order does not matter much: a miss costs a look at the slot.
            put.clear();
        }
        put.insert((transfer.item, transfer.to), slot.as_kept_here(parcel));
    }
}

/// The engine for one version.
pub(crate) struct Engine<'a> {
    pub(crate) manifest: &'a Manifest,
    /// The slots of all regions where the version is whole.
    pub(crate) sources: &'a Holders,
    pub(crate) workers: &'a Workers,
    /// The bytes that all operations share.
    pub(crate) memory: &'a Budget,
    /// How what crosses a border is encoded anew on its way.
    pub(crate) recoding: Option<Recoding>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) control: &'a ReplicationControl,
    pub(crate) tracker: &'a Tracker,
    pub(crate) deadline: Option<DateTime<Utc>>,
    /// True if the first region that fails ends the run for all.
    pub(crate) stop_at_first: bool,
}

/// A region's share of a run.
struct Job<'a> {
    run: &'a RegionRun,
    spread: Spread,
    under_way: usize,
    /// Of these, the transfers over the border.
    crossing: usize,
    moved: Moved,
    /// Slots that failed, with the error.
    gone: BTreeMap<usize, Error>,
    /// The last error of a slot that failed to send.
    unread: Option<Error>,
    outcome: Option<Result<()>>,
}

/// The reason why a transfer failed.
enum Undelivered {
    /// No holder of the version can serve it.
    Source(Error),
    /// The sending slot does not have it, or cannot be read.
    NotThere(Option<Error>),
    /// The receiving slot failed.
    Target(Error),
}

impl Job<'_> {
    fn lose(&mut self, slot: usize, error: Error) {
        self.spread.leave(slot);
        self.note_lost(slot, error);
    }

    fn has_nobody_to_ask(&mut self) {
        let what = "content is missing that neither a replica of the region nor another region has: scrub them";
        let error = Error::corrupt(self.run.region.to_string(), what);
        self.outcome = Some(Err(match self.unread.take() {
            Some(cause) => error.with_source(cause),
            None => error,
        }));
    }

    /// Notes a lost slot. The region fails if a replica is left without a majority of its copies.
    fn note_lost(&mut self, slot: usize, error: Error) {
        self.gone.entry(slot).or_insert(error);
        let gone: Vec<usize> = self.gone.keys().copied().collect();
        if let Some(error) = self.gone.values().next().filter(|_| self.run.replica_without(&gone).is_some()) {
            self.outcome.get_or_insert(Err(error.clone()));
        }
    }
}

impl Engine<'_> {
    /// Brings every region what it lacks, and keeps the tracker up to date. Calls `on_news` after each transfer and each
    /// failure, with the region. Calls `finish` for a region as soon as it has everything, durably; others may still be under way. A region
    /// that fails gets no more packs, and stops the others only with `stop_at_first`.
    pub(crate) async fn run<'f>(
        &self,
        regions: &[RegionRun],
        on_news: &(dyn Fn(&Region, Option<&Error>) + Sync),
        finish: &(dyn Fn(&RegionRun, &Moved) -> BoxFuture<'f, Result<()>> + Sync),
    ) -> Vec<(Moved, Result<()>)> {
        let mut jobs: Vec<Job<'_>> = regions.iter().map(|run| self.job(run)).collect();
        let mut under_way: FuturesUnordered<BoxFuture<'_, News>> = FuturesUnordered::new();
        let (most_bytes, _more) = bytes_of(self.memory);
        let (mut crossing, mut bytes, mut turn) = (0, 0, 0);
        let mut time_is_up = time_is_up(self.clock, self.deadline);
        loop {
            // ORDER: take `changed`, then read the command. The other way round, command read -> `cancel()` ->
            // `changed` taken: the cancellation wakes nothing and is missed.
            let changed = self.control.changed();
            let stopped = match self.control.now() {
                Command::GoOn => false,
                Command::Pause => true,
                Command::Cancel => return ended(jobs, CANCELLED),
            };
            for (index, job) in jobs.iter_mut().enumerate() {
                if job.outcome.is_none() && job.under_way == 0 && job.spread.is_done() {
                    job.under_way += 1;
                    let (run, gone, moved) = (job.run, job.gone.keys().copied().collect(), job.moved);
                    under_way.push(Box::pin(async move {
                        let (lost, outcome) = self.complete(run, gone, &moved, finish).await;
                        News::Completed { index, lost, outcome }
                    }));
                }
            }
            if self.stop_at_first && jobs.iter().any(|job| matches!(job.outcome, Some(Err(_)))) {
                return ended(jobs, ANOTHER_FAILED);
            }
            if jobs.iter().all(|job| job.outcome.is_some()) {
                return ended(jobs, CANCELLED);
            }
            // Regions take turns, also for a single free transfer.
            let mut issued = !stopped;
            while issued {
                issued = false;
                for index in (0..jobs.len()).map(|number| (turn + number) % jobs.len().max(1)).collect::<Vec<_>>() {
                    let Some(job) = jobs.get_mut(index).filter(|job| job.outcome.is_none()) else { continue };
                    // Whatever the others have under way, each region has one transfer.
                    if job.under_way >= REQUESTS || (bytes >= most_bytes && job.under_way > 0) {
                        continue;
                    }
                    // A region with its own rate limit does not use up the shared limit while it waits.
                    let limited = job.run.bytes_per_second.is_some();
                    let may_cross = if limited { job.crossing < PREPARED } else { crossing < REQUESTS };
                    let Some(transfer) = job.spread.next(may_cross) else { continue };
                    let mut transfers = vec![transfer];
                    if transfer.from == Sender::Border {
                        job.crossing += 1;
                        crossing += usize::from(!limited);
                        transfers.extend(job.spread.beside(&transfer, job.run.served_at_once(transfer)));
                    }
                    job.under_way += 1;
                    bytes += job.run.bytes_of(transfer);
                    let run = job.run;
                    under_way.push(Box::pin(async move {
                        News::Carried { index, transfer, carried: self.carry(run, transfers).await }
                    }));
                    (issued, turn) = (true, index + 1);
                }
            }
            if under_way.is_empty() && !stopped {
                // No slot has what is lacking, and no transfer is under way.
                jobs.iter_mut().filter(|job| job.outcome.is_none()).for_each(Job::has_nobody_to_ask);
                continue;
            }
            let arrived = match under_way.is_empty() {
                false => under_way.select_next_some().left_future(),
                true => futures::future::pending().right_future(),
            };
            let news = match select(arrived, select(changed, &mut time_is_up)).await {
                Either::Left((news, _)) => news,
                Either::Right((Either::Left(_), _)) => continue,
                Either::Right((Either::Right(_), _)) => return ended(jobs, OUT_OF_TIME),
            };
            let (News::Carried { index, .. } | News::Completed { index, .. }) = news;
            let Some(job) = jobs.get_mut(index) else { continue };
            job.under_way -= 1;
            match news {
                News::Carried { transfer, carried, .. } => {
                    bytes -= job.run.bytes_of(transfer);
                    if transfer.from == Sender::Border {
                        job.crossing -= 1;
                        crossing -= usize::from(job.run.bytes_per_second.is_none());
                    }
                    carried.into_iter().for_each(|(transfer, carried)| job.note(transfer, carried));
                }
                News::Completed { lost, outcome, .. } => {
                    job.gone.extend(lost);
                    job.outcome.get_or_insert(outcome);
                }
            }
            self.tracker.present(&job.run.region, job.moved.present_bytes);
            on_news(&job.run.region, job.outcome.as_ref().and_then(|outcome| outcome.as_ref().err()));
        }
    }

    fn job<'r>(&self, run: &'r RegionRun) -> Job<'r> {
        let Lacking { pieces, has, wants, present_bytes, .. } = &run.lacking;
        let mut job = Job {
            run,
            spread: Spread::new(pieces.len(), has, wants, REQUESTS / has.len().max(1)),
            under_way: 0,
            crossing: 0,
            moved: Moved { present_bytes: *present_bytes, ..Moved::default() },
            gone: BTreeMap::new(),
            unread: None,
            outcome: None,
        };
        run.away.iter().for_each(|(slot, error)| job.lose(*slot, error.clone()));
        job
    }

    /// Carries one parcel to one slot, or over the border to several.
    async fn carry(
        &self,
        run: &RegionRun,
        transfers: Vec<Transfer>,
    ) -> Vec<(Transfer, Result<Delivered, Undelivered>)> {
        let Some(first) = transfers.first().copied() else { return Vec::new() };
        let Some(request) = run.lacking.pieces.get(first.item) else {
            return transfers.into_iter().map(|one| (one, Err(Undelivered::Source(no_replica())))).collect();
        };
        if let Sender::Slot(from) = first.from {
            return vec![(first, self.pass_on(run, request, first, from).await)];
        }
        let fetched = match self.recoding {
            Some(how) => self.sources.fetch_recoded(request, how, self.workers).await,
            None => self.sources.fetch(request, self.workers).await,
        };
        let (parcel, bytes) = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                return transfers.into_iter().map(|one| (one, Err(Undelivered::Source(error.clone())))).collect();
            }
        };
        // The first of them crosses, at the region's rate.
        let putting = transfers.into_iter().enumerate().map(|(number, transfer)| {
            let (parcel, bytes, crosses) = (&parcel, bytes.clone(), number == 0);
            async move {
                let put = async {
                    let (_, to) = run.slots.get(transfer.to).ok_or_else(no_replica)?;
                    match crosses {
                        true => self.cross(run, to, parcel, bytes).await,
                        false => to.put_parcel(parcel, bytes).await,
                    }
                };
                let put = put.await.map_err(Undelivered::Target);
                (transfer, put.map(|(parcel, sent)| run.delivered(request, transfer, &parcel, (sent, crosses))))
            }
        });
        join_all(putting).await
    }

    /// Puts a parcel that crosses the border. If the region has a rate, it has the line for as long as it takes at that rate.
    async fn cross(&self, run: &RegionRun, to: &Slot, parcel: &Parcel, bytes: Bytes) -> Result<(Parcel, bool)> {
        let Some(rate) = run.bytes_per_second else { return to.put_parcel(parcel, bytes).await };
        let _line = run.line.take(1).await;
        let takes = Duration::try_from_secs_f64(parcel.length() as f64 / rate.max(1) as f64).ok();
        let pace = async {
            if let Some(takes) = takes {
                self.clock.sleep(takes).await;
            }
        };
        futures::join!(to.put_parcel(parcel, bytes), pace).0
    }

    /// Carries one parcel from one slot of a region to another.
    async fn pass_on(
        &self,
        run: &RegionRun,
        request: &ParcelRequest,
        transfer: Transfer,
        number: usize,
    ) -> Result<Delivered, Undelivered> {
        let delivered = |parcel: &Parcel, sent: bool| run.delivered(request, transfer, parcel, (sent, false));
        let Some((_, to)) = run.slots.get(transfer.to) else { return Err(Undelivered::Source(no_replica())) };
        let Some((_, from)) = run.slots.get(number) else { return Err(Undelivered::NotThere(None)) };
        let absent = |error| Undelivered::NotThere(Some(error));
        let known = run.known_in(transfer.item, number);
        // Within a store, the store makes the copy.
        if from.is_beside(to) && request.bytes() > SMALL {
            let there = match known {
                Some(parcel) => Some(parcel),
                None => from.find_parcel(request).await.map_err(absent)?,
            };
            if let Some(parcel) = there {
                let sent = to.copy_parcel(from, &parcel, self.workers).await.map_err(Undelivered::Target)?;
                return sent.map(|sent| delivered(&parcel, sent)).ok_or(Undelivered::NotThere(None));
            }
        } else if let Some(parcel) = known {
            let bytes = from.verified(&parcel, self.workers).await.map_err(absent)?;
            let (parcel, sent) = to.put_parcel(&parcel, bytes).await.map_err(Undelivered::Target)?;
            return Ok(delivered(&parcel, sent));
        }
        let (parcel, bytes) = Holders::one(from).fetch(request, self.workers).await.map_err(absent)?;
        let (parcel, sent) = to.put_parcel(&parcel, bytes).await.map_err(Undelivered::Target)?;
        Ok(delivered(&parcel, sent))
    }

    /// Completes a region whose packs have all arrived: writes the manifest, makes everything durable, then calls
    /// `finish`. Returns the slots that failed.
    async fn complete<'f>(
        &self,
        run: &RegionRun,
        mut gone: Vec<usize>,
        moved: &Moved,
        finish: &(dyn Fn(&RegionRun, &Moved) -> BoxFuture<'f, Result<()>> + Sync),
    ) -> (Vec<(usize, Error)>, Result<()>) {
        let standing = run.slots.iter().enumerate().filter(|(number, _)| !gone.contains(number));
        let settling = standing.map(|(number, (_, slot))| async move { (number, self.settle(slot).await) });
        let settled = join_all(settling).await;
        let failed = settled.into_iter().filter_map(|(number, settled)| Some((number, settled.err()?)));
        let lost: Vec<(usize, Error)> = failed.collect();
        gone.extend(lost.iter().map(|(number, _)| *number));
        let outcome = match lost.first().filter(|_| run.replica_without(&gone).is_some()) {
            Some((_, error)) => Err(error.clone()),
            None => finish(run, moved).await.inspect(|()| self.tracker.complete(&run.region)),
        };
        (lost, outcome)
    }

    async fn settle(&self, slot: &Slot) -> Result<()> {
        slot.put_manifest(self.manifest).await?;
        // ORDER: persist, then commit. The other way round, the region is committed as complete -> power cut: packs
        // that an earlier run wrote and did not persist are gone.
        slot.persist(uploads(self.manifest), self.manifest.written_by()).await
    }
}

/// Waits for the deadline, or forever without one.
pub(crate) fn time_is_up(clock: &Arc<dyn Clock>, deadline: Option<DateTime<Utc>>) -> BoxFuture<'static, ()> {
    match deadline {
        Some(deadline) => {
            let left = deadline.signed_duration_since(clock.now()).to_std().unwrap_or_default();
            clock.sleep(left)
        }
        None => futures::future::pending().boxed(),
    }
}

/// The outcome of a transfer or of the completion of a region.
enum News {
    /// The first of its transfers, and the outcome of each: several take the same parcel over the border.
    Carried {
        index: usize,
        transfer: Transfer,
        carried: Vec<(Transfer, Result<Delivered, Undelivered>)>,
    },
    Completed {
        index: usize,
        lost: Vec<(usize, Error)>,
        outcome: Result<()>,
    },
}

/// The bytes of one transfer that succeeded.
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
            Err(Undelivered::NotThere(error)) => {
                self.spread.not_there(&transfer);
                self.unread = error.or(self.unread.take());
            }
            Err(Undelivered::Source(error)) => {
                self.spread.lost(&transfer);
                self.outcome.get_or_insert(Err(error));
            }
            Err(Undelivered::Target(error)) => {
                self.spread.lost(&transfer);
                self.note_lost(transfer.to, error);
            }
        }
    }
}

pub(crate) const CANCELLED: &str = "it was cancelled";
pub(crate) const OUT_OF_TIME: &str = "its deadline has passed";
pub(crate) const ANOTHER_FAILED: &str = "another region failed";

/// Returns the outcomes of the regions; those that are not done fail with the reason `why`.
fn ended(jobs: Vec<Job<'_>>, why: &str) -> Vec<(Moved, Result<()>)> {
    let outcome = |job: Job<'_>| {
        let moved = Moved { degraded: !job.gone.is_empty(), ..job.moved };
        (moved, job.outcome.unwrap_or_else(|| Err(stopped(&job.run.region, why))))
    };
    jobs.into_iter().map(outcome).collect()
}

/// Returns the error of a region that was stopped before it was complete.
pub(crate) fn stopped(region: &Region, why: &str) -> Error {
    let what = format!("{why} before the region was complete: replicate again to resume");
    Error::of(ErrorKind::Cancelled, "OperationPreempted", region.to_string(), what)
}
