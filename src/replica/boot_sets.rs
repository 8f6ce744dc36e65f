//! The boot sets of a slot. They are no part of a replica: nothing waits for one, copies one, or misses one.

use bytes::Bytes;

use super::slot::Slot;
use crate::content::boot_set::{BootSet, MAX_BYTES};
use crate::content::names::ManifestId;
use crate::error::Result;
use crate::store::{BlobKey, BlobStore, PutMode};

/// The folder of a slot.
pub(super) const FOLDER: &str = "boots";

/// Returns the key of the boot set of a manifest, within a slot.
fn key_of(manifest: &ManifestId) -> Result<BlobKey> {
    format!("{FOLDER}/{}/{}", manifest.upload, manifest.digest).parse()
}

/// Returns the manifest whose boot set has that key.
pub(super) fn manifest_of(key: &BlobKey) -> Option<ManifestId> {
    let segments: Vec<&str> = key.segments().collect();
    let [FOLDER, upload, digest] = segments.as_slice() else { return None };
    let id = ManifestId { upload: upload.parse().ok()?, digest: digest.parse().ok()? };
    // One name has one form.
    (key_of(&id).ok()? == *key).then_some(id)
}

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
