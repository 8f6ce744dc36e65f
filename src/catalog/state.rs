//! The state of a catalog: the fold of its commits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::event::{Event, ImageContent, StoreName, UploadName, ZoneBlobs};
use crate::access::{AccessPolicy, AccessScope, DenyAssignment, GallerySharing, RoleAssignment, WrittenPolicy};
use crate::content::blob_name::{BlobName, Incarnations};
use crate::content::digest::Digest;
use crate::content::names::SlotId;
use crate::error::{Error, Result};
use crate::model::{
    CarriedIdentity, Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageName, ImageVersion, ImageVersionId,
    ManagedImage, ManagedImageId, Region, ResourceId, Snapshot, SnapshotId, SubscriptionId, VersionNumber,
};
use crate::store::BlobKey;

/// Everything that exists after a commit. Immutable once shared; the next state shares the unchanged parts.
#[derive(Clone, Debug)]
pub(crate) struct State {
    number: u64,
    head: Digest,
    time: DateTime<Utc>,
    galleries: BTreeMap<GalleryId, Arc<GalleryRecord>>,
    managed_images: BTreeMap<ManagedImageId, Arc<ImageRecord<ManagedImage>>>,
    snapshots: BTreeMap<SnapshotId, Arc<ImageRecord<Snapshot>>>,
    uploads: BTreeMap<UploadName, Upload>,
    /// Every import that was ever announced, with the number of the commit. Blobs of any other import are not this
    /// catalog's.
    announced: Arc<BTreeMap<UploadName, u64>>,
    access: Arc<AccessPolicy>,
    /// The claimed stores of regions and zones, with the number of the commit.
    claims: BTreeMap<(Region, Option<u32>), (StoreName, u64)>,
    condemned: BTreeMap<Region, Arc<Condemned>>,
    /// The condemned names and the incarnations of each slot.
    incarnations: BTreeMap<(Region, SlotId), Arc<Incarnations>>,
    /// The number of the last commit that condemned blobs of each region.
    last_condemned: BTreeMap<Region, u64>,
}

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

#[derive(Clone, Debug)]
struct GalleryRecord {
    gallery: Arc<Gallery>,
    sharing: GallerySharing,
    definitions: BTreeMap<ImageName, Arc<DefinitionRecord>>,
}

#[derive(Clone, Debug)]
struct DefinitionRecord {
    definition: Arc<ImageDefinition>,
    versions: BTreeMap<VersionNumber, Arc<VersionRecord>>,
    /// For each region, the versions that can be the latest there: finding it takes the same time with any number of
    /// others.
    candidates: BTreeMap<Region, Arc<BTreeSet<VersionNumber>>>,
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
    changed: u64,
    /// The regions that were completed, with the number of their complete replicas that are still wanted.
    complete: BTreeMap<Region, u32>,
    /// The bytes that crossed each region's border.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    crossed: BTreeMap<Region, u64>,
    /// The reason of the last failure, for each region whose last attempt failed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    failed: BTreeMap<Region, String>,
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
    started: DateTime<Utc>,
    /// The last time that another publisher resumed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joined: Option<DateTime<Utc>>,
}

impl Upload {
    /// Returns the last time that a publisher started or resumed it.
    pub(crate) fn taken_up(&self) -> DateTime<Utc> {
        self.joined.unwrap_or(self.started)
    }
}

impl VersionRecord {
    fn new(version: ImageVersion, content: ImageContent, carried: Option<CarriedIdentity>, changed: u64) -> Self {
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
    fn is_candidate_in(&self, region: &Region) -> bool {
        self.soft_deleted.is_none()
            && self.replicas_ready(region) > 0
            && !self.version.publishing_profile().is_excluded_from_latest_in(region)
    }
}

impl DefinitionRecord {
    /// Inserts a version, or replaces the one of the same number.
    fn put(&mut self, record: VersionRecord) {
        let number = record.version.id().number();
        self.forget(number);
        for region in record.complete.keys().filter(|region| record.is_candidate_in(region)) {
            Arc::make_mut(self.candidates.entry(region.clone()).or_default()).insert(number);
        }
        self.versions.insert(number, Arc::new(record));
    }

