//! Scrubs: read everything that a region keeps, and mend damage.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::catalog::State;
use crate::content::manifest::Manifest;
use crate::error::{Error, Result};
use crate::host::in_flight::{REQUESTS, bytes_of, together};
use crate::host::sync::Mutex;
use crate::model::{Region, ResourceId, StorageAccountType, given};
use crate::progress::{OnProgress, Progress};
use crate::regions::needed::{Kept, Stored, stored_in};
use crate::replica::holders::{Holders, is_damage};
use crate::replica::mending::{MendOutcome, Mending};
use crate::replica::slot::Slot;
use crate::service::session::call::Call;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::session::Session;
use crate::service::upkeep::scrub_wave::{MAX_PACKS, Pack, Places, Scrubbed, Wave};

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
    after: ScrubCursor,
    at_most_bytes: Option<u64>,
    on_progress: OnProgress,
}

/// The place up to which a region was scrubbed, to go on from there, also in another process: a host keeps it as text.
///
/// ```
/// use compute_gallery::upkeep::ScrubCursor;
///
/// let kept = ScrubCursor::default().to_string();
/// assert_eq!(kept.parse::<ScrubCursor>()?, ScrubCursor::default());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScrubCursor(u64);

impl std::fmt::Display for ScrubCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for ScrubCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let not_one = |_| {
            Error::invalid(
                "cursor",
                format!("`{text}` is not the cursor of a scrub: pass what `ScrubReport::next` had"),
            )
        };
        text.parse().map(Self).map_err(not_one)
    }
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
    /// Packs, manifests and fronts of merged blobs that were damaged or missing and are good again.
    pub mended: usize,
    /// Those that could not be mended: no replica that answers has a good one, or the store refused the write. What this service imports
    /// into the region from now on shares nothing with them; other processes publish with
    /// [`store_everything`](crate::Publication::store_everything).
    pub damaged: usize,
    /// Packs and manifests of which nothing is known, because their store does not answer: they may be as they must. Scrub again when it
    /// does.
    pub unreachable: usize,
    /// Resources that need the damaged ones: they cannot be deployed from every replica, or from none.
    pub damaged_versions: Vec<ResourceId>,
    /// Where the next scrub goes on; `None` if all is scrubbed.
    pub next: Option<ScrubCursor>,
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
        let work = |region| ScrubWork {
            session: self.clone(),
            region,
            bytes_per_second: None,
            after: ScrubCursor::default(),
            at_most_bytes: None,
            on_progress,
        };
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

    /// Ends after about `bytes` bytes, at the end of an image; [`ScrubReport::next`] tells where to go on. By default it reads everything.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// # sandbox.publish("1.0.1", vec![8; 4096]).await?;
    /// // An hour's share each night.
    /// let first = session.scrub("eastus").at_most_bytes(1).await?;
    /// let second = session.scrub("eastus").at_most_bytes(1).after(first.next.unwrap_or_default()).await?;
    /// assert!(first.next.is_some() && second.next.is_none());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn at_most_bytes(mut self, bytes: u64) -> Self {
        self.0.set(|work| work.at_most_bytes = Some(bytes));
        self
    }

    /// Goes on where an earlier scrub has ended: images that it has scrubbed are left out. Images are scrubbed in the order of their
    /// publication, so those that were published since come last. What they share with such an image is left out, too.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let all = session.scrub("eastus").after(Default::default()).await?;
    /// assert_eq!(all, session.scrub("eastus").await?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn after(mut self, cursor: ScrubCursor) -> Self {
        self.0.set(|work| work.after = cursor);
        self
    }

    /// Calls `on_progress` after each pack. The total of a region with more than 16,384 packs falls as it goes on: what images share
    /// counts for each of those that are still to come.
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
        self.session.require_janitor("scrub")?;
        if self.bytes_per_second == Some(0) {
            let what = "a rate of `0` bytes per second would never end: set at least 1";
            return Err(Error::invalid("bytes_per_second", what));
        }
        if self.at_most_bytes == Some(0) {
            return Err(Error::invalid("at_most_bytes", "a scrub of `0` bytes would go on nowhere: set at least 1"));
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
        let (stored, regions) = (self.stored(&state), &self.session.inner.regions);
        let bytes = self.bytes_of(&stored).min(self.at_most_bytes.unwrap_or(u64::MAX));
        let replicas = stored.iter().map(|stored| stored.ready(regions, &self.region).0).max().unwrap_or(0);
        let region = RegionPlan::read(&self.region, StorageAccountType::default(), replicas, bytes);
        Ok(Plan { regions: vec![region], ..Plan::default() })
    }

    fn call(&self) -> Option<Call> {
        self.session.call("scrub", || self.region.to_string())
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
        let (mut scrubbed, mut read) = (self.scrubbed_before(&state), 0);
        let stored = self.stored(&state);
        let mut rest = stored.as_slice();
        let mut to_come = self.bytes_of(rest);
        while let Some(first) = rest.first().filter(|_| self.at_most_bytes.is_none_or(|most| read < most)) {
            let (mut wave, mut last) = (Wave::default(), first.published());
            let has_room = |wave: &Wave| {
                wave.packs.len() < MAX_PACKS && self.at_most_bytes.is_none_or(|most| read + wave.bytes < most)
            };
            while !rest.is_empty() && has_room(&wave) {
                let (images, later) = rest.split_at(self.step(rest));
                rest = later;
                last = images.last().map_or(last, |stored| stored.published());
                let kept: Vec<Kept> = images.iter().map(|stored| self.kept(&state, *stored)).collect();
                to_come = to_come.saturating_sub(self.bytes_of(images));
                let content = together(kept.iter().map(|one| self.content(&state, one)).collect()).await;
                for (one, content) in kept.iter().zip(content) {
                    let Content { places, manifest, mended, unreachable } = content?;
                    report.unreachable += unreachable;
                    mended.into_iter().for_each(|mended| report.count(mended));
                    let place = scrubbed.place(places);
                    if manifest.is_none_or(|manifest| scrubbed.add(&mut wave, one, &manifest, place)) {
                        hit.insert(one.id.clone());
                    }
                }
            }
            hit.extend(self.wave(&mut scrubbed, &wave, (read, read + wave.bytes + to_come), &mut report).await);
            read += wave.bytes;
            report.next = (!rest.is_empty()).then_some(ScrubCursor(last));
        }
        self.fronts(&scrubbed, &mut report).await;
        report.damaged_versions = hit.into_iter().collect();
        Ok(report)
    }
}

