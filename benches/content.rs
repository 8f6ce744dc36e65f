//! Import, re-import and deploy beside `cp --sparse=always`, on the same disk, in the same run, in turns.
//!
//! `cargo bench --bench content -- DISK.raw [ROUNDS]`: prints medians and their ratios to `cp`. The page cache is warm;
//! every round begins with a new store and new files, and every step from the same state of the system.
//! Without a disk it prints how to call it (and is built, so that it can't rot).
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use compute_gallery::image::{DiskFormat, DiskSource};
use compute_gallery::model::{
    Gallery, GalleryId, ImageDefinition, ImageIdentifier, OsState, OsType, PublishingProfile, Region,
};
use compute_gallery::store::FsStore;
use compute_gallery::{GalleryService, NewImageVersion};
use futures::executor::block_on;

const GALLERY: &str = "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/galleries/Bench";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(disk) = arguments.next().map(PathBuf::from) else {
        println!("usage: cargo bench --bench content -- DISK.raw [ROUNDS]");
        return Ok(());
    };
    let rounds = arguments.next().map_or(Ok(7), |rounds| rounds.parse())?;
    let place = disk.with_file_name("bench-scratch");
    let mut times: [Vec<f64>; 4] = Default::default();
    // One round more than is counted: the first warms the page cache.
    for round in 0..=rounds {
        std::fs::create_dir_all(&place)?;
        let measured = [copy(&disk, &place.join("copy.raw"))?].into_iter().chain(block_on(gallery(&disk, &place))?);
        for (series, seconds) in times.iter_mut().zip(measured).filter(|_| round > 0) {
            series.push(seconds);
        }
        std::fs::remove_dir_all(&place)?;
    }
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    let cp = medians.first().copied().unwrap_or(f64::NAN);
    println!("{} rounds of {}", rounds, disk.display());
    for (name, seconds) in ["cp --sparse=always", "import", "re-import, unchanged", "deploy"].into_iter().zip(&medians)
    {
        println!("{name:<22} {seconds:>7.3} s   {:>5.2} x cp", seconds / cp);
    }
    Ok(())
}

fn copy(disk: &Path, to: &Path) -> Result<f64, Box<dyn Error>> {
    settle(disk, to.parent().unwrap_or(to))?;
    let started = Instant::now();
    let status = Command::new("cp").arg("--sparse=always").arg(disk).arg(to).status()?;
    let seconds = started.elapsed().as_secs_f64();
    if status.success() { Ok(seconds) } else { Err("cp failed".into()) }
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

/// Import, re-import, deploy.
async fn gallery(disk: &Path, place: &Path) -> Result<[f64; 3], Box<dyn Error>> {
    let service = GalleryService::builder().store(FsStore::open(place.join("store"))?).open().await?;
    let session = service.session("bench".parse()?);
    let (gallery, home): (GalleryId, Region) = (GALLERY.parse()?, "westeurope".parse()?);
    let image = gallery.image("disk".parse()?);
    session.create_gallery(Gallery::new(gallery, home.clone())).await?;
    let identifier = ImageIdentifier::new("bench", "bench", "bench")?;
    let definition = ImageDefinition::new(image.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;
    let mut times = [0.0; 3];
    let [import, again, deploy] = &mut times;
    for (number, time) in [("1.0.0", import), ("1.0.1", again)] {
        settle(disk, place)?;
        let started = Instant::now();
        let profile = PublishingProfile::new("westeurope".parse()?);
        let source = DiskSource::path(disk, DiskFormat::Raw);
        session.publish(NewImageVersion::new(image.version(number.parse()?), home.clone(), profile, source)).await?;
        *time = started.elapsed().as_secs_f64();
    }
    settle(disk, place)?;
    let started = Instant::now();
    session.deploy(&image.version("1.0.0".parse()?), &home).to_path(place.join("deployed.raw")).await?;
    *deploy = started.elapsed().as_secs_f64();
    Ok(times)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