    fn forget(&mut self, number: VersionNumber) {
        let Some(old) = self.versions.remove(&number) else { return };
        for region in old.complete.keys() {
            if let Some(candidates) = self.candidates.get_mut(region)
                && candidates.contains(&number)
            {
                Arc::make_mut(candidates).remove(&number);
            }
        }
    }
}

impl State {
    /// Returns the state before the first commit. `root` is the hash of the catalog's identity.
    pub(super) fn empty(root: Digest) -> Self {
        Self {
            number: 0,
            head: root,
            time: DateTime::<Utc>::MIN_UTC,
            galleries: BTreeMap::new(),
            managed_images: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            uploads: BTreeMap::new(),
            announced: Arc::default(),
            access: Arc::default(),
            claims: BTreeMap::new(),
            condemned: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            last_condemned: BTreeMap::new(),
        }
    }

    /// Returns the number of its last commit.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the hash of its last entry.
    pub(crate) fn head(&self) -> Digest {
        self.head
    }

    /// Returns the time of its last commit.
    pub(crate) fn time(&self) -> DateTime<Utc> {
        self.time
    }

    /// Returns the galleries after `after`, by id.
    pub(crate) fn galleries(&self, after: Option<&GalleryId>) -> impl Iterator<Item = &Arc<Gallery>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.galleries.range::<GalleryId, _>((from, Bound::Unbounded)).map(|(_, record)| &record.gallery)
    }

    /// Returns the open imports.
    pub(crate) fn uploads(&self) -> impl Iterator<Item = (UploadName, &Upload)> {
        self.uploads.iter().map(|(name, upload)| (*name, upload))
    }

    /// Returns every version, including soft-deleted ones.
    pub(crate) fn all_versions(&self) -> impl Iterator<Item = &Arc<VersionRecord>> {
        let definitions = self.galleries.values().flat_map(|gallery| gallery.definitions.values());
        definitions.flat_map(|definition| definition.versions.values())
    }

    /// Returns the condemned blobs of a region that are not yet removed.
    pub(crate) fn condemned(&self, region: &Region) -> Option<&Arc<Condemned>> {
        self.condemned.get(region)
    }

    /// Returns the condemned names and the incarnations of a slot.
    pub(crate) fn incarnations(&self, region: &Region, slot: SlotId) -> Arc<Incarnations> {
        self.incarnations.get(&(region.clone(), slot)).cloned().unwrap_or_default()
    }

    /// Returns the number of the commit that announced an import; `None` if this log never announced it.
    pub(crate) fn announced(&self, upload: UploadName) -> Option<u64> {
        self.announced.get(&upload).copied()
    }

    /// Returns the claimed store of a region, or of a zone of it.
    pub(crate) fn claim(&self, region: &Region, zone: Option<u32>) -> Option<StoreName> {
        self.claims.get(&(region.clone(), zone)).map(|(store, _)| *store)
    }

    /// Returns the claimed stores of a region and its zones. While they are the same, blobs that were put there are
    /// there.
    pub(crate) fn claims_of(&self, region: &Region) -> Vec<StoreName> {
        self.claims.iter().filter(|((of, _), _)| of == region).map(|(_, (store, _))| *store).collect()
    }

    /// Returns whether none of these stores of a region was replaced.
    pub(crate) fn still_claims(&self, region: &Region, stores: &[StoreName]) -> bool {
        let now = self.claims_of(region);
        stores.iter().all(|store| now.contains(store))
    }

    /// Returns the number of the last commit that claimed a store for a region: earlier imports may be in another
    /// store.
    pub(crate) fn claimed_at(&self, region: &Region) -> u64 {
        self.claims.iter().filter(|((of, _), _)| of == region).map(|(_, (_, number))| *number).max().unwrap_or(0)
    }

    /// Returns whether the catalog has claimed one store for the region while `zone` is one of three, or the other way
    /// round.
    pub(crate) fn has_claims_of_another_shape(&self, region: &Region, zone: Option<u32>) -> bool {
        let of_region = self.claims.keys().filter(|(claimed, _)| claimed == region);
        of_region.into_iter().any(|(_, claimed)| claimed.is_some() != zone.is_some())
    }

    /// Returns whether blobs of a region were condemned after commit `number`: blobs that were listed then may be gone.
    pub(crate) fn is_condemned_since(&self, region: &Region, number: u64) -> bool {
        self.last_condemned.get(region).is_some_and(|last| *last > number)
    }

    /// Returns all roles and assignments.
    pub(crate) fn access(&self) -> &AccessPolicy {
        &self.access
    }

