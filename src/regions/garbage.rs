//! The garbage of a region: blobs that no version, image or open import needs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::inventory::{Blob, Blobs, Inventory};
use super::needed::{Kept, NeededManifests, kept_since};
use super::stores::Regions;
use super::surveyed::Surveyed;
use crate::catalog::{State, UploadName};
use crate::content::blob_name::BlobName;
use crate::content::chunk::BLOCK_BYTES;
use crate::content::extents::Extents;
use crate::content::manifest::Needs;
use crate::content::merged::{LINE_BYTES, MAX_MEMBERS};
use crate::content::names::{FamilyId, ManifestId, MemberPlace, MergedId, PackId, SlotId, UploadId};
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::error::Result;
use crate::host::in_flight::together;
use crate::model::{Region, ResourceId};
use crate::replica::holders::is_damage;
use crate::replica::holding::Holding;
use crate::replica::parcel::Parcel;
use crate::replica::slot::Slot;

/// A pack is rewritten if a smaller share than this of the records that a slot has of it is needed.
const LIVE_PERCENT: u64 = 50;

/// Packs of at most this length are merged.
const SMALL: u64 = 4 << 20;

/// A merged blob is of about this length.
const MERGED_BYTES: u64 = 32 << 20;

/// Packs of at most this length come first in a merged blob: most of them are indexes, of which a reader wants all that it needs at once.
const TINY: u64 = 64 << 10;

/// What a member takes beside its own length, at most: its line, and the room to the next block.
const ROOM: u64 = 8 << 10;

/// What is copied of large packs takes at most this share of what a slot has.
const COPIED_PERCENT: u64 = 4;

/// A copy has at most this share of the records of its pack.
const SPARSE_PERCENT: u64 = 25;

/// Manifests and indexes that are read in one wave.
const MANIFESTS: usize = 64;

/// A listing of a region, with the manifests that it must keep. A collection makes one and works on it to its end.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    regions: Arc<Regions>,
    region: Region,
    inventory: Inventory,
    /// The number of the newest commit whose condemnations the listing takes into account.
    seen: u64,
    /// The number of the newest commit whose needs were read.
    read: u64,
    manifests: Arc<Surveyed>,
    /// For each slot, the manifests that it must have, and their needs together.
    live: BTreeMap<SlotId, (BTreeSet<ManifestId>, Arc<Needs>)>,
    /// When the newest version of each manifest was published.
    published: BTreeMap<ManifestId, DateTime<Utc>>,
    /// Manifests that no replica has intact, with the number of the commit that published their images. Their needs are
    /// not known, but were all announced before that commit.
    unreadable: BTreeMap<ManifestId, u64>,
    /// The image definitions that each manifest is of, one of them.
    families: BTreeMap<ManifestId, FamilyId>,
    /// For each slot, what the newest version of each definition needs.
    newest: BTreeMap<SlotId, Arc<Needs>>,
    /// Blobs that others replace which have another key: these are kept, where both would do.
    superseded: BTreeSet<Blob>,
}

/// A small pack in a slot.
#[derive(Clone)]
pub(crate) struct Small {
    pub(crate) pack: PackInfo,
    /// The blob that suffices.
    pub(crate) kept: Parcel,
    /// The records of a large pack that are to be copied; `None` for all of a small one, which becomes a member as it is.
    pub(crate) copied: Option<Extents>,
    /// The commit that announced its upload.
    announced: u64,
}

impl Small {
    /// Returns the bytes to read, about.
    fn bytes(&self) -> u64 {
        self.copied.as_ref().map_or(self.kept.length(), |copied| self.pack.bytes_of(copied))
    }
}

/// Small packs in a slot that are to be merged.
pub(crate) struct Merge {
    pub(crate) slot: SlotId,
    pub(crate) family: FamilyId,
    pub(crate) packs: Vec<Small>,
}

impl Merge {
    pub(crate) fn bytes(&self) -> u64 {
        self.packs.iter().map(Small::bytes).sum()
    }
}

