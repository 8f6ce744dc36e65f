//! qcow2 in and out beside `qemu-img convert`, on the same disk, in the same run, in turns; each ends when all is on the disk.
//!
//! `cargo bench --bench formats -- DISK.raw... [--rounds N] [--scratch DIRECTORY]` prints medians, ratios and processor time. The page cache is
//! warm; every round begins with a new store and new files. Without a disk it prints how to call it (and is built, so that it can't rot).
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use compute_gallery::content::Compression;
use compute_gallery::disk::{DiskFormat, DiskSource, WrittenFormat};
use compute_gallery::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, OsState, OsType, PublishingProfile, Region,
};
use compute_gallery::store::FsStore;
use compute_gallery::{GalleryService, NewImageVersion};
use futures::executor::block_on;

const GALLERY: &str = "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/galleries/Bench";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let (mut disks, mut rounds, mut scratch) = (Vec::new(), 7, None);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().ok_or("--rounds needs a number")?.parse()?,
            "--scratch" => scratch = arguments.next().map(PathBuf::from),
            _ => disks.push(PathBuf::from(argument)),
        }
    }
    let Some(first) = disks.first() else {
        println!("usage: cargo bench --bench formats -- DISK.raw... [--rounds N] [--scratch DIRECTORY]");
        return Ok(());
    };
    let place = tempfile::tempdir_in(scratch.as_deref().or(first.parent()).unwrap_or(Path::new(".")))?;
    for disk in &disks {
        measure(disk, place.path(), rounds)?;
    }
    Ok(())
}

/// What is measured, and the step that it is compared with.
const STEPS: [(&str, usize); 5] = [
    ("in: qemu-img convert -O raw, sync", 0),
    ("in: published, stored plain", 0),
    ("out: qemu-img convert -O qcow2, sync", 2),
    ("out: deployed from plain chunks", 2),
    ("out: deployed from compressed chunks", 2),
];

fn measure(disk: &Path, place: &Path, rounds: usize) -> Outcome {
    let qcow2 = place.join("disk.qcow2");
    convert(disk, "raw", &qcow2, "qcow2")?;
    let compressed = place.join("compressed");
    block_on(publish(&compressed, &qcow2, Compression::Zstd))?;
    let mut taken = vec![Vec::new(); STEPS.len()];
    // One round more than is counted: the first warms the page cache.
    for round in 0..=rounds {
        let (out, plain) = (place.join("out"), place.join("plain"));
        let steps: [&dyn Fn() -> Outcome; STEPS.len()] = [
            &|| convert(&qcow2, "qcow2", &out, "raw"),
            &|| block_on(publish(&plain, &qcow2, Compression::None)),
            &|| convert(disk, "raw", &out, "qcow2"),
            &|| block_on(deploy(&plain, &out)),
            &|| block_on(deploy(&compressed, &out)),
        ];
        for (series, step) in taken.iter_mut().zip(steps) {
            settle(disk, place)?;
            let (started, processor) = (Instant::now(), processor_seconds()?);
            step()?;
            let now = [started.elapsed().as_secs_f64(), processor_seconds()? - processor];
            // What a step leaves for the next one is the store.
            let _ = std::fs::remove_file(&out);
            if round > 0 {
                series.push(now);
            }
        }
        std::fs::remove_dir_all(plain)?;
    }
    println!("{rounds} rounds of {}", disk.display());
    println!("{:<40} {:>9} {:>7} {:>16} {:>7}", "", "", "x peer", "processor time", "x peer");
    for ((name, peer), series) in STEPS.iter().zip(&taken) {
        let of = |series: &[[f64; 2]], which: usize| median(series.iter().filter_map(|now| now.get(which).copied()));
        let beside = taken.get(*peer).ok_or("a step")?;
        // Within a round, so that what the machine does besides is the same for both.
        let ratio = |which: usize| {
            let ratios = series.iter().zip(beside).filter_map(|(one, other)| Some(one.get(which)? / other.get(which)?));
            median(ratios)
        };
        let [seconds, processor] = [of(series, 0), of(series, 1)];
        println!("{name:<40} {seconds:>7.3} s {:>7.2} {processor:>14.2} s {:>7.2}", ratio(0), ratio(1));
    }
    Ok(std::fs::remove_dir_all(compressed)?)
}

fn convert(from: &Path, format: &str, to: &Path, into: &str) -> Outcome {
    let done =
        Command::new("qemu-img").args(["convert", "-f", format, "-O", into]).arg(from).arg(to).status()?.success();
    if done && Command::new("sync").arg(to).status()?.success() {
        Ok(())
    } else {
        Err("qemu-img convert failed".into())
    }
}

/// Gives each step the same start: nothing left to be written back, and as much memory just freed as it will fill.
fn settle(disk: &Path, place: &Path) -> Outcome {
    let filler = place.join("filler.raw");
    Command::new("sync").status()?;
    Command::new("cp").arg("--sparse=always").arg(disk).arg(&filler).status()?;
    Ok(std::fs::remove_file(filler)?)
}

/// The processor time of this process and of those that have ended, in user and system mode. The kernel counts it in hundredths.
fn processor_seconds() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    Ok(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn image() -> Outcome<ImageDefinitionId> {
    Ok(GALLERY.parse::<GalleryId>()?.image("disk".parse()?))
}

/// Publishes a qcow2 into a new store.
async fn publish(store: &Path, disk: &Path, compression: Compression) -> Outcome {
    let store = FsStore::open_or_create(store)?;
    let service = GalleryService::builder().allow_all().store(store).compression(compression).create().await?;
    let session = service.session("bench".parse()?);
    let home: Region = "westeurope".parse()?;
    session.create_gallery(Gallery::new(GALLERY.parse()?, home.clone())).await?;
    let identifier = ImageIdentifier::new("bench", "bench", "bench")?;
    let definition = ImageDefinition::new(image()?, home.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;
    let profile = PublishingProfile::new("westeurope".parse()?);
    let source = DiskSource::path(disk, DiskFormat::Qcow2);
    session.publish(NewImageVersion::new(image()?.version("1.0.0".parse()?), home, profile, source)).await?;
    Ok(())
}

async fn deploy(store: &Path, to: &Path) -> Outcome {
    let service = GalleryService::builder().allow_all().store(FsStore::open(store)?).open().await?;
    let deployment = service.session("bench".parse()?).deploy(image()?.version("1.0.0".parse()?), "westeurope");
    deployment.format(WrittenFormat::Qcow2).to_path(to).await?;
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
