//! The invariants, independent of the code: folded from the log alone, by the documented formats.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use compute_gallery::content::Digest;
use compute_gallery::model::{Region, ResourceId, StorageAccountType};
use compute_gallery::store::{BlobKey, BlobStoreExt, MemoryStore};

use crate::client::DISKS;
use crate::content::{self, Ordinal, Pack, Records};
use crate::executor::at_once;
use crate::log::{self, Commit, Content, Event, ZoneBlobs};
use crate::world::{CATALOG, World};

/// The state by the log.
#[derive(Default)]
pub struct Model {
    /// The number of the newest commit.
    pub number: u64,
    pub images: BTreeMap<ResourceId, Image>,
    /// For each resource, after which commits it was another one or was gone; and what it held since.
    past: BTreeMap<ResourceId, Vec<(u64, Option<Digest>)>>,
    /// Each caller's commits.
    committed: BTreeMap<String, Vec<(u64, Event)>>,
    /// The hash of each entry.
    hashes: Vec<u64>,
    /// The newest commit that an answer rests on: no power cut may take it.
    acknowledged: u64,
    /// Callers that delete for good.
    deleting: BTreeSet<String>,
    /// The content needed in each slot.
    needed: BTreeMap<(Region, u32), Needed>,
    /// The content that each manifest leads to.
    reach: BTreeMap<Manifest, Records>,
    /// The length of each pack.
    lengths: BTreeMap<Pack, u64>,
    /// Content that was ever condemned in each store: nothing may rely on it.
    dead: BTreeSet<(&'static str, BlobKey)>,
}

/// A manifest by its upload and its hash.
type Manifest = (String, String);

/// How many of a region's zones must have something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Zones {
    /// The first: what is not zone-redundant. A region with one store has no other.
    First,
    /// Any: zone-redundant, and not complete yet.
    Any,
    /// More than half.
    Most,
}

impl Zones {
    fn are_enough(self, there: &[bool]) -> bool {
        let count = there.iter().filter(|is_there| **is_there).count();
        match self {
            Self::First => there.first() == Some(&true),
            Self::Any => count > 0,
            Self::Most => count * 2 > there.len(),
        }
    }
}

/// The content needed in a slot, each with the zones that must have it.
#[derive(Default)]
struct Needed {
    manifests: BTreeSet<(Manifest, Zones)>,
    records: BTreeMap<Pack, BTreeSet<(Ordinal, Zones)>>,
}

/// A version, a managed image or a snapshot.
#[derive(Clone)]
pub struct Image {
    pub content: Content,
    pub home: Region,
    /// How many replicas are wanted where.
    pub wanted: BTreeMap<Region, u32>,
    /// How many are there, where all were once.
    pub complete: BTreeMap<Region, u32>,
    /// Until when it can be restored.
    pub soft_deleted: Option<DateTime<Utc>>,
    pub is_zone_redundant: bool,
}

impl Image {
    fn new(content: &Content, home: &Region) -> Self {
        let (wanted, complete) = (BTreeMap::new(), BTreeMap::new());
        let (content, home) = (content.clone(), home.clone());
        Self { content, home, wanted, complete, soft_deleted: None, is_zone_redundant: false }
    }

    /// The bytes of its OS disk.
    pub fn disk(&self) -> &'static [u8] {
        let disk = DISKS.iter().find(|(_, digest)| *digest == self.content.os_disk_digest);
        disk.unwrap().0.as_slice()
    }

    pub fn is_complete(&self) -> bool {
        self.wanted.iter().all(|(region, wanted)| self.complete.get(region).is_some_and(|there| there >= wanted))
    }
}

impl Model {
    /// Reads what others have committed since, and looks whether everything is there that must be.
    pub fn catch_up(&mut self, world: &World) {
        let commits = log::after(world.store(CATALOG), self.number);
        if commits.is_empty() {
            return;
        }
        for Commit { number, hash, events } in commits {
            self.number = number;
            self.hashes.push(hash);
            let before = if number == 1 { "catalog/identity".parse().unwrap() } else { log::log_key(number - 1) };
            assert!(!world.may_lose(CATALOG, &before), "commit {number} follows {before}, which a power cut may take");
            for (caller, event) in events {
                world.say(format!("-- commit {number} of {caller}: {}", name(&event)));
                self.is_not_too_early(world, &caller, &event);
                if let Event::RegionStoreClaimed { region, zone, .. } = &event {
                    let place = world.zones(region.as_str())[zone.unwrap_or(1) - 1];
                    let owner = "owner".parse().unwrap();
                    assert!(!world.may_lose(place, &owner), "{place} is claimed, and a power cut may take its owner");
                }
                self.apply(world, &event);
                self.committed.entry(caller).or_default().push((number, event));
            }
        }
        self.needed = self.all_needed(world);
        for ((region, slot), needed) in &self.needed {
            for (manifest, zones) in &needed.manifests {
                let there = self.has_manifest(world, region, *slot, manifest, *zones);
                assert!(there, "after commit {}: {manifest:?} is needed in {region} and is not there", self.number);
            }
            for (pack, records) in &needed.records {
                self.has_records(world, region, *slot, pack, records).unwrap_or_else(|record| {
                    panic!("after commit {}: {pack} is needed in {region} slot {slot}: {record:?}", self.number)
                });
            }
        }
    }

