//! The rules once more, told as plainly as possible: what the gallery is compared with.

use std::collections::{BTreeMap, BTreeSet};

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
const NOT_ALLOWED: &str = "OperationNotAllowed";
const NO_LOCATION: &str = "LocationNotAvailableForResourceType";
const NO_PARENT: &str = "ParentResourceNotFound";
const NOT_FOUND: &str = "ResourceNotFound";

#[derive(Clone, Debug, PartialEq)]
pub struct Gallery {
    pub location: Name,
    pub tag: Option<Name>,
    pub description: Option<Name>,
    pub soft_delete: Option<SoftDelete>,
    /// Stands for everything that must not change.
    pub shared: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SoftDelete {
    pub enabled: bool,
    pub days: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub location: Name,
    pub tag: Option<Name>,
    pub description: Option<Name>,
    pub end_of_life: Option<Seconds>,
    pub hint: Hint,
    pub identifier: [Name; 3],
    pub kind: Kind,
}

/// Stands for everything else that may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hint {
    None,
    ReleaseNote,
    VCpus,
    Memory,
    DisallowedDisks,
}

/// Stands for everything else that must not change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Linux,
    Windows,
    Specialized,
    SecondGeneration,
    Arm64,
    Eula,
    Privacy,
    PurchasePlan,
    Feature,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Storage {
    Lrs,
    Zrs,
    Premium,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub region: Name,
    pub replicas: Option<u32>,
    pub storage: Option<Storage>,
    pub excluded: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub location: Name,
    pub tag: Option<Name>,
    pub targets: Vec<Target>,
    pub replicas: u32,
    pub storage: Option<Storage>,
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
    pub deleted: Option<Seconds>,
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
    Publish(VersionKey, Version),
    Replicate(VersionKey),
    UpdateGallery(GalleryKey, Gallery),
    UpdateDefinition(ImageKey, Definition),
    UpdateVersion(VersionKey, Version),
    Delete { thing: Thing, cascade: bool, bypass: bool },
    Restore(VersionKey),
    Wait(Seconds),
}

/// What an accepted step did.
#[derive(Debug, Default, PartialEq)]
pub struct Done {
    pub changed: bool,
    pub deleted: BTreeSet<Thing>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub now: Seconds,
    pub galleries: BTreeMap<GalleryKey, Gallery>,
    pub definitions: BTreeMap<ImageKey, Definition>,
    /// Those whose retention is over stay here, and do not count.
    pub versions: BTreeMap<VersionKey, Record>,
}

struct RegionInfo {
    cloud: Name,
    zones: bool,
    source: bool,
    restricted: bool,
}

fn region_info(region: Name) -> Option<RegionInfo> {
    let plain = RegionInfo { cloud: "public", zones: false, source: true, restricted: false };
    Some(match region {
        "westeurope" | "eastus" => RegionInfo { zones: true, ..plain },
        "westus" | "ukwest" => plain,
        "swedencentral" => RegionInfo { zones: true, source: false, ..plain },
        "australiacentral" => RegionInfo { restricted: true, ..plain },
        "chinaeast" => RegionInfo { cloud: "china", ..plain },
        _ => return None,
    })
}

fn changed() -> Result<Done, Codes> {
    Ok(Done { changed: true, ..Done::default() })
}

fn unchanged() -> Result<Done, Codes> {
    Ok(Done::default())
}

fn refused(code: &'static str) -> Result<Done, Codes> {
    Err(Codes::from([code]))
}

/// The codes of those rules that are broken.
fn check<const N: usize>(rules: [(bool, &'static str); N]) -> Codes {
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, code)| code).collect()
}

fn exists(same: bool, same_location: bool) -> Result<Done, Codes> {
    match (same, same_location) {
        (true, _) => unchanged(),
        (false, true) => refused("Conflict"),
        (false, false) => refused("InvalidResourceLocation"),
    }
}

impl Version {
    pub fn target(&self, region: Name) -> Option<&Target> {
        self.targets.iter().find(|target| target.region == region)
    }

    pub fn replicas_in(&self, target: &Target) -> u32 {
        target.replicas.unwrap_or(self.replicas)
    }

    fn storage_in(&self, target: &Target) -> Storage {
        target.storage.or(self.storage).unwrap_or(Storage::Lrs)
    }

    fn is_excluded_in(&self, region: Name) -> bool {
        self.target(region).and_then(|target| target.excluded).unwrap_or(self.excluded)
    }

    fn regions(&self) -> BTreeSet<Name> {
        self.targets.iter().map(|target| target.region).collect()
    }

    fn check_targets(&self) -> Codes {
        let mut codes = Codes::new();
        let home = region_info(self.location);
        for target in &self.targets {
            codes.extend(check([(self.replicas_in(target) > REPLICAS, INVALID)]));
            codes.extend(match region_info(target.region) {
                None => Codes::from([NO_LOCATION]),
                Some(region) => check([
                    (home.as_ref().is_some_and(|home| home.cloud != region.cloud), INVALID),
                    (region.restricted, INVALID),
                    (self.storage_in(target) == Storage::Zrs && !region.zones, INVALID),
                ]),
            });
        }
        codes
    }
}

