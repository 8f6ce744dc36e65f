//! A hundred imports at once: what the service keeps in memory, and in flight.
//!
//! `cargo bench --bench imports` (`-- COUNT MIB` for other numbers). Each import publishes a disk of 64 MiB of noise of its own, made as
//! it is read, into a store that hashes packs and discards them; the catalog is in memory.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first thing that is wrong")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::{
    BlobKey, BlobMeta, BlobStore, Bytes, MemoryStore, Page, PutMode, StoreResult, async_trait,
};
use compute_gallery::*;
use futures::executor::block_on;
use futures::future::join_all;

const MIB: u64 = 1 << 20;

/// A disk of noise that is made as it is read.
struct Noise {
    seed: u64,
    size: u64,
    at: u64,
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min((self.size - self.at) as usize);
        for byte in buffer.iter_mut().take(length) {
            let word = (self.at / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.seed;
            let mixed = (word ^ (word >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = ((mixed ^ (mixed >> 29)) >> (8 * (self.at % 8))) as u8;
            self.at += 1;
        }
        Ok(length)
    }
}

impl Seek for Noise {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(by) => self.size.saturating_add_signed(by),
        };
        Ok(self.at)
    }
}

/// A store that hashes packs and discards them.
#[derive(Debug, Default)]
struct Discarding {
    rest: MemoryStore,
    hash: AtomicU64,
}

#[async_trait]
impl BlobStore for Discarding {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        if !key.as_str().contains("/packs/") {
            return self.rest.put(key, bytes, mode).await;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        self.hash.fetch_xor(hasher.finish(), Ordering::Relaxed);
        Ok(())
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.rest.get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.rest.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.rest.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.rest.list(under, after, limit).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.rest.copy(from, to, mode).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.rest.persist(under).await
    }
}

/// The most memory that the process had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<u64>().ok());
    let (count, mib) = (numbers.next().unwrap_or(100), numbers.next().unwrap_or(64));
    block_on(async {
        let service = GalleryService::builder()
            .catalog_store(MemoryStore::new())
            .region_store("westeurope".parse::<Region>().unwrap(), Discarding::default())
            .allow_all()
            .create()
            .await
            .unwrap();
        let session = service.session("bench".parse().unwrap());
        let home: Region = "westeurope".parse().unwrap();
        let id: GalleryId =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g".parse().unwrap();
        session.create_gallery(Gallery::new(id.clone(), home.clone())).await.unwrap();
        // Each version is of a definition of its own, so that none is compared with another.
        let mut publishing = Vec::new();
        for number in 0..count {
            let image = id.image(format!("web{number}").parse().unwrap());
            let identifier = ImageIdentifier::new("a", "b", format!("c{number}").as_str()).unwrap();
            let definition =
                ImageDefinition::new(image.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
            session.create_image_definition(definition).await.unwrap();
            let disk = DiskSource::reader(Noise { seed: number << 40, size: mib * MIB, at: 0 }, DiskFormat::Raw);
            let profile = PublishingProfile::new("westeurope".parse().unwrap());
            publishing.push(session.publish(NewImageVersion::new(
                image.version("1.0.0".parse().unwrap()),
                home.clone(),
                profile,
                disk,
            )));
        }
        let (before, began) = (peak(), Instant::now());
        for published in join_all(publishing).await {
            published.unwrap();
        }
        println!(
            "{count} imports of {mib} MiB at once: {:.1} s, {} MiB resident at most ({before} before)",
            began.elapsed().as_secs_f64(),
            peak()
        );
    });
}
