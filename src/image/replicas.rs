//! Reading from several replicas: what one has damaged another serves, and the damaged one is mended.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::digest::Digest;
use super::extents::Extents;
use super::manifest::Manifest;
use super::pack::{PackId, PackInfo, RecordRef};
use super::reach::needs;
use super::slot::{Cargo, Request, Slot};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Workers;

/// Slots that each hold the same version whole, the one to read from first.
#[derive(Clone, Debug)]
pub(crate) struct Replicas {
    slots: Arc<[Slot]>,
    /// Packs that were found damaged or missing, with the place of their slot.
    damaged: Arc<Mutex<BTreeSet<(usize, PackId)>>>,
}

/// Why records could not be used.
pub(crate) enum Rejected {
    /// This one is not what it must be.
    Damaged(RecordRef, Error),
    /// They were good; what was to be done with them failed.
    Failed(Error),
}

impl Replicas {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self { slots: slots.into(), damaged: Arc::default() }
    }

    pub(crate) fn one(slot: &Slot) -> Self {
        Self::new(vec![slot.clone()])
    }

    /// What errors call the first.
    pub(crate) fn place(&self) -> &str {
        self.slots.first().map_or("no replica", Slot::place)
    }

    /// Gives `using` the stored bytes of records, from the first slot whose bytes it does not find damaged.
    pub(crate) async fn read<T, F: Future<Output = Result<T, Rejected>>>(
        &self,
        places: &[RecordRef],
        using: impl Fn(Vec<Bytes>) -> F,
    ) -> Result<T> {
        let mut first = None;
        for (number, slot) in self.slots.iter().enumerate() {
            let error = match slot.read_records(places).await {
                Ok(records) => match using(records).await {
                    Ok(done) => return Ok(done),
                    Err(Rejected::Failed(error)) => return Err(error),
                    Err(Rejected::Damaged(place, error)) => {
                        self.note(number, [place.pack]);
                        let pack = format!("{}, pack {}", slot.place(), place.pack);
                        let what = format!("a record at offset `{}` cannot be used", place.offset);
                        Error::corrupt(pack, what).with_source(error)
                    }
                },
                Err(error) => {
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Invalid) {
                        self.note(number, places.iter().map(|place| place.pack));
                    }
                    error
                }
            };
            first.get_or_insert(error);
        }
        Err(first.unwrap_or_else(|| Error::corrupt("replica", "there is none to read from")))
    }

    fn note(&self, slot: usize, packs: impl IntoIterator<Item = PackId>) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.extend(packs.into_iter().map(|pack| (slot, pack)));
    }

    /// The manifest, from the first slot that has it whole; the slots before that get it again.
    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        let mut first = None;
        for (number, slot) in self.slots.iter().enumerate() {
            match slot.read_manifest(digest).await {
                Ok(manifest) => {
                    for damaged in self.slots.iter().take(number) {
                        // It is served all the same; a scrub tells of one that can't be mended.
                        let _ = damaged.replace_manifest(digest, manifest.encode()?.1).await;
                    }
                    return Ok(manifest);
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::corrupt("replica", "there is none to read from")))
    }

    /// What a slot is to get, verified: from the first that has it good, in the form that was asked for if any has that.
    pub(crate) async fn fetch(&self, request: &Request, workers: &Workers) -> Result<(Cargo, Bytes)> {
        let mut first = None;
        if request.whole {
            for slot in self.slots.iter() {
                match slot.verified_pack(&request.pack, workers).await {
                    Ok(bytes) => return Ok((Cargo::Pack(request.pack), bytes)),
                    Err(error) => first = first.or(Some(error)),
                }
            }
        }
        for slot in self.slots.iter() {
            match slot.extract(request, workers).await {
                Ok((part, bytes)) => return Ok((Cargo::Part(part), bytes)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::corrupt("replica", "there is none to read from")))
    }

    /// Mends what was found damaged, from another slot each; tells how many packs. What can't be mended stays as it is.
    pub(crate) async fn mend(&self, manifest: &Manifest, workers: &Workers) -> usize {
        let damaged = std::mem::take(&mut *self.damaged.lock().unwrap_or_else(PoisonError::into_inner));
        if damaged.is_empty() {
            return 0;
        }
        let Ok(needs) = needs(manifest, self).await else { return 0 };
        let mut mended = 0;
        for (number, id) in damaged {
            let info = manifest.packs.iter().find(|pack| pack.id == id);
            let (Some(info), Some(need), Some(slot)) = (info, needs.get(&id), self.slots.get(number)) else { continue };
            let others = Self::new(
                self.slots.iter().enumerate().filter(|(at, _)| *at != number).map(|(_, slot)| slot.clone()).collect(),
            );
            mended += usize::from(mend(slot, &others, info, need, workers).await == Found::Mended);
        }
        mended
    }
}

/// What came of looking at one pack in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All that is needed is there and good: so many bytes were read.
    Good(u64),
    /// It was not, and is now.
    Mended,
    /// It is not, and no other slot has it, or the slot can't be written to.
    Lost,
}

/// Reads what a slot has of a pack, and brings it what of `need` is damaged or missing.
pub(crate) async fn mend(slot: &Slot, others: &Replicas, info: &PackInfo, need: &Extents, workers: &Workers) -> Found {
    try_to_mend(slot, others, info, need, workers).await.unwrap_or(Found::Lost)
}

async fn try_to_mend(
    slot: &Slot,
    others: &Replicas,
    info: &PackInfo,
    need: &Extents,
    workers: &Workers,
) -> Result<Found> {
    let holding = slot.holding(&info.id).await?;
    if holding.has_whole(info) && slot.verified_pack(info, workers).await.is_ok() {
        return Ok(Found::Good(info.length));
    }
    let (mut good, mut read, mut bad) = (Extents::default(), 0, holding.broken);
    for part in &holding.parts {
        match slot.verified_part(part, workers).await {
            Ok(_) => {
                good = good.union(&part.extents());
                read += part.length();
            }
            Err(_) => bad.push(part.id),
        }
    }
    let missing = need.minus(&good);
    if !missing.is_empty() {
        // A pack that was whole becomes whole again if anybody has it so.
        let whole = holding.parts.is_empty();
        let (cargo, bytes) = others.fetch(&Request { pack: *info, extents: missing, whole }, workers).await?;
        slot.replace(&cargo, bytes).await?;
        match cargo {
            Cargo::Pack(_) => return Ok(Found::Mended),
            Cargo::Part(part) => bad.retain(|id| *id != part.id),
        }
    }
    if bad.is_empty() && holding.whole.is_none() {
        return Ok(if need.minus(&good).is_empty() { Found::Good(read) } else { Found::Mended });
    }
    // ORDER: all that is needed is there before what is damaged goes.
    for id in &bad {
        slot.delete_part(id).await?;
    }
    if holding.whole.is_some() {
        slot.delete_pack(&info.id).await?;
    }
    Ok(Found::Mended)
}
