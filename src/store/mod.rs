//! Bytes: the [`BlobStore`] trait and the stores that come with the crate.
//!
//! A store keeps small named blobs: catalog entries of a few hundred bytes, packs of chunks of at most 64 MiB. The
//! contract is short because everything above leans on all of it; `testkit::conformance` (feature `testkit`) proves
//! it of a backend of yours.

mod blob_store;
mod blob_store_ext;
mod error;
mod forward;
mod fs;
mod key;
mod memory;
mod prefixed;
mod retrying;
mod with_deadline;

pub use blob_store::{BlobMeta, BlobStore, MAX_BLOB_BYTES, Page, PutMode};
pub use blob_store_ext::BlobStoreExt;
pub use error::{StoreError, StoreErrorKind, StoreResult};
pub use fs::{Durability, FsStore};
pub use key::BlobKey;
pub use memory::MemoryStore;
pub use prefixed::Prefixed;
pub use retrying::{RetryPolicy, Retrying};
pub use with_deadline::WithDeadline;
