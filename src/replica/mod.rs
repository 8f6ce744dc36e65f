//! Content in a store: slots, their holdings, and reading and mending them.

mod boot_sets;
pub(crate) mod copies;
mod encrypting;
mod fronts;
pub(crate) mod health;
pub(crate) mod holders;
pub(crate) mod holding;
pub(crate) mod in_files;
pub(crate) mod index_walk;
mod located;
pub(crate) mod mending;
pub(crate) mod parcel;
pub(crate) mod reading;
pub(crate) mod recoding;
pub(crate) mod records;
pub(crate) mod slot;
pub(crate) mod verified;
