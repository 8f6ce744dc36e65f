//! A cache on a host's disk in front of a bucket: the second deployment asks the bucket for no bytes, whatever happens to the disk the
//! bytes are right, and what is checked is the bucket.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

#[path = "kills/call.rs"]
mod call;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use call::reaction;
use compute_gallery::cache::CachedStore;
use compute_gallery::content::Compression;
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, MemoryStore, PutMode};
use compute_gallery::testkit::{HookedStore, Reaction, Sandbox, noise};
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{Either, select};
use tempfile::TempDir;

const LIMIT: u64 = 1 << 30;

/// 40 MiB, of which 6 are zero: packs of several batches.
fn disk(seed: u64) -> Vec<u8> {
    let mut disk = noise(seed, 34 << 20);
    disk.resize(40 << 20, 0);
    disk
}

/// A bucket that counts the requests for bytes of slots.
#[derive(Clone, Debug)]
struct Bucket {
    store: MemoryStore,
    gets: Arc<AtomicU64>,
}

impl Bucket {
    fn new() -> Self {
        Self { store: MemoryStore::new(), gets: Arc::default() }
    }

    fn watched(&self) -> HookedStore {
        let gets = self.gets.clone();
        HookedStore::new(self.store.clone(), move |call| {
            let is_data = call.operation.starts_with("get")
                && call.key.as_ref().is_some_and(|key| key.as_str().contains("slots/"));
            gets.fetch_add(u64::from(is_data), Ordering::Relaxed);
            async { Reaction::Pass }
        })
    }

    fn gets(&self) -> u64 {
        self.gets.swap(0, Ordering::Relaxed)
    }

    async fn blobs(&self, folder: &str) -> Vec<BlobKey> {
        let all = self.store.list_all(None).await.unwrap();
        all.into_iter().map(|blob| blob.key).filter(|key| key.as_str().contains(&format!("/{folder}/"))).collect()
    }

    async fn flip_a_bit(&self, key: &BlobKey) {
        let length = self.store.get(key, None).await.unwrap().len();
        self.flip_a_bit_at(key, length / 2).await;
    }

    async fn flip_a_bit_at(&self, key: &BlobKey, at: usize) {
        let mut bytes = self.store.get(key, None).await.unwrap().to_vec();
        *bytes.get_mut(at).unwrap() ^= 1;
        self.store.put(key, bytes.into(), PutMode::Overwrite).await.unwrap();
    }

    /// The members of merged blobs: the folder of each one's pack, its merged blob, and the place of its last byte there.
    async fn members(&self) -> Vec<(String, BlobKey, usize)> {
        let (merged, links) = (self.blobs("merged").await, self.blobs("parts").await);
        let member = |link: BlobKey| {
            let segments: Vec<&str> = link.segments().collect();
            let [above @ .., place, _] = segments.as_slice() else { return None };
            let fields: Vec<&str> = place.split('-').collect();
            let [_, number, _, _, offset, length] = fields.as_slice() else { return None };
            let (offset, length): (usize, usize) = (offset.parse().ok()?, length.parse().ok()?);
            let name = format!("/{:020}-", u64::MAX - number.parse::<u64>().ok()?);
            let blob = merged.iter().find(|blob| blob.as_str().contains(&name))?;
            Some((above.join("/"), blob.clone(), offset + length - 1))
        };
        links.into_iter().filter_map(member).collect()
    }
}

/// A gallery with one version, in a bucket.
async fn world(bucket: &Bucket) -> Sandbox {
    let sandbox = Sandbox::builder().one_store(bucket.store.clone()).build().await.unwrap();
    sandbox.publish_to("1.0.0", "westeurope=1", disk(1)).await.unwrap();
    sandbox
}

