//! Collection: frees the bytes that nothing needs.
//!
//! Announce, condemn, remove. Packs are listed before the state is read, so that the state has the announcement of each listed
//! pack. A commit that checks again condemns the packs that the state does not need. From then on their names are dead: nothing
//! relies on them, and content that is stored again gets another name. So a late deletion, by a collection that was suspended for
//! a year, removes nothing that is needed. Then the blobs are removed, and a last commit records it.
//!
//! The condemnation's epoch, the number of a commit, decides which collection removes, and not any clock: another collection may
//! take the removal over at any time with a commit of its own, and the former stops at its next look at the log.
//!
//! Of a mostly dead pack, the live content is written as a part first; then the rest of the pack is garbage.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::freeing::{Freed, Freeing};
use super::merging::Merging;
use super::rewriting::Compressing;
use crate::catalog::{Changes, Event, State};
use crate::content::compression::Compression;
use crate::content::recode::Recoding;
use crate::error::Result;
use crate::host::in_flight::{all_of, together};
use crate::host::sync::Mutex;
use crate::model::Region;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::Survey;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::session::Session;

/// A collection that has not started. Await it to run it, or call [`plan`](Self::plan) first.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// session.delete(&version).await?;
/// let plan = session.collect().plan().await?;
/// let planned = plan.collection.map_or(0, |freed| freed.bytes());
/// assert!(planned > 0);
/// let report = session.collect().await?;
/// assert_eq!(report.bytes(), planned);
/// assert_eq!(session.collect().await?.bytes(), 0);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is freed before it is awaited"]
pub struct Collection(Pending<CollectionWork>);

#[derive(Clone)]
struct CollectionWork {
    session: Session,
    abandon_after: TimeDelta,
    /// What it compresses at its end.
    compresses: Option<Compressing>,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collection")
    }
}

impl Session {
    /// Frees the bytes of deleted resources, removed regions and replicas, and interrupted imports that were given up. Safe
    /// beside publishing, replicating and deploying, in this process and in others; a deployment of a version that is
    /// deleted meanwhile may fail. If the service compresses later, it then does what [`compress`](Self::compress) does with content
    /// that has rested for an hour.
    ///
    /// # Errors
    ///
    /// `Forbidden` for callers who are not administrators; `Unavailable`, also if a region's store is not the right one;
    /// `Corrupt`, also if an entry of the log is missing; `StorageFull`, `Unknown`. The next collection resumes.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// session.delete(&version).await?;
    /// assert!(session.collect().await?.bytes() > 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn collect(&self) -> Collection {
        let compresses = (self.inner.compression == Compression::Later).then(Compressing::default);
        let (session, abandon_after, on_progress) = (self.clone(), TimeDelta::days(7), Arc::new(|_| {}));
        Collection(Pending::new(Ok(CollectionWork { session, abandon_after, compresses, on_progress })))
    }
}

impl Collection {
    /// Sets the age at which an unfinished import is given up: 7 days by default. A publish that is still running then
    /// fails, and can be repeated.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use std::time::Duration;
    ///
    /// let report = session.collect().abandon_uploads_after(Duration::from_secs(3_600)).await?;
    /// assert_eq!(report.abandoned_uploads, 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn abandon_uploads_after(mut self, age: Duration) -> Self {
        self.0.set(|work| work.abandon_after = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX));
        self
    }

    /// Calls `on_progress` for each batch of blobs that is removed, with bytes that are freed and that were found to be free.
    /// `total` grows as regions are listed, one after the other.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::sync::Arc;
    ///
    /// session.delete(&version).await?;
    /// let freed = Arc::new(AtomicU64::new(0));
    /// let told = freed.clone();
    /// let report = session.collect().on_progress(move |progress| told.store(progress.done, Ordering::Relaxed)).await?;
    /// assert_eq!(freed.load(Ordering::Relaxed), report.bytes());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.0.set(|work| work.on_progress = Arc::new(on_progress));
        self
    }

    /// Returns what it would free, in [`Plan::collection`]: it lists the regions and reads manifests.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog or a region cannot be read. A missing right is in the plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// session.delete(&version).await?;
    /// let plan = session.collect().plan().await?;
    /// assert!(plan.collection.is_some_and(|freed| freed.regions[0].blobs > 0));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(Collection, CollectionReport);

impl Work for CollectionWork {
    type Output = CollectionReport;

