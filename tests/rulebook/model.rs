//! The rules once more, as plainly as possible: the model that the gallery is compared with.

use std::collections::{BTreeMap, BTreeSet};

use compute_gallery::model::StorageAccountType;

pub type Name = &'static str;
/// Subscription, resource group and name; all names are in lower case here.
pub type GalleryKey = (Name, Name, Name);
pub type ImageKey = (GalleryKey, Name);
pub type VersionKey = (ImageKey, (u32, u32, u32));
/// Seconds since the start of the sequence.
pub type Seconds = i64;
pub type Codes = BTreeSet<&'static str>;

pub const DAY: Seconds = 24 * 3600;

pub const GALLERIES: usize = 3;
pub const DEFINITIONS: usize = 4;
pub const VERSIONS: usize = 6;
pub const REPLICAS: u32 = 3;

const BLOCKED: &str = "DeleteGalleryImageVersionBlockedBeforeEndOfLife";
const FIXED: &str = "PropertyChangeNotAllowed";
const INVALID: &str = "InvalidParameter";
const MOVED: &str = "InvalidResourceLocation";
const NOT_ALLOWED: &str = "OperationNotAllowed";
const NO_LOCATION: &str = "LocationNotAvailableForResourceType";
const NO_PARENT: &str = "ParentResourceNotFound";
const NOT_FOUND: &str = "ResourceNotFound";

#[derive(Clone, Debug, PartialEq)]
pub struct Gallery {
    pub location: Name,
    pub tag: Option<Name>,
    pub description: Option<Name>,
    /// Whether it is enabled, and for how many days.
    pub soft_delete: Option<(bool, Option<u32>)>,
    /// Stands for everything that must not change.
    pub shared: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub location: Name,
    pub tag: Option<Name>,
    pub description: Option<Name>,
    pub end_of_life: Option<Seconds>,
    /// Stands for everything else that may change.
    pub hint: Name,
    pub identifier: [Name; 3],
    /// Stands for everything else that must not change.
    pub kind: Name,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub region: Name,
    pub replicas: Option<u32>,
    pub storage: Option<StorageAccountType>,
    pub excluded: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub location: Name,
    pub tag: Option<Name>,
    pub targets: Vec<Target>,
    pub replicas: u32,
    pub storage: StorageAccountType,
    pub excluded: bool,
    pub end_of_life: Option<Seconds>,
    pub allows_removal: bool,
    pub keeps_to_end_of_life: bool,
    /// Stands for everything that must not change.
    pub sectors: u64,
}

/// A version that was published, with what happened to it since.
#[derive(Clone, Debug)]
pub struct Record {
    pub version: Version,
    pub deployable: BTreeSet<Name>,
    /// Until when it can be restored, if it was deleted.
    pub deleted: Option<Seconds>,
}

/// A version that was put, and has no content.
#[derive(Clone, Debug)]
pub struct Awaited {
    pub version: Version,
    /// Its source is not there.
    pub failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    Gallery(GalleryKey),
    Image(ImageKey),
    Version(VersionKey),
}

#[derive(Clone, Debug)]
pub enum Step {
    CreateGallery(GalleryKey, Gallery),
    CreateDefinition(ImageKey, Definition),
    /// The body of a request that creates or changes it.
    PutGallery(GalleryKey, Gallery),
    PutDefinition(ImageKey, Definition),
    /// The body of a request; a new one is made of a source that is not there.
    PutVersion(VersionKey, Version),
    /// Its source is looked for, and not found.
    Complete(VersionKey),
    Publish(VersionKey, Version),
    Replicate(VersionKey),
    UpdateGallery(GalleryKey, Gallery),
    UpdateDefinition(ImageKey, Definition),
    UpdateVersion(VersionKey, Version),
    Delete {
        thing: Thing,
        cascade: bool,
        bypass: bool,
    },
    /// Marked for deletion, and then deleted, or not.
    Mark {
        key: VersionKey,
        cancel: bool,
    },
    Restore(VersionKey),
    Wait(Seconds),
}

