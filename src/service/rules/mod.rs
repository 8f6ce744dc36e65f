//! Azure's rules, resource by resource.

pub(crate) mod definition;
pub(crate) mod gallery;
pub(crate) mod refusals;
pub(crate) mod version;
