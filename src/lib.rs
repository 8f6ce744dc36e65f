//! stub docs

mod catalog;
mod error;
pub mod host;
pub mod image;
pub mod model;
mod placement;
mod progress;
mod replication;
mod service;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use catalog::{Caller, Commit, Event, ImageContent, UploadName};
pub use error::{Error, ErrorKind, Problem, Result};
pub use progress::Progress;
pub use replication::{AggregatedState, RegionalReplicationStatus, ReplicationState, ReplicationStatus};
pub use service::{
    Deployed, Deployment, GalleryService, GalleryServiceBuilder, ImportReport, NewImageVersion, Published, Publishing,
    RegionReport, Replication, ReplicationReport, Session,
};
