//! The pipeline from a disk into slots, and back.

mod buffers;
pub(crate) mod chunk_cache;
mod chunk_fetch;
pub(crate) mod export;
pub(crate) mod image_digest;
pub(crate) mod import;
mod known_chunks;
pub(crate) mod random_access;
pub(crate) mod scan;
mod target_file;

pub use image_digest::ImageDigest;
