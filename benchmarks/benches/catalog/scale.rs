//! A catalog as it grows: what a publish, an update and an opening cost.

use std::error::Error;
use std::time::Instant;

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::NewManagedImage;
use compute_gallery::store::{BlobMeta, BlobStoreExt, MemoryStore};
use compute_gallery::{GalleryService, NewImageVersion, Session};
use futures::future::try_join_all;

const GALLERY: &str = "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/galleries/Bench";

/// Versions of one definition.
const OF_A_DEFINITION: u32 = 100;

/// Versions that are published at once, in few commits.
const AT_ONCE: u32 = 2_000;

/// Prints the costs with each number of versions.
pub(crate) async fn run(counts: &[u32]) -> Result<(), Box<dyn Error>> {
    println!(
        "{:>9} {:>12} {:>12} {:>12} {:>16} {:>10}",
        "versions", "publish, us", "update, us", "open, ms", "checkpoint, KiB", "filled, s"
    );
    for count in counts {
        let store = MemoryStore::new();
        let started = Instant::now();
        let source = fill(&store, *count).await?;
        let filled = started.elapsed().as_secs_f64();
        let mut opened = Vec::new();
        for _ in 0..if *count > 100_000 { 3 } else { 9 } {
            let started = Instant::now();
            let session = open(&store).await?;
            opened.push(started.elapsed().as_secs_f64() * 1e3);
            drop(session);
        }
        let session = open(&store).await?;
        let (publish, update) = changes(&session, *count, &source).await?;
        let (open, checkpoint) = (median(opened), checkpoint_bytes(&store).await? / 1024);
        println!("{count:>9} {publish:>12.1} {update:>12.1} {open:>12.1} {checkpoint:>16} {filled:>10.1}");
    }
    Ok(())
}

/// Returns what the newest checkpoint has put: its root, and the segments that were written for it.
async fn checkpoint_bytes(store: &MemoryStore) -> Result<u64, Box<dyn Error>> {
    let roots = store.list_all(Some(&"catalog/checkpoints".parse()?)).await?;
    let root = roots.first().ok_or("there is no checkpoint")?;
    let name = |blob: &BlobMeta| blob.key.as_str().rsplit('/').next().unwrap_or_default().to_owned();
    let of_root = format!("{:020}-", u64::MAX - name(root).parse::<u64>()?);
    let segments = store.list_all(Some(&"catalog/segments".parse()?)).await?;
    let written = segments.iter().filter(|segment| name(segment).starts_with(&of_root)).map(|segment| segment.size);
    Ok(root.size + written.sum::<u64>())
}

/// Returns the medians of a publish and of an update, in microseconds.
async fn changes(session: &Session, count: u32, source: &ManagedImageId) -> Result<(f64, f64), Box<dyn Error>> {
    let (mut published, mut updated) = (Vec::new(), Vec::new());
    let (definitions, mut spread) = (count.div_ceil(OF_A_DEFINITION), 1_u32);
    for number in 0..401 {
        // All over the catalog, in no order.
        spread = spread.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let image = image(spread % definitions)?;
        let started = Instant::now();
        session.publish(version(&image, 1_000_000 + number, source)?).await?;
        published.push(started.elapsed().as_secs_f64() * 1e6);
        let definition = session.view().image_definition(&image)?;
        let changed = ImageDefinition::clone(&definition).with_description(number.to_string());
        let started = Instant::now();
        session.update_image_definition(changed).await?;
        updated.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok((median(published), median(updated)))
}

fn image(number: u32) -> compute_gallery::Result<ImageDefinitionId> {
    Ok(GALLERY.parse::<GalleryId>()?.image(format!("image-{number}").parse()?))
}

fn version(image: &ImageDefinitionId, patch: u32, source: &ManagedImageId) -> compute_gallery::Result<NewImageVersion> {
    let profile = PublishingProfile::new("westeurope=1,eastus=1,northeurope=1".parse()?);
    let id = image.version(VersionNumber::new(1, 0, patch)?);
    Ok(NewImageVersion::new(id, "westeurope".parse()?, profile, source.clone()))
}

pub(crate) async fn open(store: &MemoryStore) -> Result<Session, Box<dyn Error>> {
    let limits = Limits::default().with_image_versions(10_000_000).with_image_definitions(10_000_000);
    let service = GalleryService::builder().allow_all().store(store.clone()).limits(limits).open_or_create().await?;
    Ok(service.session("bench".parse()?))
}

pub(crate) async fn fill(store: &MemoryStore, count: u32) -> Result<ManagedImageId, Box<dyn Error>> {
    let (session, home) = (open(store).await?, "westeurope".parse::<Region>()?);
    session.create_gallery(Gallery::new(GALLERY.parse()?, home.clone())).await?;
    let source: ManagedImageId =
        "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse()?;
    let disk = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
    session.create_managed_image(NewManagedImage::new(source.clone(), home.clone(), OsType::Linux, disk)).await?;
    let definitions: Vec<u32> = (0..count.div_ceil(OF_A_DEFINITION)).collect();
    for numbers in definitions.chunks(AT_ONCE as usize) {
        let creating = numbers.iter().map(|number| {
            let identifier = ImageIdentifier::new("bench", "bench", &format!("sku-{number}"))?;
            let (os, state) = (OsType::Linux, OsState::Generalized);
            let definition = ImageDefinition::new(image(*number)?, home.clone(), os, state, identifier);
            Ok(session.create_image_definition(definition))
        });
        try_join_all(creating.collect::<compute_gallery::Result<Vec<_>>>()?).await?;
    }
    let numbers: Vec<u32> = (0..count).collect();
    for numbers in numbers.chunks(AT_ONCE as usize) {
        let publishing = numbers.iter().map(|number| {
            let new = version(&image(number / OF_A_DEFINITION)?, number % OF_A_DEFINITION, &source)?;
            Ok(session.publish(new))
        });
        try_join_all(publishing.collect::<compute_gallery::Result<Vec<_>>>()?).await?;
    }
    // What is left of the log after the newest checkpoint.
    for number in 0..128 {
        let gallery = Gallery::new(GALLERY.parse()?, home.clone()).with_description(number.to_string());
        session.update_gallery(gallery).await?;
    }
    Ok(source)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
