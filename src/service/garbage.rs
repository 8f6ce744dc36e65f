//! What of a region nothing needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::collect::lost_race;
use super::regions::SlotId;
use super::session::Session;
use crate::catalog::{PackName, State};
use crate::error::Result;
use crate::image::extents::Extents;
use crate::image::pack::{PackId, PackInfo};
use crate::image::part::PartId;
use crate::image::reach::{Needs, Reach};
use crate::image::replicas::{Replicas, is_damage};
use crate::image::{Cargo, Digest, Holding, Slot};
use crate::model::{Region, StorageAccountType};

/// A pack is rewritten where less than this much of what a slot has of it is needed.
const LIVE_PERCENT: u64 = 50;

/// A blob of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blob {
    pub(super) slot: SlotId,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Pack(PackId),
    Part(PartId),
    Manifest(Digest),
}

/// Blobs that nothing needs, with their sizes.
#[derive(Clone, Debug, Default)]
pub(super) struct Garbage(pub(super) BTreeMap<Blob, u64>);

impl Garbage {
    pub(super) fn first(self, count: usize) -> Self {
        Self(self.0.into_iter().take(count).collect())
    }

    pub(super) fn only(self, packs: &BTreeSet<PackName>, manifests: &BTreeSet<Digest>) -> Self {
        let is_in = |blob: &Blob| match &blob.what {
            What::Pack(id) => packs.contains(&PackName(*id)),
            What::Part(id) => packs.contains(&PackName(id.pack)),
            What::Manifest(digest) => manifests.contains(digest),
        };
        Self(self.0.into_iter().filter(|(blob, _)| is_in(blob)).collect())
    }

    pub(super) fn names(&self) -> (Vec<PackName>, Vec<Digest>) {
        let packs: BTreeSet<PackName> = self.0.keys().filter_map(|blob| blob.pack()).map(PackName).collect();
        let manifests: BTreeSet<Digest> = self.0.keys().filter_map(|blob| blob.manifest()).collect();
        (packs.into_iter().collect(), manifests.into_iter().collect())
    }
}

impl Blob {
    pub(super) fn pack(&self) -> Option<PackId> {
        match self.what {
            What::Pack(id) => Some(id),
            What::Part(id) => Some(id.pack),
            What::Manifest(_) => None,
        }
    }

    fn manifest(&self) -> Option<Digest> {
        if let What::Manifest(digest) = self.what { Some(digest) } else { None }
    }
}

/// What a region has.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    pub(super) slots: BTreeMap<SlotId, (Slot, BTreeMap<PackId, Holding>)>,
    manifests: BTreeMap<SlotId, BTreeMap<Digest, u64>>,
}

impl Stock {
    pub(super) async fn look(session: &Session, region: &Region) -> Result<Self> {
        let mut stock = Self::default();
        for (id, slot) in session.parts.regions.slots(region).await? {
            stock.manifests.insert(id, slot.all_manifests().await?);
            let holdings = slot.all_holdings().await?;
            stock.slots.insert(id, (slot, holdings));
        }
        Ok(stock)
    }
}

/// What is known of the manifests that a region needs.
#[derive(Clone, Debug)]
pub(super) struct Library {
    session: Session,
    packs: BTreeMap<Digest, Arc<BTreeMap<PackId, PackInfo>>>,
    /// For each slot the manifests that need something of it, and what they need together.
    live: BTreeMap<SlotId, (BTreeSet<Digest>, Arc<Needs>)>,
}

/// What must be in a region.
#[derive(Debug, Default)]
struct Needed(BTreeMap<Digest, Whereabouts>);

/// Where a manifest must be, and where it is.
#[derive(Debug, Default)]
struct Whereabouts {
    /// In so many replicas, in so many zones; once for each thing that is made of it.
    wanted: Vec<(u32, usize)>,
    holders: Vec<Slot>,
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
        let mut add = |manifest: Digest, replicas: u32, zones: usize, holders: Vec<Slot>| {
            let whereabouts = needed.0.entry(manifest).or_default();
            whereabouts.wanted.push((replicas, zones));
            whereabouts.holders.extend(holders);
        };
        for record in state.all_versions() {
            let profile = record.version.publishing_profile();
            if let Some(replicas) = profile.replicas_in(region) {
                let zones = regions.zones_of(region, profile.storage_account_type_in(region));
                add(record.content.manifest, replicas, zones, regions.holders(record));
            }
        }
        let images = state.managed_images(None).map(|record| (record.resource.location(), record.content.manifest));
        let snapshots = state.snapshots(None).map(|record| (record.resource.location(), record.content.manifest));
        for (_, manifest) in images.chain(snapshots).filter(|(location, _)| *location == region) {
            let account = StorageAccountType::default();
            let holders = regions.copies(region, 0, account).unwrap_or_default();
            add(manifest, 1, regions.zones_of(region, account), holders);
        }
        needed
    }

    /// The manifests that a slot must have.
    fn in_slot(&self, slot: SlotId) -> BTreeSet<Digest> {
        let is_in = |(replicas, zones): &(u32, usize)| slot.number < *replicas && slot.zone < *zones;
        let needed = self.0.iter().filter(|(_, whereabouts)| whereabouts.wanted.iter().any(is_in));
        needed.map(|(digest, _)| *digest).collect()
    }
}

impl Library {
    pub(super) fn new(session: &Session) -> Self {
        Self { session: session.clone(), packs: BTreeMap::new(), live: BTreeMap::new() }
    }

