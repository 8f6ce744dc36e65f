//! The main job, end to end: imports a disk, replicates it, resolves "latest", deploys it and compares digests.
//!
//! Without arguments it makes a disk in a new temporary directory. For an existing disk:
//! `-- --image PATH --format raw|vhd|vhdx|qcow2|vmdk --store DIR --regions westeurope=2,eastus=1 --deploy OUT --to raw|vhd|vhd-dynamic|vhdx|qcow2 [--json]`; `--help` lists all
//! options. Run it again with a changed disk on the same store: it publishes the next patch version, and stores only the
//! change. Versions that an earlier run left unfinished are replicated first. If another run takes a number, this one takes the next.
#![allow(clippy::disallowed_methods, reason = "a program may read the clock")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use compute_gallery::disk::{DiskFormat, DiskSource, Wrapping, WrittenFormat};
use compute_gallery::image::ImageDigest;
use compute_gallery::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, ImageVersion, ImageVersionId, OsState,
    OsType, PublishingProfile, Region, RegionCatalog, TargetRegions, VersionNumber,
};
use compute_gallery::replicate::{AggregatedState, ReplicationReport};
use compute_gallery::store::FsStore;
use compute_gallery::{ErrorKind, GalleryService, NewImageVersion, Published, Session};
use futures::StreamExt;
use lexopt::ValueExt;

const GALLERY: &str =
    "/subscriptions/quickstart/resourceGroups/images/providers/Microsoft.Compute/galleries/Quickstart";

struct Arguments {
    image: PathBuf,
    format: DiskFormat,
    /// The outermost first.
    wrappings: Vec<Wrapping>,
    store: PathBuf,
    regions: TargetRegions,
    deploy: PathBuf,
    to: WrittenFormat,
    json: bool,
    /// The version to publish, in place of the next patch version.
    number: Option<VersionNumber>,
    /// A directory made for this run, removed at its end.
    scratch: Option<PathBuf>,
}

fn main() {
    // No runtime: the gallery works under any executor, this one included.
    if let Err(error) = futures::executor::block_on(run()) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let Some(arguments) = Arguments::parse()? else { return Ok(()) };
    let done = publish_and_deploy(&arguments).await;
    if let Some(scratch) = &arguments.scratch {
        std::fs::remove_dir_all(scratch)?;
    }
    done
}

