//! `Arc` and `Box` of a store are stores.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::blob::{BlobFile, BlobMeta, Folders, Page, Pages, PutMode};
use super::blob_place::BlobPlace;
use super::blob_store::BlobStore;
use super::blob_version::BlobVersion;
use super::capabilities::Capabilities;
use super::error::StoreResult;
use super::key::BlobKey;

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: BlobStore + ?Sized> BlobStore for $pointer<T> {
            async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
                T::put(self, key, bytes, mode).await
            }

            async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
                T::get(self, key, range).await
            }

            async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
                T::head(self, key).await
            }

            async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
                T::delete(self, key).await
            }

            async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
                T::list(self, under, after, limit).await
            }

            async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
                T::copy(self, from, to, mode).await
            }

            async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
                T::persist(self, under).await
            }

            fn capabilities(&self) -> Capabilities {
                T::capabilities(self)
            }

            async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
                T::open_file(self, key).await
            }

            async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
                T::put_parts(self, key, parts, mode).await
            }

            async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
                T::get_ranges(self, key, ranges).await
            }

            async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
                T::delete_many(self, keys).await
            }

            fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
                T::list_pages(self, under, after)
            }

            async fn list_folders(
                &self,
                under: Option<&BlobKey>,
                after: Option<&BlobKey>,
                limit: usize,
            ) -> StoreResult<Folders> {
                T::list_folders(self, under, after, limit).await
            }

            async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
                T::replace_if(self, key, bytes, version).await
            }

            async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
                T::delete_if(self, key, version).await
            }

            async fn copy_from(
                &self,
                store: &dyn BlobStore,
                from: &BlobKey,
                to: &BlobKey,
                mode: PutMode,
            ) -> StoreResult<()> {
                T::copy_from(self, store, from, to, mode).await
            }

            fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
                T::place_of(self, key)
            }

            async fn distrust(&self, key: &BlobKey) -> bool {
                T::distrust(self, key).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
