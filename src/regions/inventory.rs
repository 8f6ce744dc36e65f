//! The inventory of a region: the listed blobs of its slots.

use std::collections::{BTreeMap, BTreeSet};

use super::stores::Regions;
use crate::catalog::{Condemned, State, ZoneBlobs};
use crate::content::blob_name::BlobName;
use crate::content::names::{ManifestId, MergedId, PackId, SlotId};
use crate::error::Result;
use crate::model::Region;
use crate::replica::holding::Holding;
use crate::replica::parcel::Parcel;
use crate::replica::slot::Slot;
use crate::store::BlobKey;

/// A blob of a region, by slot and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Blob {
    pub(crate) slot: SlotId,
    pub(crate) name: BlobName,
}

/// Blobs with their sizes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blobs(pub(crate) BTreeMap<Blob, u64>);

impl Blobs {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn first(self, count: usize) -> Self {
        Self(self.0.into_iter().take(count).collect())
    }

    /// Returns the blobs as a commit lists them: by zone, as keys of the zone's store.
    pub(crate) fn names(&self) -> Result<Vec<ZoneBlobs>> {
        let mut zones: BTreeMap<u32, Vec<BlobKey>> = BTreeMap::new();
        for Blob { slot, name } in self.0.keys() {
            let key: BlobKey = format!("slots/{}/{}", slot.number, name.key()?).parse()?;
            zones.entry(slot.zone as u32 + 1).or_default().push(key);
        }
        Ok(zones.into_iter().map(|(zone, keys)| ZoneBlobs { zone, keys }).collect())
    }
}

/// The listed blobs of a region's slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) slots: BTreeMap<SlotId, (Slot, BTreeMap<PackId, Holding>)>,
    pub(crate) manifests: BTreeMap<SlotId, BTreeMap<BlobName, u64>>,
    pub(crate) merged: BTreeMap<SlotId, BTreeMap<MergedId, u64>>,
    pub(crate) boot_sets: BTreeMap<SlotId, BTreeMap<ManifestId, u64>>,
}

impl Inventory {
    /// Lists the region's slots, and separates the blobs that `state` has condemned.
    pub(crate) async fn list(regions: &Regions, state: &State, region: &Region) -> Result<Self> {
        let mut inventory = Self::default();
        for (id, slot, contents) in regions.list(state, region).await? {
            inventory.manifests.insert(id, contents.manifests);
            inventory.merged.insert(id, contents.merged);
            inventory.boot_sets.insert(id, contents.boot_sets);
            inventory.slots.insert(id, (slot, contents.holdings));
        }
        Ok(inventory)
    }

    /// Removes blobs from the inventory.
    pub(crate) fn remove(&mut self, blobs: &Blobs) {
        for Blob { slot, name } in blobs.0.keys() {
            if let BlobName::Merged(id) = name {
                self.merged.get_mut(slot).map(|merged| merged.remove(id));
                continue;
            }
            match name.pack() {
                Some(pack) => {
                    let holdings = self.slots.get_mut(slot).map(|(_, holdings)| holdings);
                    holdings.into_iter().filter_map(|holdings| holdings.get_mut(&pack)).for_each(|of| of.remove(*name));
                }
                None => {
                    self.manifests.get_mut(slot).map(|manifests| manifests.remove(name));
                }
            }
        }
    }

    /// Adds a pack or part, unless it is listed.
    pub(crate) fn add(&mut self, slot: SlotId, parcel: Parcel) {
        let Some((_, holdings)) = self.slots.get_mut(&slot) else { return };
        match parcel {
            Parcel::Pack(info) => holdings.entry(info.id).or_default().whole = Some(info.length),
            Parcel::Part(part) => {
                let holding = holdings.entry(part.id.pack).or_default();
                if holding.parts.iter().all(|there| there.name() != part.name()) {
                    holding.parts.push(part);
                }
            }
        }
    }

    /// Adds a merged blob.
    pub(crate) fn add_merged(&mut self, slot: SlotId, id: MergedId, bytes: u64) {
        self.merged.entry(slot).or_default().insert(id, bytes);
    }

    /// Returns the merged blobs of a slot that parts are members of, other than those of `garbage`.
    pub(crate) fn merged_in_use(&self, slot: SlotId, garbage: &Blobs) -> BTreeSet<MergedId> {
        let holdings = self.slots.get(&slot).into_iter().flat_map(|(_, holdings)| holdings);
        let alive = holdings.flat_map(|(pack, holding)| holding.alive(*pack));
        let used = alive.filter_map(|name| match name {
            BlobName::Part(id, _) if !garbage.0.contains_key(&Blob { slot, name }) => Some(id.place()?.merged),
            _ => None,
        });
        used.collect()
    }

    /// Returns the blobs of `condemned` that are still there.
    pub(crate) fn left_of(&self, condemned: &Condemned) -> Blobs {
        let size_of = |slot: SlotId, name: BlobName| match name.pack() {
            Some(pack) => {
                let (_, holdings) = self.slots.get(&slot)?;
                holdings.get(&pack)?.dead.iter().find(|(dead, _)| *dead == name).map(|(_, size)| *size)
            }
            None => match name {
                BlobName::Merged(id) => self.merged.get(&slot)?.get(&id).copied(),
                _ => self.manifests.get(&slot)?.get(&name).copied(),
            },
        };
        let left = condemned.names().filter_map(|(slot, name)| Some((Blob { slot, name }, size_of(slot, name)?)));
        Blobs(left.collect())
    }
}
