//! Reading from several replicas: what one has damaged another serves, and the damaged one is mended.

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

/// Slots that each hold the same version whole, the one to read from first.
#[derive(Clone, Debug)]
pub(crate) struct Holders {
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

    /// What was found damaged since the last call: the number of a slot, and a pack.
    pub(super) fn take_damaged(&self) -> BTreeSet<(usize, PackId)> {
        std::mem::take(&mut *self.damaged.lock())
    }

    /// What errors call the first.
    pub(crate) fn label(&self) -> &str {
        self.slots.first().map_or("no replica", Slot::label)
    }

    /// Gives `using` the stored bytes of bytes, from the first slot whose bytes it does not find damaged; or, where each
    /// slot has damaged another of them, each record from one that has it good.
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
        let first = first.unwrap_or_else(|| Error::corrupt("replica", "there is none to read from"));
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

    /// One record, from the first slot that has it good.
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

    /// The manifest, from the first slot that has it whole; the slots before that get it again.
    pub(crate) async fn manifest(&self, id: &ManifestId) -> Result<Manifest> {
        let mut first = None;
        for (number, slot) in self.slots.iter().enumerate() {
            match slot.read_manifest(id).await {
                Ok(manifest) => {
                    for damaged in self.slots.iter().take(number) {
                        // It is served all the same; a scrub tells of one that can't be mended.
                        let _ = damaged.replace_manifest(id, manifest.encode()?.1).await;
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
    pub(crate) async fn fetch(&self, request: &ParcelRequest, workers: &Workers) -> Result<(Parcel, Bytes)> {
        let mut first = None;
        if request.whole {
            match self.whole(&request.pack, workers).await {
                Ok(bytes) => return Ok((Parcel::Pack(request.pack), bytes)),
                Err(error) => first = Some(error),
            }
        }
        // Mostly one has all of it; but each may have lost another record.
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
        let nobody = || Error::corrupt(format!("pack {}", request.pack.id), "no replica has all that is needed of it");
        Err(first.unwrap_or_else(nobody))
    }

    /// A whole pack, verified, from the first that has it.
    pub(super) async fn whole(&self, pack: &PackInfo, workers: &Workers) -> Result<Bytes> {
        let mut first = None;
        for slot in self.slots.iter() {
            match slot.verified(&Parcel::Pack(*pack), workers).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Error::corrupt(format!("pack {}", pack.id), "there is no replica to read it from")))
    }
}

/// Whether an error tells of bytes that are not what they must be, or are gone.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Invalid)
}
