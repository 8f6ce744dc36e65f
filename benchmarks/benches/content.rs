//! Import, re-import and deploy beside `cp --sparse=always`, on the same disk, in the same run, in turns.
//!
//! `cargo bench --bench content -- DISK.raw... [--rounds N] [--scratch DIRECTORY]`: prints medians and their ratios to
//! `cp`, for the first disk and for the last, with compression and without. The page cache is warm; every round begins
//! with a new store and new files, and every step from the same state of the system. An import into a store as it is by
//! default ends when all is on the disk, as `cp` with a `sync` of its file does; one into a store that may lose what it
//! has on a power cut leaves that to the system, as `cp` alone does. Then it publishes all disks in turn into one store,
//! and prints what that takes.
//! With `--features encryption` it adds the same steps on encrypted content.
//! Without a disk it prints how to call it (and is built, so that it can't rot).
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use compute_gallery::content::Compression;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, OsState, OsType, PublishingProfile, Region,
};
use compute_gallery::store::{Durability, FsStore};
use compute_gallery::{GalleryService, GalleryServiceBuilder, NewImageVersion, Session};
#[cfg(feature = "encryption")]
use compute_gallery::{host::Secret, keys::LocalKeys};
use futures::executor::block_on;

const GALLERY: &str = "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/galleries/Bench";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut disks, mut rounds, mut scratch) = (Vec::new(), 7, None);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().ok_or("--rounds needs a number")?.parse()?,
            "--scratch" => scratch = arguments.next().map(PathBuf::from),
            _ => disks.push(PathBuf::from(argument)),
        }
    }
    let (Some(first), Some(last)) = (disks.first(), disks.last()) else {
        println!("usage: cargo bench --bench content -- DISK.raw... [--rounds N] [--scratch DIRECTORY]");
        return Ok(());
    };
    let place = scratch.unwrap_or_else(|| first.with_file_name("bench-scratch"));
    for disk in [first].into_iter().chain((disks.len() > 1).then_some(last)) {
        beside_cp(disk, &place, rounds)?;
    }
    for kept in KEPT {
        block_on(slot_bytes(&disks, &place, *kept))?;
    }
    Ok(())
}

/// How content is stored.
#[derive(Clone, Copy)]
struct Kept {
    name: &'static str,
    compression: Compression,
    #[cfg(feature = "encryption")]
    is_encrypted: bool,
}

impl Kept {
    const fn plain(name: &'static str, compression: Compression) -> Self {
        Self {
            name,
            compression,
            #[cfg(feature = "encryption")]
            is_encrypted: false,
        }
    }

    fn builder(self) -> GalleryServiceBuilder {
        let builder = GalleryService::builder().allow_all().compression(self.compression);
        #[cfg(feature = "encryption")]
        if self.is_encrypted {
            return builder.encryption(LocalKeys::new("bench", Secret([7; 32])));
        }
        builder
    }
}

const KEPT: &[Kept] = &[
    Kept::plain("Zstd", Compression::Zstd),
    Kept::plain("Later", Compression::Later),
    Kept::plain("None", Compression::None),
    #[cfg(feature = "encryption")]
    Kept { is_encrypted: true, ..Kept::plain("Zstd, encrypted", Compression::Zstd) },
    #[cfg(feature = "encryption")]
    Kept { is_encrypted: true, ..Kept::plain("Later, encrypted", Compression::Later) },
];

fn beside_cp(disk: &Path, place: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut times = vec![Vec::new(); 2 + KEPT.len() * STEPS.len()];
    // One round more than is counted: the first warms the page cache.
    for round in 0..=rounds {
        std::fs::create_dir_all(place)?;
        let mut seconds =
            vec![copy(disk, &place.join("copy.raw"), false)?, copy(disk, &place.join("synced.raw"), true)?];
        for kept in KEPT {
            seconds.extend(block_on(gallery(disk, place, *kept))?);
        }
        for (series, seconds) in times.iter_mut().zip(seconds).filter(|_| round > 0) {
            series.push(seconds);
        }
        std::fs::remove_dir_all(place)?;
    }
    let mut medians = times.into_iter().map(median);
    let (cp, synced) = medians.next().zip(medians.next()).ok_or("no round")?;
    println!("{} rounds of {}", rounds, disk.display());
    println!("{:<42} {:>9} {:>7} {:>14}", "", "", "x cp", "x cp and sync");
    let line = |name: &str, seconds: f64| {
        println!("{name:<42} {seconds:>7.3} s {:>7.2} {:>14.2}", seconds / cp, seconds / synced);
    };
    line("cp --sparse=always", cp);
    line("cp --sparse=always, sync", synced);
    for kept in KEPT {
        STEPS
            .into_iter()
            .zip(&mut medians)
            .for_each(|(name, seconds)| line(&format!("{}: {name}", kept.name), seconds));
    }
    Ok(())
}

/// Publishes the disks in turn and prints what the slot then holds, of each and of all.
async fn slot_bytes(disks: &[PathBuf], place: &Path, kept: Kept) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(place)?;
    let service = open(&place.join("all"), Durability::LostOnPowerCut, kept).await?;
    let session = service.session("bench".parse()?);
    for (number, disk) in disks.iter().enumerate() {
        publish(&session, &format!("1.0.{number}"), disk, place).await?;
        let mib = bytes_below(&place.join("all/regions"))? as f64 / f64::from(1 << 20);
        println!("{}: {mib:>8.1} MiB in the slot after {}", kept.name, disk.display());
    }
    session.compress().await?;
    let mib = bytes_below(&place.join("all/regions"))? as f64 / f64::from(1 << 20);
    println!("{}: {mib:>8.1} MiB in the slot when all is compressed", kept.name);
    Ok(std::fs::remove_dir_all(place)?)
}

