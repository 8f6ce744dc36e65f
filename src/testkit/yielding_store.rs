//! A store that lets others go first.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::{BlobKey, BlobMeta, BlobStore, Page, PutMode, StoreResult};

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

async fn others_go_first() {
    let mut is_later = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_later, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
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

    fn can_be_remounted(&self) -> bool {
        self.inner.can_be_remounted()
    }
}
