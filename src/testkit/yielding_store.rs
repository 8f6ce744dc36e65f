//! A store that lets others go first.

use std::future::Future;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use futures::stream::{self, TryStreamExt};

use crate::host::turns::others_go_first;
use crate::store::{
    BlobFile, BlobKey, BlobMeta, BlobPlace, BlobStore, BlobVersion, Capabilities, Folders, Page, Pages, PutMode,
    StoreResult,
};

/// A store that passes every call on to another, and lets other tasks go first before and after each: an executor that
/// chooses the next task by a seed, or a test that polls its tasks itself, can then stop a task at every call, before it has
/// taken effect and after.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
/// use compute_gallery::testkit::YieldingStore;
/// use futures::FutureExt;
///
/// let memory = MemoryStore::new();
/// let (key, store) = ("a".parse()?, YieldingStore::new(memory.clone()));
/// let mut put = store.put(&key, Bytes::from_static(b"x"), PutMode::Create);
/// assert!((&mut put).now_or_never().is_none(), "under way");
/// assert!(memory.head(&key).now_or_never().unwrap().is_err());
/// assert!((&mut put).now_or_never().is_none(), "done, and not answered");
/// assert!(memory.head(&key).now_or_never().unwrap().is_ok());
/// assert!(put.now_or_never().unwrap().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct YieldingStore<S> {
    inner: S,
}

impl<S: BlobStore> YieldingStore<S> {
    /// Passes every call on to `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

async fn slowly<T>(call: impl Future<Output = T>) -> T {
    others_go_first().await;
    let answer = call.await;
    others_go_first().await;
    answer
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for YieldingStore<S> {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        slowly(self.inner.put(key, bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        slowly(self.inner.get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        slowly(self.inner.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        slowly(self.inner.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        slowly(self.inner.list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        slowly(self.inner.copy(from, to, mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        slowly(self.inner.persist(under)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        slowly(self.inner.open_file(key)).await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        slowly(self.inner.put_parts(key, parts, mode)).await
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        slowly(self.inner.get_ranges(key, ranges)).await
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        slowly(self.inner.delete_many(keys)).await
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let start = self.inner.list_pages(under, after);
        Box::pin(stream::try_unfold(start, |mut pages| async move {
            let page = slowly(pages.try_next()).await?;
            Ok(page.map(|page| (page, pages)))
        }))
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        slowly(self.inner.list_folders(under, after, limit)).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        slowly(self.inner.replace_if(key, bytes, version)).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        slowly(self.inner.delete_if(key, version)).await
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        slowly(self.inner.copy_from(store, from, to, mode)).await
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.inner.place_of(key)
    }

    async fn distrust(&self, key: &BlobKey) -> bool {
        self.inner.distrust(key).await
    }
}
