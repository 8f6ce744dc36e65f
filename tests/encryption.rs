//! Encrypted content: what is stored shows nothing of the disks, no nonce is used twice, and a key that is away damages nothing.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

#[path = "kills/call.rs"]
mod call;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use call::reaction;
use compute_gallery::cache::CachedStore;
use compute_gallery::content::{Compression, Digest};
use compute_gallery::host::{KeyProvider, Secret, Wrapped, key_missing, keys_unavailable};
use compute_gallery::image::ImageDigest;
use compute_gallery::keys::LocalKeys;
use compute_gallery::model::{
    DiskEncryptionSetId, EncryptionImages, PublishingProfile, Region, TargetRegion, TargetRegions,
};
use compute_gallery::store::{BlobStore, BlobStoreExt, FsStore, MemoryStore, PutMode};
use compute_gallery::testkit::{Call, HookedStore, Sandbox, noise, raw};
use compute_gallery::upkeep::CollectionReport;
use compute_gallery::{ErrorKind, GalleryService, Result};
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{Either, select};

const CHUNK: usize = 64 << 10;
const MARKER: &[u8] = b"the secret of the machine";

/// Keys that a test takes away, exchanges and rotates.
#[derive(Clone, Debug)]
struct Keys(Arc<Mutex<Option<LocalKeys>>>);

fn key(byte: u8) -> Secret {
    Secret([byte; 32])
}

impl Keys {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(LocalKeys::new("one", key(1))))))
    }

    fn become_(&self, keys: Option<LocalKeys>) {
        *self.0.lock().unwrap() = keys;
    }

    fn now(&self) -> Result<LocalKeys> {
        self.0.lock().unwrap().clone().ok_or_else(|| keys_unavailable("the test took them away"))
    }
}

#[async_trait::async_trait]
impl KeyProvider for Keys {
    async fn current(&self) -> Result<String> {
        self.now()?.current().await
    }

    async fn wrap(&self, secret: &Secret, context: &[u8]) -> Result<Wrapped> {
        self.now()?.wrap(secret, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Secret> {
        self.now()?.unwrap(wrapped, context).await
    }
}

/// Chunks that shrink and have the marker all over; one of ten is noise, one of ten is half zeros, one of ten is zeros.
fn disk(chunks: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(seed, chunks * CHUNK);
    for (number, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
        match number % 10 {
            3 => {}
            7 => chunk.fill(0),
            kind => {
                chunk.iter_mut().for_each(|byte| *byte = b"the disk of a machine "[usize::from(*byte & 15)]);
                if kind == 5 {
                    chunk[CHUNK / 2..].fill(0);
                }
            }
        }
        if number % 10 != 7 {
            chunk[100..100 + MARKER.len()].copy_from_slice(MARKER);
        }
    }
    bytes
}

async fn sandbox_of(keys: &Keys, west: impl BlobStore, east: impl BlobStore, compression: Compression) -> Sandbox {
    let keys = keys.clone();
    let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).store("westeurope", west).store("eastus", east);
    let settings = move |builder: compute_gallery::GalleryServiceBuilder| {
        builder.compression(compression).encryption(keys.clone())
    };
    sandbox.service(settings).build().await.unwrap()
}

async fn publish(sandbox: &Sandbox, number: &str, regions: &str, disk: &[u8]) -> (Digest, u64) {
    let new = sandbox.new_version(number, regions, raw(disk.to_vec()));
    let published = sandbox.session().publish(new).await.unwrap();
    sandbox.session().replicate(sandbox.version(number)).await.unwrap();
    (published.content.os_disk_digest, published.import.new_bytes)
}

async fn comes_back(sandbox: &Sandbox, number: &str, region: &str, disk: &[u8]) {
    assert!(sandbox.deployed(number, region).await.unwrap() == disk, "{number} deployed in {region}");
    let region: Region = region.parse().unwrap();
    let reader = sandbox.session().deploy(sandbox.version(number), &region).open().await.unwrap();
    let read = reader.read_at(5 * CHUNK as u64 + 9..6 * CHUNK as u64 + 100).await.unwrap();
    assert!(read == disk[5 * CHUNK + 9..6 * CHUNK + 100], "{number} read in {region}");
}

async fn blobs(store: &impl BlobStore) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for blob in store.list_all(None).await.unwrap() {
        all.insert(blob.key.to_string(), store.get(&blob.key, None).await.unwrap().to_vec());
    }
    all
}

/// The key and the salt of a blob of records.
fn salt_of(blob: &[u8]) -> Option<(u32, [u8; 16])> {
    blob.starts_with(b"cgblob01").then(|| {
        let key = u32::from_le_bytes(blob[48..52].try_into().unwrap());
        (key, blob[32..48].try_into().unwrap())
    })
}

