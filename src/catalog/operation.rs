//! Operations and duties: what was asked for and is under way, and which driver is at work on it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::access::AccessScope;
use crate::content::names::UploadId;
use crate::error::{Error, Result};
use crate::model::{ImageVersionId, Region, ResourceGroupId, ResourceId};

/// The random id of an operation: 32 hexadecimal digits, written as a UUID.
///
/// ```
/// use compute_gallery::read::OperationId;
///
/// let id: OperationId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
/// assert_eq!(id.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// assert!("67e5".parse::<OperationId>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(UploadId);

impl OperationId {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(UploadId::from_bytes(bytes))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(*self.0.as_bytes());
        let part = |from: u32, digits: u32| (number >> (128 - 4 * (from + digits))) & ((1 << (4 * digits)) - 1);
        let (a, b, c, d, e) = (part(0, 8), part(8, 4), part(12, 4), part(16, 4), part(20, 12));
        write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OperationId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |error: Error| {
            let what = format!("`{}` is no id of an operation: it has 32 hexadecimal digits", text.escape_debug());
            Error::invalid("operation", what).with_source(error)
        };
        text.replace('-', "").parse().map(Self).map_err(wrong)
    }
}

impl TryFrom<&str> for OperationId {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

/// What an operation does to its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum OperationKind {
    /// A resource is created; a version is made of its source, and brought to its regions.
    Create,
    /// A resource gets other properties; a version is brought to regions that it lacks.
    Update,
    /// A resource is deleted.
    Delete,
    /// A gallery is shared with others, or no longer.
    Share,
}

/// What an operation is on.
///
/// ```
/// use compute_gallery::model::GalleryId;
/// use compute_gallery::read::OperationTarget;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso";
/// let target = OperationTarget::from(id.parse::<GalleryId>()?);
/// assert_eq!(target.to_string(), id);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum OperationTarget {
    /// A gallery, a definition, a version, a managed image, a snapshot or a disk.
    Resource(ResourceId),
    /// A resource group.
    ResourceGroup(ResourceGroupId),
}

impl OperationTarget {
    /// Returns the version, if it is one.
    pub(crate) fn version(&self) -> Option<&ImageVersionId> {
        match self {
            Self::Resource(ResourceId::ImageVersion(version)) => Some(version),
            _ => None,
        }
    }

    pub(crate) fn scope(&self) -> AccessScope {
        match self {
            Self::Resource(id) => id.clone().into(),
            Self::ResourceGroup(group) => AccessScope::of_group(group),
        }
    }

    /// Returns the target that is a scope; `None` for a subscription and above.
    pub(crate) fn of(scope: &AccessScope) -> Option<Self> {
        match scope {
            AccessScope::Resource(id) => Some(Self::Resource(id.clone())),
            AccessScope::ResourceGroup(subscription, group) => {
                Some(Self::ResourceGroup(ResourceGroupId::new(subscription.clone(), group.clone())))
            }
            AccessScope::Subscription(_) | AccessScope::ManagementGroup(_) | AccessScope::TenantRoot(_) => None,
        }
    }
}

impl<T: Into<ResourceId>> From<T> for OperationTarget {
    fn from(id: T) -> Self {
        Self::Resource(id.into())
    }
}

impl From<ResourceGroupId> for OperationTarget {
    fn from(group: ResourceGroupId) -> Self {
        Self::ResourceGroup(group)
    }
}

impl fmt::Display for OperationTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(id) => id.fmt(f),
            Self::ResourceGroup(group) => group.fmt(f),
        }
    }
}

/// How much a deletion deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Extent {
    /// Children, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cascade: bool,
    /// Versions permanently.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) bypass_soft_delete: bool,
}

/// The state of an operation, as Azure names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationStatus {
    /// It is under way, or waits for a driver.
    InProgress,
    /// The resource is as it was asked for, in all regions.
    Succeeded,
    /// It was given up, for the reason in the error.
    Failed,
    /// It was cancelled, or the resource was put again or deleted meanwhile.
    Canceled,
}

impl fmt::Display for OperationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        })
    }
}

/// How an operation ended otherwise than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum BadEnd {
    Failed,
    Canceled,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationRecord {
    pub(crate) id: OperationId,
    pub(crate) kind: OperationKind,
    pub(crate) resource: OperationTarget,
    /// What a deletion that is under way is to delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extent: Option<Extent>,
    /// The time of the commit that began it.
    pub(crate) began: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Ended>,
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    /// The time of the commit.
    pub(crate) at: DateTime<Utc>,
    /// The number of the commit.
    pub(crate) number: u64,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bad: Option<(BadEnd, Failure)>,
}

impl OperationRecord {
    pub(crate) fn status(&self) -> OperationStatus {
        match &self.ended {
            None => OperationStatus::InProgress,
            Some(Ended { bad: None, .. }) => OperationStatus::Succeeded,
            Some(Ended { bad: Some((BadEnd::Failed, _)), .. }) => OperationStatus::Failed,
            Some(Ended { bad: Some((BadEnd::Canceled, _)), .. }) => OperationStatus::Canceled,
        }
    }
}

/// What one driver does at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Duty {
    /// Versions whose home is this region get their content.
    Complete(Region),
    /// Versions are replicated into this region.
    Replicate(Region),
    /// What is marked for deletion is deleted.
    Delete,
    /// Retentions end, and bytes that nothing needs are freed.
    Collect,
    /// All that this region keeps is read, and damage is mended.
    Scrub(Region),
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete(region) => write!(f, "complete versions in {region}"),
            Self::Replicate(region) => write!(f, "replicate into {region}"),
            Self::Delete => f.write_str("delete"),
            Self::Collect => f.write_str("collect"),
            Self::Scrub(region) => write!(f, "scrub {region}"),
        }
    }
}

/// The random id of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DriverId(pub(crate) UploadId);

/// A duty that was ever taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DutyRecord {
    pub(crate) duty: Duty,
    /// Its holder; `None` after it was laid down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) driver: Option<DriverId>,
    /// Whether the holder is a call, and not a driver.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) by_call: bool,
    /// The number of the commit that took or last renewed it.
    pub(crate) beat: u64,
    /// The version that is worked on, and how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<(ImageVersionId, u8)>,
    /// The time of the commit that last finished it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<DateTime<Utc>>,
}