/// Which packs are to be merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeRule {
    /// Only members of mostly dead merged blobs.
    pub(crate) only_mostly_dead: bool,
    /// Packs that lie by themselves are merged if they are at least so many.
    pub(crate) several: usize,
    /// Without those that a version needs which was published later.
    pub(crate) rested: Option<DateTime<Utc>>,
}

/// What a slot relies on of a pack that is needed.
pub(crate) struct Relied {
    pub(crate) slot: SlotId,
    pub(crate) pack: PackInfo,
    pub(crate) live: Extents,
    /// The one blob that suffices, or several that are needed together.
    pub(crate) blobs: Vec<Parcel>,
    /// Whether the slot has all that is needed, and no blob of it that can't be read.
    pub(crate) is_whole: bool,
    /// What a merged blob has of it beside that.
    pub(crate) copy: Option<Parcel>,
}

/// A pack in a slot, of which `live` is to be written anew.
pub(crate) struct Rewrite {
    pub(crate) slot: SlotId,
    pub(crate) pack: PackInfo,
    pub(crate) live: Extents,
    /// The bytes of the slot's holding, without garbage.
    pub(crate) held: u64,
}

impl Survey {
    /// Lists the slots of `region`, and separates everything that was condemned up to `state`. Meanwhile it reads the manifests
    /// that `state` needs there.
    pub(crate) async fn list(regions: &Arc<Regions>, state: &State, region: &Region) -> Result<Self> {
        let mut survey = Self {
            regions: regions.clone(),
            region: region.clone(),
            inventory: Inventory::default(),
            seen: state.number(),
            read: 0,
            manifests: Arc::default(),
            live: BTreeMap::new(),
            published: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            families: BTreeMap::new(),
            newest: BTreeMap::new(),
            superseded: BTreeSet::new(),
        };
        survey.list_again(state).await?;
        Ok(survey)
    }

    /// Lists the region again, and keeps what was read of manifests.
    pub(crate) async fn list_again(&mut self, state: &State) -> Result<()> {
        let (regions, region) = (self.regions.clone(), self.region.clone());
        let needed = NeededManifests::in_region(&regions, state, &region);
        let (listed, read) = futures::join!(Inventory::list(&regions, state, &region), self.read_manifests(&needed));
        (self.inventory, self.seen) = (listed?, state.number());
        read
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Returns whether something was condemned in the region since the listing: the survey has to be made again.
    pub(crate) fn is_overtaken(&self, state: &State) -> bool {
        state.is_condemned_since(&self.region, self.seen)
    }

    pub(crate) fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.inventory.slots.get(&id).map(|(slot, _)| slot)
    }

    /// Removes `blobs` from the survey, which the last commit of `state` condemned.
    pub(crate) fn condemned(&mut self, blobs: &Blobs, state: &State) -> Result<()> {
        self.inventory.remove(blobs);
        for (id, (slot, _)) in &mut self.inventory.slots {
            // New blobs get incarnations after that commit.
            if let Some(renewed) = self.regions.slot(state, &self.region, *id)? {
                *slot = renewed;
            }
        }
        self.seen = state.number();
        Ok(())
    }

    /// Adds a parcel that was written to a slot.
    pub(crate) fn written(&mut self, slot: SlotId, parcel: Parcel) {
        self.inventory.add(slot, parcel);
    }

    /// Adds a merged blob that was written to a slot.
    pub(crate) fn merged(&mut self, slot: SlotId, id: MergedId, bytes: u64) {
        self.inventory.add_merged(slot, id, bytes);
    }

    /// Leaves out of `garbage` the merged blobs that a part is a member of which is not garbage.
    pub(crate) fn without_merged_in_use(&self, garbage: Blobs) -> Blobs {
        let slots: BTreeSet<SlotId> = garbage.0.keys().map(|blob| blob.slot).collect();
        let in_use: BTreeMap<SlotId, BTreeSet<MergedId>> =
            slots.into_iter().map(|slot| (slot, self.inventory.merged_in_use(slot, &garbage))).collect();
        let is_free = |blob: &Blob| match blob.name {
            BlobName::Merged(id) => in_use.get(&blob.slot).is_none_or(|used| !used.contains(&id)),
            _ => true,
        };
        Blobs(garbage.0.into_iter().filter(|(blob, _)| is_free(blob)).collect())
    }