/// Whether an accepted step changed anything, and what it deleted.
pub type Done = (bool, BTreeSet<Thing>);

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub now: Seconds,
    pub galleries: BTreeMap<GalleryKey, Gallery>,
    pub definitions: BTreeMap<ImageKey, Definition>,
    /// Those whose retention is over stay here, and do not count.
    pub versions: BTreeMap<VersionKey, Record>,
    pub awaited: BTreeMap<VersionKey, Awaited>,
}

fn is_known(region: Name) -> bool {
    region != "atlantis"
}

fn has_zones(region: Name) -> bool {
    ["westeurope", "eastus", "swedencentral"].contains(&region)
}

fn is_chinese(region: Name) -> bool {
    region == "chinaeast"
}

/// Whether both are known, and in two clouds.
fn are_apart(one: Name, other: Name) -> bool {
    is_known(one) && is_known(other) && is_chinese(one) != is_chinese(other)
}

fn changed() -> Result<Done, Codes> {
    Ok((true, BTreeSet::new()))
}

fn unchanged() -> Result<Done, Codes> {
    Ok((false, BTreeSet::new()))
}

fn refused(code: &'static str) -> Result<Done, Codes> {
    Err(Codes::from([code]))
}

/// The codes of those rules that are broken.
fn check<const N: usize>(rules: [(bool, &'static str); N]) -> Codes {
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, code)| code).collect()
}

fn verdict(codes: Codes) -> Result<(), Codes> {
    if codes.is_empty() { Ok(()) } else { Err(codes) }
}

fn exists(same: bool, same_location: bool) -> Result<Done, Codes> {
    match (same, same_location) {
        (true, _) => unchanged(),
        (false, true) => refused("Conflict"),
        (false, false) => refused(MOVED),
    }
}

impl Version {
    pub fn target(&self, region: Name) -> Option<&Target> {
        self.targets.iter().find(|target| target.region == region)
    }

    fn replicas_in(&self, target: &Target) -> u32 {
        target.replicas.unwrap_or(self.replicas)
    }

    fn storage_in(&self, target: &Target) -> StorageAccountType {
        target.storage.unwrap_or(self.storage)
    }

    fn is_excluded_in(&self, region: Name) -> bool {
        self.target(region).and_then(|target| target.excluded).unwrap_or(self.excluded)
    }

    fn regions(&self) -> BTreeSet<Name> {
        self.targets.iter().map(|target| target.region).collect()
    }

    /// Whether it is the same to a reader, whatever is said for each region or once for all.
    fn means(&self, other: &Self) -> bool {
        let targets = |of: &Self| {
            let one = |target: &Target| {
                (target.region, of.replicas_in(target), of.storage_in(target), of.is_excluded_in(target.region))
            };
            of.targets.iter().map(one).collect::<Vec<_>>()
        };
        targets(self) == targets(other) && *self == Self { targets: self.targets.clone(), ..other.clone() }
    }

    fn check_targets(&self) -> Codes {
        let check_one = |target: &Target| {
            let (home, region) = (self.location, target.region);
            let is_in_zones = self.storage_in(target) == StorageAccountType::StandardZrs;
            check([
                (self.replicas_in(target) > REPLICAS, INVALID),
                (!is_known(region), NO_LOCATION),
                (is_known(region) && is_known(home) && is_chinese(region) != is_chinese(home), INVALID),
                (is_known(region) && is_in_zones && !has_zones(region), INVALID),
                (region == "australiacentral", INVALID),
                (region == home && region == "swedencentral", INVALID),
            ])
        };
        self.targets.iter().flat_map(check_one).collect()
    }
}

impl Model {
    fn is_over(&self, end: Option<Seconds>) -> bool {
        end.is_some_and(|end| end <= self.now)
    }

    pub fn end_of_retention(&self, key: &VersionKey) -> Option<Seconds> {
        self.versions[key].deleted
    }

    fn is_gone(&self, key: &VersionKey) -> bool {
        self.is_over(self.end_of_retention(key))
    }

