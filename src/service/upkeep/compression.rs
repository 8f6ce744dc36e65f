//! Compression of content that has rested: what an import stored plain is written anew in groups, and then collected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::freeing::{Freed, Freeing};
use super::merging::Merging;
use super::rewriting::Compressing;
use crate::error::Result;
use crate::host::sync::Mutex;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::Survey;
use crate::service::session::call::Call;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::session::Session;

/// A compression that has not started. Await it to run it, or call [`plan`](Self::plan) first.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// use compute_gallery::testkit::Sandbox;
///
/// let sandbox = Sandbox::new().await?;
/// let session = sandbox.session();
/// sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
/// let plan = session.compress().plan().await?;
/// assert!(plan.collection.is_some_and(|left| left.regions[0].uncompressed_packs > 0));
/// let report = session.compress().await?;
/// assert!(report.regions[0].compressed_packs > 0);
/// // Each pack is compressed once.
/// assert!(session.compress().await?.regions.is_empty());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is compressed before it is awaited"]
pub struct CompressionLater(Pending<CompressionWork>);

#[derive(Clone)]
struct CompressionWork {
    session: Session,
    compressing: Compressing,
    on_progress: OnProgress,
}

impl std::fmt::Debug for CompressionLater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CompressionLater")
    }
}

impl Session {
    /// Compresses the packs of all replicas that are still as an import wrote them: chunks in groups of eight, at a higher level than
    /// an import does, also if [`Compression`](crate::content::Compression) has another setting. Then merges small packs that the versions of
    /// a definition need, so that the newest of many versions is read with hardly more requests than one that was published alone. What is replaced is removed as by
    /// [`collect`](Self::collect). Indexes and other replicas stay as they are. Safe beside publishing, replicating and deploying, in
    /// this process and in others.
    ///
    /// Each pack is decoded, compared with the hashes of its content, encoded, decoded and compared again, and read back from the
    /// store before what it replaces is removed. A damaged one stays for a scrub.
    ///
    /// # Errors
    ///
    /// As [`collect`](Self::collect). What is compressed stays so; the next call goes on.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::content::Compression;
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    ///
    /// let builder = GalleryService::builder().compression(Compression::Later);
    /// # drop(builder);
    /// sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// assert!(session.compress().await?.bytes() > 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn compress(&self) -> CompressionLater {
        let compressing = Compressing { rested_for: TimeDelta::zero(), ..Compressing::default() };
        let (session, on_progress) = (self.clone(), Arc::new(|_| {}));
        CompressionLater(Pending::new(Ok(CompressionWork { session, compressing, on_progress })))
    }
}

impl CompressionLater {
    /// Leaves out packs that a version needs which was published less than `time` ago: 0 by default.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use std::time::Duration;
    ///
    /// sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// let report = session.compress().rested_for(Duration::from_secs(3600)).await?;
    /// assert!(report.regions.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn rested_for(mut self, time: Duration) -> Self {
        self.0.set(|work| work.compressing.rested_for = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX));
        self
    }

    /// Stops before more than `bytes` of stored packs are read, over all regions: unlimited by default. The rest is in
    /// [`uncompressed_packs`](super::RegionCollection::uncompressed_packs).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// let report = session.compress().at_most_bytes(100).await?;
    /// assert_eq!(report.regions[0].compressed_packs, 0);
    /// assert!(report.regions[0].uncompressed_packs > 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn at_most_bytes(mut self, bytes: u64) -> Self {
        self.0.set(|work| work.compressing.at_most = bytes);
        self
    }

    /// Begins no further pack after `time`: unlimited by default.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use std::time::Duration;
    ///
    /// sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// let report = session.compress().within(Duration::from_secs(60)).await?;
    /// assert!(report.regions[0].compressed_packs > 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn within(mut self, time: Duration) -> Self {
        self.0.set(|work| work.compressing.within = TimeDelta::from_std(time).ok());
        self
    }

    /// Merges small packs that the versions of a definition need if they are at least `packs` in a replica: 8 by default. Fewer are merged
    /// sooner, and rewritten more often.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::{Sandbox, noise};
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// sandbox.publish("1.0.0", noise(1, 1 << 20)).await?;
    /// sandbox.publish("1.0.1", noise(2, 1 << 20)).await?;
    /// assert_eq!(session.compress().await?.regions[0].merged_packs, 0);
    /// assert!(session.compress().merged_from(2).await?.regions[0].merged_packs >= 2);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn merged_from(mut self, packs: usize) -> Self {
        self.0.set(|work| work.compressing.several = packs.max(2));
        self
    }

    /// Calls `on_progress` for each few packs, with the stored bytes that were read and those that are to be. `total` grows as regions
    /// are listed.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::sync::Arc;
    ///
    /// sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// let read = Arc::new(AtomicU64::new(0));
    /// let told = read.clone();
    /// session.compress().on_progress(move |progress| told.store(progress.done, Ordering::Relaxed)).await?;
    /// assert!(read.load(Ordering::Relaxed) > 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.0.set(|work| work.on_progress = Arc::new(on_progress));
        self
    }

    /// Returns what it would compress, in [`Plan::collection`]: it lists the regions and reads manifests.
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
    /// let plan = session.compress().plan().await?;
    /// assert!(plan.collection.is_some_and(|left| left.regions.is_empty()));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(CompressionLater, CollectionReport);

