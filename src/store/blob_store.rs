//! The trait of a store.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::FutureExt;

use super::blob::{BlobFile, BlobMeta, Folders, Page, Pages, PutMode};
use super::blob_place::BlobPlace;
use super::blob_version::BlobVersion;
use super::capabilities::Capabilities;
use super::derived::{self, Reads};
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;

/// A container of blobs: a directory, a bucket, a map in memory.
///
/// # Contract
///
/// - **Atomic.** A reader sees all bytes of a blob or no blob, also while it is written and after a crash.
/// - **Read your writes.** Every later call of any caller sees an acknowledged change: `get`, `head` and `list`.
/// - **Durable.** An acknowledged `put` or `copy` survives a power cut. (A store may offer less, if its documentation says so.) A
///   blob whose put is not yet acknowledged may be visible before it is durable: see [`persist`](Self::persist).
/// - **One creator.** [`PutMode::Create`] has one winner as long as the blob exists; all others get
///   [`AlreadyExists`](StoreErrorKind::AlreadyExists) and change nothing.
/// - **Honest errors.** After [`Unknown`](StoreErrorKind::Unknown) the change may have happened, or happen yet; after any other
///   error it has not. The answer that another change of the key is in progress (a status of 409) is `Unknown`. Every call may be
///   repeated after an `Unknown`.
/// - **Cancellation.** A caller may drop the future of a call at any time. A change then is as after an `Unknown`.
/// - **Who retries.** The gallery does, and gives up calls that take too long: it wraps each store in [`WithDeadline`] and
///   [`Retrying`]. An implementation need do neither; name each failure by its kind. One that retries internally must not turn its
///   own success into `AlreadyExists` or [`Changed`](StoreErrorKind::Changed): what it cannot tell apart is `Unknown`.
/// - **Any thread, no runtime.** Calls are made, and futures polled and dropped, from any thread, also outside of every async
///   runtime. An implementation whose client needs a runtime enters that itself, such as by `Handle::spawn` of tokio.
/// - **Foreign blobs.** What has a name that is not a [`BlobKey`] is not of the store: listings leave it out.
///
/// [`WithDeadline`]: super::WithDeadline
/// [`Retrying`]: super::Retrying
///
/// # Errors
///
/// Each method lists the kinds of error with a meaning of their own. Every method may also return
///
/// - [`PermissionDenied`](StoreErrorKind::PermissionDenied), [`Obstructed`](StoreErrorKind::Obstructed),
///   [`Unavailable`](StoreErrorKind::Unavailable) and [`Throttled`](StoreErrorKind::Throttled);
/// - [`Unsupported`](StoreErrorKind::Unsupported) for a key that the store cannot hold, such as one that is too long
///   below a [prefix](super::Prefixed);
/// - [`WrongStore`](StoreErrorKind::WrongStore), from a store that checks whose it is.
///
/// # Implementing
///
/// Six methods are required; the others are made of them, unless the store has something better. The functions of
/// `testkit::conformance` (feature `testkit`) check an implementation against the contract: all of it, and what
/// [`capabilities`](Self::capabilities) claims.
///
/// A wrapper forwards every method: put `#[deny(clippy::missing_trait_methods)]` on its `impl`.
#[async_trait]
pub trait BlobStore: Debug + Send + Sync + 'static {
    /// Stores a blob of at most [`MAX_BLOB_BYTES`](super::MAX_BLOB_BYTES). An empty blob is a blob.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` (mode `Create` only), `TooLarge`, `Full`, `Unknown`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// let log = "log/00000000000000000001".parse()?;
    /// let (one, two) = futures::join!(
    ///     store.put(&log, Bytes::from_static(b"one"), PutMode::Create),
    ///     store.put(&log, Bytes::from_static(b"two"), PutMode::Create),
    /// );
    /// assert_ne!(one.is_ok(), two.is_ok(), "exactly one of them creates it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()>;

    /// Reads a blob, or exactly `range` of it. The range may be empty, and must lie within the blob.
    ///
    /// # Errors
    ///
    /// `NotFound`; `InvalidRange` if the range ends before it starts or past the end of the blob.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, StoreErrorKind};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// let key = "a".parse()?;
    /// store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    /// assert_eq!(store.get(&key, Some(1..3)).await?, "yt");
    /// assert_eq!(store.get(&key, Some(5..5)).await?, "");
    /// let past_the_end = store.get(&key, Some(3..6)).await.unwrap_err();
    /// assert_eq!(past_the_end.kind(), StoreErrorKind::InvalidRange);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes>;

    /// Returns what the store knows of a blob without reading it.
    ///
    /// # Errors
    ///
    /// `NotFound`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// let key = "a".parse()?;
    /// store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    /// assert_eq!(store.head(&key).await?.size, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta>;

    /// Removes a blob. To remove a blob that does not exist is a success.
    ///
    /// # Errors
    ///
    /// `Unknown`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, StoreErrorKind};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// let key = "a".parse()?;
    /// store.put(&key, Bytes::new(), PutMode::Create).await?;
    /// store.delete(&key).await?;
    /// store.delete(&key).await?;
    /// assert_eq!(store.head(&key).await.unwrap_err().kind(), StoreErrorKind::NotFound);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn delete(&self, key: &BlobKey) -> StoreResult<()>;

    /// Lists at most `limit` blobs (at least 1) in ascending order of the whole key as bytes.
    ///
    /// A page may be shorter than `limit`, because services have limits of their own: [`Page::more`] says whether it is the last.
    /// [`list_pages`](Self::list_pages) reads them all.
    ///
    /// `under` selects the keys below it: `a/b` is under `a`; `a` and `ab` are not; `None` selects all. `after` excludes the
    /// keys up to and including it. A blob that exists during the whole of a listing is in it exactly once; one that is put or
    /// deleted meanwhile may be in it or not.
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// for key in ["a/1", "a/2", "a-b", "a", "b"] {
    ///     store.put(&key.parse()?, Bytes::new(), PutMode::Create).await?;
    /// }
    /// let under = "a".parse()?;
    /// let first = store.list(Some(&under), None, 1).await?;
    /// assert_eq!((first.blobs[0].key.as_str(), first.more), ("a/1", true));
    /// let second = store.list(Some(&under), Some(&first.blobs[0].key), 1).await?;
    /// assert_eq!((second.blobs[0].key.as_str(), second.more), ("a/2", false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page>;

    /// Makes durable every blob under `under` that any call has shown to exist: one that another caller put, or one whose put was
    /// `Unknown` and that was then found. Call it before you record that such a blob exists.
    ///
    /// It succeeds if there is no blob under `under`. Object stores have nothing to do: there, what can be seen is durable.
    ///
    /// # Errors
    ///
    /// None of its own. After an error, the success of a second `persist` proves nothing.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// let key = "slots/0/manifest".parse()?;
    /// # store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    /// // The put of another process is seen here, and may not be acknowledged there yet.
    /// assert_eq!(store.get(&key, None).await?, "bytes");
    /// store.persist(&"slots".parse()?).await?;
    /// // From here on a record may name it.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn persist(&self, under: &BlobKey) -> StoreResult<()>;

    /// Tells what the store can do, and how it is best asked: a conservative default.
    ///
    /// It makes no request, and the answer stays the same.
    ///
    /// ```
    /// use compute_gallery::store::{BlobStore, FsStore, MemoryStore};
    ///
    /// assert!(MemoryStore::new().capabilities().changes_conditionally());
    /// # let directory = tempfile::tempdir()?;
    /// assert!(!FsStore::create(directory.path())?.capabilities().changes_conditionally());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Copies a blob inside the store.
    ///
    /// Afterwards both exist. They share nothing that damage to one could take from the other, as far as the store can tell. (A
    /// store may offer less, if its documentation says so.)
    ///
    /// An overwriting copy onto itself changes nothing; a creating one finds that the blob exists. If `from` does not exist, that
    /// is the answer, whatever `to` is.
    ///
    /// By default the bytes are read and put.
    ///
    /// # Errors
    ///
    /// `NotFound` if `from` does not exist, and those of [`put`](Self::put).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// let (from, to) = ("a".parse()?, "b".parse()?);
    /// store.put(&from, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    /// store.copy(&from, &to, PutMode::Create).await?;
    /// store.delete(&from).await?;
    /// assert_eq!(store.get(&to, None).await?, "bytes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let during = |error: StoreError| error.during("copy");
        if from == to && mode == PutMode::Overwrite {
            // Putting it again could undo the change of another.
            return self.head(from).await.map(drop).map_err(during);
        }
        let bytes = self.get(from, None).await.map_err(during)?;
        self.put(to, bytes, mode).await.map_err(during)
    }

    /// Stores a blob of several parts, one after the other: [`put`](Self::put) for bytes that do not lie in one piece.
    ///
    /// By default they are put together in memory.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let (store, key) = (MemoryStore::new(), "a".parse()?);
    /// let parts = [Bytes::from_static(b"head"), Bytes::from_static(b"er")];
    /// store.put_parts(&key, &parts, PutMode::Create).await?;
    /// assert_eq!(store.get(&key, None).await?, "header");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        self.put(key, derived::joined(key, parts)?, mode).await
    }

    /// Reads several ranges of a blob, and returns their bytes in the order of `ranges`. Each range is as for [`get`](Self::get);
    /// for no ranges the store is not asked.
    ///
    /// By default near neighbours are read by one request, and requests are made at once, both as
    /// [`capabilities`](Self::capabilities) say.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), for the whole call.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let (store, key) = (MemoryStore::new(), "a".parse()?);
    /// store.put(&key, Bytes::from_static(b"0123456789"), PutMode::Create).await?;
    /// assert_eq!(store.get_ranges(&key, &[7..9, 0..2]).await?, ["78", "01"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let reads = Reads::new(ranges, self.capabilities());
        let asked = reads.requests().map(|range| self.get(key, Some(range))).collect();
        reads.answers(key, derived::at_once(asked, self.capabilities()).await)
    }

    /// Opens a blob as a file, if it is one of its own on this machine: the system then copies from it without moving the bytes through
    /// this process, and shares its blocks where the file system can.
    ///
    /// By default it is `None`: the bytes are to be read. So it is for a store that keeps blobs in another form, or that is to see
    /// each byte that is read.
    ///
    /// # Errors
    ///
    /// `NotFound`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let (store, key) = (MemoryStore::new(), "a".parse()?);
    /// store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    /// assert!(store.open_file(&key).await?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        let _ = key;
        Ok(None)
    }

    /// Removes blobs, and returns the outcome of each in the order of `keys`, as [`delete`](Self::delete) does for one.
    ///
    /// By default they are removed one by one, as many at once as [`capabilities`](Self::capabilities) say.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobKey, BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// let keys: [BlobKey; 2] = ["a".parse()?, "b".parse()?];
    /// store.put(&keys[0], Bytes::new(), PutMode::Create).await?;
    /// assert!(store.delete_many(&keys).await.iter().all(Result::is_ok));
    /// assert!(store.list(None, None, 1).await?.blobs.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        derived::at_once(keys.iter().map(|key| self.delete(key)).collect(), self.capabilities()).await
    }

    /// Returns all pages of a listing, as [`list`](Self::list) does, one request after the other.
    ///
    /// By default it is that: a page is asked for after the last key of the one before. A store for which that is slow has a
    /// listing of its own.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the store does not list in order after the given key, because the listing might then never end.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    /// use futures::TryStreamExt;
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// for key in ["a/1", "a/2", "b"] {
    ///     store.put(&key.parse()?, Bytes::new(), PutMode::Create).await?;
    /// }
    /// let under = "a".parse()?;
    /// let mut pages = store.list_pages(Some(&under), None);
    /// let mut count = 0;
    /// while let Some(page) = pages.try_next().await? {
    ///     count += page.len();
    /// }
    /// assert_eq!(count, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        derived::pages(under, after, move |under, after| {
            async move { self.list(under.as_ref(), after.as_ref(), derived::PAGE).await }.boxed()
        })
    }

    /// Lists at most `limit` folders (at least 1) directly under `under`: the keys of one more segment that blobs are under.
    ///
    /// `after` excludes that folder and those before it. A page may be shorter than `limit`.
    ///
    /// By default blobs are listed, and what is left of a folder is skipped.
    ///
    /// # Errors
    ///
    /// Those of [`list_pages`](Self::list_pages).
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode};
    ///
    /// # futures::executor::block_on(async {
    /// let store = MemoryStore::new();
    /// for key in ["slots/0/a", "slots/0/b", "slots/1/a/b", "slots/owner"] {
    ///     store.put(&key.parse()?, Bytes::new(), PutMode::Create).await?;
    /// }
    /// let folders = store.list_folders(Some(&"slots".parse()?), None, 10).await?;
    /// assert_eq!(folders.keys, ["slots/0".parse()?, "slots/1".parse()?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        derived::folders(under, after, limit, |after, limit| {
            async move { self.list(under, after.as_ref(), limit).await }.boxed()
        })
        .await
    }

    /// Stores a blob in place of the one that has the key, if that is `version`. Of any number of concurrent callers with one
    /// version, exactly one succeeds (unless the bytes that it puts have the same version again).
    ///
    /// Read the version first and then the bytes: a change in between is then noticed.
    ///
    /// # Errors
    ///
    /// `Changed` if another version is there, or no blob; `TooLarge`, `Full`, `Unknown`; `Unsupported` unless
    /// [`Capabilities::changes_conditionally`].
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, StoreErrorKind};
    ///
    /// # futures::executor::block_on(async {
    /// let (store, key) = (MemoryStore::new(), "boundary".parse()?);
    /// store.put(&key, Bytes::from_static(b"1"), PutMode::Create).await?;
    /// let version = store.head(&key).await?.version.expect("a `MemoryStore` has versions");
    /// store.replace_if(&key, Bytes::from_static(b"2"), &version).await?;
    /// let late = store.replace_if(&key, Bytes::from_static(b"3"), &version).await.unwrap_err();
    /// assert_eq!(late.kind(), StoreErrorKind::Changed);
    /// assert_eq!(store.get(&key, None).await?, "2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        let _ = (bytes, version);
        Err(StoreError::new(StoreErrorKind::Unsupported, "replace_if", Some(key)))
    }

    /// Removes a blob if it is `version`. To remove a blob that does not exist is a success.
    ///
    /// # Errors
    ///
    /// `Changed` if another version is there; `Unknown`; `Unsupported` unless [`Capabilities::changes_conditionally`].
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, StoreErrorKind};
    ///
    /// # futures::executor::block_on(async {
    /// let (store, key) = (MemoryStore::new(), "a".parse()?);
    /// store.put(&key, Bytes::from_static(b"damaged"), PutMode::Create).await?;
    /// let damaged = store.head(&key).await?.version.expect("a `MemoryStore` has versions");
    /// store.put(&key, Bytes::from_static(b"mended"), PutMode::Overwrite).await?;
    /// let refused = store.delete_if(&key, &damaged).await.unwrap_err();
    /// assert_eq!(refused.kind(), StoreErrorKind::Changed);
    /// assert_eq!(store.get(&key, None).await?, "mended");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        let _ = version;
        Err(StoreError::new(StoreErrorKind::Unsupported, "delete_if", Some(key)))
    }

    /// Copies a blob of another store on the same service, without moving its bytes through this process. As for
    /// [`copy`](Self::copy), the two blobs share nothing afterwards.
    ///
    /// An implementation asks `store` for the [place](Self::place_of) of the blob, and copies from there if it can.
    ///
    /// # Errors
    ///
    /// Those of [`copy`](Self::copy); `Unsupported` if the store cannot copy from `store`, or not in this mode: read the blob
    /// and put it.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use compute_gallery::store::{BlobStore, MemoryStore, Prefixed, PutMode, StoreErrorKind};
    ///
    /// # futures::executor::block_on(async {
    /// let bucket = MemoryStore::new();
    /// let west = Prefixed::new(bucket.clone(), "westeurope".parse()?);
    /// let east = Prefixed::new(bucket, "eastus".parse()?);
    /// let key = "a".parse()?;
    /// west.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
    /// east.copy_from(&west, &key, &key, PutMode::Create).await?;
    /// assert_eq!(east.get(&key, None).await?, "bytes");
    ///
    /// let elsewhere = MemoryStore::new();
    /// let refused = elsewhere.copy_from(&west, &key, &key, PutMode::Create).await.unwrap_err();
    /// assert_eq!(refused.kind(), StoreErrorKind::Unsupported);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let _ = (store, from, mode);
        Err(StoreError::new(StoreErrorKind::Unsupported, "copy_from", Some(to)))
    }

    /// Tells the store that a blob with this key is really in, below all wrappers, and its key there: for
    /// [`copy_from`](Self::copy_from). It makes no request, and the blob need not exist.
    ///
    /// By default `None`: nothing is copied from this store. A store that can copy from its like answers with itself.
    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        let _ = key;
        None
    }

    /// Drops what a cache has of a blob, so that the next read asks the store itself, and returns whether there was anything. The
    /// gallery calls it before it reads a blob to check it, and where bytes turned out to be damaged.
    ///
    /// It makes no request. By default there is nothing: a store is no cache.
    async fn distrust(&self, key: &BlobKey) -> bool {
        let _ = key;
        false
    }
}