    /// Reads the manifests that the region must keep, unless they were read before, and finds the needs of each slot.
    pub(crate) async fn read(&mut self, state: &State) -> Result<()> {
        let needed = NeededManifests::in_region(&self.regions, state, &self.region);
        self.read_manifests(&needed).await?;
        self.read = state.number();
        let newest = |id| needed.made_of(id).iter().filter_map(|kept| kept.published_date).max();
        self.published = needed.ids().filter_map(|id| Some((*id, newest(id)?))).collect();
        let family = |id| needed.made_of(id).iter().filter_map(Kept::family).min();
        self.families = needed.ids().filter_map(|id| Some((*id, family(id)?))).collect();
        let mut read: BTreeMap<BTreeSet<ManifestId>, Arc<Needs>> = self.live.values().cloned().collect();
        let mut newest = BTreeMap::new();
        for slot in self.inventory.slots.keys().copied().collect::<Vec<_>>() {
            let manifests = needed.in_slot(slot);
            let live = match read.get(&manifests) {
                Some(live) => live.clone(),
                None => Arc::new(self.manifests.needs_of(&manifests)),
            };
            read.insert(manifests.clone(), live.clone());
            let of_newest = self.newest_needs(&needed, &manifests, &mut newest);
            self.newest.insert(slot, of_newest);
            self.live.insert(slot, (manifests, live));
        }
        Ok(())
    }

