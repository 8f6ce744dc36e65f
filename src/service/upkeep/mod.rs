//! Maintenance of regions: collection and scrubs.

pub(crate) mod collection;
pub(crate) mod scrub;

pub use collection::Collection;
pub use scrub::{Scrub, ScrubReport};

pub use crate::regions::collection_report::{CollectionReport, RegionCollection};
