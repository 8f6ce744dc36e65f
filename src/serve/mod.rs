//! A small server of the [ARM face](crate::arm), for clients that are other programs: http, https with a certificate
//! authority of its own, and a proxy in which they reach it as `management.azure.com`. It stands in for the sign-in service, for
//! managed identity and for the metadata endpoints as well, and takes any credentials.
//!
//! It is for development and tests: bind it to loopback. The example `azure_gallery` is the program around it.

mod authority;
mod limits;
mod lingering;
mod server;
mod sign_in;

pub use authority::Authority;
pub use limits::ServerLimits;
pub use server::Server;
