//! The records of a state: what the catalog knows of each resource beside the resource itself.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::{ImageContent, ZoneBlobs};
use super::failure::Failure;
use crate::access::GallerySharing;
use crate::content::blob_name::BlobName;
use crate::content::names::SlotId;
use crate::model::{
    CarriedIdentity, Gallery, ImageDefinition, ImageVersion, NamedSource, Region, ResourceGroup, ResourceId,
};
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
    /// The number of the commit that created it or last changed it.
    pub(super) revision: u64,
    pub(super) gallery: Arc<Gallery>,
    pub(super) sharing: GallerySharing,
}

#[derive(Clone, Debug)]
pub(super) struct DefinitionRecord {
    pub(super) number: Number,
    /// The number of the commit that created it or last changed it.
    pub(super) revision: u64,
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
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VersionRecord {
    pub(crate) version: Arc<ImageVersion>,
    pub(crate) content: ImageContent,
    /// The number of the commit that published it.
    pub(crate) published: u64,
    /// The number of the commit that published it or last changed it: a record that equals an earlier one may have been
    /// different in between.
    pub(super) changed: u64,
    /// How far it is in each region that anything became of, by region.
    pub(super) regions: Box<[InRegion]>,
    /// The identity that its source VM left in it.
    pub(super) carried: Option<Box<CarriedIdentity>>,
    /// The end of its retention, if it was deleted.
    pub(crate) soft_deleted: Option<DateTime<Utc>>,
    /// The time of its deletion, if it was deleted.
    pub(crate) deleted: Option<DateTime<Utc>>,
}

/// A version that was announced and has no content yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IncompleteRecord {
    #[serde(serialize_with = "ImageVersion::compact")]
    pub(crate) version: Arc<ImageVersion>,
    /// The time of its first announcement.
    pub(crate) announced: DateTime<Utc>,
    /// The number of the commit that announced it or last changed it.
    pub(crate) revision: u64,
    /// Why it could not be made, if the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
}

/// A resource group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    #[serde(serialize_with = "ResourceGroup::compact")]
    pub(crate) group: Arc<ResourceGroup>,
    /// The number of the commit that created it or last changed it.
    pub(crate) revision: u64,
    /// The properties that the model does not have, as JSON.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub(crate) unmodelled: Box<str>,
}

/// A source by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NamedRecord {
    pub(crate) source: Arc<NamedSource>,
    /// The number of the commit that named it or last changed it.
    pub(crate) revision: u64,
}

