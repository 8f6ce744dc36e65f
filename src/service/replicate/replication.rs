//! Replications: the bytes of a version are brought to all its replicas.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::channel::mpsc;
use futures::future::{Either, maybe_done, select};
use futures::stream::{self, Stream};

use super::attempt::{Attempt, Content, Ended, OnFailure, Terms, at_work};
use super::report::ReplicationReport;
use crate::access::Action;
use crate::catalog::{State, VersionRecord};
use crate::content::names::ManifestId;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ImageVersionId, Region, given};
use crate::progress::{OnProgress, Progress};
use crate::regions::targets::targets;
use crate::replica::holders::Holders;
use crate::replication::{RegionalReplicationStatus, ReplicationControl, ReplicationState, ReplicationStatus, Tracker};
use crate::service::session::call::Call;
use crate::service::session::pending::{Pending, Work};
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::session::Session;
use crate::service::session::taken::TakenDuties;

/// A replication that has not started. Await it for the report, or read its [`statuses`](Self::statuses). It works only while it is
/// polled.
///
/// Dropping it, or killing the process, stops it. The next replication resumes, and sends no pack that arrived whole again.
///
/// ```
/// # use compute_gallery::disk::{DiskFormat, DiskSource};
/// # use compute_gallery::model::*;
/// # use compute_gallery::store::MemoryStore;
/// # use compute_gallery::{ErrorKind, GalleryService, NewImageVersion};
/// # futures::executor::block_on(async {
/// # let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().await?;
/// # let session = service.session("docs".parse()?);
/// # let home: Region = "westeurope".parse()?;
/// # let id: GalleryId = "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g".parse()?;
/// # session.create_gallery(Gallery::new(id.clone(), home.clone())).await?;
/// # let image = id.image("web".parse()?);
/// # let identifier = ImageIdentifier::new("a", "b", "c")?;
/// # session.create_image_definition(ImageDefinition::new(image.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier)).await?;
/// # let version = image.version("1.0.0".parse()?);
/// # let profile = PublishingProfile::new("westeurope=1,eastus=2".parse()?);
/// # let disk = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
/// # session.publish(NewImageVersion::new(version.clone(), home, profile, disk)).await?;
/// let replication = session.replicate(&version).bytes_per_second("eastus", 10 << 20);
/// // For another task, to pause or cancel it: here before it has started.
/// replication.control().cancel();
/// assert_eq!(replication.await.unwrap_err().kind(), ErrorKind::Cancelled);
///
/// let report = session.replicate(&version).await?;
/// let eastus = &report.regions[1];
/// // One copy crossed the border; the other replica was filled from the first.
/// assert_eq!(eastus.cross_region_bytes, eastus.local_bytes);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is replicated before it is awaited or polled"]
pub struct Replication {
    pending: Pending<ReplicationWork>,
    control: ReplicationControl,
    /// The statuses that are not read yet; `None` once it is awaited.
    news: Option<mpsc::UnboundedReceiver<ReplicationStatus>>,
}

#[derive(Clone)]
struct ReplicationWork {
    session: Session,
    version: ImageVersionId,
    terms: Terms,
    on_progress: OnProgress,
    news: mpsc::UnboundedSender<ReplicationStatus>,
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replication").field(&self.pending.work().map(|work| &work.version)).finish()
    }
}

/// The statuses of a replication that runs: see [`Replication::statuses`].
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
/// use futures::StreamExt;
///
/// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
/// let mut replication = session.replicate(sandbox.version("1.0.0"));
/// let first = replication.statuses().next().await.unwrap();
/// assert_eq!(first.summary[0].progress, 100);
/// replication.await?;
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Statuses<'a>(&'a mut Replication);

