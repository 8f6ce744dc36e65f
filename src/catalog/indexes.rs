//! The indexes of a state: answers that would otherwise take a walk over all records. They follow from the records, and are
//! never stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::event::UploadName;
use super::operation::{OperationId, OperationRecord, OperationTarget};
use super::record::{Number, VersionRecord};
use crate::model::{
    Gallery, GalleryId, GalleryName, ImageDefinition, ImageIdentifier, ImageName, ImageVersion, Region, ResourceId,
    SubscriptionId, VersionNumber,
};
use crate::persistent_map::PersistentMap;

/// The counts of a subscription's galleries, definitions and versions in a region.
pub(super) type Counts = [usize; 3];

type Candidate = (Number, Region, VersionNumber);

type Retained = (DateTime<Utc>, Number, VersionNumber);

/// What versions add to the indexes: found where they are read, many at once, and in no order.
#[derive(Debug, Default)]
pub(super) struct OfVersions {
    candidates: Vec<(Candidate, ())>,
    retained: Vec<(Retained, ())>,
    lacking: Vec<((Number, VersionNumber), ())>,
    usage: BTreeMap<(SubscriptionId, Region), usize>,
}

impl OfVersions {
    /// Adds a version.
    pub(super) fn add(&mut self, definition: Number, record: &VersionRecord) {
        let number = record.version.id().number();
        let regions = record.ready_regions().filter(|region| record.is_candidate_in(region));
        self.candidates.extend(regions.map(|region| ((definition, region.clone(), number), ())));
        self.retained.extend(record.soft_deleted.map(|until| ((until, definition, number), ())));
        self.lacking.extend(record.lacks_replicas().then_some(((definition, number), ())));
        let subscription = record.version.id().definition().gallery().subscription();
        *self.usage.entry((subscription.clone(), record.version.location().clone())).or_default() += 1;
    }

