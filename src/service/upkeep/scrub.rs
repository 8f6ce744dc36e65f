//! Scrubs: read everything that a region keeps, and mend damage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::catalog::State;
use crate::content::extents::Extents;
use crate::content::manifest::Manifest;
use crate::content::names::PackId;
use crate::content::pack::PackInfo;
use crate::error::{Error, Result};
use crate::host::in_flight::{REQUESTS, bytes_of, together};
use crate::host::sync::Mutex;
use crate::model::{Region, ResourceId, StorageAccountType, given};
use crate::progress::{OnProgress, Progress};
use crate::regions::needed::{Kept, kept_in};
use crate::replica::holders::{Holders, is_damage};
use crate::replica::mending::{MendOutcome, Mending};
use crate::replica::slot::Slot;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::session::Session;

/// A scrub that has not started. Await it to run it.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let report = session.scrub("eastus").bytes_per_second(50 << 20).await?;
/// assert!(report.verified_bytes > 0);
/// assert_eq!((report.mended, report.damaged), (0, 0));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is read before it is awaited"]
pub struct Scrub(Pending<ScrubWork>);

#[derive(Clone)]
struct ScrubWork {
    session: Session,
    region: Region,
    bytes_per_second: Option<u64>,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Scrub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scrub").field(&self.0.work().map(|work| &work.region)).finish()
    }
}

/// The findings of a scrub.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let report = session.scrub("eastus").await?;
/// assert!(report.damaged_versions.is_empty());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScrubReport {
    /// Bytes that were read and match their hashes.
    pub verified_bytes: u64,
    /// Packs and manifests that were damaged or missing and are good again.
    pub mended: usize,
    /// Packs and manifests that could not be mended: no replica has a good one, or the store refused the write.
    pub damaged: usize,
    /// Resources that need the damaged ones: they cannot be deployed from every replica, or from none.
    pub damaged_versions: Vec<ResourceId>,
}

/// # Scrubs
impl Session {
    /// Reads everything that a region keeps, in all its replicas and zones, checks it against its hashes, and mends damaged
    /// and missing blobs from another replica or zone of the region or from another region. So it refills a zone or a disk
    /// that was lost and is back, empty.
    ///
    /// # Errors
    ///
    /// `Forbidden` for callers who are not administrators; `Invalid` for a rate of 0; `Unavailable`, `Corrupt` if the
    /// catalog cannot be read.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let report = session.scrub("eastus").await?;
    /// assert_eq!(report.damaged, 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn scrub(&self, region: impl TryInto<Region, Error: Into<Error>>) -> Scrub {
        let on_progress = Arc::new(|_| {});
        let work = |region| ScrubWork { session: self.clone(), region, bytes_per_second: None, on_progress };
        Scrub(Pending::new(given(region).map(work)))
    }
}

impl Scrub {
    /// Caps reads at `rate` bytes per second of the service's clock, to leave room for deployments; by default they are not
    /// capped. A rate of 0 is refused.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// assert!(session.scrub("eastus").bytes_per_second(0).await.is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn bytes_per_second(mut self, rate: u64) -> Self {
        self.0.set(|work| work.bytes_per_second = Some(rate));
        self
    }

    /// Calls `on_progress` after each pack.
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
    /// let done = Arc::new(AtomicU64::new(0));
    /// let told = done.clone();
    /// session.scrub("eastus").on_progress(move |progress| told.store(progress.done, Ordering::Relaxed)).await?;
    /// assert!(done.load(Ordering::Relaxed) > 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.0.set(|work| work.on_progress = Arc::new(on_progress));
        self
    }

    /// Returns what it would read, at most: everything that the region keeps, by the catalog. It reads no store.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog cannot be read. A missing right or a rate of 0 is in the plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let plan = session.scrub("eastus").plan().await?;
    /// assert!(plan.regions[0].read_bytes > 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(Scrub, ScrubReport);

impl ScrubWork {
    fn allowed(&self) -> Result<()> {
        self.session.require_administrator("scrub")?;
        if self.bytes_per_second == Some(0) {
            let what = "a rate of `0` bytes per second would never end: set at least 1";
            return Err(Error::invalid("bytes_per_second", what));
        }
        Ok(())
    }
}

impl Work for ScrubWork {
    type Output = ScrubReport;