async fn publish_and_deploy(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Some(home) = arguments.regions.iter().next().map(|target| target.region().clone()) else { return Ok(()) };
    // Versions can be made in every region of today's Azure; the default is the original service's shorter list.
    let regions = RegionCatalog::azure_2026();
    // A typo is reported before anything is created.
    if let Some(wrong) = arguments.regions.iter().find(|target| regions.get(target.region()).is_none()) {
        return Err(format!("--regions: `{}` is not a region of Azure: correct its name", wrong.region()).into());
    }
    check_paths(arguments)?;
    let builder = GalleryService::builder().allow_all().region_catalog(regions);
    let store = FsStore::open_or_create(&arguments.store).map_err(|error| format!("--store: {error:#}"))?;
    let service = builder.store(store).open_or_create().await?;
    let session = service.session("quickstart".parse()?);

    // A second run finds the gallery and the definition.
    let gallery: GalleryId = GALLERY.parse()?;
    let definition = gallery.image("disk".parse()?);
    ensure_definition(&session, &gallery, &home).await?;
    let taken_up = take_up(&session, &definition).await?;

    let started = Instant::now();
    let (id, published) = publish(&session, &definition, &home, arguments).await?;
    let number = id.number();
    let import_seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let report = replicate(&session, &id).await?;
    let replicate_seconds = started.elapsed().as_secs_f64();

    let (started, bar) = (Instant::now(), self::bar("deploy"));
    // Another run may have published a later version, and a number given by `--version-number` need not be the latest.
    let is_latest = session.refresh().await?.latest(&definition, &home)?.id() == &id;
    let deployed = session
        .deploy(&id, &home)
        .format(arguments.to)
        .on_progress({
            let bar = bar.clone();
            move |progress| show(&bar, progress.done, progress.total)
        })
        .to_path(&arguments.deploy)
        .await?;
    bar.finish();
    let deploy_seconds = started.elapsed().as_secs_f64();

    // The digest of the written file, not the gallery's word for it. The guest's first bytes may look like another format.
    let read_as = match arguments.to {
        WrittenFormat::Vhd | WrittenFormat::VhdDynamic => DiskFormat::Vhd,
        WrittenFormat::Vhdx => DiskFormat::Vhdx,
        WrittenFormat::Qcow2 => DiskFormat::Qcow2,
        _ => DiskFormat::Raw,
    };
    let written = DiskSource::path(&arguments.deploy, read_as).with_any_raw_content();
    let written = ImageDigest::of(written)?;
    let verified = written == published.content.os_disk_digest;

    let cross: BTreeMap<String, u64> = borders(&report, &home);
    let replicas: BTreeMap<String, u32> =
        report.regions.iter().map(|region| (region.region.to_string(), region.replicas)).collect();
    let virtual_size = deployed.virtual_size;
    let import = published.import;
    let mut out = String::new();
    for id in &taken_up {
        writeln!(out, "replicated {}, which an earlier run left unfinished", id.number())?;
    }
    writeln!(out, "published {number} of {} ({})", arguments.image.display(), mib(virtual_size))?;
    writeln!(out, "  image digest   {}", published.content.os_disk_digest)?;
    writeln!(out, "  read           {} in {import_seconds:.2} s", mib(import.read_bytes))?;
    writeln!(
        out,
        "  new            {} chunks, {}, and {} of index",
        import.new_chunks,
        mib(import.new_bytes),
        mib(import.new_index_bytes)
    )?;
    for note in &import.notes {
        writeln!(out, "  note           {note}")?;
    }
    for (region, replicas) in &replicas {
        let crossed = cross.get(region).map(|bytes| format!(", {} over its border", mib(*bytes))).unwrap_or_default();
        let s = if *replicas == 1 { "" } else { "s" };
        writeln!(out, "  {region:<14} {replicas} replica{s}{crossed}")?;
    }
    writeln!(out, "  replicated     in {replicate_seconds:.2} s")?;
    let which = if is_latest { "latest".to_owned() } else { number.to_string() };
    writeln!(out, "  deployed       {which} to {} in {deploy_seconds:.2} s", arguments.deploy.display())?;
    for note in &deployed.notes {
        writeln!(out, "  note           {note}")?;
    }
    writeln!(out, "  digests        {}", if verified { "equal: the disk came back as it was" } else { "DIFFER" })?;
    if arguments.json {
        let line = serde_json::json!({
            "version": number,
            "version_id": id,
            "image_digest": published.content.os_disk_digest,
            "virtual_size": virtual_size,
            "stored_bytes": published.content.stored_bytes,
            "read_bytes": import.read_bytes,
            "new_chunks": import.new_chunks,
            "new_bytes": import.new_bytes,
            "new_index_bytes": import.new_index_bytes,
            "notes": import.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "cross_region_bytes": cross,
            "replicas": replicas,
            "import_seconds": import_seconds,
            "replicate_seconds": replicate_seconds,
            "deploy_seconds": deploy_seconds,
            "verified": verified,
            "taken_up": taken_up.iter().map(ImageVersionId::number).collect::<Vec<_>>(),
        });
        writeln!(out, "{line}")?;
    }
    say(&out)?;
    if verified { Ok(()) } else { Err("the deployed disk is not the one that was published".into()) }
}

/// Prints a text. One who reads no more of it, as `head` does, is no error.
fn say(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}

