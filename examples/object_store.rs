//! The main job in a bucket: publishes a disk, replicates it, deploys it and compares digests.
//!
//! `cargo run --release --features aws --example object_store -- --url s3://BUCKET/PREFIX`; `azure` and `az://CONTAINER/PREFIX`, or `gcp`
//! and `gs://BUCKET/PREFIX`. Credentials and address come from each service's usual environment variables: see `docs/buckets.md`. Without
//! `--url` it uses a temporary directory, and without `--image` a disk that it makes. `--help` lists all options.
#![allow(clippy::disallowed_methods, reason = "a program may read the clock")]

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use compute_gallery::cache::CachedStore;
use compute_gallery::disk::{DiskFormat, DiskSource, WrittenFormat};
use compute_gallery::image::ImageDigest;
use compute_gallery::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, OsState, OsType, PublishingProfile,
    Region, RegionCatalog, TargetRegions, VersionNumber,
};
use compute_gallery::store::{BlobStore, FsStore, ObjectStoreBlobs};
use compute_gallery::{ErrorKind, GalleryService, NewImageVersion, Session};
use futures::StreamExt;
use lexopt::ValueExt;

const USAGE: &str = "\
Publishes a disk into a gallery in a bucket, replicates it, deploys it again and compares.

usage: object_store [options]

  --url URL               s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or file:///DIR (default: a temporary one)
  --image PATH            the disk (default: one of 64 MiB is made)
  --format FORMAT         the disk's format: raw, vhd, vhdx, qcow2 or vmdk (default: raw)
  --regions LIST          regions and replicas, the source region first (default: westeurope=2,eastus=1)
  --deploy OUT            the file to deploy to (default: a temporary file)
  --to FORMAT             its format: raw, vhd, vhd-dynamic, vhdx or qcow2 (default: raw)
  --version-number N      publish as this version, such as 1.2.0 (default: the next patch version)
  --cache DIR             a directory of at most 64 GiB in front of the regions (default: none)
  --json                  print a last line of JSON
  -h, --help              this text";

/// What a cache takes of a disk at most.
const CACHE_BYTES: u64 = 64 << 30;

struct Arguments {
    url: String,
    image: PathBuf,
    format: DiskFormat,
    regions: TargetRegions,
    deploy: PathBuf,
    to: WrittenFormat,
    number: Option<VersionNumber>,
    cache: Option<PathBuf>,
    json: bool,
}