/// Every blob that was seen with a key and a salt.
#[derive(Default)]
struct Salts(BTreeMap<(u32, [u8; 16]), Vec<u8>>);

impl Salts {
    async fn look_at(&mut self, store: &impl BlobStore) {
        for (name, blob) in blobs(store).await {
            let Some((key, salt)) = salt_of(&blob) else { continue };
            assert!(key > 0 && salt != [0; 16], "{name} is encrypted");
            let there = self.0.entry((key, salt)).or_insert_with(|| blob.clone());
            assert!(*there == blob, "{name} has the salt of another blob");
        }
    }
}

#[test]
fn no_stored_byte_shows_a_disk_and_every_disk_comes_back() {
    for compression in [Compression::None, Compression::Zstd, Compression::Later] {
        block_on(async {
            let (keys, west, east) = (Keys::new(), MemoryStore::new(), MemoryStore::new());
            let sandbox = sandbox_of(&keys, west.clone(), east.clone(), compression).await;
            let (first, mut second) = (disk(60, 1), disk(60, 1));
            second[9 * CHUNK..10 * CHUNK].copy_from_slice(&noise(77, CHUNK));
            let (digest, all) = publish(&sandbox, "1.0.0", "westeurope=2,eastus", &first).await;
            let (other, new) = publish(&sandbox, "1.0.1", "westeurope=2,eastus", &second).await;
            // Versions share chunks, and a digest is keyed, and one in all regions.
            assert!(new * 10 < all, "{new} of {all}");
            assert!(digest != other && digest != ImageDigest::of(raw(first.clone())).unwrap());
            if compression == Compression::Later {
                assert!(!sandbox.session().compress().await.unwrap().regions.is_empty());
            }
            let mut keys_of_regions = Vec::new();
            for store in [&west, &east] {
                let mut of_region = Vec::new();
                for (name, blob) in blobs(store).await {
                    // Words of the disk, a whole chunk's name, and the first bytes of its noise.
                    for secret in [MARKER, b"disk of a", &first[3 * CHUNK..3 * CHUNK + 16]] {
                        assert!(blob.windows(secret.len()).all(|window| window != secret), "{name} shows the disk");
                    }
                    let plain_name = Digest::of(&first[3 * CHUNK..4 * CHUNK]);
                    assert!(blob.windows(32).all(|window| window != plain_name.as_bytes()), "{name} names a guess");
                    of_region.extend(salt_of(&blob).map(|(key, _)| key));
                }
                of_region.sort_unstable();
                of_region.dedup();
                assert_eq!(of_region.len(), 1);
                keys_of_regions.extend(of_region);
            }
            assert_ne!(keys_of_regions[0], keys_of_regions[1], "each region has a key of its own");
            for (name, blob) in blobs(&sandbox.catalog_store()).await {
                assert!(blob.windows(MARKER.len()).all(|window| window != MARKER), "{name} shows the disk");
            }
            for region in ["westeurope", "eastus"] {
                comes_back(&sandbox, "1.0.0", region, &first).await;
                comes_back(&sandbox, "1.0.1", region, &second).await;
                let scrubbed = sandbox.session().scrub(region).await.unwrap();
                assert_eq!(scrubbed.damaged, 0);
            }
            // Another process, with nothing in memory.
            let again = sandbox.reopen().build().await.unwrap();
            comes_back(&again, "1.0.1", "eastus", &second).await;
        });
    }
}

#[test]
fn a_catalog_is_encrypted_from_its_creation_or_never() {
    block_on(async {
        let (plain, encrypted) = (MemoryStore::new(), MemoryStore::new());
        let builder = |store: &MemoryStore| GalleryService::builder().allow_all().store(store.clone());
        builder(&plain).create().await.unwrap();
        let refused = builder(&plain).encryption(LocalKeys::new("one", key(1))).open().await.unwrap_err();
        assert_eq!((refused.kind(), refused.target()), (ErrorKind::Invalid, "encryption"));
        builder(&encrypted).encryption(LocalKeys::new("one", key(1))).create().await.unwrap();
        assert_eq!(builder(&encrypted).open().await.unwrap_err().kind(), ErrorKind::KeyMissing);
        // Read only, with the key.
        builder(&encrypted).encryption(LocalKeys::new("one", key(1))).open_read_only().await.unwrap();
        let before = blobs(&encrypted).await;
        for wrong in [LocalKeys::new("one", key(2)), LocalKeys::new("two", key(1))] {
            let error = builder(&encrypted).encryption(wrong).open().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KeyMissing);
            assert!(error.to_string().contains("`one`"), "{error}");
        }
        assert!(before == blobs(&encrypted).await);
    });
}