    /// Reads the manifests that something in the region needs, and from their indexes what of each pack.
    pub(super) async fn read(&mut self, state: &State, region: &Region, stock: &Stock) -> Result<()> {
        let needed = Needed::in_region(&self.session, state, region);
        let mut read: BTreeMap<BTreeSet<Digest>, Arc<Needs>> = self.live.values().cloned().collect();
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

    async fn needs_of(&mut self, manifests: &BTreeSet<Digest>, needed: &Needed) -> Result<Needs> {
        let mut reach = Reach::default();
        for digest in manifests {
            let holders = needed.0.get(digest).map(|whereabouts| whereabouts.holders.clone());
            let holders = Replicas::new(holders.unwrap_or_default());
            let manifest = holders.manifest(digest).await?;
            match reach.add(&manifest, &holders).await {
                // Nobody knows what of its packs it needs.
                Err(error) if is_damage(&error) => reach.need_all(&manifest),
                added => added?,
            }
            let packs = manifest.packs.iter().map(|pack| (pack.id, *pack)).collect();
            self.packs.insert(*digest, Arc::new(packs));
        }
        Ok(reach.finish())
    }

    /// What of the stock nothing needs.
    pub(super) fn unneeded(&self, state: &State, region: &Region, stock: &Stock) -> Result<Unneeded> {
        let needed = Needed::in_region(&self.session, state, region);
        let open: BTreeSet<_> =
            state.uploads().filter(|(_, upload)| upload.region == *region).map(|(name, _)| name.0).collect();
        let (mut garbage, mut relied_on) = (Garbage::default(), BTreeMap::new());
        for (id, (_, holdings)) in &stock.slots {
            let manifests = needed.in_slot(*id);
            let Some((_, live)) = self.live.get(id).filter(|(counted, _)| manifests.is_subset(counted)) else {
                return Err(lost_race());
            };
            let packs = self.packs_of(&manifests);
            for (pack, holding) in holdings.iter().filter(|(pack, _)| !open.contains(&pack.upload)) {
                let need = packs.get(pack).zip(live.get(pack));
                let (keep, unneeded) = weigh(*pack, holding, need);
                if let Keep::One(kept) = keep {
                    relied_on.insert((*id, *pack), kept);
                }
                let unneeded = unneeded.into_iter();
                garbage.0.extend(unneeded.map(|(what, bytes)| (Blob { slot: *id, what }, bytes)));
            }
            for (manifest, bytes) in stock.manifests.get(id).into_iter().flatten() {
                // A manifest does not say whose it is: one of an import under way may be among them.
                if !manifests.contains(manifest) && open.is_empty() {
                    garbage.0.insert(Blob { slot: *id, what: What::Manifest(*manifest) }, *bytes);
                }
            }
        }
        Ok(Unneeded { garbage, relied_on })
    }

    /// The packs of manifests that were read.
    fn packs_of(&self, manifests: &BTreeSet<Digest>) -> BTreeMap<PackId, PackInfo> {
        let read = manifests.iter().filter_map(|digest| self.packs.get(digest));
        read.flat_map(|packs| packs.iter().map(|(id, pack)| (*id, *pack))).collect()
    }

    /// Packs of which so little is needed that it is to be written apart.
    pub(super) fn mostly_dead(&self, stock: &Stock) -> Vec<Rewrite> {
        let mut found = Vec::new();
        for (slot, (_, holdings)) in &stock.slots {
            let Some((manifests, live)) = self.live.get(slot) else { continue };
            let packs = self.packs_of(manifests);
            for (id, holding) in holdings {
                let Some((pack, live)) = packs.get(id).zip(live.get(id)) else { continue };
                let (_, garbage) = weigh(*id, holding, Some((pack, live)));
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
pub(super) struct Unneeded {
    pub(super) garbage: Garbage,
    /// The one blob of a pack that is enough, where others are garbage for that.
    pub(super) relied_on: BTreeMap<(SlotId, PackId), Cargo>,
}

/// What a slot is to keep of a pack.
enum Keep {
    Nothing,
    One(Cargo),
    All,
}

/// What a slot is to keep of a pack, and what it need not: all of it, where nothing needs it; all but one part, where that is
/// enough; all but the whole, where that is there.
fn weigh(pack: PackId, holding: &Holding, need: Option<(&PackInfo, &Extents)>) -> (Keep, Vec<(What, u64)>) {
    let keep = need.map_or(Keep::Nothing, |(info, live)| {
        let enough = holding.parts.iter().filter(|part| part.extents().contains(live)).min_by_key(|part| part.length());
        match enough {
            Some(part) => Keep::One(Cargo::Part(part.clone())),
            None if holding.has_whole(info) => Keep::One(Cargo::Pack(*info)),
            // It takes all of them, or something is lost: a scrub brings it.
            None => Keep::All,
        }
    });
    let whole = holding.whole.map(|bytes| (What::Pack(pack), bytes));
    let parts = holding.parts.iter().map(|part| (What::Part(part.id), part.length()));
    let readable = whole.into_iter().chain(parts);
    let unneeded = match &keep {
        Keep::All => Vec::new(),
        Keep::One(Cargo::Pack(_)) => readable.filter(|(what, _)| !matches!(what, What::Pack(_))).collect(),
        Keep::One(Cargo::Part(part)) => readable.filter(|(what, _)| *what != What::Part(part.id)).collect(),
        Keep::Nothing => readable.chain(holding.broken.iter().map(|id| (What::Part(*id), 0))).collect(),
    };
    (keep, unneeded)
}
