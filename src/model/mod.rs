//! The resources: galleries, image definitions, image versions, and the values that they hold.
//!
//! A value of these types is valid: it is checked once, when it is made or parsed, and not again. In JSON, galleries,
//! definitions and versions have the form and the property names of Azure's REST API; managed images and snapshots, which
//! another service of Azure keeps, have a similar form.
//!
//! Ids, names, regions and version numbers are parsed from text, and convert from it by `TryFrom`:
//!
//! ```
//! use compute_gallery::Error;
//! use compute_gallery::model::{GalleryId, Region, VersionNumber};
//!
//! /// Takes an id, a reference to one, or its text.
//! fn name_of<T: TryInto<GalleryId>>(id: T) -> Result<String, Error>
//! where
//!     Error: From<T::Error>,
//! {
//!     Ok(id.try_into()?.name().to_string())
//! }
//!
//! let text = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso";
//! let id: GalleryId = text.parse()?;
//! assert_eq!(name_of(text)?, "Contoso");
//! assert_eq!(name_of(&id)?, "Contoso");
//! assert_eq!(Region::try_from("West Europe")?.as_str(), "westeurope");
//! assert!(VersionNumber::try_from("1.10.0")? > VersionNumber::try_from("1.9.0")?);
//! # Ok::<(), compute_gallery::Error>(())
//! ```

mod body;
mod carried_identity;
mod differences;
mod encryption;
mod gallery;
mod host_caching;
mod image_definition;
mod image_identifier;
mod image_version;
mod limits;
mod machine_name;
mod managed_image;
mod name;
mod named_source;
mod publishing_profile;
mod recommended_machine;
mod region;
mod region_catalog;
mod request;
mod resource;
mod resource_group;
mod resource_id;
mod safety_profile;
mod security_profile;
mod shared;
mod sharing_profile;
mod snapshot;
mod soft_delete_policy;
mod storage_profile;
mod tags;
mod text;
mod top_level_id;
mod vault_secret;
mod version_number;
mod version_source;

pub use carried_identity::CarriedIdentity;
pub(crate) use differences::differences;
pub use encryption::{DiskEncryptionSetId, EncryptionImages};
pub use gallery::Gallery;
pub use host_caching::HostCaching;
pub use image_definition::{
    Architecture, HyperVGeneration, ImageDefinition, ImageFeature, OsState, OsType, PurchasePlan, SecurityType,
};
pub use image_identifier::ImageIdentifier;
pub use image_version::{ImageVersion, ImageVersionRequest};
pub use limits::Limits;
pub use machine_name::MachineName;
pub use managed_image::ManagedImage;
pub use name::{GalleryName, ImageName, ResourceGroupName, ResourceName, SubscriptionId};
pub use named_source::NamedSource;
pub(crate) use publishing_profile::out_of_range;
pub use publishing_profile::{
    PublishingProfile, ReplicaCount, ReplicationMode, StorageAccountType, TargetRegion, TargetRegions,
};
pub use recommended_machine::{RecommendedMachine, ResourceRange};
pub use region::Region;
pub use region_catalog::{Cloud, RegionCatalog, RegionInfo};
pub use request::Request;
pub(crate) use request::{Answer, Readable, Requested};
pub use resource_group::{ResourceGroup, ResourceGroupId};
pub use resource_id::{GalleryId, ImageDefinitionId, ImageVersionId, ResourceId};
pub use safety_profile::SafetyProfile;
pub use security_profile::{SecurityProfile, UefiKey, UefiKeyType, UefiSettings, UefiSignatures};
pub use sharing_profile::{CommunityGalleryInfo, SharingPermissions, SharingProfile};
pub use snapshot::Snapshot;
pub use soft_delete_policy::SoftDeletePolicy;
pub use storage_profile::{DataDiskImage, DiskImage, StorageProfile};
pub use tags::Tags;
pub(crate) use text::{cmp_ignoring_case, from_text, given, hash_ignoring_case, serde_as_text, text_newtype};
pub use top_level_id::{DiskId, ManagedImageId, SnapshotId, StorageAccountId, VirtualMachineId};
pub use vault_secret::VaultSecretUri;
pub use version_number::VersionNumber;
pub use version_source::{DiskReference, SourceDisk, SourceDisks, VersionSource};
