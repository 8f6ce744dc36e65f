//! What of a region is garbage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inventory::{Blob, Blobs, Inventory};
use super::needed::NeededManifests;
use super::stores::Regions;
use crate::catalog::{State, UploadName};
use crate::content::blob_name::BlobName;
use crate::content::extents::Extents;
use crate::content::names::{ManifestId, PackId, SlotId, UploadId};
use crate::content::pack::PackInfo;
use crate::error::Result;
use crate::model::{Region, ResourceId};
use crate::replica::holders::{Holders, is_damage};
use crate::replica::holding::Holding;
use crate::replica::needs::{Needs, NeedsBuilder};
use crate::replica::parcel::Parcel;
use crate::replica::slot::Slot;

/// A pack is rewritten where less than this much of what a slot has of it is needed.
const LIVE_PERCENT: u64 = 50;

/// A region as it was listed, with the manifests that it must keep. A collection makes one, and works on it to its end.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    regions: Arc<Regions>,
    region: Region,
    inventory: Inventory,
    /// The number of the commit up to which everything that was condemned is known to be dead here.
    seen: u64,
    packs: BTreeMap<ManifestId, Arc<BTreeMap<PackId, PackInfo>>>,
    /// For each slot the manifests that need something of it, and what they need together.
    live: BTreeMap<SlotId, (BTreeSet<ManifestId>, Arc<Needs>)>,
    /// Manifests that no replica has whole, with the number of the commit that published what is made of them: what they need
    /// is not known, but it was announced before that.
    unreadable: BTreeMap<ManifestId, u64>,
}

/// A pack of which little is needed in a slot.
pub(crate) struct Rewrite {
    pub(crate) slot: SlotId,
    pub(crate) pack: PackInfo,
    pub(crate) live: Extents,
    /// The bytes that it takes now.
    pub(crate) held: u64,
}

impl Survey {
    /// Lists the slots of `region`. What was condemned up to `state` is known to be dead.
    pub(crate) async fn list(regions: &Arc<Regions>, state: &State, region: &Region) -> Result<Self> {
        let inventory = Inventory::list(regions, state, region).await?;
        let (packs, live, unreadable) = Default::default();
        let (regions, region, seen) = (regions.clone(), region.clone(), state.number());
        Ok(Self { regions, region, inventory, seen, packs, live, unreadable })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Whether something was condemned in the region that the survey does not know of: it has to be made again.
    pub(crate) fn is_overtaken(&self, state: &State) -> bool {
        state.is_condemned_since(&self.region, self.seen)
    }

    pub(crate) fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.inventory.slots.get(&id).map(|(slot, _)| slot)
    }

    /// Takes `blobs` out, which the last commit of `state` has condemned.
    pub(crate) fn condemned(&mut self, blobs: &Blobs, state: &State) -> Result<()> {
        self.inventory.remove(blobs);
        for (id, (slot, _)) in &mut self.inventory.slots {
            // What is written from here on gets names that are alive.
            if let Some(renewed) = self.regions.slot(state, &self.region, *id)? {
                *slot = renewed;
            }
        }
        self.seen = state.number();
        Ok(())
    }

    /// Adds what was written to a slot.
    pub(crate) fn written(&mut self, slot: SlotId, parcel: Parcel) {
        self.inventory.add(slot, parcel);
    }

    /// Reads the manifests that the region must keep, and from their indexes what of each pack they need.
    pub(crate) async fn read(&mut self, state: &State) -> Result<()> {
        let needed = NeededManifests::in_region(&self.regions, state, &self.region);
        let mut read: BTreeMap<BTreeSet<ManifestId>, Arc<Needs>> = self.live.values().cloned().collect();
        for slot in self.inventory.slots.keys().copied().collect::<Vec<_>>() {
            let manifests = needed.in_slot(slot);
            let live = match read.get(&manifests) {
                Some(live) => live.clone(),
                None => Arc::new(self.needs_of(&manifests, &needed).await?),
            };
            read.insert(manifests.clone(), live.clone());
            self.live.insert(slot, (manifests, live));
        }
        Ok(())
    }

