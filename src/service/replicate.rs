//! Replicating: a version goes to all its replicas.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt};

use super::authorize::Need;
use super::plan::{Plan, RegionPlan};
use super::rules;
use super::session::Session;
use crate::access::Action;
use crate::catalog::{Changes, Event, State, VersionRecord};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::Slot;
use crate::image::manifest::Manifest;
use crate::model::{ImageVersionId, Region};
use crate::replication::{
    AggregatedState, Engine, Moved, RegionRun, RegionalReplicationStatus, ReplicationState, ReplicationStatus, look,
};

/// What a replication moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicationReport {
    /// Each target region, in the order of the publishing profile.
    pub regions: Vec<RegionReport>,
}

/// What a replication moved for one region.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionReport {
    /// The region.
    pub region: Region,
    /// How many replicas it has there.
    pub replicas: u32,
    /// Bytes that crossed the region's border.
    pub cross_region_bytes: u64,
    /// Bytes copied between the region's replicas.
    pub local_bytes: u64,
}

/// A replication on its way. Await it for the report; or, as a stream, it yields the status after each pack, does the
/// work while it is polled, and ends when the work is done.
///
/// Dropping it, or killing the process, stops it; replicating again goes on where it was, and sends no pack again
/// that arrived whole.
#[must_use = "nothing is replicated before it is awaited or polled"]
pub struct Replication {
    session: Session,
    version: ImageVersionId,
    work: Option<BoxFuture<'static, Result<ReplicationReport>>>,
    news: mpsc::UnboundedReceiver<ReplicationStatus>,
    outcome: Option<Result<ReplicationReport>>,
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replication(done: {})", self.work.is_none())
    }
}

impl Replication {
    /// What it would move, by the stores' own word.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog or the version's manifest can't be read; regions whose stores don't
    /// answer are among the plan's problems.
    pub async fn plan(&self) -> Result<Plan> {
        let view = self.session.refresh().await?;
        let may = view.require(Action::WriteVersion, &self.version);
        let record = match may.and_then(|()| view.record(&self.version)) {
            Ok(record) => record,
            Err(error) => return Ok(Plan::refused(error.into_problems())),
        };
        let manifest = self.session.manifest_of(record).await?;
        let (profile, home) = (record.version.publishing_profile(), record.version.location());
        let mut plan = Plan::default();
        for (region, replicas) in targets(record) {
            if record.is_complete_in(&region) {
                continue;
            }
            let slots = self.session.parts.regions.slots(&region, replicas);
            match async { look(region.clone(), slots?, &manifest).await }.await {
                Ok(run) => {
                    let (crossing, stored) = run.missing_bytes(&manifest);
                    plan.regions.push(RegionPlan::new(home, profile, &region, (replicas, crossing, stored)));
                }
                Err(error) => plan.problems.extend(error.into_problems()),
            }
        }
        Ok(plan)
    }
}

impl Stream for Replication {
    type Item = Result<ReplicationStatus>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(work) = &mut self.work
            && let Poll::Ready(outcome) = work.as_mut().poll(context)
        {
            self.work = None;
            self.outcome = Some(outcome);
        }
        match self.news.poll_next_unpin(context) {
            Poll::Ready(Some(status)) => Poll::Ready(Some(Ok(status))),
            // The work is done and all its news are told: an error is told last.
            Poll::Ready(None) => match self.outcome.take_if(|outcome| outcome.is_err()) {
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                Some(Ok(_)) | None => Poll::Ready(None),
            },
            Poll::Pending => Poll::Pending,
        }
    }
}

impl IntoFuture for Replication {
    type Output = Result<ReplicationReport>;
    type IntoFuture = BoxFuture<'static, Result<ReplicationReport>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            match (self.work.take(), self.outcome.take()) {
                (Some(work), _) => work.await,
                (None, Some(outcome)) => outcome,
                (None, None) => Err(Error::new(Problem::new(
                    ErrorKind::Invalid,
                    "OperationNotAllowed",
                    "replication",
                    "its outcome has been taken as the last item of the stream",
                ))),
            }
        })
    }
}

/// How often a watcher looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

impl Session {
    /// Brings a version to all replicas of all its target regions. A region that is complete can be deployed from at
    /// once, while others are still under way; one that fails does not stop the others.
    ///
    /// # Errors
    ///
    /// `NotFound`; for regions that failed one problem each, and the kind of the first: `Unavailable`, `StorageFull`,
    /// `Corrupt`, `Unknown`. Replicating again goes on where it was.
    pub fn replicate(&self, version: &ImageVersionId) -> Replication {
        let (send, news) = mpsc::unbounded();
        let (session, id) = (self.clone(), version.clone());
        let work = async move { session.replicate_now(&id, &send).await };
        let (session, version) = (self.clone(), version.clone());
        Replication { session, version, work: Some(Box::pin(work)), news, outcome: None }
    }

