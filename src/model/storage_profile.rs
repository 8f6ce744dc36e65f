//! The disks of a version.

use serde::{Deserialize, Serialize};

use super::body::FromBody;
use super::host_caching::HostCaching;
use super::shared::Spelled;
use super::version_source::{DiskJson, STORAGE_PROFILE, StorageJson, VersionSource, lun_problems};
use crate::error::{Error, Result};

/// One disk of an image: its size, and how a host caches it.
///
/// Azure: JSON has the size in whole GiB alone (`sizeInGB`); this crate adds the exact one as `sizeInBytes`.
///
/// ```
/// use compute_gallery::model::{DiskImage, HostCaching};
///
/// let disk = DiskImage::new(4 << 30).with_host_caching(HostCaching::ReadOnly);
/// assert_eq!(disk.size_in_bytes(), 4_294_967_296);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskImage {
    size_in_bytes: u64,
    host_caching: HostCaching,
}

/// A data disk of an image, at its logical unit number (LUN).
///
/// ```
/// use compute_gallery::model::{DataDiskImage, DiskImage};
///
/// let data = DataDiskImage::new(3, DiskImage::new(1 << 30));
/// assert_eq!((data.lun(), data.size_in_bytes()), (3, 1 << 30));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDiskImage {
    lun: u32,
    image: DiskImage,
}

impl DiskImage {
    /// Returns a disk of this size, without host caching.
    pub fn new(size_in_bytes: u64) -> Self {
        Self { size_in_bytes, host_caching: HostCaching::None }
    }

    /// Sets how a host caches the disk.
    #[must_use]
    pub fn with_host_caching(mut self, caching: HostCaching) -> Self {
        self.host_caching = caching;
        self
    }

    /// Returns the size of the disk in bytes.
    pub fn size_in_bytes(&self) -> u64 {
        self.size_in_bytes
    }

    /// Returns how a host caches the disk.
    pub fn host_caching(&self) -> HostCaching {
        self.host_caching
    }

    fn read(json: &DiskJson) -> Self {
        let size_in_bytes = json.size_in_bytes.unwrap_or(json.size_in_gb.unwrap_or(0).saturating_mul(1 << 30));
        Self { size_in_bytes, host_caching: json.host_caching.unwrap_or_default() }
    }

    fn write(&self, into: &mut DiskJson) {
        into.size_in_gb = Some(self.size_in_bytes.div_ceil(1 << 30));
        into.size_in_bytes = Some(self.size_in_bytes);
        into.host_caching = Some(self.host_caching);
    }
}

impl DataDiskImage {
    /// Returns a disk at a logical unit number.
    pub fn new(lun: u32, image: DiskImage) -> Self {
        Self { lun, image }
    }

    /// Returns the logical unit number.
    pub fn lun(&self) -> u32 {
        self.lun
    }

    /// Returns the disk.
    pub fn image(&self) -> &DiskImage {
        &self.image
    }

    /// Returns the size of the disk in bytes.
    pub fn size_in_bytes(&self) -> u64 {
        self.image.size_in_bytes
    }
}

/// The disks of a version, and their source: one OS disk, and data disks with unique LUNs from 0 to 63 (Azure: LUNs are unique).
///
/// ```
/// use compute_gallery::model::{DataDiskImage, DiskImage, StorageProfile};
///
/// let data = |lun| DataDiskImage::new(lun, DiskImage::new(1 << 30));
/// let disks = StorageProfile::new(DiskImage::new(4 << 30), vec![data(0), data(1)])?;
/// assert_eq!(disks.data_disk_images().len(), 2);
/// let error = StorageProfile::new(DiskImage::new(4 << 30), vec![data(0), data(0), data(64)]).unwrap_err();
/// assert_eq!(error.problems().count(), 2, "a LUN twice, and one above 63");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StorageJson", into = "StorageJson")]
pub struct StorageProfile {
    source: Option<VersionSource>,
    os_disk_image: DiskImage,
    data_disk_images: Box<[DataDiskImage]>,
}

