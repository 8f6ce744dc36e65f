//! Freeing: condemns the garbage of a region, and removes it.
//!
//! Announce, condemn, remove: see [`collection`](super::collection).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{Changes, Event, State};
use crate::content::names::{PackId, SlotId};
use crate::error::{ErrorKind, Result};
use crate::host::in_flight::{all_of, together};
use crate::host::sync::Mutex;
use crate::model::Region;
use crate::progress::{OnProgress, Progress};
use crate::regions::collection_report::CollectionReport;
use crate::regions::garbage::Survey;
use crate::regions::inventory::{Blob, Blobs, Inventory};
use crate::replica::parcel::Parcel;
use crate::replica::slot::Slot;
use crate::service::session::session::Session;
use crate::store::BlobKey;

/// The most packs that one commit condemns.
const PACKS_AT_A_TIME: usize = 4096;

/// Blobs removed between two looks at the log.
const BETWEEN_LOOKS: usize = 32;

/// Packs that are verified at a time, of 16 MiB each.
const VERIFIED: usize = 4;

/// Failed deletions after which a collection skips a zone.
const FAILURES_OF_A_ZONE: usize = 16;

/// Lost races in a row before a collection skips the region until the next run.
const ATTEMPTS: usize = 5;

/// What frees regions, for a caller.
pub(super) struct Freeing<'a> {
    pub(super) session: &'a Session,
    pub(super) on_progress: &'a OnProgress,
}

/// What a running collection has freed in a region.
pub(super) struct Freed<'a> {
    pub(super) report: CollectionReport,
    /// Of all regions: the bytes of removed blobs, and of those that were found to be garbage.
    pub(super) progress: &'a Mutex<Progress>,
}

impl Freed<'_> {
    pub(super) fn change(&self, change: impl FnOnce(&mut Progress)) -> Progress {
        let mut progress = self.progress.lock();
        change(&mut progress);
        *progress
    }
}

impl Freeing<'_> {
    pub(super) async fn remove_all_garbage(&self, survey: &mut Survey, freed: &mut Freed<'_>) -> Result<Arc<State>> {
        loop {
            if let Round::Done(state) = self.remove_garbage(survey, freed).await? {
                return Ok(state);
            }
        }
    }

    /// Removes blobs that an earlier or another collection has condemned and not removed. Returns the state after that.
    pub(super) async fn finish_removal(
        &self,
        region: &Region,
        state: Arc<State>,
        freed: &mut Freed<'_>,
    ) -> Result<Arc<State>> {
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

    /// Condemns and removes a batch of a region's garbage.
    async fn remove_garbage(&self, survey: &mut Survey, freed: &mut Freed<'_>) -> Result<Round> {
        let (session, region) = (self.session, &survey.region().clone());
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
            let garbage = survey.without_merged_in_use(garbage);
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
        for wave in relied_on.chunks(VERIFIED) {
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
            let mut zones = BTreeMap::<usize, (Vec<(Blob, u64)>, Vec<BlobKey>, Slot)>::new();
            for (blob, size) in batch.iter().filter(|(blob, _)| may_work(&blob.slot.zone)) {
                let Some(slot) = parts.regions.slot(condemned, region, blob.slot)? else { continue };
                let key = slot.key_in_store(blob.name)?;
                let (blobs, keys, _) = zones.entry(blob.slot.zone).or_insert_with(|| (Vec::new(), Vec::new(), slot));
                blobs.push((*blob, *size));
                keys.push(key);
            }
            let deleting = zones.into_values().map(|(blobs, keys, slot)| async move {
                // Each store reads its owner first.
                let deleted = slot.delete_in_store(&keys).await;
                blobs.into_iter().zip(deleted).collect::<Vec<_>>()
            });
            let mut removed = Blobs::default();
            for ((blob, size), deleted) in together(deleting.collect()).await.into_iter().flatten() {
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
