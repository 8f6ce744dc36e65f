//! What a region must keep, what it has, and which of that is garbage.

pub(crate) mod collection_report;
pub(crate) mod garbage;
pub(crate) mod inventory;
pub(crate) mod lost;
pub(crate) mod needed;
pub(crate) mod region_store;
pub(crate) mod stores;
mod surveyed;
pub(crate) mod targets;