/// A process of a hypervisor, with a cache in `directory` in front of everything.
async fn hypervisor(sandbox: &Sandbox, bucket: &Bucket, directory: &Path) -> (Sandbox, Arc<CachedStore<HookedStore>>) {
    let cached = Arc::new(CachedStore::open(bucket.watched(), directory, LIMIT).unwrap());
    (sandbox.reopen().catalog_store(cached.clone()).one_store(cached.clone()).build().await.unwrap(), cached)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(directory).unwrap().map(|folder| folder.unwrap().path());
    folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path())).collect()
}

async fn deploys(host: &Sandbox, number: &str, disk: &[u8]) {
    assert!(host.deployed(number, "westeurope").await.unwrap() == disk, "another disk");
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn from_the_second_time_on_a_deployment_asks_the_bucket_for_no_bytes() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let sandbox = world(&bucket).await;
        let (host, cached) = hypervisor(&sandbox, &bucket, directory.path()).await;
        bucket.gets();
        deploys(&host, "1.0.0", &disk(1)).await;
        assert!(bucket.gets() > 4, "the first one comes from the bucket");
        let first = cached.used();
        assert!(first.fetched_bytes < 36 << 20, "little more than the disk's chunks: {first:?}");
        deploys(&host, "1.0.0", &disk(1)).await;
        assert_eq!(bucket.gets(), 0);
        assert!(cached.used().cached_bytes >= first.cached_bytes + (34 << 20));

        // Another process of the same host, and one that reads at random.
        let (other, of_other) = hypervisor(&sandbox, &bucket, directory.path()).await;
        bucket.gets();
        deploys(&other, "1.0.0", &disk(1)).await;
        let reader = other.session().deploy(other.version("1.0.0"), "westeurope").open().await.unwrap();
        assert!(reader.read_at(1_000_001..1_500_000).await.unwrap() == disk(1)[1_000_001..1_500_000]);
        assert_eq!((bucket.gets(), of_other.used().fetched_bytes), (0, 0));
        assert_eq!((of_other.used().damaged, of_other.used().failed), (0, 0));
    });
}

#[test]
fn what_a_kill_or_a_bad_sector_left_on_the_disk_is_fetched_again() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let sandbox = world(&bucket).await;
        let (host, cached) = hypervisor(&sandbox, &bucket, directory.path()).await;
        deploys(&host, "1.0.0", &disk(1)).await;
        let whole: Vec<(PathBuf, Vec<u8>)> =
            files(directory.path()).into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
        assert!(whole.len() >= 3, "packs and a manifest");
        let harms: [fn(&mut Vec<u8>, usize); 4] = [
            |bytes, at| bytes[at] ^= 0x10,
            |bytes, at| bytes.truncate(at),
            |bytes, at| bytes[at..].fill(0),
            |bytes, _| bytes.clear(),
        ];
        for (number, harm) in harms.iter().enumerate() {
            for part in [0, 3, 7] {
                for (file, bytes) in &whole {
                    let mut bytes = bytes.clone();
                    // An entry, or somewhere in the blob.
                    let at = if part == 0 { 40 } else { bytes.len() * part / 8 };
                    harm(&mut bytes, at);
                    fs::write(file, bytes).unwrap();
                }
                deploys(&host, "1.0.0", &disk(1)).await;
                bucket.gets();
                deploys(&host, "1.0.0", &disk(1)).await;
                assert_eq!(bucket.gets(), 0, "harm {number} at {part} eighths is mended by the fetch");
            }
        }
        assert!(cached.used().damaged > 0);
        fs::remove_dir_all(directory.path()).unwrap();
        deploys(&host, "1.0.0", &disk(1)).await;
    });
}

#[test]
fn a_disk_that_cannot_be_written_is_in_nobodys_way() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let sandbox = world(&bucket).await;
        let (host, cached) = hypervisor(&sandbox, &bucket, directory.path()).await;
        // Files where the cache's folders would be.
        for number in 0..256 {
            fs::write(directory.path().join(format!("{number:02x}")), "").unwrap();
        }
        deploys(&host, "1.0.0", &disk(1)).await;
        assert!(cached.used().failed > 0 && cached.used().cached_bytes == 0);
    });
}