    /// Reads the manifests that were not read before, in waves.
    async fn read_manifests(&mut self, needed: &NeededManifests) -> Result<()> {
        let new = |id: &&ManifestId| !self.manifests.has(id) && !self.unreadable.contains_key(id);
        let new: Vec<ManifestId> = needed.ids().filter(new).copied().collect();
        for wave in new.chunks(MANIFESTS) {
            let reading = wave.iter().map(|id| async move { (*id, needed.holders_of(id).manifest(id).await) });
            for (id, read) in together(reading.collect()).await {
                match read {
                    Ok(manifest) => Arc::make_mut(&mut self.manifests).add(id, &manifest),
                    // One damaged manifest stops nothing else: everything that it may need is kept.
                    Err(error) if is_damage(&error) => {
                        let published = needed.made_of(&id).iter().map(|kept| kept.published).max();
                        self.unreadable.insert(id, published.unwrap_or(u64::MAX));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Returns what the newest version of each definition needs, of those that have `manifests`. `known` is what was found for other slots.
    fn newest_needs(
        &self,
        needed: &NeededManifests,
        manifests: &BTreeSet<ManifestId>,
        known: &mut BTreeMap<BTreeSet<ManifestId>, Arc<Needs>>,
    ) -> Arc<Needs> {
        let mut newest = BTreeMap::<FamilyId, (u64, ManifestId)>::new();
        for id in manifests {
            let published = needed.made_of(id).iter().map(|kept| kept.published).max();
            let Some((family, published)) = self.families.get(id).zip(published) else { continue };
            let of_family = newest.entry(*family).or_insert((published, *id));
            *of_family = (*of_family).max((published, *id));
        }
        let newest = newest.into_values().map(|(_, id)| id).collect::<BTreeSet<_>>();
        known.entry(newest).or_insert_with_key(|newest| Arc::new(self.manifests.needs_of(newest))).clone()
    }

    /// Returns whether no slot needs more in `state` than when its needs were read. Then what was garbage is garbage: imports that have
    /// ended stay so, and only images that were published or updated since may need something else.
    pub(crate) fn still_holds(&self, state: &State) -> bool {
        let new = if state.number() == self.read {
            Vec::new()
        } else {
            kept_since(&self.regions, state, &self.region, self.read).collect()
        };
        self.inventory.slots.keys().all(|slot| {
            let counted = self.live.get(slot).map(|(counted, _)| counted);
            counted.is_some_and(|counted| new.iter().all(|kept| !kept.is_in(*slot) || counted.contains(&kept.manifest)))
        })
    }

    /// Returns the blobs that nothing needs; `None` if a slot needs a manifest that was not read, and the manifests
    /// have to be read again.
    pub(crate) fn unneeded(&self, state: &State) -> Option<Unneeded> {
        let (region, needed) = (&self.region, NeededManifests::in_region(&self.regions, state, &self.region));
        let open: BTreeSet<UploadId> =
            state.uploads().filter(|(_, upload)| upload.region == *region).map(|(name, _)| name.0).collect();
        let unreadable = self.unreadable.keys().flat_map(|id| needed.made_of(id)).map(|kept| kept.id.clone()).collect();
        let mut unneeded = Unneeded { unreadable, ..Unneeded::default() };
        for (id, (slot, holdings)) in &self.inventory.slots {
            let manifests = needed.in_slot(*id);
            let (_, live) = self.live.get(id).filter(|(counted, _)| manifests.is_subset(counted))?;
            let (packs, pages) = (self.packs_of(&manifests), self.blobs_of(&manifests));
            // The needs of an unreadable manifest were announced before it was published.
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
                    (false, false) => self.classify(*id, holding, packs.get(pack).zip(live.get(pack)), *pack),
                };
                if let Keep::One(kept) = keep {
                    unneeded.relied_on.insert((*id, *pack), kept);
                }
                // A condemned blob that a late put brought back is always garbage.
                let garbage = garbage.iter().chain(&holding.dead);
                unneeded.garbage.0.extend(garbage.map(|(name, bytes)| (Blob { slot: *id, name: *name }, *bytes)));
            }
            // After the parts: the last members of a merged blob may just have become garbage.
            let in_use = self.inventory.merged_in_use(*id, &unneeded.garbage);
            for (merged, bytes) in self.inventory.merged.get(id).into_iter().flatten() {
                let blob = Blob { slot: *id, name: BlobName::Merged(*merged) };
                if merged.number() > state.number() {
                    unneeded.foreign.0.insert(blob, *bytes);
                } else if slot.is_dead(blob.name) || !in_use.contains(merged) {
                    unneeded.garbage.0.insert(blob, *bytes);
                }
            }
            for (name, bytes) in self.inventory.manifests.get(id).into_iter().flatten() {
                let BlobName::Manifest(manifest, _) = name else { continue };
                let Some(announced) = state.announced(UploadName(manifest.upload)) else {
                    unneeded.foreign.0.insert(Blob { slot: *id, name: *name }, *bytes);
                    continue;
                };
                // A page of an unreadable manifest was announced before that was published.
                let is_kept = pages.contains(manifest)
                    || manifests.contains(manifest)
                    || open.contains(&manifest.upload)
                    || announced <= doubtful;
                if slot.is_dead(*name) || !is_kept {
                    unneeded.garbage.0.insert(Blob { slot: *id, name: *name }, *bytes);
                }
            }
        }
        Some(unneeded)
    }

    /// Returns the listed boot sets of disks that their slots need not have, with their lengths.
    pub(crate) fn unneeded_boot_sets(&self, state: &State) -> Vec<(SlotId, ManifestId, u64)> {
        let needed = NeededManifests::in_region(&self.regions, state, &self.region);
        let mut unneeded = Vec::new();
        for (slot, sets) in &self.inventory.boot_sets {
            let manifests = needed.in_slot(*slot);
            let without = sets.iter().filter(|(manifest, _)| !manifests.contains(manifest));
            unneeded.extend(without.map(|(manifest, bytes)| (*slot, *manifest, *bytes)));
        }
        unneeded
    }

    /// Returns the number of the commit up to which an announced import may be needed by an unreadable manifest.
    fn doubtful_until(&self, manifests: &BTreeSet<ManifestId>) -> u64 {
        manifests.iter().filter_map(|id| self.unreadable.get(id)).max().copied().unwrap_or(0)
    }

    /// Returns the packs of the manifests that were read.
    fn packs_of(&self, manifests: &BTreeSet<ManifestId>) -> BTreeMap<PackId, PackInfo> {
        manifests.iter().flat_map(|id| self.manifests.lines(id)).map(|(pack, _)| (pack.id, *pack)).collect()
    }

    /// Returns the roots and pages of the manifests that were read.
    fn blobs_of(&self, manifests: &BTreeSet<ManifestId>) -> BTreeSet<ManifestId> {
        manifests.iter().flat_map(|id| self.manifests.blobs(id)).copied().collect()
    }

    /// Returns the packs of which so little is needed that the rest is worth freeing: their live records are to be
    /// written as parts.
    pub(crate) fn mostly_dead(&self, state: &State) -> Vec<Rewrite> {
        self.to_rewrite(state, |holding, pack, live, kept| {
            let is_mostly_dead = live.count() * 100 < kept * LIVE_PERCENT;
            (is_mostly_dead && holding.lacks(pack, live).is_empty()).then(|| live.clone())
        })
    }

    /// Returns the packs that slots have as imports wrote them, and that no version published after `rested`, if that is given, needs: what is
    /// needed of them is to be compressed.
    pub(crate) fn uncompressed(&self, state: &State, rested: Option<DateTime<Utc>>) -> Vec<Rewrite> {
        let young = self.young(rested);
        self.to_rewrite(state, |holding, pack, live, _| {
            let is_as_written = holding.has_whole(pack) && holding.parts.is_empty() && !young.contains(&pack.id);
            let all = || std::iter::once(0..pack.records).collect();
            is_as_written.then(|| if pack.is_mostly(live) { all() } else { live.clone() })
        })
    }

    /// Returns the packs that a version needs which was published after `rested`.
    fn young(&self, rested: Option<DateTime<Utc>>) -> BTreeSet<PackId> {
        let young = self.published.iter().filter(|(_, published)| rested.is_some_and(|rested| **published > rested));
        young.flat_map(|(id, _)| self.manifests.lines(id)).map(|(pack, _)| pack.id).collect()
    }

    /// Returns the small packs that are to be merged, each group into one blob: of a family those that lie by themselves, if they are
    /// several, with the members of small merged blobs; and what is needed of mostly dead ones in any case. Those that were `tried` already
    /// are left out.
    pub(crate) fn to_merge(&self, state: &State, rule: MergeRule, tried: &BTreeSet<(SlotId, PackId)>) -> Vec<Merge> {
        let (young, mut merges) = (self.young(rule.rested), Vec::new());
        for (slot, (_, holdings)) in &self.inventory.slots {
            let Some((manifests, live)) = self.live.get(slot) else { continue };
            let doubtful = self.doubtful_until(manifests);
            let (packs, families) = (self.packs_of(manifests), self.families_of(manifests));
            let (mut loose, mut members) = (BTreeMap::<_, Vec<Small>>::new(), BTreeMap::<MergedId, Vec<_>>::new());
            let (mut copies, mut stored, mut copied) = (Vec::<(FamilyId, Small)>::new(), 0, 0);
            for (id, holding) in holdings {
                let Some(((info, live), family)) = packs.get(id).zip(live.get(id)).zip(families.get(id)) else {
                    continue;
                };
                let announced = state.announced(UploadName(id.upload)).filter(|announced| *announced > doubtful);
                let (Keep::One(kept), _) = self.classify(*slot, holding, Some((info, live)), *id) else { continue };
                let Some(announced) = announced else { continue };
                // It is to be compressed first, which makes it a part.
                let Parcel::Part(part) = &kept else { continue };
                let (place, taken) = (part.id.place().copied(), room_of(part));
                let needed = taken * live.count() / part.extents().count().max(live.count()).max(1);
                let is_new = !tried.contains(&(*slot, *id));
                let may_be_merged = is_new && kept.length() <= SMALL && !young.contains(id);
                let small = Small { pack: *info, kept: kept.clone(), copied: None, announced };
                match place {
                    Some(place) => {
                        members.entry(place.merged).or_default().push((needed, taken, is_new.then_some(small)));
                    }
                    None => loose.entry(*family).or_default().extend(may_be_merged.then_some(small)),
                }
                stored += kept.length();
                let Some(near) = self.near(*slot, &kept, *id) else { continue };
                if let Some((copy, place)) = self.near_copy(*slot, holding, near) {
                    let taken = room_of(copy);
                    let needed = taken * near.count() / copy.extents().count().max(1);
                    let copy = || Small { pack: *info, kept: Parcel::Part(copy.clone()), copied: None, announced };
                    members.entry(place.merged).or_default().push((needed, taken, is_new.then(copy)));
                    copied += taken;
                } else if is_new && !young.contains(id) && is_sparse(near, &kept) {
                    let copied = Some(near.clone());
                    copies.push((*family, Small { pack: *info, kept, copied, announced }));
                }
            }
            if rule.only_mostly_dead {
                loose.clear();
            }
            let sizes = self.inventory.merged.get(slot);
            let size_of = |merged: &MergedId| sizes.and_then(|sizes| sizes.get(merged)).copied().unwrap_or(0);
            let is_mostly_dead = |merged: &MergedId, members: &[(u64, u64, Option<Small>)]| {
                let (needed, taken) =
                    members.iter().fold((0, 0), |(needed, taken), one| (needed + one.0, taken + one.1));
                // Members are written anew as they are: unless some of them went, nothing would be freed.
                let frees = taken + ROOM < size_of(merged);
                let is_to_do = members.iter().any(|(_, _, small)| small.is_some());
                frees && is_to_do && needed * 100 < size_of(merged) * LIVE_PERCENT
            };
            let rewritten = members.iter().filter(|(merged, members)| is_mostly_dead(merged, members));
            let rewritten: BTreeSet<FamilyId> = rewritten.map(|(merged, _)| merged.family()).collect();
            loose.retain(|family, packs| packs.len() >= rule.several || rewritten.contains(family));
            for (merged, members) in members {
                let grows = size_of(&merged) < MERGED_BYTES / 2 && loose.contains_key(&merged.family());
                if grows || is_mostly_dead(&merged, &members) {
                    let members = members.into_iter().filter_map(|(_, _, small)| small);
                    loose.entry(merged.family()).or_default().extend(members);
                }
            }
            copies.sort_by_key(|(_, small)| small.bytes());
            for (family, small) in copies {
                let Some(packs) = loose.get_mut(&family) else { continue };
                copied += small.bytes() + ROOM;
                if copied * 100 <= stored * COPIED_PERCENT {
                    packs.push(small);
                }
            }
            for (family, packs) in loose {
                let merge = |packs| Merge { slot: *slot, family, packs };
                merges.extend(into_blobs(packs).into_iter().map(merge));
            }
        }
        merges
    }

    /// Returns the family that each pack of some manifests is merged in.
    fn families_of(&self, manifests: &BTreeSet<ManifestId>) -> BTreeMap<PackId, FamilyId> {
        let mut families = BTreeMap::<PackId, FamilyId>::new();
        for id in manifests {
            let Some(family) = self.families.get(id) else { continue };
            for (pack, _) in self.manifests.lines(id) {
                families.entry(pack.id).and_modify(|known| *known = (*known).min(*family)).or_insert(*family);
            }
        }
        families
    }

    /// Prefers what replaces a blob to the blob.
    pub(crate) fn supersede(&mut self, slot: SlotId, name: BlobName) {
        self.superseded.insert(Blob { slot, name });
    }

    /// Returns the records of a large pack that the newest versions need: these may be copied to where their other records are. `kept` is
    /// what a slot keeps of it.
    fn near(&self, slot: SlotId, kept: &Parcel, pack: PackId) -> Option<&Extents> {
        let is_large = matches!(kept, Parcel::Part(part) if part.id.place().is_none() && part.length() > SMALL);
        let near = self.newest.get(&slot).and_then(|needs| needs.get(&pack));
        near.filter(|near| is_large && !near.is_empty())
    }

    /// Returns the member of a merged blob that has what is `near` of a large pack, and hardly more: it is kept beside the pack.
    fn near_copy<'h>(&self, slot: SlotId, holding: &'h Holding, near: &Extents) -> Option<(&'h Part, MemberPlace)> {
        let placed = holding.parts.iter().filter_map(|part| Some((part, *part.id.place()?)));
        let enough = placed.filter(|(part, _)| {
            let extents = part.extents();
            let is_superseded = self.superseded.contains(&Blob { slot, name: part.name() });
            !is_superseded && extents.contains(near) && extents.count() * LIVE_PERCENT <= near.count() * 100
        });
        enough.max_by_key(|(part, place)| (place.merged.number(), part.name()))
    }

    /// Returns the copy that is kept beside a large pack, if there is one.
    fn copy_beside<'h>(&self, slot: SlotId, holding: &'h Holding, kept: &Parcel, pack: PackId) -> Option<&'h Part> {
        let (copy, _) = self.near_copy(slot, holding, self.near(slot, kept, pack)?)?;
        Some(copy)
    }

