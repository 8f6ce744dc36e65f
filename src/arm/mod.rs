//! Azure's wire protocol over a [`GalleryService`](crate::GalleryService): a [`tower_service::Service`] for a host to mount, and
//! [`Arm::answer`] for tests in process. It decides nothing: every rule is the service's, and this room reads requests and
//! writes answers as Azure Resource Manager does.
//!
//! | part | what it does |
//! |---|---|
//! | [`Arm`], [`ArmBuilder`] | the face and its settings |
//! | [`Authenticator`] | makes callers of bearer tokens: [`AnyToken`], [`OneToken`], [`UntrustedClaims`], or a host's own |
//! | [`ApiVersion`] | the versions of the gallery's types; each answer has the fields of the version that was asked for |
//!
//! Long-running operations and the calls that `/_test/` tells are kept in memory by the face.

mod answer;
mod authenticator;
mod body;
mod builder;
mod call;
mod drive;
mod driven;
mod face;
mod galleries;
mod groups;
mod inner;
mod machines;
mod operations;
mod page;
mod phantom;
mod projection;
mod roles;
mod route;
mod segments;
mod shape;
mod shared;
mod template;
mod test_endpoints;
mod text;
mod versions;
mod words;

#[cfg(feature = "serve")]
pub(crate) use answer::refusal;
pub use authenticator::{AnyToken, Authenticator, OneToken, UntrustedClaims};
pub use body::ArmBody;
pub use builder::ArmBuilder;
#[cfg(feature = "serve")]
pub(crate) use call::base_of;
pub use face::Arm;
pub use test_endpoints::{TestClock, TestEndpoints};
#[cfg(feature = "serve")]
pub(crate) use text::{base64_url, percent_decoded};
pub use versions::ApiVersion;