    /// How far a version's replication is, by the stores' own word.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Unavailable`, `Corrupt`.
    pub async fn replication_status(&self, version: &ImageVersionId) -> Result<ReplicationStatus> {
        let record = self.readable(Action::ReadVersion, version).await?;
        let manifest = self.manifest_of(&record).await?;
        let targets = targets(&record);
        let board = Board::new(&record, &targets, &manifest);
        for (place, (region, replicas)) in targets.iter().enumerate() {
            if !record.is_complete_in(region) {
                let slots = self.parts.regions.slots(region, *replicas)?;
                board.present(place, look(region.clone(), slots, &manifest).await?.present_bytes(&manifest));
            }
        }
        Ok(board.status())
    }

    /// Watches a replication that somebody else carries out: its status once a second, until it is complete.
    pub fn watch_replication(&self, version: &ImageVersionId) -> impl Stream<Item = Result<ReplicationStatus>> {
        let watch = (self.clone(), version.clone(), Duration::ZERO);
        stream::try_unfold(Some(watch), |watch| async move {
            let Some((session, version, pause)) = watch else { return Ok(None) };
            if !pause.is_zero() {
                session.parts.clock.sleep(pause).await;
            }
            let status = session.replication_status(&version).await?;
            let done = status.aggregated_state == AggregatedState::Completed;
            Ok(Some((status, (!done).then_some((session, version, WATCH_EVERY)))))
        })
    }

    async fn readable(&self, action: Action, version: &ImageVersionId) -> Result<Arc<VersionRecord>> {
        let view = self.refresh().await?;
        view.require(action, version)?;
        view.record(version).cloned()
    }

    async fn manifest_of(&self, record: &VersionRecord) -> Result<Manifest> {
        self.source_slot(record)?.read_manifest(&record.content.manifest).await
    }

    /// The slot that a version was imported into.
    fn source_slot(&self, record: &VersionRecord) -> Result<Slot> {
        self.parts.regions.slot(record.version.location(), 0)
    }

    async fn replicate_now(
        &self,
        version: &ImageVersionId,
        news: &mpsc::UnboundedSender<ReplicationStatus>,
    ) -> Result<ReplicationReport> {
        let view = self.refresh().await?;
        view.require(Action::WriteVersion, version)?;
        let (record, began) = (view.record(version)?.clone(), view.shared_state());
        let (source, manifest) = (self.source_slot(&record)?, self.manifest_of(&record).await?);
        let targets = targets(&record);
        let mut open: Vec<(usize, RegionRun)> = Vec::new();
        let mut failed: Vec<(usize, Error)> = Vec::new();
        for (position, (region, replicas)) in targets.iter().enumerate() {
            if !record.is_complete_in(region) {
                let slots = self.parts.regions.slots(region, *replicas);
                let packs = manifest.packs.iter().map(|pack| pack.id);
                let removed = began.is_condemned(region, &record.content.manifest, packs);
                let seen = async {
                    if removed {
                        return Err(being_removed(version));
                    }
                    look(region.clone(), slots?, &manifest).await
                };
                match seen.await {
                    Ok(run) => open.push((position, run)),
                    Err(error) => failed.push((position, error)),
                }
            }
        }
        let (places, runs): (Vec<usize>, Vec<RegionRun>) = open.into_iter().unzip();
        let board = Board::new(&record, &targets, &manifest);
        places.iter().zip(&runs).for_each(|(place, run)| board.present(*place, run.present_bytes(&manifest)));
        failed.iter().for_each(|(place, error)| board.fail(*place, error));
        let tell = || {
            // Nobody may be watching.
            let _ = news.unbounded_send(board.status());
        };
        tell();
        let engine = Engine {
            manifest: &manifest,
            digest: record.content.manifest,
            source: &source,
            workers: &self.parts.workers,
        };
        let on_moved = |run: usize, moved: &Moved| {
            places.get(run).into_iter().for_each(|place| board.present(*place, moved.present_bytes));
            tell();
        };
        let finish = |run: usize, moved: &Moved| {
            let (session, version, crossed) = (self.clone(), version.clone(), moved.cross_region_bytes);
            let began = began.clone();
            let done =
                runs.get(run).zip(places.get(run)).map(|(run, place)| (run.region.clone(), run.slots.len(), *place));
            let board = board.clone();
            let finished = async move {
                let Some((region, replicas, place)) = done else { return Ok(()) };
                session.complete(&began, version, region, replicas as u32, crossed).await?;
                board.complete(place);
                Ok(())
            };
            Box::pin(finished) as BoxFuture<'static, Result<()>>
        };
        let outcomes = engine.run(&runs, &on_moved, &finish).await;
        let zero = |(region, replicas): &(Region, u32)| RegionReport {
            region: region.clone(),
            replicas: *replicas,
            cross_region_bytes: 0,
            local_bytes: 0,
        };
        let mut report = ReplicationReport { regions: targets.iter().map(zero).collect() };
        for (place, (moved, outcome)) in places.iter().zip(outcomes) {
            if let Some(region) = report.regions.get_mut(*place) {
                (region.cross_region_bytes, region.local_bytes) = (moved.cross_region_bytes, moved.local_bytes);
            }
            if let Err(error) = outcome {
                board.fail(*place, &error);
                failed.push((*place, error));
            }
        }
        tell();
        let Some((_, first)) = failed.first() else { return Ok(report) };
        let cause = first.clone();
        let problems = failed.iter().filter_map(|(place, error)| {
            let (region, _) = targets.get(*place)?;
            let what = format!("replication failed: {error}");
            Some(Problem::new(error.kind(), "ReplicationJobFailed", region.to_string(), what))
        });
        Error::from_problems(problems.collect()).map_err(|error| error.with_source(cause))?;
        Ok(report)
    }

