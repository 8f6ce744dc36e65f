//! Reads from several replicas: a record that is damaged in one is served by another, and mended.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::parcel::{Parcel, ParcelRequest};
use super::slot::Slot;
use crate::content::codec::Unpacker;
use crate::content::manifest::Manifest;
use crate::content::names::{ManifestId, PackId};
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::record::{RecordRef, TableLine};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Workers;
use crate::host::sync::Mutex;

/// Slots that each hold the same version whole, in the order of preference.
#[derive(Clone, Debug)]
pub(crate) struct Holders {
    slots: Arc<[Slot]>,
    /// Packs that were found damaged or missing, with the index of the slot.
    damaged: Arc<Mutex<BTreeSet<(usize, PackId)>>>,
}

/// The reason why records could not be used.
pub(crate) enum Rejected {
    /// This record is damaged.
    Damaged(RecordRef, Error),
    /// The records are good; using them failed.
    Failed(Error),
}

impl Holders {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self { slots: slots.into(), damaged: Arc::default() }
    }

    pub(crate) fn one(slot: &Slot) -> Self {
        Self::new(vec![slot.clone()])
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Takes the damage found since the last call: the index of a slot, and a pack.
    pub(super) fn take_damaged(&self) -> BTreeSet<(usize, PackId)> {
        std::mem::take(&mut *self.damaged.lock())
    }

    /// Returns the label of the first slot, for errors.
    pub(crate) fn label(&self) -> &str {
        self.slots.first().map_or("no replica", Slot::label)
    }

    /// Passes the stored bytes of `records` to `using`: from the first slot whose bytes it does not reject as damaged,
    /// or, if every slot has some of them damaged, each record from a slot that has it good.
    pub(crate) async fn read<T, F: Future<Output = Result<T, Rejected>>>(
        &self,
        records: &[RecordRef],
        using: impl Fn(Vec<Bytes>) -> F,
    ) -> Result<T> {
        let mut first = None;
        for (number, slot) in self.slots.iter().enumerate() {
            let error = match slot.read_records(records).await {
                Ok(bytes) => match using(bytes).await {
                    Ok(done) => return Ok(done),
                    Err(Rejected::Failed(error)) => return Err(error),
                    Err(Rejected::Damaged(record, error)) => {
                        self.note(number, [record.pack]);
                        let pack = format!("{}, pack {}", slot.label(), record.pack);
                        let what = format!("a record at offset `{}` cannot be used", record.offset);
                        Error::corrupt(pack, what).with_source(error)
                    }
                },
                Err(error) => {
                    if is_damage(&error) {
                        self.note(number, records.iter().map(|record| record.pack));
                    }
                    error
                }
            };
            first.get_or_insert(error);
        }
        let first = first.unwrap_or_else(|| Error::corrupt("replica", "the version has no replica to read from"));
        if self.slots.len() < 2 || records.len() < 2 {
            return Err(first);
        }
        let mut bytes = Vec::with_capacity(records.len());
        for record in records {
            match self.read_one(record).await {
                Some(one) => bytes.push(one),
                None => return Err(first),
            }
        }
        using(bytes).await.map_err(|rejected| match rejected {
            Rejected::Failed(error) => error,
            Rejected::Damaged(..) => first,
        })
    }

    /// Returns one record from the first slot that has it good.
    async fn read_one(&self, record: &RecordRef) -> Option<Bytes> {
        for slot in self.slots.iter() {
            let read = slot.read_records(std::slice::from_ref(record)).await.ok().and_then(|mut bytes| bytes.pop());
            if let Some(bytes) = read.filter(|bytes| Unpacker::default().is_good(bytes, record)) {
                return Some(bytes);
            }
        }
        None
    }

    fn note(&self, slot: usize, packs: impl IntoIterator<Item = PackId>) {
        let mut damaged = self.damaged.lock();
        damaged.extend(packs.into_iter().map(|pack| (slot, pack)));
    }

    /// Returns the manifest from the first slot that has it intact, and replaces it in the slots before that.
    pub(crate) async fn manifest(&self, id: &ManifestId) -> Result<Manifest> {
        let mut first = None;
        for (number, slot) in self.slots.iter().enumerate() {
            match slot.read_manifest(id).await {
                Ok(manifest) => {
                    for damaged in self.slots.iter().take(number) {
                        // A failure here does not matter to the reader; a scrub reports it.
                        let _ = damaged.replace_manifest(id, manifest.encode()?.1).await;
                    }
                    return Ok(manifest);
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::corrupt("replica", "the version has no replica to read from")))
    }

    /// Returns the requested parcel, verified: from the first slot that has it good, as a whole pack if that is
    /// requested and any slot has it.
    pub(crate) async fn fetch(&self, request: &ParcelRequest, workers: &Workers) -> Result<(Parcel, Bytes)> {
        let mut first = None;
        if request.whole {
            match self.whole(&request.pack, workers).await {
                Ok(bytes) => return Ok((Parcel::Pack(request.pack), bytes)),
                Err(error) => first = Some(error),
            }
        }
        // Usually one slot has all of it, but each may have lost other records.
        let (mut found, mut missing) = (Vec::new(), request.extents.clone());
        for slot in self.slots.iter() {
            match slot.good_records(&request.pack, &missing, workers).await {
                Ok(records) => found.extend(records),
                Err(error) => first = first.or(Some(error)),
            }
            missing = missing.minus(&found.iter().map(|(line, _): &(TableLine, Bytes)| line.range()).collect());
            if missing.is_empty() {
                let (part, bytes) = Part::build(request.pack.id, found);
                return Ok((Parcel::Part(part), bytes));
            }
        }
        let nobody = || Error::corrupt(format!("pack {}", request.pack.id), "no replica has all needed records of it");
        Err(first.unwrap_or_else(nobody))
    }

    /// Returns a whole pack, verified, from the first slot that has it.
    pub(super) async fn whole(&self, pack: &PackInfo, workers: &Workers) -> Result<Bytes> {
        let mut first = None;
        for slot in self.slots.iter() {
            match slot.verified(&Parcel::Pack(*pack), workers).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::corrupt(format!("pack {}", pack.id), "no replica has the whole pack")))
    }
}

/// Returns whether an error means that bytes are damaged or missing.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Invalid)
}
