//! Helpers for users of a store.

use async_trait::async_trait;
use bytes::Bytes;

use super::blob_store::{BlobMeta, BlobStore};
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;

/// Helpers for users of a store; every [`BlobStore`] has them.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, BlobStoreExt, MemoryStore, PutMode};
///
/// # futures::executor::block_on(async {
/// let (store, key) = (MemoryStore::new(), "a/b".parse()?);
/// assert_eq!(store.find(&key).await?, None);
/// store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
/// assert_eq!(store.find(&key).await?, Some(Bytes::from_static(b"bytes")));
/// assert_eq!(store.find_meta(&key).await?.map(|meta| meta.size), Some(5));
/// assert_eq!(store.list_all(Some(&"a".parse()?)).await?.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait BlobStoreExt: BlobStore {
    /// Returns the whole blob, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::get`], without `NotFound`.
    async fn find(&self, key: &BlobKey) -> StoreResult<Option<Bytes>> {
        absent_as_none(self.get(key, None).await)
    }

    /// Returns what the store knows of a blob, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::head`], without `NotFound`.
    async fn find_meta(&self, key: &BlobKey) -> StoreResult<Option<BlobMeta>> {
        absent_as_none(self.head(key).await)
    }

    /// Returns every blob under `under`, read page by page.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::list`]; `Unsupported` if the store does not list in order after the given key, because the listing might
    /// then never end.
    async fn list_all(&self, under: Option<&BlobKey>) -> StoreResult<Vec<BlobMeta>> {
        let mut all: Vec<BlobMeta> = Vec::new();
        loop {
            let after = all.last().map(|last| last.key.clone());
            let page = self.list(under, after.as_ref(), 1_000).await?;
            let done = page.blobs.is_empty() || !page.more;
            let keys = after.iter().chain(page.blobs.iter().map(|blob| &blob.key));
            if !keys.clone().zip(keys.skip(1)).all(|(one, next)| one < next) {
                let what = "the store's listing is not in ascending order, or does not continue after the given key";
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
