//! Content that is compressed after it has rested: it takes less, every disk comes back, and nothing that goes on at the same time
//! notices.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

#[path = "kills/call.rs"]
mod call;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use call::reaction;
use compute_gallery::content::Compression;
use compute_gallery::host::Clock;
use compute_gallery::model::{
    Gallery, ImageDefinition, ImageIdentifier, ImageVersion, OsState, OsType, PublishingProfile, Region,
};
use compute_gallery::store::{BlobStore, BlobStoreExt, FsStore, MemoryStore, PutMode, RetryPolicy, StoreErrorKind};
use compute_gallery::testkit::{Call, HookedStore, Reaction, Sandbox, noise, raw};
use compute_gallery::{GalleryService, GalleryServiceBuilder};
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{Either, select};

const CHUNK: usize = 64 << 10;

/// Chunks of text that shrinks to a third or so, each another; one of ten is noise, one of ten is zeros.
fn disk(chunks: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(seed, chunks * CHUNK);
    for (number, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
        match number % 10 {
            3 => {}
            7 => chunk.fill(0),
            _ => chunk.iter_mut().for_each(|byte| *byte = b"the disk of a machine "[usize::from(*byte & 15)]),
        }
    }
    bytes
}

async fn sandbox_of(west: impl BlobStore, compression: Compression) -> Sandbox {
    let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).store("westeurope", west);
    sandbox.service(move |builder| builder.compression(compression)).build().await.unwrap()
}

async fn publish(sandbox: &Sandbox, number: &str, regions: &str, disk: &[u8]) -> u64 {
    let new = sandbox.new_version(number, regions, raw(disk.to_vec()));
    let published = sandbox.session().publish(new).await.unwrap();
    sandbox.session().replicate(sandbox.version(number)).await.unwrap();
    published.import.new_bytes
}

async fn comes_back(sandbox: &Sandbox, number: &str, region: &str, disk: &[u8]) {
    assert!(sandbox.deployed(number, region).await.unwrap() == disk, "{number} deployed in {region}");
    let region: Region = region.parse().unwrap();
    let reader = sandbox.session().deploy(sandbox.version(number), &region).open().await.unwrap();
    // A range is read without its pack: a group at most.
    let read = reader.read_at(5 * CHUNK as u64 + 9..6 * CHUNK as u64 + 100).await.unwrap();
    assert!(read == disk[5 * CHUNK + 9..6 * CHUNK + 100], "{number} read in {region}");
}

async fn stored(store: &impl BlobStore, folder: &str) -> u64 {
    let blobs = store.list_all(Some(&"slots".parse().unwrap())).await.unwrap();
    blobs.iter().filter(|blob| blob.key.as_str().contains(folder)).map(|blob| blob.size).sum()
}

#[test]
fn what_is_stored_plain_is_compressed_when_it_has_rested() {
    block_on(async {
        let (store, first) = (MemoryStore::new(), disk(60, 1));
        let sandbox = sandbox_of(store.clone(), Compression::Later).await;
        publish(&sandbox, "1.0.0", "westeurope=2", &first).await;
        let plain = stored(&store, "/packs/").await;
        assert!(plain >= 2 * 54 * CHUNK as u64, "{plain}");
        comes_back(&sandbox, "1.0.0", "westeurope", &first).await;

        let session = sandbox.session();
        let plan = session.compress().plan().await.unwrap().collection.unwrap();
        // A pack of chunks in each replica; the index is in the manifest.
        assert_eq!(plan.regions.iter().map(|region| region.uncompressed_packs).sum::<usize>(), 2);
        let report = session.compress().await.unwrap();
        assert_eq!((report.regions.len(), report.regions[0].compressed_packs), (1, 2));
        assert_eq!((report.regions[0].bytes, report.regions[0].uncompressed_packs), (plain, 0));
        let after = stored(&store, "/parts/").await;
        assert_eq!((stored(&store, "/packs/").await, after), (0, report.regions[0].rewritten_bytes));
        assert!(after * 100 < plain * 55, "{after} of {plain}");
        comes_back(&sandbox, "1.0.0", "westeurope", &first).await;
        let scrubbed = session.scrub("westeurope").await.unwrap();
        assert_eq!((scrubbed.damaged, scrubbed.mended), (0, 0));
        // Once is enough.
        assert!(session.compress().await.unwrap().regions.is_empty());
        assert!(session.collect().await.unwrap().regions.is_empty());

        // A version that changes a chunk shares the rest, also where it is compressed; another region gets what it needs.
        let mut second = first.clone();
        second[5 * CHUNK + 20] ^= 1;
        let new = publish(&sandbox, "1.0.1", "westeurope=2,eastus", &second).await;
        assert!(new < 2 * CHUNK as u64, "{new}");
        for (number, disk) in [("1.0.0", &first), ("1.0.1", &second)] {
            comes_back(&sandbox, number, "westeurope", disk).await;
        }
        comes_back(&sandbox, "1.0.1", "eastus", &second).await;
        // Less of it is needed: groups are written anew.
        session.delete(sandbox.version("1.0.0")).await.unwrap();
        session.compress().await.unwrap();
        session.collect().await.unwrap();
        comes_back(&sandbox, "1.0.1", "westeurope", &second).await;
        session.delete(sandbox.version("1.0.1")).await.unwrap();
        session.collect().await.unwrap();
        assert_eq!(stored(&store, "").await, 0);
    });
}

