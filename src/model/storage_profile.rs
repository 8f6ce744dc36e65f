//! The disks of a version.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Problem, Result};

/// How a host caches a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostCaching {
    /// Not.
    #[default]
    None,
    /// Reads.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// The OS disk.
///
/// Azure's JSON has the size in GiB alone (`sizeInGB`); ours carries the exact one besides, as `sizeInBytes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Json", into = "Json")]
pub struct DiskImage {
    size_in_bytes: u64,
    host_caching: HostCaching,
}

/// A data disk, at its logical unit number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataDiskImage {
    lun: u32,
    #[serde(flatten)]
    image: DiskImage,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(default, rename = "sizeInGB")]
    size_in_gb: u64,
    size_in_bytes: Option<u64>,
    #[serde(default)]
    host_caching: HostCaching,
}

impl From<DiskImage> for Json {
    fn from(image: DiskImage) -> Self {
        Self {
            size_in_gb: image.size_in_bytes.div_ceil(1 << 30),
            size_in_bytes: Some(image.size_in_bytes),
            host_caching: image.host_caching,
        }
    }
}

impl From<Json> for DiskImage {
    fn from(json: Json) -> Self {
        let size_in_bytes = json.size_in_bytes.unwrap_or(json.size_in_gb.saturating_mul(1 << 30));
        Self { size_in_bytes, host_caching: json.host_caching }
    }
}

impl DiskImage {
    /// A disk of that size.
    pub fn new(size_in_bytes: u64) -> Self {
        Self { size_in_bytes, host_caching: HostCaching::None }
    }

    /// Its size in bytes.
    pub fn size_in_bytes(&self) -> u64 {
        self.size_in_bytes
    }

    /// How a host caches it.
    pub fn host_caching(&self) -> HostCaching {
        self.host_caching
    }
}

impl DataDiskImage {
    /// A disk of that size at that logical unit number.
    pub fn new(lun: u32, size_in_bytes: u64) -> Self {
        Self { lun, image: DiskImage::new(size_in_bytes) }
    }

    /// Its logical unit number.
    pub fn lun(&self) -> u32 {
        self.lun
    }

    /// Its size in bytes.
    pub fn size_in_bytes(&self) -> u64 {
        self.image.size_in_bytes
    }
}

/// An OS disk, and data disks whose LUNs are unique and from 0 to 63.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Unchecked")]
pub struct StorageProfile {
    os_disk_image: DiskImage,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data_disk_images: Vec<DataDiskImage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unchecked {
    os_disk_image: DiskImage,
    #[serde(default)]
    data_disk_images: Vec<DataDiskImage>,
}

impl StorageProfile {
    /// A profile of these disks.
    ///
    /// # Errors
    ///
    /// `Invalid` for LUNs that are used twice or above 63, all at once.
    pub fn new(os_disk_image: DiskImage, data_disk_images: Vec<DataDiskImage>) -> Result<Self> {
        let (mut seen, mut problems) = (BTreeSet::new(), Vec::new());
        for lun in data_disk_images.iter().map(DataDiskImage::lun) {
            let mut wrong = |rule: &str| {
                let target = "galleryImageVersion.properties.storageProfile.dataDiskImages";
                problems.push(Problem::invalid(target, format!("LUN `{lun}` {rule}")));
            };
            if !seen.insert(lun) {
                wrong("is used twice: each data disk has one of its own");
            }
            if lun > 63 {
                wrong("is above 63");
            }
        }
        Error::from_problems(problems)?;
        Ok(Self { os_disk_image, data_disk_images })
    }

    /// The OS disk.
    pub fn os_disk_image(&self) -> &DiskImage {
        &self.os_disk_image
    }

    /// The data disks.
    pub fn data_disk_images(&self) -> &[DataDiskImage] {
        &self.data_disk_images
    }
}

impl TryFrom<Unchecked> for StorageProfile {
    type Error = Error;

    fn try_from(unchecked: Unchecked) -> Result<Self> {
        Self::new(unchecked.os_disk_image, unchecked.data_disk_images)
    }
}
