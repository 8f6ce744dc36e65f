//! What a service of the same protocol may lack.

use std::fmt::Write as _;

use bytes::Bytes;
use object_store::PutMode as TheirMode;
use object_store::path::Path;

use super::bucket::ObjectStoreBlobs;
use super::fault::{Asked, Fault};
use crate::error::Result;
use crate::host::{Entropy, draw};
use crate::store::blob_version::BlobVersion;
use crate::store::error::{StoreError, StoreErrorKind, StoreResult};

impl ObjectStoreBlobs {
    /// Tries what some services of the same protocol lack or ignore, with two small blobs under `.probe`, which it removes.
    ///
    /// - A put with the condition that no blob is there must be refused where one is: without it no catalog can be in the bucket,
    ///   and it is an error.
    /// - Puts and deletions with the condition that a version is there: if they work, the store returned claims
    ///   [`changes_conditionally`](crate::store::Capabilities::changes_conditionally).
    ///
    /// A gallery opens without it, and makes the first of these checks by itself. It is for the second, and for a look at a service that
    /// is new to you: S3 has conditional deletions since 2025, and other services with its protocol have them or not.
    ///
    /// ```
    /// use compute_gallery::host::SystemEntropy;
    /// use compute_gallery::store::{BlobStore, ObjectStoreBlobs};
    /// use std::sync::Arc;
    ///
    /// # futures::executor::block_on(async {
    /// let bucket = Arc::new(object_store::memory::InMemory::new());
    /// let store = ObjectStoreBlobs::new(bucket, "")?.probed(&SystemEntropy).await?;
    /// assert!(!store.capabilities().changes_conditionally(), "`object_store` removes no version");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the service lacks conditional puts or ignores the condition; those of the
    /// bucket.
    pub async fn probed(self, entropy: &dyn Entropy) -> Result<Self> {
        let random: [u8; 16] = draw(entropy, "name a probe")?;
        let random = random.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let at = |number: u8| self.name(&format!(".probe/{random}-{number}"));
        let names = at(1).and_then(|one| Ok([one, at(2)?])).map_err(|fault| fault.error("probe", None).at("bucket"))?;
        let found = self.tries(&names).await;
        for name in &names {
            // A probe that stays harms nothing.
            let _ = self.remove(name, None).await;
        }
        let has_versions = found.map_err(|error| error.at("bucket"))?;
        Ok(Self { capabilities: self.capabilities.with_conditional_changes(has_versions), ..self })
    }

    async fn tries(&self, [one, other]: &[Path; 2]) -> StoreResult<bool> {
        let failed = |fault: Fault| fault.error("probe", None);
        let create = async |name: &Path, bytes| {
            self.write(Asked::Create, name, Bytes::from_static(bytes).into(), TheirMode::Create).await
        };
        create(one, b"one").await.map_err(failed)?;
        create(other, b"the other").await.map_err(failed)?;
        match create(one, b"again").await {
            Err(fault) if fault.is(StoreErrorKind::AlreadyExists) => {}
            Err(fault) => return Err(failed(fault)),
            Ok(()) => {
                let what = "the service ignores the condition of a conditional put (`If-None-Match: *`), so two processes would \
                            overwrite each other: no gallery can use it";
                return Err(StoreError::new(StoreErrorKind::Unsupported, "probe", None).with_detail(what));
            }
        }
        let version = async |name| Ok(self.version(&self.head_of(name).await.map_err(failed)?));
        let (Some(right), Some(wrong)) = (version(one).await?, version(other).await?) else { return Ok(false) };
        self.has_versions(one, &right, &wrong).await.map_err(failed)
    }

    /// Whether changes of `right` are made, and changes of `wrong` refused.
    async fn has_versions(
        &self,
        name: &Path,
        right: &BlobVersion,
        wrong: &BlobVersion,
    ) -> std::result::Result<bool, Fault> {
        let replaced = async |version| self.replace(name, Bytes::from_static(b"next"), version).await;
        if !is_refused(replaced(wrong).await)? || !is_refused(self.remove(name, Some(wrong)).await)? {
            return Ok(false);
        }
        replaced(right).await?;
        let Some(next) = self.version(&self.head_of(name).await?) else { return Ok(false) };
        Ok(next != *right
            && is_refused(self.remove(name, Some(right)).await)?
            && self.remove(name, Some(&next)).await.is_ok())
    }
}

/// Whether the condition was looked at.
fn is_refused(change: std::result::Result<(), Fault>) -> std::result::Result<bool, Fault> {
    match change {
        Ok(()) => Ok(false),
        Err(fault) if fault.is(StoreErrorKind::Changed) => Ok(true),
        Err(fault) if fault.is(StoreErrorKind::Unsupported) => Ok(false),
        Err(fault) => Err(fault),
    }
}
