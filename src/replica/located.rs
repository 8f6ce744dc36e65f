//! Where the records of a pack lie in a slot: in the whole pack, or in parts of it.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::content::head::Head;
use crate::content::names::{PackId, UploadId};
use crate::error::Result;
use crate::host::sync::Mutex;
use crate::store::{BlobKey, BlobMeta};

/// The most packs of a slot whose heads are cached: a few MiB.
const MAX_LOCATED: usize = 256;

/// The blobs of one pack in a slot, with their heads.
pub(super) type Blobs = Arc<[(BlobKey, Arc<Head>)]>;

/// The blobs of a pack, found once for all who ask at the same time.
pub(super) type Locating = Shared<BoxFuture<'static, Result<Blobs>>>;

/// The parts of an upload's packs, listed once for all who ask at the same time.
pub(super) type Listing = Shared<BoxFuture<'static, Result<Arc<[BlobMeta]>>>>;

/// The packs of a slot whose heads were read, or are being read. Clones share them.
#[derive(Clone, Default)]
pub(super) struct LocatedPacks {
    packs: Arc<Mutex<HashMap<PackId, Locating>>>,
    /// The listed parts of uploads of which a pack was not found whole. By itself: what finds a pack keeps it.
    parts: Arc<Mutex<HashMap<UploadId, Listing>>>,
}

impl std::fmt::Debug for LocatedPacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocatedPacks").finish_non_exhaustive()
    }
}

impl LocatedPacks {
    /// Returns those that know the same listed parts, and no packs.
    pub(super) fn of_parts(&self) -> Self {
        Self { packs: Arc::default(), parts: self.parts.clone() }
    }

    pub(super) fn forget(&self, pack: &PackId) {
        self.packs.lock().remove(pack);
        self.parts.lock().remove(&pack.upload);
    }

    pub(super) fn known(&self, pack: &PackId) -> Option<Locating> {
        self.packs.lock().get(pack).cloned()
    }

    /// Returns what is known of a pack, or finds it with `locate`.
    pub(super) fn find(&self, pack: &PackId, locate: impl FnOnce() -> BoxFuture<'static, Result<Blobs>>) -> Locating {
        let mut packs = self.packs.lock();
        if let Some(known) = packs.get(pack) {
            return known.clone();
        }
        if packs.len() >= MAX_LOCATED {
            // Eviction order does not matter much: a miss costs one read.
            packs.clear();
        }
        let locating = locate().shared();
        packs.insert(*pack, locating.clone());
        locating
    }

    /// Returns the parts of an upload's packs if they were listed, or are being listed.
    pub(super) fn known_parts(&self, upload: &UploadId) -> Option<Listing> {
        self.parts.lock().get(upload).cloned()
    }

    /// Returns the parts of an upload's packs, or lists them with `list`.
    pub(super) fn parts(
        &self,
        upload: &UploadId,
        list: impl FnOnce() -> BoxFuture<'static, Result<Arc<[BlobMeta]>>>,
    ) -> Listing {
        let mut parts = self.parts.lock();
        if let Some(known) = parts.get(upload) {
            return known.clone();
        }
        if parts.len() >= MAX_LOCATED {
            parts.clear();
        }
        let listing = list().shared();
        parts.insert(*upload, listing.clone());
        listing
    }
}
