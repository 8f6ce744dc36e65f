//! Blobs in memory.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::blob::{BlobMeta, MAX_BLOB_BYTES, Page, PutMode};
use super::blob_place::BlobPlace;
use super::blob_store::BlobStore;
use super::blob_version::BlobVersion;
use super::capabilities::{Capabilities, Latency};
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;
use crate::host::sync::RwLock;
use crate::host::{Clock, Workers};

/// A store in memory, for tests and for galleries that need not outlive the process. Clones share their blobs.
///
/// It is as durable as the process: its end loses all blobs.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, BlobStoreExt, MemoryStore, PutMode};
///
/// # futures::executor::block_on(async {
/// let store = MemoryStore::new();
/// let key = "a/b".parse()?;
/// store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
/// assert_eq!(store.clone().get(&key, Some(1..3)).await?, "yt");
/// assert!(store.put(&key, Bytes::new(), PutMode::Create).await.is_err(), "it exists already");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// A copy shares the immutable bytes of its source and costs nothing, unless [`with_deep_copies`](Self::with_deep_copies) is set.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    blobs: Arc<RwLock<Blobs>>,
    copiers: Option<Workers>,
    clock: Option<Arc<dyn Clock>>,
}

#[derive(Debug, Default)]
struct Blobs {
    by_key: BTreeMap<BlobKey, Stored>,
    /// The number of writes, which makes each version another one.
    writes: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    bytes: Bytes,
    version: BlobVersion,
    /// The time of the last write, by the store's clock.
    modified: Option<DateTime<Utc>>,
}

impl Stored {
    fn meta(&self, key: &BlobKey) -> BlobMeta {
        let meta = BlobMeta::new(key.clone(), self.bytes.len() as u64).with_version(self.version.clone());
        BlobMeta { modified: self.modified, ..meta }
    }
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies the bytes of each copy, on `workers`: for a program that measures what copies cost in time and memory.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::host::Workers;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new().with_deep_copies(Workers::default());
    /// let (a, b) = ("a".parse()?, "b".parse()?);
    /// store.put(&a, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    /// store.copy(&a, &b, PutMode::Create).await?;
    /// let (a, b) = (store.get(&a, None).await?, store.get(&b, None).await?);
    /// assert!(a == b && a.as_ptr() != b.as_ptr());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn with_deep_copies(self, workers: Workers) -> Self {
        Self { copiers: Some(workers), ..self }
    }

    /// Records the time of each write by `clock`, as file systems and buckets do by their own. By default none is recorded.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::host::{Clock, SystemClock};
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let (store, key) = (MemoryStore::new().with_clock(SystemClock), "a".parse()?);
    /// store.put(&key, Bytes::new(), PutMode::Create).await?;
    /// assert!(store.head(&key).await?.modified <= Some(SystemClock.now()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Some(Arc::new(clock)), ..self }
    }

    fn store(&self, blobs: &mut Blobs, key: &BlobKey, bytes: Bytes) {
        blobs.writes += 1;
        let version = BlobVersion::new(blobs.writes.to_string());
        let modified = self.clock.as_ref().map(|clock| clock.now());
        blobs.by_key.insert(key.clone(), Stored { bytes, version, modified });
    }

    // INVARIANT: each change of the map is one insert or remove, so a panic elsewhere leaves nothing half-done in it.
    fn read(&self) -> RwLockReadGuard<'_, Blobs> {
        self.blobs.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Blobs> {
        self.blobs.write()
    }
}