impl ScrubWork {
    /// Returns the images to scrub, in the order of their publication.
    fn stored<'s>(&'s self, state: &'s State) -> Vec<Stored<'s>> {
        let later = stored_in(state, &self.region).filter(|stored| stored.published() > self.after.0);
        let mut stored: Vec<Stored<'_>> = later.collect();
        stored.sort_by_key(|stored| stored.published());
        stored
    }

    /// Returns what the scrubs up to the cursor have read.
    fn scrubbed_before(&self, state: &State) -> Scrubbed {
        let (regions, region) = (&self.session.inner.regions, &self.region);
        let earlier = stored_in(state, region).filter(|stored| stored.published() <= self.after.0);
        Scrubbed::by(earlier.map(|stored| (stored.upload(), stored.ready(regions, region))))
    }

    /// Returns the bytes of images, in all their replicas and zones.
    fn bytes_of(&self, images: &[Stored<'_>]) -> u64 {
        images.iter().map(|stored| stored.read_bytes(&self.session.inner.regions, &self.region)).sum()
    }

    fn kept(&self, state: &State, stored: Stored<'_>) -> Kept {
        stored.kept(&self.session.inner.regions, state, &self.region)
    }

    /// Returns how many images are read together: those of one commit are, so that a cursor is between two.
    fn step(&self, rest: &[Stored<'_>]) -> usize {
        let most = if self.at_most_bytes.is_some() { 1 } else { REQUESTS };
        let last = rest.get(most - 1).map(|stored| stored.published());
        last.map_or(rest.len(), |last| rest.partition_point(|stored| stored.published() <= last))
    }

    /// Reads the packs of a wave, and returns the images that have lost one. `progress` is what was read before, and what is to be read in
    /// all.
    async fn wave(
        &self,
        scrubbed: &mut Scrubbed,
        wave: &Wave,
        (before, total): (u64, u64),
        report: &mut ScrubReport,
    ) -> Vec<ResourceId> {
        let done = Mutex::new(before);
        let checked = |bytes: u64| {
            let mut done = done.lock();
            *done += bytes;
            (self.on_progress)(Progress { done: *done, total });
        };
        let (known, checked) = (&*scrubbed, &checked);
        // With a rate, one after the other.
        let most = if self.bytes_per_second.is_some() { 1 } else { REQUESTS };
        let (most_bytes, _more) = bytes_of(&self.session.inner.memory);
        let (mut waiting, mut under_way, mut bytes) = (wave.packs.values(), FuturesUnordered::new(), 0);
        let (mut next, mut lost) = (waiting.next(), Vec::new());
        loop {
            while let Some(pack) = next.filter(|_| under_way.len() < most && bytes < most_bytes) {
                bytes += pack.info.length;
                under_way.push(async move { (pack, self.mend(known, pack, checked).await) });
                next = waiting.next();
            }
            let Some((pack, outcomes)) = under_way.next().await else { break };
            bytes -= pack.info.length;
            let (id, noted) = (pack.info.id, self.session.inner.regions.lost());
            // An earlier wave may have needed other records of it.
            let is_good = |outcome: &MendOutcome| matches!(outcome, MendOutcome::Good(_) | MendOutcome::Mended);
            if outcomes.contains(&MendOutcome::Lost) {
                lost.push(id);
                noted.note(Some(&self.region), [id]);
            } else if !outcomes.is_empty() && outcomes.iter().all(is_good) && !known.has_lost(&id) {
                noted.found(&self.region, &id);
            }
            outcomes.into_iter().for_each(|outcome| report.add(outcome));
        }
        drop(under_way);
        lost.iter().flat_map(|pack| scrubbed.lose(wave, pack)).collect()
    }
}

/// What a scrub knows of an image before it reads its packs.
struct Content {
    places: Places,
    /// `None` if no slot has a good one.
    manifest: Option<Manifest>,
    /// For each blob of the manifest that was damaged or missing in a slot of the region, whether it is there now.
    mended: Vec<bool>,
    /// The blobs of the manifest in slots that do not answer.
    unreachable: usize,
}

impl ScrubWork {
    /// Reads the manifest of an image, and mends it in each slot of the region.
    async fn content(&self, state: &State, one: &Kept) -> Result<Content> {
        let here = self.session.inner.regions.replicas(state, &self.region, one.ready, one.account)?;
        let here: Vec<Slot> = here.into_iter().flatten().collect();
        let away = one.holders.iter().filter(|slot| !here.iter().any(|one| one.label() == slot.label()));
        let all: Vec<Slot> = here.iter().chain(away).cloned().collect();
        let holders = Holders::new(all.clone());
        let (manifest, (root, mut unreachable)) =
            futures::join!(holders.intact_manifest(&one.manifest), self.check_root(&here, one));
        let manifest = match manifest {
            Ok(manifest) => manifest,
            // Whatever it may need stays, and whoever mends must know that.
            Err(error) if !is_damage(&error) => return Err(error),
            Err(_) => {
                // The root of it, or a page.
                let mended = vec![false; root.len().max(1)];
                return Ok(Content { places: Places { here, all }, manifest: None, mended, unreachable });
            }
        };
        let checking = manifest
            .pages()
            .iter()
            .flat_map(|(id, bytes)| here.iter().map(move |slot| (slot, id, bytes)))
            .map(|(slot, id, bytes)| async move { (slot.check_manifest_blob(id).await.err(), slot, id, bytes) });
        let checked = together(checking.collect()).await;
        let failed = |error: &Option<Error>| error.as_ref().is_some_and(|error| !is_damage(error));
        unreachable += checked.iter().filter(|(error, ..)| failed(error)).count();
        let is_bad = |error: &Option<Error>| error.as_ref().is_some_and(is_damage);
        let bad_pages =
            checked.into_iter().filter(|(error, ..)| is_bad(error)).map(|(_, slot, id, bytes)| (slot, id, bytes));
        let bad_roots = root.iter().map(|slot| (*slot, &one.manifest, manifest.root()));
        let replacing = bad_roots.chain(bad_pages);
        let replacing = replacing.map(|(slot, id, bytes)| slot.replace_manifest_blob(id, bytes.clone()));
        let mended = together(replacing.collect()).await.into_iter().map(|replaced| replaced.is_ok()).collect();
        Ok(Content { places: Places { here, all }, manifest: Some(manifest), mended, unreachable })
    }

    /// Returns the slots where the root of a manifest is damaged or missing, and the number of those that do not answer.
    async fn check_root<'s>(&self, here: &'s [Slot], one: &Kept) -> (Vec<&'s Slot>, usize) {
        let read = together(here.iter().map(|slot| slot.check_manifest_blob(&one.manifest)).collect()).await;
        let failed: Vec<(&Slot, Error)> =
            here.iter().zip(read).filter_map(|(slot, read)| Some((slot, read.err()?))).collect();
        let all = failed.len();
        let bad: Vec<&Slot> = failed.into_iter().filter(|(_, error)| is_damage(error)).map(|(slot, _)| slot).collect();
        let unreachable = all - bad.len();
        (bad, unreachable)
    }

    /// Checks and mends the fronts of merged blobs. No version is hit by what is wrong with one.
    async fn fronts(&self, scrubbed: &Scrubbed, report: &mut ScrubReport) {
        let inner = &*self.session.inner;
        for (family, slot) in scrubbed.merged() {
            let outcomes = slot.mend_fronts(family, &inner.workers, inner).await;
            outcomes.into_iter().for_each(|outcome| report.add(outcome));
        }
    }

    /// Checks and mends a pack in each slot that must have it: one after the other, because each may be mended from the others.
    async fn mend(&self, scrubbed: &Scrubbed, pack: &Pack, checked: &(dyn Fn(u64) + Sync)) -> Vec<MendOutcome> {
        let (mut outcomes, holders) = (Vec::new(), scrubbed.holders(pack));
        for (slot, need) in &scrubbed.needed(pack) {
            if let Some(rate) = self.bytes_per_second {
                let takes = Duration::from_secs_f64(pack.info.bytes_of(need) as f64 / rate as f64);
                self.session.inner.clock.sleep(takes).await;
            }
            let others = holders.iter().filter(|other| other.label() != slot.label()).map(|slot| (*slot).clone());
            let others = Holders::new(others.collect());
            let (info, inner) = (&pack.info, &*self.session.inner);
            let mending = Mending { slot, others: &others, info, need, workers: &inner.workers, log: inner };
            outcomes.push(mending.run().await);
            checked(pack.info.bytes_of(need));
        }
        outcomes
    }
}

impl ScrubReport {
    fn add(&mut self, outcome: MendOutcome) {
        match outcome {
            MendOutcome::Good(bytes) => self.verified_bytes += bytes,
            MendOutcome::Mended => self.count(true),
            MendOutcome::Unreachable => self.unreachable += 1,
            MendOutcome::Lost => self.count(false),
        }
    }

    fn count(&mut self, mended: bool) {
        match mended {
            true => self.mended += 1,
            false => self.damaged += 1,
        }
    }
}
