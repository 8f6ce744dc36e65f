//! What every store offers beyond its trait.

use async_trait::async_trait;
use bytes::Bytes;

use super::blob_store::{BlobMeta, BlobStore};
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;

/// Conveniences for users of a store; every [`BlobStore`] has them.
#[async_trait]
pub trait BlobStoreExt: BlobStore {
    /// The whole blob, or `None` where there is none.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::get`], without `NotFound`.
    async fn find(&self, key: &BlobKey) -> StoreResult<Option<Bytes>> {
        absent_as_none(self.get(key, None).await)
    }

    /// What is known of a blob, or `None` where there is none.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::head`], without `NotFound`.
    async fn find_meta(&self, key: &BlobKey) -> StoreResult<Option<BlobMeta>> {
        absent_as_none(self.head(key).await)
    }

    /// Every blob under `under`, page after page.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::list`]; `Unsupported` where the store does not list in order, from the last key on: it would be asked
    /// for ever.
    async fn list_all(&self, under: Option<&BlobKey>) -> StoreResult<Vec<BlobMeta>> {
        let mut all: Vec<BlobMeta> = Vec::new();
        loop {
            let after = all.last().map(|last| last.key.clone());
            let page = self.list(under, after.as_ref(), 1_000).await?;
            let done = page.blobs.is_empty() || !page.more;
            let keys = after.iter().chain(page.blobs.iter().map(|blob| &blob.key));
            if !keys.clone().zip(keys.skip(1)).all(|(one, next)| one < next) {
                let what =
                    "the store's listing is not in ascending order, or does not go on after the key that it was given";
                return Err(StoreError::new(StoreErrorKind::Unsupported, "list", under).with_source(what));
            }
            all.extend(page.blobs);
            if done {
                return Ok(all);
            }
        }
    }
}

impl<S: BlobStore + ?Sized> BlobStoreExt for S {}

fn absent_as_none<T>(result: StoreResult<T>) -> StoreResult<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