    async fn needs_of(&mut self, manifests: &BTreeSet<ManifestId>, needed: &NeededManifests) -> Result<Needs> {
        let mut builder = NeedsBuilder::default();
        for id in manifests {
            let made_of = needed.made_of(id);
            let holders = Holders::new(made_of.iter().flat_map(|kept| kept.holders.clone()).collect());
            let manifest = match holders.manifest(id).await {
                Ok(manifest) => manifest,
                // It stops nothing else: all that it may need is kept.
                Err(error) if is_damage(&error) => {
                    self.unreadable.insert(*id, made_of.iter().map(|kept| kept.published).max().unwrap_or(u64::MAX));
                    continue;
                }
                Err(error) => return Err(error),
            };
            match builder.add_version(&manifest, &holders).await {
                // Nobody knows what of its packs it needs.
                Err(error) if is_damage(&error) => builder.add_all_packs(&manifest),
                added => added?,
            }
            let packs = manifest.packs.iter().map(|pack| (pack.id, *pack)).collect();
            self.packs.insert(*id, Arc::new(packs));
        }
        Ok(builder.build())
    }

    /// The blobs that nothing needs; `None` where something is needed that was not counted when the manifests were read.
    pub(crate) fn unneeded(&self, state: &State) -> Option<Unneeded> {
        let (region, needed) = (&self.region, NeededManifests::in_region(&self.regions, state, &self.region));
        let open: BTreeSet<UploadId> =
            state.uploads().filter(|(_, upload)| upload.region == *region).map(|(name, _)| name.0).collect();
        let unreadable = self.unreadable.keys().flat_map(|id| needed.made_of(id)).map(|kept| kept.id.clone()).collect();
        let mut unneeded = Unneeded { unreadable, ..Unneeded::default() };
        for (id, (slot, holdings)) in &self.inventory.slots {
            let manifests = needed.in_slot(*id);
            let (_, live) = self.live.get(id).filter(|(counted, _)| manifests.is_subset(counted))?;
            let packs = self.packs_of(&manifests);
            // What a manifest that nobody can read needs was announced before it was published.
            let doubtful = self.doubtful_until(&manifests);
            for (pack, holding) in holdings {
                let foreign = holding.foreign.iter().map(|(name, bytes)| (Blob { slot: *id, name: *name }, *bytes));
                unneeded.foreign.0.extend(foreign);
                let Some(announced) = state.announced(UploadName(pack.upload)) else {
                    unneeded.leave(*id, *pack, holding);
                    continue;
                };
                let (keep, garbage) = match (open.contains(&pack.upload), announced <= doubtful) {
                    (true, _) => continue,
                    (false, true) => (Keep::All, Vec::new()),
                    (false, false) => classify(holding, packs.get(pack).zip(live.get(pack)), *pack),
                };
                if let Keep::One(kept) = keep {
                    unneeded.relied_on.insert((*id, *pack), kept);
                }
                // What was condemned before and is there again is never kept.
                let garbage = garbage.iter().chain(&holding.dead);
                unneeded.garbage.0.extend(garbage.map(|(name, bytes)| (Blob { slot: *id, name: *name }, *bytes)));
            }
            for (name, bytes) in self.inventory.manifests.get(id).into_iter().flatten() {
                let BlobName::Manifest(manifest, _) = name else { continue };
                if state.announced(UploadName(manifest.upload)).is_none() {
                    unneeded.foreign.0.insert(Blob { slot: *id, name: *name }, *bytes);
                } else if slot.is_dead(*name) || !(manifests.contains(manifest) || open.contains(&manifest.upload)) {
                    unneeded.garbage.0.insert(Blob { slot: *id, name: *name }, *bytes);
                }
            }
        }
        Some(unneeded)
    }

    /// Up to which commit an import may be needed by a manifest that nobody can read.
    fn doubtful_until(&self, manifests: &BTreeSet<ManifestId>) -> u64 {
        manifests.iter().filter_map(|id| self.unreadable.get(id)).max().copied().unwrap_or(0)
    }