    async fn plan(&self) -> Result<Plan> {
        if let Err(refused) = self.allowed() {
            return Ok(Plan::refused(refused.into_problems()));
        }
        let state = self.session.state().await?;
        let kept = kept_in(&self.session.inner.regions, &state, &self.region);
        let read = |one: &Kept| one.stored_bytes * u64::from(one.ready) * one.zones as u64;
        let bytes = kept.iter().map(read).sum();
        let replicas = kept.iter().map(|one| one.ready).max().unwrap_or(0);
        let region = RegionPlan::read(&self.region, StorageAccountType::default(), replicas, bytes);
        Ok(Plan { regions: vec![region], ..Plan::default() })
    }

    async fn run(self) -> Result<ScrubReport> {
        self.allowed()?;
        // It mends.
        self.session.inner.catalog.refuse_change()?;
        // What was read before the mounts were changed says nothing of now.
        let rechecked = self.session.inner.regions.recheck_now(&self.region);
        let (state, ()) = futures::join!(self.session.state(), rechecked);
        let state = state?;
        let (mut report, mut hit) = (ScrubReport::default(), BTreeSet::new());
        let mut round = Round::default();
        let kept = kept_in(&self.session.inner.regions, &state, &self.region);
        for (wave, images) in kept.chunks(REQUESTS).enumerate() {
            let reading = together(images.iter().map(|one| self.content(&state, one)).collect()).await;
            for (number, (one, read)) in (wave * REQUESTS..).zip(images.iter().zip(reading)) {
                let Content { here, all, manifest, mended } = read?;
                mended.into_iter().for_each(|mended| report.count(mended));
                let Some(manifest) = manifest else {
                    hit.insert(one.id.clone());
                    continue;
                };
                for pack in manifest.packs.iter() {
                    if let Some(need) = manifest.needs.get(&pack.id) {
                        round.add(pack, number, need, &here, &all);
                    }
                }
            }
        }
        let needed = |pack: &Pack| pack.needed.values().map(|(_, need)| pack.info.bytes_of(need)).sum::<u64>();
        let total = round.packs.values().map(needed).sum();
        let done = Mutex::new(0);
        let checked = |bytes: u64| {
            let mut done = done.lock();
            *done += bytes;
            (self.on_progress)(Progress { done: *done, total });
        };
        let (work, checked) = (&self, &checked);
        // With a rate, one after the other.
        let most = if self.bytes_per_second.is_some() { 1 } else { REQUESTS };
        let (most_bytes, _more) = bytes_of(&self.session.inner.memory);
        let (mut waiting, mut under_way, mut bytes) = (round.packs.values(), FuturesUnordered::new(), 0);
        let mut next = waiting.next();
        loop {
            while let Some(pack) = next.filter(|_| under_way.len() < most && bytes < most_bytes) {
                bytes += pack.info.length;
                under_way.push(async move { (pack, work.mend(pack, checked).await) });
                next = waiting.next();
            }
            let Some((pack, outcomes)) = under_way.next().await else { break };
            bytes -= pack.info.length;
            for outcome in outcomes {
                match outcome {
                    MendOutcome::Good(bytes) => report.verified_bytes += bytes,
                    MendOutcome::Mended => report.count(true),
                    MendOutcome::Lost => {
                        report.count(false);
                        hit.extend(pack.of.iter().filter_map(|number| kept.get(*number)).map(|kept| kept.id.clone()));
                    }
                }
            }
        }
        report.damaged_versions = hit.into_iter().collect();
        Ok(report)
    }
}

/// What a scrub knows of an image before it reads its packs.
struct Content {
    /// The slots of the region that must have it whole.
    here: Vec<Slot>,
    /// All slots that have it whole.
    all: Vec<Slot>,
    /// `None` if no slot has a good one.
    manifest: Option<Manifest>,
    /// For each blob of the manifest that was damaged or missing in a slot of the region, whether it is there now.
    mended: Vec<bool>,
}