    /// Returns the sharing of a gallery.
    pub(crate) fn sharing(&self, id: &GalleryId) -> Option<&GallerySharing> {
        self.galleries.get(id).map(|record| &record.sharing)
    }

    pub(crate) fn gallery(&self, id: &GalleryId) -> Option<&Arc<Gallery>> {
        self.galleries.get(id).map(|record| &record.gallery)
    }

    /// Returns the definitions of a gallery after `after`, by name; empty for an unknown gallery.
    pub(crate) fn definitions<'a>(
        &'a self,
        gallery: &GalleryId,
        after: Option<&'a ImageName>,
    ) -> impl Iterator<Item = &'a Arc<ImageDefinition>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let record = self.galleries.get(gallery).into_iter();
        let records = record.flat_map(move |record| record.definitions.range::<ImageName, _>((from, Bound::Unbounded)));
        records.map(|(_, record)| &record.definition)
    }

    pub(crate) fn definition(&self, id: &ImageDefinitionId) -> Option<&Arc<ImageDefinition>> {
        self.definition_record(id).map(|record| &record.definition)
    }

    /// Returns the versions of a definition after `after`, in numeric order, including soft-deleted ones; empty for an
    /// unknown definition.
    pub(crate) fn versions(
        &self,
        definition: &ImageDefinitionId,
        after: Option<VersionNumber>,
    ) -> impl DoubleEndedIterator<Item = &Arc<VersionRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let record = self.definition_record(definition).into_iter();
        record.flat_map(move |record| record.versions.range((from, Bound::Unbounded))).map(|(_, record)| record)
    }

    pub(crate) fn version(&self, id: &ImageVersionId) -> Option<&Arc<VersionRecord>> {
        self.definition_record(id.definition())?.versions.get(&id.number())
    }

    /// Returns whether the catalog's resource at `scope` does not exist. Scopes outside of the catalog are the host's,
    /// and never missing.
    pub(crate) fn is_missing(&self, scope: &AccessScope) -> bool {
        let AccessScope::Resource(id) = scope else { return false };
        match id {
            ResourceId::Gallery(id) => self.gallery(id).is_none(),
            ResourceId::ImageDefinition(id) => self.definition(id).is_none(),
            ResourceId::ImageVersion(id) => self.version(id).is_none(),
            ResourceId::ManagedImage(id) => self.managed_image(id).is_none(),
            ResourceId::Snapshot(id) => self.snapshot(id).is_none(),
            ResourceId::Disk(_) | ResourceId::VirtualMachine(_) | ResourceId::StorageAccount(_) => false,
        }
    }

    /// Returns whether the assignments at a scope have ended without a commit, because a version's retention is over.
    pub(crate) fn has_ended(&self, scope: &AccessScope, now: DateTime<Utc>) -> bool {
        let AccessScope::Resource(ResourceId::ImageVersion(id)) = scope else { return false };
        self.version(id).is_some_and(|record| self.is_gone(record, now))
    }

    /// Returns whether a version was deleted and its retention is over.
    pub(crate) fn is_gone(&self, record: &VersionRecord, now: DateTime<Utc>) -> bool {
        record.soft_deleted.is_some_and(|until| until <= now)
    }

    /// Returns the version that "latest" means in a region.
    pub(crate) fn latest(&self, definition: &ImageDefinitionId, region: &Region) -> Option<&Arc<VersionRecord>> {
        let record = self.definition_record(definition)?;
        record.versions.get(record.candidates.get(region)?.last()?)
    }

    pub(crate) fn managed_images(
        &self,
        after: Option<&ManagedImageId>,
    ) -> impl Iterator<Item = &Arc<ImageRecord<ManagedImage>>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.managed_images.range::<ManagedImageId, _>((from, Bound::Unbounded)).map(|(_, record)| record)
    }

    pub(crate) fn managed_image(&self, id: &ManagedImageId) -> Option<&Arc<ImageRecord<ManagedImage>>> {
        self.managed_images.get(id)
    }

    /// Returns whether an image that VMs are made from exists.
    pub(crate) fn has_image(&self, id: &ResourceId) -> bool {
        match id {
            ResourceId::ImageVersion(version) => self.version(version).is_some(),
            ResourceId::ManagedImage(image) => self.managed_image(image).is_some(),
            _ => false,
        }
    }

    pub(crate) fn snapshots(&self, after: Option<&SnapshotId>) -> impl Iterator<Item = &Arc<ImageRecord<Snapshot>>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.snapshots.range::<SnapshotId, _>((from, Bound::Unbounded)).map(|(_, record)| record)
    }

    pub(crate) fn snapshot(&self, id: &SnapshotId) -> Option<&Arc<ImageRecord<Snapshot>>> {
        self.snapshots.get(id)
    }

    /// Returns the newest open import of `target` in `region`.
    pub(crate) fn upload_of(&self, target: &ResourceId, region: &Region) -> Option<UploadName> {
        let same = |upload: &Upload| upload.target == *target && upload.region == *region;
        // The newest: earlier ones were started with other disks.
        let last = self.uploads.iter().filter(|(_, upload)| same(upload)).max_by_key(|(_, upload)| upload.taken_up());
        last.map(|(name, _)| *name)
    }

    pub(crate) fn is_open(&self, upload: UploadName) -> bool {
        self.uploads.contains_key(&upload)
    }

    /// Returns whether an import is open and was never resumed by another publisher.
    pub(crate) fn is_of_one_publisher(&self, upload: UploadName) -> bool {
        self.uploads.get(&upload).is_some_and(|upload| upload.joined.is_none())
    }

    /// Returns the number of a subscription's galleries, definitions and versions in a region.
    pub(crate) fn usage(&self, subscription: &SubscriptionId, location: &Region, now: DateTime<Utc>) -> [usize; 3] {
        let mut usage = [0; 3];
        let [galleries, definitions, versions] = &mut usage;
        for gallery in self.galleries.values().filter(|record| record.gallery.id().subscription() == subscription) {
            *galleries += usize::from(gallery.gallery.location() == location);
            for definition in gallery.definitions.values() {
                *definitions += usize::from(definition.definition.location() == location);
                let counts =
                    |record: &&Arc<VersionRecord>| record.version.location() == location && !self.is_gone(record, now);
                *versions += definition.versions.values().filter(counts).count();
            }
        }
        usage
    }

    fn definition_record(&self, id: &ImageDefinitionId) -> Option<&Arc<DefinitionRecord>> {
        self.galleries.get(id.gallery())?.definitions.get(id.name())
    }

    /// Returns the state after `entry`, whose hash is `digest`.
    pub(super) fn after(&self, entry: &Entry, digest: Digest) -> Result<Self> {
        if entry.number != self.number + 1 || entry.previous != self.head {
            let what =
                format!("entry `{}` does not follow entry `{}`: the log is broken there", entry.number, self.number);
            return Err(Error::corrupt("catalog log", what));
        }
        let mut next = self.clone();
        for event in entry.changes.iter().flat_map(|change| &change.events) {
            next.apply(event, entry.time)?;
        }
        (next.number, next.head, next.time) = (entry.number, digest, entry.time);
        Ok(next)
    }

    /// Applies one event. Whether it is allowed was checked before it was written.
    pub(crate) fn apply(&mut self, event: &Event, time: DateTime<Utc>) -> Result<()> {
        let number = self.number + 1;
        let missing = |what: &dyn std::fmt::Display| {
            Error::corrupt("catalog log", format!("an entry refers to `{what}`, which does not exist"))
        };
        match event {
            Event::GalleryCreated { gallery } => {
                let (sharing, definitions) = Default::default();
                let record = GalleryRecord { gallery: Arc::new(gallery.clone()), sharing, definitions };
                self.galleries.insert(gallery.id().clone(), Arc::new(record));
            }
            Event::GalleryUpdated { gallery } => {
                let record = self.galleries.get_mut(gallery.id()).ok_or_else(|| missing(gallery.id()))?;
                Arc::make_mut(record).gallery = Arc::new(gallery.clone());
            }
            Event::GalleryDeleted { gallery } => {
                let Some(record) = self.galleries.remove(gallery) else { return Ok(()) };
                record.definitions.values().for_each(|definition| self.end_all_of(definition));
                self.end(gallery);
            }
            Event::ImageDefinitionCreated { definition } => {
                let id = definition.id();
                let gallery = self.galleries.get_mut(id.gallery()).ok_or_else(|| missing(id.gallery()))?;
                let record = DefinitionRecord {
                    definition: Arc::new(definition.clone()),
                    versions: BTreeMap::new(),
                    candidates: BTreeMap::new(),
                };
                Arc::make_mut(gallery).definitions.insert(id.name().clone(), Arc::new(record));
            }
            Event::ImageDefinitionUpdated { definition } => {
                let record = self.definition_mut(definition.id()).ok_or_else(|| missing(definition.id()))?;
                record.definition = Arc::new(definition.clone());
            }
            Event::ImageDefinitionDeleted { definition } => {
                let gallery = self.galleries.get_mut(definition.gallery()).ok_or_else(|| missing(definition))?;
                if let Some(record) = Arc::make_mut(gallery).definitions.remove(definition.name()) {
                    self.end_all_of(&record);
                }
            }
            Event::UploadStarted { upload, target, region } => {
                let (target, region) = (target.clone(), region.clone());
                self.uploads.insert(*upload, Upload { target, region, started: time, joined: None });
                Arc::make_mut(&mut self.announced).insert(*upload, number);
            }
            Event::UploadJoined { upload } => {
                let there = self.uploads.get_mut(upload);
                there.ok_or_else(|| Error::corrupt("catalog", "an import is joined that is not open"))?.joined =
                    Some(time);
            }
            Event::UploadAbandoned { upload } => {
                self.uploads.remove(upload);
            }
            Event::ImageVersionPublished { version, content, carried } => {
                self.close_uploads(&version.id().clone().into());
                let definition = version.id().definition();
                let record = self.definition_mut(definition).ok_or_else(|| missing(definition))?;
                record.put(VersionRecord::new(version.clone(), content.clone(), carried.clone(), number));
                // Assignments of an earlier version whose retention is over do not carry over.
                self.end(version.id());
            }
            Event::ImageVersionUpdated { version } => {
                let change = |record: &mut VersionRecord| {
                    let profile = version.publishing_profile();
                    record.complete.retain(|region, ready| match profile.replicas_in(region) {
                        Some(wanted) => {
                            *ready = wanted.min(*ready);
                            true
                        }
                        None => false,
                    });
                    record.version = Arc::new(version.clone());
                    record.changed = number;
                    let mut failed = std::mem::take(&mut record.failed);
                    failed.retain(|region, _| profile.replicas_in(region).is_some() && !record.is_complete_in(region));
                    record.failed = failed;
                };
                self.change_version(version.id(), change).ok_or_else(|| missing(version.id()))?;
            }
            Event::ImageVersionDeleted { version, restorable_until: Some(until) } => {
                let change =
                    |record: &mut VersionRecord| (record.soft_deleted, record.deleted) = (Some(*until), Some(time));
                self.change_version(version, change).ok_or_else(|| missing(version))?;
            }
            Event::ImageVersionDeleted { version, restorable_until: None } => {
                self.definition_mut(version.definition()).ok_or_else(|| missing(version))?.forget(version.number());
                self.end(version);
            }
            Event::ImageVersionRestored { version } => {
                let change = |record: &mut VersionRecord| (record.soft_deleted, record.deleted) = (None, None);
                self.change_version(version, change).ok_or_else(|| missing(version))?;
            }
            Event::ManagedImageCreated { image, content } => {
                self.close_uploads(&image.id().clone().into());
                let record =
                    ImageRecord { resource: Arc::new(image.clone()), content: content.clone(), created: number };
                self.managed_images.insert(image.id().clone(), Arc::new(record));
            }
            Event::ManagedImageDeleted { image } => {
                self.managed_images.remove(image);
                self.end(image);
            }
            Event::SnapshotCreated { snapshot, content } => {
                self.close_uploads(&snapshot.id().clone().into());
                let (resource, content) = (Arc::new(snapshot.clone()), content.clone());
                let record = ImageRecord { resource, content, created: number };
                self.snapshots.insert(snapshot.id().clone(), Arc::new(record));
            }
            Event::SnapshotDeleted { snapshot } => {
                self.snapshots.remove(snapshot);
                self.end(snapshot);
            }
            Event::RegionStoreClaimed { region, zone, store } => {
                // One store for the whole region replaces three zones' stores, and the other way round.
                self.claims.retain(|(of, other), _| of != region || other.is_some() == zone.is_some());
                self.claims.insert((region.clone(), *zone), (*store, number));
            }
            Event::ContentCondemned { region, blobs } => {
                let condemned = Condemned { epoch: number, blobs: blobs.clone() };
                for (slot, name) in condemned.names() {
                    Arc::make_mut(self.incarnations.entry((region.clone(), slot)).or_default()).end(name, number);
                }
                self.condemned.insert(region.clone(), Arc::new(condemned));
                self.last_condemned.insert(region.clone(), number);
            }
            Event::RemovalTakenOver { region } => {
                let condemned = self.condemned.get_mut(region).ok_or_else(|| missing(region))?;
                Arc::make_mut(condemned).epoch = number;
            }
            Event::ContentRemoved { region } => {
                self.condemned.remove(region);
            }
            Event::GalleryShared { gallery, sharing } => {
                let record = self.galleries.get_mut(gallery).ok_or_else(|| missing(gallery))?;
                Arc::make_mut(record).sharing = sharing.clone();
            }
            Event::RoleDefined { role } => self.access_mut().put_role(role.clone()),
            Event::RoleDeleted { role } => self.access_mut().remove_role(role)?,
            // Only existing resources have assignments: none precedes a resource, and none is left behind.
            Event::RoleAssigned { assignment: RoleAssignment { scope, .. } }
            | Event::DenyAssigned { denial: DenyAssignment { scope, .. } }
                if self.is_missing(scope) =>
            {
                return Err(missing(scope));
            }
            Event::RoleAssigned { assignment } => self.access_mut().assign(assignment.clone()),
            Event::RoleUnassigned { assignment, scope } => self.access_mut().unassign(scope, assignment),
            Event::DenyAssigned { denial } => self.access_mut().deny(denial.clone()),
            Event::DenyUnassigned { denial, scope } => self.access_mut().undeny(scope, denial),
            Event::RegionCompleted { version, region, replicas, cross_region_bytes } => {
                let change = |record: &mut VersionRecord| {
                    record.complete.insert(region.clone(), *replicas);
                    *record.crossed.entry(region.clone()).or_default() += cross_region_bytes;
                    record.failed.remove(region);
                };
                self.change_version(version, change).ok_or_else(|| missing(version))?;
            }
            Event::RegionFailed { version, region, reason, .. } => {
                let change = |record: &mut VersionRecord| drop(record.failed.insert(region.clone(), reason.clone()));
                self.change_version(version, change).ok_or_else(|| missing(version))?;
            }
            Event::RegionRetried { version, region } => {
                let change = |record: &mut VersionRecord| drop(record.failed.remove(region));
                self.change_version(version, change).ok_or_else(|| missing(version))?;
            }
        }
        Ok(())
    }

    /// Ends the assignments of a definition and its versions.
    fn end_all_of(&mut self, record: &DefinitionRecord) {
        record.versions.values().for_each(|record| self.end(record.version.id()));
        self.end(record.definition.id());
    }

    /// Ends the assignments and denials at a resource.
    fn end(&mut self, id: impl Into<AccessScope>) {
        let scope = id.into();
        if self.access.stands_at(&scope) {
            self.access_mut().end(&scope);
        }
    }

    fn access_mut(&mut self) -> &mut AccessPolicy {
        Arc::make_mut(&mut self.access)
    }

    /// Closes the imports of `target`.
    fn close_uploads(&mut self, target: &ResourceId) {
        self.uploads.retain(|_, upload| upload.target != *target);
    }

    fn change_version(&mut self, id: &ImageVersionId, change: impl FnOnce(&mut VersionRecord)) -> Option<()> {
        let definition = self.definition_mut(id.definition())?;
        let mut record = VersionRecord::clone(definition.versions.get(&id.number())?);
        change(&mut record);
        definition.put(record);
        Some(())
    }

    fn definition_mut(&mut self, id: &ImageDefinitionId) -> Option<&mut DefinitionRecord> {
        let gallery = Arc::make_mut(self.galleries.get_mut(id.gallery())?);
        gallery.definitions.get_mut(id.name()).map(Arc::make_mut)
    }
}