#[test]
fn a_collection_compresses_what_was_published_an_hour_ago() {
    block_on(async {
        let (store, disk) = (MemoryStore::new(), disk(30, 2));
        let sandbox = sandbox_of(store.clone(), Compression::Later).await;
        publish(&sandbox, "1.0.0", "westeurope", &disk).await;
        assert!(sandbox.session().collect().await.unwrap().regions.is_empty());
        sandbox.clock().advance(Duration::from_secs(3601));
        let plan = sandbox.session().collect().plan().await.unwrap().collection.unwrap();
        assert_eq!(plan.regions[0].uncompressed_packs, 1);
        assert_eq!(sandbox.session().collect().await.unwrap().regions[0].compressed_packs, 1);
        comes_back(&sandbox, "1.0.0", "westeurope", &disk).await;
        assert_eq!(stored(&store, "/packs/").await, 0);
    });
    // With another setting it compresses nothing by itself.
    block_on(async {
        let store = MemoryStore::new();
        let sandbox = sandbox_of(store.clone(), Compression::None).await;
        publish(&sandbox, "1.0.0", "westeurope", &disk(30, 2)).await;
        sandbox.clock().advance(Duration::from_secs(3601));
        assert!(sandbox.session().collect().await.unwrap().regions.is_empty());
    });
}

#[test]
fn a_budget_is_kept_and_the_rest_goes_on_later() {
    block_on(async {
        let store = MemoryStore::new();
        let sandbox = sandbox_of(store.clone(), Compression::Later).await;
        let disks: Vec<Vec<u8>> = (0..5).map(|seed| disk(20, 10 + seed)).collect();
        for (number, disk) in disks.iter().enumerate() {
            publish(&sandbox, &format!("1.0.{number}"), "westeurope", disk).await;
        }
        let (session, told) = (sandbox.session(), Arc::new(AtomicU64::new(0)));
        let mut runs = 0;
        loop {
            let (budget, told) = (3 << 20, told.clone());
            let compressing = session.compress().at_most_bytes(budget);
            let report = compressing.on_progress(move |progress| told.store(progress.done, Ordering::Relaxed)).await;
            let Some(region) = report.unwrap().regions.first().cloned() else { break };
            assert!(region.compressed_packs > 0);
            runs += 1;
            if region.uncompressed_packs == 0 {
                break;
            }
        }
        assert!(runs > 1 && told.load(Ordering::Relaxed) <= 3 << 20);
        for (number, disk) in disks.iter().enumerate() {
            comes_back(&sandbox, &format!("1.0.{number}"), "westeurope", disk).await;
        }
        assert_eq!(stored(&store, "/packs/").await, 0);
    });
}