fn main() {
    let scratch = std::env::temp_dir().join(format!("object-store-{}", std::process::id()));
    let done = futures::executor::block_on(run(&scratch));
    // It is there only if something had no place of its own.
    let _ = std::fs::remove_dir_all(&scratch);
    if let Err(error) = done {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run(scratch: &Path) -> Result<(), Box<dyn Error>> {
    let Some(arguments) = Arguments::parse(scratch)? else { return Ok(()) };
    let builder = GalleryService::builder().allow_all().region_catalog(RegionCatalog::azure_2026());
    // One bucket for all: the catalog and each region have a part of it. A region can as well have a bucket, a service or a disk of
    // its own, by `catalog_store` and `region_store`.
    let (store, bucket): (Arc<dyn BlobStore>, _) = match arguments.url.strip_prefix("file://") {
        Some(directory) => (Arc::new(FsStore::open_or_create(directory)?), None),
        None => {
            let bucket = ObjectStoreBlobs::from_url(&arguments.url)?;
            (Arc::new(bucket.clone()), Some(bucket))
        }
    };
    let (builder, cache) = match &arguments.cache {
        Some(directory) => {
            let cache = Arc::new(CachedStore::open(store, directory, CACHE_BYTES)?);
            (builder.store(cache.clone()), Some(cache))
        }
        None => (builder.store(store), None),
    };
    let requests = || bucket.as_ref().map_or(0, ObjectStoreBlobs::requests);
    let service = builder.open_or_create().await?;
    let session = service.session("object-store".parse()?);
    let home =
        arguments.regions.iter().next().map(|target| target.region().clone()).ok_or("--regions: none is given")?;
    let definition = definition(&session, &home).await?;

    let versions = session.refresh().await?.image_versions(&definition, None, usize::MAX)?.items;
    let number = match (arguments.number, versions.last()) {
        (Some(number), _) => number,
        (None, Some(last)) => {
            last.id().number().next_patch().ok_or("there is no patch number after the last version's")?
        }
        (None, None) => VersionNumber::new(1, 0, 0)?,
    };
    let id = definition.version(number);
    let source = DiskSource::path(&arguments.image, arguments.format);
    let version =
        NewImageVersion::new(id.clone(), home.clone(), PublishingProfile::new(arguments.regions.clone()), source);
    let (started, before) = (Instant::now(), requests());
    let published = session.publish(version).on_progress(|now| show("publish", now.done, now.total)).await?;
    let publish = Step { seconds: started.elapsed().as_secs_f64(), requests: requests() - before };

    let (started, before) = (Instant::now(), requests());
    let mut replication = session.replicate(&id);
    while let Some(status) = replication.statuses().next().await {
        show("replicate", u64::from(status.progress()), 100);
    }
    replication.await?;
    let replicate = Step { seconds: started.elapsed().as_secs_f64(), requests: requests() - before };

    let (started, before) = (Instant::now(), requests());
    let deployment =
        session.deploy(&id, &home).format(arguments.to).on_progress(|now| show("deploy", now.done, now.total));
    deployment.to_path(&arguments.deploy).await?;
    let deploy = Step { seconds: started.elapsed().as_secs_f64(), requests: requests() - before };

    // The guest's first bytes may look like another format.
    let read_as = match arguments.to {
        WrittenFormat::Vhd | WrittenFormat::VhdDynamic => DiskFormat::Vhd,
        WrittenFormat::Vhdx => DiskFormat::Vhdx,
        WrittenFormat::Qcow2 => DiskFormat::Qcow2,
        _ => DiskFormat::Raw,
    };
    let written = DiskSource::path(&arguments.deploy, read_as).with_any_raw_content();
    let is_equal = ImageDigest::of(written)? == published.content.os_disk_digest;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    println!("{} in {}", id.number(), arguments.url);
    for (name, step) in [("published", &publish), ("replicated", &replicate), ("deployed", &deploy)] {
        println!("  {name:<12} in {:.2} s, {} requests", step.seconds, step.requests);
    }
    if let Some(used) = cache.as_ref().map(|cache| cache.used()) {
        println!("  cache        {} bytes read from it, {} fetched into it", used.cached_bytes, used.fetched_bytes);
    }
    println!("  digests      {}", if is_equal { "equal: the disk came back as it was" } else { "DIFFER" });
    if arguments.json {
        let of = |step: &Step| serde_json::json!({ "seconds": step.seconds, "requests": step.requests });
        let line = serde_json::json!({
            "version": number,
            "url": arguments.url,
            "image_digest": published.content.os_disk_digest,
            "stored_bytes": published.content.stored_bytes,
            "publish": of(&publish),
            "replicate": of(&replicate),
            "deploy": of(&deploy),
            "cached_bytes": cache.as_ref().map(|cache| cache.used().cached_bytes),
            "verified": is_equal,
        });
        println!("{line}");
    }
    if is_equal { Ok(()) } else { Err("the deployed disk is not the one that was published".into()) }
}

struct Step {
    seconds: f64,
    requests: u64,
}

/// The image definition, which the first run creates.
async fn definition(session: &Session, home: &Region) -> Result<ImageDefinitionId, Box<dyn Error>> {
    let gallery: GalleryId =
        "/subscriptions/buckets/resourceGroups/images/providers/Microsoft.Compute/galleries/Buckets".parse()?;
    let id = gallery.image("disk".parse()?);
    // Another run may create them at the same time.
    let unless_there = |created: compute_gallery::Result<()>| match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created,
    };
    unless_there(session.create_gallery(Gallery::new(gallery, home.clone())).await.map(drop))?;
    let identifier = ImageIdentifier::new("buckets", "disks", "disk")?;
    let new = ImageDefinition::new(id.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    unless_there(session.create_image_definition(new).await.map(drop))?;
    Ok(id)
}

/// A progress line; prints nothing unless standard error is a terminal.
fn show(name: &str, done: u64, total: u64) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{name:>10} {:>3} %", (done * 100).checked_div(total).unwrap_or(0));
    }
}

impl Arguments {
    /// Reads the command line; `None` after `--help`.
    fn parse(scratch: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        let (mut url, mut image, mut format, mut deploy, mut json) = (None, None, DiskFormat::Raw, None, false);
        let (mut to, mut number, mut cache) = (WrittenFormat::Raw, None, None);
        let mut regions: TargetRegions = "westeurope=2,eastus=1".parse()?;
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                lexopt::Arg::Long("url") => url = Some(arguments.value()?.string()?),
                lexopt::Arg::Long("image") => image = Some(PathBuf::from(arguments.value()?)),
                lexopt::Arg::Long("deploy") => deploy = Some(PathBuf::from(arguments.value()?)),
                lexopt::Arg::Long("regions") => regions = arguments.value()?.string()?.parse()?,
                lexopt::Arg::Long("json") => json = true,
                lexopt::Arg::Long("version-number") => number = Some(arguments.value()?.string()?.parse()?),
                lexopt::Arg::Long("cache") => cache = Some(PathBuf::from(arguments.value()?)),
                lexopt::Arg::Long("to") => to = arguments.value()?.string()?.parse()?,
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                lexopt::Arg::Long("format") => {
                    format = arguments.value()?.string()?.parse()?;
                }
                other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
            }
        }
        if url.is_none() || image.is_none() || deploy.is_none() {
            std::fs::create_dir_all(scratch)?;
        }
        let image = match image {
            Some(image) => image,
            None => {
                let image = scratch.join("disk.raw");
                make_disk(&image)?;
                image
            }
        };
        let url = url.unwrap_or_else(|| format!("file://{}", scratch.join("store").display()));
        let deploy = deploy.unwrap_or_else(|| scratch.join("deployed"));
        Ok(Some(Self { url, image, format, regions, deploy, to, number, cache, json }))
    }
}

/// A disk of 64 MiB, of which half is noise.
fn make_disk(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..32 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    file.set_len(64 << 20)
}