impl Model {
    fn is_over(&self, end: Option<Seconds>) -> bool {
        end.is_some_and(|end| end <= self.now)
    }

    pub fn end_of_retention(&self, key: &VersionKey) -> Option<Seconds> {
        let policy = self.galleries[&key.0.0].soft_delete.as_ref();
        let days = policy.and_then(|policy| policy.days).unwrap_or(7);
        self.versions[key].deleted.map(|deleted| deleted + Seconds::from(days) * DAY)
    }

    fn is_gone(&self, key: &VersionKey) -> bool {
        self.is_over(self.end_of_retention(key))
    }

    /// Whether deleting it is soft by default.
    fn is_soft(&self, key: &VersionKey) -> bool {
        self.galleries[&key.0.0].soft_delete.as_ref().is_some_and(|policy| policy.enabled)
    }

    pub fn version(&self, key: &VersionKey) -> Option<&Record> {
        self.versions.get(key).filter(|_| !self.is_gone(key))
    }

    pub fn versions_of(&self, image: &ImageKey) -> impl Iterator<Item = (&VersionKey, &Record)> {
        self.versions.iter().filter(move |(key, _)| key.0 == *image && !self.is_gone(key))
    }

    fn images_of(&self, gallery: &GalleryKey) -> Vec<ImageKey> {
        self.definitions.keys().filter(|key| key.0 == *gallery).copied().collect()
    }

    /// Galleries, definitions and versions, and then the versions whose retention is over.
    pub fn usage(&self, subscription: Name, location: Name) -> [usize; 4] {
        let galleries = self.galleries.iter().filter(|(key, one)| key.0 == subscription && one.location == location);
        let definitions = self.definitions.iter();
        let definitions = definitions.filter(|(key, one)| key.0.0 == subscription && one.location == location);
        let versions = self.versions.iter();
        let versions = versions.filter(|(key, one)| key.0.0.0 == subscription && one.version.location == location);
        let (gone, there): (Vec<_>, Vec<_>) = versions.partition(|(key, _)| self.is_gone(key));
        [galleries.count(), definitions.count(), there.len(), gone.len()]
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

    /// Whether the rules leave open what happens, or the gallery is known to break them.
    pub fn is_left_out(&self, step: &Step) -> bool {
        match step {
            // Versions whose retention is over may count until they are cleared away.
            Step::Publish(key, version) => {
                let [_, _, there, gone] = self.usage(key.0.0.0, version.location);
                there < VERSIONS && there + gone >= VERSIONS
            }
            // To delete one of them for good may clear it away, or do nothing.
            Step::Delete { thing: Thing::Version(key), bypass, .. } => {
                self.versions.contains_key(key) && self.is_gone(key) && (*bypass || !self.is_soft(key))
            }
            // To update one is refused as if it could still be restored.
            Step::UpdateVersion(key, _) => self.versions.contains_key(key) && self.is_gone(key),
            _ => false,
        }
    }

    pub fn apply(&mut self, step: &Step) -> Result<Done, Codes> {
        match step {
            Step::CreateGallery(key, gallery) => self.create_gallery(key, gallery),
            Step::CreateDefinition(key, definition) => self.create_definition(key, definition),
            Step::Publish(key, version) => self.publish(key, version),
            Step::Replicate(key) => self.replicate(key),
            Step::UpdateGallery(key, gallery) => self.update_gallery(key, gallery),
            Step::UpdateDefinition(key, definition) => self.update_definition(key, definition),
            Step::UpdateVersion(key, version) => self.update_version(key, version),
            Step::Delete { thing: Thing::Gallery(key), cascade, .. } => self.delete_gallery(key, *cascade),
            Step::Delete { thing: Thing::Image(key), cascade, .. } => self.delete_definition(key, *cascade),
            Step::Delete { thing: Thing::Version(key), bypass, .. } => self.delete_version(key, *bypass),
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
        let is_namesake = |other: &&GalleryKey| other.0 == key.0 && other.2 == key.2;
        let codes = check([
            (self.galleries.keys().any(|other| is_namesake(&other)), NOT_ALLOWED),
            (self.usage(key.0, gallery.location)[0] >= GALLERIES, NOT_ALLOWED),
            (region_info(gallery.location).is_none(), NO_LOCATION),
        ]);
        if !codes.is_empty() {
            return Err(codes);
        }
        self.galleries.insert(*key, gallery.clone());
        changed()
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
            (region_info(definition.location).is_none(), NO_LOCATION),
        ]);
        if !codes.is_empty() {
            return Err(codes);
        }
        self.definitions.insert(*key, definition.clone());
        changed()
    }

