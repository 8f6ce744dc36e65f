//! Compression on, off, and changed in between: what is stored, what is shared, and that all of it comes back.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use compute_gallery::content::Compression;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::host::Workers;
use compute_gallery::model::*;
use compute_gallery::store::{BlobStore, BlobStoreExt, MemoryStore};
use compute_gallery::testkit::SeededEntropy;
use compute_gallery::{GalleryService, NewImageVersion, Session};
use futures::executor::block_on;

const CHUNK: usize = 64 << 10;

/// Chunks of text, of noise, of zeros, of text between zeros, and of one byte.
fn disk(chunks: usize, seed: u64) -> Vec<u8> {
    let (mut bytes, mut state) = (vec![0; chunks * CHUNK], seed | 1);
    for (number, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
        let used = match number % 5 {
            0 => chunk,
            1 => chunk,
            2 => continue,
            3 => &mut chunk[8192..20_000],
            _ => {
                chunk.fill(number as u8 / 5 % 3 + 1);
                continue;
            }
        };
        for (at, byte) in used.iter_mut().enumerate() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = if number % 5 == 1 { state as u8 } else { b"compute gallery "[(at + state as usize % 2) % 16] };
        }
    }
    bytes
}

fn image() -> ImageDefinitionId {
    let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
    gallery.parse::<GalleryId>().unwrap().image("web".parse().unwrap())
}

fn home() -> Region {
    "westeurope".parse().unwrap()
}

/// A service on a store that may hold a gallery already.
async fn open(store: &MemoryStore, compression: Compression, workers: Workers) -> Session {
    let builder = GalleryService::builder().allow_all().store(store.clone()).entropy(SeededEntropy::new(1));
    let service = builder.compression(compression).workers(workers).open_or_create().await.unwrap();
    let session = service.session("test".parse().unwrap());
    if session.view().gallery(image().gallery()).is_err() {
        session.create_gallery(Gallery::new(image().gallery().clone(), home())).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let definition = ImageDefinition::new(image(), home(), OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(definition).await.unwrap();
    }
    session
}

fn version(number: &str, source: DiskSource) -> NewImageVersion {
    let profile = PublishingProfile::new("westeurope".parse().unwrap());
    NewImageVersion::new(image().version(number.parse().unwrap()), home(), profile, source)
}

fn raw(bytes: &[u8]) -> DiskSource {
    DiskSource::bytes(bytes.to_vec(), DiskFormat::Raw)
}

/// Deployed and read in place, it is the disk.
async fn comes_back(session: &Session, number: &str, disk: &[u8]) {
    let version = image().version(number.parse().unwrap());
    let (_, deployed) = session.deploy(&version, &home()).to_writer(Vec::new()).await.unwrap();
    assert!(deployed == disk, "{number} deployed");
    let reader = session.deploy(&version, &home()).open().await.unwrap();
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

/// The encodings that the leaves of all indexes name, as `docs/format.md` lays them down.
async fn encodings(store: &MemoryStore) -> BTreeSet<u8> {
    let mut found = BTreeSet::new();
    for pack in packs(store).await.values() {
        let (body, count) = pack[..pack.len() - 4].split_last_chunk::<4>().unwrap();
        let (mut record, table) = (8, body.len() - 36 * u32::from_le_bytes(*count) as usize);
        for line in body[table..].chunks(36) {
            let end = record + u32::from_le_bytes(*line.last_chunk().unwrap()) as usize;
            if let Some([0, 0, low, high, node @ ..]) = body[record..end].strip_prefix(b"cgn1") {
                let packs = usize::from(u16::from_le_bytes([*low, *high]));
                found.extend(node[32 + packs * 20..].chunks(44).map(|child| child[41]));
            }
            record = end;
        }
    }
    found
}

#[test]
fn the_switch_decides_how_chunks_are_stored() {
    block_on(async {
        let disk = disk(100, 3);
        for (compression, expected) in [(Compression::None, [0, 1].as_slice()), (Compression::Zstd, &[0, 2])] {
            let store = MemoryStore::new();
            let session = open(&store, compression, Workers::default()).await;
            let published = session.publish(version("1.0.0", raw(&disk))).await.unwrap();
            assert!(encodings(&store).await.iter().eq(expected), "{compression:?}");
            comes_back(&session, "1.0.0", &disk).await;
            // The chunks of one byte are of three kinds; each is stored once, however many workers met it at once.
            assert_eq!(published.import.new_chunks, 20 + 20 + 20 + 3, "{compression:?}");
        }
    });
}

#[test]
fn versions_share_chunks_whichever_way_they_were_stored() {
    for (first, second) in [(Compression::Zstd, Compression::None), (Compression::None, Compression::Zstd)] {
        block_on(async {
            let (store, mut disk) = (MemoryStore::new(), disk(100, 3));
            let session = open(&store, first, Workers::default()).await;
            session.publish(version("1.0.0", raw(&disk))).await.unwrap();
            let before = disk.clone();
            disk[5 * CHUNK..5 * CHUNK + 3].copy_from_slice(b"new");
            // It has moved, too.
            disk.extend_from_within(..10 * CHUNK);
            let session = open(&store, second, Workers::default()).await;
            let published = session.publish(version("1.0.1", raw(&disk))).await.unwrap();
            assert_eq!(published.import.new_chunks, 1, "{first:?} then {second:?}");
            assert!(encodings(&store).await.contains(&2));
            comes_back(&session, "1.0.0", &before).await;
            comes_back(&session, "1.0.1", &disk).await;
            assert_eq!(session.scrub(&home()).await.unwrap().damaged, 0);
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
            let session = open(&store, Compression::Zstd, workers).await;
            session.publish(version("1.0.0", raw(&disk))).await.unwrap();
            all.push(packs(&store).await);
        }
        assert!(all.windows(2).all(|two| two[0] == two[1]));
    });
}

/// A disk that is not read past a place before a gate is opened.
struct Gated {
    disk: Cursor<Vec<u8>>,
    gate_at: u64,
    gate: std::sync::mpsc::Receiver<()>,
}

impl Read for Gated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // Its last sector is looked at when it is opened.
        if self.disk.position() >= self.gate_at && buffer.len() > 512 {
            let _ = self.gate.recv();
        }
        self.disk.read(buffer)
    }
}