    fn classify(
        &self,
        slot: SlotId,
        holding: &Holding,
        need: Option<(&PackInfo, &Extents)>,
        pack: PackId,
    ) -> (Keep, Vec<(BlobName, u64)>) {
        let (keep, mut garbage) = classify(holding, need, pack, |name| self.superseded.contains(&Blob { slot, name }));
        if let Keep::One(kept) = &keep
            && let Some(copy) = self.copy_beside(slot, holding, kept, pack)
        {
            garbage.retain(|(name, _)| *name != copy.name());
        }
        (keep, garbage)
    }

    /// Returns the packs of each slot that are needed, each with what the slot has of it and what is needed; without those that an unreadable
    /// manifest may need more of.
    fn needed_packs(&self, state: &State) -> impl Iterator<Item = (SlotId, &Holding, PackInfo, &Extents)> {
        let slots = self.inventory.slots.iter();
        let with_live = slots.filter_map(|(slot, (_, holdings))| Some((*slot, holdings, self.live.get(slot)?)));
        with_live.flat_map(move |(slot, holdings, (manifests, live))| {
            let (packs, doubtful) = (self.packs_of(manifests), self.doubtful_until(manifests));
            holdings.iter().filter_map(move |(id, holding)| {
                let (pack, live) = packs.get(id).zip(live.get(id))?;
                let announced = state.announced(UploadName(id.upload))?;
                (announced > doubtful).then_some((slot, holding, *pack, live))
            })
        })
    }

