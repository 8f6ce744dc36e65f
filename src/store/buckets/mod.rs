//! Buckets: the gallery on S3, Azure Blob Storage and Google Cloud Storage, by the crate `object_store`.
#![cfg_attr(
    not(all(feature = "aws", feature = "azure", feature = "gcp")),
    allow(dead_code, reason = "each service uses a part of it")
)]

mod answer;
mod bucket;
mod fault;
mod listing;
mod open;
mod probe;
mod runtime;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
mod wire;

pub use bucket::ObjectStoreBlobs;
