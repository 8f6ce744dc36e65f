//! The packs that a scrub reads next: those of some images together, each once.

use std::collections::{BTreeMap, BTreeSet};

use crate::content::extents::Extents;
use crate::content::manifest::Manifest;
use crate::content::names::{FamilyId, PackId, UploadId};
use crate::content::pack::PackInfo;
use crate::model::ResourceId;
use crate::regions::needed::Kept;
use crate::replica::reading::is_of_many_uploads;
use crate::replica::slot::Slot;

/// The packs of a wave, about: what they hold is 256 GiB, and what is known of them a few MiB.
pub(super) const MAX_PACKS: usize = 16_384;

/// The packs of earlier waves that are remembered. One that is forgotten may be read once more.
const MAX_SEEN: usize = 4 * MAX_PACKS;

/// The slots of an image.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Those of the region, which must have it whole.
    pub(super) here: Vec<Slot>,
    /// Every slot that has it whole, those of the region first.
    pub(super) all: Vec<Slot>,
}

impl Places {
    fn is_same(&self, other: &Self) -> bool {
        let same = |one: &[Slot], other: &[Slot]| one.iter().map(Slot::label).eq(other.iter().map(Slot::label));
        same(&self.here, &other.here) && same(&self.all, &other.all)
    }
}

/// The images of all waves so far. Most images lie in the same slots, which are here once.
#[derive(Default)]
pub(super) struct Scrubbed {
    places: Vec<Places>,
    /// What was read of a pack, for each of the places.
    seen: BTreeMap<(PackId, usize), Extents>,
    /// The packs that could not be mended.
    lost: BTreeSet<PackId>,
    /// The families whose merged blobs readers look for, each with the places where.
    merged: BTreeSet<(FamilyId, usize)>,
    /// The uploads of images that an earlier scrub has read, each with the replicas and the zones where it has.
    before: BTreeMap<UploadId, (u32, usize)>,
}

/// Packs to read.
#[derive(Default)]
pub(super) struct Wave {
    pub(super) packs: BTreeMap<PackId, Pack>,
    /// The images that are made of them.
    images: Vec<ResourceId>,
    /// What is to be read, in bytes.
    pub(super) bytes: u64,
}

pub(super) struct Pack {
    pub(super) info: PackInfo,
    /// What is needed of it, for each of the places.
    needs: Vec<(usize, Extents)>,
    /// The images that are made of it, by their position in the wave.
    of: Vec<usize>,
}

impl Scrubbed {
    /// Those that earlier scrubs have read: the upload of each, and the replicas and the zones where it has its records.
    pub(super) fn by(earlier: impl Iterator<Item = (UploadId, (u32, usize))>) -> Self {
        // An image needs every record that its own import has written.
        Self { before: earlier.collect(), ..Self::default() }
    }

    /// Returns the number of these places.
    pub(super) fn place(&mut self, places: Places) -> usize {
        self.places.iter().position(|known| known.is_same(&places)).unwrap_or_else(|| {
            self.places.push(places);
            self.places.len() - 1
        })
    }

    /// Adds to the wave what no earlier one has read of an image. Returns whether a pack of it is lost, by an earlier one.
    pub(super) fn add(&mut self, wave: &mut Wave, image: &Kept, manifest: &Manifest, place: usize) -> bool {
        let mut has_lost = false;
        let slots = self.places.get(place).map_or(0, |places| places.here.len()) as u64;
        let number = wave.images.len();
        wave.images.push(image.id.clone());
        self.merged
            .extend(image.family().filter(|_| is_of_many_uploads(&manifest.packs)).map(|family| (family, place)));
        for info in manifest.packs.iter() {
            let Some(needed) = manifest.needs.get(&info.id) else { continue };
            let is_in = |(replicas, zones): &(u32, usize)| *replicas >= image.ready && *zones >= image.zones;
            if self.before.get(&info.id.upload).is_some_and(is_in) {
                continue;
            }
            has_lost |= self.lost.contains(&info.id);
            if self.seen.len() >= MAX_SEEN {
                self.seen.clear();
            }
            let seen = self.seen.entry((info.id, place)).or_default();
            let new = needed.minus(seen);
            if !new.is_empty() {
                *seen = seen.union(needed);
                wave.bytes += info.bytes_of(&new) * slots;
                let pack = wave.packs.entry(info.id);
                pack.or_insert_with(|| Pack { info: *info, needs: Vec::new(), of: Vec::new() }).need(place, &new);
            }
            // Also who needs no more of it than others is hit if it is lost.
            if let Some(pack) = wave.packs.get_mut(&info.id) {
                pack.of.push(number);
            }
        }
        has_lost
    }

    /// Returns the families of the images so far whose readers look for merged blobs, with the slots where, each once.
    pub(super) fn merged(&self) -> Vec<(FamilyId, &Slot)> {
        let mut merged = BTreeMap::new();
        for (family, place) in &self.merged {
            let here = self.places.get(*place).map(|places| &places.here).into_iter().flatten();
            merged.extend(here.map(|slot| ((*family, slot.label()), (*family, slot))));
        }
        merged.into_values().collect()
    }

    /// Returns the slots that need a pack, with what each needs of it.
    pub(super) fn needed(&self, pack: &Pack) -> Vec<(&Slot, Extents)> {
        let mut needed = BTreeMap::<&str, (&Slot, Extents)>::new();
        for (place, extents) in &pack.needs {
            for slot in self.places.get(*place).map(|places| &places.here).into_iter().flatten() {
                let (_, all) = needed.entry(slot.label()).or_insert_with(|| (slot, Extents::default()));
                *all = all.union(extents);
            }
        }
        needed.into_values().collect()
    }

    /// Returns every slot that must have a pack, those of the region first.
    pub(super) fn holders<'s>(&'s self, pack: &Pack) -> Vec<&'s Slot> {
        let mut holders: Vec<&Slot> = Vec::new();
        let places = pack.needs.iter().filter_map(|(place, _)| self.places.get(*place));
        for slot in places.flat_map(|places| &places.all) {
            if !holders.iter().any(|one| one.label() == slot.label()) {
                holders.push(slot);
            }
        }
        holders
    }

    /// Returns whether an earlier wave could not mend a pack.
    pub(super) fn has_lost(&self, pack: &PackId) -> bool {
        self.lost.contains(pack)
    }

    /// Notes that a pack could not be mended, and returns the images that are made of it.
    pub(super) fn lose(&mut self, wave: &Wave, pack: &PackId) -> Vec<ResourceId> {
        self.lost.insert(*pack);
        let of = wave.packs.get(pack).into_iter().flat_map(|pack| &pack.of);
        of.filter_map(|number| wave.images.get(*number)).cloned().collect()
    }
}

impl Pack {
    fn need(&mut self, place: usize, new: &Extents) {
        match self.needs.iter_mut().find(|(one, _)| *one == place) {
            Some((_, all)) => *all = all.union(new),
            None => self.needs.push((place, new.clone())),
        }
    }
}
