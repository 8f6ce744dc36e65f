//! The keys that a host encrypts a region's replicas with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::body::{from_body, from_body_by};
use super::name::SubscriptionId;
use super::text::{from_text, serde_as_text};
use crate::error::{Error, Problem, Result};

/// The keys that a host encrypts a region's replicas with (Azure: `EncryptionImages`). The gallery keeps them for the host: it encrypts
/// with the keys of its own [provider](crate::GalleryServiceBuilder::encryption), and without one refuses a version that names a set, unless it
/// is to [record](crate::GalleryServiceBuilder::record_disk_encryption_sets) it.
///
/// ```
/// use compute_gallery::model::{DiskEncryptionSetId, EncryptionImages, TargetRegion};
///
/// let set: DiskEncryptionSetId =
///     "/subscriptions/dev/resourceGroups/keys/providers/Microsoft.Compute/diskEncryptionSets/web".parse()?;
/// let encryption = EncryptionImages::new().with_os_disk(set.clone()).with_data_disk(0, set.clone());
/// let target = TargetRegion::new("westeurope".parse()?).with_encryption(encryption);
/// assert_eq!(target.encryption().and_then(|keys| keys.data_disk_encryption_set(0)), Some(&set));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    disk_encryption_set_id: Option<DiskEncryptionSetId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataDiskEncryption {
    lun: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk_encryption_set_id: Option<DiskEncryptionSetId>,
}

from_body!(EncryptionImages { optional os_disk_image: "osDiskImage", default data_disk_images: "dataDiskImages" });

from_body!(DiskEncryption { optional disk_encryption_set_id: "diskEncryptionSetId" });

from_body!(DataDiskEncryption { required lun: "lun", optional disk_encryption_set_id: "diskEncryptionSetId" });

impl EncryptionImages {
    /// Returns an encryption without a key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the OS disk's disk encryption set.
    #[must_use]
    pub fn with_os_disk(mut self, set: DiskEncryptionSetId) -> Self {
        self.os_disk_image = Some(DiskEncryption { disk_encryption_set_id: Some(set) });
        self
    }

    /// Sets the disk encryption set of the data disk at `lun`.
    #[must_use]
    pub fn with_data_disk(mut self, lun: u32, set: DiskEncryptionSetId) -> Self {
        self.data_disk_images.retain(|disk| disk.lun != lun);
        self.data_disk_images.push(DataDiskEncryption { lun, disk_encryption_set_id: Some(set) });
        self
    }

    /// Returns the OS disk's disk encryption set.
    pub fn os_disk_encryption_set(&self) -> Option<&DiskEncryptionSetId> {
        self.os_disk_image.as_ref()?.disk_encryption_set_id.as_ref()
    }

    /// Returns the disk encryption set of the data disk at `lun`.
    pub fn data_disk_encryption_set(&self, lun: u32) -> Option<&DiskEncryptionSetId> {
        self.data_disk_images.iter().find(|disk| disk.lun == lun)?.disk_encryption_set_id.as_ref()
    }

    /// Returns the LUNs of the data disks that it names, in their order.
    pub(crate) fn luns(&self) -> impl Iterator<Item = u32> {
        self.data_disk_images.iter().map(|disk| disk.lun)
    }

    /// Returns every disk encryption set that it names.
    pub(crate) fn disk_encryption_sets(&self) -> impl Iterator<Item = &DiskEncryptionSetId> {
        let data_disks = self.data_disk_images.iter().filter_map(|disk| disk.disk_encryption_set_id.as_ref());
        self.os_disk_encryption_set().into_iter().chain(data_disks)
    }
}

/// The id of a disk encryption set:
/// `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/diskEncryptionSets/…`.
///
/// Azure: its own examples write `diskEncryptionSet`, which is accepted, too. Compared without case, written as it was given.
///
/// ```
/// use compute_gallery::model::DiskEncryptionSetId;
///
/// let id = "/subscriptions/dev/resourceGroups/keys/providers/Microsoft.Compute/diskEncryptionSets/web";
/// assert_eq!(id.parse::<DiskEncryptionSetId>()?.subscription().as_str(), "dev");
/// assert!("web".parse::<DiskEncryptionSetId>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Eq)]
pub struct DiskEncryptionSetId {
    given: String,
    subscription: SubscriptionId,
}

impl DiskEncryptionSetId {
    /// Returns the subscription that the set is in.
    pub fn subscription(&self) -> &SubscriptionId {
        &self.subscription
    }
}

impl PartialEq for DiskEncryptionSetId {
    fn eq(&self, other: &Self) -> bool {
        self.given.eq_ignore_ascii_case(&other.given)
    }
}

impl FromStr for DiskEncryptionSetId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        let is = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
        let subscription = match segments.as_slice() {
            ["", first, subscription, second, group, third, provider, kind, name]
                if is(first, "subscriptions")
                    && is(second, "resourceGroups")
                    && is(third, "providers")
                    && is(provider, "Microsoft.Compute")
                    && (is(kind, "diskEncryptionSets") || is(kind, "diskEncryptionSet"))
                    && !group.is_empty()
                    && !name.is_empty() =>
            {
                subscription.parse().ok()
            }
            _ => None,
        };
        let given = text.to_owned();
        subscription.map(|subscription| Self { given, subscription }).ok_or_else(|| {
            let target = "encryption.diskEncryptionSetId";
            let problem = Problem::invalid(target, format!("The value of parameter '{target}' is invalid."));
            let form = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/diskEncryptionSets/{name}";
            Error::new(problem.with_advice(format!("`{}` is not of the form `{form}`: write it so", text.escape_debug())))
        })
    }
}

impl fmt::Display for DiskEncryptionSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

serde_as_text!(DiskEncryptionSetId);
from_text!(DiskEncryptionSetId);
from_body_by!(text: DiskEncryptionSetId);
