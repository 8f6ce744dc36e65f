//! The truth: a log of commits on a [`BlobStore`](crate::store::BlobStore), folded into an immutable state.
//!
//! Every change is one commit: the next numbered blob, made with create-if-absent. Whoever makes it wins; whoever does
//! not reads what it missed, makes its checks again on the new state, and tries the next number. So limits, unique
//! names and parent-child rules hold between processes and machines with no lock server, an acknowledged commit is
//! never lost, and the log is the audit trail. `docs/commit-protocol.md` goes through every partial write.

mod checkpoint;
mod commit;
mod driver;
mod entry;
mod event;
mod frame;
mod identity;
mod log;
mod log_time;
mod pending;
mod probe;
mod state;

pub use event::ImageContent;

pub(crate) use entry::Commit;
pub(crate) use event::{Event, StoreName, UploadName, ZoneBlobs};
pub(crate) use identity::CatalogId;
pub(crate) use log::Catalog;
pub(crate) use pending::Changes;
pub(crate) use state::{Condemned, State, VersionRecord};

/// Reads bytes as a catalog entry and as a checkpoint, for the fuzzer.
#[cfg(feature = "testkit")]
pub(crate) fn fuzz(data: &[u8]) {
    let key = checkpoint::fuzz_key();
    let _ = entry::Entry::decode(data, &key);
    let _ = checkpoint::decode(data, &key);
}