impl StorageProfile {
    /// Returns a profile of these disks, without a source.
    ///
    /// # Errors
    ///
    /// `Invalid`, with a problem for each LUN that is repeated or above 63.
    pub fn new(os_disk_image: DiskImage, data_disk_images: Vec<DataDiskImage>) -> Result<Self> {
        Self::at(STORAGE_PROFILE, os_disk_image, data_disk_images)
    }

    /// Does what [`new`](Self::new) does for a profile at `path` of a body.
    fn at(path: &str, os_disk_image: DiskImage, data_disk_images: Vec<DataDiskImage>) -> Result<Self> {
        Error::from_problems(lun_problems(path, data_disk_images.iter().map(DataDiskImage::lun)))?;
        Ok(Self { source: None, os_disk_image, data_disk_images: data_disk_images.into() })
    }

    fn read(path: &str, json: &StorageJson) -> Result<Self> {
        let os_disk = json.os_disk_image.as_ref().map(DiskImage::read).unwrap_or_else(|| DiskImage::new(0));
        let data_disks = json.data_disk_images.iter();
        let data_disks = data_disks.map(|disk| DataDiskImage::new(disk.lun.unwrap_or(0), DiskImage::read(disk)));
        Ok(Self::at(path, os_disk, data_disks.collect())?.with_source(VersionSource::read(path, json)?))
    }

    /// Sets the source of the disks.
    #[must_use]
    pub fn with_source(mut self, source: Option<VersionSource>) -> Self {
        self.source = source;
        self
    }

    /// Returns the disks, made of the source of `announced` and cached by hosts as its disks are.
    pub(crate) fn made_as(mut self, announced: &Self) -> Self {
        self.os_disk_image.host_caching = announced.os_disk_image.host_caching;
        for disk in &mut self.data_disk_images {
            let wanted = announced.data_disk_images.iter().find(|wanted| wanted.lun == disk.lun);
            disk.image.host_caching = wanted.map_or(disk.image.host_caching, |wanted| wanted.image.host_caching);
        }
        self.source = announced.source.clone();
        self
    }

    /// Lets an equal source of two profiles share memory.
    pub(super) fn share(&mut self, other: &Self) {
        self.source.share(&other.source);
    }

    /// Returns the source of the disks; `None` for disks without a name in Azure's terms, such as local files.
    pub fn source(&self) -> Option<&VersionSource> {
        self.source.as_ref()
    }

    /// Returns the OS disk.
    pub fn os_disk_image(&self) -> &DiskImage {
        &self.os_disk_image
    }

    /// Returns the data disks.
    pub fn data_disk_images(&self) -> &[DataDiskImage] {
        &self.data_disk_images
    }
}

impl FromBody for StorageProfile {
    fn from_body(path: &str, value: &serde_json::Value) -> Result<Self> {
        Self::read(path, &StorageJson::from_body(path, value)?)
    }
}

impl TryFrom<StorageJson> for StorageProfile {
    type Error = Error;

    fn try_from(json: StorageJson) -> Result<Self> {
        Self::read(STORAGE_PROFILE, &json)
    }
}

impl From<StorageProfile> for StorageJson {
    fn from(profile: StorageProfile) -> Self {
        let mut json = profile.source.as_ref().map(VersionSource::write).unwrap_or_default();
        profile.os_disk_image.write(json.os_disk_image.get_or_insert_default());
        for data_disk in &profile.data_disk_images {
            let position = json.data_disk_images.iter().position(|disk| disk.lun == Some(data_disk.lun));
            match position.and_then(|position| json.data_disk_images.get_mut(position)) {
                Some(there) => data_disk.image.write(there),
                None => {
                    let mut disk = DiskJson { lun: Some(data_disk.lun), ..DiskJson::default() };
                    data_disk.image.write(&mut disk);
                    json.data_disk_images.push(disk);
                }
            }
        }
        json
    }
}
