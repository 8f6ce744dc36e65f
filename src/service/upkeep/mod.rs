//! Maintenance: collection, compression and scrubs of regions, truncation of the history.

mod boot_sets;
pub(crate) mod collection;
pub(crate) mod compression;
mod freeing;
mod merging;
mod rewriting;
pub(crate) mod rotation;
pub(crate) mod scrub;
mod scrub_wave;
pub(crate) mod truncation;

pub use collection::Collection;
pub use compression::CompressionLater;
pub use rotation::KeyRotation;
pub use scrub::{Scrub, ScrubCursor, ScrubReport};
pub use truncation::HistoryTruncation;

pub use crate::regions::collection_report::{CollectionReport, RegionCollection, UnreadReplica};