    /// Adds others.
    pub(super) fn append(&mut self, more: Self) {
        self.candidates.extend(more.candidates);
        self.retained.extend(more.retained);
        self.lacking.extend(more.lacking);
        for (place, count) in more.usage {
            *self.usage.entry(place).or_default() += count;
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Indexes {
    /// Galleries by name; a name is used once in a subscription.
    pub(super) gallery_names: PersistentMap<(SubscriptionId, GalleryName), GalleryId>,
    /// Galleries by the name that consumers of a direct share use, in lower case.
    pub(super) unique_names: PersistentMap<Arc<str>, GalleryId>,
    /// Community galleries by public name, in lower case.
    pub(super) public_names: PersistentMap<Arc<str>, GalleryId>,
    /// Definitions by identifier, which is used once in a gallery.
    pub(super) identifiers: PersistentMap<(Number, Arc<str>), ImageName>,
    /// For each definition and region, the versions that can be the latest there.
    candidates: PersistentMap<Candidate, ()>,
    /// Soft-deleted versions by the end of their retention.
    retained: PersistentMap<Retained, ()>,
    /// Versions that lack replicas in a region.
    lacking: PersistentMap<(Number, VersionNumber), ()>,
    /// The open operation of each version that has one.
    operations: PersistentMap<OperationTarget, OperationId>,
    /// The operations that ended, by the commit.
    ended: PersistentMap<(u64, OperationId), ()>,
    /// Open imports by target.
    uploads: PersistentMap<ResourceId, Vec<UploadName>>,
    usage: PersistentMap<(SubscriptionId, Region), Counts>,
}

/// Identifiers are compared without case.
fn folded(identifier: &ImageIdentifier) -> Arc<str> {
    [identifier.publisher(), identifier.offer(), identifier.sku()].join("\n").to_ascii_lowercase().into()
}

impl Indexes {
    #[cfg(test)]
    pub(super) fn nodes_copied_from(&self, before: &Self) -> usize {
        self.candidates.nodes_copied_from(&before.candidates)
            + self.retained.nodes_copied_from(&before.retained)
            + self.lacking.nodes_copied_from(&before.lacking)
            + self.uploads.nodes_copied_from(&before.uploads)
            + self.usage.nodes_copied_from(&before.usage)
    }

    /// Returns the indexes of a state that has only these versions.
    pub(super) fn of_versions(OfVersions { mut candidates, mut retained, mut lacking, usage }: OfVersions) -> Self {
        // Mostly they are in order.
        candidates.sort();
        retained.sort();
        lacking.sort();
        Self {
            candidates: candidates.into_iter().collect(),
            retained: retained.into_iter().collect(),
            lacking: lacking.into_iter().collect(),
            usage: usage.into_iter().map(|(place, versions)| (place, [0, 0, versions])).collect(),
            ..Self::default()
        }
    }

    pub(super) fn usage(&self, subscription: &SubscriptionId, region: &Region) -> Counts {
        self.usage.get(&(subscription.clone(), region.clone())).copied().unwrap_or_default()
    }

    fn count(&mut self, subscription: &SubscriptionId, region: &Region, change: impl Fn(&mut Counts)) {
        self.usage.get_or_default((subscription.clone(), region.clone())).into_iter().for_each(change);
    }

    pub(super) fn add_gallery(&mut self, gallery: &Gallery) {
        let id = gallery.id();
        self.gallery_names.insert((id.subscription().clone(), id.name().clone()), id.clone());
        self.unique_names.insert(gallery.unique_name().to_ascii_lowercase().into(), id.clone());
        self.count(id.subscription(), gallery.location(), |[galleries, ..]| *galleries += 1);
    }

    pub(super) fn remove_gallery(&mut self, gallery: &Gallery) {
        let id = gallery.id();
        self.gallery_names.remove(&(id.subscription().clone(), id.name().clone()));
        self.unique_names.remove(gallery.unique_name().to_ascii_lowercase().as_str());
        self.count(id.subscription(), gallery.location(), |[galleries, ..]| *galleries = galleries.saturating_sub(1));
    }

    pub(super) fn replace_gallery(&mut self, old: &Gallery, new: &Gallery) {
        if old.id() != new.id() || old.location() != new.location() {
            self.remove_gallery(old);
            self.add_gallery(new);
        }
    }

    /// Replaces the public name of a gallery.
    pub(super) fn name_publicly(&mut self, gallery: &GalleryId, old: Option<&String>, new: Option<&String>) {
        if old == new {
            return;
        }
        if let Some(name) = old {
            self.public_names.remove(name.to_ascii_lowercase().as_str());
        }
        if let Some(name) = new {
            self.public_names.insert(name.to_ascii_lowercase().into(), gallery.clone());
        }
    }

    pub(super) fn definition_by(&self, gallery: Number, identifier: &ImageIdentifier) -> Option<&ImageName> {
        self.identifiers.get(&(gallery, folded(identifier)))
    }

    pub(super) fn add_definition(&mut self, gallery: Number, definition: &ImageDefinition) {
        self.identifiers.insert((gallery, folded(definition.identifier())), definition.id().name().clone());
        let subscription = definition.id().gallery().subscription();
        self.count(subscription, definition.location(), |[_, definitions, _]| *definitions += 1);
    }

    pub(super) fn replace_definition(&mut self, gallery: Number, old: &ImageDefinition, new: &ImageDefinition) {
        if old.identifier() != new.identifier() || old.location() != new.location() {
            self.remove_definition(gallery, old);
            self.add_definition(gallery, new);
        }
    }

    pub(super) fn remove_definition(&mut self, gallery: Number, definition: &ImageDefinition) {
        self.identifiers.remove(&(gallery, folded(definition.identifier())));
        let subscription = definition.id().gallery().subscription();
        let less = |[_, definitions, _]: &mut Counts| *definitions = definitions.saturating_sub(1);
        self.count(subscription, definition.location(), less);
    }

    pub(super) fn add_version(&mut self, definition: Number, record: &VersionRecord) {
        let number = record.version.id().number();
        for region in record.ready_regions().filter(|region| record.is_candidate_in(region)) {
            self.candidates.insert((definition, region.clone(), number), ());
        }
        if let Some(until) = record.soft_deleted {
            self.retained.insert((until, definition, number), ());
        }
        self.note_lack(definition, record);
        let subscription = record.version.id().definition().gallery().subscription();
        self.count(subscription, record.version.location(), |[_, _, versions]| *versions += 1);
    }

    /// A version that has no content yet counts as one that has.
    pub(super) fn add_incomplete(&mut self, version: &ImageVersion) {
        let subscription = version.id().definition().gallery().subscription();
        self.count(subscription, version.location(), |[_, _, versions]| *versions += 1);
    }

    pub(super) fn remove_incomplete(&mut self, version: &ImageVersion) {
        let subscription = version.id().definition().gallery().subscription();
        self.count(subscription, version.location(), |[_, _, versions]| *versions = versions.saturating_sub(1));
    }

    pub(super) fn remove_version(&mut self, definition: Number, record: &VersionRecord) {
        let number = record.version.id().number();
        for region in record.ready_regions().filter(|region| record.is_candidate_in(region)) {
            self.candidates.remove(&(definition, region.clone(), number));
        }
        if let Some(until) = record.soft_deleted {
            self.retained.remove(&(until, definition, number));
        }
        self.lacking.remove(&(definition, number));
        let subscription = record.version.id().definition().gallery().subscription();
        let less = |[_, _, versions]: &mut Counts| *versions = versions.saturating_sub(1);
        self.count(subscription, record.version.location(), less);
    }

    pub(super) fn replace_version(&mut self, definition: Number, old: &VersionRecord, new: &VersionRecord) {
        let number = new.version.id().number();
        let are = |one: &VersionRecord, other: &VersionRecord| -> Vec<Region> {
            let can_be = one.ready_regions().filter(|region| one.is_candidate_in(region));
            can_be.filter(|region| !other.is_candidate_in(region)).cloned().collect()
        };
        for region in are(new, old) {
            self.candidates.insert((definition, region, number), ());
        }
        for region in are(old, new) {
            self.candidates.remove(&(definition, region, number));
        }
        if old.soft_deleted != new.soft_deleted {
            if let Some(until) = old.soft_deleted {
                self.retained.remove(&(until, definition, number));
            }
            if let Some(until) = new.soft_deleted {
                self.retained.insert((until, definition, number), ());
            }
        }
        self.note_lack(definition, new);
        let (from, to) = (old.version.location(), new.version.location());
        if from != to {
            let subscription = new.version.id().definition().gallery().subscription();
            self.count(subscription, from, |[_, _, versions]| *versions = versions.saturating_sub(1));
            self.count(subscription, to, |[_, _, versions]| *versions += 1);
        }
    }

    /// Notes whether a version lacks replicas.
    fn note_lack(&mut self, definition: Number, record: &VersionRecord) {
        let key = (definition, record.version.id().number());
        match (record.lacks_replicas(), self.lacking.contains_key(&key)) {
            (true, false) => drop(self.lacking.insert(key, ())),
            (false, true) => drop(self.lacking.remove(&key)),
            _ => {}
        }
    }

    /// Returns the versions that lack replicas in a region.
    pub(super) fn lacking(&self) -> impl Iterator<Item = &(Number, VersionNumber)> {
        self.lacking.keys()
    }

    pub(super) fn add_operation(&mut self, record: &OperationRecord) {
        match &record.ended {
            Some(ended) => drop(self.ended.insert((ended.number, record.id), ())),
            None => drop(self.operations.insert(record.resource.clone(), record.id)),
        }
    }

    pub(super) fn remove_operation(&mut self, record: &OperationRecord) {
        if self.operations.get(&record.resource) == Some(&record.id) {
            self.operations.remove(&record.resource);
        }
        if let Some(ended) = &record.ended {
            self.ended.remove(&(ended.number, record.id));
        }
    }

    /// Returns the open operation on a resource.
    pub(super) fn operation_of(&self, target: &OperationTarget) -> Option<OperationId> {
        self.operations.get(target).copied()
    }

    /// Returns the open operations.
    pub(super) fn open_operations(&self) -> impl Iterator<Item = OperationId> {
        self.operations.values().copied()
    }

    /// Returns the operation that ended first, and how many have ended.
    pub(super) fn first_ended(&self) -> Option<(OperationId, usize)> {
        self.ended.keys().next().map(|(_, id)| (*id, self.ended.len()))
    }

    /// Returns the numbers of the versions of a definition that may be the latest in a region, the highest first.
    pub(super) fn candidates(&self, definition: Number, region: &Region) -> impl Iterator<Item = VersionNumber> {
        let at = |number| (definition, region.clone(), number);
        let candidates = self.candidates.range(at(VersionNumber::LEAST)..=at(VersionNumber::GREATEST));
        candidates.rev().map(|((.., number), ())| *number)
    }

    /// Returns the soft-deleted versions whose retention is over.
    pub(super) fn gone(&self, now: DateTime<Utc>) -> impl Iterator<Item = (Number, VersionNumber)> {
        self.retained.keys().take_while(move |(until, ..)| *until <= now).map(|(_, of, number)| (*of, *number))
    }

    pub(super) fn add_upload(&mut self, name: UploadName, target: &ResourceId) {
        self.uploads.get_or_default(target.clone()).into_iter().for_each(|of| of.push(name));
    }

    pub(super) fn remove_upload(&mut self, name: UploadName, target: &ResourceId) {
        let Some(of) = self.uploads.get_mut(target) else { return };
        of.retain(|other| *other != name);
        if of.is_empty() {
            self.uploads.remove(target);
        }
    }

    pub(super) fn uploads_of(&self, target: &ResourceId) -> &[UploadName] {
        self.uploads.get(target).map_or(&[], Vec::as_slice)
    }
}
