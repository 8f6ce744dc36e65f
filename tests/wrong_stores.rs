//! Stores know whose they are: whatever an operator mixes up, it is refused by name, and not a byte goes or comes.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{ManualClock, SeededEntropy};
use compute_gallery::*;
use futures::executor::block_on;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn image() -> ImageDefinitionId {
    let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
    gallery.parse::<GalleryId>().unwrap().image("web".parse().unwrap())
}

fn version(number: u8) -> ImageVersionId {
    image().version(format!("1.0.{number}").parse().unwrap())
}

fn disk(number: u8) -> Vec<u8> {
    (0..256_usize << 10).map(|at| (at / 4096 % 200) as u8 ^ (at % 251) as u8 ^ number.wrapping_mul(31)).collect()
}

/// A catalog and the regions `westeurope` and `eastus`, each on a store of its own.
#[derive(Clone)]
struct Stores {
    catalog: MemoryStore,
    west: MemoryStore,
    east: MemoryStore,
}

impl Stores {
    fn new() -> Self {
        Self { catalog: MemoryStore::new(), west: MemoryStore::new(), east: MemoryStore::new() }
    }

    fn builder(&self, seed: u64) -> GalleryServiceBuilder {
        let builder = GalleryService::builder().allow_all().catalog_store(self.catalog.clone());
        let builder = builder.region_store(region("westeurope"), self.west.clone());
        let clock = ManualClock::auto_advancing("2026-01-02T03:04:05Z".parse().unwrap());
        builder.region_store(region("eastus"), self.east.clone()).clock(clock).entropy(SeededEntropy::new(seed))
    }

    async fn create(&self, seed: u64) -> Session {
        let session = self.builder(seed).create().await.unwrap().session("test".parse().unwrap());
        begin(&session).await;
        session
    }

    async fn open(&self, seed: u64) -> Result<Session> {
        Ok(self.builder(seed).open().await?.session("test".parse().unwrap()))
    }

    /// What the regions hold.
    async fn regions(&self) -> [BTreeMap<BlobKey, Bytes>; 2] {
        [copy_of(&self.west).await.1, copy_of(&self.east).await.1]
    }
}

async fn begin(session: &Session) {
    session.create_gallery(Gallery::new(image().gallery().clone(), region("westeurope"))).await.unwrap();
    let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
    let definition =
        ImageDefinition::new(image(), region("westeurope"), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await.unwrap();
}

async fn publish(session: &Session, number: u8) {
    let profile = PublishingProfile::new("westeurope=1,eastus=1".parse().unwrap());
    let source = DiskSource::bytes(disk(number), DiskFormat::Raw);
    session.publish(NewImageVersion::new(version(number), region("westeurope"), profile, source)).await.unwrap();
    session.replicate(&version(number)).await.unwrap();
}

async fn deploys(session: &Session, number: u8) {
    for place in ["westeurope", "eastus"] {
        let deployment = session.deploy(version(number), &region(place));
        assert!(deployment.to_writer(Vec::new()).await.unwrap().1 == disk(number), "1.0.{number} in {place}");
    }
}

/// A store with the same blobs.
async fn copy_of(store: &MemoryStore) -> (MemoryStore, BTreeMap<BlobKey, Bytes>) {
    let (copy, mut blobs) = (MemoryStore::new(), BTreeMap::new());
    for blob in store.list_all(None).await.unwrap() {
        let bytes = store.get(&blob.key, None).await.unwrap();
        copy.put(&blob.key, bytes.clone(), PutMode::Create).await.unwrap();
        blobs.insert(blob.key, bytes);
    }
    (copy, blobs)
}

/// It is refused, and the message has all of `words`.
fn refused<T: std::fmt::Debug>(outcome: Result<T>, kind: ErrorKind, words: &[&str]) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}: {word}");
    }
}

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn opening_what_is_not_there_makes_nothing() {
    block_on(async {
        let stores = Stores::new();
        refused(stores.open(1).await, ErrorKind::NotFound, &["no catalog", "mount", "create"]);
        assert!(stores.catalog.list_all(None).await.unwrap().is_empty());
        stores.create(1).await;
        refused(stores.builder(2).create().await, ErrorKind::AlreadyExists, &["open it"]);
        stores.open(3).await.unwrap();

        let directory = tempfile::tempdir().unwrap();
        for place in ["missing", "not-mounted"] {
            let path = directory.path().join(place);
            if place == "not-mounted" {
                std::fs::create_dir(&path).unwrap();
            }
            let error = FsStore::open(&path).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::NotFound, "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert_eq!(path.exists(), place == "not-mounted");
        }
        let path = directory.path().join("made");
        FsStore::create(&path).unwrap();
        assert_eq!(FsStore::create(&path).unwrap_err().kind(), StoreErrorKind::AlreadyExists);
        FsStore::open(&path).unwrap();
        std::fs::write(directory.path().join("file"), "x").unwrap();
        assert!(FsStore::open_or_create(directory.path().join("file")).is_err());
    });
}

