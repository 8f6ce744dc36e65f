//! The state of a catalog: the fold of its commits.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::entry::Entry;
use super::event::{Event, StoreName, UploadName};
use super::failure::Failure;
use super::features::Features;
use super::indexes::{Counts, Indexes};
use super::operation::{BadEnd, Duty, DutyRecord, Ended, OperationId, OperationKind, OperationRecord, OperationTarget};
use super::record::{
    Condemned, DefinitionRecord, GalleryRecord, GroupRecord, ImageRecord, IncompleteRecord, NamedRecord, Number,
    Upload, VersionRecord,
};
use super::record_key::RecordKey;
use super::touched::Touched;
use crate::access::{AccessPolicy, AccessScope, DenyAssignment, GallerySharing, RoleAssignment};
use crate::content::blob_name::Incarnations;
use crate::content::digest::Digest;
use crate::content::names::SlotId;
use crate::error::{Error, Result};
use crate::model::{
    Gallery, GalleryId, GalleryName, ImageDefinition, ImageDefinitionId, ImageIdentifier, ImageName, ImageVersionId,
    ManagedImage, ManagedImageId, Region, ResourceGroupId, ResourceId, Snapshot, SnapshotId, SubscriptionId,
    VersionNumber, VirtualMachineId,
};
use crate::persistent_map::PersistentMap;

/// The most operations that have ended and are kept.
const KEPT_OPERATIONS: usize = 1_000;

/// How long an operation that has ended is kept, by the log's time.
const KEPT_FOR: TimeDelta = TimeDelta::days(7);

/// Everything that exists after a commit. Immutable once shared; the next state shares the unchanged parts.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(super) number: u64,
    pub(super) head: Digest,
    pub(super) time: DateTime<Utc>,
    /// How many galleries and definitions there ever were.
    pub(super) numbered: Number,
    /// The features of the catalog's format.
    pub(super) features: Features,
    pub(super) galleries: PersistentMap<GalleryId, Arc<GalleryRecord>>,
    /// By the number of their gallery. No key has no name: that is the one before the first.
    pub(super) definitions: PersistentMap<(Number, Option<ImageName>), Arc<DefinitionRecord>>,
    /// By the number of their definition.
    pub(super) versions: PersistentMap<(Number, VersionNumber), Arc<VersionRecord>>,
    pub(super) managed_images: PersistentMap<ManagedImageId, Arc<ImageRecord<ManagedImage>>>,
    pub(super) snapshots: PersistentMap<SnapshotId, Arc<ImageRecord<Snapshot>>>,
    pub(super) uploads: PersistentMap<UploadName, Upload>,
    /// Every import that was ever announced, with the number of the commit. Blobs of any other import are not this
    /// catalog's.
    pub(super) announced: PersistentMap<UploadName, u64>,
    pub(super) access: Arc<AccessPolicy>,
    /// The claimed stores of regions and zones, with the number of the commit.
    pub(super) claims: PersistentMap<(Region, Option<u32>), (StoreName, u64)>,
    pub(super) condemned: PersistentMap<Region, Arc<Condemned>>,
    /// The condemned names and the incarnations of each slot.
    pub(super) incarnations: PersistentMap<(Region, SlotId), Arc<Incarnations>>,
    /// The number of the last commit that condemned blobs of each region.
    pub(super) last_condemned: PersistentMap<Region, u64>,
    /// What later builds keep of resources.
    pub(super) extras: PersistentMap<ResourceId, Arc<str>>,
    /// The versions that were announced and have no content yet, by the number of their definition. None is in `versions`.
    pub(super) incomplete: PersistentMap<(Number, VersionNumber), Arc<IncompleteRecord>>,
    /// The properties of resources that the model does not have, as JSON.
    pub(super) unmodelled: PersistentMap<ResourceId, Arc<str>>,
    pub(super) groups: PersistentMap<ResourceGroupId, Arc<GroupRecord>>,
    /// Managed images, snapshots and disks without bytes. None is in `managed_images` or `snapshots`.
    pub(super) named: PersistentMap<ResourceId, Arc<NamedRecord>>,
    pub(super) operations: PersistentMap<OperationId, Arc<OperationRecord>>,
    pub(super) duties: PersistentMap<Duty, Arc<DutyRecord>>,
    pub(super) indexes: Indexes,
    touched: Touched,
}

impl State {
    /// Returns the state before the first commit. `root` is the hash of the catalog's identity.
    pub(super) fn empty(root: Digest, features: Features) -> Self {
        Self {
            number: 0,
            head: root,
            time: DateTime::<Utc>::MIN_UTC,
            numbered: 0,
            features,
            galleries: PersistentMap::default(),
            definitions: PersistentMap::default(),
            versions: PersistentMap::default(),
            managed_images: PersistentMap::default(),
            snapshots: PersistentMap::default(),
            uploads: PersistentMap::default(),
            announced: PersistentMap::default(),
            access: Arc::default(),
            claims: PersistentMap::default(),
            condemned: PersistentMap::default(),
            incarnations: PersistentMap::default(),
            last_condemned: PersistentMap::default(),
            extras: PersistentMap::default(),
            incomplete: PersistentMap::default(),
            unmodelled: PersistentMap::default(),
            groups: PersistentMap::default(),
            named: PersistentMap::default(),
            operations: PersistentMap::default(),
            duties: PersistentMap::default(),
            indexes: Indexes::default(),
            touched: Touched::default(),
        }
    }

    /// Returns the state before the records of a checkpoint.
    pub(super) fn before_checkpoint(
        number: u64,
        head: Digest,
        time: DateTime<Utc>,
        numbered: Number,
        features: Features,
    ) -> Self {
        Self { number, time, numbered, touched: Touched::since(number), ..Self::empty(head, features) }
    }