#[test]
fn damage_that_the_bucket_served_is_not_served_after_the_bucket_was_mended() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let sandbox = world(&bucket).await;
        let (host, _) = hypervisor(&sandbox, &bucket, directory.path()).await;
        for folder in ["packs", "manifests"] {
            let key = bucket.blobs(folder).await.remove(0);
            let good = bucket.store.get(&key, None).await.unwrap();
            bucket.flip_a_bit(&key).await;
            fs::remove_dir_all(directory.path()).unwrap();
            let error = host.deployed("1.0.0", "westeurope").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{folder}: {error:#}");
            // Another host mends it.
            bucket.store.put(&key, good, PutMode::Overwrite).await.unwrap();
            deploys(&host, "1.0.0", &disk(1)).await;
        }
    });
}

#[test]
fn a_scrub_through_the_cache_checks_the_bucket() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let sandbox = world(&bucket).await;
        let (host, _) = hypervisor(&sandbox, &bucket, directory.path()).await;
        for folder in ["packs", "manifests"] {
            deploys(&host, "1.0.0", &disk(1)).await;
            let key = bucket.blobs(folder).await.remove(0);
            let good = bucket.store.get(&key, None).await.unwrap();
            bucket.flip_a_bit(&key).await;
            let report = host.session().scrub("westeurope").await.unwrap();
            // A manifest that the cache has mends the bucket's.
            assert_eq!(report.damaged + report.mended, 1, "{folder}: {report:?}");
            bucket.store.put(&key, good, PutMode::Overwrite).await.unwrap();
            for part in bucket.blobs("parts").await {
                bucket.store.delete(&part).await.unwrap();
            }
        }
        assert_eq!(host.session().scrub("westeurope").await.unwrap().damaged, 0);
    });
}

/// A gallery of versions that each change a little, in a bucket: their small packs can be merged.
async fn chain(bucket: &Bucket) -> (Sandbox, Vec<Vec<u8>>) {
    let sandbox = Sandbox::builder().one_store(bucket.store.clone());
    let sandbox = sandbox.service(|builder| builder.compression(Compression::Later)).build().await.unwrap();
    let mut disks = vec![noise(1, 9 << 16)];
    for number in 0..9 {
        let mut next = disks.last().unwrap().clone();
        sandbox.publish_to(&format!("1.0.{number}"), "westeurope=1", next.clone()).await.unwrap();
        drop(next.splice(number << 16..(number + 1) << 16, noise(2 + number as u64, 1 << 16)));
        disks.push(next);
    }
    disks.truncate(9);
    (sandbox, disks)
}

#[test]
fn a_scrub_through_the_cache_checks_the_members_of_merged_blobs_in_the_bucket() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let (sandbox, _) = chain(&bucket).await;
        sandbox.session().compress().await.unwrap();
        let (host, _) = hypervisor(&sandbox, &bucket, directory.path()).await;
        // From now on the cache has each of them.
        assert_eq!(host.session().scrub("westeurope").await.unwrap().damaged, 0);
        let (_, merged, last) = bucket.members().await.remove(0);
        bucket.flip_a_bit_at(&merged, last).await;
        let report = host.session().scrub("westeurope").await.unwrap();
        assert_eq!(report.damaged + report.mended, 1, "{report:?}");
    });
}

