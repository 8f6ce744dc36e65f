//! The trait of a store.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::error::StoreResult;
use super::key::BlobKey;

/// The largest blob that a store has to take: 64 MiB.
pub const MAX_BLOB_BYTES: u64 = 64 << 20;

/// Whether a put may replace what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PutMode {
    /// Only if the key is absent. Of any number of callers at once, in any number of processes, exactly one wins.
    Create,
    /// Replace what is there, if anything.
    Overwrite,
}

/// What a store knows of a blob without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobMeta {
    /// The blob's name.
    pub key: BlobKey,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, by the store's own clock; `None` where the store does not tell. [`BlobStore::head`]
    /// tells it, a listing need not.
    pub modified: Option<DateTime<Utc>>,
}

impl BlobMeta {
    /// For the implementor of a store.
    pub fn new(key: BlobKey, size: u64) -> Self {
        Self { key, size, modified: None }
    }

    /// The same with the time of the last write, by the store's own clock.
    #[must_use]
    pub fn with_modified(self, modified: DateTime<Utc>) -> Self {
        Self { modified: Some(modified), ..self }
    }
}

/// Some of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Blobs in ascending order of their keys as bytes.
    pub blobs: Vec<BlobMeta>,
    /// Whether there may be more after the last one. An empty page is always the end.
    pub more: bool,
}

impl Page {
    /// For the implementor of a store.
    pub fn new(blobs: Vec<BlobMeta>, more: bool) -> Self {
        Self { blobs, more }
    }
}

/// A place for blobs: a directory, a bucket, a map in memory.
///
/// # Contract
///
/// - **Whole or not at all.** A blob is seen with all its bytes or not at all, by every reader, also while it is
///   written, also after a crash.
/// - **Read your writes.** What a call acknowledged is seen by every later call of anybody: `get`, `head` and `list`.
/// - **Durable.** An acknowledged `put` or `copy` survives a power cut (a store may offer less, by a name that says
///   so). A blob that somebody else is just putting may be visible before it is durable: [`persist`](Self::persist).
/// - **One creator.** [`PutMode::Create`] has one winner for as long as the blob exists; all others get
///   [`StoreErrorKind::AlreadyExists`] and change nothing.
/// - **Honest errors.** [`StoreErrorKind::Unknown`] alone means that the change may have happened; after any other
///   error it has not. An implementation that retries inside must not turn its own success into `AlreadyExists`; an
///   answer that another change of the key is in progress is `Unknown`. Every call may be made again after an `Unknown`.
/// - **An end.** A call may take long; the gallery gives it up and asks again by itself ([`WithDeadline`],
///   [`Retrying`]), so an implementation need do neither.
///
/// Wrappers forward every method: put `#[deny(clippy::missing_trait_methods)]` on the `impl`.
#[async_trait]
pub trait BlobStore: Debug + Send + Sync + 'static {
    /// Stores a blob of at most [`MAX_BLOB_BYTES`].
    ///
    /// # Errors
    ///
    /// `AlreadyExists` (mode `Create` only), `TooLarge`, `Full`, `PermissionDenied`, `Obstructed`, `Unavailable`, `Unknown`.
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()>;

    /// Reads a blob, or exactly `range` of it. An empty range within the blob is fine.
    ///
    /// # Errors
    ///
    /// `NotFound`, `InvalidRange` (it ends before it starts, or past the end), `PermissionDenied`, `Obstructed`, `Unavailable`.
    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes>;

    /// What is known of a blob without reading it.
    ///
    /// # Errors
    ///
    /// `NotFound`, `PermissionDenied`, `Obstructed`, `Unavailable`.
    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta>;

    /// Removes a blob; one that is not there is removed already.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`, `Obstructed`, `Unavailable`, `Unknown`.
    async fn delete(&self, key: &BlobKey) -> StoreResult<()>;

    /// Lists blobs whose key lies under `under` (`a/b` lies under `a`; `a` and `ab` do not; `None` is everything) and
    /// is greater than `after`, in ascending order of the whole key as bytes, at most `limit` of them. A limit of 0 is
    /// taken as 1. A blob that exists throughout a listing is in it exactly once.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`, `Obstructed`, `Unavailable`.
    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page>;

    /// Copies a blob inside the store: afterwards both exist, and share nothing that the loss of one could take from
    /// the other, as far as the store can tell.
    ///
    /// # Errors
    ///
    /// `NotFound` (of `from`), and those of [`put`](Self::put).
    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()>;

    /// Makes durable every blob under `under` that any call has shown to exist: one that somebody else put, or whose
    /// put was `Unknown` and was then found. Call it before you record that such a blob exists.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`, `Obstructed`, `Unavailable`.
    async fn persist(&self, under: &BlobKey) -> StoreResult<()>;
}
