//! Managed images.

use serde::{Deserialize, Serialize};

use super::body::from_body;
use super::image_definition::{HyperVGeneration, OsState, OsType};
use super::region::Region;
use super::resource::{NoMore, resource};
use super::storage_profile::StorageProfile;
use super::tags::Tags;
use super::top_level_id::ManagedImageId;

/// A managed image: a copy of a generalized VM's disks, usable alone or as the source of image versions.
///
/// A session makes it with [`Session::create_managed_image`](crate::Session::create_managed_image). Azure: it belongs to one
/// region, and has one copy.
///
/// ```
/// use compute_gallery::model::{ManagedImage, OsState};
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse()?;
/// let disks = serde_json::json!({"osDiskImage": {"sizeInGB": 30}});
/// let properties = serde_json::json!({"osType": "Linux", "storageProfile": disks});
/// let image = ManagedImage::from_body(id, &serde_json::json!({"location": "westeurope", "properties": properties}))?;
/// assert_eq!(image.os_state(), OsState::Generalized);
/// assert_eq!(image.storage_profile().os_disk_image().size_in_bytes(), 30 << 30);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedImage {
    id: ManagedImageId,
    location: Region,
    tags: Tags,
    properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    #[serde(default, rename = "hyperVGeneration", skip_serializing_if = "Option::is_none")]
    hyper_v_generation: Option<HyperVGeneration>,
    os_type: OsType,
    storage_profile: StorageProfile,
}

from_body!(Properties {
    optional hyper_v_generation: "hyperVGeneration",
    required os_type: "osType",
    required storage_profile: "storageProfile",
});

impl ManagedImage {
    pub(crate) fn new(
        id: ManagedImageId,
        location: Region,
        os_type: OsType,
        hyper_v_generation: HyperVGeneration,
        storage_profile: StorageProfile,
    ) -> Self {
        let hyper_v_generation = Some(hyper_v_generation);
        Self {
            id,
            location,
            tags: Tags::default(),
            properties: Properties { hyper_v_generation, os_type, storage_profile },
        }
    }

    /// Returns the operating system.
    pub fn os_type(&self) -> OsType {
        self.properties.os_type
    }

    /// Returns `Generalized`: managed images are made from generalized VMs.
    pub fn os_state(&self) -> OsState {
        OsState::Generalized
    }

    /// Returns the firmware.
    pub fn hyper_v_generation(&self) -> HyperVGeneration {
        self.properties.hyper_v_generation.unwrap_or_default()
    }

    /// Returns the disks.
    pub fn storage_profile(&self) -> &StorageProfile {
        &self.properties.storage_profile
    }
}

resource!(
    ManagedImage,
    ManagedImageId,
    Properties,
    "Microsoft.Compute/images",
    "image",
    |_image| NoMore {},
    |_| Ok(())
);
