//! Reading the catalog: views, lists, the latest version, shared galleries.

pub(crate) mod end_of_life;
mod find;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod latest;
pub(crate) mod operations;
pub(crate) mod resource;
pub(crate) mod shared;
pub(crate) mod view;

pub use end_of_life::EndOfLife;
pub use history::{EventKind, HistoryEntry, RecordedEvent};
pub use latest::{LatestCandidate, LatestVerdict};
pub use operations::Operation;
pub use resource::{IncompleteVersion, Provisioning, ProvisioningError, ProvisioningState};
pub use shared::{PublicGallery, PublicImageId, SharedGallery, SharedImage, SharedImageVersion};
pub use view::{CatalogView, ListPage, ListScope, SoftDeletedVersion, Usage};

pub use crate::catalog::{ImageContent, OperationId, OperationKind, OperationStatus, OperationTarget};
