//! The main job in a bucket: publishes a disk, replicates it, deploys it and compares digests.
//!
//! `cargo run --release --features aws --example object_store -- --url s3://BUCKET/PREFIX`; `azure` and `az://CONTAINER/PREFIX`, or `gcp`
//! and `gs://BUCKET/PREFIX`. Credentials and address come from each service's usual environment variables: see `docs/buckets.md`. Without
//! `--url` it uses a temporary directory, and without `--image` a disk that it makes. `--help` lists all options. Run it again with a
//! changed disk: it publishes the next patch version, and stores only the change. Versions that an earlier run left unfinished are
//! replicated first. If another run takes a number, this one takes the next.
#![allow(clippy::disallowed_methods, reason = "a program may read the clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use compute_gallery::cache::CachedStore;
use compute_gallery::disk::{DiskFormat, DiskSource, Wrapping, WrittenFormat};
use compute_gallery::image::ImageDigest;
use compute_gallery::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, ImageVersion, ImageVersionId, OsState,
    OsType, PublishingProfile, Region, RegionCatalog, TargetRegions, VersionNumber,
};
use compute_gallery::replicate::AggregatedState;
use compute_gallery::store::{BlobStore, FsStore, ObjectStoreBlobs};
use compute_gallery::{ErrorKind, GalleryService, NewImageVersion, Published, Session};
use futures::StreamExt;
use lexopt::ValueExt;

const USAGE: &str = "\
Publishes a disk into a gallery in a bucket, replicates it, deploys it again and compares.

