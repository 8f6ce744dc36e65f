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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::{Changes, Event, State};
use crate::content::names::{PackId, SlotId};
use crate::error::{ErrorKind, Result};
use crate::model::Region;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::Survey;
use crate::regions::inventory::{Blob, Blobs, Inventory};
use crate::replica::holders::Holders;
use crate::replica::parcel::{Parcel, ParcelRequest};
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::session::Session;

/// The most packs that one commit condemns.
const PACKS_AT_A_TIME: usize = 4096;

/// Blobs removed between two looks at the log.
const BETWEEN_LOOKS: usize = 32;

/// Failed deletions before a collection skips a zone.
const FAILURES_OF_A_ZONE: usize = 16;

/// Lost races in a row before a collection skips the region until the next run.
const ATTEMPTS: usize = 5;

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
    /// deleted meanwhile may fail.
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
        let (session, on_progress) = (self.clone(), Arc::new(|_| {}));
        Collection(Pending::new(Ok(CollectionWork { session, abandon_after: TimeDelta::days(7), on_progress })))
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
        let state = self.session.state().await?;
        let now = self.session.inner.catalog.agreed_time().await?;
        let overdue = self.overdue(&state, now);
        let mut report = CollectionReport::of(&overdue);
        let mut state = State::clone(&state);
        overdue.iter().try_for_each(|event| state.apply(event, now))?;
        for region in self.session.inner.regions.all(&state).await? {
            let mut survey = Survey::list(&self.session.inner.regions, &state, &region).await?;
            survey.read(&state).await?;
            let Some(unneeded) = survey.unneeded(&state) else { continue };
            report.add(&region, &unneeded.garbage);
            report.tell(&region, &unneeded);
            for rewrite in survey.mostly_dead(&state) {
                report.rewritten(&region, rewrite.live.bytes());
                report.change(&region, |there| there.bytes += rewrite.held);
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
        let now = self.session.inner.catalog.agreed_time().await?;
        let overdue = self.overdue(&*self.session.state().await?, now);
        let mut freed = Freed { report: CollectionReport::of(&overdue), bytes: 0 };
        if !overdue.is_empty() {
            let again = self.clone();
            let check = move |state: &State| {
                again.session.require_administrator("collect")?;
                Ok(Changes { events: again.overdue(state, now), authorization: None })
            };
            self.session.inner.catalog.commit(&self.session.caller, check).await?;
        }
        let state = self.session.state().await?;
        let mut first = None;
        for region in self.session.inner.regions.all(&state).await? {
            // A region that does not answer does not stop the others.
            if let Err(error) = self.free(&region, &mut freed).await {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(freed.report), Err)
    }
}

/// What a running collection has freed.
struct Freed {
    report: CollectionReport,
    /// Of removed blobs.
    bytes: u64,
}

impl CollectionWork {
    /// Returns the ends of retentions and imports that are due and not yet recorded.
    fn overdue(&self, state: &State, now: DateTime<Utc>) -> Vec<Event> {
        let gone = state.gone(now);
        let purged = gone
            .map(|record| Event::ImageVersionDeleted { version: record.version.id().clone(), restorable_until: None });
        let old =
            state.uploads().filter(|(_, upload)| now.signed_duration_since(upload.taken_up()) >= self.abandon_after);
        purged.chain(old.map(|(upload, _)| Event::UploadAbandoned { upload })).collect()
    }

    async fn free(&self, region: &Region, freed: &mut Freed) -> Result<()> {
        self.session.inner.regions.recheck(region);
        self.finish_removal(region, freed).await?;
        let mut survey = self.survey(region).await?;
        // ORDER: first the garbage, which needs no space to remove; a full store has room for rewritten packs only then.
        while self.remove_garbage(&mut survey, freed).await? == Round::More {}
        self.rewrite(&mut survey, freed).await?;
        while self.remove_garbage(&mut survey, freed).await? == Round::More {}
        Ok(())
    }

    /// Lists the region once. Later removals and writes are applied to the survey.
    async fn survey(&self, region: &Region) -> Result<Survey> {
        // ORDER: the state is read before the list, for the condemnations of then; users of the list read the state again, so
        // that it has the announcement of every blob on the list.
        let before = self.session.state().await?;
        Survey::list(&self.session.inner.regions, &before, region).await
    }

    /// Removes blobs that an earlier or another collection has condemned and not removed.
    async fn finish_removal(&self, region: &Region, freed: &mut Freed) -> Result<()> {
        let state = self.session.state().await?;
        let Some(before) = state.condemned(region) else { return Ok(()) };
        let (of_caller, place, epoch) = (self.session.clone(), region.clone(), before.epoch);
        let check = move |state: &State| {
            of_caller.require_administrator("collect")?;
            let same = state.condemned(&place).is_some_and(|condemned| condemned.epoch == epoch);
            let event = same.then(|| Event::RemovalTakenOver { region: place.clone() });
            Ok((Changes { events: event.into_iter().collect(), authorization: None }, same))
        };
        let (state, is_taken) = self.session.inner.catalog.commit_found(&self.session.caller, check).await?;
        match state.condemned(region) {
            Some(condemned) if is_taken => {
                let left = Inventory::list(&self.session.inner.regions, &state, region).await?.left_of(condemned);
                self.remove(region, left, condemned.epoch, &state, freed).await.map(drop)
            }
            // A third collection was faster and owns the region.
            _ => Ok(()),
        }
    }

    /// Writes the live content of mostly dead packs. The rest of them is garbage from then on.
    async fn rewrite(&self, survey: &mut Survey, freed: &mut Freed) -> Result<()> {
        if survey.is_overtaken(&*self.session.state().await?) {
            *survey = self.survey(&survey.region().clone()).await?;
        }
        let state = self.session.state().await?;
        survey.read(&state).await?;
        for rewrite in survey.mostly_dead(&state) {
            let Some(slot) = survey.slot(rewrite.slot) else { continue };
            let request = ParcelRequest { pack: rewrite.pack, extents: rewrite.live, whole: false };
            // An unreadable pack is left to a scrub.
            let fetched = Holders::one(slot).fetch(&request, &self.session.inner.workers).await;
            let Ok((parcel, bytes)) = fetched else { continue };
            let (written, placed) = (bytes.len() as u64, slot.as_kept_here(&parcel));
            if slot.put_parcel(&parcel, bytes).await? {
                freed.report.rewritten(survey.region(), written);
            }
            survey.written(rewrite.slot, placed);
        }
        Ok(())
    }

    /// Condemns and removes a batch of a region's garbage.
    async fn remove_garbage(&self, survey: &mut Survey, freed: &mut Freed) -> Result<Round> {
        let (session, region) = (&self.session, &survey.region().clone());
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // A race was lost: the list is stale.
                *survey = self.survey(region).await?;
            }
            let state = session.state().await?;
            if state.condemned(region).is_some() {
                return Ok(Round::Done);
            }
            if survey.is_overtaken(&state) {
                continue;
            }
            survey.read(&state).await?;
            let Some(unneeded) = survey.unneeded(&state) else { continue };
            freed.report.tell(region, &unneeded);
            let garbage = unneeded.garbage.first(PACKS_AT_A_TIME);
            let garbage = self.without_the_doubtful(garbage, &unneeded.relied_on, survey).await?;
            if garbage.0.is_empty() {
                return Ok(Round::Done);
            }
            // ORDER: nothing is condemned before it is proved that no later entry of the log is being overlooked, and
            // that the stores are the right ones and have not seen a newer log.
            let head = session.inner.catalog.read_to_the_end().await?;
            session.inner.regions.prove(region).await?;
            if survey.is_overtaken(&head) {
                continue;
            }
            let condemned = Event::ContentCondemned { region: region.clone(), blobs: garbage.names()? };
            let (of_caller, wanted, surveyed) = (session.clone(), garbage.clone(), survey.clone());
            let check = move |state: &State| {
                of_caller.require_administrator("collect")?;
                let is_new = state.condemned(surveyed.region()).is_some() || surveyed.is_overtaken(state);
                let still = if is_new { None } else { surveyed.unneeded(state).map(|unneeded| unneeded.garbage) };
                let same =
                    still.is_some_and(|still| wanted.0.iter().all(|(blob, size)| still.0.get(blob) == Some(size)));
                let events = same.then(|| condemned.clone()).into_iter().collect();
                Ok((Changes { events, authorization: None }, same))
            };
            let (state, is_condemned) = session.inner.catalog.commit_found(&session.caller, check).await?;
            if !is_condemned {
                continue;
            }
            let Some(epoch) = state.condemned(region).map(|condemned| condemned.epoch) else { continue };
            survey.condemned(&garbage, &state)?;
            return self.remove(region, garbage, epoch, &state, freed).await;
        }
        Ok(Round::Done)
    }

    /// Leaves out garbage that is garbage only because of another blob which turns out to be damaged, and makes the blobs
    /// that are relied on durable.
    async fn without_the_doubtful(
        &self,
        mut garbage: Blobs,
        relied_on: &BTreeMap<(SlotId, PackId), Parcel>,
        survey: &Survey,
    ) -> Result<Blobs> {
        let concerned: BTreeSet<(SlotId, PackId)> =
            garbage.0.keys().filter_map(|blob| Some((blob.slot, blob.name.pack()?))).collect();
        let mut durable = BTreeMap::new();
        for (place, kept) in relied_on.iter().filter(|(place, _)| concerned.contains(place)) {
            let Some(slot) = survey.slot(place.0) else { continue };
            let workers = &self.session.inner.workers;
            match slot.verified(kept, workers).await {
                Ok(_) => {
                    durable.entry(place.0).or_insert((slot, BTreeSet::new())).1.insert(place.1.upload);
                }
                // Both are left to a scrub, which can choose.
                Err(_) => garbage.0.retain(|blob, _| blob.slot != place.0 || blob.name.pack() != Some(place.1)),
            }
        }
        for (slot, uploads) in durable.into_values() {
            slot.persist(uploads, None).await?;
        }
        Ok(garbage)
    }

    /// Removes condemned blobs until another collection takes over. `freed` has what was removed, also after an error.
    async fn remove(
        &self,
        region: &Region,
        garbage: Blobs,
        epoch: u64,
        condemned: &State,
        freed: &mut Freed,
    ) -> Result<Round> {
        let total = freed.bytes + garbage.bytes();
        let parts = &self.session.inner;
        let (mut first, mut failures) = (None, BTreeMap::<usize, usize>::new());
        // ORDER: from here on the stores refuse a log that does not know of the condemnation.
        for zone in garbage.0.keys().map(|blob| blob.slot.zone).collect::<BTreeSet<_>>() {
            match parts.regions.witness_in(region, zone, condemned).await {
                Ok(()) => {}
                // Freeing a full store needs no space.
                Err(error) if error.kind() == ErrorKind::StorageFull => {}
                Err(error) => {
                    failures.insert(zone, FAILURES_OF_A_ZONE);
                    first.get_or_insert(error);
                }
            }
        }
        let blobs: Vec<(Blob, u64)> = garbage.0.into_iter().collect();
        for batch in blobs.chunks(BETWEEN_LOOKS) {
            let state = self.session.state().await?;
            if state.condemned(region).is_none_or(|now| now.epoch != epoch) {
                return first.map_or(Ok(Round::Done), Err);
            }
            let mut removed = Blobs::default();
            for (blob, size) in batch {
                let failed = failures.entry(blob.slot.zone).or_default();
                if *failed >= FAILURES_OF_A_ZONE {
                    continue;
                }
                let Some(slot) = parts.regions.slot(condemned, region, blob.slot)? else { continue };
                match slot.delete(blob.name).await {
                    Ok(()) => drop(removed.0.insert(*blob, *size)),
                    // A blob or a zone that cannot be written does not stop the others.
                    Err(error) => {
                        *failed += 1;
                        first.get_or_insert(error);
                    }
                }
            }
            freed.report.add(region, &removed);
            freed.bytes += removed.bytes();
            (self.on_progress)(Progress { done: freed.bytes, total });
        }
        // Blobs that are left are dead, and garbage to the next collection.
        self.say_removed(region, epoch).await?;
        first.map_or(Ok(Round::More), Err)
    }

    /// Records that the condemned blobs are removed.
    async fn say_removed(&self, region: &Region, epoch: u64) -> Result<()> {
        let region = region.clone();
        let check = move |state: &State| {
            let same = state.condemned(&region).filter(|condemned| condemned.epoch == epoch);
            let removed = same.map(|_| Event::ContentRemoved { region: region.clone() });
            Ok(Changes { events: removed.into_iter().collect(), authorization: None })
        };
        self.session.inner.catalog.commit(&self.session.caller, check).await.map(drop)
    }
}

/// The outcome of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// There may be more to free.
    More,
    /// Nothing is left, or another collection is at work.
    Done,
}