fn is_too_large(bytes: &Bytes) -> bool {
    bytes.len() as u64 > MAX_BLOB_BYTES
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        if is_too_large(&bytes) {
            return Err(StoreError::new(StoreErrorKind::TooLarge, "put", Some(key)));
        }
        let mut blobs = self.write();
        if mode == PutMode::Create && blobs.by_key.contains_key(key) {
            return Err(StoreError::new(StoreErrorKind::AlreadyExists, "put", Some(key)));
        }
        self.store(&mut blobs, key, bytes);
        Ok(())
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let blobs = self.read();
        let there = blobs.by_key.get(key).ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, "get", Some(key)))?;
        let bytes = &there.bytes;
        let Some(range) = range else { return Ok(bytes.clone()) };
        match (usize::try_from(range.start), usize::try_from(range.end)) {
            (Ok(start), Ok(end)) if start <= end && end <= bytes.len() => Ok(bytes.slice(start..end)),
            _ => Err(StoreError::new(StoreErrorKind::InvalidRange, "get", Some(key))),
        }
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        match self.read().by_key.get(key) {
            Some(there) => Ok(there.meta(key)),
            None => Err(StoreError::new(StoreErrorKind::NotFound, "head", Some(key))),
        }
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.write().by_key.remove(key);
        Ok(())
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        // The first key past all of those under `under`: `0` follows `/`.
        let end = under.map(|under| format!("{under}0"));
        let start = under.max(after).map_or(Bound::Unbounded, Bound::Excluded);
        let limit = limit.max(1);
        let blobs = self.read();
        let mut found: Vec<BlobMeta> = blobs
            .by_key
            .range::<BlobKey, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| end.as_ref().is_none_or(|end| key.as_str() < end.as_str()))
            .filter(|(key, _)| under.is_none_or(|under| key.is_under(under)))
            .take(limit.saturating_add(1))
            .map(|(key, there)| there.meta(key))
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(Page::new(found, more))
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let already_exists = || StoreError::new(StoreErrorKind::AlreadyExists, "copy", Some(to));
        let Some(Stored { bytes, .. }) = self.read().by_key.get(from).cloned() else {
            return Err(StoreError::new(StoreErrorKind::NotFound, "copy", Some(from)));
        };
        let bytes = match &self.copiers {
            None => bytes,
            // The answer that most losers of a race get, without the cost of a body.
            Some(_) if mode == PutMode::Create && self.read().by_key.contains_key(to) => return Err(already_exists()),
            Some(workers) => workers.run(move || Bytes::copy_from_slice(&bytes)).await,
        };
        let mut blobs = self.write();
        match mode {
            PutMode::Create if blobs.by_key.contains_key(to) => return Err(already_exists()),
            PutMode::Overwrite if from == to => {}
            PutMode::Create | PutMode::Overwrite => self.store(&mut blobs, to, bytes),
        }
        Ok(())
    }

    async fn persist(&self, _under: &BlobKey) -> StoreResult<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        let near = Capabilities::default().with_latency(Latency::Low).with_free_persist(true).with_remounts(false);
        near.with_copies_inside(true).with_conditional_changes(true)
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        if is_too_large(&bytes) {
            return Err(StoreError::new(StoreErrorKind::TooLarge, "replace_if", Some(key)));
        }
        let mut blobs = self.write();
        if blobs.by_key.get(key).map(|there| &there.version) != Some(version) {
            return Err(StoreError::new(StoreErrorKind::Changed, "replace_if", Some(key)));
        }
        self.store(&mut blobs, key, bytes);
        Ok(())
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        let mut blobs = self.write();
        if blobs.by_key.get(key).is_some_and(|there| there.version != *version) {
            return Err(StoreError::new(StoreErrorKind::Changed, "delete_if", Some(key)));
        }
        blobs.by_key.remove(key);
        Ok(())
    }

    /// Copies between the parts of one store in memory.
    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let place = store.place_of(from);
        let here =
            place.filter(|place| place.store::<Self>().is_some_and(|other| Arc::ptr_eq(&other.blobs, &self.blobs)));
        let Some(here) = here else {
            return Err(StoreError::new(StoreErrorKind::Unsupported, "copy_from", Some(to)));
        };
        self.copy(here.key(), to, mode).await.map_err(|error| error.of_copy(from, to))
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        Some(BlobPlace::new(self, key.clone()))
    }
}
