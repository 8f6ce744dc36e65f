//! Stores that are buckets of a service, as `ObjectStoreBlobs` tells what the service says (`docs/buckets.md`).
//!
//! What differs from a disk behind a network: all that can be seen is durable; a service creates only where nothing is, and answers
//! that another change of the key is under way; some have versions, some of them hashes of the bytes; listings are in order, in
//! short pages; one request removes several blobs, some of which may stay; a copy that is interrupted may leave a blob without bytes;
//! a service slows all callers down for a while, credentials run out, and the bucket is gone until it is there again.

use std::time::Duration;

use bytes::Bytes;
use compute_gallery::store::*;

use crate::executor::at_once;
use crate::world::World;

/// How often a change is asked for again that is answered by another one being under way.
pub const ASKED_AGAIN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Versions are hashes of the bytes; a creating copy moves the bytes.
    S3,
    /// Blobs have no version that a change could depend on; some copies are made by and by.
    Azure,
    /// Versions are numbers.
    Google,
    /// One of which nothing is known: it creates where nothing is, and that is all.
    Other,
}

pub const SERVICES: [Service; 4] = [Service::S3, Service::Azure, Service::Google, Service::Other];

impl Service {
    pub fn capabilities(self) -> Capabilities {
        let of_all = Capabilities::default().with_free_persist(true);
        match self {
            Self::Other => of_all,
            Self::Azure => of_all.with_copies_inside(true).with_remounts(false),
            Self::S3 | Self::Google => {
                of_all.with_copies_inside(true).with_remounts(false).with_conditional_changes(true)
            }
        }
    }

    /// Whether one request removes several blobs.
    pub fn removes_many(self) -> bool {
        matches!(self, Self::S3 | Self::Azure)
    }

    /// Whether the service copies within a bucket by itself.
    pub fn copies(self, mode: PutMode) -> bool {
        self != Self::S3 || mode == PutMode::Overwrite
    }

    /// Whether it makes some copies by and by: until then, and if it ends before, the copy is a blob without bytes.
    pub fn copies_slowly(self) -> bool {
        self == Self::Azure
    }

    /// What `head` and listings tell of a blob.
    pub fn described(self, store: &MemoryStore, mut blob: BlobMeta) -> BlobMeta {
        if self == Self::S3 {
            blob.version = at_once(store.find(&blob.key)).unwrap().map(|bytes| hash_of(&bytes));
        } else if self != Self::Google {
            blob.version = None;
        }
        blob
    }

    /// The version that is there, as `replace_if` and `delete_if` compare it.
    pub fn version(self, store: &MemoryStore, key: &BlobKey) -> Option<BlobVersion> {
        let blob = at_once(store.head(key)).ok()?;
        self.described(store, blob).version
    }
}

fn hash_of(bytes: &Bytes) -> BlobVersion {
    BlobVersion::new(blake3::hash(bytes).to_hex().to_string())
}

impl World {
    /// What the trace and the counters call an outage.
    pub fn name_of(trouble: StoreErrorKind) -> &'static str {
        match trouble {
            StoreErrorKind::Throttled { .. } => "slowed down",
            StoreErrorKind::PermissionDenied => "credentials ran out",
            StoreErrorKind::WrongStore => "bucket is gone",
            _ => "away",
        }
    }

    /// What all callers of a bucket meet for a while.
    pub fn trouble(&self, is_bucket: bool) -> StoreErrorKind {
        let after = Some(Duration::from_secs(1 + self.below(5) as u64));
        let of_buckets =
            [StoreErrorKind::Throttled { after }, StoreErrorKind::PermissionDenied, StoreErrorKind::WrongStore];
        if is_bucket && self.one_in(2) { *self.of(&of_buckets) } else { StoreErrorKind::Unavailable }
    }
}