/// A reader has found the plain pack; before it reads on, the pack is compressed and removed.
#[test]
fn a_reader_goes_on_in_what_is_compressed() {
    block_on(async {
        let disk = disk(60, 3);
        let sandbox = sandbox_of(MemoryStore::new(), Compression::Later).await;
        publish(&sandbox, "1.0.0", "westeurope", &disk).await;
        let region: Region = "westeurope".parse().unwrap();
        let reader = sandbox.session().deploy(sandbox.version("1.0.0"), region).open().await.unwrap();
        assert!(reader.read_at(0..100).await.unwrap() == disk[..100]);
        sandbox.session().compress().await.unwrap();
        assert!(reader.read_at(0..disk.len() as u64).await.unwrap() == disk);
    });
}

/// Every store call of a compression is the last one before the process is killed, in turn; another one goes on.
#[test]
fn a_compression_that_is_killed_anywhere_loses_nothing() {
    let disk = disk(40, 4);
    let mut survived = 0;
    for kill in 0.. {
        let (store, calls, armed) = (MemoryStore::new(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (killed, mut kills) = futures::channel::mpsc::unbounded();
        let hook = {
            let (calls, armed) = (calls.clone(), armed.clone());
            move |_: Call| {
                let dies = armed.load(Ordering::SeqCst) && calls.fetch_add(1, Ordering::SeqCst) >= kill;
                reaction(dies, killed.clone())
            }
        };
        let ended = block_on(async {
            let sandbox = sandbox_of(HookedStore::new(store.clone(), hook), Compression::Later).await;
            publish(&sandbox, "1.0.0", "westeurope", &disk).await;
            armed.store(true, Ordering::SeqCst);
            let compressing = Box::pin(async { sandbox.session().compress().await });
            let ended = match select(compressing, kills.next()).await {
                Either::Left((done, _)) => done.is_ok(),
                Either::Right((_, compressing)) => {
                    drop(compressing);
                    false
                }
            };
            armed.store(false, Ordering::SeqCst);
            comes_back(&sandbox, "1.0.0", "westeurope", &disk).await;
            sandbox.session().compress().await.unwrap();
            sandbox.session().collect().await.unwrap();
            comes_back(&sandbox, "1.0.0", "westeurope", &disk).await;
            assert_eq!(stored(&store, "/packs/").await, 0, "killed at call {kill}");
            assert_eq!(sandbox.session().scrub("westeurope").await.unwrap().damaged, 0);
            ended
        });
        survived += 1;
        if ended {
            break;
        }
    }
    assert!(survived > 10, "{survived} calls");
}

/// What is compressed is mended like anything else: from another replica, which may have it plain.
#[test]
fn damage_to_what_is_compressed_is_mended() {
    block_on(async {
        let (store, disk) = (MemoryStore::new(), disk(40, 5));
        let sandbox = sandbox_of(store.clone(), Compression::Later).await;
        publish(&sandbox, "1.0.0", "westeurope=2,eastus", &disk).await;
        sandbox.session().compress().await.unwrap();
        let parts = store.list_all(Some(&"slots/0".parse().unwrap())).await.unwrap();
        let part =
            parts.iter().filter(|blob| blob.key.as_str().contains("/parts/")).max_by_key(|blob| blob.size).unwrap();
        // Of the head, of a record, all of it.
        for damage in [140..141, 400..401, 200_000..200_010, 0..part.size as usize] {
            let mut bytes = store.get(&part.key, None).await.unwrap().to_vec();
            bytes[damage].iter_mut().for_each(|byte| *byte ^= 0x55);
            store.put(&part.key, bytes.into(), compute_gallery::store::PutMode::Overwrite).await.unwrap();
            comes_back(&sandbox, "1.0.0", "westeurope", &disk).await;
            let scrubbed = sandbox.session().scrub("westeurope").await.unwrap();
            assert_eq!(scrubbed.damaged, 0);
            assert_eq!(sandbox.session().scrub("westeurope").await.unwrap().damaged, 0);
            comes_back(&sandbox, "1.0.0", "westeurope", &disk).await;
            sandbox.session().collect().await.unwrap();
            comes_back(&sandbox, "1.0.0", "westeurope", &disk).await;
        }
    });
}

/// Over a border with a rate, what is compressed on its way takes the time of what it becomes.
#[test]
fn what_crosses_a_border_is_compressed_on_its_way() {
    let mut seconds = Vec::new();
    for compression in [Compression::None, Compression::Later] {
        block_on(async {
            let disk = disk(300, 6);
            let sandbox = sandbox_of(MemoryStore::new(), compression).await;
            let new = sandbox.new_version("1.0.0", "westeurope,eastus", raw(disk.clone()));
            sandbox.session().publish(new).await.unwrap();
            let session = sandbox.session();
            let began = sandbox.clock().now();
            session.replicate(sandbox.version("1.0.0")).bytes_per_second("eastus", 1 << 20).await.unwrap();
            seconds.push((sandbox.clock().now() - began).num_milliseconds());
            comes_back(&sandbox, "1.0.0", "eastus", &disk).await;
        });
    }
    assert!(seconds[1] * 18 < seconds[0] * 10, "{seconds:?}");
}

/// On a file system, by its own time, right after the publication.
#[test]
fn what_was_published_just_now_is_compressed_by_hand() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = FsStore::create(directory.path().join("store")).unwrap();
        let service = GalleryService::builder().allow_all().store(store.clone());
        let service = service.compression(Compression::Later).create().await.unwrap();
        let session = service.session("ci".parse().unwrap());
        let sandbox = sandbox_of(MemoryStore::new(), Compression::Later).await;
        let (gallery, image) = (sandbox.image().gallery().clone(), sandbox.image().clone());
        let home: Region = "westeurope".parse().unwrap();
        session.create_gallery(Gallery::new(gallery, home.clone())).await.unwrap();
        let identifier = ImageIdentifier::new("Contoso", "Web", "web").unwrap();
        let definition = ImageDefinition::new(image, home, OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(definition).await.unwrap();
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(disk(30, 8)))).await.unwrap();
        assert_eq!(session.compress().await.unwrap().regions[0].compressed_packs, 1);
        assert!(session.compress().await.unwrap().regions.is_empty());
    });
}