/// A merge was killed between its links and its condemnation: what was merged is there twice. The member rots in the bucket, and a host that
/// has read it collects.
#[test]
fn a_collection_through_the_cache_relies_on_what_the_bucket_has() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let (sandbox, disks) = chain(&bucket).await;
        let is_merged = AtomicBool::new(false);
        let (killed, mut kills) = futures::channel::mpsc::unbounded();
        let dying = HookedStore::new(bucket.store.clone(), move |call| {
            let is_put_to = |folder| {
                call.operation.starts_with("put") && call.key.as_ref().is_some_and(|key| key.as_str().contains(folder))
            };
            is_merged.fetch_or(is_put_to("/merged/"), Ordering::SeqCst);
            let dies = is_put_to("log/") && is_merged.load(Ordering::SeqCst);
            reaction(dies, killed.clone())
        });
        let merging = sandbox.reopen().catalog_store(dying.clone()).one_store(dying).build().await.unwrap();
        let merging = Box::pin(async { merging.session().compress().await });
        assert!(matches!(select(merging, kills.next()).await, Either::Right(_)));
        let (host, _) = hypervisor(&sandbox, &bucket, directory.path()).await;
        assert_eq!(host.session().scrub("westeurope").await.unwrap().damaged, 0);
        let alone = bucket.blobs("parts").await;
        let is_twice = |folder: &str| {
            let depth = folder.split('/').count() + 1;
            alone.iter().any(|part| part.as_str().starts_with(folder) && part.segments().count() == depth)
        };
        let twice = bucket.members().await.into_iter().find(|(folder, ..)| is_twice(folder));
        let (_, merged, last) = twice.unwrap();
        bucket.flip_a_bit_at(&merged, last).await;
        host.session().collect().await.unwrap();
        let fresh = sandbox.reopen().build().await.unwrap();
        for (number, disk) in disks.iter().enumerate() {
            deploys(&fresh, &format!("1.0.{number}"), disk).await;
        }
    });
}

#[test]
fn a_number_that_is_published_again_is_the_new_disk() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let sandbox = world(&bucket).await;
        let (host, _) = hypervisor(&sandbox, &bucket, directory.path()).await;
        deploys(&host, "1.0.0", &disk(1)).await;
        let session = sandbox.session();
        session.delete(sandbox.version("1.0.0")).await.unwrap();
        session.collect().await.unwrap();
        host.session().refresh().await.unwrap();
        assert_eq!(host.deployed("1.0.0", "westeurope").await.unwrap_err().kind(), ErrorKind::NotFound);
        sandbox.publish_to("1.0.0", "westeurope=1", disk(2)).await.unwrap();
        host.session().refresh().await.unwrap();
        deploys(&host, "1.0.0", &disk(2)).await;
        // The same disk again, in new blobs.
        session.delete(sandbox.version("1.0.0")).await.unwrap();
        session.collect().await.unwrap();
        sandbox.publish_to("1.0.0", "westeurope=1", disk(1)).await.unwrap();
        session.compress().await.unwrap();
        host.session().refresh().await.unwrap();
        deploys(&host, "1.0.0", &disk(1)).await;
    });
}

/// What the catalog says is never of yesterday: it goes through the cache, too.
#[test]
fn the_cache_never_has_what_changes() {
    block_on(async {
        let (bucket, directory) = (Bucket::new(), directory());
        let sandbox = world(&bucket).await;
        let (host, cached) = hypervisor(&sandbox, &bucket, directory.path()).await;
        deploys(&host, "1.0.0", &disk(1)).await;
        let (mut kept, mut asked) = (0, 0);
        for blob in bucket.store.list_all(None).await.unwrap() {
            let before = cached.used();
            for _ in 0..2 {
                assert_eq!(
                    cached.get(&blob.key, None).await.unwrap(),
                    bucket.store.get(&blob.key, None).await.unwrap()
                );
            }
            let is_kept = cached.distrust(&blob.key).await;
            let may_be =
                ["packs", "parts", "manifests"].iter().any(|of| blob.key.as_str().contains(&format!("/{of}/")));
            assert!(may_be || !is_kept && before == cached.used(), "{}", blob.key);
            *if is_kept { &mut kept } else { &mut asked } += 1;
        }
        assert!(kept >= 3 && asked >= 3, "{kept} and {asked}");
        let missing: BlobKey = "log/00000000000000009999".parse().unwrap();
        assert!(cached.get(&missing, None).await.is_err());
        bucket.store.put(&missing, Bytes::from_static(b"x"), PutMode::Create).await.unwrap();
        assert_eq!(cached.get(&missing, None).await.unwrap(), "x");
    });
}