    /// Returns the state with the indexes of names, once it has all records of a checkpoint. They come in the order of their
    /// keys and not of their changes: until then, two may have one name.
    pub(super) fn named(mut self) -> Self {
        for (id, record) in self.galleries.iter() {
            self.indexes.add_gallery(&record.gallery);
            self.indexes.name_publicly(id, None, record.sharing.public_name.as_ref());
        }
        for ((gallery, _), record) in self.definitions.iter() {
            self.indexes.add_definition(*gallery, &record.definition);
        }
        for (name, upload) in self.uploads.iter() {
            self.indexes.add_upload(*name, &upload.target);
        }
        self
    }

    /// Refuses a change if the format has a feature that this build does not know.
    pub(super) fn refuse_change(&self) -> Result<()> {
        self.features.refuse_change()
    }

    /// Returns whether the content of the catalog is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.features.is_encrypted()
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
        self.versions.values()
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

    /// Returns the regions whose stores are claimed.
    pub(crate) fn claimed_regions(&self) -> BTreeSet<Region> {
        self.claims.keys().map(|(region, _)| region.clone()).collect()
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

    /// Returns the gallery of a subscription that has a name.
    pub(crate) fn gallery_named(&self, subscription: &SubscriptionId, name: &GalleryName) -> Option<&GalleryId> {
        self.indexes.gallery_names.get(&(subscription.clone(), name.clone()))
    }

    /// Returns the gallery that consumers of a direct share know by a name.
    pub(crate) fn gallery_by_unique_name(&self, name: &str) -> Option<&Arc<Gallery>> {
        self.gallery(self.indexes.unique_names.get(name.to_ascii_lowercase().as_str())?)
    }

    /// Returns the community gallery with a public name.
    pub(crate) fn gallery_by_public_name(&self, name: &str) -> Option<&Arc<Gallery>> {
        self.gallery(self.indexes.public_names.get(name.to_ascii_lowercase().as_str())?)
    }

    /// Returns the definitions of a gallery after `after`, by name; empty for an unknown gallery.
    pub(crate) fn definitions(
        &self,
        gallery: &GalleryId,
        after: Option<&ImageName>,
    ) -> impl Iterator<Item = &Arc<ImageDefinition>> {
        let number = self.galleries.get(gallery).map(|record| record.number);
        let ranges = number.map(|number| self.definitions_of(number, after));
        ranges.into_iter().flatten().map(|record| &record.definition)
    }

    fn definitions_of(
        &self,
        gallery: Number,
        after: Option<&ImageName>,
    ) -> impl Iterator<Item = &Arc<DefinitionRecord>> {
        let range = (Bound::Excluded((gallery, after.cloned())), Bound::Excluded((gallery + 1, None)));
        self.definitions.range(range).map(|(_, record)| record)
    }

    /// Returns the definition of a gallery that has an identifier.
    pub(crate) fn definition_by_identifier(
        &self,
        gallery: &GalleryId,
        identifier: &ImageIdentifier,
    ) -> Option<&Arc<ImageDefinition>> {
        let number = self.galleries.get(gallery)?.number;
        let name = self.indexes.definition_by(number, identifier)?.clone();
        self.definitions.get(&(number, Some(name))).map(|record| &record.definition)
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
        let of = self.definition_record(definition).map(|record| self.versions_of(record.number, after));
        of.into_iter().flatten()
    }

    /// Returns the versions of a definition before `before`, in numeric order, including soft-deleted ones.
    pub(crate) fn versions_before(
        &self,
        definition: &ImageDefinitionId,
        before: VersionNumber,
    ) -> impl DoubleEndedIterator<Item = &Arc<VersionRecord>> {
        let of = self.definition_record(definition).map(|record| record.number);
        let range = |number| self.versions.range((number, VersionNumber::LEAST)..(number, before));
        of.map(range).into_iter().flatten().map(|(_, record)| record)
    }

    fn versions_of(
        &self,
        definition: Number,
        after: Option<VersionNumber>,
    ) -> impl DoubleEndedIterator<Item = &Arc<VersionRecord>> {
        let from = match after {
            Some(after) => Bound::Excluded((definition, after)),
            None => Bound::Included((definition, VersionNumber::LEAST)),
        };
        self.versions.range((from, Bound::Excluded((definition + 1, VersionNumber::LEAST)))).map(|(_, record)| record)
    }

    pub(crate) fn version(&self, id: &ImageVersionId) -> Option<&Arc<VersionRecord>> {
        self.versions.get(&(self.definition_record(id.definition())?.number, id.number()))
    }

    /// Returns a version that was announced and has no content yet.
    pub(crate) fn incomplete(&self, id: &ImageVersionId) -> Option<&Arc<IncompleteRecord>> {
        self.incomplete.get(&(self.definition_record(id.definition())?.number, id.number()))
    }

    /// Returns the versions of a definition that have no content yet, after `after`, in numeric order; empty for an unknown
    /// definition.
    pub(crate) fn incomplete_of(
        &self,
        definition: &ImageDefinitionId,
        after: Option<VersionNumber>,
    ) -> impl Iterator<Item = &Arc<IncompleteRecord>> {
        let of = self.definition_record(definition).map(|record| self.incomplete_in(record.number, after));
        of.into_iter().flatten()
    }

    fn incomplete_in(
        &self,
        definition: Number,
        after: Option<VersionNumber>,
    ) -> impl Iterator<Item = &Arc<IncompleteRecord>> {
        let from = match after {
            Some(after) => Bound::Excluded((definition, after)),
            None => Bound::Included((definition, VersionNumber::LEAST)),
        };
        let range = (from, Bound::Excluded((definition + 1, VersionNumber::LEAST)));
        self.incomplete.range(range).map(|(_, record)| record)
    }

    /// Returns whether the target of an import was announced and has not failed: its packs stay.
    pub(crate) fn is_creating(&self, target: &ResourceId) -> bool {
        let ResourceId::ImageVersion(id) = target else { return false };
        self.incomplete(id).is_some_and(|record| record.failure.is_none())
    }

    /// Returns every version that has no content yet.
    pub(crate) fn all_incomplete(&self) -> impl Iterator<Item = &Arc<IncompleteRecord>> {
        self.incomplete.values()
    }

    /// Returns the versions that lack replicas in a target region.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = &Arc<VersionRecord>> {
        self.indexes.lacking().filter_map(|key| self.versions.get(key))
    }