impl Replication {
    /// Caps cross-region traffic into `region` at `rate` bytes per second of the service's clock; by default it is not
    /// capped. Packs are sent whole, so the cap holds over seconds, not over each moment. A rate of 0 is refused:
    /// [`pause`](ReplicationControl::pause) the replication instead.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let capped = session.replicate(&version).bytes_per_second("eastus", 10 << 20);
    /// assert!(capped.plan().await?.is_possible());
    /// let capped = session.replicate(&version).bytes_per_second("eastus", 0);
    /// assert!(!capped.plan().await?.is_possible());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn bytes_per_second(mut self, region: impl TryInto<Region, Error: Into<Error>>, rate: u64) -> Self {
        self.pending.try_set(given(region), |work, region| {
            work.terms.bytes_per_second.insert(region, rate);
        });
        self
    }

    /// Brings the version to one of its target regions alone; by default to all.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::testkit::raw;
    ///
    /// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus,northeurope", raw(vec![7; 4096]))).await?;
    /// let report = session.replicate(&sandbox.version("1.0.0")).in_region("eastus").await?;
    /// assert_eq!(report.regions.len(), 1);
    /// assert!(sandbox.deployed("1.0.0", "northeurope").await.is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn in_region(mut self, region: impl TryInto<Region, Error: Into<Error>>) -> Self {
        self.pending.try_set(given(region), |work, region| work.terms.only = Some(region));
        self
    }

    /// Brings the version to a region whose duty the caller has: a driver.
    pub(crate) fn of_a_duty(mut self, region: Region) -> Self {
        self.pending.set(|work| (work.terms.only, work.terms.is_of_a_duty) = (Some(region), true));
        self
    }

    /// Limits the time of the replication, from its start, by the service's clock; by default it is not limited. Regions
    /// that are not complete then stop as they are, with [`ErrorKind::Cancelled`].
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::{ErrorKind, testkit::raw};
    /// use std::time::Duration;
    ///
    /// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
    /// let slow = session.replicate(&sandbox.version("1.0.0")).bytes_per_second("eastus", 1);
    /// let error = slow.within(Duration::from_secs(1)).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Cancelled);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn within(mut self, time: Duration) -> Self {
        self.pending.set(|work| work.terms.within = Some(time));
        self
    }

    /// Sets the effect of a failed region on the others: by default they are completed. [`OnFailure`] has an example.
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.pending.set(|work| work.terms.on_failure = policy);
        self
    }

    /// Calls `on_progress` after each pack, with the bytes of all replicas in all regions.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::testkit::raw;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::sync::Arc;
    ///
    /// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
    /// let is_done = Arc::new(AtomicBool::new(false));
    /// let told = is_done.clone();
    /// let replication = session.replicate(sandbox.version("1.0.0"));
    /// replication.on_progress(move |now| told.store(now.done == now.total, Ordering::Relaxed)).await?;
    /// assert!(is_done.load(Ordering::Relaxed));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.pending.set(|work| work.on_progress = Arc::new(on_progress));
        self
    }

    /// Runs the replication as a stream, which yields its status after each pack and ends when the work is done. Await the
    /// replication afterwards for the report; or before that, to run the rest of it.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::testkit::raw;
    /// use futures::StreamExt;
    ///
    /// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
    /// let mut replication = session.replicate(sandbox.version("1.0.0"));
    /// let mut progress = 0;
    /// while let Some(status) = replication.statuses().next().await {
    ///     progress = status.progress();
    /// }
    /// assert_eq!((progress, replication.await?.regions.len()), (100, 2));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn statuses(&mut self) -> Statuses<'_> {
        Statuses(self)
    }

    /// Returns a handle to pause, resume and cancel the replication from elsewhere.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::ErrorKind;
    ///
    /// # session.delete(&version).await?;
    /// # use compute_gallery::testkit::raw;
    /// # session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
    /// let replication = session.replicate(&version);
    /// replication.control().cancel();
    /// assert_eq!(replication.await.unwrap_err().kind(), ErrorKind::Cancelled);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn control(&self) -> ReplicationControl {
        self.control.clone()
    }

    /// Returns the bytes that would move, from a fresh listing of the stores, and every problem with the settings.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` if the catalog or the version's manifest cannot be read. Regions whose stores do not answer
    /// are problems of the plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// // A version that is complete moves nothing.
    /// assert!(session.replicate(&version).plan().await?.regions.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.pending.plan().await
    }
}

impl Future for Replication {
    type Output = Result<ReplicationReport>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The statuses have no reader.
        self.news = None;
        self.pending.poll(context)
    }
}

impl Stream for Statuses<'_> {
    type Item = ReplicationStatus;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Replication { pending, news, .. } = &mut *self.0;
        let Some(unread) = news else { return Poll::Ready(None) };
        let done = pending.poll_work(context);
        match unread.try_recv() {
            Ok(status) => Poll::Ready(Some(status)),
            // The work is done and all statuses have been yielded.
            Err(_) if done.is_ready() => Poll::Ready(None),
            Err(_) => Poll::Pending,
        }
    }
}

impl Work for ReplicationWork {
    type Output = ReplicationReport;

