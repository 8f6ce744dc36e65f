//! The records of a state as rows, in one order of keys: what a segment of a checkpoint is made of.

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{StoreName, UploadName};
use super::indexes::{Indexes, OfVersions};
use super::operation::{Duty, DutyRecord, OperationId, OperationRecord};
use super::record::{
    Condemned, DefinitionRecord, GalleryRecord, GroupRecord, ImageRecord, IncompleteRecord, NamedRecord, Number,
    Upload, VersionRecord,
};
use super::record_key::RecordKey;
use super::state::State;
use crate::access::{DenyAssignment, GallerySharing, RoleAssignment, RoleDefinition};
use crate::content::blob_name::Incarnations;
use crate::content::names::SlotId;
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageName, ManagedImage, ManagedImageId, Region, ResourceGroupId, ResourceId,
    Snapshot, SnapshotId, VersionNumber,
};
use crate::persistent_map::PersistentMap;

/// A record, as a segment has it. [`encoding`](super::encoding) says which kinds are JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Row {
    Gallery {
        number: Number,
        revision: u64,
        #[serde(serialize_with = "Gallery::compact")]
        gallery: Arc<Gallery>,
        #[serde(default, skip_serializing_if = "GallerySharing::is_empty")]
        sharing: GallerySharing,
    },
    Definition {
        gallery: Number,
        number: Number,
        revision: u64,
        #[serde(serialize_with = "ImageDefinition::compact")]
        definition: Arc<ImageDefinition>,
    },
    #[serde(skip)]
    Version {
        of: Number,
        record: Arc<VersionRecord>,
    },
    ManagedImage(Arc<ImageRecord<ManagedImage>>),
    Snapshot(Arc<ImageRecord<Snapshot>>),
    Upload(UploadName, Upload),
    #[serde(skip)]
    Announced(UploadName, u64),
    Role(Arc<RoleDefinition>),
    Assignment(Arc<RoleAssignment>),
    Denial(Arc<DenyAssignment>),
    Claim(Region, Option<u32>, StoreName, u64),
    Condemned(Region, Arc<Condemned>),
    Incarnations(Region, SlotId, Arc<Incarnations>),
    LastCondemned(Region, u64),
    Extras(ResourceId, Arc<str>),
    Incomplete(Number, Arc<IncompleteRecord>),
    Unmodelled(ResourceId, Arc<str>),
    ResourceGroup(Arc<GroupRecord>),
    Named(Arc<NamedRecord>),
    Operation(Arc<OperationRecord>),
    Duty(Arc<DutyRecord>),
    /// The record is gone.
    Removed(RecordKey),
}

impl Row {
    pub(super) fn key(&self) -> RecordKey {
        match self {
            Self::Gallery { gallery, .. } => RecordKey::Gallery(gallery.id().clone()),
            Self::Definition { gallery, definition, .. } => {
                RecordKey::Definition(*gallery, definition.id().name().clone())
            }
            Self::Version { of, record } => RecordKey::Version(*of, record.version.id().number()),
            Self::ManagedImage(record) => RecordKey::ManagedImage(record.resource.id().clone()),
            Self::Snapshot(record) => RecordKey::Snapshot(record.resource.id().clone()),
            Self::Upload(name, _) => RecordKey::Upload(*name),
            Self::Announced(name, _) => RecordKey::Announced(*name),
            Self::Role(role) => RecordKey::Role(role.id().clone()),
            Self::Assignment(one) => RecordKey::Assignment(one.scope.clone(), one.id.clone()),
            Self::Denial(one) => RecordKey::Denial(one.scope.clone(), one.id.clone()),
            Self::Claim(region, zone, ..) => RecordKey::Claim(region.clone(), *zone),
            Self::Condemned(region, _) => RecordKey::Condemned(region.clone()),
            Self::Incarnations(region, slot, _) => RecordKey::Incarnations(region.clone(), *slot),
            Self::LastCondemned(region, _) => RecordKey::LastCondemned(region.clone()),
            Self::Extras(of, _) => RecordKey::Extras(of.clone()),
            Self::Incomplete(of, record) => RecordKey::Incomplete(*of, record.version.id().number()),
            Self::Unmodelled(of, _) => RecordKey::Unmodelled(of.clone()),
            Self::ResourceGroup(record) => RecordKey::ResourceGroup(record.group.id().clone()),
            Self::Named(record) => RecordKey::Named(record.source.id().clone()),
            Self::Operation(record) => RecordKey::Operation(record.id),
            Self::Duty(record) => RecordKey::Duty(record.duty.clone()),
            Self::Removed(key) => key.clone(),
        }
    }
}