impl ScrubWork {
    /// Reads the manifest of an image, and mends it in each slot of the region.
    async fn content(&self, state: &State, one: &Kept) -> Result<Content> {
        let here = self.session.inner.regions.replicas(state, &self.region, one.ready, one.account)?;
        let here: Vec<Slot> = here.into_iter().flatten().collect();
        let away = one.holders.iter().filter(|slot| !here.iter().any(|one| one.label() == slot.label()));
        let all: Vec<Slot> = here.iter().chain(away).cloned().collect();
        let holders = Holders::new(all.clone());
        let (manifest, root) = futures::join!(holders.intact_manifest(&one.manifest), self.check_root(&here, one));
        let manifest = match manifest {
            Ok(manifest) => manifest,
            // Whatever it may need stays, and whoever mends must know that.
            Err(error) if !is_damage(&error) => return Err(error),
            Err(_) => {
                // The root of it, or a page.
                let mended = vec![false; root.len().max(1)];
                return Ok(Content { mended, here, all, manifest: None });
            }
        };
        let checking = manifest
            .pages()
            .iter()
            .flat_map(|(id, bytes)| here.iter().map(move |slot| (slot, id, bytes)))
            .map(|(slot, id, bytes)| async move { (slot.check_manifest_blob(id).await.is_err(), slot, id, bytes) });
        let checked = together(checking.collect()).await;
        let bad_pages =
            checked.into_iter().filter(|(is_bad, ..)| *is_bad).map(|(_, slot, id, bytes)| (slot, id, bytes));
        let bad_roots = root.iter().map(|slot| (*slot, &one.manifest, manifest.root()));
        let replacing = bad_roots.chain(bad_pages);
        let replacing = replacing.map(|(slot, id, bytes)| slot.replace_manifest_blob(id, bytes.clone()));
        let mended = together(replacing.collect()).await.into_iter().map(|replaced| replaced.is_ok()).collect();
        Ok(Content { here, all, manifest: Some(manifest), mended })
    }

    /// Returns the slots where the root of a manifest is damaged or missing.
    async fn check_root<'s>(&self, here: &'s [Slot], one: &Kept) -> Vec<&'s Slot> {
        let read = together(here.iter().map(|slot| slot.check_manifest_blob(&one.manifest)).collect()).await;
        here.iter().zip(read).filter(|(_, read)| read.is_err()).map(|(slot, _)| slot).collect()
    }

    /// Checks and mends a pack in each slot that must have it: one after the other, because each may be mended from the others.
    async fn mend(&self, pack: &Pack, checked: &(dyn Fn(u64) + Sync)) -> Vec<MendOutcome> {
        let mut outcomes = Vec::new();
        for (place, (slot, need)) in &pack.needed {
            if let Some(rate) = self.bytes_per_second {
                let takes = Duration::from_secs_f64(pack.info.bytes_of(need) as f64 / rate as f64);
                self.session.inner.clock.sleep(takes).await;
            }
            let others = pack.holders.iter().filter(|(other, _)| *other != *place).map(|(_, slot)| slot.clone());
            let others = Holders::new(others.collect());
            let (info, workers) = (&pack.info, &self.session.inner.workers);
            let mending = Mending { slot, others: &others, info, need, workers };
            outcomes.push(mending.run().await);
            checked(pack.info.bytes_of(need));
        }
        outcomes
    }
}

/// The packs to read.
#[derive(Default)]
struct Round {
    packs: BTreeMap<PackId, Pack>,
}

struct Pack {
    info: PackInfo,
    /// Slots of the region that need the pack, by their name in errors, and what each needs of it.
    needed: BTreeMap<String, (Slot, Extents)>,
    /// Every slot of any region that must have it, those of this region first.
    holders: Vec<(String, Slot)>,
    /// The versions that are made of it, by their position.
    of: BTreeSet<usize>,
}

impl Pack {
    fn new(info: &PackInfo) -> Self {
        let (needed, holders, of) = Default::default();
        Self { info: *info, needed, holders, of }
    }
}

impl Round {
    fn add(&mut self, info: &PackInfo, of: usize, need: &Extents, here: &[Slot], all: &[Slot]) {
        let pack = self.packs.entry(info.id).or_insert_with(|| Pack::new(info));
        pack.of.insert(of);
        for slot in here {
            let new = || (slot.clone(), Extents::default());
            let (_, needed) = pack.needed.entry(slot.label().to_owned()).or_insert_with(new);
            *needed = needed.union(need);
        }
        for slot in all {
            if !pack.holders.iter().any(|(place, _)| place == slot.label()) {
                pack.holders.push((slot.label().to_owned(), slot.clone()));
            }
        }
    }
}

impl ScrubReport {
    fn count(&mut self, mended: bool) {
        match mended {
            true => self.mended += 1,
            false => self.damaged += 1,
        }
    }
}