    /// The commit that makes a region deployable.
    async fn complete(
        &self,
        began: &State,
        version: ImageVersionId,
        region: Region,
        replicas: u32,
        crossed: u64,
    ) -> Result<()> {
        let (before, number) = (began.version(&version).cloned(), began.number());
        let session = self.clone();
        let check = move |state: &State| {
            let authorization = session.authorize(state, &[Need::new(Action::WriteVersion, &version)])?;
            let record = state.version(&version).ok_or_else(|| Error::new(rules::missing(&version)))?;
            // What the version needs is not condemned. But it may have been taken out of the region and put in again.
            let same = before.as_ref().is_some_and(|before| before.version == record.version);
            if state.is_condemned_since(&region, number) && !same {
                return Err(being_removed(&version));
            }
            if before.as_ref().is_none_or(|before| before.content != record.content) {
                let what = "it was deleted meanwhile, and another version of that number was published: replicate that";
                return Err(Error::new(Problem::new(
                    ErrorKind::Conflict,
                    "OperationNotAllowed",
                    version.to_string(),
                    what,
                )));
            }
            // The regions and counts may have been changed meanwhile.
            let wanted = record.version.publishing_profile().replicas_in(&region).unwrap_or(0);
            let replicas = replicas.min(wanted);
            if replicas <= record.replicas_ready(&region) {
                return Ok(Changes::default());
            }
            let (version, region) = (version.clone(), region.clone());
            let completed = Event::RegionCompleted { version, region, replicas, cross_region_bytes: crossed };
            Ok(Changes { events: vec![completed], authorization })
        };
        self.parts.catalog.commit(&self.caller, check).await.map(drop)
    }
}

fn being_removed(version: &ImageVersionId) -> Error {
    let what = "what was left of it there is being removed: replicate again when that is done";
    Error::new(Problem::new(ErrorKind::Unavailable, "RetryableError", version.to_string(), what))
}

fn targets(record: &VersionRecord) -> Vec<(Region, u32)> {
    let profile = record.version.publishing_profile();
    let regions = profile.target_regions().iter().map(|target| target.region());
    regions.map(|region| (region.clone(), profile.replicas_in(region).unwrap_or(0))).collect()
}

/// The status of a replication as it goes on.
#[derive(Clone)]
struct Board {
    regions: Arc<Mutex<Vec<(RegionalReplicationStatus, u64)>>>,
}

impl Board {
    fn new(record: &Arc<VersionRecord>, targets: &[(Region, u32)], manifest: &Manifest) -> Self {
        let region = |(region, replicas): &(Region, u32)| {
            let complete = record.is_complete_in(region);
            let state = if complete { ReplicationState::Completed } else { ReplicationState::Replicating };
            let total = manifest.stored_bytes() * u64::from(*replicas);
            (RegionalReplicationStatus::new(region.clone(), state, 0, total), total)
        };
        Self { regions: Arc::new(Mutex::new(targets.iter().map(region).collect())) }
    }

    fn change(&self, place: usize, change: impl FnOnce(&mut RegionalReplicationStatus, u64)) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((status, total)) = regions.get_mut(place) {
            change(status, *total);
        }
    }

    fn present(&self, place: usize, bytes: u64) {
        self.change(place, |status, total| {
            *status = RegionalReplicationStatus::new(status.region.clone(), status.state, bytes, total);
        });
    }

    fn complete(&self, place: usize) {
        self.change(place, |status, total| {
            *status = RegionalReplicationStatus::new(status.region.clone(), ReplicationState::Completed, total, total);
        });
    }

    fn fail(&self, place: usize, error: &Error) {
        self.change(place, |status, _| {
            status.state = ReplicationState::Failed;
            status.details = error.to_string();
        });
    }

    fn status(&self) -> ReplicationStatus {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        ReplicationStatus::new(regions.iter().map(|(status, _)| status.clone()).collect())
    }
}