    /// Whether deleting it is soft by default.
    fn is_soft(&self, key: &VersionKey) -> bool {
        self.galleries[&key.0.0].soft_delete.is_some_and(|(enabled, _)| enabled)
    }

    pub fn version(&self, key: &VersionKey) -> Option<&Record> {
        self.versions.get(key).filter(|_| !self.is_gone(key))
    }

    pub fn versions_of(&self, image: &ImageKey) -> impl Iterator<Item = (&VersionKey, &Record)> {
        self.versions.iter().filter(move |(key, _)| key.0 == *image && !self.is_gone(key))
    }

    /// Galleries, definitions and versions.
    pub fn usage(&self, subscription: Name, location: Name) -> [usize; 3] {
        let here = (subscription, location);
        let galleries = self.galleries.iter().filter(|(key, one)| (key.0, one.location) == here);
        let definitions = self.definitions.iter().filter(|(key, one)| (key.0.0, one.location) == here);
        let versions = self.versions.iter().filter(|(key, one)| (key.0.0.0, one.version.location) == here);
        let there = versions.filter(|(key, _)| !self.is_gone(key));
        let awaited = self.awaited.iter().filter(|(key, one)| (key.0.0.0, one.version.location) == here);
        [galleries.count(), definitions.count(), there.count() + awaited.count()]
    }