    /// Returns what slots rely on, of packs that are needed.
    pub(crate) fn relied_on(&self, state: &State) -> Vec<Relied> {
        let mut found = Vec::new();
        for (slot, holding, pack, live) in self.needed_packs(state) {
            let (keep, _) = self.classify(slot, holding, Some((&pack, live)), pack.id);
            let mut copy = None;
            let blobs = match keep {
                Keep::One(parcel) => {
                    copy = self.copy_beside(slot, holding, &parcel, pack.id).cloned().map(Parcel::Part);
                    vec![parcel]
                }
                Keep::All => holding.parts.iter().cloned().map(Parcel::Part).collect(),
                Keep::Nothing => continue,
            };
            let is_whole = holding.broken.is_empty() && holding.lacks(&pack, live).is_empty();
            found.push(Relied { slot, pack, live: live.clone(), blobs, is_whole, copy });
        }
        found
    }

    /// Returns the packs of which `chosen` wants some records to be written anew. It is given what a slot has of a pack, the records
    /// that are needed, and the number of those that the slot keeps.
    fn to_rewrite(
        &self,
        state: &State,
        chosen: impl Fn(&Holding, &PackInfo, &Extents, u64) -> Option<Extents>,
    ) -> Vec<Rewrite> {
        let rewrite = |(slot, holding, pack, live): (SlotId, &Holding, PackInfo, &Extents)| {
            let (keep, garbage) = self.classify(slot, holding, Some((&pack, live)), pack.id);
            let kept = match &keep {
                Keep::One(Parcel::Part(part)) => part.extents().count(),
                _ => holding.records_of(&pack),
            };
            let held = holding.bytes() - garbage.iter().map(|(_, bytes)| bytes).sum::<u64>();
            chosen(holding, &pack, live, kept).map(|live| Rewrite { slot, pack, live, held })
        };
        self.needed_packs(state).filter_map(rewrite).collect()
    }
}

