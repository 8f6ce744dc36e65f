//! `Arc` and `Box` of a store are stores.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::blob_store::{BlobMeta, BlobStore, Page, PutMode};
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

            fn can_be_remounted(&self) -> bool {
                T::can_be_remounted(self)
            }
        }
    };
}

forward!(Arc);
forward!(Box);
