//! Keeping regions tidy and whole: collection and scrubbing.

pub(crate) mod collection;
pub(crate) mod scrub;

pub use collection::{Collection, CollectionReport, RegionCollection};
pub use scrub::{Scrub, ScrubReport};
