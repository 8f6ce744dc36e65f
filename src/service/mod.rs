//! The face: [`GalleryService`] and the caller's [`Session`]. The only room that knows all the others.

mod builder;
mod checks;
mod deploy;
mod publish;
mod regions;
mod replicate;
mod session;

pub use builder::{GalleryService, GalleryServiceBuilder};
pub use deploy::{Deployed, Deployment};
pub use publish::{ImportReport, NewImageVersion, Published, Publishing};
pub use replicate::{RegionReport, Replication, ReplicationReport};
pub use session::Session;
