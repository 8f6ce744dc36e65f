//! What this process has verified: who reads the same blob again is spared the hashing, as long as the blob is the same.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::content::extents::Extents;
use crate::host::Clock;
use crate::host::sync::Mutex;
use crate::store::{BlobKey, BlobMeta, BlobVersion};

/// The most blobs that are remembered: some MiB, and 64 GiB of packs.
const MAX_BLOBS: usize = 4096;

/// A file that was written less than this before it was verified may be written again within the same tick of the file system's
/// clock, and look the same.
const TICK: TimeDelta = TimeDelta::seconds(1);

/// The records that were verified, of each blob. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    /// `None` remembers nothing.
    blobs: Option<Arc<Mutex<Blobs>>>,
    clock: Arc<dyn Clock>,
}

/// Each blob as it was when records of it were verified.
type Blobs = HashMap<Place, (Identity, Extents)>;

/// A slot's label, and a key in it.
type Place = (Arc<str>, BlobKey);

/// What tells a blob from another one that lay in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    size: u64,
    modified: Option<DateTime<Utc>>,
    version: Option<BlobVersion>,
}

/// A blob that is being read, as it was before the read.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    place: Place,
    identity: Identity,
}

impl Verified {
    pub(crate) fn new(clock: Arc<dyn Clock>, remembers: bool) -> Self {
        Self { blobs: remembers.then(Arc::default), clock }
    }

    /// Returns whether it remembers anything.
    pub(super) fn is_on(&self) -> bool {
        self.blobs.is_some()
    }

    /// Returns whether records of a blob of that name were verified.
    pub(super) fn knows(&self, slot: &Arc<str>, key: &BlobKey) -> bool {
        self.blobs.as_ref().is_some_and(|blobs| blobs.lock().contains_key(&(slot.clone(), key.clone())))
    }

    /// Returns the identity of a blob; `None` if it has none that another one in its place could not have.
    pub(super) fn observed(&self, slot: &Arc<str>, blob: BlobMeta) -> Option<Observed> {
        let BlobMeta { key, size, modified, version } = blob;
        let is_old = |modified: DateTime<Utc>| !self.clock.is_virtual() && self.clock.now() - modified > TICK;
        let tells = version.is_some() || modified.is_some_and(is_old);
        tells.then(|| Observed { place: (slot.clone(), key), identity: Identity { size, modified, version } })
    }

    /// Returns the records of a blob that were verified, if it is still the same.
    pub(super) fn of(&self, observed: &Observed) -> Extents {
        let Some(blobs) = &self.blobs else { return Extents::default() };
        match blobs.lock().get(&observed.place) {
            Some((identity, records)) if *identity == observed.identity => records.clone(),
            _ => Extents::default(),
        }
    }

    /// Notes that records of a blob were verified, which was `observed` before they were read.
    pub(super) fn note(&self, observed: &Observed, records: Extents) {
        let Some(blobs) = &self.blobs else { return };
        let mut blobs = blobs.lock();
        if blobs.len() >= MAX_BLOBS && !blobs.contains_key(&observed.place) {
            // Which ones go does not matter much: they are verified once more.
            blobs.clear();
        }
        let entry =
            blobs.entry(observed.place.clone()).or_insert_with(|| (observed.identity.clone(), Extents::default()));
        if entry.0 != observed.identity {
            *entry = (observed.identity.clone(), Extents::default());
        }
        entry.1 = entry.1.union(&records);
    }
}
