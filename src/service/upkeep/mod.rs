//! Maintenance of regions: collection and scrubs.

pub(crate) mod collection;
pub(crate) mod scrub;

pub use collection::{Collection, CollectionReport, RegionCollection};
pub use scrub::{Scrub, ScrubReport};