/// The keys go away while a service is at work, and come back.
#[test]
fn a_key_that_is_away_damages_nothing() {
    block_on(async {
        let (keys, west, east) = (Keys::new(), MemoryStore::new(), MemoryStore::new());
        let sandbox = sandbox_of(&keys, west.clone(), east.clone(), Compression::None).await;
        let disk = disk(30, 2);
        publish(&sandbox, "1.0.0", "westeurope=2,eastus", &disk).await;
        for (away, kind) in [
            (None, ErrorKind::Unavailable),
            (Some(LocalKeys::new("two", key(1))), ErrorKind::KeyMissing),
            (Some(LocalKeys::new("one", key(2))), ErrorKind::KeyMissing),
        ] {
            keys.become_(Some(LocalKeys::new("one", key(1))));
            // It knows the names, and has unwrapped no data key yet.
            let other = sandbox.reopen().build().await.unwrap();
            let before = (blobs(&west).await, blobs(&east).await);
            keys.become_(away);
            let error = other.deployed("1.0.0", "eastus").await.unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (kind, kind == ErrorKind::Unavailable), "{error}");
            let new = other.new_version("1.0.1", "westeurope", raw(disk.clone()));
            assert_eq!(other.session().publish(new).await.unwrap_err().kind(), kind);
            assert_eq!(other.session().rotate_keys().await.unwrap_err().kind(), kind);
            for region in ["westeurope", "eastus"] {
                let scrubbed = other.session().scrub(region).await;
                assert!(scrubbed.is_err() || scrubbed.unwrap().mended == 0);
            }
            // A collection needs no key.
            other.session().collect().await.unwrap();
            let packs = |blobs: &BTreeMap<String, Vec<u8>>| -> Vec<_> {
                blobs.iter().filter(|(name, _)| name.contains("slots/")).map(|(a, b)| (a.clone(), b.clone())).collect()
            };
            assert!(packs(&before.0) == packs(&blobs(&west).await), "nothing is changed in the west");
            assert!(packs(&before.1) == packs(&blobs(&east).await), "nothing is changed in the east");
            keys.become_(Some(LocalKeys::new("one", key(1))));
            comes_back(&other, "1.0.0", "eastus", &disk).await;
        }
    });
}

/// A flipped bit or a cut is damage, and is mended from another replica, also one under another key.
#[test]
fn damage_is_found_and_mended_under_the_key_of_the_region() {
    block_on(async {
        let (keys, west, east) = (Keys::new(), MemoryStore::new(), MemoryStore::new());
        let sandbox = sandbox_of(&keys, west.clone(), east.clone(), Compression::Zstd).await;
        let disk = disk(30, 3);
        publish(&sandbox, "1.0.0", "westeurope,eastus", &disk).await;
        let whole = blobs(&east).await;
        let records: Vec<_> = whole.iter().filter(|(_, blob)| salt_of(blob).is_some()).collect();
        assert!(!records.is_empty());
        for (name, blob) in records {
            let name = name.parse().unwrap();
            let middle = blob.len() / 2;
            for damage in [0, 33, 49, 100, 150, 200, middle, blob.len() - 1] {
                let mut flipped = blob.clone();
                flipped[damage] ^= 0x10;
                east.put(&name, flipped.into(), PutMode::Overwrite).await.unwrap();
                comes_back(&sandbox, "1.0.0", "eastus", &disk).await;
                assert_eq!(sandbox.session().scrub("eastus").await.unwrap().damaged, 0);
                comes_back(&sandbox, "1.0.0", "eastus", &disk).await;
            }
            east.put(&name, blob[..middle].to_vec().into(), PutMode::Overwrite).await.unwrap();
            comes_back(&sandbox, "1.0.0", "eastus", &disk).await;
            assert_eq!(sandbox.session().scrub("eastus").await.unwrap().damaged, 0);
        }
        Salts::default().look_at(&east).await;
        let east_only: Vec<_> = blobs(&east).await.values().filter_map(|blob| salt_of(blob)).collect();
        assert!(east_only.iter().all(|(key, _)| *key == east_only[0].0), "what was mended is under the region's key");
    });
}

