//! A replication at work: it looks at the stores, moves what they lack, and commits each region that is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{BoxFuture, Either, select};

use super::report::{RegionReport, ReplicationReport};
use crate::access::Action;
use crate::catalog::{Changes, DriverId, Duty, Event, State, StoreName, VersionRecord};
use crate::content::compression::Compression;
use crate::content::manifest::Manifest;
use crate::content::recode::Recoding;
use crate::error::{Error, Problem, Result};
use crate::host::Clock;
use crate::host::in_flight::together;
use crate::model::{ImageVersionId, Region};
use crate::regions::stores::another_store;
use crate::regions::targets::targets;
use crate::replica::holders::Holders;
use crate::replication::{
    ANOTHER_FAILED, CANCELLED, Engine, Listed, Moved, OUT_OF_TIME, RegionRun, RegionalReplicationStatus,
    ReplicationControl, ReplicationState, Tracker, stopped, time_is_up,
};
use crate::service::rules::refusals::missing;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;
use crate::service::session::taken::{TakenDuties, laid_down};

/// The time between two looks at a region that a driver is at work on.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The settings of a replication.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub(super) bytes_per_second: BTreeMap<Region, u64>,
    pub(super) within: Option<Duration>,
    pub(super) on_failure: OnFailure,
    pub(super) control: ReplicationControl,
    /// The only region to work on.
    pub(super) only: Option<Region>,
    /// Whether a driver does it, which has the duty.
    pub(super) is_of_a_duty: bool,
}

impl Terms {
    /// Returns the target regions of a version that it works on, with their counts.
    pub(super) fn targets(&self, record: &VersionRecord) -> Vec<(Region, u32)> {
        let is_meant = |region: &Region| self.only.as_ref().is_none_or(|only| only == region);
        targets(record).into_iter().filter(|(region, _)| is_meant(region)).collect()
    }

    /// Returns the problems with the settings.
    pub(super) fn problems(&self, version: &ImageVersionId, targets: &[(Region, u32)]) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(region) = self.only.as_ref().filter(|_| targets.is_empty()) {
            let what = format!("`{region}` is not a target region of `{version}`: add it to its target regions");
            problems.push(Problem::invalid("in_region", what));
        }
        for (region, rate) in &self.bytes_per_second {
            if !targets.iter().any(|(target, _)| target == region) {
                let what = format!("`{region}` is not a target region of `{version}`: set the rate of a target region");
                problems.push(Problem::invalid("bytes_per_second", what));
            } else if *rate == 0 {
                let what = format!(
                    "a rate of `0` bytes per second for `{region}` would never end: set at least 1, or pause the replication by \
                     its control"
                );
                problems.push(Problem::invalid("bytes_per_second", what));
            }
        }
        problems
    }
}

/// The effect of a failed region on the other regions.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::replicate::OnFailure;
/// use compute_gallery::store::StoreErrorKind;
/// use compute_gallery::testkit::{Fault, raw};
///
/// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus,northeurope", raw(vec![7; 4096]))).await?;
/// sandbox.faults("eastus").fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
/// let version = sandbox.version("1.0.0");
/// assert!(session.replicate(&version).on_failure(OnFailure::KeepGoing).await.is_err());
/// // East US failed, and North Europe was completed.
/// assert_eq!(sandbox.deployed("1.0.0", "northeurope").await?, [7; 4096]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnFailure {
    /// The others are completed. The default.
    #[default]
    KeepGoing,
    /// The others are stopped, with `ErrorKind::Cancelled`.
    Stop,
}

/// A replication that has begun.
pub(super) struct Attempt<'a> {
    pub(super) session: &'a Session,
    pub(super) version: &'a ImageVersionId,
    pub(super) terms: &'a Terms,
    pub(super) deadline: Option<DateTime<Utc>>,
    pub(super) tracker: &'a Tracker,
    pub(super) tell: &'a (dyn Fn(&Tracker) + Send + Sync),
    /// Is told of each region that has failed.
    pub(super) fell: &'a (dyn Fn(&Region, &Error) + Send + Sync),
}

/// How a replication ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) report: ReplicationReport,
    /// The regions that are not complete, and why.
    pub(super) failed: Vec<(Region, Error)>,
    /// Why nothing could be done in the others.
    pub(super) problems: Vec<Problem>,
}