    /// After a power cut the log is as it was, but for its last entries that no answer rests on; and what it needs is there.
    pub fn after_power_cut(&mut self, world: &World) {
        let before = std::mem::take(self);
        (self.reach, self.lengths) = (before.reach, before.lengths);
        (self.acknowledged, self.deleting) = (before.acknowledged, before.deleting);
        self.catch_up(world);
        let there = at_once(world.store(CATALOG).list_all(Some(&"catalog/log".parse().unwrap()))).unwrap();
        assert_eq!(there.len() as u64, self.number, "the log has a hole after commit {}", self.number);
        let is_known = self.hashes.iter().zip(&before.hashes).all(|(after, before)| after == before);
        assert!(is_known && self.hashes.len() <= before.hashes.len(), "the log was changed by a power cut");
        let Self { number, acknowledged, .. } = self;
        assert!(number >= acknowledged, "commit {acknowledged} was acknowledged, and the log ends at {number}");
    }

    /// The last commit, which changed nothing, is taken back.
    pub fn forget_last(&mut self, number: u64) {
        assert_eq!(number, self.number);
        self.number -= 1;
        self.hashes.pop();
    }

    /// No entry was ever changed.
    pub fn is_of_this_log(&self, world: &World) {
        let log = log::after(world.store(CATALOG), 0);
        assert!(log.iter().map(|commit| &commit.hash).eq(&self.hashes), "an entry of the log was changed");
    }

    /// The images as they are when all are complete.
    pub fn completed(&self) -> BTreeMap<ResourceId, Image> {
        let complete = |image: &Image| Image { complete: image.wanted.clone(), ..image.clone() };
        self.images.iter().map(|(id, image)| (id.clone(), complete(image))).collect()
    }