/// The records of a range: those that there are many of as parts of a state, which cost little to join.
#[derive(Default)]
pub(super) struct RangeRecords {
    pub(super) versions: PersistentMap<(Number, VersionNumber), Arc<VersionRecord>>,
    pub(super) announced: PersistentMap<UploadName, u64>,
    pub(super) of_versions: OfVersions,
    pub(super) others: Vec<Row>,
}

impl FromIterator<Row> for RangeRecords {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        let (mut records, mut versions, mut announced) = (Self::default(), Vec::new(), Vec::new());
        for row in rows {
            match row {
                Row::Version { of, record } => {
                    records.of_versions.add(of, &record);
                    versions.push(((of, record.version.id().number()), record));
                }
                Row::Announced(name, number) => announced.push((name, number)),
                other => records.others.push(other),
            }
        }
        Self { versions: versions.into_iter().collect(), announced: announced.into_iter().collect(), ..records }
    }
}

/// The keys of one kind, from where all keys begin.
macro_rules! keys {
    ($from:expr, $rank:literal, $keys:expr, $key:pat => $at:expr, $make:expr) => {{
        let bound = match $from {
            Some($key) => Some(Bound::Included($at)),
            Some(later) if later.rank() > $rank => None,
            _ => Some(Bound::Unbounded),
        };
        bound.into_iter().flat_map(move |from| $keys.range((from, Bound::Unbounded))).map(|(key, _)| $make(key))
    }};
}

impl State {
    /// Returns a state that has no records yet with those of ranges, to take the others of a checkpoint.
    pub(super) fn of_ranges(mut state: Self, records: Vec<RangeRecords>) -> Self {
        let (mut versions, mut announced, mut of_versions, mut others) =
            <(Vec<_>, Vec<_>, OfVersions, Vec<_>)>::default();
        for range in records {
            versions.push(range.versions);
            announced.push(range.announced);
            of_versions.append(range.of_versions);
            others.extend(range.others);
        }
        state.versions = PersistentMap::joined(versions);
        state.announced = PersistentMap::joined(announced);
        state.indexes = Indexes::of_versions(of_versions);
        others.into_iter().for_each(|row| state.take(row));
        state
    }

