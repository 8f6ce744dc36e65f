//! Where a blob is, below all wrappers.

use std::any::Any;
use std::fmt;

use super::key::BlobKey;

/// The store that a blob is really in, below all wrappers, and its key there: for [copies between
/// stores](super::BlobStore::copy_from).
///
/// ```
/// use compute_gallery::store::{BlobPlace, BlobStore, MemoryStore, Prefixed};
///
/// let bucket = MemoryStore::new();
/// let part = Prefixed::new(bucket.clone(), "tenants/7".parse()?);
/// let place = part.place_of(&"a".parse()?).expect("a `MemoryStore` says where its blobs are");
/// assert_eq!(place.key().as_str(), "tenants/7/a");
/// assert!(place.store::<MemoryStore>().is_some());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone)]
pub struct BlobPlace<'a> {
    store: &'a (dyn Any + Send + Sync),
    key: BlobKey,
}

impl<'a> BlobPlace<'a> {
    /// Says that the blob is in `store` under `key`, for the implementor of a store.
    pub fn new<S: Any + Send + Sync>(store: &'a S, key: BlobKey) -> Self {
        Self { store, key }
    }

    /// Returns the store, if it is of this type.
    pub fn store<S: Any>(&self) -> Option<&'a S> {
        self.store.downcast_ref()
    }

    /// Returns the key in that store.
    pub fn key(&self) -> &BlobKey {
        &self.key
    }
}

impl fmt::Debug for BlobPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobPlace").field("key", &self.key).finish_non_exhaustive()
    }
}
