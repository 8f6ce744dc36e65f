//! The latency of a bucket: a publish and a deployment on stores that are 30 ms away, beside the same in memory.
//!
//! `cargo bench --bench latency` (`-- ROUNDS`): a disk of 4 GiB with 600 MiB of data that no tool can make smaller. The stores take
//! 30 ms a request and move 80 MiB/s in each of 64 streams. The goal: at most 1.3 times the larger of the round trips with the bytes
//! at the line's rate, and the same job in memory in the same round.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::host::{Clock, SystemClock};
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::{GalleryService, NewImageVersion};
use futures::executor::block_on;

const ROUND_TRIP: Duration = Duration::from_millis(30);
const STREAMS: usize = 64;
/// Bytes per second of a stream.
const RATE: f64 = (80 << 20) as f64;
/// MiB of data of the disk.
const DATA: u64 = 600;

/// An operation and its round trips that have to wait for one another, by the design.
const OPERATIONS: [(&str, u32); 2] = [("publish", 4), ("deploy", 5)];

/// The streams to a service: when each is free.
#[derive(Clone, Debug)]
struct Line(Arc<Mutex<[Instant; STREAMS]>>);

impl Line {
    fn new() -> Self {
        Self(Arc::new(Mutex::new([Instant::now(); STREAMS])))
    }

    /// Takes the stream that is free first, for a request that moves `bytes`.
    async fn cross(&self, bytes: usize) {
        let end = {
            let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(free) = streams.iter_mut().min() else { return };
            *free = (*free).max(Instant::now()) + ROUND_TRIP + Duration::from_secs_f64(bytes as f64 / RATE);
            *free
        };
        SystemClock.sleep(end.saturating_duration_since(Instant::now())).await;
    }
}

/// A bucket that is far away.
#[derive(Debug)]
struct FarStore {
    inner: MemoryStore,
    line: Line,
}

#[async_trait]
impl BlobStore for FarStore {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.line.cross(bytes.len()).await;
        self.inner.put(key, bytes, mode).await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        self.line.cross(parts.iter().map(Bytes::len).sum()).await;
        self.inner.put_parts(key, parts, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let bytes = self.inner.get(key, range).await;
        self.line.cross(bytes.as_ref().map_or(0, Bytes::len)).await;
        bytes
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.line.cross(0).await;
        self.inner.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.line.cross(0).await;
        self.inner.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.line.cross(0).await;
        self.inner.list(under, after, limit).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.line.cross(0).await;
        self.inner.copy(from, to, mode).await
    }

    async fn persist(&self, _: &BlobKey) -> StoreResult<()> {
        Ok(())
    }

    /// As a bucket of S3, and that it has so many streams.
    fn capabilities(&self) -> Capabilities {
        let bucket = Capabilities::default().with_remounts(false).with_free_persist(true).with_copies_inside(true);
        bucket.with_parallel_requests(STREAMS)
    }
}

/// A sparse disk of 4 GiB with data in each 4 MiB of its first part.
fn make_disk(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.set_len(4 << 30)?;
    let (mut state, mut block) = (0x2545_f491_4f6c_dd1d_u64, vec![0_u8; 1 << 20]);
    for number in 0..DATA {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.seek(SeekFrom::Start(number * (4 << 20)))?;
        file.write_all(&block)?;
    }
    Ok(())
}

/// Returns the seconds of a publish and of a deployment in a new gallery.
async fn job<S: BlobStore + 'static>(
    store: impl Fn() -> S,
    disk: &Path,
    out: &Path,
) -> Result<[f64; 2], Box<dyn Error>> {
    let home: Region = "westeurope".parse()?;
    let builder = GalleryService::builder().allow_all().catalog_store(store());
    let session = builder.region_store(home.clone(), store()).create().await?.session("bench".parse()?);
    let id: GalleryId = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g".parse()?;
    session.create_gallery(Gallery::new(id.clone(), home.clone())).await?;
    let image = id.image("web".parse()?);
    let identifier = ImageIdentifier::new("a", "b", "c")?;
    let (os, state) = (OsType::Linux, OsState::Generalized);
    session.create_image_definition(ImageDefinition::new(image.clone(), home.clone(), os, state, identifier)).await?;
    let new = |number: &str, disk| {
        let version = image.version(number.parse()?);
        let profile = PublishingProfile::new("westeurope".parse()?);
        Ok::<_, compute_gallery::Error>(NewImageVersion::new(version, home.clone(), profile, disk))
    };
    // The first version of a region claims its store: some round trips more, once. It has nothing in common with the other.
    session.publish(new("2.0.0", DiskSource::bytes(vec![7; 4096], DiskFormat::Raw))?).await?;
    let started = Instant::now();
    session.publish(new("1.0.0", DiskSource::path(disk, DiskFormat::Raw))?).await?;
    let published = started.elapsed().as_secs_f64();
    let started = Instant::now();
    session.deploy(image.version("1.0.0".parse()?), "westeurope").sync(false).to_path(out).await?;
    let deployed = started.elapsed().as_secs_f64();
    std::fs::remove_file(out)?;
    Ok([published, deployed])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Box<dyn Error>> {
    // Built by `cargo test --benches`, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let rounds = std::env::args().find_map(|argument| argument.parse::<usize>().ok()).unwrap_or(5);
    let directory = tempfile::tempdir()?;
    let (disk, out) = (directory.path().join("disk"), directory.path().join("out"));
    make_disk(&disk)?;
    let mut told = Vec::new();
    for _ in 0..rounds {
        let inside = block_on(job(MemoryStore::new, &disk, &out))?;
        let line = Line::new();
        let far = || FarStore { inner: MemoryStore::new(), line: line.clone() };
        told.push((inside, block_on(job(far, &disk, &out))?));
    }
    println!("{:>8} {:>10} {:>10} {:>10} {:>8}", "", "far, s", "memory, s", "line, s", "ratio");
    for (at, (name, trips)) in OPERATIONS.into_iter().enumerate() {
        let of = |times: &[f64; 2]| times.get(at).copied().unwrap_or(f64::NAN);
        let line = f64::from(trips) * ROUND_TRIP.as_secs_f64() + (DATA << 20) as f64 / (STREAMS as f64 * RATE);
        let ratios = told.iter().map(|(inside, far)| of(far) / of(inside).max(line)).collect();
        let inside = median(told.iter().map(|(inside, _)| of(inside)).collect());
        let far = median(told.iter().map(|(_, far)| of(far)).collect());
        println!("{name:>8} {far:>10.2} {inside:>10.2} {line:>10.2} {:>8.2}", median(ratios));
    }
    Ok(())
}
