//! The project's documents, to be read beside the API: how to, and why.
//!
//! They are the files in `docs/` of the repository and of the packed crate. This module exists in rustdoc only.

// Its links lead to the room.
#[cfg(feature = "arm")]
pub mod azure_clients;
pub mod azure_differences;
pub mod benchmarks;
pub mod buckets;
pub mod commit_protocol;
// Its code uses the sandbox, so the documentation tests run it with `testkit`.
#[cfg(any(not(doctest), feature = "testkit"))]
pub mod cookbook;
pub mod decisions;
pub mod format;
pub mod hypervisors;
pub mod rules;
#[cfg(any(not(doctest), feature = "testkit"))]
pub mod testing;