#[test]
fn rotation_writes_all_anew_and_the_old_key_can_go() {
    block_on(async {
        let (keys, west, east) = (Keys::new(), MemoryStore::new(), MemoryStore::new());
        let sandbox = sandbox_of(&keys, west.clone(), east.clone(), Compression::Later).await;
        let (first, second) = (disk(60, 4), disk(50, 5));
        publish(&sandbox, "1.0.0", "westeurope=2,eastus", &first).await;
        sandbox.session().compress().await.unwrap();
        publish(&sandbox, "1.0.1", "westeurope,eastus", &second).await;
        assert!(sandbox.session().rotate_keys().await.unwrap().regions.is_empty(), "the key is the current one");
        let of_keys = |blobs: &BTreeMap<String, Vec<u8>>| -> Vec<u32> {
            blobs.values().filter_map(|blob| Some(salt_of(blob)?.0)).collect()
        };
        let (before, size) = (of_keys(&blobs(&west).await), blobs(&west).await.len());
        keys.become_(Some(LocalKeys::new("two", key(2)).with_old("one", key(1))));
        // A budget stops it, and the rest is told.
        let report = sandbox.session().rotate_keys().at_most_bytes(0).await.unwrap();
        assert!(report.regions.iter().all(|region| region.reencrypted_packs == 0 && region.packs_under_old_keys > 0));
        assert_eq!(before, of_keys(&blobs(&west).await));
        let left = sandbox.session().rotate_keys().plan().await.unwrap().collection.unwrap();
        assert!(left.regions.iter().all(|region| region.packs_under_old_keys > 0));
        // From here on the old key is not needed, also for what is not written anew.
        keys.become_(Some(LocalKeys::new("two", key(2))));
        let other = sandbox.reopen().build().await.unwrap();
        comes_back(&other, "1.0.0", "westeurope", &first).await;
        let report = other.session().rotate_keys().await.unwrap();
        assert!(report.regions.iter().all(|region| region.reencrypted_packs > 0 && region.packs_under_old_keys == 0));
        let after = blobs(&west).await;
        assert!(of_keys(&after).iter().all(|key| !before.contains(key)), "{before:?} {:?}", of_keys(&after));
        assert_eq!(size, after.len());
        for (number, disk) in [("1.0.0", &first), ("1.0.1", &second)] {
            for region in ["westeurope", "eastus"] {
                comes_back(&other, number, region, disk).await;
                comes_back(&sandbox, number, region, disk).await;
            }
        }
        assert!(other.session().rotate_keys().await.unwrap().regions.is_empty());
        assert_eq!(other.session().scrub("westeurope").await.unwrap().damaged, 0);
        let mut salts = Salts::default();
        salts.look_at(&west).await;
        salts.look_at(&east).await;
    });
}

/// A lost key and damaged blobs stop nothing else, and the report says what still needs an old key.
#[test]
fn a_rotation_tells_what_it_could_not_read() {
    block_on(async {
        let (keys, west, east) = (Keys::new(), MemoryStore::new(), MemoryStore::new());
        let sandbox = sandbox_of(&keys, west.clone(), east.clone(), Compression::None).await;
        let (first, second) = (disk(40, 4), disk(30, 5));
        publish(&sandbox, "1.0.0", "westeurope", &first).await;
        // The data key of the other region is wrapped by another key of the host.
        keys.become_(Some(LocalKeys::new("two", key(2)).with_old("one", key(1))));
        publish(&sandbox, "1.0.1", "westeurope,eastus", &second).await;
        let three = || LocalKeys::new("three", key(3)).with_old("one", key(1));
        keys.become_(Some(three()));
        let other = sandbox.reopen().build().await.unwrap();
        let rotated = other.session().rotate_keys().await.unwrap();
        let [lost] = rotated.unrotated_keys.as_slice() else { panic!("one key: {rotated:?}") };
        assert_eq!((lost.region.clone(), lost.reason), (Some("eastus".parse().unwrap()), ErrorKind::KeyMissing));
        assert_eq!(lost.key_ids, ["two"]);
        let of = |report: &CollectionReport, region: &str| {
            let region: Region = region.parse().unwrap();
            report.regions.iter().find(|there| there.region == region).cloned()
        };
        let here = of(&rotated, "westeurope").unwrap();
        assert!(here.reencrypted_packs > 0 && here.packs_under_old_keys == 0 && here.unread_replicas.is_empty());
        let there = of(&rotated, "eastus").unwrap();
        assert_eq!(there.reencrypted_packs, 0);
        let [unread] = there.unread_replicas.as_slice() else { panic!("one replica: {there:?}") };
        assert_eq!((unread.replica, unread.zone, unread.reason), (0, 1, ErrorKind::KeyMissing));
        assert!(unread.packs > 0);
        assert!(
            other.session().rotate_keys().plan().await.unwrap().collection.unwrap().regions[0].packs_under_old_keys > 0
        );
        // The key is found, and a pack is damaged.
        keys.become_(Some(three().with_old("two", key(2))));
        let good = blobs(&east).await;
        let (name, pack) = good.iter().find(|(_, blob)| salt_of(blob).is_some()).unwrap();
        for (at, reason) in [(120, ErrorKind::Corrupt), (pack.len() - 1, ErrorKind::Corrupt), (0, ErrorKind::Corrupt)] {
            let mut damaged = pack.clone();
            damaged[at] ^= 1;
            east.put(&name.parse().unwrap(), damaged.into(), PutMode::Overwrite).await.unwrap();
            let rotated = other.session().rotate_keys().await.unwrap();
            assert_eq!(rotated.unrotated_keys, [], "every key is wrapped by the new one");
            let there = of(&rotated, "eastus").unwrap();
            let told: Vec<_> = there.unread_replicas.iter().map(|unread| (unread.reason, unread.packs)).collect();
            assert_eq!(told, [(reason, 1)], "byte {at}");
        }
        assert_eq!(other.session().scrub("eastus").await.unwrap().damaged, 0);
        let rotated = other.session().rotate_keys().await.unwrap();
        assert!(rotated.regions.iter().all(|region| region.unread_replicas.is_empty()), "{rotated:?}");
        keys.become_(Some(LocalKeys::new("three", key(3))));
        let last = sandbox.reopen().build().await.unwrap();
        comes_back(&last, "1.0.0", "westeurope", &first).await;
        comes_back(&last, "1.0.1", "eastus", &second).await;
        assert!(last.session().rotate_keys().await.unwrap().regions.is_empty());
    });
}

