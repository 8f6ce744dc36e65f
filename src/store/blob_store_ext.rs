//! Helpers for users of a store.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::TryStreamExt;

use super::blob::{BlobMeta, Folders};
use super::blob_store::BlobStore;
use super::derived;
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
/// assert_eq!(store.list_all_folders(None).await?, ["a".parse()?]);
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

    /// Returns every blob under `under`.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::list_pages`].
    async fn list_all(&self, under: Option<&BlobKey>) -> StoreResult<Vec<BlobMeta>> {
        self.list_pages(under, None).try_concat().await
    }

    /// Returns every folder directly under `under`, read page by page, in the order of [`Folders::keys`].
    ///
    /// # Errors
    ///
    /// As [`BlobStore::list_folders`].
    async fn list_all_folders(&self, under: Option<&BlobKey>) -> StoreResult<Vec<BlobKey>> {
        let mut all: Vec<BlobKey> = Vec::new();
        loop {
            let Folders { keys, more } = self.list_folders(under, all.last(), derived::PAGE).await?;
            let is_last = keys.is_empty() || !more;
            let in_order = |(one, next): (&BlobKey, &BlobKey)| {
                let in_it = |folder: &BlobKey| format!("{folder}/");
                in_it(one) < in_it(next)
            };
            let listed = all.last().into_iter().chain(&keys);
            if !listed.clone().zip(listed.skip(1)).all(in_order) {
                let what = "the store's listing of folders is not in ascending order, or does not continue after the given one";
                return Err(StoreError::new(StoreErrorKind::Unsupported, "list_folders", under).with_source(what));
            }
            all.extend(keys);
            if is_last {
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
