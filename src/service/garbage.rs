//! What of a region nothing needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::session::Session;
use crate::catalog::{Condemned, ImageContent, State, UploadName, ZoneBlobs};
use crate::content::blob_name::BlobName;
use crate::content::extents::Extents;
use crate::content::names::{ManifestId, PackId, SlotId, UploadId};
use crate::content::pack::PackInfo;
use crate::error::Result;
use crate::model::{Region, ResourceId, StorageAccountType};
use crate::replica::holders::{Replicas, is_damage};
use crate::replica::holding::Holding;
use crate::replica::needs::{Needs, Reach};
use crate::replica::parcel::Cargo;
use crate::replica::slot::Slot;
use crate::store::BlobKey;

/// A pack is rewritten where less than this much of what a slot has of it is needed.
const LIVE_PERCENT: u64 = 50;

/// A blob of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blob {
    pub(super) slot: SlotId,
    pub(super) name: BlobName,
}

/// Blobs that nothing needs, with their sizes.
#[derive(Clone, Debug, Default)]
pub(super) struct Garbage(pub(super) BTreeMap<Blob, u64>);

impl Garbage {
    pub(super) fn first(self, count: usize) -> Self {
        Self(self.0.into_iter().take(count).collect())
    }

    /// As a commit names them.
    pub(super) fn names(&self) -> Result<Vec<ZoneBlobs>> {
        let mut zones: BTreeMap<u32, Vec<BlobKey>> = BTreeMap::new();
        for Blob { slot, name } in self.0.keys() {
            let key: BlobKey = format!("slots/{}/{}", slot.number, name.key()?).parse()?;
            zones.entry(slot.zone as u32 + 1).or_default().push(key);
        }
        Ok(zones.into_iter().map(|(zone, keys)| ZoneBlobs { zone, keys }).collect())
    }
}

/// What a region has.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    pub(super) slots: BTreeMap<SlotId, (Slot, BTreeMap<PackId, Holding>)>,
    manifests: BTreeMap<SlotId, BTreeMap<BlobName, u64>>,
}

impl Stock {
    /// Lists the region's slots; what was condemned by `state` is told apart.
    pub(super) async fn look(session: &Session, state: &State, region: &Region) -> Result<Self> {
        let mut stock = Self::default();
        for (id, slot) in session.parts.regions.slots(state, region).await? {
            stock.manifests.insert(id, slot.all_manifests().await?);
            let holdings = slot.all_holdings().await?;
            stock.slots.insert(id, (slot, holdings));
        }
        Ok(stock)
    }

    /// What of `condemned` is still there.
    pub(super) fn left_of(&self, condemned: &Condemned) -> Garbage {
        let size_of = |slot: SlotId, name: BlobName| match name.pack() {
            Some(pack) => {
                let (_, holdings) = self.slots.get(&slot)?;
                holdings.get(&pack)?.dead.iter().find(|(dead, _)| *dead == name).map(|(_, size)| *size)
            }
            None => self.manifests.get(&slot)?.get(&name).copied(),
        };
        let left = condemned.names().filter_map(|(slot, name)| Some((Blob { slot, name }, size_of(slot, name)?)));
        Garbage(left.collect())
    }
}

/// What is known of the manifests that a region needs.
#[derive(Clone, Debug)]
pub(super) struct Library {
    session: Session,
    packs: BTreeMap<ManifestId, Arc<BTreeMap<PackId, PackInfo>>>,
    /// For each slot the manifests that need something of it, and what they need together.
    live: BTreeMap<SlotId, (BTreeSet<ManifestId>, Arc<Needs>)>,
    /// Manifests that nobody has whole, with the number of the commit that published what is made of them: what they need
    /// can't be told, but it was announced before that.
    unreadable: BTreeMap<ManifestId, u64>,
}

/// What must be in a region.
#[derive(Debug, Default)]
struct Needed(BTreeMap<ManifestId, Whereabouts>);

