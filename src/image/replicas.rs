//! Reading from several replicas: what one has damaged another serves, and the damaged one is mended.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::digest::Digest;
use super::manifest::Manifest;
use super::pack::{PackId, RecordRef};
use super::slot::Slot;
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
                        let pack = format!("{}, pack {}/{}", slot.place(), place.pack.upload, place.pack.number);
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

    /// Writes the packs that were found damaged again, each from a slot that has it whole; tells how many. One that can't
    /// be mended stays as it is.
    pub(crate) async fn mend(&self, manifest: &Manifest, workers: &Workers) -> usize {
        let damaged = std::mem::take(&mut *self.damaged.lock().unwrap_or_else(PoisonError::into_inner));
        let mut mended = 0;
        for (number, id) in damaged {
            let info = manifest.packs.iter().find(|pack| pack.id == id);
            let (Some(info), Some(slot)) = (info, self.slots.get(number)) else { continue };
            if slot.verified_pack(info, workers).await.is_ok() {
                continue;
            }
            for (_, other) in self.slots.iter().enumerate().filter(|(other, _)| *other != number) {
                if let Ok(bytes) = other.verified_pack(info, workers).await {
                    mended += usize::from(slot.replace_pack(info, bytes).await.is_ok());
                    break;
                }
            }
        }
        mended
    }
}
