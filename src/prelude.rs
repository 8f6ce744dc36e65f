//! The names that most programs need, for a glob import. None of them shadows a name of the standard library's prelude.
//!
//! ```
//! use compute_gallery::prelude::*;
//!
//! # futures::executor::block_on(async {
//! let service = GalleryService::builder().store(MemoryStore::new()).allow_all().create().await?;
//! let session = service.session("docs".parse()?);
//! let gallery: GalleryId = "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g".parse()?;
//! session.create_gallery(Gallery::new(gallery.clone(), "westeurope".parse()?)).await?;
//! assert_eq!(session.view().gallery(&gallery)?.location().as_str(), "westeurope");
//!
//! // `Result` is still that of the standard library.
//! let port: Result<u16, std::num::ParseIntError> = "443".parse();
//! assert_eq!(port, Ok(443));
//! # Ok::<(), compute_gallery::Error>(())
//! # }).unwrap();
//! ```

pub use crate::access::Caller;
pub use crate::content::{Compression, Digest};
pub use crate::disk::{DiskFormat, DiskSource};
pub use crate::error::ErrorKind;
pub use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, ImageVersion, ImageVersionId, OsState,
    OsType, PublishingProfile, Region, ResourceId, StorageAccountType, TargetRegions, VersionNumber,
};
pub use crate::progress::Progress;
pub use crate::service::change::Plan;
pub use crate::service::deploy::Deployment;
pub use crate::service::publish::{ImageSource, NewImageVersion, Publication, Published};
pub use crate::service::read::CatalogView;
pub use crate::service::replicate::Replication;
pub use crate::service::session::{GalleryService, GalleryServiceBuilder, Session};
pub use crate::store::{BlobStore, FsStore, MemoryStore};
