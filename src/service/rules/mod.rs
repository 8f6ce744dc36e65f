//! Azure's rules, by resource.

pub(crate) mod definition;
pub(crate) mod gallery;
pub(crate) mod group;
pub(crate) mod refusals;
pub(crate) mod version;