    fn publish(&mut self, key: &VersionKey, version: &Version) -> Result<Done, Codes> {
        let exists = self.version(key).is_some();
        let mut codes = check([
            (!self.definitions.contains_key(&key.0), NO_PARENT),
            (exists, "Conflict"),
            (!exists && self.usage(key.0.0.0, version.location)[2] >= VERSIONS, NOT_ALLOWED),
            (version.target(version.location).is_none(), INVALID),
            (region_info(version.location).is_some_and(|region| !region.source), INVALID),
            (self.is_over(version.end_of_life), INVALID),
        ]);
        codes.extend(version.check_targets());
        if !codes.is_empty() {
            return Err(codes);
        }
        let home = version.targets.iter().find(|target| target.region == version.location);
        let deployable = home.filter(|home| version.replicas_in(home) == 1).map(|home| home.region);
        let deployable = deployable.into_iter().collect();
        self.versions.insert(*key, Record { version: version.clone(), deployable, deleted: None });
        changed()
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
        let Some(old) = self.galleries.get_mut(key) else { return refused(NOT_FOUND) };
        if old == gallery {
            return unchanged();
        }
        if old.location != gallery.location || old.shared != gallery.shared {
            return refused(FIXED);
        }
        *old = gallery.clone();
        changed()
    }

    /// What is wrong with an end of life that is to become `new`.
    fn check_end_of_life(&self, old: Option<Seconds>, new: Option<Seconds>) -> Codes {
        check([(old.is_some() && new.is_none(), FIXED), (old != new && self.is_over(new), INVALID)])
    }

    fn update_definition(&mut self, key: &ImageKey, definition: &Definition) -> Result<Done, Codes> {
        let Some(old) = self.definitions.get(key) else { return refused(NOT_FOUND) };
        if old == definition {
            return unchanged();
        }
        let mut codes = check([
            (old.location != definition.location, FIXED),
            (old.identifier != definition.identifier, FIXED),
            (old.kind != definition.kind, FIXED),
        ]);
        codes.extend(self.check_end_of_life(old.end_of_life, definition.end_of_life));
        if !codes.is_empty() {
            return Err(codes);
        }
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
        let is_moved = |target: &Target| {
            old.target(target.region).is_some_and(|before| old.storage_in(before) != version.storage_in(target))
        };
        let mut codes = check([
            (old.location != version.location, FIXED),
            (old.sectors != version.sectors, FIXED),
            (old.storage != version.storage, FIXED),
            (!version.allows_removal && !old.regions().is_subset(&version.regions()), "BadRequest"),
            (version.targets.iter().any(is_moved), INVALID),
        ]);
        codes.extend(self.check_end_of_life(old.end_of_life, version.end_of_life));
        codes.extend(version.check_targets());
        if !codes.is_empty() {
            return Err(codes);
        }
        let record = self.versions.get_mut(key).unwrap();
        record.version = version.clone();
        // A region that wants more replicas now stays deployable with those that it has.
        record.deployable = record.deployable.intersection(&version.regions()).copied().collect();
        changed()
    }

    fn is_blocked(&self, version: &Version) -> bool {
        version.keeps_to_end_of_life && !self.is_over(version.end_of_life)
    }

    fn delete_gallery(&mut self, key: &GalleryKey, cascade: bool) -> Result<Done, Codes> {
        if !self.galleries.contains_key(key) {
            return unchanged();
        }
        let images = self.images_of(key);
        let deleted = self.delete_children(&images, cascade || images.is_empty())?;
        self.galleries.remove(key);
        let deleted = deleted.into_iter().chain([Thing::Gallery(*key)]).collect();
        Ok(Done { changed: true, deleted })
    }

    fn delete_definition(&mut self, key: &ImageKey, cascade: bool) -> Result<Done, Codes> {
        if !self.definitions.contains_key(key) {
            return unchanged();
        }
        let is_empty = self.versions_of(key).count() == 0;
        let deleted = self.delete_children(&[*key], cascade || is_empty)?;
        Ok(Done { changed: true, deleted })
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
        let deleted = versions.chain(images.iter().copied().map(Thing::Image)).collect();
        self.versions.retain(|key, _| !images.contains(&key.0));
        self.definitions.retain(|key, _| !images.contains(key));
        Ok(deleted)
    }

    fn delete_version(&mut self, key: &VersionKey, bypass: bool) -> Result<Done, Codes> {
        let Some(record) = self.version(key) else { return unchanged() };
        let soft = !bypass && self.is_soft(key);
        if soft && record.deleted.is_some() {
            return unchanged();
        }
        if self.is_blocked(&record.version) {
            return refused(BLOCKED);
        }
        if soft {
            self.versions.get_mut(key).unwrap().deleted = Some(self.now);
        } else {
            self.versions.remove(key);
        }
        Ok(Done { changed: true, deleted: BTreeSet::from([Thing::Version(*key)]) })
    }

    fn restore(&mut self, key: &VersionKey) -> Result<Done, Codes> {
        if self.version(key).is_none() {
            return refused(NOT_FOUND);
        }
        let was_deleted = self.versions.get_mut(key).unwrap().deleted.take().is_some();
        Ok(Done { changed: was_deleted, ..Done::default() })
    }
}
