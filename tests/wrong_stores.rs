//! Stores know whose they are: a mix-up by an operator is refused by name, and not a byte is deleted or written.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{HookedStore, Reaction, Sandbox, SandboxBuilder, YieldingStore, noise, raw, region};
use compute_gallery::*;
use futures::executor::block_on;

type Store = Arc<dyn BlobStore>;

const BOTH: &str = "westeurope=1,eastus=1";

fn disk(number: u8) -> Vec<u8> {
    noise(number.into(), 256 << 10)
}

fn settings() -> SandboxBuilder {
    Sandbox::builder().regions(["westeurope", "eastus"])
}

/// A catalog and two regions, each on a store of its own.
async fn new(seed: u64) -> Sandbox {
    settings().seed(seed).build().await.unwrap()
}

fn west(sandbox: &Sandbox) -> Store {
    sandbox.store("westeurope").inner().clone()
}

fn east(sandbox: &Sandbox) -> Store {
    sandbox.store("eastus").inner().clone()
}

/// A new catalog for the regions of another.
fn over(sandbox: &Sandbox) -> SandboxBuilder {
    settings().seed(2).store("westeurope", west(sandbox)).store("eastus", east(sandbox))
}

/// The blobs of the regions.
async fn regions(sandbox: &Sandbox) -> [BTreeMap<BlobKey, Bytes>; 2] {
    [copy_of(&west(sandbox)).await.1, copy_of(&east(sandbox)).await.1]
}

async fn deploys(sandbox: &Sandbox, number: u8) {
    for place in ["westeurope", "eastus"] {
        let deployed = sandbox.deployed(&format!("1.0.{number}"), place).await.unwrap();
        assert!(deployed == disk(number), "1.0.{number} in {place}");
    }
}