    /// Returns the keys of all records from `from` on, in order.
    pub(super) fn keys_from<'a>(&'a self, from: Option<&RecordKey>) -> impl Iterator<Item = RecordKey> + 'a {
        use RecordKey as Key;
        let from = from.cloned();
        let galleries =
            keys!(from.clone(), 0, self.galleries, Key::Gallery(id) => id, |id: &GalleryId| Key::Gallery(id.clone()));
        let definitions = keys!(
            from.clone(), 1, self.definitions, Key::Definition(of, name) => (of, Some(name)),
            |(of, name): &(Number, Option<ImageName>)| name.clone().map(|name| Key::Definition(*of, name))
        );
        let versions = keys!(
            from.clone(), 2, self.versions, Key::Version(of, number) => (of, number),
            |(of, number): &(Number, VersionNumber)| Key::Version(*of, *number)
        );
        let managed_images = keys!(
            from.clone(), 3, self.managed_images, Key::ManagedImage(id) => id,
            |id: &ManagedImageId| Key::ManagedImage(id.clone())
        );
        let snapshots = keys!(from.clone(), 4, self.snapshots, Key::Snapshot(id) => id, |id: &SnapshotId| Key::Snapshot(id.clone()));
        let uploads =
            keys!(from.clone(), 5, self.uploads, Key::Upload(name) => name, |name: &UploadName| Key::Upload(*name));
        let announced = keys!(
            from.clone(), 6, self.announced, Key::Announced(name) => name, |name: &UploadName| Key::Announced(*name)
        );
        let policy = self.access();
        let roles = policy.custom_roles().map(|role| Key::Role(role.id().clone()));
        let assignments = policy.assignments().map(|one| Key::Assignment(one.scope.clone(), one.id.clone()));
        let denials = policy.denials().map(|one| Key::Denial(one.scope.clone(), one.id.clone()));
        let start = from.clone();
        let access = roles.chain(assignments).chain(denials);
        let access = access.skip_while(move |key| start.as_ref().is_some_and(|start| key < start));
        let claims = keys!(
            from.clone(), 10, self.claims, Key::Claim(region, zone) => (region, zone),
            |(region, zone): &(Region, Option<u32>)| Key::Claim(region.clone(), *zone)
        );
        let condemned = keys!(
            from.clone(), 11, self.condemned, Key::Condemned(region) => region,
            |region: &Region| Key::Condemned(region.clone())
        );
        let incarnations = keys!(
            from.clone(), 12, self.incarnations, Key::Incarnations(region, slot) => (region, slot),
            |(region, slot): &(Region, SlotId)| Key::Incarnations(region.clone(), *slot)
        );
        let last_condemned = keys!(
            from.clone(), 13, self.last_condemned, Key::LastCondemned(region) => region,
            |region: &Region| Key::LastCondemned(region.clone())
        );
        let extras =
            keys!(from.clone(), 14, self.extras, Key::Extras(of) => of, |of: &ResourceId| Key::Extras(of.clone()));
        let incomplete = keys!(
            from.clone(), 15, self.incomplete, Key::Incomplete(of, number) => (of, number),
            |(of, number): &(Number, VersionNumber)| Key::Incomplete(*of, *number)
        );
        let unmodelled = keys!(
            from.clone(), 16, self.unmodelled, Key::Unmodelled(of) => of,
            |of: &ResourceId| Key::Unmodelled(of.clone())
        );
        let groups = keys!(
            from.clone(), 17, self.groups, Key::ResourceGroup(id) => id, |id: &ResourceGroupId| Key::ResourceGroup(id.clone())
        );
        let operations = keys!(
            from.clone(), 19, self.operations, Key::Operation(id) => id, |id: &OperationId| Key::Operation(*id)
        );
        let duties =
            keys!(from.clone(), 20, self.duties, Key::Duty(duty) => duty, |duty: &Duty| Key::Duty(duty.clone()));
        let named = keys!(from, 18, self.named, Key::Named(id) => id, |id: &ResourceId| Key::Named(id.clone()));
        galleries
            .chain(definitions.flatten())
            .chain(versions)
            .chain(managed_images)
            .chain(snapshots)
            .chain(uploads)
            .chain(announced)
            .chain(access)
            .chain(claims)
            .chain(condemned)
            .chain(incarnations)
            .chain(last_condemned)
            .chain(extras)
            .chain(incomplete)
            .chain(unmodelled)
            .chain(groups)
            .chain(named)
            .chain(operations)
            .chain(duties)
    }

    /// Returns the row of a record, also of one that is gone.
    pub(super) fn row(&self, key: &RecordKey) -> Row {
        self.record(key).unwrap_or_else(|| Row::Removed(key.clone()))
    }

    fn record(&self, key: &RecordKey) -> Option<Row> {
        Some(match key {
            RecordKey::Gallery(id) => {
                let GalleryRecord { number, revision, gallery, sharing } = &**self.galleries.get(id)?;
                let (number, revision) = (*number, *revision);
                Row::Gallery { number, revision, gallery: gallery.clone(), sharing: sharing.clone() }
            }
            RecordKey::Definition(gallery, name) => {
                let record = self.definitions.get(&(*gallery, Some(name.clone())))?;
                let DefinitionRecord { number, revision, definition } = &**record;
                let (number, revision) = (*number, *revision);
                Row::Definition { gallery: *gallery, number, revision, definition: definition.clone() }
            }
            RecordKey::Version(of, number) => {
                Row::Version { of: *of, record: self.versions.get(&(*of, *number))?.clone() }
            }
            RecordKey::ManagedImage(id) => Row::ManagedImage(self.managed_images.get(id)?.clone()),
            RecordKey::Snapshot(id) => Row::Snapshot(self.snapshots.get(id)?.clone()),
            RecordKey::Upload(name) => Row::Upload(*name, self.uploads.get(name)?.clone()),
            RecordKey::Announced(name) => Row::Announced(*name, *self.announced.get(name)?),
            RecordKey::Role(id) => Row::Role(self.access().custom_role(id)?.clone()),
            RecordKey::Assignment(scope, id) => Row::Assignment(self.access().assignment(scope, id)?.clone()),
            RecordKey::Denial(scope, id) => Row::Denial(self.access().denial(scope, id)?.clone()),
            RecordKey::Claim(region, zone) => {
                let (store, number) = self.claims.get(&(region.clone(), *zone))?;
                Row::Claim(region.clone(), *zone, *store, *number)
            }
            RecordKey::Condemned(region) => Row::Condemned(region.clone(), self.condemned.get(region)?.clone()),
            RecordKey::Incarnations(region, slot) => {
                let of_slot = self.incarnations.get(&(region.clone(), *slot))?;
                Row::Incarnations(region.clone(), *slot, of_slot.clone())
            }
            RecordKey::LastCondemned(region) => Row::LastCondemned(region.clone(), *self.last_condemned.get(region)?),
            RecordKey::Extras(of) => Row::Extras(of.clone(), self.extras.get(of)?.clone()),
            RecordKey::Incomplete(of, number) => Row::Incomplete(*of, self.incomplete.get(&(*of, *number))?.clone()),
            RecordKey::Unmodelled(of) => Row::Unmodelled(of.clone(), self.unmodelled.get(of)?.clone()),
            RecordKey::ResourceGroup(id) => Row::ResourceGroup(self.groups.get(id)?.clone()),
            RecordKey::Named(id) => Row::Named(self.named.get(id)?.clone()),
            RecordKey::Operation(id) => Row::Operation(self.operations.get(id)?.clone()),
            RecordKey::Duty(duty) => Row::Duty(self.duties.get(duty)?.clone()),
        })
    }

    /// Inserts the record of a row, or removes it. [`named`](Self::named) follows when all are there.
    pub(super) fn take(&mut self, row: Row) {
        match row {
            Row::Gallery { number, revision, gallery, sharing } => {
                let (id, record) = (gallery.id().clone(), GalleryRecord { number, revision, gallery, sharing });
                self.galleries.insert(id, Arc::new(record));
            }
            Row::Definition { gallery, number, revision, definition } => {
                let name = definition.id().name().clone();
                let record = DefinitionRecord { number, revision, definition };
                self.definitions.insert((gallery, Some(name)), Arc::new(record));
            }
            Row::Version { of, record } => self.insert_version(of, Arc::unwrap_or_clone(record)),
            Row::ManagedImage(record) => {
                self.managed_images.insert(record.resource.id().clone(), record);
            }
            Row::Snapshot(record) => {
                self.snapshots.insert(record.resource.id().clone(), record);
            }
            Row::Upload(name, upload) => {
                self.uploads.insert(name, upload);
            }
            Row::Announced(name, number) => {
                self.announced.insert(name, number);
            }
            Row::Role(role) => self.access_mut().put_role(Arc::unwrap_or_clone(role)),
            Row::Assignment(assignment) => self.access_mut().assign(Arc::unwrap_or_clone(assignment)),
            Row::Denial(denial) => self.access_mut().deny(Arc::unwrap_or_clone(denial)),
            Row::Claim(region, zone, store, number) => {
                self.claims.insert((region, zone), (store, number));
            }
            Row::Condemned(region, condemned) => {
                self.condemned.insert(region, condemned);
            }
            Row::Incarnations(region, slot, of_slot) => {
                self.incarnations.insert((region, slot), of_slot);
            }
            Row::LastCondemned(region, number) => {
                self.last_condemned.insert(region, number);
            }
            Row::Extras(of, extras) => drop(self.extras.insert(of, extras)),
            Row::Incomplete(of, record) => self.insert_incomplete(of, record),
            Row::Unmodelled(of, properties) => drop(self.unmodelled.insert(of, properties)),
            Row::ResourceGroup(record) => drop(self.groups.insert(record.group.id().clone(), record)),
            Row::Named(record) => drop(self.named.insert(record.source.id().clone(), record)),
            Row::Operation(record) => self.insert_operation(record),
            Row::Duty(record) => drop(self.duties.insert(record.duty.clone(), record)),
            Row::Removed(key) => self.remove(&key),
        }
    }

    fn remove(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Gallery(id) => drop(self.galleries.remove(id)),
            RecordKey::Definition(gallery, name) => drop(self.definitions.remove(&(*gallery, Some(name.clone())))),
            RecordKey::Version(of, number) => self.drop_version((*of, *number)),
            RecordKey::ManagedImage(id) => drop(self.managed_images.remove(id)),
            RecordKey::Snapshot(id) => drop(self.snapshots.remove(id)),
            RecordKey::Upload(name) => drop(self.uploads.remove(name)),
            RecordKey::Announced(name) => {
                self.announced.remove(name);
            }
            // A role that is assigned goes after its assignments.
            RecordKey::Role(id) => self.access_mut().forget_role(id),
            RecordKey::Assignment(scope, id) => self.access_mut().unassign(scope, id),
            RecordKey::Denial(scope, id) => self.access_mut().undeny(scope, id),
            RecordKey::Claim(region, zone) => {
                self.claims.remove(&(region.clone(), *zone));
            }
            RecordKey::Condemned(region) => drop(self.condemned.remove(region)),
            RecordKey::Incarnations(region, slot) => drop(self.incarnations.remove(&(region.clone(), *slot))),
            RecordKey::LastCondemned(region) => {
                self.last_condemned.remove(region);
            }
            RecordKey::Extras(of) => drop(self.extras.remove(of)),
            RecordKey::Incomplete(of, number) => drop(self.drop_incomplete((*of, *number))),
            RecordKey::Unmodelled(of) => drop(self.unmodelled.remove(of)),
            RecordKey::ResourceGroup(id) => drop(self.groups.remove(id)),
            RecordKey::Named(id) => drop(self.named.remove(id)),
            RecordKey::Operation(id) => self.drop_operation(*id),
            RecordKey::Duty(duty) => drop(self.duties.remove(duty)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, ImageContent};
    use super::super::features::Features;
    use super::*;
    use crate::content::digest::Digest;
    use crate::content::names::UploadId;
    use crate::model::{
        DiskImage, ImageDefinitionId, ImageIdentifier, ImageVersion, OsState, OsType, PublishingProfile, StorageProfile,
    };

    const OF_A_DEFINITION: u32 = 100;

    fn upload(number: u32) -> UploadName {
        let bytes = Digest::of(&number.to_le_bytes());
        UploadName(UploadId::from_bytes(*bytes.as_bytes().first_chunk().unwrap()))
    }

    fn content() -> ImageContent {
        let digest = Digest::of(b"disk");
        ImageContent { upload: upload(0), manifest: digest, os_disk_digest: digest, stored_bytes: 1 }
    }

    fn definition(number: u32) -> ImageDefinitionId {
        let gallery = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g";
        gallery.parse::<GalleryId>().unwrap().image(format!("image-{number}").parse().unwrap())
    }

    fn version(image: &ImageDefinitionId, patch: u32) -> ImageVersion {
        let id = image.version(VersionNumber::new(1, 0, patch).unwrap());
        let (home, profile) = ("eastus".parse().unwrap(), PublishingProfile::new("eastus,westus".parse().unwrap()));
        ImageVersion::new(id, home, profile, StorageProfile::new(DiskImage::new(1 << 30), vec![]).unwrap()).unwrap()
    }

    /// A state with so many versions, each announced.
    fn state(count: u32) -> State {
        let (home, first) = ("eastus".parse::<Region>().unwrap(), version(&definition(0), 0));
        let rows = (0..count.div_ceil(OF_A_DEFINITION)).flat_map(|of| {
            let (image, home, first) = (definition(of), home.clone(), first.clone());
            (0..OF_A_DEFINITION).map(move |patch| {
                let id = image.version(VersionNumber::new(1, 0, patch).unwrap());
                let mut record = VersionRecord::new(first.published_as_another(id, None), content(), None, 1);
                record.complete_in(&home, 1, 0);
                Row::Version { of: Number::from(of) + 2, record: Arc::new(record) }
            })
        });
        let rows = rows.chain((0..count).map(|number| Row::Announced(upload(number), 1)));
        let gallery = Gallery::new(definition(0).gallery().clone(), home.clone());
        let definitions = (0..count.div_ceil(OF_A_DEFINITION)).map(|of| {
            let identifier = ImageIdentifier::new("p", "o", &format!("s{of}")).unwrap();
            let (os, state) = (OsType::Linux, OsState::Generalized);
            let definition = ImageDefinition::new(definition(of), home.clone(), os, state, identifier);
            let number = Number::from(of) + 2;
            Row::Definition { gallery: 1, number, revision: 1, definition: Arc::new(definition) }
        });
        let sharing = GallerySharing::default();
        let gallery = Row::Gallery { number: 1, revision: 1, gallery: Arc::new(gallery), sharing };
        let empty = State::empty(Digest::of(b""), Features::default());
        State::of_ranges(empty, vec![[gallery].into_iter().chain(definitions).chain(rows).collect()]).named()
    }

    /// The nodes of all maps that a commit copies.
    fn copied_by(state: &mut State, event: &Event) -> usize {
        let mut next = state.clone();
        next.apply(event, "2026-01-02T03:04:05Z".parse().unwrap()).unwrap();
        let copied = next.versions.nodes_copied_from(&state.versions)
            + next.announced.nodes_copied_from(&state.announced)
            + next.definitions.nodes_copied_from(&state.definitions)
            + next.galleries.nodes_copied_from(&state.galleries)
            + next.uploads.nodes_copied_from(&state.uploads)
            + next.indexes.nodes_copied_from(&state.indexes);
        *state = next.committed(Digest::of(b""), "2026-01-02T03:04:05Z".parse().unwrap());
        copied
    }

    /// The maps of a million versions are as deep as those of a hundred thousand.
    #[test]
    fn a_commit_among_a_hundred_thousand_versions_copies_at_most_twice_the_nodes_of_one_among_a_thousand() {
        let [few, many] = [1_000, 100_000].map(|count| {
            let mut state = state(count);
            assert_eq!(state.all_versions().count(), count as usize);
            let image = definition(count / OF_A_DEFINITION / 2);
            let (version, region) = (version(&image, 1_000), "eastus".parse::<Region>().unwrap());
            let (target, id) = (version.id().clone().into(), version.id().clone());
            let started = Event::UploadStarted { upload: upload(u32::MAX), target, region: region.clone() };
            let published = Event::ImageVersionPublished { version, content: content(), carried: None };
            let completed =
                Event::RegionCompleted { version: id, region: region.clone(), replicas: 1, cross_region_bytes: 0 };
            let copied = [started, published, completed].map(|event| copied_by(&mut state, &event));
            let latest = state.latest(&image, &region).unwrap().version.id().number();
            assert_eq!(latest, VersionNumber::new(1, 0, 1_000).unwrap());
            copied
        });
        println!("nodes copied by an announcement, a publish and a completed region: {few:?}, {many:?}");
        assert!(few.iter().zip(&many).all(|(few, many)| *many <= 2 * few), "{few:?}, {many:?}");
    }
}