    pub fn latest(&self, image: &ImageKey, region: Name) -> Result<VersionKey, &'static str> {
        if !self.definitions.contains_key(image) {
            return Err(NOT_FOUND);
        }
        let fits = |record: &Record| {
            record.deployable.contains(region) && record.deleted.is_none() && !record.version.is_excluded_in(region)
        };
        let latest = self.versions_of(image).filter(|(_, record)| fits(record)).map(|(key, _)| *key).last();
        latest.ok_or("GalleryImageNotFound")
    }

    pub fn apply(&mut self, step: &Step) -> Result<Done, Codes> {
        match step {
            Step::CreateGallery(key, gallery) => self.create_gallery(key, gallery),
            Step::CreateDefinition(key, definition) => self.create_definition(key, definition),
            Step::PutGallery(key, gallery) => self.put_gallery(key, gallery),
            Step::PutDefinition(key, definition) => self.put_definition(key, definition),
            Step::PutVersion(key, version) => self.put_version(key, version),
            Step::Complete(key) => self.complete(key),
            Step::Publish(key, version) => self.publish(key, version),
            Step::Replicate(key) => self.replicate(key),
            Step::UpdateGallery(key, gallery) => self.update_gallery(key, gallery),
            Step::UpdateDefinition(key, definition) => self.update_definition(key, definition),
            Step::UpdateVersion(key, version) => self.update_version(key, version),
            Step::Delete { thing: Thing::Gallery(key), cascade, .. } => self.delete_gallery(key, *cascade),
            Step::Delete { thing: Thing::Image(key), cascade, .. } => self.delete_definition(key, *cascade),
            Step::Delete { thing: Thing::Version(key), bypass, .. } => self.delete_version(key, *bypass),
            Step::Mark { key, cancel: false } => self.delete_version(key, false),
            Step::Mark { key, cancel: true } => {
                // It is as it was, but for two commits.
                let (is_marked, _) = self.clone().delete_version(key, false)?;
                Ok((is_marked, BTreeSet::new()))
            }
            Step::Restore(key) => self.restore(key),
            Step::Wait(seconds) => {
                self.now += seconds;
                unchanged()
            }
        }
    }

    fn create_gallery(&mut self, key: &GalleryKey, gallery: &Gallery) -> Result<Done, Codes> {
        if let Some(old) = self.galleries.get(key) {
            return exists(old == gallery, old.location == gallery.location);
        }
        let codes = check([
            (self.galleries.keys().any(|other| (other.0, other.2) == (key.0, key.2)), NOT_ALLOWED),
            (self.usage(key.0, gallery.location)[0] >= GALLERIES, NOT_ALLOWED),
            (!is_known(gallery.location), NO_LOCATION),
        ]);
        verdict(codes)?;
        self.galleries.insert(*key, gallery.clone());
        changed()
    }

    /// What a request leaves out stays: the retention, and the sharing.
    fn put_gallery(&mut self, key: &GalleryKey, gallery: &Gallery) -> Result<Done, Codes> {
        let Some(old) = self.galleries.get(key) else { return self.create_gallery(key, gallery) };
        let soft_delete = gallery.soft_delete.or(old.soft_delete);
        let shared = gallery.shared || old.shared;
        self.update_gallery(key, &Gallery { soft_delete, shared, ..gallery.clone() })
    }

    /// What cannot be changed and is left out stays, and so does an end of life.
    fn put_definition(&mut self, key: &ImageKey, definition: &Definition) -> Result<Done, Codes> {
        let Some(old) = self.definitions.get(key) else { return self.create_definition(key, definition) };
        let end_of_life = definition.end_of_life.or(old.end_of_life);
        // The plain kind says nothing of these.
        let stays = definition.kind == "linux" && ["eula", "privacy", "feature", "plan"].contains(&old.kind);
        let kind = if stays { old.kind } else { definition.kind };
        self.update_definition(key, &Definition { end_of_life, kind, ..definition.clone() })
    }

    fn create_definition(&mut self, key: &ImageKey, definition: &Definition) -> Result<Done, Codes> {
        if !self.galleries.contains_key(&key.0) {
            return refused(NO_PARENT);
        }
        if let Some(old) = self.definitions.get(key) {
            return exists(old == definition, old.location == definition.location);
        }
        let mut others = self.definitions.iter().filter(|(other, _)| other.0 == key.0);
        let codes = check([
            (others.any(|(_, other)| other.identifier == definition.identifier), NOT_ALLOWED),
            (self.is_over(definition.end_of_life), INVALID),
            (self.usage(key.0.0, definition.location)[1] >= DEFINITIONS, NOT_ALLOWED),
            (!is_known(definition.location), NO_LOCATION),
            (are_apart(self.galleries[&key.0].location, definition.location), INVALID),
        ]);
        verdict(codes)?;
        self.definitions.insert(*key, definition.clone());
        changed()
    }

    fn put_version(&mut self, key: &VersionKey, version: &Version) -> Result<Done, Codes> {
        // It can't even be read.
        if version.target(version.location).is_none() {
            return refused(INVALID);
        }
        // An end of life that is left out stays.
        let kept = |old: &Version| Version { end_of_life: version.end_of_life.or(old.end_of_life), ..version.clone() };
        if let Some(old) = self.awaited.get(key) {
            let version = Version { sectors: old.version.sectors, ..kept(&old.version) };
            if !old.failed && version.means(&old.version) {
                return unchanged();
            }
            // It has no replicas that could be protected.
            let mut codes = self.check_change(&old.version, &version);
            codes.remove("BadRequest");
            verdict(codes)?;
            self.awaited.insert(*key, Awaited { version, failed: false });
            return changed();
        }
        if let Some(record) = self.version(key) {
            let version = Version { sectors: record.version.sectors, ..kept(&record.version) };
            return match record.deleted.is_some() {
                true => refused(NOT_ALLOWED),
                false if version.means(&record.version) => unchanged(),
                false => self.update_version(key, &version),
            };
        }
        self.check_new(key, version)?;
        self.versions.remove(key);
        self.awaited.insert(*key, Awaited { version: version.clone(), failed: false });
        changed()
    }

    fn complete(&mut self, key: &VersionKey) -> Result<Done, Codes> {
        let is_published = self.version(key).is_some();
        match (self.awaited.get_mut(key), is_published) {
            (Some(awaited), _) if !awaited.failed => {
                awaited.failed = true;
                refused("NotFound")
            }
            (Some(_), _) | (None, true) => refused(NOT_ALLOWED),
            (None, false) => refused(NOT_FOUND),
        }
    }

    fn publish(&mut self, key: &VersionKey, version: &Version) -> Result<Done, Codes> {
        self.check_new(key, version)?;
        let home = version.target(version.location).filter(|home| version.replicas_in(home) == 1);
        let deployable = home.iter().map(|home| home.region).collect();
        self.versions.insert(*key, Record { version: version.clone(), deployable, deleted: None });
        changed()
    }

    fn check_new(&self, key: &VersionKey, version: &Version) -> Result<(), Codes> {
        let is_full = self.usage(key.0.0.0, version.location)[2] >= VERSIONS;
        let is_there = self.version(key).is_some() || self.awaited.contains_key(key);
        // The limit is asked for only where there is a place to take.
        let place = match is_there {
            _ if !self.definitions.contains_key(&key.0) => Some(NO_PARENT),
            true => Some("Conflict"),
            false => is_full.then_some(NOT_ALLOWED),
        };
        let mut codes = Codes::from_iter(place);
        if let Some(gallery) = self.galleries.get(&key.0.0) {
            let is_new = self.definitions.contains_key(&key.0) && !is_there;
            codes.extend(check([
                (is_new && are_apart(gallery.location, version.location), INVALID),
                (gallery.shared && gallery.location != version.location, INVALID),
            ]));
        }
        codes.extend(check([
            (version.target(version.location).is_none(), INVALID),
            (self.is_over(version.end_of_life), INVALID),
        ]));
        codes.extend(version.check_targets());
        verdict(codes)
    }

    fn replicate(&mut self, key: &VersionKey) -> Result<Done, Codes> {
        if self.version(key).is_none() {
            return refused(NOT_FOUND);
        }
        let record = self.versions.get_mut(key).unwrap();
        record.deployable = record.version.regions();
        changed()
    }

    fn update_gallery(&mut self, key: &GalleryKey, gallery: &Gallery) -> Result<Done, Codes> {
        let Some(old) = self.galleries.get(key) else { return refused(NOT_FOUND) };
        if old == gallery {
            return unchanged();
        }
        verdict(check([(old.location != gallery.location, MOVED), (old.shared != gallery.shared, FIXED)]))?;
        self.galleries.insert(*key, gallery.clone());
        changed()
    }

    /// The problems of an end of life that is to become `new`.
    fn check_end_of_life(&self, old: Option<Seconds>, new: Option<Seconds>) -> Codes {
        check([(old.is_some() && new.is_none(), FIXED), (old != new && self.is_over(new), INVALID)])
    }

    fn update_definition(&mut self, key: &ImageKey, definition: &Definition) -> Result<Done, Codes> {
        let Some(old) = self.definitions.get(key) else { return refused(NOT_FOUND) };
        if old == definition {
            return unchanged();
        }
        let mut codes = check([
            (old.location != definition.location, MOVED),
            (old.identifier != definition.identifier, FIXED),
            (old.kind != definition.kind, FIXED),
        ]);
        codes.extend(self.check_end_of_life(old.end_of_life, definition.end_of_life));
        verdict(codes)?;
        self.definitions.insert(*key, definition.clone());
        changed()
    }

    fn update_version(&mut self, key: &VersionKey, version: &Version) -> Result<Done, Codes> {
        // Such a version can't even be constructed.
        if version.target(version.location).is_none() {
            return refused(INVALID);
        }
        let Some(record) = self.version(key) else { return refused(NOT_FOUND) };
        let old = &record.version;
        if old == version {
            return unchanged();
        }
        if record.deleted.is_some() {
            return refused(NOT_ALLOWED);
        }
        verdict(self.check_change(old, version))?;
        let record = self.versions.get_mut(key).unwrap();
        record.version = version.clone();
        // A region that wants more replicas now stays deployable with those that it has.
        record.deployable = record.deployable.intersection(&version.regions()).copied().collect();
        changed()
    }

    fn check_change(&self, old: &Version, version: &Version) -> Codes {
        let is_moved = |target: &Target| {
            old.target(target.region).is_some_and(|before| old.storage_in(before) != version.storage_in(target))
        };
        let mut codes = check([
            (old.location != version.location, MOVED),
            (old.storage != version.storage, FIXED),
            (old.sectors != version.sectors, FIXED),
            (!version.allows_removal && !old.regions().is_subset(&version.regions()), "BadRequest"),
            (version.targets.iter().any(is_moved), INVALID),
        ]);
        codes.extend(self.check_end_of_life(old.end_of_life, version.end_of_life));
        codes.extend(version.check_targets());
        codes
    }

    fn is_blocked(&self, version: &Version) -> bool {
        version.keeps_to_end_of_life && !self.is_over(version.end_of_life)
    }

    fn delete_gallery(&mut self, key: &GalleryKey, cascade: bool) -> Result<Done, Codes> {
        if !self.galleries.contains_key(key) {
            return unchanged();
        }
        let images: Vec<ImageKey> = self.definitions.keys().filter(|image| image.0 == *key).copied().collect();
        let mut deleted = self.delete_children(&images, cascade || images.is_empty())?;
        self.galleries.remove(key);
        deleted.insert(Thing::Gallery(*key));
        Ok((true, deleted))
    }

    fn delete_definition(&mut self, key: &ImageKey, cascade: bool) -> Result<Done, Codes> {
        if !self.definitions.contains_key(key) {
            return unchanged();
        }
        let is_empty = self.versions_of(key).count() == 0 && !self.awaited.keys().any(|version| version.0 == *key);
        Ok((true, self.delete_children(&[*key], cascade || is_empty)?))
    }

    /// Deletes these definitions with their versions; all or nothing.
    fn delete_children(&mut self, images: &[ImageKey], allowed: bool) -> Result<BTreeSet<Thing>, Codes> {
        if !allowed {
            return Err(Codes::from(["CannotDeleteResource"]));
        }
        let versions: Vec<(&VersionKey, &Record)> = images.iter().flat_map(|key| self.versions_of(key)).collect();
        if versions.iter().any(|(_, record)| self.is_blocked(&record.version)) {
            return Err(Codes::from([BLOCKED]));
        }
        let versions = versions.into_iter().map(|(key, _)| Thing::Version(*key));
        // What has no content is not protected.
        let awaited = self.awaited.keys().filter(|key| images.contains(&key.0)).map(|key| Thing::Version(*key));
        let deleted = versions.chain(awaited).chain(images.iter().copied().map(Thing::Image)).collect();
        self.versions.retain(|key, _| !images.contains(&key.0));
        self.awaited.retain(|key, _| !images.contains(&key.0));
        self.definitions.retain(|key, _| !images.contains(key));
        Ok(deleted)
    }

    fn delete_version(&mut self, key: &VersionKey, bypass: bool) -> Result<Done, Codes> {
        if self.awaited.remove(key).is_some() {
            // There is nothing to restore.
            return Ok((true, BTreeSet::from([Thing::Version(*key)])));
        }
        let Some(record) = self.version(key) else { return unchanged() };
        let soft = !bypass && self.is_soft(key);
        if soft && record.deleted.is_some() {
            return unchanged();
        }
        if self.is_blocked(&record.version) {
            return refused(BLOCKED);
        }
        if soft {
            // By the policy of that day, whatever it is later.
            let days = self.galleries[&key.0.0].soft_delete.and_then(|(_, days)| days).unwrap_or(7);
            self.versions.get_mut(key).unwrap().deleted = Some(self.now + Seconds::from(days) * DAY);
        } else {
            self.versions.remove(key);
        }
        Ok((true, BTreeSet::from([Thing::Version(*key)])))
    }

    fn restore(&mut self, key: &VersionKey) -> Result<Done, Codes> {
        if self.version(key).is_none() {
            return refused(NOT_FOUND);
        }
        let was_deleted = self.versions.get_mut(key).unwrap().deleted.take().is_some();
        if was_deleted { changed() } else { unchanged() }
    }
}