    /// The packs of manifests that were read.
    fn packs_of(&self, manifests: &BTreeSet<ManifestId>) -> BTreeMap<PackId, PackInfo> {
        let read = manifests.iter().filter_map(|id| self.packs.get(id));
        read.flat_map(|packs| packs.iter().map(|(id, pack)| (*id, *pack))).collect()
    }

    /// Packs of which so little is needed that it is to be written apart.
    pub(crate) fn mostly_dead(&self, state: &State) -> Vec<Rewrite> {
        let mut found = Vec::new();
        for (slot, (_, holdings)) in &self.inventory.slots {
            let Some((manifests, live)) = self.live.get(slot) else { continue };
            let (packs, doubtful) = (self.packs_of(manifests), self.doubtful_until(manifests));
            for (id, holding) in holdings {
                let Some((pack, live)) = packs.get(id).zip(live.get(id)) else { continue };
                if state.announced(UploadName(id.upload)).is_none_or(|announced| announced <= doubtful) {
                    continue;
                }
                let (_, garbage) = classify(holding, Some((pack, live)), *id);
                let held = holding.bytes() - garbage.iter().map(|(_, bytes)| bytes).sum::<u64>();
                if live.bytes() * 100 < held * LIVE_PERCENT && holding.lacks(pack, live).is_empty() {
                    found.push(Rewrite { slot: *slot, pack: *pack, live: live.clone(), held });
                }
            }
        }
        found
    }
}

/// What of a region nothing needs, and what makes up for some of it.
#[derive(Default)]
pub(crate) struct Unneeded {
    pub(crate) garbage: Blobs,
    /// What belongs to imports that this catalog has never announced: it is never removed.
    pub(crate) foreign: Blobs,
    /// What is made of manifests that nobody has whole.
    pub(crate) unreadable: BTreeSet<ResourceId>,
    /// The one blob of a pack that is enough, where others are garbage for that.
    pub(crate) relied_on: BTreeMap<(SlotId, PackId), Parcel>,
}

impl Unneeded {
    /// Leaves a pack of an import that was never announced alone.
    fn leave(&mut self, slot: SlotId, pack: PackId, holding: &Holding) {
        let broken = holding.broken.iter().map(|name| (*name, 0));
        let blobs = holding.readable(pack).chain(broken).chain(holding.dead.iter().copied());
        self.foreign.0.extend(blobs.map(|(name, bytes)| (Blob { slot, name }, bytes)));
    }
}

/// What a slot is to keep of a pack.
enum Keep {
    Nothing,
    One(Parcel),
    All,
}

/// What a slot is to keep of a pack, and what it need not: all of it, where nothing needs it; all but one part, where that is
/// enough; all but the whole, where that is there.
fn classify(holding: &Holding, need: Option<(&PackInfo, &Extents)>, pack: PackId) -> (Keep, Vec<(BlobName, u64)>) {
    let keep = need.map_or(Keep::Nothing, |(info, live)| {
        let enough = holding.parts.iter().filter(|part| part.extents().contains(live)).min_by_key(|part| part.length());
        match enough {
            Some(part) => Keep::One(Parcel::Part(part.clone())),
            None if holding.has_whole(info) => Keep::One(Parcel::Pack(*info)),
            // It takes all of them, or something is lost: a scrub brings it.
            None => Keep::All,
        }
    });
    let alive = holding.readable(pack);
    let unneeded = match &keep {
        Keep::All => Vec::new(),
        Keep::One(Parcel::Pack(_)) => alive.filter(|(name, _)| !matches!(name, BlobName::Pack(..))).collect(),
        Keep::One(Parcel::Part(part)) => alive.filter(|(name, _)| *name != part.name()).collect(),
        Keep::Nothing => alive.chain(holding.broken.iter().map(|name| (*name, 0))).collect(),
    };
    (keep, unneeded)
}