#[test]
fn a_collection_with_another_catalog_removes_nothing() {
    block_on(async {
        let right = Stores::new();
        let session = right.create(1).await;
        publish(&session, 0).await;
        let before = right.regions().await;
        // The catalog's disk is not mounted, and somebody makes a new one.
        let wrong = Stores { catalog: MemoryStore::new(), ..right.clone() };
        refused(
            wrong.builder(2).create().await,
            ErrorKind::Unavailable,
            &["of catalog", "mounted", "Nothing was made"],
        );
        refused(wrong.builder(4).open_or_create().await, ErrorKind::Unavailable, &["of catalog"]);
        refused(wrong.open(3).await, ErrorKind::NotFound, &["no catalog"]);
        assert!(wrong.catalog.list_all(Some(&"catalog/identity".parse().unwrap())).await.unwrap().is_empty());
        // A second team's catalog, which exists: it has its own stores, and is given these.
        let second = Stores::new();
        second.create(7).await;
        let wrong = Stores { catalog: second.catalog, ..right.clone() };
        refused(wrong.open(8).await, ErrorKind::Unavailable, &["of catalog", "mount the right store"]);
        // Only one of the regions is another's: the rest of the gallery is not opened either.
        let half = Stores { catalog: MemoryStore::new(), west: MemoryStore::new(), ..right.clone() };
        refused(half.builder(5).create().await, ErrorKind::Unavailable, &["region eastus of catalog"]);
        assert_eq!(right.regions().await, before);
        let session = right.open(6).await.unwrap();
        assert!(session.collect().await.unwrap().regions.is_empty());
        deploys(&session, 0).await;
    });
}

#[test]
fn a_store_that_is_changed_under_a_service_loses_nothing() {
    block_on(async {
        let others = Stores::new();
        publish(&others.create(1).await, 0).await;
        let (before, mounted) = (others.regions().await, Mounted::new(MemoryStore::new()));
        let (catalog, west) = (MemoryStore::new(), MemoryStore::new());
        let builder = GalleryService::builder().allow_all().catalog_store(catalog);
        let builder = builder.region_store(region("westeurope"), west).region_store(region("eastus"), mounted.clone());
        let session = builder.create().await.unwrap().session("test".parse().unwrap());
        begin(&session).await;
        publish(&session, 7).await;
        session.delete(version(7)).await.unwrap();
        let right = mounted.mount(others.east.clone());
        refused(
            session.collect().await,
            ErrorKind::Unavailable,
            &["region eastus of catalog", "mount the right store"],
        );
        refused(session.replicate(&version(7)).await, ErrorKind::NotFound, &[]);
        publish_only(&session, 8).await;
        refused(session.replicate(&version(8)).await, ErrorKind::Unavailable, &["region eastus of catalog"]);
        assert_eq!(session.scrub(&region("eastus")).await.unwrap().mended, 0);
        assert_eq!(others.regions().await, before, "not a byte was deleted or brought there");
        // In the middle of a removal: after its first deletion another store is mounted.
        mounted.mount(right);
        session.replicate(&version(8)).await.unwrap();
        session.delete(version(8)).await.unwrap();
        mounted.mount_at_deletion(1, others.east.clone());
        assert!(session.collect().await.is_err());
        assert_eq!(others.regions().await, before);
    });
}