impl Seek for Gated {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.disk.seek(to)
    }
}

#[test]
fn an_import_is_taken_up_again_after_the_switch_was_changed() {
    for (first, second) in [
        (Compression::Zstd, Compression::Zstd),
        (Compression::Zstd, Compression::None),
        (Compression::None, Compression::Zstd),
    ] {
        block_on(async {
            // A fifth of it is noise: of 150 MiB, two packs of 16 MiB are full at the least.
            let (store, disk) = (MemoryStore::new(), disk(2400, 5));
            let session = open(&store, first, Workers::default()).await;
            let seen = Arc::new(AtomicU64::new(0));
            let (open_gate, gate) = std::sync::mpsc::channel();
            let gated = Gated { disk: Cursor::new(disk.clone()), gate_at: 130 << 20, gate };
            let publishing =
                session.publish(version("1.0.0", DiskSource::reader(gated, DiskFormat::Raw))).on_progress({
                    let seen = seen.clone();
                    move |progress| seen.store(progress.done, Ordering::SeqCst)
                });
            let mut publishing = Box::pin(publishing.into_future());
            std::future::poll_fn(|context| {
                assert!(publishing.as_mut().poll(context).is_pending(), "it went through the gate");
                if seen.load(Ordering::SeqCst) > 110 << 20 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            drop(publishing);
            drop(open_gate);
            let begun = packs(&store).await;
            assert!(!begun.is_empty());
            let session = open(&store, second, Workers::default()).await;
            let again = session.publish(version("1.0.0", raw(&disk))).await.unwrap();
            comes_back(&session, "1.0.0", &disk).await;
            let resent = again.import.sent_bytes == again.content.stored_bytes;
            assert_eq!(resent, first != second, "{first:?} then {second:?}: {:?}", again.import);
            session.collect().await.unwrap();
            let left: u64 = packs(&store).await.values().map(|pack| pack.len() as u64).sum();
            assert!(left <= again.content.stored_bytes, "nothing of the first attempt stays");
        });
    }
}
