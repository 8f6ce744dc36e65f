//! Changes of the catalog: galleries, definitions, versions, roles, lifecycles.

pub(crate) mod delete;
mod end_of_life;
pub(crate) mod groups;
pub(crate) mod lifecycle;
pub(crate) mod named;
pub(crate) mod operations;
pub(crate) mod pending;
pub(crate) mod put;
pub(crate) mod resources;
pub(crate) mod roles;

pub use delete::Deletion;
pub use lifecycle::LifecyclePolicy;
pub use pending::Change;
pub use put::{Applied, Effect, Put};

pub use super::session::plan::{Plan, RegionPlan};