/// Where a manifest must be, and where it is.
#[derive(Debug, Default)]
struct Whereabouts {
    /// In so many replicas, in so many zones; once for each thing that is made of it.
    wanted: Vec<(u32, usize)>,
    holders: Vec<Slot>,
    /// What is made of it.
    of: Vec<ResourceId>,
    /// The number of the last commit that published something of it.
    published: u64,
}

/// A pack of which little is needed in a slot.
pub(super) struct Rewrite {
    pub(super) slot: SlotId,
    pub(super) pack: PackInfo,
    pub(super) live: Extents,
    /// The bytes that it takes now.
    pub(super) held: u64,
}

impl Needed {
    fn in_region(session: &Session, state: &State, region: &Region) -> Self {
        let (mut needed, regions) = (Self::default(), &session.parts.regions);
        let mut add =
            |of: ResourceId, content: &ImageContent, published: u64, wanted: (u32, usize), holders: Vec<Slot>| {
                let whereabouts = needed.0.entry(content.manifest_id()).or_default();
                whereabouts.wanted.push(wanted);
                whereabouts.holders.extend(holders);
                whereabouts.of.push(of);
                whereabouts.published = whereabouts.published.max(published);
            };
        for record in state.all_versions() {
            let profile = record.version.publishing_profile();
            if let Some(replicas) = profile.replicas_in(region) {
                let zones = regions.zones_of(region, profile.storage_account_type_in(region));
                let (id, holders) = (record.version.id().into(), regions.holders(state, record));
                add(id, &record.content, record.published, (replicas, zones), holders);
            }
        }
        let account = StorageAccountType::default();
        let here = regions.copies(state, region, 0, account).unwrap_or_default();
        let wanted = (1, regions.zones_of(region, account));
        for record in state.managed_images(None).filter(|record| record.resource.location() == region) {
            add(record.resource.id().into(), &record.content, record.created, wanted, here.clone());
        }
        for record in state.snapshots(None).filter(|record| record.resource.location() == region) {
            add(record.resource.id().into(), &record.content, record.created, wanted, here.clone());
        }
        needed
    }

    /// The manifests that a slot must have.
    fn in_slot(&self, slot: SlotId) -> BTreeSet<ManifestId> {
        let is_in = |(replicas, zones): &(u32, usize)| slot.number < *replicas && slot.zone < *zones;
        let needed = self.0.iter().filter(|(_, whereabouts)| whereabouts.wanted.iter().any(is_in));
        needed.map(|(id, _)| *id).collect()
    }
}

impl Library {
    pub(super) fn new(session: &Session) -> Self {
        let (packs, live, unreadable) = Default::default();
        Self { session: session.clone(), packs, live, unreadable }
    }

    /// Reads the manifests that something in the region needs, and from their indexes what of each pack.
    pub(super) async fn read(&mut self, state: &State, region: &Region, stock: &Stock) -> Result<()> {
        let needed = Needed::in_region(&self.session, state, region);
        let mut read: BTreeMap<BTreeSet<ManifestId>, Arc<Needs>> = self.live.values().cloned().collect();
        for slot in stock.slots.keys() {
            let manifests = needed.in_slot(*slot);
            let live = match read.get(&manifests) {
                Some(live) => live.clone(),
                None => Arc::new(self.needs_of(&manifests, &needed).await?),
            };
            read.insert(manifests.clone(), live.clone());
            self.live.insert(*slot, (manifests, live));
        }
        Ok(())
    }