    async fn plan(&self) -> Result<Plan> {
        let view = self.session.refresh().await?;
        let may = view.require(Action::WriteVersion, &self.version);
        let record = match may.and_then(|()| view.record(&self.version)) {
            Ok(record) => record,
            Err(error) => return Ok(Plan::refused(error.into_problems())),
        };
        let targets = self.terms.targets(record);
        let open: Vec<_> = targets.iter().filter(|(region, _)| !record.is_complete_in(region)).cloned().collect();
        let sources = Holders::new(self.session.inner.regions.holders(view.state(), record));
        let manifest = sources.manifest(&record.content.manifest_id()).await?;
        let listed = self.session.list(view.state(), record, &open, &manifest).await;
        let (profile, home) = (record.version.publishing_profile(), record.version.location());
        let mut plan = Plan::refused(self.terms.problems(&self.version, &targets));
        for ((region, replicas), listed) in open.into_iter().zip(listed) {
            match listed {
                Ok(listed) => {
                    let (crossing, stored) = listed.compare(&manifest).missing_bytes();
                    plan.regions.push(RegionPlan::new(
                        &self.session.inner,
                        home,
                        profile,
                        &region,
                        (replicas, crossing, stored),
                    ));
                }
                Err(error) => plan.problems.extend(error.into_problems()),
            }
        }
        Ok(plan)
    }

    fn call(&self) -> Option<Call> {
        self.session.call("replicate", || self.version.to_string())
    }

    async fn run(self) -> Result<ReplicationReport> {
        let Self { session, version, terms, on_progress, news } = self;
        session.inner.catalog.refuse_change()?;
        let tell = |tracker: &Tracker| {
            on_progress(tracker.progress());
            // There may be no watcher.
            let _ = news.unbounded_send(tracker.status());
        };
        session.replicate_now(&version, terms, &tell).await
    }
}

