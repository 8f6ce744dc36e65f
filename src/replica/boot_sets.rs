//! The boot sets of a slot. They are no part of a replica: nothing waits for one, copies one, or misses one.

use bytes::Bytes;

use super::slot::Slot;
use crate::content::boot_set::{BootSet, MAX_BYTES, key_of};
use crate::content::names::ManifestId;
use crate::error::Result;
use crate::store::{BlobStore, PutMode};

impl Slot {
    /// Reads the boot set of a manifest.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Corrupt`; `Unsupported` if a newer build has written it.
    pub(crate) async fn boot_set(&self, manifest: &ManifestId) -> Result<BootSet> {
        let bytes = self.store.get(&key_of(manifest)?, None).await.map_err(|error| self.failed(error))?;
        BootSet::parse(self.catalog(), manifest, &bytes)
    }

    /// Writes the boot set of a manifest, over another one.
    pub(crate) async fn put_boot_set(&self, manifest: &ManifestId, set: &BootSet) -> Result<()> {
        let bytes = Bytes::from(set.encode(self.catalog(), manifest));
        debug_assert!(bytes.len() as u64 <= MAX_BYTES);
        self.store.put(&key_of(manifest)?, bytes, PutMode::Overwrite).await.map_err(|error| self.failed(error))
    }

    /// Removes the boot set of a manifest; it may be missing. It takes no condemnation: one that is removed by mistake, or comes back,
    /// harms nothing.
    pub(crate) async fn delete_boot_set(&self, manifest: &ManifestId) -> Result<()> {
        self.store.delete(&key_of(manifest)?).await.map_err(|error| self.failed(error))
    }
}