#[test]
fn a_catalog_store_that_is_changed_under_a_service_takes_no_commit() {
    block_on(async {
        let (right, other) = (Stores::new(), Stores::new());
        other.create(1).await;
        let mounted = Mounted::new(right.catalog.clone());
        let builder = right.builder(2).catalog_store(mounted.clone());
        let session = builder.create().await.unwrap().session("test".parse().unwrap());
        begin(&session).await;
        for (there, words) in [
            (other.catalog.clone(), ["this is the store of catalog", "Mount the right one"]),
            (MemoryStore::new(), ["and is none any more", "Mount the right one"]),
        ] {
            let before = copy_of(&there).await.1;
            let right = mounted.mount(there.clone());
            refused(session.delete(image()).await, ErrorKind::Unavailable, &words);
            assert_eq!(copy_of(&there).await.1, before, "nothing was committed to it");
            mounted.mount(right);
        }
        session.delete(image()).await.unwrap();
        let view = right.open(3).await.unwrap().refresh().await.unwrap();
        assert_eq!(view.image_definition(&image()).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

async fn publish_only(session: &Session, number: u8) {
    let profile = PublishingProfile::new("westeurope=1,eastus=1".parse().unwrap());
    let source = DiskSource::bytes(disk(number), DiskFormat::Raw);
    session.publish(NewImageVersion::new(version(number), region("westeurope"), profile, source)).await.unwrap();
}

#[test]
fn swapped_mounts_are_refused_by_name() {
    block_on(async {
        let right = Stores::new();
        publish(&right.create(1).await, 0).await;
        let before = right.regions().await;
        let swapped = Stores { west: right.east.clone(), east: right.west.clone(), ..right.clone() };
        refused(
            swapped.open(2).await,
            ErrorKind::Unavailable,
            &["this store is region", "eastus", "westeurope", "mount"],
        );
        assert_eq!(right.regions().await, before);
        deploys(&right.open(3).await.unwrap(), 0).await;
    });
}

#[test]
fn two_regions_in_one_directory_are_refused() {
    block_on(async {
        let one = MemoryStore::new();
        let stores = Stores { catalog: MemoryStore::new(), west: one.clone(), east: one };
        let session = stores.create(1).await;
        publish_only(&session, 0).await;
        refused(
            session.replicate(&version(0)).await,
            ErrorKind::Unavailable,
            &["region westeurope", "not region eastus"],
        );
        refused(stores.open(2).await, ErrorKind::Unavailable, &["not region eastus"]);
    });
}

#[test]
fn three_zones_in_one_directory_are_refused_and_so_are_zones_in_another_order() {
    block_on(async {
        let one = MemoryStore::new();
        let open = |zones: [MemoryStore; 3], catalog: &MemoryStore| {
            let builder = GalleryService::builder().allow_all().catalog_store(catalog.clone());
            builder.zonal_region_stores(region("westeurope"), zones)
        };
        let new = |number| {
            let profile = PublishingProfile::new("westeurope=1".parse().unwrap())
                .with_storage_account_type(StorageAccountType::StandardZrs);
            let source = DiskSource::bytes(disk(number), DiskFormat::Raw);
            NewImageVersion::new(version(number), region("westeurope"), profile, source)
        };
        let catalog = MemoryStore::new();
        let service = open([one.clone(), one.clone(), one], &catalog).create().await.unwrap();
        let session = service.session("test".parse().unwrap());
        begin(&session).await;
        refused(session.publish(new(0)).await, ErrorKind::Unavailable, &["zone 1", "not region westeurope zone"]);

        let (catalog, zones) = (MemoryStore::new(), [(); 3].map(|()| MemoryStore::new()));
        let session = open(zones.clone(), &catalog).create().await.unwrap().session("test".parse().unwrap());
        begin(&session).await;
        session.publish(new(0)).await.unwrap();
        let [first, second, third] = zones;
        let words = ["region westeurope zone 2", "not region westeurope zone 1", "mount the right one"];
        refused(open([second, first.clone(), third], &catalog).open().await, ErrorKind::Unavailable, &words);
        // One of the three as all of the region.
        let builder = GalleryService::builder().allow_all().catalog_store(catalog.clone());
        let whole = builder.region_store(region("westeurope"), first).open().await;
        refused(whole, ErrorKind::Unavailable, &["region westeurope zone 1", "not region westeurope"]);
    });
}

#[test]
fn a_backup_of_the_catalog_is_refused_and_can_be_adopted() {
    block_on(async {
        let right = Stores::new();
        let session = right.create(1).await;
        publish(&session, 0).await;
        let (yesterday, _) = copy_of(&right.catalog).await;
        publish(&session, 1).await;
        let before = right.regions().await;
        let restored = Stores { catalog: yesterday, ..right.clone() };
        let words = ["has seen commit", "log ends at", "backup", "adopt_region_store"];
        refused(restored.open(2).await, ErrorKind::Unavailable, &words);
        assert_eq!(right.regions().await, before);
        // The operator has no newer one, and says so.
        let adopting = restored.builder(3);
        let adopting = adopting.adopt_region_store(region("westeurope")).adopt_region_store(region("eastus"));
        let session = adopting.open().await.unwrap().session("test".parse().unwrap());
        let report = session.collect().await.unwrap();
        let left: Vec<_> = report.regions.iter().map(|one| (one.blobs, one.foreign_blobs > 0)).collect();
        assert_eq!(left, [(0, true), (0, true)], "what came after the backup stays, and is told: {report:?}");
        deploys(&session, 0).await;
        publish(&session, 2).await;
        deploys(&session, 2).await;
        session.delete(version(2)).await.unwrap();
        session.collect().await.unwrap();
        for (then, now) in before.iter().zip(restored.regions().await) {
            let packs = then.iter().filter(|(key, _)| key.as_str().starts_with("slots/"));
            assert!(packs.clone().count() > 0);
            packs.for_each(|(key, bytes)| assert_eq!(now.get(key), Some(bytes), "{key}"));
        }
        // From here on the other log is the wrong one.
        refused(right.open(4).await, ErrorKind::Unavailable, &["has seen commit"]);
    });
}

#[test]
fn a_store_that_is_not_mounted_gets_no_new_owner_and_no_image() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let open = |adopt: bool| {
            let builder = GalleryService::builder().allow_all();
            let builder = builder.catalog_store(FsStore::open_or_create(at("catalog")).unwrap());
            let builder = builder.region_store(region("westeurope"), FsStore::open_or_create(at("west")).unwrap());
            let builder = builder.region_store(region("eastus"), FsStore::open_or_create(at("east")).unwrap());
            if adopt { builder.adopt_region_store(region("eastus")) } else { builder }
        };
        let session = open(false).create().await.unwrap().session("test".parse().unwrap());
        begin(&session).await;
        publish(&session, 0).await;
        std::fs::rename(at("east"), at("unmounted")).unwrap();
        let session = open(false).open().await.unwrap().session("test".parse().unwrap());
        // Another region serves it; nothing is brought to the place where the disk should be.
        let deployed = session.deploy(version(0), &region("eastus")).to_writer(Vec::new()).await.unwrap();
        assert!(deployed.1 == disk(0));
        assert_eq!(session.scrub(&region("eastus")).await.unwrap().mended, 0);
        refused(
            session.collect().await,
            ErrorKind::Unavailable,
            &["region eastus", "not mounted", "adopt_region_store"],
        );
        publish_only(&session, 1).await;
        refused(session.replicate(&version(1)).await, ErrorKind::Unavailable, &["not mounted"]);
        assert_eq!(files(&at("east")), 0);
        // Mounted again, all is well.
        std::fs::remove_dir_all(at("east")).unwrap();
        std::fs::rename(at("unmounted"), at("east")).unwrap();
        let session = open(false).open().await.unwrap().session("test".parse().unwrap());
        session.replicate(&version(1)).await.unwrap();
        deploys(&session, 1).await;
        // Lost for good, the operator says that the new one is to take its place.
        std::fs::remove_dir_all(at("east")).unwrap();
        let session = open(true).open().await.unwrap().session("test".parse().unwrap());
        assert!(session.scrub(&region("eastus")).await.unwrap().mended > 0);
        let session = open(false).open().await.unwrap().session("test".parse().unwrap());
        deploys(&session, 0).await;
        assert_eq!(session.scrub(&region("eastus")).await.unwrap().mended, 0);
    });
}

#[test]
fn a_store_of_another_place_of_the_same_catalog_is_not_adopted() {
    block_on(async {
        let right = Stores::new();
        publish(&right.create(1).await, 0).await;
        let before = right.regions().await;
        // What lies in it is known to the catalog, in another place: here it would be garbage.
        let swapped = Stores { west: right.east.clone(), east: MemoryStore::new(), ..right.clone() };
        let adopting = swapped.builder(2).adopt_region_store(region("westeurope")).open().await;
        refused(adopting, ErrorKind::Unavailable, &["region eastus", "another place of this catalog"]);
        assert_eq!(right.regions().await, before);
        deploys(&right.open(3).await.unwrap(), 0).await;
    });
}

#[test]
fn the_store_that_a_region_had_before_its_zones_takes_nothing_back() {
    block_on(async {
        let (catalog, whole, zones) = (MemoryStore::new(), MemoryStore::new(), [(); 3].map(|()| MemoryStore::new()));
        let builder = || GalleryService::builder().allow_all().catalog_store(catalog.clone());
        let one = || builder().region_store(region("westeurope"), whole.clone());
        let three = || builder().zonal_region_stores(region("westeurope"), zones.clone());
        let session = one().create().await.unwrap().session("test".parse().unwrap());
        begin(&session).await;
        let new = |number| {
            let profile = PublishingProfile::new("westeurope=1".parse().unwrap());
            let source = DiskSource::bytes(disk(number), DiskFormat::Raw);
            NewImageVersion::new(version(number), region("westeurope"), profile, source)
        };
        session.publish(new(0)).await.unwrap();
        three().adopt_region_store(region("westeurope")).open().await.unwrap();
        // A process that was not told.
        refused(session.publish(new(1)).await, ErrorKind::Unavailable, &["a store in each of three zones"]);
        refused(one().open().await, ErrorKind::Unavailable, &["a store in each of three zones"]);
        three().open().await.unwrap().session("test".parse().unwrap()).publish(new(1)).await.unwrap();
    });
}

#[test]
fn an_adoption_that_is_left_in_the_configuration_forgets_no_witness() {
    block_on(async {
        let right = Stores::new();
        publish(&right.create(1).await, 0).await;
        let adopting = |stores: &Stores, seed| stores.builder(seed).adopt_region_store(region("eastus")).open();
        let (before, _) = copy_of(&right.catalog).await;
        adopting(&right, 2).await.unwrap();
        assert_eq!(copy_of(&right.catalog).await.1, copy_of(&before).await.1, "there was nothing to adopt");
    });
}

#[test]
fn what_was_sent_to_a_store_before_another_took_its_place_is_not_acknowledged() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.create(1).await;
        publish(&session, 0).await;
        let replaced = Stores { west: MemoryStore::new(), east: MemoryStore::new(), ..stores.clone() };
        let adopt = || {
            let builder = replaced.builder(2).adopt_region_store(region("westeurope"));
            builder.adopt_region_store(region("eastus")).open()
        };
        // While the disk is read, the operator gives other stores.
        let adopted = Mutex::new(false);
        let profile = PublishingProfile::new("westeurope=1,eastus=1".parse().unwrap());
        let source = DiskSource::bytes(disk(1), DiskFormat::Raw);
        let new = NewImageVersion::new(version(1), region("westeurope"), profile, source);
        let replaced_of = replaced.clone();
        let publishing = session.publish(new).on_progress(move |_| {
            if !std::mem::replace(&mut *adopted.lock().unwrap(), true) {
                let builder = replaced_of.builder(2).adopt_region_store(region("westeurope"));
                block_on_thread(builder.adopt_region_store(region("eastus")));
            }
        });
        refused(publishing.await, ErrorKind::Unavailable, &["another store was adopted"]);
        // The version before is elsewhere, so it is no base; and it is no source before it is there again.
        let session = adopt().await.unwrap().session("test".parse().unwrap());
        let profile = PublishingProfile::new("westeurope=1".parse().unwrap());
        let of_version = NewImageVersion::new(version(2), region("westeurope"), profile.clone(), version(0));
        session.publish(of_version).await.unwrap_err();
        let source = DiskSource::bytes(disk(3), DiskFormat::Raw);
        session.publish(NewImageVersion::new(version(3), region("westeurope"), profile, source)).await.unwrap();
        let deployed = session.deploy(version(3), &region("westeurope")).to_writer(Vec::new()).await.unwrap();
        assert!(deployed.1 == disk(3));
    });
}

