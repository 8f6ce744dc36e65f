//! Where the records of a pack lie in a slot: in the whole pack, or in parts of it.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::content::head::Head;
use crate::content::names::PackId;
use crate::error::Result;
use crate::host::sync::Mutex;
use crate::store::BlobKey;

/// The most packs of a slot whose heads are cached: a few MiB.
const MAX_LOCATED: usize = 256;

/// The blobs of one pack in a slot, with their heads.
pub(super) type Blobs = Arc<[(BlobKey, Arc<Head>)]>;

/// The blobs of a pack, found once for all who ask at the same time.
pub(super) type Locating = Shared<BoxFuture<'static, Result<Blobs>>>;

/// The packs of a slot whose heads were read, or are being read. Clones share them.
#[derive(Clone, Default)]
pub(super) struct LocatedPacks(Arc<Mutex<HashMap<PackId, Locating>>>);

impl std::fmt::Debug for LocatedPacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocatedPacks").finish_non_exhaustive()
    }
}

impl LocatedPacks {
    pub(super) fn forget(&self, pack: &PackId) {
        self.0.lock().remove(pack);
    }

    pub(super) fn known(&self, pack: &PackId) -> Option<Locating> {
        self.0.lock().get(pack).cloned()
    }

    /// Returns what is known of a pack, or finds it with `locate`.
    pub(super) fn find(&self, pack: &PackId, locate: impl FnOnce() -> BoxFuture<'static, Result<Blobs>>) -> Locating {
        let mut located = self.0.lock();
        if let Some(known) = located.get(pack) {
            return known.clone();
        }
        if located.len() >= MAX_LOCATED {
            // Eviction order does not matter much: a miss costs one read.
            located.clear();
        }
        let locating = locate().shared();
        located.insert(*pack, locating.clone());
        locating
    }
}
