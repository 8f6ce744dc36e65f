//! The stored form of a disk, as bytes without a store: chunks, packs, indexes and manifests.

mod aead;
mod blob;
pub(crate) mod blob_name;
pub(crate) mod boot_set;
pub(crate) mod chunk;
pub(crate) mod cipher;
pub(crate) mod codec;
pub(crate) mod compression;
pub(crate) mod digest;
pub(crate) mod extents;
#[cfg(feature = "testkit")]
pub(crate) mod fuzz;
pub(crate) mod head;
pub(crate) mod index;
pub(crate) mod manifest;
pub(crate) mod merged;
pub(crate) mod names;
pub(crate) mod naming;
pub(crate) mod pack;
pub(crate) mod part;
pub(crate) mod recode;
pub(crate) mod record;

pub use compression::Compression;
pub use digest::Digest;
