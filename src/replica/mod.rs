//! Content in its place: slots, what they hold, and how they are read and mended.

pub(crate) mod copies;
pub(crate) mod holders;
pub(crate) mod holding;
pub(crate) mod index_walk;
pub(crate) mod mending;
pub(crate) mod needs;
pub(crate) mod parcel;
pub(crate) mod slot;