#[test]
fn a_damaged_blob_of_a_key_is_told_and_another_wrap_of_it_serves() {
    block_on(async {
        let (keys, west) = (Keys::new(), MemoryStore::new());
        let sandbox = sandbox_of(&keys, west.clone(), MemoryStore::new(), Compression::None).await;
        let disk = disk(30, 6);
        publish(&sandbox, "1.0.0", "westeurope", &disk).await;
        let catalog = sandbox.catalog_store();
        let name = "catalog/keys/0000000001".parse().unwrap();
        let good = catalog.get(&name, None).await.unwrap();
        let damage = async |at: usize| {
            let mut damaged = good.to_vec();
            damaged[at] ^= 1;
            catalog.put(&name, damaged.into(), PutMode::Overwrite).await.unwrap();
        };
        keys.become_(Some(LocalKeys::new("two", key(2)).with_old("one", key(1))));
        damage(80).await;
        let other = sandbox.reopen().build().await.unwrap();
        assert_eq!(other.deployed("1.0.0", "westeurope").await.unwrap_err().kind(), ErrorKind::KeyMissing);
        let rotated = other.session().rotate_keys().await.unwrap();
        let [lost] = rotated.unrotated_keys.as_slice() else { panic!("one key: {rotated:?}") };
        assert_eq!((lost.number, lost.region.clone(), lost.reason), (1, None, ErrorKind::Corrupt));
        assert_eq!(rotated.regions[0].unread_replicas[0].reason, ErrorKind::KeyMissing);
        assert_eq!(other.session().scrub("westeurope").await.unwrap().mended, 0);
        // It is restored from a backup, wrapped anew, and damaged again.
        catalog.put(&name, good.clone(), PutMode::Overwrite).await.unwrap();
        assert_eq!(other.session().rotate_keys().await.unwrap().unrotated_keys, []);
        damage(81).await;
        keys.become_(Some(LocalKeys::new("two", key(2))));
        let last = sandbox.reopen().build().await.unwrap();
        comes_back(&last, "1.0.0", "westeurope", &disk).await;
        assert_eq!(last.session().rotate_keys().await.unwrap().unrotated_keys, []);
    });
}

/// Publishes seven versions of a disk of so many chunks, each with one chunk changed.
async fn chain(sandbox: &Sandbox, chunks: usize) -> Vec<Vec<u8>> {
    let mut disks = vec![disk(chunks, 4)];
    for version in 1..7 {
        let mut next = disks[version - 1].clone();
        next[version * CHUNK..(version + 1) * CHUNK].copy_from_slice(&disk(1, 100 + version as u64));
        disks.push(next);
    }
    for (version, disk) in disks.iter().enumerate() {
        publish(sandbox, &format!("1.0.{version}"), "westeurope", disk).await;
    }
    disks
}