/// On a thread of its own: the one that calls may be in an executor.
#[expect(clippy::disallowed_methods, reason = "a test stands for another process")]
fn block_on_thread(builder: GalleryServiceBuilder) {
    std::thread::spawn(move || drop(block_on(builder.open()).unwrap())).join().unwrap();
}

#[test]
fn images_without_an_owner_are_not_taken() {
    block_on(async {
        let stores = Stores::new();
        publish(&stores.create(1).await, 0).await;
        stores.west.delete(&"owner".parse().unwrap()).await.unwrap();
        let other = Stores { catalog: MemoryStore::new(), east: MemoryStore::new(), ..stores.clone() };
        let session = other.create(2).await;
        let source = DiskSource::bytes(disk(1), DiskFormat::Raw);
        let profile = PublishingProfile::new("westeurope=1".parse().unwrap());
        let new = NewImageVersion::new(version(1), region("westeurope"), profile, source);
        refused(session.publish(new).await, ErrorKind::Unavailable, &["holds images", "owner"]);
    });
}

/// A place where a store is mounted.
#[derive(Clone, Debug)]
struct Mounted(Arc<Mutex<Mount>>);

#[derive(Debug)]
struct Mount {
    store: MemoryStore,
    /// After so many deletions another takes its place.
    next: Option<(usize, MemoryStore)>,
}

impl Mounted {
    fn new(store: MemoryStore) -> Self {
        Self(Arc::new(Mutex::new(Mount { store, next: None })))
    }

    fn store(&self) -> MemoryStore {
        self.0.lock().unwrap().store.clone()
    }

    fn mount(&self, store: MemoryStore) -> MemoryStore {
        std::mem::replace(&mut self.0.lock().unwrap().store, store)
    }

    fn mount_at_deletion(&self, number: usize, store: MemoryStore) {
        self.0.lock().unwrap().next = Some((number, store));
    }
}

#[async_trait]
impl BlobStore for Mounted {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.store().put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.store().get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.store().head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.store().delete(key).await?;
        let mut mount = self.0.lock().unwrap();
        match mount.next.take() {
            Some((0 | 1, store)) if key.as_str().starts_with("slots/") => mount.store = store,
            Some((left, store)) if key.as_str().starts_with("slots/") => mount.next = Some((left - 1, store)),
            same => mount.next = same,
        }
        Ok(())
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.store().list(under, after, limit).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.store().copy(from, to, mode).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.store().persist(under).await
    }
}
