//! The trait of a store.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::error::StoreResult;
use super::key::BlobKey;

/// The largest blob that a store must accept: 64 MiB.
pub const MAX_BLOB_BYTES: u64 = 64 << 20;

/// Whether a put may replace a blob.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, StoreErrorKind};
///
/// # futures::executor::block_on(async {
/// let (store, key) = (MemoryStore::new(), "a".parse()?);
/// store.put(&key, Bytes::from_static(b"1"), PutMode::Create).await?;
/// let refused = store.put(&key, Bytes::from_static(b"2"), PutMode::Create).await.unwrap_err();
/// assert_eq!(refused.kind(), StoreErrorKind::AlreadyExists);
/// store.put(&key, Bytes::from_static(b"3"), PutMode::Overwrite).await?;
/// assert_eq!(store.get(&key, None).await?, "3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutMode {
    /// Stores the blob only if the key is free. Of any number of concurrent callers, in any number of processes, exactly one
    /// succeeds.
    Create,
    /// Stores the blob, in place of the one that has the key.
    Overwrite,
}

/// What a store knows of a blob without reading it.
///
/// ```
/// use compute_gallery::store::BlobMeta;
///
/// let meta = BlobMeta::new("a/b".parse()?, 5).with_modified("2026-01-01T00:00:00Z".parse()?);
/// assert_eq!((meta.key.as_str(), meta.size), ("a/b", 5));
/// assert!(meta.modified.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobMeta {
    /// The blob's name.
    pub key: BlobKey,
    /// The blob's length in bytes.
    pub size: u64,
    /// The time of the last write, by the store's own clock. `None` if the store does not record it, or leaves it out of a
    /// listing: [`BlobStore::head`] has it if the store has.
    pub modified: Option<DateTime<Utc>>,
}

impl BlobMeta {
    /// Describes a blob of `size` bytes, for the implementor of a store.
    pub fn new(key: BlobKey, size: u64) -> Self {
        Self { key, size, modified: None }
    }

    /// Adds the time of the last write, by the store's own clock.
    #[must_use]
    pub fn with_modified(self, modified: DateTime<Utc>) -> Self {
        Self { modified: Some(modified), ..self }
    }
}

/// A part of a listing.
///
/// ```
/// use compute_gallery::store::{BlobMeta, Page};
///
/// let page = Page::new(vec![BlobMeta::new("a".parse()?, 1)], true);
/// assert!(page.more, "the next page starts after `a`");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The blobs, in ascending order of their keys as bytes.
    pub blobs: Vec<BlobMeta>,
    /// Whether there may be more blobs after the last one. An empty page is always the last.
    pub more: bool,
}

impl Page {
    /// Makes a page, for the implementor of a store.
    pub fn new(blobs: Vec<BlobMeta>, more: bool) -> Self {
        Self { blobs, more }
    }
}

/// A container of blobs: a directory, a bucket, a map in memory.
///
/// # Contract
///
/// - **Atomic.** A reader sees all bytes of a blob or no blob, also while it is written and after a crash.
/// - **Read your writes.** Every later call of any caller sees an acknowledged change: `get`, `head` and `list`.
/// - **Durable.** An acknowledged `put` or `copy` survives a power cut. (A store may offer less, if its documentation says so.) A
///   blob whose put is not yet acknowledged may be visible before it is durable: see [`persist`](Self::persist).
/// - **One creator.** [`PutMode::Create`] has one winner as long as the blob exists; all others get
///   [`AlreadyExists`](super::StoreErrorKind::AlreadyExists) and change nothing.
/// - **Honest errors.** After [`Unknown`](super::StoreErrorKind::Unknown) the change may have happened, or happen yet; after
///   any other error it has not. An implementation that retries internally must not turn its own success into `AlreadyExists`.
///   The answer that another change of the key is in progress is `Unknown`. Every call may be repeated after an `Unknown`.
/// - **Cancellation.** A caller may drop the future of a call at any time. A change then is as after an `Unknown`.
/// - **Time.** A call may take long. The gallery gives it up and retries it ([`WithDeadline`](super::WithDeadline),
///   [`Retrying`](super::Retrying)), so an implementation need do neither.
///
/// # Errors
///
/// Each method lists the kinds of error with a meaning of their own. Every method may also return
///
/// - [`PermissionDenied`](super::StoreErrorKind::PermissionDenied), [`Obstructed`](super::StoreErrorKind::Obstructed),
///   [`Unavailable`](super::StoreErrorKind::Unavailable) and [`Throttled`](super::StoreErrorKind::Throttled);
/// - [`Unsupported`](super::StoreErrorKind::Unsupported) for a key that the store cannot hold, such as one that is too long
///   below a [prefix](super::Prefixed);
/// - [`WrongStore`](super::StoreErrorKind::WrongStore), from a store that checks whose it is.
///
/// # Implementing
///
/// The functions of `testkit::conformance` (feature `testkit`) check an implementation against the contract.
///
/// A wrapper forwards every method: put `#[deny(clippy::missing_trait_methods)]` on its `impl`.
#[async_trait]
pub trait BlobStore: Debug + Send + Sync + 'static {
    /// Stores a blob of at most [`MAX_BLOB_BYTES`]. An empty blob is a blob.
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

    /// Copies a blob inside the store.
    ///
    /// Afterwards both exist. They share nothing that damage to one could take from the other, as far as the store can tell. (A
    /// store may offer less, if its documentation says so.)
    ///
    /// An overwriting copy onto itself changes nothing; a creating one finds that the blob exists.
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
    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()>;

    /// Makes durable every blob under `under` that any call has shown to exist: one that another caller put, or one whose put was
    /// `Unknown` and that was then found. Call it before you record that such a blob exists.
    ///
    /// It succeeds if there is no blob under `under`.
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

    /// Returns whether the same handle can be another container from one call to the next, as a directory is when another disk is
    /// mounted there. The catalog then reads whose the store is before each commit: one more request.
    ///
    /// True by default, which is always safe.
    ///
    /// ```
    /// use compute_gallery::store::{BlobStore, MemoryStore};
    ///
    /// assert!(!MemoryStore::new().can_be_remounted());
    /// ```
    fn can_be_remounted(&self) -> bool {
        true
    }
}
