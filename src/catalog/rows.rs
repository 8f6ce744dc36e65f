//! The records of a state as rows, in one order of keys: what a segment of a checkpoint is made of.

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{StoreName, UploadName};
use super::indexes::{Indexes, OfVersions};
use super::record::{Condemned, DefinitionRecord, GalleryRecord, ImageRecord, Number, Upload, VersionRecord};
use super::record_key::RecordKey;
use super::state::State;
use crate::access::{DenyAssignment, GallerySharing, RoleAssignment, RoleDefinition};
use crate::content::blob_name::Incarnations;
use crate::content::names::SlotId;
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageName, ManagedImage, ManagedImageId, Region, ResourceId, Snapshot,
    SnapshotId, VersionNumber,
};
use crate::persistent_map::PersistentMap;

/// A record, as a segment has it. [`encoding`](super::encoding) says which kinds are JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Row {
    Gallery {
        number: Number,
        #[serde(serialize_with = "Gallery::compact")]
        gallery: Arc<Gallery>,
        #[serde(default, skip_serializing_if = "GallerySharing::is_empty")]
        sharing: GallerySharing,
    },
    Definition {
        gallery: Number,
        number: Number,
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
        let (mut versions, mut announced, mut of_versions, mut others) = <(Vec<_>, Vec<_>, OfVersions, Vec<_>)>::default();
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
        let extras = keys!(from, 14, self.extras, Key::Extras(of) => of, |of: &ResourceId| Key::Extras(of.clone()));
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
    }

    /// Returns the row of a record, also of one that is gone.
    pub(super) fn row(&self, key: &RecordKey) -> Row {
        self.record(key).unwrap_or_else(|| Row::Removed(key.clone()))
    }

    fn record(&self, key: &RecordKey) -> Option<Row> {
        Some(match key {
            RecordKey::Gallery(id) => {
                let GalleryRecord { number, gallery, sharing } = &**self.galleries.get(id)?;
                Row::Gallery { number: *number, gallery: gallery.clone(), sharing: sharing.clone() }
            }
            RecordKey::Definition(gallery, name) => {
                let record = self.definitions.get(&(*gallery, Some(name.clone())))?;
                Row::Definition { gallery: *gallery, number: record.number, definition: record.definition.clone() }
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
        })
    }

    /// Inserts the record of a row, or removes it. [`named`](Self::named) follows when all are there.
    pub(super) fn take(&mut self, row: Row) {
        match row {
            Row::Gallery { number, gallery, sharing } => {
                self.galleries.insert(gallery.id().clone(), Arc::new(GalleryRecord { number, gallery, sharing }));
            }
            Row::Definition { gallery, number, definition } => {
                let name = definition.id().name().clone();
                self.definitions.insert((gallery, Some(name)), Arc::new(DefinitionRecord { number, definition }));
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
        }
    }
}