/// A host with a cache before its region: what lies on its disk is encrypted too, and what was compressed, merged and rotated is read as it
/// is now.
#[test]
fn a_cache_keeps_what_is_encrypted_and_serves_nothing_stale() {
    block_on(async {
        let (keys, west, directory) = (Keys::new(), MemoryStore::new(), tempfile::tempdir().unwrap());
        let sandbox = sandbox_of(&keys, west.clone(), MemoryStore::new(), Compression::Later).await;
        let disks = chain(&sandbox, 30).await;
        let cached = Arc::new(CachedStore::open(west.clone(), directory.path(), 1 << 30).unwrap());
        let host = sandbox.reopen().store("westeurope", cached.clone()).build().await.unwrap();
        let all_come_back = async || {
            for _ in 0..2 {
                for (version, disk) in disks.iter().enumerate() {
                    comes_back(&host, &format!("1.0.{version}"), "westeurope", disk).await;
                }
            }
            let plain_name = Digest::of(&disks[0][3 * CHUNK..4 * CHUNK]);
            let mut files = 0;
            for folder in std::fs::read_dir(directory.path()).unwrap() {
                for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                    let path = file.unwrap().path();
                    let bytes = std::fs::read(&path).unwrap();
                    for secret in [MARKER, b"disk of a", &disks[0][3 * CHUNK..3 * CHUNK + 16]] {
                        assert!(bytes.windows(secret.len()).all(|window| window != secret), "{path:?} shows the disk");
                    }
                    assert!(bytes.windows(32).all(|window| window != plain_name.as_bytes()), "{path:?} names a guess");
                    files += 1;
                }
            }
            assert!(files > 0);
            let used = cached.used();
            assert_eq!((used.damaged, used.failed), (0, 0));
        };
        all_come_back().await;
        // Another process, without the cache, writes everything anew while the host goes on.
        sandbox.session().compress().await.unwrap();
        all_come_back().await;
        assert!(sandbox.session().compress().merged_from(2).await.unwrap().regions[0].merged_packs >= 7);
        all_come_back().await;
        keys.become_(Some(LocalKeys::new("two", key(2)).with_old("one", key(1))));
        assert!(sandbox.session().rotate_keys().await.unwrap().regions[0].reencrypted_packs >= 7);
        all_come_back().await;
        // A pack that is mended under its own name, with another key.
        assert_eq!(sandbox.session().scrub("westeurope").await.unwrap().damaged, 0);
        assert!(cached.used().cached_bytes > 0);
        all_come_back().await;
    });
}

/// What is merged is encrypted as it was; a rotation writes each member anew, and no merged blob keeps what is under an old key.
#[test]
fn what_is_merged_stays_encrypted_and_is_rotated() {
    block_on(async {
        let (keys, west) = (Keys::new(), MemoryStore::new());
        let sandbox = sandbox_of(&keys, west.clone(), MemoryStore::new(), Compression::Later).await;
        let disks = chain(&sandbox, 20).await;
        let merged = sandbox.session().compress().merged_from(2).await.unwrap();
        assert!(merged.regions[0].merged_packs >= 7);
        let all_come_back = async |sandbox: &Sandbox| {
            for (version, disk) in disks.iter().enumerate() {
                comes_back(sandbox, &format!("1.0.{version}"), "westeurope", disk).await;
            }
        };
        let merged_blobs = |blobs: BTreeMap<String, Vec<u8>>| -> Vec<String> {
            blobs.into_keys().filter(|name| name.contains("/merged/")).collect()
        };
        all_come_back(&sandbox).await;
        let before = blobs(&west).await;
        assert!(before.values().all(|blob| !blob.windows(MARKER.len()).any(|bytes| bytes == MARKER)));
        let before = merged_blobs(before);
        assert_eq!(before.len(), 1);
        keys.become_(Some(LocalKeys::new("two", key(2)).with_old("one", key(1))));
        assert!(sandbox.session().rotate_keys().await.unwrap().regions[0].reencrypted_packs >= 7);
        assert_eq!(merged_blobs(blobs(&west).await), [""; 0], "nothing is left under the old key");
        keys.become_(Some(LocalKeys::new("two", key(2))));
        let other = sandbox.reopen().build().await.unwrap();
        all_come_back(&other).await;
        other.session().compress().merged_from(2).await.unwrap();
        let after = merged_blobs(blobs(&west).await);
        assert!(after.len() == 1 && after != before);
        all_come_back(&other).await;
        assert!(other.session().rotate_keys().await.unwrap().regions.is_empty());
        assert_eq!(other.session().scrub("westeurope").await.unwrap().damaged, 0);
    });
}

/// Work that is killed at each call of the regions' stores, in turn.
fn killed_anywhere<F>(work: impl Fn(Arc<Sandbox>, Keys) -> F)
where
    F: Future<Output = bool>,
{
    killed_at(|_| false, work);
}