fn bytes_below(directory: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let (path, meta) = {
            let entry = entry?;
            (entry.path(), entry.metadata()?)
        };
        bytes += if meta.is_dir() { bytes_below(&path)? } else { meta.len() };
    }
    Ok(bytes)
}

const STEPS: [&str; 8] = [
    "import, durable",
    "re-import, unchanged, durable",
    "deploy, durable",
    "deploy, lost on a power cut",
    "the same again",
    "compress",
    "deploy of that, lost on a power cut",
    "import, lost on a power cut",
];

fn copy(disk: &Path, to: &Path, sync: bool) -> Result<f64, Box<dyn Error>> {
    settle(disk, to.parent().unwrap_or(to))?;
    let started = Instant::now();
    let mut done = Command::new("cp").arg("--sparse=always").arg(disk).arg(to).status()?.success();
    if sync {
        done &= Command::new("sync").arg(to).status()?.success();
    }
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_file(to)?;
    if done { Ok(seconds) } else { Err("cp failed".into()) }
}

/// Gives each step the same start: nothing left to be written back, and as much memory just freed as it will fill. (On
/// a virtual machine memory that was not used lately costs a fault in the host for each page, several times the copy
/// itself; the first step after a removal would be spared it, and the others not.)
fn settle(disk: &Path, place: &Path) -> Result<(), Box<dyn Error>> {
    let filler = place.join("filler.raw");
    Command::new("sync").status()?;
    Command::new("cp").arg("--sparse=always").arg(disk).arg(&filler).status()?;
    std::fs::remove_file(filler)?;
    Ok(())
}

/// Import, re-import and deploy, durable as by default; import into a store that is not.
async fn gallery(disk: &Path, place: &Path, kept: Kept) -> Result<[f64; STEPS.len()], Box<dyn Error>> {
    let home: Region = "westeurope".parse()?;
    let service = open(&place.join("durable"), Durability::Full, kept).await?;
    let session = service.session("bench".parse()?);
    let import = publish(&session, "1.0.0", disk, place).await?;
    let again = publish(&session, "1.0.1", disk, place).await?;
    let durable = deploy(&session, &home, disk, place, true).await?;
    // As another process finds it.
    let service = open_again(&place.join("durable"), kept).await?;
    let session = service.session("bench".parse()?);
    let first = deploy(&session, &home, disk, place, false).await?;
    let second = deploy(&session, &home, disk, place, false).await?;
    let started = Instant::now();
    session.compress().await?;
    let compress = started.elapsed().as_secs_f64();
    let service = open_again(&place.join("durable"), kept).await?;
    let compressed = deploy(&service.session("bench".parse()?), &home, disk, place, false).await?;
    std::fs::remove_dir_all(place.join("durable"))?;
    let service = open(&place.join("loose"), Durability::LostOnPowerCut, kept).await?;
    let loose = publish(&service.session("bench".parse()?), "1.0.0", disk, place).await?;
    std::fs::remove_dir_all(place.join("loose"))?;
    Ok([import, again, durable, first, second, compress, compressed, loose])
}

async fn deploy(
    session: &Session,
    home: &Region,
    disk: &Path,
    place: &Path,
    durable: bool,
) -> Result<f64, Box<dyn Error>> {
    settle(disk, place)?;
    let to = place.join("deployed.raw");
    let started = Instant::now();
    let deployment = session.deploy(image()?.version("1.0.0".parse()?), home);
    deployment.sync(durable).to_path(&to).await?;
    let seconds = started.elapsed().as_secs_f64();
    std::fs::remove_file(to)?;
    Ok(seconds)
}

async fn open_again(store: &Path, kept: Kept) -> Result<GalleryService, Box<dyn Error>> {
    Ok(kept.builder().store(FsStore::open(store)?).open().await?)
}

fn image() -> Result<ImageDefinitionId, Box<dyn Error>> {
    Ok(GALLERY.parse::<GalleryId>()?.image("disk".parse()?))
}

async fn open(store: &Path, durability: Durability, kept: Kept) -> Result<GalleryService, Box<dyn Error>> {
    let store = FsStore::open_or_create_with(store, durability)?;
    let service = kept.builder().store(store).open_or_create().await?;
    let session = service.session("bench".parse()?);
    let home: Region = "westeurope".parse()?;
    session.create_gallery(Gallery::new(GALLERY.parse()?, home.clone())).await?;
    let identifier = ImageIdentifier::new("bench", "bench", "bench")?;
    let definition = ImageDefinition::new(image()?, home, OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;
    Ok(service)
}

/// Seconds that it took.
async fn publish(session: &Session, number: &str, disk: &Path, place: &Path) -> Result<f64, Box<dyn Error>> {
    settle(disk, place)?;
    let started = Instant::now();
    let profile = PublishingProfile::new("westeurope".parse()?);
    let source = DiskSource::path(disk, DiskFormat::Raw);
    let version = NewImageVersion::new(image()?.version(number.parse()?), "westeurope".parse()?, profile, source);
    session.publish(version).await?;
    Ok(started.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