/// Returns whether what is `near` of a pack is little of it, and not in one place: the rest is read in vain, or each record by itself.
fn is_sparse(near: &Extents, kept: &Parcel) -> bool {
    let of = match kept {
        Parcel::Part(part) => part.extents().count(),
        Parcel::Pack(info) => info.records.into(),
    };
    near.count() * 100 <= of * SPARSE_PERCENT && near.ranges().len() > 1
}

/// Returns the bytes that a member takes of its merged blob, at most.
fn room_of(part: &Part) -> u64 {
    part.length().next_multiple_of(BLOCK_BYTES as u64) + LINE_BYTES as u64 + part.id.head_bytes()
}

/// Divides packs into groups of which each fits into a merged blob, in the order in which they lie there: indexes first, then by age.
fn into_blobs(mut packs: Vec<Small>) -> Vec<Vec<Small>> {
    packs.sort_by_key(|small| (small.bytes() > TINY, small.announced, small.pack.id));
    let (mut groups, mut bytes) = (Vec::<Vec<Small>>::new(), 0);
    for small in packs {
        bytes += small.bytes() + ROOM;
        match groups.last_mut().filter(|group| bytes <= MERGED_BYTES && group.len() < MAX_MEMBERS) {
            Some(group) => group.push(small),
            None => {
                bytes = small.bytes() + ROOM;
                groups.push(vec![small]);
            }
        }
    }
    groups
}