/// Why a replication is to stop.
type Stop<'a> = Pin<&'a mut (dyn Future<Output = &'static str> + Send)>;

/// A target region, and how many replicas it is to have.
type Target = (Region, u32);

/// What came of a turn.
enum Turn {
    /// Each of its regions is complete or has failed.
    Done,
    /// It was stopped before it knew what there is to do.
    Stopped,
    /// A driver has taken over one of its regions.
    Lost,
}

impl Attempt<'_> {
    /// Completes the regions: first those that no driver is at work on, then those that drivers have left.
    pub(super) async fn run(
        &self,
        mut duties: TakenDuties,
        (mut record, mut began): (Arc<VersionRecord>, Arc<State>),
    ) -> Ended {
        let (session, clock) = (self.session, &self.session.inner.clock);
        let mut stop: Stop<'_> = pin!(async {
            match select(pin!(self.terms.control.cancelled()), time_is_up(clock, self.deadline)).await {
                Either::Left(_) => CANCELLED,
                Either::Right(_) => OUT_OF_TIME,
            }
        });
        let regions = self.terms.targets(&record).iter().map(RegionReport::of_nothing).collect();
        let mut ended = Ended { report: ReplicationReport { regions }, failed: Vec::new(), problems: Vec::new() };
        loop {
            let mut open = self.terms.targets(&record);
            open.retain(|(region, _)| !record.is_complete_in(region) && !ended.has(region));
            let wanted = open.iter().map(|(region, _)| Duty::Replicate(region.clone())).collect();
            let busy = match self.terms.is_of_a_duty {
                true => BTreeSet::new(),
                false => duties.take(&began, wanted).await,
            };
            let (left, free): (Vec<Target>, Vec<Target>) =
                open.into_iter().partition(|(region, _)| busy.contains(&Duty::Replicate(region.clone())));
            if left.is_empty() || !free.is_empty() {
                let turn = self.turn(&duties, &mut stop, (&record, &began), &free, &mut ended).await;
                duties.lay_down().await;
                match turn {
                    Turn::Done if left.is_empty() => return ended,
                    Turn::Done | Turn::Lost => {}
                    Turn::Stopped => return ended,
                }
            }
            let wait = select(clock.sleep(LOOK_EVERY), &mut stop).await;
            let why = match wait {
                _ if self.terms.on_failure == OnFailure::Stop && !ended.failed.is_empty() => Some(ANOTHER_FAILED),
                Either::Left(_) => None,
                Either::Right((why, _)) => Some(why),
            };
            if let Some(why) = why {
                ended.failed.extend(left.into_iter().map(|(region, _)| (region.clone(), stopped(&region, why))));
                return ended;
            }
            let before = clock.monotonic();
            let newest = match session
                .refresh()
                .await
                .and_then(|view| Ok((view.record(self.version)?.clone(), view.shared_state())))
            {
                Ok((now, _)) if now.content != record.content => Err(another_version(self.version)),
                read => read,
            };
            (record, began) = match newest {
                Ok(newest) => newest,
                Err(error) => {
                    ended.problems.extend(error.into_problems());
                    return ended;
                }
            };
            duties.look(before, &began);
            left.iter().filter(|(region, _)| record.is_complete_in(region)).for_each(|(region, _)| {
                self.tracker.complete(region);
            });
            (self.tell)(self.tracker);
        }
    }

    /// Works on some regions while it keeps their duties.
    async fn turn(
        &self,
        duties: &TakenDuties,
        stop: &mut Stop<'_>,
        seen: (&Arc<VersionRecord>, &Arc<State>),
        targets: &[Target],
        ended: &mut Ended,
    ) -> Turn {
        let percent = |duty: &Duty| {
            let summary = self.tracker.status().summary;
            let line = summary.iter().find(|line| *duty == Duty::Replicate(line.region.clone()));
            // It is whole when it is committed.
            line.map_or(0, |line| line.progress.min(99))
        };
        let is_paused = || self.terms.control.is_paused();
        let working = pin!(self.work_on(duties.holder(), stop, seen, targets, ended));
        match select(working, pin!(duties.keep(&percent, &is_paused))).await {
            Either::Left((turn, _)) => turn,
            Either::Right(_) => Turn::Lost,
        }
    }

    async fn work_on(
        &self,
        holder: Option<DriverId>,
        stop: &mut Stop<'_>,
        (record, began): (&Arc<VersionRecord>, &Arc<State>),
        targets: &[Target],
        ended: &mut Ended,
    ) -> Turn {
        let Self { session, version, terms, tracker, tell, fell, .. } = *self;
        let looking = async {
            session.retry(record, targets.iter().map(|(region, _)| region.clone())).await;
            session.look_around(record, began, targets, terms).await
        };
        let (content, mut runs, mut failed) = match select(pin!(looking), stop).await {
            Either::Left((Ok(seen), _)) => seen,
            Either::Left((Err(error), _)) => {
                targets.iter().for_each(|(region, _)| fell(region, &error));
                ended.problems.extend(error.into_problems());
                return Turn::Stopped;
            }
            Either::Right((why, _)) => {
                let problems = targets.iter().flat_map(|(region, _)| stopped(region, why).into_problems());
                ended.problems.extend(problems);
                return Turn::Stopped;
            }
        };
        let give_up = terms.on_failure == OnFailure::Stop && !failed.is_empty();
        let given_up = if give_up { std::mem::take(&mut runs) } else { Vec::new() };
        failed.extend(given_up.into_iter().map(|run| (run.region.clone(), stopped(&run.region, ANOTHER_FAILED))));
        runs.iter().for_each(|run| run.observed_by(tracker));
        failed.iter().for_each(|(region, error)| fell(region, error));
        tell(tracker);
        let engine = Engine {
            manifest: &content.manifest,
            sources: &content.sources,
            workers: &session.inner.workers,
            recoding: (session.inner.compression == Compression::Later).then_some(Recoding::Crossing),
            memory: &session.inner.memory,
            clock: &session.inner.clock,
            control: &terms.control,
            tracker,
            deadline: self.deadline,
            stop_at_first: terms.on_failure == OnFailure::Stop,
        };
        let on_news = |region: &Region, error: Option<&Error>| {
            error.into_iter().for_each(|error| fell(region, error));
            tell(tracker);
        };
        let seen = session.inner.catalog.snapshot();
        let finish = |run: &RegionRun, moved: &Moved| {
            let (session, version, crossed) = (session.clone(), version.clone(), moved.cross_region_bytes);
            let (region, replicas) = (run.region.clone(), run.replicas);
            let (record, began, claims) = (record.clone(), began.clone(), seen.claims_of(&region));
            let finished = async move {
                let told = region.clone();
                let travelled = move |done, total| {
                    tracker.travelled(&told, (done, total));
                    tell(tracker);
                };
                let storage = record.version.storage_profile();
                session.inner.refused("replicate", || format!("{version} in {region}"))?;
                session.inner.travel((&version).into(), &region, storage, &travelled).await?;
                session.complete(&began, (&claims, holder), version, region, replicas, crossed).await
            };
            Box::pin(finished) as BoxFuture<'_, Result<()>>
        };
        let outcomes = engine.run(&runs, &on_news, &finish).await;
        for (run, (moved, outcome)) in runs.iter().zip(outcomes) {
            if let Some(told) = ended.report.regions.iter_mut().find(|told| told.region == run.region) {
                told.cross_region_bytes += moved.cross_region_bytes;
                told.local_bytes += moved.local_bytes;
                told.degraded = moved.degraded;
            }
            if let Err(error) = outcome {
                fell(&run.region, &error);
                failed.push((run.region.clone(), error));
            }
        }
        tell(tracker);
        ended.failed.extend(failed);
        Turn::Done
    }
}