/// Refuses paths that cannot be meant, before anything is created.
fn check_paths(arguments: &Arguments) -> Result<(), String> {
    let Arguments { image, store, deploy, .. } = arguments;
    std::fs::File::open(image).map_err(|error| format!("--image: `{}` cannot be read: {error}", image.display()))?;
    if image.is_dir() {
        return Err(format!("--image: `{}` is a directory: name the disk's file", image.display()));
    }
    if deploy.is_dir() {
        return Err(format!("--deploy: `{}` is a directory: name the file to write", deploy.display()));
    }
    if let Some(folder) = deploy.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(format!("--deploy: `{}` is no directory: create it, or correct the path", folder.display()));
    }
    let same = |path: &Path| std::fs::canonicalize(path).ok();
    if same(deploy).is_some_and(|deploy| same(image).as_ref() == Some(&deploy)) {
        return Err(format!("--deploy: `{}` is the image itself: name another file", deploy.display()));
    }
    // A store that is mistyped would be made beside the files of something else.
    let Ok(entries) = std::fs::read_dir(store) else { return Ok(()) };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).filter(|name| name != "lost+found").collect();
    if !names.is_empty() && !names.iter().any(|name| name == ".staging") {
        let store = store.display();
        return Err(format!("--store: `{store}` has files and is no store: name a new or an empty directory"));
    }
    Ok(())
}

/// Creates the gallery and the definition, unless an earlier run did. Their region is that of the first run.
async fn ensure_definition(session: &Session, gallery: &GalleryId, home: &Region) -> compute_gallery::Result<()> {
    let id = gallery.image("disk".parse()?);
    match session.refresh().await?.image_definition(&id) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return found.map(drop),
    }
    // Another run may create them at the same time.
    let unless_there = |created: compute_gallery::Result<()>| match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created,
    };
    unless_there(session.create_gallery(Gallery::new(gallery.clone(), home.clone())).await.map(drop))?;
    let identifier = ImageIdentifier::new("quickstart", "disks", "disk")?;
    let definition = ImageDefinition::new(id, home.clone(), OsType::Linux, OsState::Generalized, identifier);
    unless_there(session.create_image_definition(definition).await.map(drop))
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
    let bar = bar("import");
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
        let progress = bar.clone();
        let published = session
            .publish(NewImageVersion::new(id.clone(), home.clone(), profile, source))
            .on_progress(move |now| show(&progress, now.done, now.total))
            .await;
        match published {
            // Another run was faster. The next attempt does not import the same chunks again.
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists && arguments.number.is_none() && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            published => {
                bar.finish();
                return Ok((id, published.map_err(|error| with_the_option(&error, arguments))?));
            }
        }
    }
}

/// Names the option that is wrong where the file looks like another format than was told.
fn with_the_option(error: &compute_gallery::Error, arguments: &Arguments) -> String {
    match DiskFormat::detect(&arguments.image) {
        Ok(found) if found.format != arguments.format && arguments.wrappings.is_empty() => {
            let option = format!("{:?}", found.format).to_lowercase();
            format!("{error:#}\nhelp: here that is `--format {option}`: {}", found.why)
        }
        _ => format!("{error:#}"),
    }
}

async fn replicate(session: &Session, id: &ImageVersionId) -> compute_gallery::Result<ReplicationReport> {
    let mut replication = session.replicate(id);
    let bar = bar("replicate");
    while let Some(status) = replication.statuses().next().await {
        show(&bar, u64::from(status.progress()), 100);
    }
    bar.finish();
    replication.await
}

/// The bytes that crossed each region's border, without the source region.
fn borders(report: &ReplicationReport, home: &Region) -> BTreeMap<String, u64> {
    let others = report.regions.iter().filter(|region| region.region != *home);
    others.map(|region| (region.region.to_string(), region.cross_region_bytes)).collect()
}

/// A progress line; prints nothing unless standard error is a terminal.
#[derive(Clone)]
struct Bar(&'static str);

fn bar(name: &'static str) -> Bar {
    Bar(name)
}

fn show(bar: &Bar, done: u64, total: u64) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{:>10} {:>3} %", bar.0, (done * 100).checked_div(total).unwrap_or(0));
    }
}

