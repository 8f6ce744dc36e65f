//! The service, the session of a caller, and access.

pub(crate) mod authorize;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod computer_names;
pub(crate) mod inner;
pub(crate) mod pending;
pub(crate) mod plan;
pub(crate) mod pools;
pub(crate) mod rights;
#[expect(clippy::module_inception, reason = "the session is what the chamber is about")]
pub(crate) mod session;
pub(crate) mod simulation;
pub(crate) mod sources;
pub(crate) mod taken;
pub(crate) mod watch;

pub use builder::{GalleryService, GalleryServiceBuilder};
pub use session::Session;
