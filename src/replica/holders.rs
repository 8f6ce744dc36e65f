//! Reads from several replicas: a record that is damaged in one is served by another, and mended.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};

use super::parcel::{Parcel, ParcelRequest};
use super::recoding::part_of;
use super::slot::Slot;
use crate::content::extents::Extents;
use crate::content::manifest::{Manifest, ManifestReader};
use crate::content::names::{CatalogId, ManifestId, PackId};
use crate::content::naming::Naming;
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::recode::Recoding;
use crate::content::record::Line;
use crate::error::{Error, ErrorKind, Result};
use crate::host::in_flight::all_of;
use crate::host::sync::Mutex;
use crate::host::{Workers, within};

/// Slots that each hold the same version whole, in the order of preference.
#[derive(Clone, Debug)]
pub(crate) struct Holders {
    slots: Arc<[Slot]>,
    /// Packs that were found damaged or missing, with the index of the slot.
    damaged: Arc<Mutex<BTreeSet<(usize, PackId)>>>,
    /// The indexes of the slots that records were read from.
    served: Arc<Mutex<BTreeSet<usize>>>,
}

impl Holders {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self { slots: slots.into(), damaged: Arc::default(), served: Arc::default() }
    }

    pub(crate) fn one(slot: &Slot) -> Self {
        Self::new(vec![slot.clone()])
    }

    /// Returns the same slots, read with fewer and larger requests.
    pub(super) fn read_widely(&self) -> Self {
        Self { slots: self.slots.iter().map(Slot::read_widely).collect(), ..self.clone() }
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Takes the damage found since the last call: the index of a slot, and a pack.
    pub(crate) fn take_damaged(&self) -> BTreeSet<(usize, PackId)> {
        std::mem::take(&mut *self.damaged.lock())
    }

    /// Returns how the catalog of the slots names content.
    pub(crate) fn naming(&self) -> Naming {
        self.slots.first().map(Slot::naming).unwrap_or_default()
    }

    /// Returns the label of the first slot, for errors.
    pub(crate) fn label(&self) -> &str {
        self.slots.first().map_or("no replica", Slot::label)
    }

    /// Returns the indexes of the slots in the order in which they are to be read: those whose store failed lately come last.
    pub(super) fn queue(&self) -> VecDeque<usize> {
        let (mut queue, mut last) = (VecDeque::with_capacity(self.slots.len()), Vec::new());
        for (number, slot) in self.slots.iter().enumerate() {
            let comes_now = if queue.is_empty() { slot.health().may_be_first() } else { !slot.health().rests() };
            if comes_now { queue.push_back(number) } else { last.push(number) }
        }
        queue.extend(last);
        queue
    }

    /// Asks the next slot of `queue`, and returns its answer with its index; `None` if none is left.
    ///
    /// If it is late, a slot in another store is asked, too, and the first good answer counts: each late read costs one more request at
    /// most, and one read in twenty may be late.
    pub(super) async fn ask<'a, T>(
        &'a self,
        queue: &mut VecDeque<usize>,
        read: impl Fn(&'a Slot) -> BoxFuture<'a, Result<T>>,
    ) -> Option<(usize, &'a Slot, Result<T>)> {
        let number = queue.pop_front()?;
        let slot = self.slots.get(number)?;
        let (health, began) = (slot.health(), slot.health().clock().now());
        let is_elsewhere = |other: &&usize| {
            self.slots
                .get(**other)
                .is_some_and(|other| !other.health().is_of_the_same(health) && !other.health().rests())
        };
        let other = queue.iter().find(is_elsewhere).and_then(|other| Some((*other, self.slots.get(*other)?)));
        let mut reading = read(slot);
        let Some((other, second)) = other else {
            let answer = reading.await;
            return Some((number, slot, self.noted(slot, began, answer, queue)));
        };
        let answer = loop {
            match within(health.clock(), Some(health.late_after()), &mut reading).await {
                None if !health.may_be_left() => {}
                answer => break answer,
            }
        };
        let answer = match answer {
            Some(answer) => answer,
            None => {
                let also_began = second.health().clock().now();
                match select(reading, read(second)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right((Ok(bytes), _)) => {
                        second.health().answered(also_began);
                        health.failed();
                        queue.retain(|number| *number != other);
                        // It was only late: if the other bytes are damaged, it is asked again.
                        queue.push_back(number);
                        return Some((other, second, Ok(bytes)));
                    }
                    Either::Right((Err(error), reading)) => {
                        // It comes again in its turn, which tells its error.
                        self.note_failure(second, &error, queue);
                        reading.await
                    }
                }
            }
        };
        Some((number, slot, self.noted(slot, began, answer, queue)))
    }

    /// Notes in the health of a slot's store whether a read that began at `began` was answered.
    fn noted<T>(&self, slot: &Slot, began: DateTime<Utc>, answer: Result<T>, queue: &mut VecDeque<usize>) -> Result<T> {
        match &answer {
            Err(error) if !is_damage(error) && error.kind() != ErrorKind::KeyMissing => {
                self.note_failure(slot, error, queue)
            }
            _ => slot.health().answered(began),
        }
        answer
    }

    /// Notes that a slot's store failed, and moves the others of its slots to the end of `queue`.
    fn note_failure(&self, slot: &Slot, error: &Error, queue: &mut VecDeque<usize>) {
        // A store whose key is away is well.
        if is_damage(error) || error.kind() == ErrorKind::KeyMissing {
            return;
        }
        slot.health().failed();
        let rests = |number: &usize| self.slots.get(*number).is_some_and(|slot| slot.health().rests());
        queue.make_contiguous().sort_by_key(rests);
    }

    pub(super) fn note(&self, slot: usize, packs: impl IntoIterator<Item = PackId>) {
        let mut damaged = self.damaged.lock();
        damaged.extend(packs.into_iter().map(|pack| (slot, pack)));
    }

    /// Notes that records were read from a slot.
    pub(super) fn served(&self, slot: usize) {
        self.served.lock().insert(slot);
    }

    /// Returns whether records were read from a slot of this index or a later one.
    pub(crate) fn have_served_from(&self, first: usize) -> bool {
        self.served.lock().range(first..).next().is_some()
    }

    /// Returns a manifest: each of its blobs from the first slot that has it intact. Replaces it in those where it was missing or
    /// damaged.
    pub(crate) async fn manifest(&self, id: &ManifestId) -> Result<Manifest> {
        self.read_manifest(id, true).await
    }

    /// As [`manifest`](Self::manifest), and leaves the slots as they are.
    pub(crate) async fn intact_manifest(&self, id: &ManifestId) -> Result<Manifest> {
        self.read_manifest(id, false).await
    }

    async fn read_manifest(&self, id: &ManifestId, mends: bool) -> Result<Manifest> {
        let mut reader = ManifestReader::new(self.catalog()?, *id, self.manifest_blob(id, mends).await?)?;
        loop {
            let wanted = reader.wanted();
            if wanted.is_empty() {
                return reader.finish();
            }
            reader.add(all_of(wanted.iter().map(|page| self.manifest_blob(page, mends)).collect()).await?)?;
        }
    }

    fn catalog(&self) -> Result<CatalogId> {
        self.slots.first().map(Slot::catalog).ok_or_else(no_replica)
    }

    /// Returns the root or a page of a manifest.
    async fn manifest_blob(&self, id: &ManifestId, mends: bool) -> Result<Bytes> {
        let (mut first, mut damaged, mut queue) = (None, Vec::new(), self.queue());
        while let Some((_, slot, answer)) = self.ask(&mut queue, |slot| slot.read_manifest_blob(id).boxed()).await {
            match answer {
                Ok(bytes) => {
                    for damaged in damaged.into_iter().filter(|_| mends) {
                        // A failure here does not matter to the reader; a scrub reports it.
                        let _ = Slot::replace_manifest_blob(damaged, id, bytes.clone()).await;
                    }
                    return Ok(bytes);
                }
                Err(error) => {
                    damaged.extend(is_damage(&error).then_some(slot));
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(no_replica))
    }

    /// Returns the requested parcel, verified: from the first slot that has it good, as a whole pack if that is
    /// requested and any slot has it.
    pub(crate) async fn fetch(&self, request: &ParcelRequest, workers: &Workers) -> Result<(Parcel, Bytes)> {
        let mut first = None;
        if request.whole {
            match self.whole(&request.pack, workers).await {
                Ok(found) => return Ok(found),
                Err(error) => first = Some(error),
            }
        }
        let ((catalog, _), found) = self.gather(&request.pack, &request.extents, first, workers).await?;
        let (part, bytes) = Part::build(catalog, &request.pack, found)?;
        Ok((Parcel::Part(part), bytes))
    }

    /// As [`fetch`](Self::fetch), in another encoding.
    pub(crate) async fn fetch_recoded(
        &self,
        request: &ParcelRequest,
        how: Recoding,
        workers: &Workers,
    ) -> Result<(Parcel, Bytes)> {
        let all = || std::iter::once(0..request.pack.records).collect();
        let mut extents = if request.whole { all() } else { request.extents.clone() };
        let mut gathered = self.gather(&request.pack, &extents, None, workers).await;
        if gathered.is_err() && request.whole {
            // No slot may have more than what is needed.
            extents = request.extents.clone();
            gathered = self.gather(&request.pack, &extents, None, workers).await;
        }
        let ((of, records), pack) = (gathered?, request.pack);
        workers.run(move || part_of(of, &pack, records, Some(how))).await
    }

    /// Returns good records of a pack. Usually one slot has all of them, but each may have lost others. `first` is an error of
    /// before.
    async fn gather(
        &self,
        pack: &PackInfo,
        extents: &Extents,
        mut first: Option<Error>,
        workers: &Workers,
    ) -> Result<((CatalogId, Naming), Vec<(Line, Bytes)>)> {
        let (mut found, mut missing) = (Vec::new(), extents.clone());
        for slot in self.queue().into_iter().filter_map(|number| self.slots.get(number)) {
            match slot.good_records(pack, &missing, workers).await {
                Ok(records) => found.extend(records),
                Err(error) => {
                    self.note_failure(slot, &error, &mut VecDeque::new());
                    first = first.or(Some(error));
                }
            }
            missing = missing.minus(&found.iter().map(|(line, _): &(Line, Bytes)| line.ordinals()).collect());
            if missing.is_empty() {
                return Ok(((slot.catalog(), slot.naming()), found));
            }
        }
        let nobody = || Error::corrupt(format!("pack {}", pack.id), "no replica has all needed records of it");
        Err(first.unwrap_or_else(nobody))
    }

    /// Returns all of a pack in one blob, verified, from the first slot that has it: as the import wrote it, or a part.
    pub(super) async fn whole(&self, pack: &PackInfo, workers: &Workers) -> Result<(Parcel, Bytes)> {
        let mut first = None;
        for slot in self.queue().into_iter().filter_map(|number| self.slots.get(number)) {
            match slot.verified_whole(pack, workers).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.note_failure(slot, &error, &mut VecDeque::new());
                    first = first.or(Some(error));
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::corrupt(format!("pack {}", pack.id), "no replica has the whole pack")))
    }
}

pub(super) fn no_replica() -> Error {
    Error::corrupt("replica", "the version has no replica to read from")
}

/// Returns whether an error means that bytes are damaged or missing.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Invalid)
}
