//! The images that a region must keep: one answer for replication, collection and scrubbing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::stores::Regions;
use super::targets::{ready_in, replicas_in};
use crate::catalog::{ImageContent, State};
use crate::content::names::{ManifestId, SlotId};
use crate::model::{Region, ResourceId, StorageAccountType};
use crate::replica::holders::Holders;
use crate::replica::slot::Slot;

/// An image that a region must keep.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) id: ResourceId,
    pub(crate) manifest: ManifestId,
    /// The bytes that one replica takes, alone in its slot.
    pub(crate) stored_bytes: u64,
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
    /// Returns whether a slot of the region must have it.
    pub(crate) fn is_in(&self, slot: SlotId) -> bool {
        slot.number < self.replicas && slot.zone < self.zones
    }
}

/// Returns every image that `region` must keep.
pub(crate) fn kept_in(regions: &Regions, state: &State, region: &Region) -> Vec<Kept> {
    kept_since(regions, state, region, None)
}

/// As [`kept_in`], and leaves out images that were not published or updated after commit `since`.
pub(crate) fn kept_since(regions: &Regions, state: &State, region: &Region, since: Option<u64>) -> Vec<Kept> {
    let mut kept = Vec::new();
    let is_new = |number: u64| since.is_none_or(|since| number > since);
    for record in state.all_versions().filter(|record| since.is_none_or(|since| record.is_changed_since(since))) {
        let replicas = replicas_in(record, region);
        if replicas > 0 {
            let account = record.version.publishing_profile().storage_account_type_in(region);
            kept.push(Kept {
                id: record.version.id().into(),
                manifest: record.content.manifest_id(),
                stored_bytes: record.content.stored_bytes,
                published: record.published,
                published_date: record.version.publishing_profile().published_date(),
                replicas,
                ready: ready_in(record, region).min(replicas),
                account,
                zones: regions.zones_of(region, account),
                holders: regions.holders(state, record),
            });
        }
    }
    // Managed images and snapshots have one replica, in their own region.
    let account = StorageAccountType::default();
    let (zones, holders) =
        (regions.zones_of(region, account), regions.copies(state, region, 0, account).unwrap_or_default());
    let one = |id: ResourceId, content: &ImageContent, published| {
        let holders = holders.clone();
        let (manifest, stored_bytes) = (content.manifest_id(), content.stored_bytes);
        Kept {
            id,
            manifest,
            stored_bytes,
            published,
            published_date: None,
            replicas: 1,
            ready: 1,
            account,
            zones,
            holders,
        }
    };
    let images =
        state.managed_images(None).filter(|record| record.resource.location() == region && is_new(record.created));
    kept.extend(images.map(|record| one(record.resource.id().into(), &record.content, record.created)));
    let snapshots =
        state.snapshots(None).filter(|record| record.resource.location() == region && is_new(record.created));
    kept.extend(snapshots.map(|record| one(record.resource.id().into(), &record.content, record.created)));
    kept
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
