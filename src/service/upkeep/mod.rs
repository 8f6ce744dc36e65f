//! Keeping regions tidy and whole: collection and scrubbing.

pub(crate) mod collect;
pub(crate) mod scrub;

pub use collect::{Collecting, CollectionReport, RegionCollection};
pub use scrub::{ScrubReport, Scrubbing};
