//! A catalog of ten thousand versions: opening it, finding the latest, listing a page.
//!
//! `cargo bench --bench catalog`: prints medians. The store is in memory, so that opening measures the catalog alone.
//! `cargo bench --bench catalog -- --versions 1000,10000,1000000` prints how the costs grow.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::NewManagedImage;
use compute_gallery::read::ListScope;
use compute_gallery::store::MemoryStore;
use compute_gallery::{GalleryService, NewImageVersion, Session};
use futures::executor::block_on;
use futures::future::try_join_all;

mod scale;

use scale::median;

const GALLERY: &str = "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/galleries/Bench";
const VERSIONS: u32 = 10_000;
const PAGE: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    // Built by `cargo test --benches`, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--versions").skip(1);
    match arguments.next() {
        Some(counts) => {
            let counts = counts.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
            block_on(scale::run(&counts))
        }
        None => block_on(run()),
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let store = MemoryStore::new();
    let image: ImageDefinitionId = GALLERY.parse::<GalleryId>()?.image("web".parse()?);
    let home: Region = "westeurope".parse()?;
    let started = Instant::now();
    fill(&open(&store).await?, &image, &home).await?;
    println!("{VERSIONS} versions made in {:.1} s", started.elapsed().as_secs_f64());

    let mut opened = Vec::new();
    for _ in 0..15 {
        let started = Instant::now();
        let session = black_box(open(&store).await?);
        opened.push(started.elapsed().as_secs_f64());
        // Letting go of the state is not part of opening.
        drop(session);
    }
    println!("{:<44} {:>9.3} ms", "open from a checkpoint", median(opened) * 1e3);

    let session = open(&store).await?;
    let view = session.view();
    let per_call = |call: &dyn Fn()| {
        let rounds = (0..31).map(|_| {
            let started = Instant::now();
            (0..1_000).for_each(|_| call());
            started.elapsed().as_secs_f64() / 1e3
        });
        median(rounds.collect()) * 1e6
    };
    // 1.0.0 alone goes to eastus: the search for it must not walk over all others.
    for (what, place) in [("latest, the highest", "westeurope"), ("latest, the lowest of all", "eastus")] {
        let place: Region = place.parse()?;
        let time = per_call(&|| {
            black_box(view.latest(black_box(&image), &place)).ok();
        });
        println!("{what:<44} {time:>9.3} us");
    }
    let half = Some(VersionNumber::new(1, 0, VERSIONS / 2)?);
    let time = per_call(&|| {
        black_box(view.image_versions(black_box(&image), half, PAGE)).ok();
    });
    println!("{:<44} {time:>9.3} us", format!("a page of {PAGE} versions from the middle"));
    let time = per_call(&|| {
        black_box(view.galleries(black_box(&ListScope::All), None, PAGE));
    });
    println!("{:<44} {time:>9.3} us", "a page of galleries");
    Ok(())
}

async fn open(store: &MemoryStore) -> Result<Session, Box<dyn Error>> {
    let limits = Limits::default().with_image_versions(VERSIONS as usize + 1);
    let service = GalleryService::builder().allow_all().store(store.clone()).limits(limits).open_or_create().await?;
    Ok(service.session("bench".parse()?))
}

async fn fill(session: &Session, image: &ImageDefinitionId, home: &Region) -> Result<(), Box<dyn Error>> {
    session.create_gallery(Gallery::new(image.gallery().clone(), home.clone())).await?;
    let identifier = ImageIdentifier::new("bench", "bench", "bench")?;
    let definition = ImageDefinition::new(image.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;
    let source: ManagedImageId =
        "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse()?;
    let disk = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
    session.create_managed_image(NewManagedImage::new(source.clone(), home.clone(), OsType::Linux, disk)).await?;
    let first = image.version(VersionNumber::new(1, 0, 0)?);
    let wide = PublishingProfile::new("westeurope,eastus".parse()?);
    session.publish(NewImageVersion::new(first.clone(), home.clone(), wide, source.clone())).await?;
    session.replicate(&first).await?;
    let numbers: Vec<u32> = (1..VERSIONS).collect();
    for numbers in numbers.chunks(500) {
        let publishing = numbers.iter().map(|number| {
            let version = image.version(VersionNumber::new(1, 0, *number)?);
            let profile = PublishingProfile::new("westeurope".parse()?);
            Ok(session.publish(NewImageVersion::new(version, home.clone(), profile, source.clone())))
        });
        try_join_all(publishing.collect::<Result<Vec<_>, compute_gallery::Error>>()?).await?;
    }
    // A checkpoint is written every 64 commits.
    for number in 0..64 {
        let gallery = Gallery::new(image.gallery().clone(), home.clone()).with_description(number.to_string());
        session.update_gallery(gallery).await?;
    }
    Ok(())
}