    async fn plan(&self) -> Result<Plan> {
        if let Err(refused) = self.session.require_administrator("collect") {
            return Ok(Plan::refused(refused.into_problems()));
        }
        let (now, state) = futures::join!(self.session.inner.catalog.agreed_time(), self.session.state());
        let (now, state) = (now?, state?);
        let overdue = self.overdue(&state, now);
        let mut report = CollectionReport::of(&overdue);
        let mut state = State::clone(&state);
        overdue.iter().try_for_each(|event| state.apply(event, now))?;
        let regions = self.session.inner.regions.all(&state).await?;
        let surveying = regions.iter().map(|region| {
            let (regions, state) = (&self.session.inner.regions, &state);
            async move {
                let mut survey = Survey::list(regions, state, region).await?;
                survey.read(state).await.map(|()| survey)
            }
        });
        for (region, survey) in regions.iter().zip(all_of(surveying.collect()).await?) {
            let Some(unneeded) = survey.unneeded(&state) else { continue };
            report.add(region, &unneeded.garbage);
            report.tell(region, &unneeded);
            for rewrite in survey.mostly_dead(&state) {
                report.rewritten(region, rewrite.pack.bytes_of(&rewrite.live));
                report.change(region, |there| there.bytes += rewrite.held);
            }
            survey.unneeded_boot_sets(&state).iter().for_each(|(_, _, bytes)| report.add_boot_set(region, *bytes));
            if let Some(compressing) = &self.compresses {
                report.add_uncompressed(region, compressing.found_in(&survey, &state, now).len());
            }
        }
        let deletes = overdue.iter().filter_map(|event| match event {
            Event::ImageVersionDeleted { version, .. } => Some(version.into()),
            _ => None,
        });
        Ok(Plan { deletes: deletes.collect(), events: overdue, collection: Some(report), ..Plan::default() })
    }

    async fn run(self) -> Result<CollectionReport> {
        self.session.require_administrator("collect")?;
        self.session.inner.catalog.refuse_change()?;
        // Not by this process's clock alone: a purged version cannot be restored.
        let (now, state, ()) = futures::join!(
            self.session.inner.catalog.agreed_time(),
            self.session.state(),
            self.session.inner.regions.recheck_all_now(),
        );
        let (now, mut state) = (now?, state?);
        let overdue = self.overdue(&state, now);
        if !overdue.is_empty() {
            // ORDER: prove that the log has no hole, then purge. The other way round, an entry is lost -> its number is free ->
            // the purge takes it, and what came after, such as a restoration, is another log's.
            self.session.inner.catalog.read_to_the_end().await?;
            let again = self.clone();
            let check = move |state: &State| {
                again.session.require_administrator("collect")?;
                Ok(Changes { events: again.overdue(state, now), authorization: None })
            };
            state = self.session.inner.catalog.commit(&self.session.caller, check).await?;
        }
        let regions = self.session.inner.regions.all(&state).await?;
        let progress = Mutex::new(Progress { done: 0, total: 0 });
        let freeing = regions.iter().map(|region| {
            let (work, state, progress) = (&self, state.clone(), &progress);
            async move {
                let mut freed = Freed { report: CollectionReport::of(&[]), progress };
                (work.free(region, state, &mut freed).await, freed.report)
            }
        });
        let (mut report, mut first) = (CollectionReport::of(&overdue), None);
        // A region that does not answer does not stop the others.
        for (outcome, freed) in together(freeing.collect()).await {
            report.regions.extend(freed.regions);
            first = first.or(outcome.err());
        }
        first.map_or(Ok(report), Err)
    }
}

impl CollectionWork {
    /// Returns the ends of retentions and imports that are due and not yet recorded.
    fn overdue(&self, state: &State, now: DateTime<Utc>) -> Vec<Event> {
        let gone = state.gone(now);
        let purged = gone
            .map(|record| Event::ImageVersionDeleted { version: record.version.id().clone(), restorable_until: None });
        // A version that was announced is carried through at any later time.
        let old = state.uploads().filter(|(_, upload)| {
            now.signed_duration_since(upload.taken_up()) >= self.abandon_after && !state.is_creating(&upload.target)
        });
        purged.chain(old.map(|(upload, _)| Event::UploadAbandoned { upload })).collect()
    }

    /// Frees what a region does not need. `state` was just read.
    async fn free(&self, region: &Region, state: Arc<State>, freed: &mut Freed<'_>) -> Result<()> {
        let freeing = Freeing { session: &self.session, on_progress: &self.on_progress };
        let state = freeing.finish_removal(region, state, freed).await?;
        // ORDER: the state is read before the list, for the condemnations of then; users of the list read the state again, so
        // that it has the announcement of every blob on the list.
        let mut survey = Survey::list(&self.session.inner.regions, &state, region).await?;
        // ORDER: first the garbage, which needs no space to remove; a full store has room for rewritten packs only then.
        let state = freeing.remove_all_garbage(&mut survey, freed).await?;
        if !survey.mostly_dead(&state).is_empty() {
            let how = self.compresses.as_ref().map(|_| Recoding::Rested);
            freeing.rewrite(&mut survey, how, freed).await?;
            freeing.remove_all_garbage(&mut survey, freed).await?;
        }
        let boot_sets = freeing.remove_boot_sets(&survey, &state, freed).await;
        let silent: OnProgress = Arc::new(|_| {});
        match &self.compresses {
            Some(compressing) => {
                freeing.compress(&mut survey, compressing, freed, &silent).await?;
                let now = self.session.inner.catalog.agreed_time().await?;
                freeing.merge(&mut survey, Merging::of(compressing, now), freed, &silent).await?;
            }
            // At most half of a merged blob is dead, whoever merged it.
            None => freeing.merge(&mut survey, Merging::MOSTLY_DEAD, freed, &silent).await.map(drop)?,
        }
        boot_sets
    }
}