usage: object_store [options]

  --url URL               s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or file:///DIR (default: a temporary one)
  --image PATH            the disk (default: one of 64 MiB is made)
  --format FORMAT         the disk's format: raw, vhd, vhdx, qcow2 or vmdk (default: raw); of a wrapped file with what wraps it:
                          raw.gz, qcow2.zst, raw.tar.gz, and raw.xz with the feature `xz`
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
    /// The outermost first.
    wrappings: Vec<Wrapping>,
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

    let taken_up = take_up(&session, &definition).await?;

    let (started, before) = (Instant::now(), requests());
    let (id, published) = publish(&session, &definition, &home, &arguments).await?;
    let number = id.number();
    let publishing = Step { seconds: started.elapsed().as_secs_f64(), requests: requests() - before };

    let (started, before) = (Instant::now(), requests());
    let mut replication = session.replicate(&id);
    while let Some(status) = replication.statuses().next().await {
        show("replicate", u64::from(status.progress()), 100);
    }
    let report = replication.await?;
    let replicate = Step { seconds: started.elapsed().as_secs_f64(), requests: requests() - before };

    let (started, before) = (Instant::now(), requests());
    let deployment =
        session.deploy(&id, &home).format(arguments.to).on_progress(|now| show("deploy", now.done, now.total));
    let deployed = deployment.to_path(&arguments.deploy).await?;
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
    for id in &taken_up {
        println!("replicated {}, which an earlier run left unfinished", id.number());
    }
    println!("{number} in {}", arguments.url);
    for note in
        published.import.notes.iter().map(ToString::to_string).chain(deployed.notes.iter().map(ToString::to_string))
    {
        println!("  note         {note}");
    }
    for (name, step) in [("published", &publishing), ("replicated", &replicate), ("deployed", &deploy)] {
        println!("  {name:<12} in {:.2} s, {} requests", step.seconds, step.requests);
    }
    if let Some(used) = cache.as_ref().map(|cache| cache.used()) {
        println!("  cache        {} bytes read from it, {} fetched into it", used.cached_bytes, used.fetched_bytes);
    }
    println!("  digests      {}", if is_equal { "equal: the disk came back as it was" } else { "DIFFER" });
    if arguments.json {
        let others = report.regions.iter().filter(|region| region.region != home);
        let crossed: BTreeMap<_, _> =
            others.map(|region| (region.region.to_string(), region.cross_region_bytes)).collect();
        let replicas: BTreeMap<_, _> =
            report.regions.iter().map(|region| (region.region.to_string(), region.replicas)).collect();
        let import = &published.import;
        // The fields of quickstart's line, and the requests.
        let line = serde_json::json!({
            "version": number,
            "version_id": id,
            "url": arguments.url,
            "image_digest": published.content.os_disk_digest,
            "virtual_size": deployed.virtual_size,
            "stored_bytes": published.content.stored_bytes,
            "read_bytes": import.read_bytes,
            "new_chunks": import.new_chunks,
            "new_bytes": import.new_bytes,
            "new_index_bytes": import.new_index_bytes,
            "notes": import.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "cross_region_bytes": crossed,
            "replicas": replicas,
            "import_seconds": publishing.seconds,
            "import_requests": publishing.requests,
            "replicate_seconds": replicate.seconds,
            "replicate_requests": replicate.requests,
            "deploy_seconds": deploy.seconds,
            "deploy_requests": deploy.requests,
            "cached_bytes": cache.as_ref().map(|cache| cache.used().cached_bytes),
            "verified": is_equal,
            "taken_up": taken_up.iter().map(ImageVersionId::number).collect::<Vec<_>>(),
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

/// Replicates versions that an earlier run left unfinished. A failure is a warning and stops nothing.
async fn take_up(session: &Session, definition: &ImageDefinitionId) -> compute_gallery::Result<Vec<ImageVersionId>> {
    let mut taken_up = Vec::new();
    for version in session.refresh().await?.image_versions(definition, None, usize::MAX)?.items {
        let id = version.id();
        let finished = match session.replication_status(id).await {
            Ok(status) if status.aggregated_state == AggregatedState::Completed => continue,
            Ok(_) => session.replicate(id).await.map(drop),
            Err(error) => Err(error),
        };
        match finished {
            Ok(()) => taken_up.push(id.clone()),
            Err(error) => eprintln!("warning: {} stays unfinished: {error:#}", id.number()),
        }
    }
    Ok(taken_up)
}

/// The most numbers to try when other runs take them.
const ATTEMPTS: usize = 10;

/// Publishes the image under the number from `--version-number`, or under the next free patch number.
async fn publish(
    session: &Session,
    definition: &ImageDefinitionId,
    home: &Region,
    arguments: &Arguments,
) -> Result<(ImageVersionId, Published<ImageVersion>), Box<dyn Error>> {
    let mut attempt = 1;
    loop {
        let versions = session.refresh().await?.image_versions(definition, None, usize::MAX)?.items;
        let number = match (arguments.number, versions.last().map(|version| version.id().number())) {
            (Some(number), _) => number,
            (None, Some(last)) => last.next_patch().ok_or("there is no patch number after the last version's")?,
            (None, None) => VersionNumber::new(1, 0, 0)?,
        };
        let id = definition.version(number);
        let source = DiskSource::path(&arguments.image, arguments.format).with_wrapping(arguments.wrappings.clone());
        let profile = PublishingProfile::new(arguments.regions.clone());
        let new = NewImageVersion::new(id.clone(), home.clone(), profile, source);
        match session.publish(new).on_progress(|now| show("publish", now.done, now.total)).await {
            // Another run was faster. The next attempt does not import the same chunks again.
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists && arguments.number.is_none() && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            published => return Ok((id, published?)),
        }
    }
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
        let (mut to, mut number, mut cache, mut wrappings) = (WrittenFormat::Raw, None, None, Vec::new());
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
                    let value = arguments.value()?.string()?;
                    // `raw.tar.gz` is a raw disk in an archive that is compressed.
                    let mut parts = value.split('.');
                    let name = parts.next().unwrap_or_default();
                    wrappings = parts.rev().map(str::parse).collect::<Result<_, _>>()?;
                    format = name.parse()?;
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
        Ok(Some(Self { url, image, format, wrappings, regions, deploy, to, number, cache, json }))
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