    async fn needs_of(&mut self, manifests: &BTreeSet<ManifestId>, needed: &Needed) -> Result<Needs> {
        let mut reach = Reach::default();
        for id in manifests {
            let Some(whereabouts) = needed.0.get(id) else { continue };
            let holders = Replicas::new(whereabouts.holders.clone());
            let manifest = match holders.manifest(id).await {
                Ok(manifest) => manifest,
                // It stops nothing else: all that it may need is kept.
                Err(error) if is_damage(&error) => {
                    self.unreadable.insert(*id, whereabouts.published);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match reach.add(&manifest, &holders).await {
                // Nobody knows what of its packs it needs.
                Err(error) if is_damage(&error) => reach.need_all(&manifest),
                added => added?,
            }
            let packs = manifest.packs.iter().map(|pack| (pack.id, *pack)).collect();
            self.packs.insert(*id, Arc::new(packs));
        }
        Ok(reach.finish())
    }

    /// What of the stock nothing needs; `None` where something is needed that was not counted when the manifests were read.
    pub(super) fn unneeded(&self, state: &State, region: &Region, stock: &Stock) -> Option<Unneeded> {
        let needed = Needed::in_region(&self.session, state, region);
        let open: BTreeSet<UploadId> =
            state.uploads().filter(|(_, upload)| upload.region == *region).map(|(name, _)| name.0).collect();
        let unreadable = self.unreadable.keys().filter_map(|id| needed.0.get(id));
        let unreadable = unreadable.flat_map(|whereabouts| whereabouts.of.iter().cloned()).collect();
        let mut unneeded = Unneeded { unreadable, ..Unneeded::default() };
        for (id, (slot, holdings)) in &stock.slots {
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
                    (false, false) => weigh(holding, packs.get(pack).zip(live.get(pack)), *pack),
                };
                if let Keep::One(kept) = keep {
                    unneeded.relied_on.insert((*id, *pack), kept);
                }
                // What was condemned before and is there again is never kept.
                let garbage = garbage.iter().chain(&holding.dead);
                unneeded.garbage.0.extend(garbage.map(|(name, bytes)| (Blob { slot: *id, name: *name }, *bytes)));
            }
            for (name, bytes) in stock.manifests.get(id).into_iter().flatten() {
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
    pub(super) fn mostly_dead(&self, state: &State, stock: &Stock) -> Vec<Rewrite> {
        let mut found = Vec::new();
        for (slot, (_, holdings)) in &stock.slots {
            let Some((manifests, live)) = self.live.get(slot) else { continue };
            let (packs, doubtful) = (self.packs_of(manifests), self.doubtful_until(manifests));
            for (id, holding) in holdings {
                let Some((pack, live)) = packs.get(id).zip(live.get(id)) else { continue };
                if state.announced(UploadName(id.upload)).is_none_or(|announced| announced <= doubtful) {
                    continue;
                }
                let (_, garbage) = weigh(holding, Some((pack, live)), *id);
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
pub(super) struct Unneeded {
    pub(super) garbage: Garbage,
    /// What belongs to imports that this catalog has never announced: it is never removed.
    pub(super) foreign: Garbage,
    /// What is made of manifests that nobody has whole.
    pub(super) unreadable: BTreeSet<ResourceId>,
    /// The one blob of a pack that is enough, where others are garbage for that.
    pub(super) relied_on: BTreeMap<(SlotId, PackId), Cargo>,
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
    One(Cargo),
    All,
}

/// What a slot is to keep of a pack, and what it need not: all of it, where nothing needs it; all but one part, where that is
/// enough; all but the whole, where that is there.
fn weigh(holding: &Holding, need: Option<(&PackInfo, &Extents)>, pack: PackId) -> (Keep, Vec<(BlobName, u64)>) {
    let keep = need.map_or(Keep::Nothing, |(info, live)| {
        let enough = holding.parts.iter().filter(|part| part.extents().contains(live)).min_by_key(|part| part.length());
        match enough {
            Some(part) => Keep::One(Cargo::Part(part.clone())),
            None if holding.has_whole(info) => Keep::One(Cargo::Pack(*info)),
            // It takes all of them, or something is lost: a scrub brings it.
            None => Keep::All,
        }
    });
    let alive = holding.readable(pack);
    let unneeded = match &keep {
        Keep::All => Vec::new(),
        Keep::One(Cargo::Pack(_)) => alive.filter(|(name, _)| !matches!(name, BlobName::Pack(..))).collect(),
        Keep::One(Cargo::Part(part)) => alive.filter(|(name, _)| *name != part.name()).collect(),
        Keep::Nothing => alive.chain(holding.broken.iter().map(|name| (*name, 0))).collect(),
    };
    (keep, unneeded)
}
