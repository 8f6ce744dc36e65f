//! The catalog: a log of commits on a [`BlobStore`](crate::store::BlobStore), folded into an immutable state.
//!
//! Every change is one commit: the next numbered blob, written with create-if-absent. The writer that creates it wins;
//! the others read the new entries, repeat their checks on the new state, and try the next number. So limits, unique
//! names and parent-child rules hold across processes and machines without a lock server, an acknowledged commit is
//! never lost, and the log is the audit trail. `docs/commit-protocol.md` covers every partial write.

mod backlog;
mod batch;
mod boundary;
mod checkpoint;
mod checkpointing;
mod commit;
mod encoding;
mod entry;
mod event;
mod failure;
mod features;
mod frame;
mod identity;
mod indexes;
mod log;
mod log_time;
mod logged;
mod look;
mod opening;
mod operation;
mod pace;
mod pending;
mod probe;
mod record;
mod record_key;
mod rows;
mod segment;
mod shared_work;
mod single_flight;
mod state;
mod tombstone;
mod touched;
mod truncation;

pub use event::ImageContent;
pub use operation::{Duty, OperationId, OperationKind, OperationStatus, OperationTarget};

pub(crate) use entry::Commit;
pub(crate) use event::{Event, StoreName, UploadName, ZoneBlobs};
pub(crate) use identity::CatalogId;
pub(crate) use log::{Catalog, Mode};
pub(crate) use operation::{BadEnd, DriverId, DutyRecord, Extent, OperationRecord};
pub(crate) use pending::Changes;
pub(crate) use record::{Condemned, ImageRecord, IncompleteRecord, VersionRecord};
pub(crate) use state::State;
pub(crate) use truncation::Truncation;

/// Reads bytes as a catalog entry and as a checkpoint, for the fuzzer.
#[cfg(feature = "testkit")]
pub(crate) fn fuzz(data: &[u8]) {
    let key = checkpoint::fuzz_key();
    let _ = tombstone::LogBlob::decode(data, &key);
    let _ = checkpoint::decode(data, &key);
}

/// Reads bytes as the rows of a segment, for the fuzzer.
#[cfg(feature = "testkit")]
pub(crate) fn fuzz_rows(data: &[u8]) {
    encoding::fuzz(data);
}
