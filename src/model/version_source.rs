//! Sources of image versions.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::body::from_body;
use super::host_caching::HostCaching;
use super::resource_id::{ImageVersionId, ResourceId};
use super::shared::Spelled;
use super::top_level_id::{DiskId, ManagedImageId, SnapshotId, StorageAccountId, VirtualMachineId};
use crate::error::{Error, Problem, Result};

/// Where an image version's storage profile stands in a body.
pub(super) const STORAGE_PROFILE: &str = "galleryImageVersion.properties.storageProfile";

/// The source of an image version, in Azure's terms. Azure: a version has a source of one kind.
///
/// ```
/// use compute_gallery::model::{DiskReference, SourceDisk, SourceDisks, VersionSource};
///
/// let snapshots = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/snapshots";
/// let disk = |name: &str| -> Result<SourceDisk, compute_gallery::Error> {
///     Ok(SourceDisk::new(DiskReference::Snapshot(format!("{snapshots}/{name}").parse()?)))
/// };
/// let disks = SourceDisks::new(disk("os")?, vec![(0, disk("data")?)])?;
/// let source = VersionSource::Disks(disks);
/// assert!(matches!(source, VersionSource::Disks(disks) if disks.data_disks().len() == 1));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionSource {
    /// A managed image, with all its disks.
    ManagedImage(ManagedImageId),
    /// Another image version, with all its disks.
    ImageVersion(ImageVersionId),
    /// A VM, with all its disks.
    VirtualMachine(VirtualMachineId),
    /// An image version of a community gallery, by its public name.
    CommunityGalleryImage(String),
    /// One source for each disk.
    Disks(SourceDisks),
}

/// One source for each disk of a version. Azure: LUNs are unique, and so are the disks.
///
/// ```
/// use compute_gallery::model::{DiskReference, SourceDisk, SourceDisks};
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/disks/web-os".parse()?;
/// let disk = SourceDisk::new(DiskReference::Disk(id));
/// assert!(SourceDisks::new(disk.clone(), vec![(0, disk)]).unwrap_err().to_string().contains("Duplicated source ids"));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDisks {
    // Rare, and large: the other sources are an id.
    os_disk: Box<SourceDisk>,
    data_disks: Box<[(u32, SourceDisk)]>,
}

/// The source of one disk, and how a host caches the disk of the version.
///
/// ```
/// use compute_gallery::model::{DiskReference, HostCaching, SourceDisk};
///
/// let uri = "https://contoso.blob.example/vhds/web.vhd".to_owned();
/// let disk = SourceDisk::new(DiskReference::Vhd { uri, storage_account: None });
/// assert_eq!(disk.with_host_caching(HostCaching::ReadWrite).host_caching(), HostCaching::ReadWrite);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDisk {
    reference: DiskReference,
    host_caching: Option<HostCaching>,
}

/// The place of a disk's bytes.
///
/// ```
/// use compute_gallery::model::DiskReference;
///
/// let uri = "https://contoso.blob.example/vhds/web.vhd";
/// assert_eq!(DiskReference::Vhd { uri: uri.to_owned(), storage_account: None }.to_string(), uri);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DiskReference {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A managed disk.
    Disk(DiskId),
    /// A VHD in a storage account.
    Vhd {
        /// The address of the page blob.
        uri: String,
        /// The storage account, whose keys the caller has to be allowed to list.
        storage_account: Option<StorageAccountId>,
    },
}

impl fmt::Display for DiskReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(id) => id.fmt(f),
            Self::Disk(id) => id.fmt(f),
            Self::Vhd { uri, .. } => f.write_str(uri),
        }
    }
}

impl SourceDisk {
    /// Returns a source without host caching.
    pub fn new(reference: DiskReference) -> Self {
        Self { reference, host_caching: None }
    }

    /// Sets how a host caches the disk of the version.
    #[must_use]
    pub fn with_host_caching(mut self, caching: HostCaching) -> Self {
        self.host_caching = Some(caching);
        self
    }

    /// Returns the place of the bytes.
    pub fn reference(&self) -> &DiskReference {
        &self.reference
    }

    /// Returns how a host caches the disk of the version.
    pub fn host_caching(&self) -> HostCaching {
        self.host_caching.unwrap_or_default()
    }
}

impl fmt::Display for VersionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ManagedImage(id) => id.fmt(f),
            Self::ImageVersion(id) => id.fmt(f),
            Self::VirtualMachine(id) => id.fmt(f),
            Self::CommunityGalleryImage(id) => f.write_str(id),
            Self::Disks(disks) => disks.os_disk.reference.fmt(f),
        }
    }
}

impl Spelled for VersionSource {
    fn is_spelled_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ManagedImage(one), Self::ManagedImage(other)) => one.is_spelled_as(other),
            (Self::ImageVersion(one), Self::ImageVersion(other)) => one.is_spelled_as(other),
            (Self::VirtualMachine(one), Self::VirtualMachine(other)) => one.is_spelled_as(other),
            _ => false,
        }
    }
}