/// Azure makes some copies by and by. Until then, and if it gives up, the copy is a blob without bytes, whose name says that it has all of
/// a pack. It counts for nothing.
#[test]
fn a_copy_that_is_not_done_is_no_part() {
    block_on(async {
        let (west, is_slow) = (MemoryStore::new(), Arc::new(AtomicBool::new(false)));
        let (target, slow) = (west.clone(), is_slow.clone());
        let store = HookedStore::new(west.clone(), move |call| {
            let key = call.key.filter(|_| call.operation == "copy" && slow.load(Ordering::Relaxed));
            let target = target.clone();
            async move {
                let Some(key) = key else { return Reaction::Pass };
                target.put(&key, Bytes::new(), PutMode::Overwrite).await.unwrap();
                Reaction::Fail(StoreErrorKind::Unknown)
            }
        });
        let sandbox = Sandbox::builder().regions(["westeurope"]).store("westeurope", store);
        let settings =
            |builder: GalleryServiceBuilder| builder.compression(Compression::Later).retries(RetryPolicy::none());
        let sandbox = sandbox.service(settings).build().await.unwrap();
        let (session, disk) = (sandbox.session(), disk(60, 5));
        publish(&sandbox, "1.0.0", "westeurope", &disk).await;
        session.compress().await.unwrap();
        let there = session.view().image_version(sandbox.version("1.0.0")).unwrap();
        let profile = PublishingProfile::new("westeurope=2".parse().unwrap());
        session
            .update_image_version(ImageVersion::clone(&there).with_publishing_profile(profile).unwrap())
            .await
            .unwrap();
        is_slow.store(true, Ordering::Relaxed);
        session.replicate(sandbox.version("1.0.0")).await.unwrap_err();
        is_slow.store(false, Ordering::Relaxed);
        let empty = async || {
            let blobs = west.list_all(Some(&"slots/1/parts".parse().unwrap())).await.unwrap();
            blobs.iter().filter(|blob| blob.size == 0).count()
        };
        assert!(empty().await > 0, "copies have begun");
        session.replicate(sandbox.version("1.0.0")).await.unwrap();
        assert_eq!(empty().await, 0, "they are made");
        let scrubbed = session.scrub("westeurope").await.unwrap();
        assert_eq!((scrubbed.damaged, scrubbed.mended), (0, 0));
        comes_back(&sandbox, "1.0.0", "westeurope", &disk).await;
    });
}
