//! The store with a cache in front.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::block_file::{self, BLOCK, Found};
use super::folder::Folder;
use crate::content::blob_name::BlobName;
use crate::host::Workers;
use crate::store::derived::{self, Reads};
use crate::store::{
    BlobFile, BlobKey, BlobMeta, BlobPlace, BlobStore, BlobVersion, Capabilities, Folders, Page, Pages, PutMode,
    StoreError, StoreErrorKind, StoreResult,
};

/// A store that is far away, with a cache on a disk that is near: a host deploys at the speed of its own disk from the second time on.
///
/// - **What is cached:** ranges of packs and parts, and whole manifests. Their names are never used twice, and what lies under one
///   never becomes something else. All else (the catalog, owners, listings, [`head`](BlobStore::head)) is asked of the store each time.
///   So is a pack that is read whole, to be copied or checked: a scrub checks the store, and not the cache.
/// - **Verified:** each 64 KiB on the disk has a checksum. What differs is fetched again. The gallery compares everything that it
///   reads with its hashes too, and has the cache drop what is wrong ([`distrust`](BlobStore::distrust)).
/// - **Bounded:** what was not used for longest goes. Up to four processes that write at once stay within the limit; each further
///   one may exceed it by a thirty-second.
/// - **Shared:** any number of processes of one host, with a directory for each store. A process may be killed, and the power fail, at
///   any point: what was not written is fetched again, and nothing has to be synced or locked.
/// - **Never in the way:** a disk that fails or is full costs what is fetched once more. [`used`](Self::used) tells.
///
/// Writes go to the store. A miss fetches from the start of its 64 KiB on.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::cache::CachedStore;
/// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
///
/// # futures::executor::block_on(async {
/// let bucket = MemoryStore::new();
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let store = CachedStore::open(bucket.clone(), directory, 64 << 30)?;
/// let pack = "slots/0/packs/000102030405060708090a0b0c0d0e0f/0000000001".parse()?;
/// store.put(&pack, Bytes::from_static(b"0123456789"), PutMode::Create).await?;
/// assert_eq!(store.get(&pack, Some(2..5)).await?, "234");
/// assert_eq!(store.get(&pack, Some(2..5)).await?, "234");
/// let used = store.used();
/// assert_eq!((used.fetched_bytes, used.cached_bytes), (5, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct CachedStore<S> {
    inner: S,
    folder: Arc<Folder>,
    workers: Workers,
    lasting: fn(&BlobKey) -> Option<Lasting>,
    /// Counts changes that this process made to blobs that are cached. What was read while one was made is not kept.
    changes: AtomicU64,
    counts: Counts,
}

/// How a blob is read that stays what it is as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    /// In ranges. Whole it is read to be copied or checked.
    InRanges,
    /// In any way.
    Whole,
}

/// Returns how a blob of a region's store is read, if nothing else ever gets its name.
fn lasting(key: &BlobKey) -> Option<Lasting> {
    let segments: Vec<&str> = key.segments().collect();
    let of_slot = segments.windows(2).position(|two| match two {
        ["slots", number] => number.parse::<u32>().is_ok(),
        _ => false,
    })?;
    let in_slot: BlobKey = segments.get(of_slot + 2..)?.join("/").parse().ok()?;
    match BlobName::of_key(&in_slot)? {
        BlobName::Pack(..) | BlobName::Part(..) | BlobName::Merged(_) => Some(Lasting::InRanges),
        BlobName::Manifest(..) => Some(Lasting::Whole),
    }
}

#[derive(Debug, Default)]
struct Counts {
    cached_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
    damaged: AtomicU64,
    failed: AtomicU64,
}

/// The use of a [`CachedStore`] since it was opened, by this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheUse {
    /// Bytes that were served from the cache.
    pub cached_bytes: u64,
    /// Bytes that were fetched from the store because the cache did not have them.
    pub fetched_bytes: u64,
    /// Reads that found damage on the disk: they were served from the store.
    pub damaged: u64,
    /// Reads and writes of the disk that failed: it is full, or broken.
    pub failed: u64,
}