    /// An answer rests on this commit: no power cut may take it.
    pub fn rests_on(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number);
    }

    /// A caller deletes a version for good, before its retention is over.
    pub fn may_delete(&mut self, caller: String) {
        self.deleting.insert(caller);
    }

    /// A retention ends no sooner than by the stores' time, however wrong the clocks are.
    fn is_not_too_early(&self, world: &World, caller: &str, event: &Event) {
        if let Event::ImageVersionDeleted { version, restorable_until: None } = event
            && let Some(until) = self.images.get(&version.into()).and_then(|image| image.soft_deleted)
            && !self.deleting.contains(caller)
        {
            let is_over = world.store_time().is_none_or(|now| now >= until);
            assert!(is_over, "{version} is restorable until {until}, and {caller} has ended it before");
        }
    }

    fn apply(&mut self, world: &World, event: &Event) {
        match event {
            Event::ImageVersionPublished { version, content } => {
                let mut image = Image::new(content, version.location());
                image.wanted = wanted(version);
                let storage = version.publishing_profile().storage_account_type_in(version.location());
                image.is_zone_redundant = storage == StorageAccountType::StandardZrs;
                self.put(version.id().into(), Some(image));
            }
            Event::ManagedImageCreated { image, content } => self.put_at_home(image.id(), content, image.location()),
            Event::SnapshotCreated { snapshot, content } => {
                self.put_at_home(snapshot.id(), content, snapshot.location());
            }
            Event::ManagedImageDeleted { image } => self.put(image.into(), None),
            Event::SnapshotDeleted { snapshot } => self.put(snapshot.into(), None),
            Event::ImageVersionDeleted { version, restorable_until: None } => self.put(version.into(), None),
            Event::ImageVersionDeleted { version, restorable_until: Some(until) } => {
                self.change(version.into(), |image| image.soft_deleted = Some(*until));
            }
            Event::ImageVersionRestored { version } => self.change(version.into(), |image| image.soft_deleted = None),
            Event::ImageVersionUpdated { version } => self.change(version.id().into(), |image| {
                image.wanted = wanted(version);
                image.complete.retain(|region, _| image.wanted.contains_key(region));
                image.complete.iter_mut().for_each(|(region, there)| *there = (*there).min(image.wanted[region]));
            }),
            Event::RegionCompleted { version, region, replicas } => {
                // More of it is there than was; nothing that was true is not any more.
                let image = self.images.get_mut(&version.into()).unwrap();
                image.complete.insert(region.clone(), *replicas);
            }
            Event::ContentCondemned { region, blobs } => {
                let zones = world.zones(region.as_str());
                let place = |zone: &ZoneBlobs| zones[zone.zone - 1];
                let keys = blobs.iter().flat_map(|zone| zone.keys.iter().map(move |key| (place(zone), key.clone())));
                self.dead.extend(keys);
            }
            _ => {}
        }
    }

    /// Whether nothing may rely on a blob: it was condemned, or a power cut may take it.
    fn is_dead(&self, world: &World, place: &'static str, key: &BlobKey) -> bool {
        self.dead.contains(&(place, key.clone())) || world.may_lose(place, key)
    }

    /// Which zones have a manifest.
    fn has_manifest(&self, world: &World, region: &Region, slot: u32, manifest: &Manifest, zones: Zones) -> bool {
        let (upload, digest) = manifest;
        let is_there = |place: &&'static str| {
            let there = content::manifests(world.store(place), slot, upload, digest);
            there.into_iter().any(|key| !self.is_dead(world, place, &key))
        };
        zones.are_enough(&world.zones(region.as_str()).iter().map(is_there).collect::<Vec<_>>())
    }

    /// The first record that too few zones have.
    fn has_records(
        &self,
        world: &World,
        region: &Region,
        slot: u32,
        pack: &str,
        records: &BTreeSet<(Ordinal, Zones)>,
    ) -> Result<(), Ordinal> {
        let holding = |place: &&'static str| {
            content::holding(world.store(place), slot, pack, self.lengths[pack], &|key| self.is_dead(world, place, key))
        };
        let holdings: Vec<_> = world.zones(region.as_str()).iter().map(holding).collect();
        let is_there = |(record, zones): &&(Ordinal, Zones)| {
            zones.are_enough(&holdings.iter().map(|holding| holding.has(record)).collect::<Vec<_>>())
        };
        records.iter().find(|record| !is_there(record)).map_or(Ok(()), |(record, _)| Err(*record))
    }

    fn put(&mut self, id: ResourceId, image: Option<Image>) {
        let digest = image.as_ref().map(|image| image.content.os_disk_digest);
        self.past.entry(id.clone()).or_default().push((self.number, digest));
        match image {
            Some(image) => self.images.insert(id, image),
            None => self.images.remove(&id),
        };
    }

    fn put_at_home(&mut self, id: impl Into<ResourceId>, content: &Content, home: &Region) {
        let mut image = Image::new(content, home);
        (image.wanted, image.complete) = ([(home.clone(), 1)].into(), [(home.clone(), 1)].into());
        self.put(id.into(), Some(image));
    }

    fn change(&mut self, id: ResourceId, change: impl FnOnce(&mut Image)) {
        let mut image = self.images[&id].clone();
        change(&mut image);
        self.put(id, Some(image));
    }

    /// Everything that something needs. From the moment that it exists an image is whole in the first slot of its home.
    fn all_needed(&mut self, world: &World) -> BTreeMap<(Region, u32), Needed> {
        let mut needed: BTreeMap<(Region, u32), Needed> = BTreeMap::new();
        for (id, image) in &self.images {
            let manifest = manifest(&image.content);
            let reach = self.reach.entry(manifest.clone()).or_insert_with(|| {
                let home: Vec<_> = world.zones(image.home.as_str()).iter().map(|place| world.store(place)).collect();
                let read = |zone: &&MemoryStore| {
                    let lives = content::manifests(zone, 0, &manifest.0, &manifest.1);
                    at_once(zone.find(lives.first()?)).unwrap()
                };
                let bytes = home.iter().find_map(read);
                let bytes = bytes.unwrap_or_else(|| panic!("the manifest of {id} was never there: {manifest:?}"));
                self.lengths.extend(content::lengths(&bytes));
                content::reach(&home, &bytes)
            });
            let mut slots = image.complete.clone();
            slots.entry(image.home.clone()).or_insert(1);
            for (region, count) in slots {
                let zones = match image.is_zone_redundant && world.zones(region.as_str()).len() > 1 {
                    true if image.complete.contains_key(&region) => Zones::Most,
                    true => Zones::Any,
                    false => Zones::First,
                };
                for slot in 0..count {
                    let of_slot = needed.entry((region.clone(), slot)).or_default();
                    of_slot.manifests.insert((manifest.clone(), zones));
                    for (pack, records) in &*reach {
                        let records = records.iter().map(|record| (*record, zones));
                        of_slot.records.entry(pack.clone()).or_default().extend(records);
                    }
                }
            }
        }
        needed
    }

    /// What is needed of a pack or manifest is there, after something of it was removed.
    pub fn check(&self, world: &World, place: &str, key: &BlobKey) {
        let names: Vec<&str> = key.segments().collect();
        let ["slots", slot, what, name, rest @ ..] = names.as_slice() else { return };
        let (slot, region) = (slot.parse().unwrap(), world.region_of(place));
        let Some(needed) = self.needed.get(&(region.clone(), slot)) else { return };
        let is_there = match *what {
            "manifests" => {
                let manifest = ((*name).to_owned(), rest[0].split('-').next().unwrap().to_owned());
                let mut wanted = needed.manifests.iter().filter(|(one, _)| *one == manifest);
                wanted.all(|(_, zones)| self.has_manifest(world, &region, slot, &manifest, *zones))
            }
            _ => {
                let pack = format!("{name}/{}", rest[0].split('-').next().unwrap());
                let records = needed.records.get(&pack);
                records.is_none_or(|records| self.has_records(world, &region, slot, &pack, records).is_ok())
            }
        };
        assert!(is_there, "{key} was removed from {place}, and something of it is needed");
    }

    /// Whether a resource is still what it was after commit `number`, more replicas apart.
    pub fn is_the_same_since(&self, id: &ResourceId, number: u64) -> bool {
        self.past.get(id).and_then(|past| past.last()).is_none_or(|(last, _)| *last <= number)
    }

    /// The contents of a resource since commit `number`.
    pub fn held_since(&self, id: &ResourceId, number: u64) -> Vec<Digest> {
        let past = self.past.get(id).map(Vec::as_slice).unwrap_or_default();
        let before = past.iter().rposition(|(at, _)| *at <= number).unwrap_or(0);
        past[before..].iter().filter_map(|(_, digest)| *digest).collect()
    }

    /// The newest commit of `caller` that has an event like that.
    pub fn committed(&self, caller: &str, what: impl Fn(&Event) -> bool) -> Option<u64> {
        let of_caller = self.committed.get(caller)?.iter();
        of_caller.filter(|(_, event)| what(event)).map(|(number, _)| *number).next_back()
    }
}