impl Bar {
    fn finish(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl Arguments {
    /// Reads the command line; `None` after `--help`.
    fn parse() -> Result<Option<Self>, Box<dyn Error>> {
        let (mut image, mut format, mut store, mut deploy, mut json) = (None, DiskFormat::Raw, None, None, false);
        let (mut number, mut to, mut wrappings) = (None, WrittenFormat::Raw, Vec::new());
        let mut regions: TargetRegions = "westeurope=2,eastus=1".parse()?;
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                lexopt::Arg::Long("image") => image = Some(PathBuf::from(arguments.value()?)),
                lexopt::Arg::Long("store") => store = Some(PathBuf::from(arguments.value()?)),
                lexopt::Arg::Long("deploy") => deploy = Some(PathBuf::from(arguments.value()?)),
                lexopt::Arg::Long("regions") => regions = given(&mut arguments, "regions")?,
                lexopt::Arg::Long("json") => json = true,
                lexopt::Arg::Long("version-number") => number = Some(given(&mut arguments, "version-number")?),
                lexopt::Arg::Long("to") => to = given(&mut arguments, "to")?,
                lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                    say(&format!("{USAGE}\n"))?;
                    return Ok(None);
                }
                lexopt::Arg::Long("format") => {
                    let value = arguments.value()?.string()?.to_lowercase();
                    // `raw.tar.gz` is a raw disk in an archive that is compressed.
                    let mut parts = value.split('.');
                    let name = parts.next().unwrap_or_default();
                    let wrong = |error: compute_gallery::Error| format!("--format: {error}");
                    wrappings = parts.rev().map(str::parse).collect::<Result<_, _>>().map_err(wrong)?;
                    format = name.parse().map_err(wrong)?;
                }
                other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
            }
        }
        let needs_scratch = image.is_none() || store.is_none() || deploy.is_none();
        let scratch = needs_scratch.then(|| std::env::temp_dir().join(format!("quickstart-{}", std::process::id())));
        if let Some(scratch) = &scratch {
            std::fs::create_dir_all(scratch)?;
        }
        let place = |name: &str| scratch.clone().unwrap_or_default().join(name);
        let image = match image {
            Some(image) => image,
            None => {
                let image = place("disk.raw");
                make_disk(&image)?;
                image
            }
        };
        let (store, deploy) =
            (store.unwrap_or_else(|| place("store")), deploy.unwrap_or_else(|| place("deployed.raw")));
        Ok(Some(Self { image, format, store, regions, deploy, to, json, number, scratch, wrappings }))
    }
}

/// Reads the value of an option, in any case; an error names the option, and what a value looks like.
fn given<T: std::str::FromStr<Err: std::fmt::Display>>(
    arguments: &mut lexopt::Parser,
    option: &str,
) -> Result<T, Box<dyn Error>> {
    let text = arguments.value()?.string()?;
    let like = match option {
        "regions" => "regions and counts, as in `westeurope=2,eastus=1`",
        "version-number" => "three numbers, as in `1.2.0`",
        _ => "a format, as in `raw` or `qcow2`: `--help` lists them",
    };
    text.to_lowercase().parse().map_err(|error| format!("--{option}: write {like}\n  {error}").into())
}

const USAGE: &str = "\
Imports a disk into a gallery, replicates it, deploys it again and compares.

usage: quickstart [options]

  --image PATH            the disk (default: one of 1 GiB is made)
  --format FORMAT         the disk's format: raw, vhd, vhdx, qcow2 or vmdk (default: raw); of a wrapped file with what wraps it:
                          raw.gz, qcow2.zst, raw.tar.gz, and raw.xz with the feature `xz`
  --store DIR             the gallery's directory (default: a temporary directory that is removed)
  --regions LIST          regions and replicas, the source region first (default: westeurope=2,eastus=1)
  --deploy OUT            the file to deploy to; it replaces one that is there (default: a temporary file that is removed)
  --to FORMAT             its format: raw, vhd, vhd-dynamic, vhdx or qcow2 (default: raw)
  --version-number N      publish as this version, such as 1.2.0 (default: the next patch version)
  --json                  print a last line of JSON
  -h, --help              this text";

/// A sparse disk of 1 GiB with 96 MiB of data, some of it twice.
fn make_disk(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.set_len(1 << 30)?;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut block = vec![0_u8; 1 << 20];
    for number in 0..96_u64 {
        // Every eighth block repeats the one before it.
        if number % 8 != 7 {
            for word in block.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
        }
        file.seek(SeekFrom::Start(number * (10 << 20)))?;
        file.write_all(&block)?;
    }
    Ok(())
}
