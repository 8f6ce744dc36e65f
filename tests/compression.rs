//! Compression on, off, and changed in between: the form and sharing of stored chunks, and that every disk comes back.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use compute_gallery::Published;
use compute_gallery::content::Compression;
use compute_gallery::host::Workers;
use compute_gallery::model::{ImageVersion, Region};
use compute_gallery::store::{BlobStore, BlobStoreExt, MemoryStore};
use compute_gallery::testkit::{HookedStore, Reaction, Sandbox, SandboxBuilder, noise, raw};
use futures::FutureExt;
use futures::executor::block_on;

const CHUNK: usize = 64 << 10;

/// Chunks of text, of noise, of zeros, of text between zeros, and of one byte.
fn disk(chunks: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(seed, chunks * CHUNK);
    for (number, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
        let text = match number % 5 {
            0 => 0..CHUNK,
            1 => continue,
            2 => 0..0,
            3 => 8192..20_000,
            _ => {
                chunk.fill(number as u8 / 5 % 3 + 1);
                continue;
            }
        };
        chunk[..text.start].fill(0);
        chunk[text.end..].fill(0);
        for (at, byte) in chunk[text].iter_mut().enumerate() {
            *byte = b"compute gallery "[(at + usize::from(*byte % 2)) % 16];
        }
    }
    bytes
}

fn home() -> Region {
    "westeurope".parse().unwrap()
}

/// A gallery in `store` that works on `workers`.
fn settings(store: &MemoryStore, workers: Workers) -> SandboxBuilder {
    let sandbox = Sandbox::builder().regions(["westeurope"]).store("westeurope", store.clone());
    sandbox.service(move |builder| builder.workers(workers.clone()))
}

fn compressed(settings: SandboxBuilder, compression: Compression) -> Sandbox {
    block_on(settings.service(move |builder| builder.compression(compression)).build()).unwrap()
}

async fn publish(sandbox: &Sandbox, number: &str, disk: &[u8]) -> Published<ImageVersion> {
    sandbox.session().publish(sandbox.new_version(number, "westeurope", raw(disk.to_vec()))).await.unwrap()
}

/// Deployed and read in place, it is the disk.
async fn comes_back(sandbox: &Sandbox, number: &str, disk: &[u8]) {
    assert!(sandbox.deployed(number, "westeurope").await.unwrap() == disk, "{number} deployed");
    let reader = sandbox.session().deploy(sandbox.version(number), home()).open().await.unwrap();
    let part = 3 * CHUNK - 100..disk.len() - 77;
    let read = reader.read_at(part.start as u64..part.end as u64).await.unwrap();
    assert!(read == disk[part], "{number} read");
}

async fn packs(store: &MemoryStore) -> BTreeMap<String, Bytes> {
    let mut packs = BTreeMap::new();
    for blob in store.list_all(None).await.unwrap() {
        if blob.key.as_str().contains("/packs/") {
            packs.insert(blob.key.to_string(), store.get(&blob.key, None).await.unwrap());
        }
    }
    packs
}

/// The encodings of all chunks, in the heads of the packs as `docs/format.md` lays them down.
async fn encodings(store: &MemoryStore) -> BTreeSet<u8> {
    let mut found = BTreeSet::new();
    let field = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    for pack in packs(store).await.values() {
        let lines = pack[128 + 52..].chunks(80).take(field(pack, 56));
        let chunks = lines.filter(|line| !pack[field(line, 64)..].starts_with(b"cgn2"));
        found.extend(chunks.map(|line| line[76]));
    }
    found
}

#[test]
fn the_switch_decides_how_chunks_are_stored() {
    let disk = disk(100, 3);
    for (compression, expected) in [(Compression::None, [0, 1].as_slice()), (Compression::Zstd, &[0, 2])] {
        let store = MemoryStore::new();
        let sandbox = compressed(settings(&store, Workers::default()), compression);
        block_on(async {
            let published = publish(&sandbox, "1.0.0", &disk).await;
            assert!(encodings(&store).await.iter().eq(expected), "{compression:?}");
            comes_back(&sandbox, "1.0.0", &disk).await;
            // The chunks of one byte are of three kinds; each is stored once, however many workers met it at once.
            assert_eq!(published.import.new_chunks, 20 + 20 + 20 + 3, "{compression:?}");
        });
    }
}