fn manifest(content: &Content) -> Manifest {
    (content.upload.clone(), content.manifest.to_string())
}

fn wanted(version: &compute_gallery::model::ImageVersion) -> BTreeMap<Region, u32> {
    let profile = version.publishing_profile();
    let regions = profile.target_regions().iter().map(|target| target.region().clone());
    regions.map(|region| (region.clone(), profile.replicas_in(&region).unwrap())).collect()
}

fn name(event: &Event) -> String {
    let short = |text: String| text.rsplit('/').next().unwrap_or_default().to_owned();
    match event {
        Event::UploadStarted { upload, target, region } => {
            format!("upload {upload:?} of {} to {region}", short(target.to_string()))
        }
        Event::UploadAbandoned { upload } => format!("upload {upload:?} given up"),
        Event::ImageVersionPublished { version, content } => {
            let manifest = manifest(content);
            format!("{} published in {:?}, manifest {manifest:?}", version.id().number(), wanted(version))
        }
        Event::ImageVersionUpdated { version } => format!("{} goes to {:?}", version.id().number(), wanted(version)),
        Event::ImageVersionDeleted { version, restorable_until } => {
            format!("{} deleted, restorable until {restorable_until:?}", version.number())
        }
        Event::ImageVersionRestored { version } => format!("{} restored", version.number()),
        Event::RegionCompleted { version, region, replicas } => {
            format!("{} complete in {region} with {replicas}", version.number())
        }
        Event::ContentCondemned { region, blobs } => format!("condemned in {region}: {blobs:?}"),
        Event::RemovalTakenOver { region } => format!("removal taken over in {region}"),
        Event::RegionStoreClaimed { region, store, .. } => format!("{region} is store {store}"),
        Event::ContentRemoved { region } => format!("removed in {region}"),
        other => format!("{other:?}"),
    }
}