/// The garbage of a region, with the reasons to keep or to trust the rest.
#[derive(Default)]
pub(crate) struct Unneeded {
    pub(crate) garbage: Blobs,
    /// Blobs of imports that this catalog never announced: they are never removed.
    pub(crate) foreign: Blobs,
    /// The images of manifests that no replica has intact.
    pub(crate) unreadable: BTreeSet<ResourceId>,
    /// For a pack of which other blobs are garbage: the one blob that suffices.
    pub(crate) relied_on: BTreeMap<(SlotId, PackId), Parcel>,
}

impl Unneeded {
    /// Counts a pack of an import that was never announced as foreign.
    fn leave(&mut self, slot: SlotId, pack: PackId, holding: &Holding) {
        let broken = holding.broken.iter().map(|name| (*name, 0));
        let blobs = holding.readable(pack).chain(broken).chain(holding.dead.iter().copied());
        self.foreign.0.extend(blobs.map(|(name, bytes)| (Blob { slot, name }, bytes)));
    }
}

/// What a slot keeps of a pack.
enum Keep {
    Nothing,
    One(Parcel),
    All,
}

/// Returns what a slot keeps of a pack, and its garbage: everything if nothing needs it, everything but one part if
/// that suffices, every part if the whole pack is there.
fn classify(
    holding: &Holding,
    need: Option<(&PackInfo, &Extents)>,
    pack: PackId,
    is_superseded: impl Fn(BlobName) -> bool,
) -> (Keep, Vec<(BlobName, u64)>) {
    let keep = need.map_or(Keep::Nothing, |(info, live)| {
        let enough = holding.parts.iter().filter(|part| part.extents().contains(live));
        // Of equal ones the member of the newest merged blob.
        let newest = |part: &Part| part.id.place().map(|place| place.merged.number());
        let enough = enough.min_by_key(|part| (is_superseded(part.name()), part.length(), Reverse(newest(part))));
        match enough {
            Some(part) => Keep::One(Parcel::Part(part.clone())),
            None if holding.has_whole(info) => Keep::One(Parcel::Pack(*info)),
            // Several parts are needed together, or a record is lost, which a scrub mends.
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