impl SourceDisks {
    /// Returns sources for an OS disk, and for data disks with their logical unit numbers.
    ///
    /// # Errors
    ///
    /// `Invalid`, with a problem for each LUN or disk that is repeated and each LUN above 63.
    pub fn new(os_disk: SourceDisk, data_disks: Vec<(u32, SourceDisk)>) -> Result<Self> {
        Self::at(STORAGE_PROFILE, os_disk, data_disks)
    }

    /// Does what [`new`](Self::new) does for disks of the profile at `path` of a body.
    fn at(path: &str, os_disk: SourceDisk, data_disks: Vec<(u32, SourceDisk)>) -> Result<Self> {
        let mut problems = lun_problems(path, data_disks.iter().map(|(lun, _)| *lun));
        let mut seen = BTreeSet::new();
        for disk in std::iter::once(&os_disk).chain(data_disks.iter().map(|(_, disk)| disk)) {
            if !seen.insert(&disk.reference) {
                let what = match &disk.reference {
                    DiskReference::Vhd { uri, .. } => {
                        format!("OSDiskImage and DataDiskImage cannot point to same blob {uri}")
                    }
                    _ => {
                        "Duplicated source ids are found in the input disks. Source id should be unique for each disk."
                            .to_owned()
                    }
                };
                let advice = format!("`{}` is named twice: name another source for one of the disks", disk.reference);
                problems.push(Problem::invalid(path, what).with_advice(advice));
            }
        }
        Error::from_problems(problems)?;
        Ok(Self { os_disk: Box::new(os_disk), data_disks: data_disks.into() })
    }

    /// Returns the source of the OS disk.
    pub fn os_disk(&self) -> &SourceDisk {
        &self.os_disk
    }

    /// Returns the logical unit numbers and the sources of the data disks.
    pub fn data_disks(&self) -> &[(u32, SourceDisk)] {
        &self.data_disks
    }
}

/// Returns the problems of the LUNs of an image's data disks.
pub(super) fn lun_problems(path: &str, luns: impl Iterator<Item = u32>) -> Vec<Problem> {
    let (mut seen, mut problems) = (BTreeSet::new(), Vec::new());
    for (position, lun) in luns.enumerate() {
        let target = format!("{path}.dataDiskImages[{position}].lun");
        if !seen.insert(lun) {
            let what = "Duplicated lun numbers have been detected in the input data disks. Lun number must be unique for each \
                        data disk.";
            let advice = format!("LUN `{lun}` is used twice: give one of the disks another");
            problems.push(Problem::invalid(&*target, what).with_advice(advice));
        }
        if lun > 63 {
            problems.push(Problem::invalid(target, format!("LUN `{lun}` is above 63: use one from 0 to 63")));
        }
    }
    problems
}

/// Azure's `storageProfile`, of a request or of a version that exists.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StorageJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<SourceJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) os_disk_image: Option<DiskJson>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) data_disk_images: Vec<DiskJson>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<ResourceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    virtual_machine_id: Option<VirtualMachineId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    community_gallery_image_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_account_id: Option<StorageAccountId>,
}

/// A disk: a request has its source, a version that exists its size.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiskJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lun: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<SourceJson>,
    #[serde(default, rename = "sizeInGB", skip_serializing_if = "Option::is_none")]
    pub(super) size_in_gb: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size_in_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host_caching: Option<HostCaching>,
}

from_body!(StorageJson {
    optional source: "source",
    optional os_disk_image: "osDiskImage",
    default data_disk_images: "dataDiskImages",
});

from_body!(SourceJson {
    optional id: "id",
    optional virtual_machine_id: "virtualMachineId",
    optional community_gallery_image_id: "communityGalleryImageId",
    optional uri: "uri",
    optional storage_account_id: "storageAccountId",
});

from_body!(DiskJson {
    optional lun: "lun",
    optional source: "source",
    optional size_in_gb: "sizeInGB",
    optional size_in_bytes: "sizeInBytes",
    optional host_caching: "hostCaching",
});

/// Azure's sentence for a source that is named in two ways, or in none.
const ONE_SOURCE: &str = "The gallery artifact version source can only be specified either directly under storageProfile or \
                          within individual OS or data disks. One and only one source type (user image, snapshot, disk, \
                          virtual machine) can be provided.";

/// Returns the problem of a source in the wrong place, of two sources or of none.
pub(super) fn one_source(target: impl Into<String>, advice: &str) -> Problem {
    Problem::invalid(target, ONE_SOURCE).with_advice(advice)
}

impl SourceJson {
    pub(super) fn of_id(id: ResourceId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }
}

impl VersionSource {
    /// Returns the source that the profile at `path` names; `None` where it names none.
    pub(super) fn read(path: &str, json: &StorageJson) -> Result<Option<Self>> {
        let by_disk = json.os_disk_image.iter().chain(&json.data_disk_images).any(|disk| disk.source.is_some());
        match (&json.source, by_disk) {
            (None, false) => Ok(None),
            (Some(source), false) => Self::of_all(path, source).map(Some),
            (None, true) => Self::of_disks(path, json).map(Some),
            (Some(_), true) => {
                let advice = "name a source for the whole image, or one for each disk";
                Err(Error::new(one_source(path, advice)))
            }
        }
    }

