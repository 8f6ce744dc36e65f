//! What exists: galleries, image definitions, image versions, and what they carry.
//!
//! A value of these types is valid: it is checked once, when it is made or read, and not again. In JSON they have the
//! form and the property names of Azure's REST API.

mod gallery;
mod identifier;
mod image_definition;
mod image_version;
mod limits;
mod name;
mod publishing_profile;
mod region;
mod resource_id;
mod storage_profile;
mod tags;
mod version_number;

pub use gallery::Gallery;
pub use identifier::ImageIdentifier;
pub use image_definition::{Architecture, HyperVGeneration, ImageDefinition, OsState, OsType};
pub use image_version::ImageVersion;
pub use limits::Limits;
pub use name::{GalleryName, ImageName, ResourceGroupName, SubscriptionId};
pub use publishing_profile::{PublishingProfile, ReplicaCount, StorageAccountType, TargetRegion, TargetRegions};
pub use region::Region;
pub use resource_id::{GalleryId, ImageDefinitionId, ImageVersionId, ResourceId};
pub use storage_profile::{DataDiskImage, DiskImage, HostCaching, StorageProfile};
pub use tags::Tags;
pub use version_number::VersionNumber;

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
