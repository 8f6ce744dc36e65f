//! Keeping regions tidy and whole: collection and scrubbing.

pub(crate) mod collection;
pub(crate) mod scrub;

pub use collection::Collection;
pub use scrub::{Scrub, ScrubReport};

pub use crate::regions::collection_report::{CollectionReport, RegionCollection};
