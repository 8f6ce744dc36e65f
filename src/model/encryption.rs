//! The keys that a region's replicas are said to be encrypted with.

use serde::{Deserialize, Serialize};

/// The keys that a region's replicas are said to be encrypted with. Kept for the host: the gallery itself leaves
/// encryption to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionImages {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os_disk_image: Option<DiskEncryption>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    data_disk_images: Vec<DataDiskEncryption>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiskEncryption {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_encryption_set_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataDiskEncryption {
    lun: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_encryption_set_id: Option<String>,
}

impl EncryptionImages {
    /// The id of the OS disk's disk encryption set.
    pub fn os_disk_encryption_set(&self) -> Option<&str> {
        self.os_disk_image.as_ref()?.disk_encryption_set_id.as_deref()
    }

    /// The id of a data disk's disk encryption set.
    pub fn data_disk_encryption_set(&self, lun: u32) -> Option<&str> {
        self.data_disk_images.iter().find(|disk| disk.lun == lun)?.disk_encryption_set_id.as_deref()
    }
}
