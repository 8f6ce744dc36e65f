//! What exists: galleries, image definitions, image versions, and what they carry.
//!
//! A value of these types is valid: it is checked once, when it is made or read, and not again. In JSON galleries,
//! definitions and versions have the form and the property names of Azure's REST API; managed images and snapshots, which
//! another of Azure's services keeps, a form like it.

mod body;
mod encryption;
mod flat_id;
mod gallery;
mod identifier;
mod image_definition;
mod image_version;
mod limits;
mod managed_image;
mod name;
mod publishing_profile;
mod recommended;
mod region;
mod region_catalog;
pub(crate) mod resource;
mod resource_id;
mod safety_profile;
mod security_profile;
mod sharing_profile;
mod snapshot;
mod soft_delete_policy;
mod storage_profile;
mod tags;
mod version_number;
mod version_source;

pub use encryption::{DiskEncryptionSetId, EncryptionImages};
pub use flat_id::{DiskId, ManagedImageId, SnapshotId, StorageAccountId, VirtualMachineId};
pub use gallery::Gallery;
pub use identifier::ImageIdentifier;
pub use image_definition::{
    Architecture, HyperVGeneration, ImageDefinition, ImageFeature, OsState, OsType, PurchasePlan, SecurityType,
};
pub use image_version::{ImageVersion, ImageVersionRequest};
pub use limits::Limits;
pub use managed_image::ManagedImage;
pub use name::{GalleryName, ImageName, ResourceGroupName, SubscriptionId};
pub(crate) use publishing_profile::out_of_range;
pub use publishing_profile::{
    PublishingProfile, ReplicaCount, ReplicationMode, StorageAccountType, TargetRegion, TargetRegions,
};
pub use recommended::{RecommendedMachine, ResourceRange};
pub use region::Region;
pub use region_catalog::{Cloud, RegionCatalog, RegionInfo};
pub use resource_id::{GalleryId, ImageDefinitionId, ImageVersionId, ResourceId};
pub use safety_profile::SafetyProfile;
pub use security_profile::{SecurityProfile, UefiKey, UefiKeyType, UefiSettings, UefiSignatures};
pub use sharing_profile::{CommunityGalleryInfo, SharingPermissions, SharingProfile};
pub use snapshot::Snapshot;
pub use soft_delete_policy::SoftDeletePolicy;
pub use storage_profile::{DataDiskImage, DiskImage, HostCaching, StorageProfile};
pub use tags::Tags;
pub use version_number::VersionNumber;
pub use version_source::{DiskReference, SourceDisk, SourceDisks, VersionSource};

/// Serde as text, through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
use serde_as_text;