/// A store with the same blobs.
async fn copy_of(store: &Store) -> (MemoryStore, BTreeMap<BlobKey, Bytes>) {
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
fn opening_an_absent_catalog_creates_nothing() {
    block_on(async {
        let right = new(1).await;
        let empty = MemoryStore::new();
        let error = right.reopen().catalog_store(empty.clone()).build().await;
        refused(error, ErrorKind::NotFound, &["no catalog", "mount", "create"]);
        assert!(empty.list_all(None).await.unwrap().is_empty());
        let again = GalleryService::builder().allow_all().catalog_store(right.catalog_store());
        refused(again.create().await, ErrorKind::AlreadyExists, &["open it"]);
        right.reopen().build().await.unwrap();

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
        let right = new(1).await;
        right.publish("1.0.0", disk(0)).await.unwrap();
        let before = regions(&right).await;
        // The catalog's disk is not mounted, and a new catalog is made.
        let empty = MemoryStore::new();
        let wrong = over(&right).catalog_store(empty.clone()).build().await;
        refused(wrong, ErrorKind::Unavailable, &["of catalog", "mounted", "Nothing was created"]);
        let wrong = GalleryService::builder().allow_all().catalog_store(empty.clone());
        let wrong = wrong.region_store("westeurope", west(&right)).open_or_create().await;
        refused(wrong, ErrorKind::Unavailable, &["of catalog"]);
        let wrong = right.reopen().catalog_store(empty.clone()).build().await;
        refused(wrong, ErrorKind::NotFound, &["no catalog"]);
        assert!(empty.list_all(Some(&"catalog/identity".parse().unwrap())).await.unwrap().is_empty());
        // A second team's catalog, which exists: it has its own stores, and is given these.
        let second = new(7).await;
        let wrong = second.reopen().store("westeurope", west(&right)).store("eastus", east(&right)).build().await;
        refused(wrong, ErrorKind::Unavailable, &["of catalog", "mount the right store"]);
        // Only one of the regions is another's: the rest of the gallery is not opened either.
        let half = over(&right).store("westeurope", MemoryStore::new()).build().await;
        refused(half, ErrorKind::Unavailable, &["region eastus of catalog"]);
        assert_eq!(regions(&right).await, before);
        let right = right.reopen().build().await.unwrap();
        assert!(right.session().collect().await.unwrap().regions.is_empty());
        deploys(&right, 0).await;
    });
}

#[test]
fn a_store_that_is_changed_under_a_service_loses_nothing() {
    block_on(async {
        let others = new(1).await;
        others.publish("1.0.0", disk(0)).await.unwrap();
        let (before, own) = (regions(&others).await, MemoryStore::new());
        let mounted = Mounted::new(own.clone());
        let sandbox = settings().seed(2).store("eastus", mounted.store()).build().await.unwrap();
        let session = sandbox.session();
        sandbox.publish("1.0.7", disk(7)).await.unwrap();
        session.delete(sandbox.version("1.0.7")).await.unwrap();
        mounted.mount(east(&others));
        refused(
            session.collect().await,
            ErrorKind::Unavailable,
            &["region eastus of catalog", "mount the right store"],
        );
        refused(session.replicate(sandbox.version("1.0.7")).await, ErrorKind::NotFound, &[]);
        publish_only(&sandbox, 8).await;
        let eighth = sandbox.version("1.0.8");
        refused(session.replicate(&eighth).await, ErrorKind::Unavailable, &["region eastus of catalog"]);
        assert_eq!(session.scrub("eastus").await.unwrap().mended, 0);
        assert_eq!(regions(&others).await, before, "not a byte was deleted or brought there");
        // In the middle of a removal: after its first deletion another store is mounted.
        mounted.mount(Arc::new(own));
        session.replicate(&eighth).await.unwrap();
        session.delete(&eighth).await.unwrap();
        mounted.mount_after_deletions(1, east(&others));
        assert!(session.collect().await.is_err());
        assert_eq!(regions(&others).await, before);
    });
}

#[test]
fn a_catalog_store_that_is_changed_under_a_service_takes_no_commit() {
    block_on(async {
        let other = new(1).await;
        let catalog = MemoryStore::new();
        let mounted = Mounted::new(catalog.clone());
        let right = settings().seed(2).catalog_store(mounted.store()).build().await.unwrap();
        for (there, words) in [
            (other.catalog_store().inner().clone(), ["this is the store of catalog", "Mount the right store"]),
            (Arc::new(MemoryStore::new()) as Store, ["and has none now", "Mount the right store"]),
        ] {
            let before = copy_of(&there).await.1;
            mounted.mount(there.clone());
            refused(right.session().delete(right.image()).await, ErrorKind::Unavailable, &words);
            assert_eq!(copy_of(&there).await.1, before, "nothing was committed to it");
            mounted.mount(Arc::new(catalog.clone()));
        }
        right.session().delete(right.image()).await.unwrap();
        let right = right.reopen().catalog_store(catalog).build().await.unwrap();
        let view = right.session().refresh().await.unwrap();
        assert_eq!(view.image_definition(right.image()).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

async fn publish_only(sandbox: &Sandbox, number: u8) {
    let new = sandbox.new_version(&format!("1.0.{number}"), BOTH, raw(disk(number)));
    sandbox.session().publish(new).await.unwrap();
}

#[test]
fn swapped_mounts_are_refused_by_name() {
    block_on(async {
        let right = new(1).await;
        right.publish("1.0.0", disk(0)).await.unwrap();
        let before = regions(&right).await;
        let swapped = right.reopen().store("westeurope", east(&right)).store("eastus", west(&right)).build().await;
        refused(swapped, ErrorKind::Unavailable, &["this store is region", "eastus", "westeurope", "mount"]);
        assert_eq!(regions(&right).await, before);
        deploys(&right.reopen().build().await.unwrap(), 0).await;
    });
}

#[test]
fn two_regions_in_one_directory_are_refused() {
    block_on(async {
        let one = MemoryStore::new();
        let sandbox = settings().store("westeurope", one.clone()).store("eastus", one).build().await.unwrap();
        publish_only(&sandbox, 0).await;
        refused(
            sandbox.session().replicate(sandbox.version("1.0.0")).await,
            ErrorKind::Unavailable,
            &["region westeurope", "not region eastus"],
        );
        refused(sandbox.reopen().build().await, ErrorKind::Unavailable, &["not region eastus"]);
    });
}

#[test]
fn three_zones_in_one_directory_are_refused_and_so_are_zones_in_another_order() {
    block_on(async {
        let zonal = |zones: [MemoryStore; 3]| Sandbox::builder().regions([]).zone_stores("westeurope", zones);
        let publish = async |sandbox: &Sandbox| {
            let profile = PublishingProfile::new("westeurope=1".parse().unwrap())
                .with_storage_account_type(StorageAccountType::StandardZrs);
            let id = sandbox.version("1.0.0");
            let new = NewImageVersion::new(id, region("westeurope"), profile, raw(disk(0)));
            sandbox.session().publish(new).await
        };
        let one = MemoryStore::new();
        let sandbox = zonal([one.clone(), one.clone(), one]).build().await.unwrap();
        refused(publish(&sandbox).await, ErrorKind::Unavailable, &["zone 1", "not region westeurope zone"]);

        let zones = [(); 3].map(|()| MemoryStore::new());
        let sandbox = zonal(zones.clone()).build().await.unwrap();
        publish(&sandbox).await.unwrap();
        let [first, second, third] = zones;
        let words = ["region westeurope zone 2", "not region westeurope zone 1", "mount the right one"];
        let disordered = sandbox.reopen().zone_stores("westeurope", [second, first.clone(), third]).build().await;
        refused(disordered, ErrorKind::Unavailable, &words);
        // One of the three as all of the region.
        let whole = sandbox.reopen().store("westeurope", first).build().await;
        refused(whole, ErrorKind::Unavailable, &["region westeurope zone 1", "not region westeurope"]);
    });
}

/// The builder's settings of an operator who adopts both regions' stores.
fn adopting(builder: GalleryServiceBuilder) -> GalleryServiceBuilder {
    builder.adopt_region_store("westeurope").adopt_region_store("eastus")
}

#[test]
fn a_backup_of_the_catalog_is_refused_and_can_be_adopted() {
    block_on(async {
        let right = new(1).await;
        right.publish("1.0.0", disk(0)).await.unwrap();
        let (yesterday, _) = copy_of(right.catalog_store().inner()).await;
        right.publish("1.0.1", disk(1)).await.unwrap();
        let before = regions(&right).await;
        let restored = || right.reopen().catalog_store(yesterday.clone());
        let words = ["has seen commit", "log ends at", "backup", "adopt_region_store"];
        refused(restored().build().await, ErrorKind::Unavailable, &words);
        assert_eq!(regions(&right).await, before);
        // The operator has no newer one, and says so.
        let restored = restored().service(adopting).build().await.unwrap();
        let session = restored.session();
        let report = session.collect().await.unwrap();
        let left: Vec<_> = report.regions.iter().map(|one| (one.blobs, one.foreign_blobs > 0)).collect();
        assert_eq!(left, [(0, true), (0, true)], "what came after the backup stays, and is reported: {report:?}");
        deploys(&restored, 0).await;
        restored.publish("1.0.2", disk(2)).await.unwrap();
        deploys(&restored, 2).await;
        session.delete(restored.version("1.0.2")).await.unwrap();
        session.collect().await.unwrap();
        for (then, now) in before.iter().zip(regions(&restored).await) {
            let packs = then.iter().filter(|(key, _)| key.as_str().starts_with("slots/"));
            assert!(packs.clone().count() > 0);
            packs.for_each(|(key, bytes)| assert_eq!(now.get(key), Some(bytes), "{key}"));
        }
        // From here on the other log is the wrong one.
        refused(right.reopen().build().await, ErrorKind::Unavailable, &["has seen commit"]);
    });
}

#[test]
fn a_store_that_is_not_mounted_gets_no_new_owner_and_no_image() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files_in = |name: &str| FsStore::open_or_create(at(name)).unwrap();
        let created = settings().catalog_store(files_in("catalog")).store("westeurope", files_in("west"));
        let created = created.store("eastus", files_in("east")).build().await.unwrap();
        // As after a restart: the directory is opened again.
        let open = || created.reopen().store("eastus", files_in("east"));
        created.publish("1.0.0", disk(0)).await.unwrap();
        std::fs::rename(at("east"), at("unmounted")).unwrap();
        let sandbox = open().build().await.unwrap();
        let session = sandbox.session();
        // Another region serves it; nothing is brought to the place where the disk should be.
        assert!(sandbox.deployed("1.0.0", "eastus").await.unwrap() == disk(0));
        assert_eq!(session.scrub("eastus").await.unwrap().mended, 0);
        refused(
            session.collect().await,
            ErrorKind::Unavailable,
            &["region eastus", "not mounted", "adopt_region_store"],
        );
        publish_only(&sandbox, 1).await;
        refused(session.replicate(sandbox.version("1.0.1")).await, ErrorKind::Unavailable, &["not mounted"]);
        assert_eq!(files(&at("east")), 0);
        // Mounted again, all is well.
        std::fs::remove_dir_all(at("east")).unwrap();
        std::fs::rename(at("unmounted"), at("east")).unwrap();
        let sandbox = open().build().await.unwrap();
        sandbox.session().replicate(sandbox.version("1.0.1")).await.unwrap();
        deploys(&sandbox, 1).await;
        // Lost permanently: the operator says that the new one is to take its place.
        std::fs::remove_dir_all(at("east")).unwrap();
        let sandbox = open().service(|builder| builder.adopt_region_store("eastus")).build().await.unwrap();
        assert!(sandbox.session().scrub("eastus").await.unwrap().mended > 0);
        let sandbox = open().build().await.unwrap();
        deploys(&sandbox, 0).await;
        assert_eq!(sandbox.session().scrub("eastus").await.unwrap().mended, 0);
    });
}

#[test]
fn a_store_of_another_place_of_the_same_catalog_is_not_adopted() {
    block_on(async {
        let right = new(1).await;
        right.publish("1.0.0", disk(0)).await.unwrap();
        let before = regions(&right).await;
        // The catalog knows its content, in another place: here it would be garbage.
        let swapped = right.reopen().store("westeurope", east(&right)).store("eastus", MemoryStore::new());
        let adopted = swapped.service(|builder| builder.adopt_region_store("westeurope")).build().await;
        refused(adopted, ErrorKind::Unavailable, &["region eastus", "another site of this catalog"]);
        assert_eq!(regions(&right).await, before);
        deploys(&right.reopen().build().await.unwrap(), 0).await;
    });
}

#[test]
fn the_store_that_a_region_had_before_its_zones_takes_nothing_back() {
    block_on(async {
        let one = Sandbox::builder().regions(["westeurope"]).build().await.unwrap();
        one.publish("1.0.0", disk(0)).await.unwrap();
        let three = one.reopen().zones("westeurope");
        three.clone().service(|builder| builder.adopt_region_store("westeurope")).build().await.unwrap();
        // A process with the old configuration.
        refused(one.publish("1.0.1", disk(1)).await, ErrorKind::Unavailable, &["a store in each of three zones"]);
        refused(one.reopen().build().await, ErrorKind::Unavailable, &["a store in each of three zones"]);
        three.build().await.unwrap().publish("1.0.1", disk(1)).await.unwrap();
    });
}

/// The stores were checked beside the announcement's commit. A check that ended before the commit had lost its race judged by the
/// old claims, and the process sent the image to a store that was not the region's any more.
#[test]
fn a_process_that_learns_of_an_adoption_by_its_own_commit_sends_nothing_to_the_old_store() {
    // So many turns later than the region's store the catalog's answers.
    for turns in [0, 1, 2, 5, 20, 100] {
        for zonal in [false, true] {
            block_on(async {
                let one = Sandbox::builder().regions(["westeurope"]).build().await.unwrap();
                one.publish("1.0.0", disk(0)).await.unwrap();
                let catalog: Store = Arc::new(one.catalog_store());
                let late = (0..turns).fold(catalog, |store, _| Arc::new(YieldingStore::new(store)));
                let old = one.reopen().catalog_store(late).build().await.unwrap();
                let other = match zonal {
                    true => one.reopen().zones("westeurope"),
                    false => one.reopen().store("westeurope", MemoryStore::new()),
                };
                let other = other.service(|builder| builder.adopt_region_store("westeurope"));
                let other = other.build().await.unwrap();
                let before = copy_of(&west(&one)).await.1;

                old.publish("1.0.1", disk(1)).await.unwrap_err();
                let stored = one.version("1.0.0");
                old.session().publish(old.new_version("1.0.2", "westeurope", stored)).await.unwrap_err();
                old.session().replicate(one.version("1.0.0")).await.unwrap_err();
                assert_eq!(copy_of(&west(&one)).await.1, before, "{turns} turns, zonal {zonal}");
                other.publish("1.0.1", disk(1)).await.unwrap();
                assert!(other.deployed("1.0.1", "westeurope").await.unwrap() == disk(1));
            });
        }
    }
}

#[test]
fn an_adoption_that_is_left_in_the_configuration_forgets_no_witness() {
    block_on(async {
        let right = new(1).await;
        right.publish("1.0.0", disk(0)).await.unwrap();
        let before = copy_of(right.catalog_store().inner()).await.1;
        right.reopen().service(|builder| builder.adopt_region_store("eastus")).build().await.unwrap();
        let after = copy_of(right.catalog_store().inner()).await.1;
        assert_eq!(after, before, "there was nothing to adopt");
    });
}

#[test]
fn content_sent_to_a_store_before_another_was_adopted_is_not_acknowledged() {
    block_on(async {
        let sandbox = new(1).await;
        let session = sandbox.session();
        sandbox.publish("1.0.0", disk(0)).await.unwrap();
        let replaced = sandbox.reopen().store("westeurope", MemoryStore::new()).store("eastus", MemoryStore::new());
        let replaced = replaced.service(adopting);
        // While the disk is read, the operator gives other stores.
        let (adopted, while_read) = (Mutex::new(false), replaced.clone());
        let publishing = session.publish(sandbox.new_version("1.0.1", BOTH, raw(disk(1)))).on_progress(move |_| {
            if !std::mem::replace(&mut *adopted.lock().unwrap(), true) {
                block_on_thread(while_read.clone());
            }
        });
        refused(publishing.await, ErrorKind::Unavailable, &["another store was adopted"]);
        // The version before is elsewhere, so it is no base; and it is no source before it is there again.
        let sandbox = replaced.build().await.unwrap();
        let of_version = sandbox.new_version("1.0.2", "westeurope=1", sandbox.version("1.0.0"));
        sandbox.session().publish(of_version).await.unwrap_err();
        sandbox.publish_to("1.0.3", "westeurope=1", disk(3)).await.unwrap();
        assert!(sandbox.deployed("1.0.3", "westeurope").await.unwrap() == disk(3));
    });
}

/// On a thread of its own: the one that calls may be in an executor.
#[expect(clippy::disallowed_methods, reason = "a test stands for another process")]
fn block_on_thread(settings: SandboxBuilder) {
    std::thread::spawn(move || drop(block_on(settings.build()).unwrap())).join().unwrap();
}

#[test]
fn images_without_an_owner_are_not_taken() {
    block_on(async {
        let right = new(1).await;
        right.publish("1.0.0", disk(0)).await.unwrap();
        west(&right).delete(&"owner".parse().unwrap()).await.unwrap();
        let other = settings().seed(2).store("westeurope", west(&right)).build().await.unwrap();
        let published = other.publish_to("1.0.1", "westeurope=1", disk(1)).await;
        refused(published, ErrorKind::Unavailable, &["holds images", "owner"]);
    });
}

/// A place where a store is mounted.
struct Mounted(Arc<Mutex<Mount>>);

struct Mount {
    store: Store,
    /// Another store takes its place after this many more deletions of images.
    next: Option<(usize, Store)>,
}

impl Mounted {
    fn new(store: MemoryStore) -> Self {
        Self(Arc::new(Mutex::new(Mount { store: Arc::new(store), next: None })))
    }

    /// The store that is mounted at each call.
    fn store(&self) -> HookedStore {
        let mount = self.0.clone();
        HookedStore::new(MemoryStore::new(), move |call| {
            let mut mount = mount.lock().unwrap();
            let store = mount.store.clone();
            let is_of_image = call.key.is_some_and(|key| key.as_str().starts_with("slots/"));
            if let Some((left, _)) = mount.next.as_mut().filter(|_| call.operation == "delete" && is_of_image) {
                *left -= 1;
            }
            if let Some((_, next)) = mount.next.take_if(|(left, _)| *left == 0) {
                mount.store = next;
            }
            async move { Reaction::Redirect(store) }
        })
    }

    fn mount(&self, store: Store) {
        self.0.lock().unwrap().store = store;
    }

    fn mount_after_deletions(&self, count: usize, store: Store) {
        self.0.lock().unwrap().next = Some((count, store));
    }
}
