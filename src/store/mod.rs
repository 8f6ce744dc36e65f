//! Storage: the [`BlobStore`] trait and the stores that come with the crate.
//!
//! A store holds small named blobs: catalog entries of a few hundred bytes, packs of chunks of at most 64 MiB. The contract of
//! the trait is short because the gallery relies on all of it. `testkit::conformance` (feature `testkit`) checks a backend
//! against it.
//!
//! | store | for |
//! |---|---|
//! | [`FsStore`] | a directory of a local or network file system |
//! | [`MemoryStore`] | tests, and galleries that end with the process |
//! | `ObjectStoreBlobs` | a bucket of S3, Azure or Google (features `aws`, `azure`, `gcp`, `object-store`) |
//! | [`CachedStore`](crate::cache::CachedStore) | a directory of a host in front of a bucket |
//! | [`Prefixed`] | several galleries in one bucket |
//! | [`Retrying`], [`WithDeadline`] | calls that fail for a moment or hang; the gallery wraps its stores in both by itself |
//!
//! A store of your own implements six methods: `put`, `get`, `head`, `delete`, `list` and `persist`. The others are made of them, until
//! it has something better. What only some services can do it claims by its [`Capabilities`]: changes that depend on a blob's
//! [version](BlobVersion), copies inside the service, blobs that are durable as soon as they are seen.

mod blob;
mod blob_place;
mod blob_store;
mod blob_store_ext;
mod blob_version;
#[cfg(feature = "object-store")]
mod buckets;
mod capabilities;
pub(crate) mod derived;
mod error;
mod forward;
mod fs;
mod key;
mod memory;
mod prefixed;
mod retrying;
mod with_deadline;

pub use blob::{BlobFile, BlobMeta, Folders, MAX_BLOB_BYTES, Page, Pages, PutMode};
pub use blob_place::BlobPlace;
pub use blob_store::BlobStore;
pub use blob_store_ext::BlobStoreExt;
pub use blob_version::BlobVersion;
#[cfg(feature = "object-store")]
pub use buckets::ObjectStoreBlobs;
pub use capabilities::{Capabilities, Latency};
pub use error::{StoreError, StoreErrorKind, StoreResult};
pub use fs::{Durability, FsStore};
pub use key::BlobKey;
pub use memory::MemoryStore;
pub use prefixed::Prefixed;
pub use retrying::{RetryPolicy, Retrying};
pub use with_deadline::WithDeadline;

/// The attribute that an implementation of [`BlobStore`] carries, and the type of its bytes: the versions that this crate uses.
pub use async_trait::async_trait;
pub use bytes::Bytes;