/// How far a version is in a region.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InRegion {
    pub(super) region: Region,
    /// The number of complete replicas that are still wanted; `None` before the first completion.
    pub(super) ready: Option<u32>,
    /// The bytes that crossed the region's border.
    pub(super) crossed: u64,
    /// The reason of the last failure, if the last attempt failed.
    pub(super) failed: Option<Box<str>>,
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
        Self {
            version: Arc::new(version),
            content,
            published: changed,
            changed,
            regions: Box::default(),
            carried: carried.map(Box::new),
            soft_deleted: None,
            deleted: None,
        }
    }

    /// Lets equal parts of two records share memory.
    pub(super) fn share(&mut self, other: &Self) {
        Arc::make_mut(&mut self.version).share(&other.version);
        self.share_regions();
    }

    /// Lets the regions that something became of share the memory of the target regions.
    fn share_regions(&mut self) {
        let targets = self.version.publishing_profile().target_regions();
        for one in &mut self.regions {
            if let Some(target) = targets.find(&one.region) {
                one.region = target.region().clone();
            }
        }
    }

    fn in_region(&self, region: &Region) -> Option<&InRegion> {
        self.regions.iter().find(|one| one.region == *region)
    }

    /// Changes what became of a region.
    fn change_in(&mut self, region: &Region, change: impl Fn(&mut InRegion)) {
        let mut regions = std::mem::take(&mut self.regions).into_vec();
        let at = regions.partition_point(|one| one.region < *region);
        if regions.get(at).is_none_or(|one| one.region != *region) {
            regions.insert(at, InRegion { region: region.clone(), ready: None, crossed: 0, failed: None });
        }
        regions.get_mut(at).into_iter().for_each(change);
        self.regions = regions.into();
        self.share_regions();
    }

    /// Notes that all its replicas in a region are complete, and what crossed the region's border for them.
    pub(super) fn complete_in(&mut self, region: &Region, replicas: u32, crossed: u64) {
        self.change_in(region, |one| {
            (one.ready, one.failed) = (Some(replicas), None);
            one.crossed += crossed;
        });
    }

    /// Notes that an attempt to bring it to a region failed.
    pub(super) fn fail_in(&mut self, region: &Region, reason: &str) {
        self.change_in(region, |one| one.failed = Some(reason.into()));
    }

    /// Notes that it is tried again to bring it to a region.
    pub(super) fn retry_in(&mut self, region: &Region) {
        self.regions.iter_mut().filter(|one| one.region == *region).for_each(|one| one.failed = None);
    }

    /// Replaces the version by one with other properties.
    pub(super) fn update(&mut self, version: ImageVersion, number: u64) {
        let profile = version.publishing_profile();
        for one in &mut self.regions {
            let wanted = profile.replicas_in(&one.region);
            one.ready = one.ready.zip(wanted).map(|(ready, wanted)| ready.min(wanted));
            if wanted.is_none_or(|wanted| one.ready.is_some_and(|ready| ready >= wanted)) {
                one.failed = None;
            }
        }
        let mut regions = std::mem::take(&mut self.regions).into_vec();
        regions.retain(|one| one.ready.is_some() || one.crossed > 0 || one.failed.is_some());
        self.regions = regions.into();
        self.version = Arc::new(version);
        self.changed = number;
        self.share_regions();
    }

    /// Returns the identity that its source VM left in it.
    pub(crate) fn carried(&self) -> Option<&CarriedIdentity> {
        self.carried.as_deref()
    }

    /// Returns the number of the commit that published it or last changed it.
    pub(crate) fn revision(&self) -> u64 {
        self.changed
    }

    /// Returns whether it was published or updated after commit `number`.
    pub(crate) fn is_changed_since(&self, number: u64) -> bool {
        self.changed > number
    }

    /// Returns the number of replicas in `region` that serve deployments: none before the first completion. If more are
    /// requested later, the complete ones keep serving.
    pub(crate) fn replicas_ready(&self, region: &Region) -> u32 {
        self.in_region(region).and_then(|one| one.ready).unwrap_or(0)
    }

    /// Returns whether all its replicas in `region` are complete.
    pub(crate) fn is_complete_in(&self, region: &Region) -> bool {
        let wanted = self.version.publishing_profile().replicas_in(region);
        wanted.is_some_and(|wanted| self.replicas_ready(region) >= wanted)
    }

    /// Returns whether a target region lacks replicas, of a version that is not deleted.
    pub(crate) fn lacks_replicas(&self) -> bool {
        let targets = self.version.publishing_profile().target_regions();
        self.soft_deleted.is_none() && targets.iter().any(|target| !self.is_complete_in(target.region()))
    }

    /// Returns the regions in which it can be deployed.
    pub(crate) fn ready_regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter().filter(|one| one.ready.is_some()).map(|one| &one.region)
    }

    /// Returns the reason of the last failure in a region, until the next attempt.
    pub(crate) fn failure_in(&self, region: &Region) -> Option<&str> {
        self.in_region(region)?.failed.as_deref()
    }

    /// Returns the bytes that crossed a region's border for it.
    pub(crate) fn crossed(&self, region: &Region) -> u64 {
        self.in_region(region).map_or(0, |one| one.crossed)
    }

    /// Returns whether it can be the latest in `region`.
    pub(super) fn is_candidate_in(&self, region: &Region) -> bool {
        self.soft_deleted.is_none()
            && self.replicas_ready(region) > 0
            && !self.version.publishing_profile().is_excluded_from_latest_in(region)
    }
}
