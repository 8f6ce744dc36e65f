//! Blobs, as a store tells of them.

use std::fs::File;

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

use super::blob_version::BlobVersion;
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
/// assert!(meta.modified.is_some() && meta.version.is_none());
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
    /// listing: [`BlobStore::head`](super::BlobStore::head) has it if the store has.
    pub modified: Option<DateTime<Utc>>,
    /// The version, for changes that depend on it. `None` if the store has none, or leaves it out of a listing:
    /// [`BlobStore::head`](super::BlobStore::head) has it if the store has.
    pub version: Option<BlobVersion>,
}

impl BlobMeta {
    /// Describes a blob of `size` bytes, for the implementor of a store.
    pub fn new(key: BlobKey, size: u64) -> Self {
        Self { key, size, modified: None, version: None }
    }

    /// Adds the time of the last write, by the store's own clock.
    #[must_use]
    pub fn with_modified(self, modified: DateTime<Utc>) -> Self {
        Self { modified: Some(modified), ..self }
    }

    /// Adds the version.
    #[must_use]
    pub fn with_version(self, version: BlobVersion) -> Self {
        Self { version: Some(version), ..self }
    }
}

/// A blob that is a file of its own on this machine, open for reading.
///
/// The file is the blob as it was when it was opened, also after another blob has taken its key or it was deleted.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, FsStore, PutMode};
/// use std::io::Read;
///
/// # futures::executor::block_on(async {
/// # let directory = tempfile::tempdir()?;
/// let (store, key) = (FsStore::create(directory.path())?, "a".parse()?);
/// store.put(&key, Bytes::from_static(b"bytes"), PutMode::Create).await?;
/// let mut open = store.open_file(&key).await?.expect("an `FsStore` has files");
/// store.delete(&key).await?;
/// let mut text = String::new();
/// open.file.read_to_string(&mut text)?;
/// assert_eq!((open.meta.size, text.as_str()), (5, "bytes"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct BlobFile {
    /// What [`BlobStore::head`](super::BlobStore::head) told when the file was opened.
    pub meta: BlobMeta,
    /// The bytes of the blob, and nothing else.
    pub file: File,
}

impl BlobFile {
    /// Describes an open file, for the implementor of a store.
    pub fn new(meta: BlobMeta, file: File) -> Self {
        Self { meta, file }
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

/// A part of a listing of folders.
///
/// ```
/// use compute_gallery::store::Folders;
///
/// let folders = Folders::new(vec!["slots/0".parse()?], true);
/// assert!(folders.more, "the next page starts after `slots/0`");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Folders {
    /// The keys that blobs are under, in the order of those blobs: `a-`, then `a`, because `a-/x` comes before `a/x`.
    pub keys: Vec<BlobKey>,
    /// Whether there may be more folders after the last one. An empty page is always the last.
    pub more: bool,
}

impl Folders {
    /// Makes a page, for the implementor of a store.
    pub fn new(keys: Vec<BlobKey>, more: bool) -> Self {
        Self { keys, more }
    }
}

/// A whole listing, page by page. Each page has at least one blob, and an error is the last item.
pub type Pages<'a> = BoxStream<'a, StoreResult<Vec<BlobMeta>>>;
