//! A thousand versions of one disk, each with 1 MiB changed: what the next version costs, and what deletion gives back.
//!
//! `cargo bench --bench versions` (`-- COUNT` for another number). The disk has 256 MiB of data that can't be compressed; each
//! version overwrites one MiB of it, every second one the same as the version before, at places that a seed chooses. So an odd
//! version's MiB is its own. The packs are in a file store beside the build that does not sync, the catalog in memory: what is
//! measured is the work that grows with the versions, if any does, and not the disk.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first thing that is wrong")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::{Durability, FsStore, MemoryStore};
use compute_gallery::*;
use futures::executor::block_on;

const MIB: usize = 1 << 20;
const DISK_MIB: u64 = 256;

fn noise(state: &mut u64) -> Vec<u8> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()
    };
    (0..MIB / 8).flat_map(|_| next()).collect()
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// The bytes of all files below a directory.
fn bytes_below(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        bytes += if meta.is_dir() { bytes_below(&entry.path()) } else { meta.len() };
    }
    bytes
}

/// What one version took.
#[derive(Default)]
struct Row {
    publish: Duration,
    update: Duration,
    index_bytes: u64,
    stored_bytes: u64,
}

fn main() {
    // Built by `cargo test --benches`, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let count: usize = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1000);
    block_on(run(count));
}

async fn run(count: usize) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (regions, path) = (root.path().join("regions"), root.path().join("disk.raw"));
    let builder = GalleryService::builder().allow_all();
    let packs = FsStore::open_or_create_with(&regions, Durability::LostOnPowerCut).unwrap();
    let service = builder.catalog_store(MemoryStore::new()).store(packs).open_or_create().await.unwrap();
    let session = service.session("bench".parse().unwrap());
    let home: Region = "westeurope".parse().unwrap();
    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/bench".parse().unwrap();
    let image = gallery.image("disk".parse().unwrap());
    session.create_gallery(Gallery::new(gallery.clone(), home.clone())).await.unwrap();
    let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
    let definition = ImageDefinition::new(image.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await.unwrap();

    let mut state = 0x9e37_79b9_7f4a_7c15;
    let disk = File::create(&path).unwrap();
    for at in 0..DISK_MIB {
        disk.write_all_at(&noise(&mut state), at * MIB as u64).unwrap();
    }
    let version = |number: usize| image.version(format!("1.0.{number}").parse().unwrap());
    let mut rows = Vec::with_capacity(count);
    let (mut before, mut place) = (0, 0);
    for number in 0..count {
        let bytes = noise(&mut state);
        place = if number % 2 == 1 { state % DISK_MIB } else { place };
        disk.write_all_at(&bytes, place * MIB as u64).unwrap();
        let source = DiskSource::path(&path, DiskFormat::Raw);
        let profile = PublishingProfile::new("westeurope=1".parse().unwrap());
        let began = Instant::now();
        let new = NewImageVersion::new(version(number), home.clone(), profile, source);
        let published = session.publish(new).await.unwrap();
        let publish = began.elapsed();
        let tags = Tags::new(BTreeMap::from([("number".into(), number.to_string())])).unwrap();
        let updated = published.resource.with_tags(tags);
        let began = Instant::now();
        session.update_image_version(updated).await.unwrap();
        let update = began.elapsed();
        let stored = bytes_below(&regions);
        rows.push(Row {
            publish,
            update,
            index_bytes: published.import.new_index_bytes,
            stored_bytes: stored - before,
        });
        before = stored;
    }
    println!("| version | publish | index | stored | one change of the catalog |");
    println!("|---|---|---|---|---|");
    for number in [10, 50, 100, 200, 500, 1000].into_iter().filter(|number| *number <= count) {
        let around = rows.get(number - 9..number.min(rows.len())).unwrap();
        let of = |what: fn(&Row) -> Duration| 1000.0 * median(&around.iter().map(what).collect::<Vec<_>>());
        let mean = |what: fn(&Row) -> u64| around.iter().map(what).sum::<u64>() as f64 / around.len() as f64 / 1024.0;
        println!(
            "| {number} | {:.0} ms | {:.1} KiB | {:.0} KiB | {:.3} ms |",
            of(|row| row.publish),
            mean(|row| row.index_bytes),
            mean(|row| row.stored_bytes),
            of(|row| row.update),
        );
    }
    let all = bytes_below(&regions);
    for number in (1..count).step_by(2) {
        session.delete(version(number)).await.unwrap();
    }
    let began = Instant::now();
    let freed = session.collect().await.unwrap();
    let took = began.elapsed();
    let left = bytes_below(&regions);
    let rewritten: usize = freed.regions.iter().map(|region| region.rewritten_packs).sum();
    println!();
    println!(
        "all {:.1} MiB; after the odd ones are deleted and collected {:.1} MiB, in {:.1} s; {rewritten} packs rewritten",
        all as f64 / MIB as f64,
        left as f64 / MIB as f64,
        took.as_secs_f64(),
    );
    assert_eq!(all - left, freed.bytes());
    let last = (count - 1) & !1;
    let deployed = session.deploy(version(last), &home).to_writer(Cursor::new(Vec::new())).await.unwrap().0;
    println!("1.0.{last} still deploys: {}", deployed.digest);
}
