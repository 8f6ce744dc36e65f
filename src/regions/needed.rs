//! The images that a region must keep: one answer for replication, collection and scrubbing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::stores::Regions;
use super::targets::{ready_in, replicas_in};
use crate::catalog::{ImageContent, ImageRecord, State, VersionRecord};
use crate::content::names::{FamilyId, ManifestId, SlotId, UploadId};
use crate::model::{ManagedImage, Region, ResourceId, Snapshot, StorageAccountType};
use crate::replica::holders::Holders;
use crate::replica::slot::Slot;

/// An image that a region must keep.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) id: ResourceId,
    pub(crate) manifest: ManifestId,
    /// The number of the commit that published it.
    pub(crate) published: u64,
    /// When it was published, if it is a version.
    pub(crate) published_date: Option<DateTime<Utc>>,
    /// The number of replicas that the region must have. Each is kept in `zones` zones.
    pub(crate) replicas: u32,
    /// The number of replicas that the catalog reports as whole; at most `replicas`.
    pub(crate) ready: u32,
    pub(crate) account: StorageAccountType,
    pub(crate) zones: usize,
    /// The slots of all regions that have it whole, by the catalog, to read from.
    pub(crate) holders: Vec<Slot>,
}

impl Kept {
    /// Returns the family that its packs are merged in; only those of versions are.
    pub(crate) fn family(&self) -> Option<FamilyId> {
        match &self.id {
            ResourceId::ImageVersion(version) => Some(FamilyId::of(&version.definition().to_string())),
            _ => None,
        }
    }

    /// Returns whether a slot of the region must have it.
    pub(crate) fn is_in(&self, slot: SlotId) -> bool {
        slot.number < self.replicas && slot.zone < self.zones
    }
}

/// The record of an image that a region must keep.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored<'s> {
    Version(&'s VersionRecord),
    ManagedImage(&'s ImageRecord<ManagedImage>),
    Snapshot(&'s ImageRecord<Snapshot>),
}

impl Stored<'_> {
    /// Returns the number of the commit that published it.
    pub(crate) fn published(self) -> u64 {
        match self {
            Self::Version(record) => record.published,
            Self::ManagedImage(record) => record.created,
            Self::Snapshot(record) => record.created,
        }
    }

    /// Returns the upload that its own records are in.
    pub(crate) fn upload(self) -> UploadId {
        self.content().manifest_id().upload
    }

    /// Returns the number of its whole replicas in the region, and of the zones that each is kept in.
    pub(crate) fn ready(self, regions: &Regions, region: &Region) -> (u32, usize) {
        let (_, ready, account) = self.replicas(region);
        (ready, regions.zones_of(region, account))
    }

    /// Returns the bytes that the region reads of it, if all its replicas and zones are read.
    pub(crate) fn read_bytes(self, regions: &Regions, region: &Region) -> u64 {
        let (ready, zones) = self.ready(regions, region);
        // What one replica takes, alone in its slot.
        self.content().stored_bytes * u64::from(ready) * zones as u64
    }

    pub(crate) fn kept(self, regions: &Regions, state: &State, region: &Region) -> Kept {
        let (replicas, ready, account) = self.replicas(region);
        let alone = || regions.copies(state, region, 0, account).unwrap_or_default();
        let (id, published_date, holders) = match self {
            Self::Version(record) => {
                let published_date = record.version.publishing_profile().published_date();
                (record.version.id().into(), published_date, regions.holders(state, record))
            }
            Self::ManagedImage(record) => (record.resource.id().into(), None, alone()),
            Self::Snapshot(record) => (record.resource.id().into(), None, alone()),
        };
        Kept {
            id,
            manifest: self.content().manifest_id(),
            published: self.published(),
            published_date,
            replicas,
            ready,
            account,
            zones: regions.zones_of(region, account),
            holders,
        }
    }

    fn content(&self) -> &ImageContent {
        match self {
            Self::Version(record) => &record.content,
            Self::ManagedImage(record) => &record.content,
            Self::Snapshot(record) => &record.content,
        }
    }

    /// Returns the replicas that the region must have and those that are whole, and their storage.
    fn replicas(self, region: &Region) -> (u32, u32, StorageAccountType) {
        match self {
            Self::Version(record) => {
                let replicas = replicas_in(record, region);
                let account = record.version.publishing_profile().storage_account_type_in(region);
                (replicas, ready_in(record, region).min(replicas), account)
            }
            // They have one replica, in their own region.
            Self::ManagedImage(_) | Self::Snapshot(_) => (1, 1, StorageAccountType::default()),
        }
    }
}

/// Returns every image that `region` must keep, by its record.
pub(crate) fn stored_in<'s>(state: &'s State, region: &'s Region) -> impl Iterator<Item = Stored<'s>> {
    let versions = state.all_versions().filter(move |record| replicas_in(record, region) > 0);
    let images = state.managed_images(None).filter(move |record| record.resource.location() == region);
    let snapshots = state.snapshots(None).filter(move |record| record.resource.location() == region);
    versions
        .map(|record| Stored::Version(record))
        .chain(images.map(|record| Stored::ManagedImage(record)))
        .chain(snapshots.map(|record| Stored::Snapshot(record)))
}

/// Returns every image that `region` must keep.
pub(crate) fn kept_in<'s>(
    regions: &'s Regions,
    state: &'s State,
    region: &'s Region,
) -> impl Iterator<Item = Kept> + 's {
    stored_in(state, region).map(|stored| stored.kept(regions, state, region))
}

/// As [`kept_in`], without images that were neither published nor updated after commit `since`.
pub(crate) fn kept_since<'s>(
    regions: &'s Regions,
    state: &'s State,
    region: &'s Region,
    since: u64,
) -> impl Iterator<Item = Kept> + 's {
    let is_new = move |stored: &Stored<'_>| match stored {
        Stored::Version(record) => record.is_changed_since(since),
        stored => stored.published() > since,
    };
    stored_in(state, region).filter(is_new).map(|stored| stored.kept(regions, state, region))
}

/// The manifests that a region must keep, each with its images.
#[derive(Debug)]
pub(crate) struct NeededManifests(BTreeMap<ManifestId, Vec<Kept>>);

impl NeededManifests {
    pub(crate) fn in_region(regions: &Regions, state: &State, region: &Region) -> Self {
        let mut needed = BTreeMap::<_, Vec<Kept>>::new();
        for kept in kept_in(regions, state, region) {
            needed.entry(kept.manifest).or_default().push(kept);
        }
        Self(needed)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &ManifestId> {
        self.0.keys()
    }

    /// Returns the slots to read a manifest and its content from.
    pub(crate) fn holders_of(&self, manifest: &ManifestId) -> Holders {
        Holders::new(self.made_of(manifest).iter().flat_map(|kept| kept.holders.clone()).collect())
    }

    /// Returns the images of a manifest.
    pub(crate) fn made_of(&self, manifest: &ManifestId) -> &[Kept] {
        self.0.get(manifest).map_or(&[], Vec::as_slice)
    }

    /// Returns the manifests that a slot must have.
    pub(crate) fn in_slot(&self, slot: SlotId) -> BTreeSet<ManifestId> {
        let needed = self.0.iter().filter(|(_, kept)| kept.iter().any(|one| one.is_in(slot)));
        needed.map(|(id, _)| *id).collect()
    }
}