impl Ended {
    fn has(&self, region: &Region) -> bool {
        self.failed.iter().any(|(failed, _)| failed == region)
    }
}

impl Session {
    /// Lists what each of `regions` has of the packs of a version.
    pub(super) async fn list(
        &self,
        state: &State,
        record: &VersionRecord,
        regions: &[(Region, u32)],
        manifest: &Manifest,
    ) -> Vec<Result<Listed>> {
        let profile = record.version.publishing_profile();
        let listing = regions.iter().map(|(region, replicas)| async move {
            let account = profile.storage_account_type_in(region);
            let slots = self.inner.regions.replicas(state, region, *replicas, account)?;
            Listed::read(region.clone(), slots, manifest).await
        });
        together(listing.collect()).await
    }

    /// Returns the version's content, and for each incomplete region what it has, or why that is unknown.
    async fn look_around(
        &self,
        record: &VersionRecord,
        began: &State,
        targets: &[(Region, u32)],
        terms: &Terms,
    ) -> Result<(Content, Vec<RegionRun>, Vec<(Region, Error)>)> {
        let open: Vec<&(Region, u32)> = targets.iter().filter(|(region, _)| !record.is_complete_in(region)).collect();
        let witnessing = open.iter().map(|(region, _)| async move {
            self.inner.regions.recheck(region);
            let account = record.version.publishing_profile().storage_account_type_in(region);
            // ORDER: before anything is read or written there. A log that does not know the version is refused from here on.
            self.inner.regions.witness(region, account, began).await
        });
        let sources = Holders::new(self.inner.regions.holders(began, record));
        let id = record.content.manifest_id();
        let (manifest, witnessed) = futures::join!(sources.manifest(&id), together(witnessing.collect()));
        let (manifest, mut there, mut outcomes) = (manifest?, Vec::new(), Vec::new());
        for ((region, replicas), witnessed) in open.into_iter().zip(witnessed) {
            match witnessed {
                Ok(()) => there.push((region.clone(), *replicas)),
                Err(error) => outcomes.push((region, Err(error))),
            }
        }
        let listed = self.list(began, record, &there, &manifest).await;
        let content = Content { manifest, sources };
        outcomes.extend(there.iter().map(|(region, _)| region).zip(listed));
        let (mut runs, mut failed) = (Vec::new(), Vec::new());
        for (region, _) in targets {
            let Some(at) = outcomes.iter().position(|(of, _)| *of == region) else { continue };
            match outcomes.swap_remove(at).1 {
                Ok(listed) => {
                    let mut run = listed.compare(&content.manifest);
                    run.bytes_per_second = terms.bytes_per_second.get(region).copied();
                    runs.push(run);
                }
                Err(error) => failed.push((region.clone(), error)),
            }
        }
        Ok((content, runs, failed))
    }

