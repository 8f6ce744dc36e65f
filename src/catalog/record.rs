//! The records of a state: what the catalog knows of each resource beside the resource itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::{ImageContent, ZoneBlobs};
use crate::access::GallerySharing;
use crate::content::blob_name::BlobName;
use crate::content::names::SlotId;
use crate::model::{CarriedIdentity, Gallery, ImageDefinition, ImageVersion, Region, ResourceId};
use crate::store::BlobKey;

/// The condemned blobs of a region that are not yet removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Condemned {
    /// The fence: the number of the commit that condemned the blobs or took over their removal. Only the collection
    /// that made that commit removes them.
    pub(crate) epoch: u64,
    pub(crate) blobs: Vec<ZoneBlobs>,
}

impl Condemned {
    /// Returns each blob with its slot.
    pub(crate) fn names(&self) -> impl Iterator<Item = (SlotId, BlobName)> {
        self.blobs.iter().flat_map(|zone| zone.keys.iter().filter_map(|key| in_slot(zone.zone, key)))
    }
}

/// Parses a key of a zone's store: `slots/<n>/…`.
fn in_slot(zone: u32, key: &BlobKey) -> Option<(SlotId, BlobName)> {
    let (number, name) = key.as_str().strip_prefix("slots/")?.split_once('/')?;
    let slot = SlotId { zone: zone.checked_sub(1)? as usize, number: number.parse().ok()? };
    Some((slot, BlobName::of_key(&name.parse().ok()?)?))
}

/// The number of a gallery or a definition: never used twice, so that what is in one that was deleted is in no other.
pub(super) type Number = u64;

#[derive(Clone, Debug)]
pub(super) struct GalleryRecord {
    pub(super) number: Number,
    pub(super) gallery: Arc<Gallery>,
    pub(super) sharing: GallerySharing,
}

#[derive(Clone, Debug)]
pub(super) struct DefinitionRecord {
    pub(super) number: Number,
    pub(super) definition: Arc<ImageDefinition>,
}

/// A resource with disks in one region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageRecord<T> {
    pub(crate) resource: Arc<T>,
    pub(crate) content: ImageContent,
    /// The number of the commit that created it.
    pub(crate) created: u64,
}

/// A version, with its progress in each region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VersionRecord {
    #[serde(serialize_with = "ImageVersion::compact")]
    pub(crate) version: Arc<ImageVersion>,
    pub(crate) content: ImageContent,
    /// The number of the commit that published it.
    pub(crate) published: u64,
    /// The number of the commit that published it or last changed it: a record that equals an earlier one may have been
    /// different in between.
    #[serde(default)]
    pub(super) changed: u64,
    /// The regions that were completed, with the number of their complete replicas that are still wanted.
    pub(super) complete: BTreeMap<Region, u32>,
    /// The bytes that crossed each region's border.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) crossed: BTreeMap<Region, u64>,
    /// The reason of the last failure, for each region whose last attempt failed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) failed: BTreeMap<Region, String>,
    /// The identity that its source VM left in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) carried: Option<CarriedIdentity>,
    /// The end of its retention, if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) soft_deleted: Option<DateTime<Utc>>,
    /// The time of its deletion, if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deleted: Option<DateTime<Utc>>,
}

/// An open import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub(crate) target: ResourceId,
    pub(crate) region: Region,
    pub(super) started: DateTime<Utc>,
    /// The last time that another publisher resumed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) joined: Option<DateTime<Utc>>,
}

impl Upload {
    /// Returns the last time that a publisher started or resumed it.
    pub(crate) fn taken_up(&self) -> DateTime<Utc> {
        self.joined.unwrap_or(self.started)
    }
}

impl VersionRecord {
    pub(super) fn new(
        version: ImageVersion,
        content: ImageContent,
        carried: Option<CarriedIdentity>,
        changed: u64,
    ) -> Self {
        let (complete, crossed, failed) = Default::default();
        Self {
            version: Arc::new(version),
            content,
            published: changed,
            changed,
            complete,
            crossed,
            failed,
            carried,
            soft_deleted: None,
            deleted: None,
        }
    }

    /// Returns whether it was published or updated after commit `number`.
    pub(crate) fn is_changed_since(&self, number: u64) -> bool {
        self.changed > number
    }

    /// Returns the number of replicas in `region` that serve deployments: none before the first completion. If more are
    /// requested later, the complete ones keep serving.
    pub(crate) fn replicas_ready(&self, region: &Region) -> u32 {
        self.complete.get(region).copied().unwrap_or(0)
    }

    /// Returns whether all its replicas in `region` are complete.
    pub(crate) fn is_complete_in(&self, region: &Region) -> bool {
        let wanted = self.version.publishing_profile().replicas_in(region);
        wanted.is_some_and(|wanted| self.replicas_ready(region) >= wanted)
    }

    /// Returns the regions in which it can be deployed.
    pub(crate) fn ready_regions(&self) -> impl Iterator<Item = &Region> {
        self.complete.keys()
    }

    /// Returns the reason of the last failure in a region, until the next attempt.
    pub(crate) fn failure_in(&self, region: &Region) -> Option<&str> {
        self.failed.get(region).map(String::as_str)
    }

    /// Returns the bytes that crossed a region's border for it.
    pub(crate) fn crossed(&self, region: &Region) -> u64 {
        self.crossed.get(region).copied().unwrap_or(0)
    }

    /// Returns whether it can be the latest in `region`.
    pub(super) fn is_candidate_in(&self, region: &Region) -> bool {
        self.soft_deleted.is_none()
            && self.replicas_ready(region) > 0
            && !self.version.publishing_profile().is_excluded_from_latest_in(region)
    }
}