    /// Returns an operation that is under way, or ended not long ago.
    pub(crate) fn operation(&self, id: OperationId) -> Option<&Arc<OperationRecord>> {
        self.operations.get(&id)
    }

    /// Returns whether an operation has begun and not ended.
    pub(crate) fn is_under_way(&self, id: OperationId) -> bool {
        self.operations.get(&id).is_some_and(|record| record.ended.is_none())
    }

    /// Returns the operations that are under way or ended not long ago, by id.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Arc<OperationRecord>> {
        self.operations.values()
    }

    /// Returns the operation on a resource that is under way.
    pub(crate) fn operation_of(&self, target: impl Into<OperationTarget>) -> Option<&Arc<OperationRecord>> {
        self.operations.get(&self.indexes.operation_of(&target.into())?)
    }

    /// Returns the deletions that are under way, the first first.
    pub(crate) fn deletions(&self) -> Vec<&Arc<OperationRecord>> {
        let open = self.indexes.open_operations().filter_map(|id| self.operations.get(&id));
        let mut deletions: Vec<_> = open.filter(|record| record.kind == OperationKind::Delete).collect();
        deletions.sort_by_key(|record| (record.began, record.id));
        deletions
    }

    /// Returns the deletion that a scope is marked for: its own, or that of something that it is in.
    pub(crate) fn deletion_of(&self, scope: &AccessScope) -> Option<&Arc<OperationRecord>> {
        let mut at = self.indexes.open_operations().next().map(|_| scope.clone());
        while let Some(scope) = at {
            let open = OperationTarget::of(&scope).and_then(|target| self.operation_of(target));
            if let Some(deletion) = open.filter(|record| record.kind == OperationKind::Delete) {
                return Some(deletion);
            }
            at = scope.parent();
        }
        None
    }

    /// Returns the duties that were ever taken: none where no driver has worked.
    pub(crate) fn duties(&self) -> impl Iterator<Item = &Arc<DutyRecord>> {
        self.duties.values()
    }

    pub(crate) fn duty(&self, duty: &Duty) -> Option<&Arc<DutyRecord>> {
        self.duties.get(duty)
    }

    /// Returns the properties of a resource that the model does not have.
    pub(crate) fn unmodelled(&self, id: &ResourceId) -> Option<&str> {
        self.unmodelled.get(id).map(|properties| &**properties)
    }

    /// Returns the VMs that something is noted of, as JSON.
    pub(crate) fn noted_machines(&self) -> impl Iterator<Item = (&VirtualMachineId, &str)> {
        // VMs are among the last kinds of ids.
        let last = self.unmodelled.iter().rev().map_while(|(id, noted)| match id {
            ResourceId::VirtualMachine(id) => Some(Some((id, &**noted))),
            ResourceId::StorageAccount(_) => Some(None),
            _ => None,
        });
        last.flatten()
    }

    /// Returns a managed image, a snapshot or a disk without bytes.
    pub(crate) fn named_source(&self, id: &ResourceId) -> Option<&Arc<NamedRecord>> {
        self.named.get(id)
    }

    /// Returns the managed images, snapshots and disks without bytes after `after`, by id.
    pub(crate) fn all_named(&self, after: Option<&ResourceId>) -> impl Iterator<Item = &Arc<NamedRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.named.range::<ResourceId, _>((from, Bound::Unbounded)).map(|(_, record)| record)
    }

    /// Returns a resource group.
    pub(crate) fn resource_group(&self, id: &ResourceGroupId) -> Option<&Arc<GroupRecord>> {
        self.groups.get(id)
    }

    /// Returns the resource groups after `after`, by id.
    pub(crate) fn resource_groups(&self, after: Option<&ResourceGroupId>) -> impl Iterator<Item = &Arc<GroupRecord>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.groups.range::<ResourceGroupId, _>((from, Bound::Unbounded)).map(|(_, record)| record)
    }

    /// Returns the number of the commit that created a resource or last changed it.
    pub(crate) fn revision(&self, id: &ResourceId) -> Option<u64> {
        match id {
            ResourceId::Gallery(id) => self.galleries.get(id).map(|record| record.revision),
            ResourceId::ImageDefinition(id) => self.definition_record(id).map(|record| record.revision),
            ResourceId::ImageVersion(id) => {
                let incomplete = self.incomplete(id).map(|record| record.revision);
                incomplete.or_else(|| self.version(id).map(|record| record.revision()))
            }
            ResourceId::ManagedImage(image) => {
                self.managed_image(image).map(|record| record.created).or_else(|| self.named_at(id))
            }
            ResourceId::Snapshot(snapshot) => {
                self.snapshot(snapshot).map(|record| record.created).or_else(|| self.named_at(id))
            }
            ResourceId::Disk(_) | ResourceId::VirtualMachine(_) | ResourceId::StorageAccount(_) => self.named_at(id),
        }
    }

    /// Returns the number of the commit that made an image or a snapshot with its bytes.
    pub(crate) fn made_at(&self, id: &ResourceId) -> Option<u64> {
        match id {
            ResourceId::ImageVersion(version) => self.version(version).map(|record| record.published),
            ResourceId::ManagedImage(image) => self.managed_image(image).map(|record| record.created),
            ResourceId::Snapshot(snapshot) => self.snapshot(snapshot).map(|record| record.created),
            _ => None,
        }
    }

    fn named_at(&self, id: &ResourceId) -> Option<u64> {
        self.named.get(id).map(|record| record.revision)
    }

    /// Returns whether the catalog's resource at `scope` does not exist. Scopes outside of the catalog are the host's,
    /// and never missing.
    pub(crate) fn is_missing(&self, scope: &AccessScope) -> bool {
        let AccessScope::Resource(id) = scope else { return false };
        match id {
            ResourceId::Gallery(id) => self.gallery(id).is_none(),
            ResourceId::ImageDefinition(id) => self.definition(id).is_none(),
            ResourceId::ImageVersion(id) => self.version(id).is_none() && self.incomplete(id).is_none(),
            ResourceId::ManagedImage(image) => self.managed_image(image).is_none() && self.named_source(id).is_none(),
            ResourceId::Snapshot(snapshot) => self.snapshot(snapshot).is_none() && self.named_source(id).is_none(),
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

    /// Returns until when a version that was deleted can be deployed: until the grace period begins, as its gallery has it now.
    pub(crate) fn consumption_end(&self, record: &VersionRecord) -> Option<DateTime<Utc>> {
        let (until, deleted) = record.soft_deleted.zip(record.deleted)?;
        let gallery = self.gallery(record.version.id().definition().gallery())?;
        let end = until.checked_sub_signed(gallery.soft_delete_policy().grace());
        Some(end.unwrap_or(deleted).max(deleted))
    }

    /// Returns the version that "latest" means in a region.
    pub(crate) fn latest(&self, definition: &ImageDefinitionId, region: &Region) -> Option<&Arc<VersionRecord>> {
        let number = self.definition_record(definition)?.number;
        let stays = |record: &&Arc<VersionRecord>| self.deletion_of(&record.version.id().into()).is_none();
        let candidates = self.indexes.candidates(number, region);
        candidates.filter_map(|of| self.versions.get(&(number, of))).find(stays)
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
        let open = self.indexes.uploads_of(target).iter().filter_map(|name| Some((*name, self.uploads.get(name)?)));
        // The newest: earlier ones were started with other disks.
        let last = open.filter(|(_, upload)| upload.region == *region).max_by_key(|(_, upload)| upload.taken_up());
        last.map(|(name, _)| name)
    }

    pub(crate) fn is_open(&self, upload: UploadName) -> bool {
        self.uploads.contains_key(&upload)
    }

    /// Returns whether an import is open and was never resumed by another publisher.
    pub(crate) fn is_of_one_publisher(&self, upload: UploadName) -> bool {
        self.uploads.get(&upload).is_some_and(|upload| upload.joined.is_none())
    }

    /// Returns the number of a subscription's galleries, definitions and versions in a region.
    pub(crate) fn usage(&self, subscription: &SubscriptionId, location: &Region, now: DateTime<Utc>) -> Counts {
        let [galleries, definitions, versions] = self.indexes.usage(subscription, location);
        let counted = |record: &&Arc<VersionRecord>| {
            let of = record.version.id().definition().gallery().subscription();
            record.version.location() == location && of == subscription
        };
        [galleries, definitions, versions.saturating_sub(self.gone(now).filter(counted).count())]
    }

    /// Returns the soft-deleted versions whose retention is over.
    pub(crate) fn gone(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Arc<VersionRecord>> {
        self.indexes.gone(now).filter_map(|key| self.versions.get(&key))
    }

    /// Returns the number of a definition.
    pub(super) fn definition_number(&self, id: &ImageDefinitionId) -> Option<Number> {
        self.definition_record(id).map(|record| record.number)
    }

    fn definition_record(&self, id: &ImageDefinitionId) -> Option<&Arc<DefinitionRecord>> {
        let gallery = self.galleries.get(id.gallery())?.number;
        self.definitions.get(&(gallery, Some(id.name().clone())))
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
        Ok(next.committed(digest, entry.time))
    }

    /// Returns the state after the next entry, whose events were applied.
    pub(super) fn committed(self, digest: Digest, time: DateTime<Utc>) -> Self {
        Self { number: self.number + 1, head: digest, time, ..self }
    }

    /// Applies one event. Whether it is allowed was checked before it was written.
    pub(crate) fn apply(&mut self, event: &Event, time: DateTime<Utc>) -> Result<()> {
        let number = self.number + 1;
        let missing = |what: &dyn std::fmt::Display| {
            Error::corrupt("catalog log", format!("an entry refers to `{what}`, which does not exist"))
        };
        match event {
            Event::GalleryCreated { gallery } => {
                let there = self.galleries.get(gallery.id()).map(|record| record.number);
                let number = there.unwrap_or_else(|| self.next_number());
                self.put_gallery(number, gallery.clone(), GallerySharing::default());
            }
            Event::GalleryUpdated { gallery } => {
                let record = self.galleries.get(gallery.id()).ok_or_else(|| missing(gallery.id()))?;
                let (number, sharing) = (record.number, record.sharing.clone());
                self.put_gallery(number, gallery.clone(), sharing);
            }
            Event::GalleryDeleted { gallery } => {
                let Some(record) = self.remove_gallery(gallery) else { return Ok(()) };
                let definitions: Vec<_> = self.definitions_of(record.number, None).cloned().collect();
                definitions.iter().for_each(|definition| self.end_definition(record.number, definition, time));
                self.end(gallery, time);
            }
            Event::ImageDefinitionCreated { definition } => {
                let id = definition.id();
                let gallery = self.galleries.get(id.gallery()).ok_or_else(|| missing(id.gallery()))?.number;
                let number = self.definition_number(id).unwrap_or_else(|| self.next_number());
                self.put_definition(gallery, number, definition.clone());
            }
            Event::ImageDefinitionUpdated { definition } => {
                let id = definition.id();
                let number = self.definition_number(id).ok_or_else(|| missing(id))?;
                let gallery = self.galleries.get(id.gallery()).ok_or_else(|| missing(id))?.number;
                self.put_definition(gallery, number, definition.clone());
            }
            Event::ImageDefinitionDeleted { definition } => {
                let gallery = self.galleries.get(definition.gallery()).ok_or_else(|| missing(definition))?.number;
                if let Some(record) = self.definition_record(definition).cloned() {
                    self.end_definition(gallery, &record, time);
                }
            }
            Event::ImageVersionAnnounced { version } => {
                let id = version.id();
                let of = self.definition_record(id.definition()).ok_or_else(|| missing(id.definition()))?.number;
                let key = (of, id.number());
                let before = self.incomplete.get(&key).map(|record| record.announced);
                if before.is_none() {
                    // It takes the place of a version whose retention is over; assignments do not carry over.
                    if self.versions.get(&key).is_some() {
                        self.remove_version(key);
                    }
                    self.end(id, time);
                }
                let (version, announced) = (Arc::new(version.clone()), before.unwrap_or(time));
                let record = IncompleteRecord { version, announced, revision: number, failure: None };
                self.put_incomplete(of, record);
            }
            Event::ImageVersionFailed { version, code, reason } => {
                let of = self.definition_record(version.definition()).ok_or_else(|| missing(version))?.number;
                let there = self.incomplete.get(&(of, version.number())).ok_or_else(|| missing(version))?;
                let failure = Some(Failure { code: code.clone(), reason: reason.clone() });
                let record =
                    IncompleteRecord { failure: failure.clone(), revision: number, ..IncompleteRecord::clone(there) };
                self.put_incomplete(of, record);
                if let Some(operation) = self.made_by(version) {
                    self.end_operation(operation, failure.map(|failure| (BadEnd::Failed, failure)), time);
                }
            }
            Event::SourceNamed { source } => {
                let (id, source) = (source.id().clone(), Arc::new(source.clone()));
                self.named.insert(id.clone(), Arc::new(NamedRecord { source, revision: number }));
                self.touch(RecordKey::Named(id));
            }
            Event::SourceForgotten { source } => {
                self.forget_named(source);
                self.end(source.clone(), time);
            }
            Event::ResourceGroupPut { group, unmodelled } => {
                let (group, unmodelled) = (Arc::new(group.clone()), unmodelled.as_str().into());
                let id = group.id().clone();
                self.groups.insert(id.clone(), Arc::new(GroupRecord { group, revision: number, unmodelled }));
                self.touch(RecordKey::ResourceGroup(id));
            }
            Event::ResourceGroupDeleted { group } => {
                self.groups.remove(group);
                self.touch(RecordKey::ResourceGroup(group.clone()));
                self.end(AccessScope::of_group(group), time);
            }
            Event::UnmodelledSet { of, properties } => {
                if self.is_missing(&of.clone().into()) {
                    return Err(missing(of));
                }
                match properties.as_str() {
                    "" => drop(self.unmodelled.remove(of)),
                    properties => drop(self.unmodelled.insert(of.clone(), properties.into())),
                }
                self.touch(RecordKey::Unmodelled(of.clone()));
            }
            Event::UploadStarted { upload, target, region } => {
                let (target, region) = (target.clone(), region.clone());
                self.put_upload(*upload, Upload { target, region, started: time, joined: None });
                self.announced.insert(*upload, number);
                self.touch(RecordKey::Announced(*upload));
            }
            Event::UploadJoined { upload } => {
                let there = self.uploads.get_mut(upload);
                there.ok_or_else(|| Error::corrupt("catalog", "an import is joined that is not open"))?.joined =
                    Some(time);
                self.touch(RecordKey::Upload(*upload));
            }
            Event::UploadAbandoned { upload } => self.remove_upload(*upload),
            Event::ImageVersionPublished { version, content, carried } => {
                self.close_uploads(&version.id().clone().into());
                let definition = version.id().definition();
                let of = self.definition_record(definition).ok_or_else(|| missing(definition))?.number;
                let was_announced = self.remove_incomplete((of, version.id().number()));
                self.put_version(of, VersionRecord::new(version.clone(), content.clone(), carried.clone(), number));
                if !was_announced {
                    // Assignments of an earlier version whose retention is over do not carry over.
                    self.end(version.id(), time);
                }
                self.succeed(version.id(), time);
            }
            Event::ImageVersionUpdated { version } => {
                let change = |record: &mut VersionRecord| record.update(version.clone(), number);
                self.change_version(version.id(), change).ok_or_else(|| missing(version.id()))?;
                self.succeed(version.id(), time);
            }
            Event::ImageVersionDeleted { version, restorable_until: Some(until) } => {
                let change =
                    |record: &mut VersionRecord| (record.soft_deleted, record.deleted) = (Some(*until), Some(time));
                self.change_version(version, change).ok_or_else(|| missing(version))?;
                self.deleted(&version.into(), time);
            }
            Event::ImageVersionDeleted { version, restorable_until: None } => {
                let of = self.definition_record(version.definition()).ok_or_else(|| missing(version))?.number;
                let key = (of, version.number());
                if self.remove_incomplete(key) {
                    self.close_uploads(&version.clone().into());
                } else {
                    self.remove_version(key);
                }
                self.end(version, time);
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
                self.forget_named(&image.id().into());
                self.touch(RecordKey::ManagedImage(image.id().clone()));
            }
            Event::ManagedImageDeleted { image } => {
                self.managed_images.remove(image);
                self.touch(RecordKey::ManagedImage(image.clone()));
                self.end(image, time);
            }
            Event::SnapshotCreated { snapshot, content } => {
                self.close_uploads(&snapshot.id().clone().into());
                let (resource, content) = (Arc::new(snapshot.clone()), content.clone());
                let record = ImageRecord { resource, content, created: number };
                self.snapshots.insert(snapshot.id().clone(), Arc::new(record));
                self.forget_named(&snapshot.id().into());
                self.touch(RecordKey::Snapshot(snapshot.id().clone()));
            }
            Event::SnapshotDeleted { snapshot } => {
                self.snapshots.remove(snapshot);
                self.touch(RecordKey::Snapshot(snapshot.clone()));
                self.end(snapshot, time);
            }
            Event::RegionStoreClaimed { region, zone, store } => {
                // One store for the whole region replaces three zones' stores, and the other way round.
                let others = self.claims.keys().filter(|(of, other)| of == region && other.is_some() != zone.is_some());
                for other in others.cloned().collect::<Vec<_>>() {
                    self.claims.remove(&other);
                    self.touch(RecordKey::Claim(other.0, other.1));
                }
                self.claims.insert((region.clone(), *zone), (*store, number));
                self.touch(RecordKey::Claim(region.clone(), *zone));
            }
            Event::ContentCondemned { region, blobs } => {
                let condemned = Condemned { epoch: number, blobs: blobs.clone() };
                for (slot, name) in condemned.names() {
                    let of_slot = self.incarnations.get_or_default((region.clone(), slot));
                    of_slot.into_iter().for_each(|of_slot| Arc::make_mut(of_slot).end(name, number));
                    self.touch(RecordKey::Incarnations(region.clone(), slot));
                }
                self.condemned.insert(region.clone(), Arc::new(condemned));
                self.last_condemned.insert(region.clone(), number);
                self.touch(RecordKey::Condemned(region.clone()));
                self.touch(RecordKey::LastCondemned(region.clone()));
            }
            Event::RemovalTakenOver { region } => {
                let condemned = self.condemned.get_mut(region).ok_or_else(|| missing(region))?;
                Arc::make_mut(condemned).epoch = number;
                self.touch(RecordKey::Condemned(region.clone()));
            }
            Event::ContentRemoved { region } => {
                self.condemned.remove(region);
                self.touch(RecordKey::Condemned(region.clone()));
            }
            Event::GalleryShared { gallery, sharing } => {
                let record = self.galleries.get(gallery).ok_or_else(|| missing(gallery))?.clone();
                self.put_gallery(record.number, Gallery::clone(&record.gallery), sharing.clone());
            }
            Event::RoleDefined { role } => {
                self.access_mut().put_role(role.clone());
                self.touch(RecordKey::Role(role.id().clone()));
            }
            Event::RoleDeleted { role } => {
                self.access_mut().remove_role(role)?;
                self.touch(RecordKey::Role(role.clone()));
            }
            // Only existing resources have assignments: none precedes a resource, and none is left behind.
            Event::RoleAssigned { assignment: RoleAssignment { scope, .. } }
            | Event::DenyAssigned { denial: DenyAssignment { scope, .. } }
                if self.is_missing(scope) =>
            {
                return Err(missing(scope));
            }
            Event::RoleAssigned { assignment } => {
                self.access_mut().assign(assignment.clone());
                self.touch(RecordKey::Assignment(assignment.scope.clone(), assignment.id.clone()));
            }
            Event::RoleUnassigned { assignment, scope } => {
                self.access_mut().unassign(scope, assignment);
                self.touch(RecordKey::Assignment(scope.clone(), assignment.clone()));
            }
            Event::DenyAssigned { denial } => {
                self.access_mut().deny(denial.clone());
                self.touch(RecordKey::Denial(denial.scope.clone(), denial.id.clone()));
            }
            Event::DenyUnassigned { denial, scope } => {
                self.access_mut().undeny(scope, denial);
                self.touch(RecordKey::Denial(scope.clone(), denial.clone()));
            }
            Event::RegionCompleted { version, region, replicas, cross_region_bytes } => {
                let change = |record: &mut VersionRecord| record.complete_in(region, *replicas, *cross_region_bytes);
                self.change_version(version, change).ok_or_else(|| missing(version))?;
                self.succeed(version, time);
            }
            Event::RegionFailed { version, region, reason, .. } => {
                let change = |record: &mut VersionRecord| record.fail_in(region, reason);
                self.change_version(version, change).ok_or_else(|| missing(version))?;
            }
            Event::RegionRetried { version, region } => {
                let change = |record: &mut VersionRecord| record.retry_in(region);
                self.change_version(version, change).ok_or_else(|| missing(version))?;
            }
            Event::OperationBegun { operation, kind, resource, extent, done } => {
                let why = if *kind == OperationKind::Delete { "it is deleted" } else { "it was put again" };
                self.preempt(resource, why, time);
                let (id, kind, resource, extent) = (*operation, *kind, resource.clone(), *extent);
                let version = resource.version().cloned();
                self.put_operation(OperationRecord { id, kind, resource, extent, began: time, ended: None });
                if *done {
                    self.end_operation(id, None, time);
                } else if let Some(version) = version {
                    self.succeed(&version, time);
                }
            }
            Event::OperationEnded { operation, status, code, reason } => {
                let failure = Failure { code: code.clone(), reason: reason.clone() };
                self.end_operation(*operation, Some((*status, failure)), time);
            }
            Event::DutyTaken { duty, driver, by_call, at } => {
                let finished = self.duties.get(duty).and_then(|record| record.finished);
                let (driver, by_call, at, of) = (Some(*driver), *by_call, at.clone(), duty.clone());
                let record = DutyRecord { duty: of, driver, by_call, beat: number, at, finished };
                self.duties.insert(duty.clone(), Arc::new(record));
                self.touch(RecordKey::Duty(duty.clone()));
            }
            Event::DutyLaidDown { duty, finished } => {
                // The record stays: it tells calls that drivers work here.
                let before = self.duties.get(duty).and_then(|record| record.finished);
                let (of, finished) = (duty.clone(), if *finished { Some(time) } else { before });
                let record = DutyRecord { duty: of, driver: None, by_call: false, beat: number, at: None, finished };
                self.duties.insert(duty.clone(), Arc::new(record));
                self.touch(RecordKey::Duty(duty.clone()));
            }
            Event::FeaturesEnabled { features } => {
                self.features.enable(features);
                self.features.refuse_unreadable()?;
            }
            Event::ExtrasSet { of, extras } => {
                if self.is_missing(&of.clone().into()) {
                    return Err(missing(of));
                }
                match extras.as_str() {
                    "" => drop(self.extras.remove(of)),
                    extras => drop(self.extras.insert(of.clone(), extras.into())),
                }
                self.touch(RecordKey::Extras(of.clone()));
            }
            // It says that it changes nothing of a state.
            Event::Newer(_) => {}
        }
        Ok(())
    }

    fn next_number(&mut self) -> Number {
        self.numbered += 1;
        self.numbered
    }

    /// Notes that a record changes or goes with the next commit.
    fn touch(&mut self, key: RecordKey) {
        self.touched.push(key, self.number + 1);
    }

    /// Returns the records that changed or went since a commit; `None` if that is too long ago.
    pub(super) fn touched_since(&self, number: u64) -> Option<BTreeSet<&RecordKey>> {
        self.touched.after(number)
    }

    /// Forgets what changed up to commit `number`: a checkpoint has it.
    pub(super) fn forget(&mut self, number: u64) {
        self.touched.forget(number);
    }

    /// Inserts a gallery, or replaces the one of the same id.
    fn put_gallery(&mut self, number: Number, gallery: Gallery, sharing: GallerySharing) {
        let (id, old) = (gallery.id().clone(), self.galleries.get(gallery.id()).cloned());
        let old_name = old.as_ref().and_then(|old| old.sharing.public_name.as_ref());
        self.indexes.name_publicly(&id, old_name, sharing.public_name.as_ref());
        match &old {
            Some(old) => self.indexes.replace_gallery(&old.gallery, &gallery),
            None => self.indexes.add_gallery(&gallery),
        }
        let record = GalleryRecord { number, revision: self.number + 1, gallery: Arc::new(gallery), sharing };
        self.galleries.insert(id.clone(), Arc::new(record));
        self.touch(RecordKey::Gallery(id));
    }

    /// Removes a gallery, and not what is in it.
    fn remove_gallery(&mut self, id: &GalleryId) -> Option<Arc<GalleryRecord>> {
        let record = self.galleries.remove(id)?;
        self.indexes.name_publicly(id, record.sharing.public_name.as_ref(), None);
        self.indexes.remove_gallery(&record.gallery);
        self.touch(RecordKey::Gallery(id.clone()));
        Some(record)
    }

    /// Inserts a definition, or replaces the one of the same id.
    fn put_definition(&mut self, gallery: Number, number: Number, definition: ImageDefinition) {
        let key = (gallery, Some(definition.id().name().clone()));
        match self.definitions.get(&key) {
            Some(old) => self.indexes.replace_definition(gallery, &old.definition, &definition),
            None => self.indexes.add_definition(gallery, &definition),
        }
        self.touch(RecordKey::Definition(gallery, definition.id().name().clone()));
        let record = DefinitionRecord { number, revision: self.number + 1, definition: Arc::new(definition) };
        self.definitions.insert(key, Arc::new(record));
    }

    /// Removes a definition, and not its versions.
    fn remove_definition(&mut self, key: (Number, Option<ImageName>)) {
        if let Some(record) = self.definitions.remove(&key) {
            self.indexes.remove_definition(key.0, &record.definition);
        }
        if let (gallery, Some(name)) = key {
            self.touch(RecordKey::Definition(gallery, name));
        }
    }

    /// Inserts a version, or replaces the one of the same number.
    fn put_version(&mut self, definition: Number, record: VersionRecord) {
        let number = record.version.id().number();
        self.insert_version(definition, record);
        self.touch(RecordKey::Version(definition, number));
    }

    pub(super) fn insert_version(&mut self, definition: Number, mut record: VersionRecord) {
        let key = (definition, record.version.id().number());
        self.share_with_neighbour(key, &mut record);
        match self.versions.get(&key) {
            Some(old) => self.indexes.replace_version(definition, old, &record),
            None => self.indexes.add_version(definition, &record),
        }
        self.versions.insert(key, Arc::new(record));
    }

    /// Lets a record share memory with the one that it replaces, or the one before it of the same definition.
    fn share_with_neighbour(&self, key: (Number, VersionNumber), record: &mut VersionRecord) {
        let until = self.versions.range((key.0, VersionNumber::LEAST)..=key);
        if let Some((_, neighbour)) = until.into_iter().next_back() {
            record.share(neighbour);
        }
    }

    fn remove_version(&mut self, key: (Number, VersionNumber)) {
        self.drop_version(key);
        self.touch(RecordKey::Version(key.0, key.1));
    }

    pub(super) fn drop_version(&mut self, key: (Number, VersionNumber)) {
        if let Some(old) = self.versions.remove(&key) {
            self.indexes.remove_version(key.0, &old);
        }
    }

    /// Inserts a version that has no content yet, or replaces it.
    fn put_incomplete(&mut self, definition: Number, record: IncompleteRecord) {
        self.touch(RecordKey::Incomplete(definition, record.version.id().number()));
        self.insert_incomplete(definition, Arc::new(record));
    }

    pub(super) fn insert_incomplete(&mut self, definition: Number, record: Arc<IncompleteRecord>) {
        let key = (definition, record.version.id().number());
        if let Some(old) = self.incomplete.get(&key) {
            self.indexes.remove_incomplete(&old.version);
        }
        self.indexes.add_incomplete(&record.version);
        self.incomplete.insert(key, record);
    }

    /// Removes a version that has no content yet. Returns whether there was one.
    fn remove_incomplete(&mut self, key: (Number, VersionNumber)) -> bool {
        let is_there = self.drop_incomplete(key);
        if is_there {
            self.touch(RecordKey::Incomplete(key.0, key.1));
        }
        is_there
    }

    pub(super) fn drop_incomplete(&mut self, key: (Number, VersionNumber)) -> bool {
        let Some(old) = self.incomplete.remove(&key) else { return false };
        self.indexes.remove_incomplete(&old.version);
        true
    }

    fn put_operation(&mut self, record: OperationRecord) {
        self.touch(RecordKey::Operation(record.id));
        self.insert_operation(Arc::new(record));
    }

    pub(super) fn insert_operation(&mut self, record: Arc<OperationRecord>) {
        self.drop_operation(record.id);
        self.indexes.add_operation(&record);
        self.operations.insert(record.id, record);
    }

    pub(super) fn drop_operation(&mut self, id: OperationId) {
        if let Some(record) = self.operations.remove(&id) {
            self.indexes.remove_operation(&record);
        }
    }

    /// Returns the open operation that makes a version what it is to be.
    fn made_by(&self, version: &ImageVersionId) -> Option<OperationId> {
        let open = self.operation_of(version)?;
        matches!(open.kind, OperationKind::Create | OperationKind::Update).then_some(open.id)
    }

    /// Ends the open operation of a version that has all its replicas.
    fn succeed(&mut self, version: &ImageVersionId, time: DateTime<Utc>) {
        let Some(operation) = self.made_by(version) else { return };
        if self.version(version).is_some_and(|record| record.soft_deleted.is_none() && !record.lacks_replicas()) {
            self.end_operation(operation, None, time);
        }
    }

    /// Ends the open operation on a resource that is deleted: well, if that was the operation.
    fn deleted(&mut self, target: &OperationTarget, time: DateTime<Utc>) {
        let Some(operation) = self.indexes.operation_of(target) else { return };
        match self.operations.get(&operation).is_some_and(|record| record.kind == OperationKind::Delete) {
            true => self.end_operation(operation, None, time),
            false => self.preempt(target, "it was deleted", time),
        }
    }

    /// Ends the open operation on a resource that another request has overtaken.
    fn preempt(&mut self, target: &OperationTarget, reason: &str, time: DateTime<Utc>) {
        let Some(operation) = self.indexes.operation_of(target) else { return };
        let failure = Failure { code: "OperationPreempted".to_owned(), reason: reason.to_owned() };
        self.end_operation(operation, Some((BadEnd::Canceled, failure)), time);
    }

    /// Ends an operation that is open, and forgets those that ended long ago.
    fn end_operation(&mut self, id: OperationId, bad: Option<(BadEnd, Failure)>, time: DateTime<Utc>) {
        let Some(open) = self.operations.get(&id).filter(|record| record.ended.is_none()) else { return };
        let ended = Some(Ended { at: time, number: self.number + 1, bad });
        self.put_operation(OperationRecord { ended, ..OperationRecord::clone(open) });
        while let Some((first, count)) = self.indexes.first_ended() {
            let ended = self.operations.get(&first).and_then(|record| record.ended.as_ref());
            if count <= KEPT_OPERATIONS && ended.is_some_and(|ended| time - ended.at <= KEPT_FOR) {
                break;
            }
            self.drop_operation(first);
            self.touch(RecordKey::Operation(first));
        }
    }

    /// Removes a source by name: it is gone, or has bytes now.
    fn forget_named(&mut self, id: &ResourceId) {
        if self.named.remove(id).is_some() {
            self.touch(RecordKey::Named(id.clone()));
        }
    }

    fn put_upload(&mut self, name: UploadName, upload: Upload) {
        self.remove_upload(name);
        self.indexes.add_upload(name, &upload.target);
        self.uploads.insert(name, upload);
        self.touch(RecordKey::Upload(name));
    }

    fn remove_upload(&mut self, name: UploadName) {
        let Some(upload) = self.uploads.remove(&name) else { return };
        self.indexes.remove_upload(name, &upload.target);
        self.touch(RecordKey::Upload(name));
    }

    /// Removes a definition with its versions, and ends the assignments there.
    fn end_definition(&mut self, gallery: Number, record: &DefinitionRecord, time: DateTime<Utc>) {
        let versions: Vec<_> = self.versions_of(record.number, None).cloned().collect();
        for version in versions {
            self.remove_version((record.number, version.version.id().number()));
            self.end(version.version.id(), time);
        }
        let incomplete: Vec<_> = self.incomplete_in(record.number, None).map(|one| one.version.id().clone()).collect();
        for id in incomplete {
            self.remove_incomplete((record.number, id.number()));
            self.close_uploads(&id.clone().into());
            self.end(id, time);
        }
        let id = record.definition.id();
        self.remove_definition((gallery, Some(id.name().clone())));
        self.end(id, time);
    }

    /// Ends the assignments and denials at a resource, and what is kept of it beside its record.
    fn end(&mut self, id: impl Into<AccessScope>, time: DateTime<Utc>) {
        let scope = id.into();
        if let Some(target) = OperationTarget::of(&scope) {
            self.deleted(&target, time);
        }
        if let AccessScope::Resource(id) = &scope {
            if self.extras.remove(id).is_some() {
                self.touch(RecordKey::Extras(id.clone()));
            }
            if self.unmodelled.remove(id).is_some() {
                self.touch(RecordKey::Unmodelled(id.clone()));
            }
        }
        if self.access.stands_at(&scope) {
            let [assignments, denials] = self.access.ids_at(&scope);
            self.access_mut().end(&scope);
            assignments.into_iter().for_each(|id| self.touch(RecordKey::Assignment(scope.clone(), id)));
            denials.into_iter().for_each(|id| self.touch(RecordKey::Denial(scope.clone(), id)));
        }
    }

    pub(super) fn access_mut(&mut self) -> &mut AccessPolicy {
        Arc::make_mut(&mut self.access)
    }

    /// Closes the imports of `target`.
    fn close_uploads(&mut self, target: &ResourceId) {
        self.indexes.uploads_of(target).to_vec().into_iter().for_each(|name| self.remove_upload(name));
    }

    fn change_version(&mut self, id: &ImageVersionId, change: impl FnOnce(&mut VersionRecord)) -> Option<()> {
        let definition = self.definition_record(id.definition())?.number;
        let mut record = VersionRecord::clone(self.versions.get(&(definition, id.number()))?);
        change(&mut record);
        self.put_version(definition, record);
        Some(())
    }
}