/// As [`killed_anywhere`], and at those calls of the catalog's store.
fn killed_at<F>(of_catalog: fn(&Call) -> bool, work: impl Fn(Arc<Sandbox>, Keys) -> F)
where
    F: Future<Output = bool>,
{
    let (first, second) = (disk(20, 6), disk(20, 7));
    let (mut salts, mut calls_of_all) = (Salts::default(), 0);
    for kill in 0.. {
        let (store, calls, armed) = (MemoryStore::new(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (killed, mut kills) = futures::channel::mpsc::unbounded();
        let hook = {
            let (calls, armed) = (calls.clone(), armed.clone());
            move |counts: bool| {
                let dies = counts && armed.load(Ordering::SeqCst) && calls.fetch_add(1, Ordering::SeqCst) >= kill;
                reaction(dies, killed.clone())
            }
        };
        let ended = block_on(async {
            let (keys, east) = (Keys::new(), MemoryStore::new());
            let hooked = |store: &MemoryStore, counts: fn(&Call) -> bool| {
                let hook = hook.clone();
                HookedStore::new(store.clone(), move |call: Call| hook(counts(&call)))
            };
            let [west, hooked_east] = [&store, &east].map(|store| hooked(store, |_| true));
            let settings = {
                let keys = keys.clone();
                move |builder: compute_gallery::GalleryServiceBuilder| {
                    builder.compression(Compression::Later).encryption(keys.clone())
                }
            };
            let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).store("westeurope", west);
            let sandbox = sandbox.store("eastus", hooked_east).catalog_store(hooked(&MemoryStore::new(), of_catalog));
            let sandbox = Arc::new(sandbox.service(settings).build().await.unwrap());
            publish(&sandbox, "1.0.0", "westeurope,eastus", &first).await;
            publish(&sandbox, "1.0.1", "westeurope", &second).await;
            armed.store(true, Ordering::SeqCst);
            let working = Box::pin(work(sandbox.clone(), keys.clone()));
            let ended = match select(working, kills.next()).await {
                Either::Left((done, _)) => {
                    assert!(done);
                    true
                }
                Either::Right((_, working)) => {
                    drop(working);
                    false
                }
            };
            armed.store(false, Ordering::SeqCst);
            salts.look_at(&store).await;
            salts.look_at(&east).await;
            comes_back(&sandbox, "1.0.1", "westeurope", &second).await;
            // The same work, and other content in its place.
            assert!(work(sandbox.clone(), keys.clone()).await, "killed at {kill}");
            let _ = sandbox.session().publish(sandbox.new_version("1.0.2", "westeurope", raw(first.clone()))).await;
            salts.look_at(&store).await;
            salts.look_at(&east).await;
            comes_back(&sandbox, "1.0.0", "eastus", &first).await;
            comes_back(&sandbox, "1.0.1", "westeurope", &second).await;
            assert_eq!(sandbox.session().scrub("westeurope").await.unwrap().damaged, 0);
            // Salts are of data keys, and those of each round are others.
            salts.0.clear();
            ended
        });
        calls_of_all += 1;
        if ended {
            break;
        }
    }
    assert!(calls_of_all > 10, "{calls_of_all} calls");
}

/// An import is killed, and goes on with another disk under the same name.
#[test]
fn an_import_that_is_killed_uses_no_nonce_twice() {
    let attempts = AtomicU64::new(0);
    killed_anywhere(|sandbox, _| {
        let seed = 20 + attempts.fetch_add(1, Ordering::SeqCst);
        async move {
            let new = sandbox.new_version("1.0.2", "westeurope", raw(disk(20, seed)));
            match sandbox.session().publish(new).await {
                Ok(_) => true,
                // It was committed before it was killed.
                Err(error) => error.kind() == ErrorKind::AlreadyExists,
            }
        }
    });
}

/// At each call of the regions' stores, and at those by which the catalog's keys are read, stored and made durable.
#[test]
fn a_rotation_that_is_killed_goes_on() {
    let of_keys = |call: &Call| call.key.as_ref().is_some_and(|key| key.as_str().starts_with("catalog/keys"));
    killed_at(of_keys, |sandbox, keys| async move {
        keys.become_(Some(LocalKeys::new("two", key(2)).with_old("one", key(1))));
        let done = sandbox.session().rotate_keys().await.is_ok();
        keys.become_(Some(LocalKeys::new("two", key(2))));
        done
    });
}

#[test]
fn a_creation_that_is_killed_goes_on() {
    let mut calls_of_all = 0;
    for kill in 0.. {
        let (store, calls) = (MemoryStore::new(), Arc::new(AtomicU64::new(0)));
        let (killed, mut kills) = futures::channel::mpsc::unbounded();
        let hooked = HookedStore::new(store.clone(), move |_: Call| {
            let dies = calls.fetch_add(1, Ordering::SeqCst) >= kill;
            reaction(dies, killed.clone())
        });
        let builder = |keys: &LocalKeys| {
            let builder = compute_gallery::GalleryService::builder().allow_all();
            builder.encryption(keys.clone())
        };
        let keys = LocalKeys::new("one", key(1));
        let ended = block_on(async {
            let creating = Box::pin(builder(&keys).store(hooked).create());
            let ended = matches!(select(creating, kills.next()).await, Either::Left((Ok(_), _)));
            let created = builder(&keys).store(store.clone()).create().await;
            assert!(created.as_ref().is_ok() || created.is_err_and(|error| error.kind() == ErrorKind::AlreadyExists));
            let reopened = || builder(&keys).store(store.clone()).open();
            let before = blobs(&store).await;
            assert!(before.keys().any(|name| name.starts_with("catalog/keys/")) || reopened().await.is_ok());
            reopened().await.unwrap();
            // The secret of names was made once.
            let keys: Vec<_> = blobs(&store).await.into_keys().filter(|name| name.contains("/keys/")).collect();
            assert_eq!(keys.len(), 1, "killed at {kill}: {keys:?}");
            ended
        });
        calls_of_all += 1;
        if ended {
            break;
        }
    }
    assert!(calls_of_all > 5, "{calls_of_all} calls");
}

#[test]
fn a_replication_that_is_killed_goes_on() {
    killed_anywhere(|sandbox, _| async move {
        let regions: TargetRegions = "westeurope,eastus".parse().unwrap();
        let state = sandbox.session().refresh().await.unwrap();
        let version = state.image_version(sandbox.version("1.0.1")).unwrap();
        let profile = version.publishing_profile().clone().with_target_regions(regions);
        let changed = (*version).clone().with_publishing_profile(profile).unwrap();
        sandbox.session().update_image_version(changed).await.unwrap();
        sandbox.session().replicate(sandbox.version("1.0.1")).await.is_ok()
    });
}

#[test]
fn a_disk_encryption_set_is_refused_where_nothing_is_encrypted() {
    block_on(async {
        let set: DiskEncryptionSetId =
            "/subscriptions/dev/resourceGroups/keys/providers/Microsoft.Compute/diskEncryptionSets/web"
                .parse()
                .unwrap();
        let profile = || {
            let target = TargetRegion::new("westeurope".parse().unwrap());
            let target = target.with_encryption(EncryptionImages::new().with_os_disk(set.clone()));
            PublishingProfile::new(TargetRegions::new(vec![target]).unwrap())
        };
        for encrypted in [false, true] {
            let store = MemoryStore::new();
            let builder = GalleryService::builder().allow_all().store(store.clone());
            let builder = if encrypted { builder.encryption(LocalKeys::new("one", key(1))) } else { builder };
            let service = builder.create().await.unwrap();
            let session = service.session("ci".parse().unwrap());
            let sandbox = Sandbox::new().await.unwrap();
            let image = sandbox.image().clone();
            let view = sandbox.session().view();
            session.create_gallery((*view.gallery(image.gallery()).unwrap()).clone()).await.unwrap();
            session.create_image_definition((*view.image_definition(&image).unwrap()).clone()).await.unwrap();
            let new = compute_gallery::NewImageVersion::new(
                sandbox.version("1.0.0"),
                "westeurope".parse().unwrap(),
                profile(),
                raw(vec![7; 1 << 20]),
            );
            match (encrypted, session.publish(new).await) {
                (true, published) => drop(published.unwrap()),
                (false, Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Invalid);
                    assert!(error.to_string().contains("not encrypted"), "{error}");
                }
                (false, Ok(_)) => panic!("a promise that nothing keeps"),
            }
        }
    });
}

#[test]
fn a_key_that_is_missing_says_which() {
    let error = key_missing("2026-01", "it was destroyed");
    assert!(!error.is_retryable() && error.to_string().contains("2026-01"));
}

/// On files, in a process of its own.
#[test]
fn files_show_nothing_and_are_deployed() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = FsStore::create(directory.path().join("store")).unwrap();
        let keys = Keys::new();
        let sandbox = sandbox_of(&keys, store.clone(), MemoryStore::new(), Compression::Zstd).await;
        // More chunks than the root refers to: with index nodes in a pack.
        let bytes = disk(300, 9);
        publish(&sandbox, "1.0.0", "westeurope", &bytes).await;
        for (name, blob) in blobs(&store).await {
            assert!(blob.windows(MARKER.len()).all(|window| window != MARKER), "{name} shows the disk");
        }
        let target = directory.path().join("disk.raw");
        let region: Region = "westeurope".parse().unwrap();
        for _ in 0..2 {
            let session = sandbox.session();
            session.deploy(sandbox.version("1.0.0"), &region).to_path(&target).await.unwrap();
            assert!(std::fs::read(&target).unwrap() == bytes);
        }
    });
}