    fn of_all(path: &str, source: &SourceJson) -> Result<Self> {
        let target = format!("{path}.source");
        if source.uri.is_some() || source.storage_account_id.is_some() {
            let what = "`uri` and `storageAccountId` belong to the source of a disk image: move them there";
            return Err(Error::invalid(target, what));
        }
        match (&source.id, &source.virtual_machine_id, &source.community_gallery_image_id) {
            (Some(ResourceId::ManagedImage(id)), None, None) => Ok(Self::ManagedImage(id.clone())),
            (Some(ResourceId::ImageVersion(id)), None, None) => Ok(Self::ImageVersion(id.clone())),
            (Some(ResourceId::VirtualMachine(id)), None, None) | (None, Some(id), None) => {
                Ok(Self::VirtualMachine(id.clone()))
            }
            (None, None, Some(id)) => Ok(Self::CommunityGalleryImage(id.clone())),
            (Some(id), None, None) => {
                let what = format!(
                    "The source id: {id} must either be a managed image, virtual machine or another gallery image version"
                );
                Err(Error::invalid(format!("{target}.id"), what))
            }
            _ => Err(Error::new(one_source(target, "name one id, one VM or one community image"))),
        }
    }

    fn of_disks(path: &str, json: &StorageJson) -> Result<Self> {
        let disk = |json: &DiskJson, target: &str| -> Result<SourceDisk> {
            let target = format!("{path}.{target}.source");
            let source = json.source.clone().unwrap_or_default();
            let reference = match source {
                SourceJson { id: Some(ResourceId::Snapshot(id)), uri: None, .. } => DiskReference::Snapshot(id),
                SourceJson { id: Some(ResourceId::Disk(id)), uri: None, .. } => DiskReference::Disk(id),
                SourceJson { id: None, uri: Some(uri), storage_account_id: storage_account, .. } => {
                    DiskReference::Vhd { uri, storage_account }
                }
                SourceJson { id: Some(id), uri: None, .. } => {
                    let what = format!("The source id: {id} must be a managed disk or snapshot.");
                    return Err(Error::invalid(format!("{target}.id"), what));
                }
                _ => {
                    return Err(Error::new(one_source(target, "a disk image has one source: `id`, or `uri` of a VHD")));
                }
            };
            Ok(SourceDisk { reference, host_caching: json.host_caching })
        };
        let (mut problems, mut data_disks) = (Vec::new(), Vec::new());
        let os_disk = match &json.os_disk_image {
            Some(os_disk) => disk(os_disk, "osDiskImage"),
            None => {
                let what = "no OS disk has a source, but data disks have: name the source of the OS disk";
                Err(Error::invalid(format!("{path}.osDiskImage"), what))
            }
        };
        for (position, json) in json.data_disk_images.iter().enumerate() {
            let place = format!("dataDiskImages[{position}]");
            match json.lun {
                Some(lun) => match disk(json, &place) {
                    Ok(disk) => data_disks.push((lun, disk)),
                    Err(error) => problems.extend(error.into_problems()),
                },
                None => {
                    let target = format!("{path}.{place}.lun");
                    let what = format!("Required parameter '{target}' is missing (null).");
                    problems.push(Problem::invalid(target, what));
                }
            }
        }
        let disks = os_disk.and_then(|os_disk| SourceDisks::at(path, os_disk, data_disks));
        let disks = disks.map_err(|error| problems.splice(0..0, error.into_problems()).for_each(drop));
        Error::from_problems(problems)?;
        let disks = disks.map_err(|()| Error::invalid(path, "a source is missing"))?;
        Ok(Self::Disks(disks))
    }

    pub(super) fn write(&self) -> StorageJson {
        let all = |source| StorageJson { source: Some(source), ..StorageJson::default() };
        match self {
            Self::ManagedImage(id) => all(SourceJson::of_id(id.clone().into())),
            Self::ImageVersion(id) => all(SourceJson::of_id(id.clone().into())),
            Self::VirtualMachine(id) => all(SourceJson { virtual_machine_id: Some(id.clone()), ..Default::default() }),
            Self::CommunityGalleryImage(id) => {
                all(SourceJson { community_gallery_image_id: Some(id.clone()), ..Default::default() })
            }
            Self::Disks(SourceDisks { os_disk, data_disks }) => StorageJson {
                source: None,
                os_disk_image: Some(os_disk.write(None)),
                data_disk_images: data_disks.iter().map(|(lun, disk)| disk.write(Some(*lun))).collect(),
            },
        }
    }
}

impl SourceDisk {
    fn write(&self, lun: Option<u32>) -> DiskJson {
        let source = match self.reference.clone() {
            DiskReference::Snapshot(id) => SourceJson::of_id(id.into()),
            DiskReference::Disk(id) => SourceJson::of_id(id.into()),
            DiskReference::Vhd { uri, storage_account } => {
                SourceJson { uri: Some(uri), storage_account_id: storage_account, ..Default::default() }
            }
        };
        DiskJson { lun, source: Some(source), host_caching: self.host_caching, ..DiskJson::default() }
    }
}
