//! Deadlines of store calls.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use futures::stream::{self, TryStreamExt};

use super::blob::{BlobFile, BlobMeta, Folders, MAX_BLOB_BYTES, Page, Pages, PutMode};
use super::blob_place::BlobPlace;
use super::blob_store::BlobStore;
use super::blob_version::BlobVersion;
use super::capabilities::Capabilities;
use super::derived;
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;
use crate::host::{Clock, Deadlines, within};

/// A store whose calls end when their [deadline](Deadlines) is over, such as on a dead connection or a lost network file system.
///
/// A late read, listing or `persist` is [`Unavailable`](StoreErrorKind::Unavailable). A late put, copy or delete is
/// [`Unknown`](StoreErrorKind::Unknown): it may have happened, or happen yet.
///
/// The deadline of a call grows with the bytes that it moves. A copy and a read of a whole blob have the deadline of the largest
/// blob. A call for several blobs or ranges has that of the requests that the store may make one after the other, and each page of
/// a listing has its own.
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
            None => Err(late().with_source(no_answer(limit))),
        }
    }

    /// The deadline of as many requests, as many at once as the store serves well.
    fn for_calls(&self, number: usize, bytes: u64) -> Option<Duration> {
        let rounds = number.div_ceil(self.inner.capabilities().parallel_requests()).max(1);
        let more = self.deadlines.for_call(0)?.saturating_mul(u32::try_from(rounds - 1).unwrap_or(u32::MAX));
        Some(self.deadlines.for_call(bytes)?.saturating_add(more))
    }
}

fn no_answer(limit: Option<Duration>) -> String {
    format!("no answer within {} s", limit.unwrap_or_default().as_secs_f64())
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

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        self.end(0, not_done("open_file", Some(key)), self.inner.open_file(key)).await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        self.end(derived::size_of(parts), unclear("put_parts", key), self.inner.put_parts(key, parts, mode)).await
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        // With what is read between them.
        let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        let limit = self.for_calls(ranges.len(), end.saturating_sub(start).min(MAX_BLOB_BYTES));
        match within(&*self.clock, limit, self.inner.get_ranges(key, ranges)).await {
            Some(answer) => answer,
            None => Err(not_done("get_ranges", Some(key))().with_source(no_answer(limit))),
        }
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let limit = self.for_calls(keys.len(), 0);
        match within(&*self.clock, limit, self.inner.delete_many(keys)).await {
            Some(answers) => answers,
            None => keys.iter().map(|key| Err(unclear("delete", key)().with_source(no_answer(limit)))).collect(),
        }
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let start = (self.inner.list_pages(under, after), under.cloned());
        Box::pin(stream::try_unfold(start, move |(mut pages, under)| async move {
            let page = self.end(0, not_done("list", under.as_ref()), pages.try_next()).await?;
            Ok(page.map(|page| (page, (pages, under))))
        }))
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        self.end(0, not_done("list_folders", under), self.inner.list_folders(under, after, limit)).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        let size = bytes.len() as u64;
        self.end(size, unclear("replace_if", key), self.inner.replace_if(key, bytes, version)).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        self.end(0, unclear("delete_if", key), self.inner.delete_if(key, version)).await
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.end(MAX_BLOB_BYTES, unclear("copy_from", to), self.inner.copy_from(store, from, to, mode)).await
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.inner.place_of(key)
    }

    async fn distrust(&self, key: &BlobKey) -> bool {
        self.inner.distrust(key).await
    }
}