/// The stored form of a state, in a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenState {
    number: u64,
    head: Digest,
    time: DateTime<Utc>,
    galleries: Vec<Arc<Gallery>>,
    definitions: Vec<Arc<ImageDefinition>>,
    versions: Vec<Arc<VersionRecord>>,
    #[serde(default)]
    managed_images: Vec<Arc<ImageRecord<ManagedImage>>>,
    #[serde(default)]
    snapshots: Vec<Arc<ImageRecord<Snapshot>>>,
    #[serde(default)]
    sharing: Vec<(GalleryId, GallerySharing)>,
    #[serde(default)]
    access: WrittenPolicy,
    #[serde(default)]
    announced: Vec<(UploadName, u64)>,
    #[serde(default)]
    claims: Vec<(Region, Option<u32>, StoreName, u64)>,
    #[serde(default, rename = "lives")]
    incarnations: Vec<(Region, usize, u32, Arc<Incarnations>)>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    condemned: BTreeMap<Region, Arc<Condemned>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    last_condemned: BTreeMap<Region, u64>,
    uploads: Vec<(UploadName, Upload)>,
}

impl From<&State> for WrittenState {
    fn from(state: &State) -> Self {
        let definitions = || state.galleries.values().flat_map(|gallery| gallery.definitions.values());
        Self {
            number: state.number,
            head: state.head,
            time: state.time,
            galleries: state.galleries(None).cloned().collect(),
            definitions: definitions().map(|record| record.definition.clone()).collect(),
            versions: definitions().flat_map(|record| record.versions.values()).cloned().collect(),
            managed_images: state.managed_images(None).cloned().collect(),
            snapshots: state.snapshots(None).cloned().collect(),
            sharing: state
                .galleries
                .iter()
                .filter(|(_, record)| !record.sharing.is_empty())
                .map(|(id, record)| (id.clone(), record.sharing.clone()))
                .collect(),
            access: state.access().into(),
            announced: state.announced.iter().map(|(upload, number)| (*upload, *number)).collect(),
            claims: state
                .claims
                .iter()
                .map(|((region, zone), (store, number))| (region.clone(), *zone, *store, *number))
                .collect(),
            incarnations: state
                .incarnations
                .iter()
                .map(|((region, slot), incarnations)| (region.clone(), slot.zone, slot.number, incarnations.clone()))
                .collect(),
            condemned: state.condemned.clone(),
            last_condemned: state.last_condemned.clone(),
            uploads: state.uploads.iter().map(|(name, upload)| (*name, upload.clone())).collect(),
        }
    }
}