/// The interval of a watcher's looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// # Replication
impl Session {
    /// Brings a version to all replicas of its target regions. A complete region can be deployed from at once, while others
    /// are still in progress; a failed region does not stop the others.
    ///
    /// A region that a [driver](Self::driver) is at work on is left to it: the replication waits until the driver has completed the region or has
    /// left it, for two minutes at most after the driver's death. Drivers leave a region to a replication in the same way.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound`; `Invalid` for a rate of 0, or of a region that is not a target. Each failed region is one
    /// problem, and the first decides the kind: `Unavailable`, `StorageFull`, `Corrupt`, `Unknown`; `Cancelled` if it was
    /// cancelled, its time is up, or another region's failure stopped it. The next replication resumes.
    ///
    /// The catalog records a region's failure, and the [status](Session::replication_status) shows it until the region is
    /// tried again; a failure to record it is one more problem.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::testkit::raw;
    ///
    /// let version = sandbox.version("1.0.0");
    /// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
    /// assert!(sandbox.deployed("1.0.0", "eastus").await.is_err());
    /// session.replicate(&version).await?;
    /// assert_eq!(sandbox.deployed("1.0.0", "eastus").await?, [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn replicate(&self, version: impl TryInto<ImageVersionId, Error: Into<Error>>) -> Replication {
        let (session, terms, (news, unread)) = (self.clone(), Terms::default(), mpsc::unbounded());
        let (control, on_progress) = (terms.control.clone(), Arc::new(|_| {}));
        let work = |version| ReplicationWork { session, version, terms, on_progress, news };
        Replication { pending: Pending::new(given(version).map(work)), control, news: Some(unread) }
    }

    /// Returns the replication status of a version, from a fresh listing of the stores. A complete region that has lost
    /// something since, such as a zone, is [degraded](crate::replicate::RegionalReplicationStatus::degraded).
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`, `Unavailable`, `Corrupt`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::replicate::AggregatedState;
    ///
    /// let status = session.replication_status(&version).await?;
    /// assert_eq!((status.aggregated_state, status.progress()), (AggregatedState::Completed, 100));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn replication_status(
        &self,
        version: impl TryInto<ImageVersionId, Error: Into<Error>>,
    ) -> Result<ReplicationStatus> {
        self.status_of(&given(version)?, &mut None).await
    }

    /// As [`replication_status`](Self::replication_status), keeping the version's manifest in `content` for the next look.
    async fn status_of(
        &self,
        version: &ImageVersionId,
        content: &mut Option<(ManifestId, Content)>,
    ) -> Result<ReplicationStatus> {
        let (state, record) = self.readable(Action::ReadVersion, version).await?;
        let targets = targets(&record);
        let id = record.content.manifest_id();
        let (content, listed) = match content {
            Some((of, content)) if *of == id => {
                let listed = self.list(&state, &record, &targets, &content.manifest).await;
                (content, listed)
            }
            other => {
                let sources = Holders::new(self.inner.regions.holders(&state, &record));
                let manifest = sources.manifest(&id).await?;
                let listed = self.list(&state, &record, &targets, &manifest).await;
                (&mut other.insert((id, Content { manifest, sources })).1, listed)
            }
        };
        let lines = targets.iter().map(|(region, _)| self.line(&record, region));
        let tracker = Tracker::new(lines, &self.inner.clock);
        for ((region, _), listed) in targets.iter().zip(listed) {
            match listed {
                // What is simulated is not in its stores.
                Ok(_) if self.inner.simulation.is_some() && tracker.is_at_work(region) => {}
                Ok(listed) => listed.compare(&content.manifest).observed_by(&tracker),
                Err(error) => tracker.unreachable(region, &error),
            }
        }
        Ok(tracker.status())
    }

    /// Watches a replication that runs elsewhere: yields its status once a second until each region is complete or has
    /// failed.
    ///
    /// # Errors
    ///
    /// Items of the stream are errors, as of [`replication_status`](Self::replication_status).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use futures::TryStreamExt;
    ///
    /// let statuses: Vec<_> = session.watch_replication(&version).try_collect().await?;
    /// // It is complete already.
    /// assert_eq!(statuses.len(), 1);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn watch_replication<V: TryInto<ImageVersionId, Error: Into<Error>>>(
        &self,
        version: V,
    ) -> impl Stream<Item = Result<ReplicationStatus>> + use<V> {
        let watch = (self.clone(), given(version), None, Duration::ZERO);
        stream::try_unfold(Some(watch), |watch| async move {
            let Some((session, version, mut content, pause)) = watch else { return Ok(None) };
            let version = version?;
            if !pause.is_zero() {
                session.inner.clock.sleep(pause).await;
            }
            let status = session.status_of(&version, &mut content).await?;
            let done = status.is_settled();
            Ok(Some((status, (!done).then_some((session, Ok(version), content, WATCH_EVERY)))))
        })
    }

    /// Returns the status of a region by the catalog and by this process.
    fn line(&self, record: &VersionRecord, region: &Region) -> RegionalReplicationStatus {
        let line = |state| RegionalReplicationStatus::new(region.clone(), state);
        if record.is_complete_in(region) {
            return line(ReplicationState::Completed);
        }
        if let Some(line) = self.inner.under_way.status(record.version.id(), region) {
            return line;
        }
        match record.failure_in(region) {
            Some(why) => RegionalReplicationStatus { details: why.to_owned(), ..line(ReplicationState::Failed) },
            None => line(ReplicationState::Unknown),
        }
    }

    async fn readable(&self, action: Action, version: &ImageVersionId) -> Result<(Arc<State>, Arc<VersionRecord>)> {
        let view = self.refresh().await?;
        view.require(action, version)?;
        Ok((view.shared_state(), view.record(version)?.clone()))
    }

    async fn replicate_now(
        &self,
        version: &ImageVersionId,
        terms: Terms,
        tell: &(dyn Fn(&Tracker) + Send + Sync),
    ) -> Result<ReplicationReport> {
        let clock = &self.inner.clock;
        let within = terms.within.map(|time| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX));
        let deadline = within.map(|time| clock.now().checked_add_signed(time).unwrap_or(DateTime::<Utc>::MAX_UTC));
        let (mut duties, before) = (TakenDuties::new(self, version), clock.monotonic());
        let view = self.refresh().await?;
        duties.look(before, view.state());
        view.require(Action::WriteVersion, version)?;
        let (record, began) = (view.record(version)?.clone(), view.shared_state());
        let targets = terms.targets(&record);
        Error::from_problems(terms.problems(version, &targets))?;
        let tracker = at_work(&record, &targets, clock);
        let _attempt = self.inner.under_way.enter(version, &tracker);
        let (failure, failures) = mpsc::unbounded();
        let mut recording = Box::pin(maybe_done(self.record_failures(record.clone(), failures)));
        let fell = |region: &Region, error: &Error| {
            if tracker.fail(region, error) {
                // The receiver lives until the end of this function.
                let _ = failure.unbounded_send((region.clone(), error.clone()));
            }
        };
        let attempt = Attempt { session: self, version, terms: &terms, deadline, tracker: &tracker, tell, fell: &fell };
        let working = pin!(attempt.run(duties, (record, began)));
        let Ended { report, mut failed, mut problems } = match select(working, &mut recording).await {
            Either::Left((ended, _)) => ended,
            // It ends when no further failure is possible, and is polled again below.
            Either::Right((_, working)) => working.await,
        };
        // Failed regions come before the regions that were stopped because of them.
        failed.sort_by_key(|(_, error)| error.kind() == ErrorKind::Cancelled);
        let of_regions = failed.iter().filter_map(|(region, error)| {
            let first = error.clone().into_problems().into_iter().next()?;
            Some(first.of_larger("ReplicationJobFailed", region.to_string(), "replication failed"))
        });
        problems.splice(0..0, of_regions);
        failure.close_channel();
        problems.extend(self.with_patience(recording).await);
        Error::from_problems(problems).map(|()| report)
    }
}