#[test]
fn versions_share_chunks_whichever_way_they_were_stored() {
    for (first, second) in [(Compression::Zstd, Compression::None), (Compression::None, Compression::Zstd)] {
        let (store, mut disk) = (MemoryStore::new(), disk(100, 3));
        let sandbox = compressed(settings(&store, Workers::default()), first);
        let reopened = compressed(sandbox.reopen(), second);
        block_on(async {
            publish(&sandbox, "1.0.0", &disk).await;
            let before = disk.clone();
            disk[5 * CHUNK..5 * CHUNK + 3].copy_from_slice(b"new");
            // It has moved, too.
            disk.extend_from_within(..10 * CHUNK);
            let published = publish(&reopened, "1.0.1", &disk).await;
            assert_eq!(published.import.new_chunks, 1, "{first:?} then {second:?}");
            assert!(encodings(&store).await.contains(&2));
            comes_back(&reopened, "1.0.0", &before).await;
            comes_back(&reopened, "1.0.1", &disk).await;
            assert_eq!(reopened.session().scrub(home()).await.unwrap().damaged, 0);
        });
    }
}

/// An attempt after a crash compares its packs with those that are there: they must not depend on who was faster.
#[test]
fn the_same_disk_gives_the_same_packs() {
    block_on(async {
        let (disk, mut all) = (disk(700, 9), Vec::new());
        for workers in [Workers::inline(), Workers::threads(NonZeroUsize::new(7).unwrap()), Workers::default()] {
            let store = MemoryStore::new();
            publish(&settings(&store, workers).build().await.unwrap(), "1.0.0", &disk).await;
            all.push(packs(&store).await);
        }
        assert!(all.windows(2).all(|two| two[0] == two[1]));
    });
}

#[test]
fn an_import_is_taken_up_again_after_the_switch_was_changed() {
    for (first, second) in [
        (Compression::Zstd, Compression::Zstd),
        (Compression::Zstd, Compression::None),
        (Compression::None, Compression::Zstd),
    ] {
        // A fifth of it is noise: of 150 MiB, two packs of 16 MiB are full at the least.
        let (store, disk) = (MemoryStore::new(), disk(2400, 5));
        let packs_put = Arc::new(AtomicUsize::new(0));
        let hanging = HookedStore::new(store.clone(), {
            let packs_put = packs_put.clone();
            move |call| {
                let is_pack =
                    call.operation == "put_parts" && call.key.is_some_and(|key| key.as_str().contains("/packs/"));
                let hangs = is_pack && packs_put.fetch_add(1, Ordering::SeqCst) > 0;
                async move { if hangs { std::future::pending().await } else { Reaction::Pass } }
            }
        });
        let sandbox = compressed(settings(&store, Workers::default()).store("westeurope", hanging), first);
        let reopened = compressed(sandbox.reopen().store("westeurope", store.clone()), second);
        block_on(async {
            let new = sandbox.new_version("1.0.0", "westeurope", raw(disk.clone()));
            let mut publishing = sandbox.session().publish(new);
            // The second pack never arrives, and the process is gone.
            std::future::poll_fn(|context| {
                assert!(publishing.poll_unpin(context).is_pending(), "it did not hang");
                if packs_put.load(Ordering::SeqCst) > 1 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            drop(publishing);
            let begun = packs(&store).await;
            assert!(!begun.is_empty());
            let again = publish(&reopened, "1.0.0", &disk).await;
            comes_back(&reopened, "1.0.0", &disk).await;
            let resent = again.import.sent_bytes == again.content.stored_bytes;
            assert_eq!(resent, first != second, "{first:?} then {second:?}: {:?}", again.import);
            reopened.session().collect().await.unwrap();
            let left: u64 = packs(&store).await.values().map(|pack| pack.len() as u64).sum();
            assert!(left <= again.content.stored_bytes, "nothing of the first attempt stays");
        });
    }
}
