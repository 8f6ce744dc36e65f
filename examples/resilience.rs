//! Failures and their repair: a zone is lost, bits flip, versions are deleted.
//!
//! `cargo run --release --example resilience` makes a disk; `-- DISK.raw` takes an existing one. The stores are temporary directories,
//! three for the zones of a region and one for another region, and are removed at the end.
#![allow(clippy::disallowed_methods, reason = "a program may read the clock")]

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::FsStore;
use compute_gallery::{GalleryService, NewImageVersion, Session};
use futures::StreamExt;

fn main() {
    if let Err(error) = futures::executor::block_on(run()) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    let disk = match std::env::args_os().nth(1) {
        Some(disk) => PathBuf::from(disk),
        None => make_disk(&root.path().join("disk.raw"))?,
    };
    let (home, far): (Region, Region) = ("westeurope".parse()?, "eastus".parse()?);
    let session = open(root.path(), &home, &far, false).await?;

    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Resilience".parse()?;
    session.create_gallery(Gallery::new(gallery.clone(), home.clone())).await?;
    let image = gallery.image("disk".parse()?);
    let identifier = ImageIdentifier::new("contoso", "linux", "disk")?;
    let definition = ImageDefinition::new(image.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;

    let version = image.version("1.0.0".parse()?);
    // Zone-redundant where there are three zones; the other region has one store.
    let in_zones = "westeurope=2".parse::<TargetRegion>()?.with_storage_account_type(StorageAccountType::StandardZrs);
    let profile = PublishingProfile::new(TargetRegions::new(vec![in_zones, TargetRegion::new(far.clone())])?);
    let source = DiskSource::path(&disk, DiskFormat::Raw);
    session.publish(NewImageVersion::new(version.clone(), home.clone(), profile, source)).await?;
    let mut replication = session.replicate(&version);
    let mut printed = 0;
    while let Some(status) = replication.statuses().next().await {
        if status.progress() >= printed + 25 {
            printed = status.progress();
            let left = status.summary.iter().filter_map(|region| region.time_left).max().unwrap_or_default();
            println!("replicated    {printed} %, about {:.2} s to go", left.as_secs_f64());
        }
    }
    replication.await?;
    println!("published     in the three zones of {home}, two replicas each, and in {far}");

    // A zone is lost; deployments do not notice.
    std::fs::remove_dir_all(root.path().join("zone-2"))?;
    let first = session.deploy(&version, &home).to_path(root.path().join("vm1.raw")).await?;
    println!("zone 2 lost   still deployed: {}", same(&disk, &root.path().join("vm1.raw"))?);
    show_status(&session, &version).await?;

    // The disk is replaced by an empty one. A disk that is not mounted looks the same, so the operator has to adopt it.
    let session = open(root.path(), &home, &far, true).await?;
    let report = session.scrub(&home).await?;
    println!("scrub         packs and manifests mended: {}, lost: {}", report.mended, report.damaged);
    show_status(&session, &version).await?;

    // A bit flips in each of the copies that the two replicas are read from first. The deployment that meets the damage reads
    // another copy, and mends the damaged one.
    for place in ["zone-1/slots/0", "zone-2/slots/1"] {
        println!("a bit flipped in {place}/{}", flip_bit(&root.path().join(place))?);
    }
    let deployed = session.deploy(&version, &home).to_path(root.path().join("vm2.raw")).await?;
    println!(
        "              still deployed: {}, packs mended: {}",
        same(&disk, &root.path().join("vm2.raw"))?,
        deployed.mended_packs
    );
    let report = session.scrub(&home).await?;
    println!("scrub         packs and manifests mended: {}, lost: {}", report.mended, report.damaged);

    // A collection frees the bytes of deleted versions, in every zone.
    session.delete(gallery).cascade().await?;
    let freed = session.collect().await?;
    println!("deleted       {:.1} MiB freed", freed.bytes() as f64 / f64::from(1 << 20));
    if first.digest == deployed.digest { Ok(()) } else { Err("the two deployments differ".into()) }
}

async fn open(root: &Path, home: &Region, far: &Region, adopt: bool) -> Result<Session, Box<dyn Error>> {
    let zones = [1, 2, 3].map(|zone| FsStore::open_or_create(root.join(format!("zone-{zone}"))));
    let [one, two, three] = zones;
    let builder = GalleryService::builder().allow_all();
    let builder = builder.catalog_store(FsStore::open_or_create(root.join("catalog"))?);
    let builder = builder.zonal_region_stores(home.clone(), [one?, two?, three?]);
    let builder = if adopt { builder.adopt_region_store(home.clone()) } else { builder };
    let service =
        builder.region_store(far.clone(), FsStore::open_or_create(root.join("far"))?).open_or_create().await?;
    Ok(service.session("example".parse()?))
}

async fn show_status(session: &Session, version: &ImageVersionId) -> Result<(), Box<dyn Error>> {
    for region in session.replication_status(version).await?.summary {
        let health =
            if region.degraded { format!("degraded: {}", region.details) } else { "all replicas are there".to_owned() };
        println!("  {:<12} {:?}, {health}", region.region, region.state);
    }
    Ok(())
}

/// A disk of 256 MiB with 24 MiB of data.
fn make_disk(path: &Path) -> std::io::Result<PathBuf> {
    let (mut disk, mut state) = (File::create(path)?, 7_u64);
    disk.set_len(256 << 20)?;
    for place in 0..24 {
        disk.seek(SeekFrom::Start((place * 10) << 20))?;
        let mut words = Vec::with_capacity(1 << 20);
        while words.len() < 1 << 20 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            words.extend_from_slice(&state.to_be_bytes());
        }
        disk.write_all(&words)?;
    }
    Ok(path.to_owned())
}

/// Flips a bit in the middle of the largest file.
fn flip_bit(directory: &Path) -> Result<String, Box<dyn Error>> {
    let (mut ahead, mut largest) = (vec![directory.to_owned()], (0, PathBuf::new()));
    while let Some(directory) = ahead.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let (path, meta) = (entry.path(), entry.metadata()?);
            match meta.is_dir() {
                true => ahead.push(path),
                false => largest = largest.max((meta.len(), path)),
            }
        }
    }
    let (length, path) = largest;
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(length / 2))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(length / 2))?;
    file.write_all(&[byte[0] ^ 1])?;
    Ok(path.strip_prefix(directory)?.display().to_string())
}

/// Compares two files.
fn same(a: &Path, b: &Path) -> std::io::Result<&'static str> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let (mut of_a, mut of_b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let length = a.read(&mut of_a)?;
        let Some(there) = of_b.get_mut(..length) else { return Ok("it DIFFERS") };
        if length == 0 {
            return Ok(if b.read(&mut of_b)? == 0 { "it is the same" } else { "it DIFFERS" });
        }
        b.read_exact(there)?;
        if of_a.get(..length) != Some(there) {
            return Ok("it DIFFERS");
        }
    }
}
