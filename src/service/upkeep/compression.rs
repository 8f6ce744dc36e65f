//! Compression of content that has rested: what an import stored plain is written anew in groups, and then collected.
//!
//! A pack that an import wrote has its own name in a slot; what is compressed is a part of it, and a part is never compressed again. So
//! the names tell what is left to do: nothing is recorded, any process can go on, and content that does not shrink is tried once.
//! The part holds the same records under the same names, so no index changes, and other slots stay as they are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::collection::{CollectionWork, Freed, REWRITES};
use crate::catalog::State;
use crate::content::names::{PackId, SlotId};
use crate::content::recode::Recoding;
use crate::error::{Error, Result};
use crate::host::in_flight::all_of;
use crate::host::sync::Mutex;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::{Rewrite, Survey};
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::session::Session;

/// Packs that are compressed before what they replace is removed: a replica needs room for as many more, of up to 16 MiB.
const BETWEEN_REMOVALS: usize = 64;

/// What is to be compressed, and how much.
#[derive(Clone, Debug)]
pub(super) struct Compressing {
    /// The time since the publication of the last version that needs a pack.
    rested_for: TimeDelta,
    /// The bytes to read, over all regions.
    at_most: u64,
    /// The time after which no further pack is begun.
    within: Option<TimeDelta>,
}

impl Default for Compressing {
    fn default() -> Self {
        Self { rested_for: TimeDelta::hours(1), at_most: u64::MAX, within: None }
    }
}

impl Compressing {
    /// Returns the packs that are to be compressed.
    pub(super) fn found_in(&self, survey: &Survey, state: &State, now: DateTime<Utc>) -> Vec<Rewrite> {
        let rested = now.checked_sub_signed(self.rested_for).unwrap_or(DateTime::<Utc>::MIN_UTC);
        survey.uncompressed(state, rested)
    }
}

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
    /// an import does, also if [`Compression`](crate::content::Compression) has another setting. What is replaced is removed as by
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
        if let Err(refused) = self.session.require_administrator("compress") {
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
        }
        Ok(Plan { collection: Some(report), ..Plan::default() })
    }

    async fn run(self) -> Result<CollectionReport> {
        self.session.require_administrator("compress")?;
        self.session.inner.catalog.refuse_change()?;
        let inner = &self.session.inner;
        let (state, ()) = futures::join!(self.session.state(), inner.regions.recheck_all_now());
        let state = state?;
        let (progress, none) = (Mutex::new(Progress { done: 0, total: 0 }), Arc::new(|_| {}));
        let collection = CollectionWork {
            session: self.session.clone(),
            abandon_after: TimeDelta::MAX,
            compresses: Some(self.compressing.clone()),
            on_progress: none,
        };
        let regions = inner.regions.all(&state).await?;
        let (mut report, mut compressing) = (CollectionReport::of(&[]), self.compressing.clone());
        // One after the other: the budget is for all of them, and the processor is the limit.
        for region in &regions {
            let mut freed = Freed { report: CollectionReport::of(&[]), progress: &progress };
            let state = collection.finish_removal(region, self.session.state().await?, &mut freed).await?;
            let mut survey = Survey::list(&inner.regions, &state, region).await?;
            let read = collection.compress_and_tell(&mut survey, &compressing, &mut freed, &self.on_progress).await;
            report.regions.extend(freed.report.regions);
            compressing.at_most = compressing.at_most.saturating_sub(read?);
        }
        Ok(report)
    }
}

impl CollectionWork {
    /// Compresses what has rested in a region.
    pub(super) async fn compress(
        &self,
        survey: &mut Survey,
        compressing: &Compressing,
        freed: &mut Freed<'_>,
    ) -> Result<()> {
        let silent: OnProgress = Arc::new(|_| {});
        self.compress_and_tell(survey, compressing, freed, &silent).await.map(drop)
    }

    /// As [`compress`](Self::compress). Returns the bytes that were read.
    async fn compress_and_tell(
        &self,
        survey: &mut Survey,
        compressing: &Compressing,
        freed: &mut Freed<'_>,
        on_progress: &OnProgress,
    ) -> Result<u64> {
        let inner = &self.session.inner;
        let (began, now) = (inner.clock.now(), inner.catalog.agreed_time().await?);
        let mut tried = BTreeSet::<(SlotId, PackId)>::new();
        let mut read = 0_u64;
        loop {
            let state = self.session.state().await?;
            if survey.is_overtaken(&state) {
                survey.list_again(&state).await?;
            }
            survey.read(&state).await?;
            let mut found = compressing.found_in(survey, &state, now);
            found.retain(|rewrite| !tried.contains(&(rewrite.slot, rewrite.pack.id)));
            let left = found.len();
            let is_late =
                compressing.within.is_some_and(|within| inner.clock.now().signed_duration_since(began) >= within);
            found.truncate(if is_late { 0 } else { BETWEEN_REMOVALS });
            let mut bytes = read;
            found.retain(|rewrite| {
                bytes = bytes.saturating_add(rewrite.pack.length);
                bytes <= compressing.at_most
            });
            if found.is_empty() {
                freed.report.add_uncompressed(survey.region(), left);
                return Ok(read);
            }
            tried.extend(found.iter().map(|rewrite| (rewrite.slot, rewrite.pack.id)));
            for wave in found.chunks(REWRITES) {
                self.compress_packs(survey, wave, freed).await?;
                read += wave.iter().map(|rewrite| rewrite.pack.length).sum::<u64>();
                on_progress(Progress { done: read, total: read.max(bytes) });
            }
            self.remove_all_garbage(survey, freed).await?;
        }
    }

    async fn compress_packs(&self, survey: &mut Survey, packs: &[Rewrite], freed: &mut Freed<'_>) -> Result<()> {
        let workers = &self.session.inner.workers;
        let writing = packs.iter().filter_map(|Rewrite { slot: id, pack, live, .. }| {
            let slot = survey.slot(*id)?;
            Some(async move {
                // A damaged pack is left to a scrub, a slot that does not answer to the next time.
                let Ok((parcel, bytes)) = slot.recoded(pack, live, Some(Recoding::Rested), workers).await else {
                    return Ok::<_, Error>(None);
                };
                let (placed, length) = (slot.as_kept_here(&parcel), bytes.len() as u64);
                slot.put_parcel(&parcel, bytes).await?;
                Ok(Some((*id, placed, length)))
            })
        });
        for (slot, placed, length) in all_of(writing.collect()).await?.into_iter().flatten() {
            freed.report.compressed(survey.region(), length);
            survey.written(slot, placed);
        }
        Ok(())
    }
}
