//! A store that is far away: each request takes a round trip, and its bytes come at the rate of one stream.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use compute_gallery::host::Clock;
use compute_gallery::store::*;
use compute_gallery::testkit::ManualClock;

/// What the stores of a gallery were asked, and how far away they are.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) clock: ManualClock,
    pub(crate) round_trip: Duration,
    /// Bytes per second of one request.
    pub(crate) rate: u64,
    pub(crate) requests: Arc<AtomicU64>,
    pub(crate) bytes: Arc<AtomicU64>,
}

impl Line {
    pub(crate) fn store(&self) -> FarStore {
        FarStore { inner: MemoryStore::new(), line: self.clone() }
    }

    async fn crosses(&self, call: &str, key: Option<&BlobKey>, bytes: usize) {
        if std::env::var_os("LINE_TRACE").is_some() {
            let now = self.clock.now().timestamp_millis() % 1_000_000;
            println!("{now:>6} {call} {:?} {bytes}", key.map(BlobKey::as_str));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.clock.sleep(self.round_trip + Duration::from_secs_f64(bytes as f64 / self.rate as f64)).await;
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FarStore {
    inner: MemoryStore,
    line: Line,
}

#[async_trait]
impl BlobStore for FarStore {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.line.crosses("put", Some(key), bytes.len()).await;
        self.inner.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let bytes = self.inner.get(key, range).await;
        self.line.crosses("get", Some(key), bytes.as_ref().map_or(0, Bytes::len)).await;
        bytes
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.line.crosses("head", Some(key), 0).await;
        self.inner.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.line.crosses("delete", Some(key), 0).await;
        self.inner.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.line.crosses("list", under, 0).await;
        self.inner.list(under, after, limit).await
    }

    async fn persist(&self, _: &BlobKey) -> StoreResult<()> {
        Ok(())
    }

    /// As a bucket of S3.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_remounts(false).with_free_persist(true).with_copies_inside(true)
    }

    /// Inside the service, at the rate of one stream.
    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let size = self.inner.head(from).await.map_or(0, |blob| blob.size);
        self.line.crosses("copy", Some(to), size as usize).await;
        self.inner.copy(from, to, mode).await
    }

    /// One request, as the service's for up to a thousand keys.
    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        self.line.crosses("delete_many", keys.first(), 0).await;
        self.inner.delete_many(keys).await
    }
}
