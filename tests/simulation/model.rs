//! The invariants, independent of the code: folded from the log alone, by the documented formats.

use std::collections::{BTreeMap, BTreeSet};

use compute_gallery::content::Digest;
use compute_gallery::model::{Region, ResourceId};
use compute_gallery::store::{BlobKey, BlobStoreExt};
use futures::executor::block_on;

use crate::content::{self, Records};
use crate::log::{self, Content, Event};
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
    committed: BTreeMap<String, Vec<Event>>,
    /// The content needed in each slot, by the name of its store.
    needed: BTreeMap<(String, u32), Needed>,
    /// The content that each manifest leads to.
    reach: BTreeMap<Manifest, Records>,
    /// Content that was ever condemned in each store: nothing may rely on it.
    dead: BTreeSet<(String, BlobKey)>,
}

/// A manifest by its upload and its hash.
type Manifest = (String, String);

/// The content needed in a slot.
#[derive(Default)]
struct Needed {
    manifests: BTreeSet<Manifest>,
    records: Records,
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
    pub soft_deleted: bool,
}

impl Image {
    fn new(content: &Content, home: &Region) -> Self {
        let complete = BTreeMap::new();
        Self { content: content.clone(), home: home.clone(), wanted: BTreeMap::new(), complete, soft_deleted: false }
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
        for (number, caller, event) in commits {
            world.say(format!("-- commit {number} of {caller}: {}", name(&event)));
            self.number = number;
            self.apply(&event);
            self.committed.entry(caller).or_default().push(event);
        }
        self.needed = self.all_needed(world);
        for ((store, slot), needed) in &self.needed {
            for manifest in &needed.manifests {
                let there = self.has_manifest(world, store, *slot, manifest);
                assert!(there, "after commit {}: {manifest:?} is needed in {store} and is not there", self.number);
            }
            let is_dead = |key: &BlobKey| self.dead.contains(&(store.clone(), key.clone()));
            for (pack, records) in &needed.records {
                let there = content::has(world.store(store), *slot, pack, records, &is_dead);
                assert!(there, "after commit {}: {pack} is needed in {store} slot {slot}: {records:?}", self.number);
            }
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::ImageVersionPublished { version, content } => {
                let mut image = Image::new(content, version.location());
                image.wanted = wanted(version);
                self.put(version.id().into(), Some(image));
            }
            Event::ManagedImageCreated { image, content } => self.put_at_home(image.id(), content, image.location()),
            Event::SnapshotCreated { snapshot, content } => {
                self.put_at_home(snapshot.id(), content, snapshot.location());
            }
            Event::ManagedImageDeleted { image } => self.put(image.into(), None),
            Event::SnapshotDeleted { snapshot } => self.put(snapshot.into(), None),
            Event::ImageVersionDeleted { version, restorable_until: None } => self.put(version.into(), None),
            Event::ImageVersionDeleted { version, restorable_until: Some(_) } => {
                self.change(version.into(), |image| image.soft_deleted = true);
            }
            Event::ImageVersionRestored { version } => self.change(version.into(), |image| image.soft_deleted = false),
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
                let store = region.to_string();
                self.dead.extend(blobs.iter().flat_map(|zone| &zone.keys).map(|key| (store.clone(), key.clone())));
            }
            _ => {}
        }
    }

    fn has_manifest(&self, world: &World, store: &str, slot: u32, (upload, digest): &Manifest) -> bool {
        let there = content::manifests(world.store(store), slot, upload, digest);
        there.into_iter().any(|key| !self.dead.contains(&(store.to_owned(), key)))
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
    fn all_needed(&mut self, world: &World) -> BTreeMap<(String, u32), Needed> {
        let mut needed: BTreeMap<(String, u32), Needed> = BTreeMap::new();
        for (id, image) in &self.images {
            let manifest = manifest(&image.content);
            let reach = self.reach.entry(manifest.clone()).or_insert_with(|| {
                let home = world.store(image.home.as_str());
                let lives = content::manifests(home, 0, &manifest.0, &manifest.1);
                let key = lives.first().unwrap_or_else(|| panic!("the manifest of {id} was never there: {manifest:?}"));
                let bytes = block_on(home.find(key)).unwrap().unwrap();
                content::reach(home, &bytes)
            });
            let mut slots = image.complete.clone();
            slots.entry(image.home.clone()).or_insert(1);
            for (region, slot) in
                slots.into_iter().flat_map(|(region, count)| (0..count).map(move |slot| (region.clone(), slot)))
            {
                let of_slot = needed.entry((region.to_string(), slot)).or_default();
                of_slot.manifests.insert(manifest.clone());
                for (pack, records) in &*reach {
                    of_slot.records.entry(pack.clone()).or_default().extend(records);
                }
            }
        }
        needed
    }

    /// What is needed of a pack or manifest is there, after something of it was removed.
    pub fn check(&self, world: &World, store: &str, key: &BlobKey) {
        let names: Vec<&str> = key.segments().collect();
        let ["slots", slot, what, name, rest @ ..] = names.as_slice() else { return };
        let slot = slot.parse().unwrap();
        let Some(needed) = self.needed.get(&(store.to_owned(), slot)) else { return };
        let is_there = match *what {
            "manifests" => {
                let manifest = ((*name).to_owned(), rest[0].split('-').next().unwrap().to_owned());
                !needed.manifests.contains(&manifest) || self.has_manifest(world, store, slot, &manifest)
            }
            _ => {
                let pack = format!("{name}/{}", rest[0].split('-').next().unwrap());
                let is_dead = |key: &BlobKey| self.dead.contains(&(store.to_owned(), key.clone()));
                let has = |records| content::has(world.store(store), slot, &pack, records, &is_dead);
                needed.records.get(&pack).is_none_or(has)
            }
        };
        assert!(is_there, "{key} was removed from {store}, and something of it is needed");
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

    /// Whether `caller` has committed an event like that.
    pub fn has_committed(&self, caller: &str, what: impl Fn(&Event) -> bool) -> bool {
        self.committed.get(caller).is_some_and(|events| events.iter().any(what))
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
        Event::RegionStoreClaimed { region, store } => format!("{region} is store {store}"),
        Event::ContentRemoved { region } => format!("removed in {region}"),
        other => format!("{other:?}"),
    }
}
