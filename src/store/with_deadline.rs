//! Deadlines of store calls.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::blob_store::{BlobMeta, BlobStore, MAX_BLOB_BYTES, Page, PutMode};
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;
use crate::host::{Clock, Deadlines, within};

/// A store whose calls end when their [deadline](Deadlines) is over, such as on a dead connection or a lost network file system.
///
/// A late read, listing or `persist` is [`Unavailable`](StoreErrorKind::Unavailable). A late put, copy or delete is
/// [`Unknown`](StoreErrorKind::Unknown): it may have happened, or happen yet.
///
/// The deadline of a call grows with the bytes that it moves. A copy and a read of a whole blob have the deadline of the largest
/// blob.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::host::{Deadlines, SystemClock};
/// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, WithDeadline};
/// use std::{sync::Arc, time::Duration};
///
/// # futures::executor::block_on(async {
/// let deadlines = Deadlines::default().with_call(Duration::from_secs(10));
/// let store = WithDeadline::new(MemoryStore::new(), deadlines, Arc::new(SystemClock));
/// let key = "a".parse()?;
/// store.put(&key, Bytes::from_static(b"in time"), PutMode::Create).await?;
/// assert_eq!(store.get(&key, None).await?, "in time");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct WithDeadline<S> {
    inner: S,
    deadlines: Deadlines,
    clock: Arc<dyn Clock>,
}

impl<S: BlobStore> WithDeadline<S> {
    /// Forwards every call to `inner`, with a deadline of `deadlines` by `clock`.
    pub fn new(inner: S, deadlines: Deadlines, clock: Arc<dyn Clock>) -> Self {
        Self { inner, deadlines, clock }
    }

    async fn end<T>(
        &self,
        bytes: u64,
        late: impl FnOnce() -> StoreError,
        call: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        let limit = self.deadlines.for_call(bytes);
        match within(&*self.clock, limit, call).await {
            Some(answer) => answer,
            None => {
                let waited = limit.unwrap_or_default().as_secs_f64();
                Err(late().with_source(format!("no answer within {waited} s")))
            }
        }
    }
}

fn not_done(operation: &'static str, key: Option<&BlobKey>) -> impl FnOnce() -> StoreError {
    move || StoreError::new(StoreErrorKind::Unavailable, operation, key)
}

fn unclear(operation: &'static str, key: &BlobKey) -> impl FnOnce() -> StoreError {
    move || StoreError::new(StoreErrorKind::Unknown, operation, Some(key))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for WithDeadline<S> {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        let size = bytes.len() as u64;
        self.end(size, unclear("put", key), self.inner.put(key, bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let size = range.as_ref().map_or(MAX_BLOB_BYTES, |range| range.end.saturating_sub(range.start));
        self.end(size, not_done("get", Some(key)), self.inner.get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.end(0, not_done("head", Some(key)), self.inner.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.end(0, unclear("delete", key), self.inner.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.end(0, not_done("list", under), self.inner.list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.end(MAX_BLOB_BYTES, unclear("copy", to), self.inner.copy(from, to, mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.end(0, not_done("persist", Some(under)), self.inner.persist(under)).await
    }

    fn can_be_remounted(&self) -> bool {
        self.inner.can_be_remounted()
    }
}
