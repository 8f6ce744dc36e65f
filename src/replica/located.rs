//! Where the records of a pack lie in a slot: in the whole pack, or in parts of it.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::content::head::Head;
use crate::content::names::{FamilyId, PackId, UploadId};
use crate::content::record::Line;
use crate::error::Result;
use crate::host::sync::Mutex;
use crate::store::{BlobKey, BlobMeta};

/// The most packs of a slot whose heads are cached, a few MiB, or 24 MiB with small packs, and the most uploads whose parts are.
const MAX_LOCATED: usize = 256;

/// The most packs that are known to be found by their links.
const MAX_BY_LINKS: usize = 16_384;

/// A pack or part, where it lies.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) head: Arc<Head>,
    /// The blob that it lies in: its own, or a merged one.
    pub(super) blob: BlobKey,
    /// The offset there at which it begins.
    pub(super) start: u64,
    /// The key that no other pack or part of the slot has.
    pub(super) key: BlobKey,
    /// All of it, if it is small: up to 96 KiB.
    pub(super) bytes: Option<Bytes>,
}

impl Located {
    /// Returns the place of a record.
    pub(super) fn range(&self, line: &Line) -> Range<u64> {
        let range = line.range();
        self.start.saturating_add(range.start)..self.start.saturating_add(range.end)
    }
}

/// What a slot has of one pack.
pub(super) type Blobs = Arc<[Located]>;

/// The members of the merged blobs of a family.
pub(super) type Members = Arc<HashMap<PackId, Located>>;

/// What is looked up, once for all who ask at the same time.
pub(super) type Looking<T> = Shared<BoxFuture<'static, Result<T>>>;

/// What was looked up, or is being looked up. Clones share it.
pub(super) struct Lookups<K, T: Clone>(Arc<Mutex<HashMap<K, Looking<T>>>>);

impl<K, T: Clone> Clone for Lookups<K, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, T: Clone> Default for Lookups<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Copy + Eq + Hash, T: Clone> Lookups<K, T> {
    pub(super) fn known(&self, key: &K) -> Option<Looking<T>> {
        self.0.lock().get(key).cloned()
    }

    /// Returns what is known, or looks it up.
    pub(super) fn find(&self, key: &K, look_up: impl FnOnce() -> BoxFuture<'static, Result<T>>) -> Looking<T> {
        let mut lookups = self.0.lock();
        if let Some(known) = lookups.get(key) {
            return known.clone();
        }
        if lookups.len() >= MAX_LOCATED {
            // Eviction order does not matter much: a miss costs one request.
            lookups.clear();
        }
        let looking = look_up().shared();
        lookups.insert(*key, looking.clone());
        looking
    }

    fn forget(&self, key: &K) {
        self.0.lock().remove(key);
    }
}

/// Where the packs of a slot lie. Clones share it.
#[derive(Clone, Default)]
pub(super) struct LocatedPacks {
    pub(super) packs: Lookups<PackId, Blobs>,
    /// The listed parts of uploads of which a pack was not found whole. By itself: what finds a pack keeps it.
    pub(super) parts: Lookups<UploadId, Arc<[BlobMeta]>>,
    /// The members of merged blobs. By itself, too.
    pub(super) merged: Lookups<FamilyId, Members>,
    /// Packs of which a member was not what was wanted: they are found by their links.
    by_links: Arc<Mutex<HashSet<PackId>>>,
}

impl std::fmt::Debug for LocatedPacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocatedPacks").finish_non_exhaustive()
    }
}

impl LocatedPacks {
    /// Returns those that know the same listed parts and members, and no packs.
    pub(super) fn of_parts(&self) -> Self {
        Self { packs: Lookups::default(), ..self.clone() }
    }

    /// Returns the member that a pack is, if a merged blob has one that may be all that the slot has of it.
    pub(super) fn member<'m>(&self, members: &'m Members, pack: &PackId) -> Option<&'m Located> {
        members.get(pack).filter(|_| !self.by_links.lock().contains(pack))
    }

    /// Notes that a pack is to be found by its links from now on: the slot may have more of it than the member that a front tells, or has it
    /// elsewhere, since the member was damaged. Returns whether that is new.
    pub(super) fn find_by_links(&self, pack: &PackId) -> bool {
        let mut by_links = self.by_links.lock();
        if by_links.len() >= MAX_BY_LINKS {
            // As with lookups: to note it again costs a request.
            by_links.clear();
        }
        self.packs.forget(pack);
        by_links.insert(*pack)
    }

    pub(super) fn forget(&self, pack: &PackId) {
        self.packs.forget(pack);
        self.parts.forget(&pack.upload);
        // All of them: a member goes with its blob.
        self.forget_merged();
    }

    pub(super) fn forget_merged(&self) {
        self.merged.0.lock().clear();
    }
}