    /// Commits that a region is complete, which makes it deployable.
    async fn complete(
        &self,
        began: &State,
        (claims, holder): (&[StoreName], Option<DriverId>),
        version: ImageVersionId,
        region: Region,
        replicas: u32,
        crossed: u64,
    ) -> Result<()> {
        let (before, number) = (began.version(&version).cloned(), began.number());
        let (session, claims) = (self.clone(), claims.to_vec());
        let check = move |state: &State| {
            let authorization = session.authorize(state, &[Need::new(Action::WriteVersion, &version)])?;
            if !state.still_claims(&region, &claims) {
                return Err(another_store(&region));
            }
            let record = state.version(&version).ok_or_else(|| Error::new(missing(&version)))?;
            // Content that the version needs is not condemned. But the version may have been removed from the region and added
            // again.
            if state.is_condemned_since(&region, number) && record.is_changed_since(number) {
                return Err(being_removed(&version));
            }
            if before.as_ref().is_none_or(|before| before.content != record.content) {
                return Err(another_version(&version));
            }
            // The regions and counts may have been changed meanwhile.
            let wanted = record.version.publishing_profile().replicas_in(&region).unwrap_or(0);
            let replicas = replicas.min(wanted);
            if replicas <= record.replicas_ready(&region) {
                return Ok(Changes::default());
            }
            let (version, region) = (version.clone(), region.clone());
            let duty = laid_down(state, &Duty::Replicate(region.clone()), holder);
            let completed = Event::RegionCompleted { version, region, replicas, cross_region_bytes: crossed };
            Ok(Changes { events: std::iter::once(completed).chain(duty).collect(), authorization })
        };
        self.inner.catalog.commit(&self.caller, check).await.map(drop)
    }
}

fn another_version(version: &ImageVersionId) -> Error {
    let what = "it was deleted meanwhile, and another version of this number was published: replicate that version";
    Error::conflict(version.to_string(), what)
}

fn being_removed(version: &ImageVersionId) -> Error {
    let what = "it was removed from the region and added again, and a collection has removed part of it meanwhile: replicate \
                again";
    Error::busy(version.to_string(), what)
}

/// Returns the tracker of a replication that starts: incomplete regions are in progress.
pub(super) fn at_work(record: &VersionRecord, targets: &[(Region, u32)], clock: &Arc<dyn Clock>) -> Tracker {
    let line = |(region, _): &(Region, u32)| {
        let complete = record.is_complete_in(region);
        let state = if complete { ReplicationState::Completed } else { ReplicationState::Replicating };
        RegionalReplicationStatus::new(region.clone(), state)
    };
    Tracker::new(targets.iter().map(line), clock)
}

/// The content of a version, and its holders.
pub(super) struct Content {
    pub(super) manifest: Manifest,
    pub(super) sources: Holders,
}
