//! The face: [`GalleryService`] and the caller's [`Session`]. The only room that knows all the others.

mod authorize;
mod builder;
mod change;
mod collect;
mod delete;
mod deploy;
mod lifecycle;
mod machines;
mod parts;
mod plan;
mod publish;
mod reader;
mod regions;
mod replicate;
mod roles;
mod rules;
mod scrub;
mod session;
mod shared;
mod sources;
mod view;

pub use builder::{GalleryService, GalleryServiceBuilder};
pub use collect::{Collecting, CollectionReport, RegionCollection};
pub use delete::Deletion;
pub use deploy::{Deployed, Deployment};
pub use lifecycle::LifecyclePolicy;
pub use machines::{BootImage, Generalized, Image, MachineName, NewVm, OsProfile, ScaleSet, Specialized};
pub use plan::{Operation, Plan, RegionPlan};
pub use publish::{ImportReport, NewImageVersion, NewManagedImage, NewSnapshot, Published, Publishing};
pub use reader::ImageReader;
pub use replicate::{OnFailure, RegionReport, Replication, ReplicationReport};
pub use scrub::{ScrubReport, Scrubbing};
pub use session::Session;
pub use shared::{PublicGallery, PublicImageId, SharedGallery, SharedImage, SharedImageVersion};
pub use sources::{ImageSource, LocalDisks, SnapshotDisks, SourceMachine, VhdBlob};
pub use view::{CatalogView, LatestCandidate, LatestVerdict, ListPage, Scope, Usage};
