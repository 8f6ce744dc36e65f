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
use crate::host::in_flight::{all_of, together};
use crate::host::sync::Mutex;
use crate::model::Region;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::{Rewrite, Survey};
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

/// Packs that are rewritten or verified at a time, of 16 MiB each.
const REWRITES: usize = 4;

/// Failed deletions after which a collection skips a zone.
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

/// What a running collection has freed in a region.
struct Freed<'a> {
    report: CollectionReport,
    /// Of all regions: the bytes of removed blobs, and of those that were found to be garbage.
    progress: &'a Mutex<Progress>,
}

impl Freed<'_> {
    fn change(&self, change: impl FnOnce(&mut Progress)) -> Progress {
        let mut progress = self.progress.lock();
        change(&mut progress);
        *progress
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
        let state = self.finish_removal(region, state, freed).await?;
        // ORDER: the state is read before the list, for the condemnations of then; users of the list read the state again, so
        // that it has the announcement of every blob on the list.
        let mut survey = Survey::list(&self.session.inner.regions, &state, region).await?;
        // ORDER: first the garbage, which needs no space to remove; a full store has room for rewritten packs only then.
        let state = self.remove_all_garbage(&mut survey, freed).await?;
        if !survey.mostly_dead(&state).is_empty() {
            self.rewrite(&mut survey, freed).await?;
            self.remove_all_garbage(&mut survey, freed).await?;
        }
        Ok(())
    }

    async fn remove_all_garbage(&self, survey: &mut Survey, freed: &mut Freed<'_>) -> Result<Arc<State>> {
        loop {
            if let Round::Done(state) = self.remove_garbage(survey, freed).await? {
                return Ok(state);
            }
        }
    }

    /// Removes blobs that an earlier or another collection has condemned and not removed. Returns the state after that.
    async fn finish_removal(&self, region: &Region, state: Arc<State>, freed: &mut Freed<'_>) -> Result<Arc<State>> {
        let Some(before) = state.condemned(region) else { return Ok(state) };
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
                self.remove(region, left, condemned.epoch, &state, freed).await
            }
            // A third collection was faster and owns the region.
            _ => Ok(state),
        }
    }

    /// Writes the live content of mostly dead packs. The rest of them is garbage from then on.
    async fn rewrite(&self, survey: &mut Survey, freed: &mut Freed<'_>) -> Result<()> {
        let state = self.session.state().await?;
        if survey.is_overtaken(&state) {
            survey.list_again(&state).await?;
        }
        let state = self.session.state().await?;
        survey.read(&state).await?;
        let workers = &self.session.inner.workers;
        for wave in survey.mostly_dead(&state).chunks(REWRITES) {
            let writing = wave.iter().filter_map(|Rewrite { slot: id, pack, live, .. }| {
                let slot = survey.slot(*id)?;
                let request = ParcelRequest { pack: *pack, extents: live.clone(), whole: false };
                Some(async move {
                    // An unreadable pack is left to a scrub.
                    let Ok((parcel, bytes)) = Holders::one(slot).fetch(&request, workers).await else {
                        return Ok(None);
                    };
                    let length = bytes.len() as u64;
                    let placed = slot.as_kept_here(&parcel);
                    let is_new = slot.put_parcel(&parcel, bytes).await?;
                    Ok(Some((*id, placed, is_new.then_some(length))))
                })
            });
            let written = together(writing.collect()).await;
            for (slot, placed, length) in written.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
                length.into_iter().for_each(|length| freed.report.rewritten(survey.region(), length));
                survey.written(slot, placed);
            }
        }
        Ok(())
    }

    /// Condemns and removes a batch of a region's garbage.
    async fn remove_garbage(&self, survey: &mut Survey, freed: &mut Freed<'_>) -> Result<Round> {
        let (session, region) = (&self.session, &survey.region().clone());
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // A race was lost: the list is stale.
                survey.list_again(&*session.state().await?).await?;
            }
            let state = session.state().await?;
            if state.condemned(region).is_some() {
                return Ok(Round::Done(state));
            }
            if survey.is_overtaken(&state) {
                continue;
            }
            survey.read(&state).await?;
            let Some(unneeded) = survey.unneeded(&state) else { continue };
            freed.report.tell(region, &unneeded);
            let is_all = unneeded.garbage.0.len() <= PACKS_AT_A_TIME;
            let garbage = unneeded.garbage.first(PACKS_AT_A_TIME);
            let garbage = self.without_the_doubtful(garbage, &unneeded.relied_on, survey).await?;
            if garbage.0.is_empty() {
                return Ok(Round::Done(state));
            }
            // ORDER: nothing is condemned before it is proved that no later entry of the log is being overlooked, and
            // that the stores are the right ones and have not seen a newer log.
            let (head, stores) =
                futures::join!(session.inner.catalog.read_to_the_end(), session.inner.regions.prove(region));
            let head = head?;
            stores?;
            if survey.is_overtaken(&head) {
                continue;
            }
            let condemned = Event::ContentCondemned { region: region.clone(), blobs: garbage.names()? };
            let (of_caller, surveyed) = (session.clone(), survey.clone());
            let check = move |state: &State| {
                of_caller.require_administrator("collect")?;
                let is_new = state.condemned(surveyed.region()).is_some() || surveyed.is_overtaken(state);
                let same = !is_new && surveyed.still_holds(state);
                let events = same.then(|| condemned.clone()).into_iter().collect();
                Ok((Changes { events, authorization: None }, same))
            };
            let (state, is_condemned) = session.inner.catalog.commit_found(&session.caller, check).await?;
            if !is_condemned {
                continue;
            }
            let Some(epoch) = state.condemned(region).map(|condemned| condemned.epoch) else { continue };
            survey.condemned(&garbage, &state)?;
            let state = self.remove(region, garbage, epoch, &state, freed).await?;
            return Ok(if is_all { Round::Done(state) } else { Round::More });
        }
        Ok(Round::Done(session.inner.catalog.snapshot()))
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
        let relied_on: Vec<_> = relied_on.iter().filter(|(place, _)| concerned.contains(place)).collect();
        let workers = &self.session.inner.workers;
        for wave in relied_on.chunks(REWRITES) {
            let verifying = wave.iter().filter_map(|(place, kept)| {
                let slot = survey.slot(place.0)?;
                Some(async move { (*place, slot, slot.verified(kept, workers).await.is_ok()) })
            });
            for (place, slot, is_good) in together(verifying.collect()).await {
                if is_good {
                    durable.entry(place.0).or_insert((slot, BTreeSet::new())).1.insert(place.1.upload);
                } else {
                    // Both are left to a scrub, which can choose.
                    garbage.0.retain(|blob, _| blob.slot != place.0 || blob.name.pack() != Some(place.1));
                }
            }
        }
        let persisting = durable.into_values().map(|(slot, uploads)| async move { slot.persist(uploads, []).await });
        all_of(persisting.collect()).await?;
        Ok(garbage)
    }

    /// Removes condemned blobs until another collection takes over, and returns the state after that. `freed` has what was removed, also
    /// after an error.
    async fn remove(
        &self,
        region: &Region,
        garbage: Blobs,
        epoch: u64,
        condemned: &State,
        freed: &mut Freed<'_>,
    ) -> Result<Arc<State>> {
        freed.change(|progress| progress.total += garbage.bytes());
        let parts = &self.session.inner;
        let (mut first, mut failures) = (None, BTreeMap::<usize, usize>::new());
        // ORDER: from here on the stores refuse a log that does not know of the condemnation.
        let zones: BTreeSet<usize> = garbage.0.keys().map(|blob| blob.slot.zone).collect();
        let noting = zones.iter().map(|zone| parts.regions.witness_in(region, *zone, condemned));
        for (zone, noted) in zones.iter().zip(together(noting.collect()).await) {
            match noted {
                Ok(()) => {}
                // Freeing a full store needs no space.
                Err(error) if error.kind() == ErrorKind::StorageFull => {}
                Err(error) => {
                    failures.insert(*zone, FAILURES_OF_A_ZONE);
                    first.get_or_insert(error);
                }
            }
        }
        let blobs: Vec<(Blob, u64)> = garbage.0.into_iter().collect();
        for batch in blobs.chunks(BETWEEN_LOOKS) {
            // ORDER: the log is read, then the batch is removed, then the log is read again: at most one batch goes after another
            // collection has taken over.
            let state = self.session.state().await?;
            if state.condemned(region).is_none_or(|now| now.epoch != epoch) {
                return first.map_or(Ok(state), Err);
            }
            let may_work = |zone: &usize| failures.get(zone).is_none_or(|failed| *failed < FAILURES_OF_A_ZONE);
            let mut deleting = Vec::new();
            for (blob, size) in batch.iter().filter(|(blob, _)| may_work(&blob.slot.zone)) {
                let Some(slot) = parts.regions.slot(condemned, region, blob.slot)? else { continue };
                // Each reads the store's owner first.
                deleting.push(async move { (*blob, *size, slot.delete(blob.name).await) });
            }
            let mut removed = Blobs::default();
            for (blob, size, deleted) in together(deleting).await {
                match deleted {
                    Ok(()) => drop(removed.0.insert(blob, size)),
                    // A blob or a zone that cannot be written does not stop the others.
                    Err(error) => {
                        *failures.entry(blob.slot.zone).or_default() += 1;
                        first.get_or_insert(error);
                    }
                }
            }
            freed.report.add(region, &removed);
            (self.on_progress)(freed.change(|progress| progress.done += removed.bytes()));
        }
        // Blobs that are left are dead, and garbage to the next collection.
        let state = self.say_removed(region, epoch).await?;
        first.map_or(Ok(state), Err)
    }

    /// Records that the condemned blobs are removed.
    async fn say_removed(&self, region: &Region, epoch: u64) -> Result<Arc<State>> {
        let region = region.clone();
        let check = move |state: &State| {
            let same = state.condemned(&region).filter(|condemned| condemned.epoch == epoch);
            let removed = same.map(|_| Event::ContentRemoved { region: region.clone() });
            Ok(Changes { events: removed.into_iter().collect(), authorization: None })
        };
        self.session.inner.catalog.commit(&self.session.caller, check).await
    }
}

/// The outcome of a round.
enum Round {
    /// There may be more to free.
    More,
    /// Nothing is left, or another collection is at work, by this state.
    Done(Arc<State>),
}