impl<S: BlobStore> CachedStore<S> {
    /// Puts a cache of at most `limit` bytes in the directory `directory` in front of `store`.
    ///
    /// The directory is made if it does not exist, and what a smaller limit has no room for goes. Two stores need two directories,
    /// because blobs of one name may differ in them. A read of more than a thirty-second of the limit is not kept: give it 1 GiB at
    /// least. Whoever may read the directory may read the disks.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`, `Full`, `Obstructed`, `Unavailable`: the directory cannot be made or read.
    ///
    /// ```
    /// use compute_gallery::cache::CachedStore;
    /// use compute_gallery::store::{MemoryStore, StoreErrorKind};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let file = directory.path().join("file");
    /// std::fs::write(&file, "")?;
    /// let refused = CachedStore::open(MemoryStore::new(), file, 1 << 30).unwrap_err();
    /// assert_eq!(refused.kind(), StoreErrorKind::Obstructed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(store: S, directory: impl AsRef<Path>, limit: u64) -> StoreResult<Self> {
        Self::open_for(store, directory.as_ref(), limit, lasting)
    }

    fn open_for(store: S, directory: &Path, limit: u64, lasting: fn(&BlobKey) -> Option<Lasting>) -> StoreResult<Self> {
        let folder = Folder::open(directory, limit).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::PermissionDenied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
                io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => StoreErrorKind::Obstructed,
                _ => StoreErrorKind::Unavailable,
            };
            let what = format!("`{}` cannot be the directory of a cache: choose another one", directory.display());
            StoreError::new(kind, "open", None).with_detail(what).with_source(error)
        })?;
        let (workers, changes, counts) = Default::default();
        Ok(Self { inner: store, folder: Arc::new(folder), workers, lasting, changes, counts })
    }

    /// Sets where the disk is read and written: by default on [`Workers::default`].
    #[must_use]
    pub fn with_workers(self, workers: Workers) -> Self {
        Self { workers, ..self }
    }

    /// Returns the directory, as an absolute path.
    pub fn directory(&self) -> &Path {
        self.folder.root()
    }

    /// Returns the use of the cache since it was opened, by this process.
    pub fn used(&self) -> CacheUse {
        let Counts { cached_bytes, fetched_bytes, damaged, failed } = &self.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheUse {
            cached_bytes: of(cached_bytes),
            fetched_bytes: of(fetched_bytes),
            damaged: of(damaged),
            failed: of(failed),
        }
    }

    /// Whether a read of a blob goes through the cache.
    fn is_cached(&self, key: &BlobKey, range: Option<&Range<u64>>) -> bool {
        match (range, (self.lasting)(key)) {
            // Whether there is such a blob, or such a range of it, only the store can tell.
            (Some(range), Some(_)) => range.start < range.end,
            (None, Some(Lasting::Whole)) => true,
            (None, Some(Lasting::InRanges)) | (_, None) => false,
        }
    }

    /// Does something with the cache. A failure is counted, and costs nothing else.
    async fn with_folder<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let folder = Arc::clone(&self.folder);
        let done = self.workers.run(move || work(&folder)).await.ok();
        if done.is_none() {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    async fn read(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let file = self.folder.file_of(key);
        let (path, asked) = (file.clone(), range.clone());
        let found = self.with_folder(move |folder| {
            let found = block_file::read(&path, asked)?;
            if matches!(found, Found::Bytes(_)) {
                // Another process may have removed it since.
                let _ = folder.used(&path);
            }
            Ok(found)
        });
        match found.await {
            Some(Found::Bytes(bytes)) => {
                self.counts.cached_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                return Ok(bytes);
            }
            Some(Found::Damaged) => drop(self.counts.damaged.fetch_add(1, Ordering::Relaxed)),
            Some(Found::Nothing) | None => {}
        }
        let changes = self.changes.load(Ordering::SeqCst);
        let Some(range) = range else {
            let bytes = self.inner.get(key, None).await?;
            self.keep(file, 0, bytes.clone(), true, changes).await;
            return Ok(bytes);
        };
        let start = range.start / BLOCK * BLOCK;
        let bytes = self.inner.get(key, Some(start..range.end)).await?;
        let from = usize::try_from(range.start - start).ok();
        match from.filter(|from| *from <= bytes.len() && bytes.len() as u64 == range.end - start) {
            Some(from) => {
                self.keep(file, start, bytes.clone(), false, changes).await;
                Ok(bytes.slice(from..))
            }
            // A store that answers with other bytes than it was asked for is the caller's to find out.
            None => self.inner.get(key, Some(range)).await,
        }
    }

    /// Writes what was fetched, unless this process has changed a blob since it began to fetch.
    async fn keep(&self, file: PathBuf, start: u64, bytes: Bytes, is_whole: bool, changes: u64) {
        let length = bytes.len() as u64;
        self.counts.fetched_bytes.fetch_add(length, Ordering::Relaxed);
        if !self.folder.has_room_for(length) || self.changes.load(Ordering::SeqCst) != changes {
            return;
        }
        let path = file.clone();
        self.with_folder(move |folder| folder.write(&path, start, &bytes, is_whole)).await;
        if self.changes.load(Ordering::SeqCst) != changes {
            self.drop_file(file).await;
        }
    }

    async fn drop_file(&self, file: PathBuf) -> bool {
        let remove = move |_: &Folder| match std::fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        };
        self.with_folder(remove).await.unwrap_or(false)
    }

    /// Makes a change of blobs, and drops them: before, because the caller may go away, and after, because they may be read meanwhile.
    async fn change<T>(&self, keys: &[&BlobKey], change: impl Future<Output = T>) -> T {
        let cached: Vec<&&BlobKey> = keys.iter().filter(|key| (self.lasting)(key).is_some()).collect();
        for key in &cached {
            self.drop_file(self.folder.file_of(key)).await;
        }
        let changed = change.await;
        if !cached.is_empty() {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        for key in cached {
            self.drop_file(self.folder.file_of(key)).await;
        }
        changed
    }

    /// As [`change`](Self::change). What creates a blob changes nothing that was read before.
    async fn put_by(
        &self,
        key: &BlobKey,
        mode: PutMode,
        put: impl Future<Output = StoreResult<()>>,
    ) -> StoreResult<()> {
        match mode {
            PutMode::Create => put.await,
            PutMode::Overwrite => self.change(&[key], put).await,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for CachedStore<S> {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.put_by(key, mode, self.inner.put(key, bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        match self.is_cached(key, range.as_ref()) {
            true => self.read(key, range).await,
            false => self.inner.get(key, range).await,
        }
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.change(&[key], self.inner.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.inner.list(under, after, limit).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.put_by(to, mode, self.inner.copy(from, to, mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.inner.persist(under).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        // The directory holds blocks of blobs; what is read from it is verified.
        let _ = key;
        Ok(None)
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        self.put_by(key, mode, self.inner.put_parts(key, parts, mode)).await
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        if (self.lasting)(key).is_none() {
            return self.inner.get_ranges(key, ranges).await;
        }
        let reads = Reads::new(ranges, self.capabilities());
        let asked = reads.requests().map(|range| self.get(key, Some(range))).collect();
        reads.answers(key, derived::at_once(asked, self.capabilities()).await)
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let all: Vec<&BlobKey> = keys.iter().collect();
        self.change(&all, self.inner.delete_many(keys)).await
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        self.inner.list_pages(under, after)
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        self.inner.list_folders(under, after, limit).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        self.change(&[key], self.inner.replace_if(key, bytes, version)).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        self.change(&[key], self.inner.delete_if(key, version)).await
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.put_by(to, mode, self.inner.copy_from(store, from, to, mode)).await
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.inner.place_of(key)
    }

    async fn distrust(&self, key: &BlobKey) -> bool {
        if (self.lasting)(key).is_none() {
            return false;
        }
        let was_cached = self.drop_file(self.folder.file_of(key)).await;
        self.inner.distrust(key).await || was_cached
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::content::digest::Digest;
    use crate::content::names::{ManifestId, PackId, UploadId};
    use crate::store::MemoryStore;

    const UPLOAD: &str = "000102030405060708090a0b0c0d0eff";

    #[test]
    fn what_never_changes_is_cached_wherever_the_slots_are_and_nothing_else() {
        let upload: UploadId = UPLOAD.parse().unwrap();
        let pack = BlobName::Pack(PackId { upload, number: 7 }, 3).key().unwrap();
        let manifest = BlobName::Manifest(ManifestId { upload, digest: Digest::of(b"") }, 0).key().unwrap();
        for above in ["slots/0", "regions/westeurope/slots/12", "a/b/slots/4294967295"] {
            let key = |name: &BlobKey| format!("{above}/{name}").parse().unwrap();
            assert_eq!(lasting(&key(&pack)), Some(Lasting::InRanges));
            assert_eq!(lasting(&key(&manifest)), Some(Lasting::Whole));
        }
        for other in [
            "owner",
            "slots/0/owner",
            "log/00000000000000000001",
            "catalog/log/00000000000000000001",
            "checkpoints/00000000000000000064",
            "identity",
            "slots/x/packs/000102030405060708090a0b0c0d0eff/0000000001",
            "packs/000102030405060708090a0b0c0d0eff/0000000001",
            "slots/0/packs/000102030405060708090a0b0c0d0eff/1",
            "slots/0/witnesses/0-0",
        ] {
            assert_eq!(lasting(&other.parse().unwrap()), None, "{other}");
        }
    }

    /// With every blob cached, also those that change: what one process changes it never reads from the cache.
    #[cfg(feature = "testkit")]
    #[test]
    fn a_store_whose_every_blob_is_cached_keeps_the_contract() {
        use crate::testkit::conformance;

        let directory = tempfile::tempdir().unwrap();
        for lasting in [|_: &BlobKey| Some(Lasting::Whole), |_: &BlobKey| Some(Lasting::InRanges)] {
            let new = || async {
                let fresh = tempfile::tempdir_in(&directory).unwrap().keep();
                CachedStore::open_for(MemoryStore::new(), &fresh, 1 << 30, lasting).unwrap()
            };
            block_on(conformance::run(new)).assert_all_passed();
        }
    }

    #[test]
    fn the_cache_stays_within_its_limit_and_keeps_what_is_used() {
        let (directory, bucket) = (tempfile::tempdir().unwrap(), MemoryStore::new());
        let limit = 32 << 20;
        let store = CachedStore::open_for(bucket, directory.path(), limit, |_| Some(Lasting::Whole)).unwrap();
        let store = store.with_workers(Workers::inline());
        let room = || Folder::open(directory.path(), u64::MAX).unwrap().taken();
        block_on(async {
            let bytes = Bytes::from(vec![7; 512 << 10]);
            let key = |number: usize| format!("blobs/{number}").parse::<BlobKey>().unwrap();
            for number in 0..200 {
                store.put(&key(number), bytes.clone(), PutMode::Create).await.unwrap();
                store.get(&key(number), None).await.unwrap();
                assert!(room() <= limit, "{} after {number}", room());
                let before = store.used().fetched_bytes;
                // The first one is in use all the time.
                assert_eq!(store.get(&key(0), None).await.unwrap(), bytes);
                assert_eq!(store.used().fetched_bytes, before, "after {number}");
            }
            assert!(room() > limit / 2);
            // More than a thirty-second of the limit is not kept.
            let large = key(1_000);
            store.put(&large, Bytes::from(vec![7; 2 << 20]), PutMode::Create).await.unwrap();
            store.get(&large, None).await.unwrap();
            assert!(!store.distrust(&large).await && store.distrust(&key(0)).await);
        });
    }
}