impl Work for CompressionWork {
    type Output = CollectionReport;

    async fn plan(&self) -> Result<Plan> {
        if let Err(refused) = self.session.require_janitor("compress") {
            return Ok(Plan::refused(refused.into_problems()));
        }
        let inner = &self.session.inner;
        let (now, state) = futures::join!(inner.catalog.agreed_time(), self.session.state());
        let (now, state) = (now?, state?);
        let mut report = CollectionReport::of(&[]);
        for region in inner.regions.all(&state).await? {
            let mut survey = Survey::list(&inner.regions, &state, &region).await?;
            survey.read(&state).await?;
            let found = self.compressing.found_in(&survey, &state, now);
            report.add_uncompressed(&region, found.len());
            let merges = survey.to_merge(&state, Merging::of(&self.compressing, now).rule, &BTreeSet::new());
            report.merged(&region, merges.iter().map(|merge| merge.packs.len()).sum(), 0);
        }
        Ok(Plan { collection: Some(report), ..Plan::default() })
    }

    fn call(&self) -> Option<Call> {
        self.session.call("compress", || "the catalog".to_owned())
    }

    async fn run(self) -> Result<CollectionReport> {
        self.session.require_janitor("compress")?;
        self.session.inner.catalog.refuse_change()?;
        let inner = &self.session.inner;
        let (state, ()) = futures::join!(self.session.state(), inner.regions.recheck_all_now());
        let state = state?;
        // Progress is told in bytes that were read, not in those of blobs that are removed.
        let (progress, silent): (_, OnProgress) = (Mutex::new(Progress { done: 0, total: 0 }), Arc::new(|_| {}));
        let freeing = Freeing { session: &self.session, on_progress: &silent };
        let regions = inner.regions.all(&state).await?;
        let (mut report, mut compressing) = (CollectionReport::of(&[]), self.compressing.clone());
        let until = self.compressing.within.and_then(|within| inner.clock.now().checked_add_signed(within));
        // One after the other: the budget is for all of them, and the processor is the limit.
        for region in &regions {
            let mut freed = Freed { report: CollectionReport::of(&[]), progress: &progress };
            let state = freeing.finish_removal(region, self.session.state().await?, &mut freed).await?;
            let mut survey = Survey::list(&inner.regions, &state, region).await?;
            let read = async {
                let compressed = freeing.compress(&mut survey, &compressing, &mut freed, &self.on_progress).await?;
                compressing.at_most = compressing.at_most.saturating_sub(compressed);
                let merging = Merging { until, ..Merging::of(&compressing, inner.catalog.agreed_time().await?) };
                freeing.merge(&mut survey, merging, &mut freed, &self.on_progress).await
            };
            let read = read.await;
            report.regions.extend(freed.report.regions);
            compressing.at_most = compressing.at_most.saturating_sub(read?);
        }
        Ok(report)
    }
}