impl TryFrom<WrittenState> for State {
    type Error = Error;

    fn try_from(written: WrittenState) -> Result<Self> {
        let orphan = || Error::corrupt("catalog checkpoint", "it has a resource without its parent");
        let mut state = Self {
            number: written.number,
            head: written.head,
            time: written.time,
            uploads: written.uploads.into_iter().collect(),
            access: Arc::new(written.access.into()),
            announced: Arc::new(written.announced.into_iter().collect()),
            claims: written
                .claims
                .into_iter()
                .map(|(region, zone, store, number)| ((region, zone), (store, number)))
                .collect(),
            incarnations: written
                .incarnations
                .into_iter()
                .map(|(region, zone, number, incarnations)| ((region, SlotId { zone, number }), incarnations))
                .collect(),
            condemned: written.condemned,
            last_condemned: written.last_condemned,
            ..Self::empty(written.head)
        };
        let mut sharing: BTreeMap<GalleryId, GallerySharing> = written.sharing.into_iter().collect();
        for gallery in written.galleries {
            let sharing = sharing.remove(gallery.id()).unwrap_or_default();
            let record = GalleryRecord { gallery: gallery.clone(), sharing, definitions: BTreeMap::new() };
            state.galleries.insert(gallery.id().clone(), Arc::new(record));
        }
        for definition in written.definitions {
            let id = definition.id().clone();
            let gallery = state.galleries.get_mut(id.gallery()).ok_or_else(orphan)?;
            let record = DefinitionRecord { definition, versions: BTreeMap::new(), candidates: BTreeMap::new() };
            Arc::make_mut(gallery).definitions.insert(id.name().clone(), Arc::new(record));
        }
        for record in written.versions {
            let definition = state.definition_mut(record.version.id().definition()).ok_or_else(orphan)?;
            definition.put(Arc::unwrap_or_clone(record));
        }
        state.managed_images =
            written.managed_images.into_iter().map(|record| (record.resource.id().clone(), record)).collect();
        state.snapshots = written.snapshots.into_iter().map(|record| (record.resource.id().clone(), record)).collect();
        Ok(state)
    }
}
