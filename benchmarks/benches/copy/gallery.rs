//! A gallery with one definition.

use std::path::Path;

use compute_gallery::content::Compression;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageIdentifier, ImageVersionId, OsState, OsType,
    PublishingProfile, Region,
};
use compute_gallery::store::{Durability, FsStore};
use compute_gallery::{ErrorKind, GalleryService, NewImageVersion, Session};
use futures::executor::block_on;

use crate::Outcome;

const GALLERY: &str = "/subscriptions/bench/resourceGroups/images/providers/Microsoft.Compute/galleries/Bench";

pub(crate) fn home() -> Outcome<Region> {
    Ok("westeurope".parse()?)
}

fn definition() -> Outcome<ImageDefinitionId> {
    Ok(GALLERY.parse::<GalleryId>()?.image("disk".parse()?))
}

pub(crate) fn version(number: &str) -> Outcome<ImageVersionId> {
    Ok(definition()?.version(number.parse()?))
}

/// Opens the gallery in `store`, and makes it where it isn't there.
pub(crate) fn open(store: &Path, durability: Durability) -> Outcome<Session> {
    open_with(store, durability, Compression::default())
}

pub(crate) fn open_with(store: &Path, durability: Durability, compression: Compression) -> Outcome<Session> {
    block_on(async {
        let store = FsStore::open_or_create_with(store, durability)?;
        let builder = GalleryService::builder().allow_all().store(store).compression(compression);
        let session = builder.open_or_create().await?.session("bench".parse()?);
        match session.create_gallery(Gallery::new(GALLERY.parse()?, home()?)).await {
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(session),
            made => made?,
        };
        let identifier = ImageIdentifier::new("bench", "bench", "bench")?;
        let image = ImageDefinition::new(definition()?, home()?, OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(image).await?;
        Ok(session)
    })
}

/// Imports a raw disk; `regions` is where it is to go when it is replicated.
pub(crate) fn publish(session: &Session, number: &str, disk: &Path, regions: &str) -> Outcome {
    let (profile, source) = (PublishingProfile::new(regions.parse()?), DiskSource::path(disk, DiskFormat::Raw));
    let version = NewImageVersion::new(version(number)?, home()?, profile, source);
    block_on(session.publish(version))?;
    Ok(())
}

pub(crate) fn replicate(session: &Session, number: &str) -> Outcome {
    block_on(session.replicate(&version(number)?))?;
    Ok(())
}

/// Replicates a version over a border that takes `rate` bytes per second.
pub(crate) fn replicate_over(session: &Session, number: &str, to: &str, rate: u64) -> Outcome {
    block_on(session.replicate(&version(number)?).bytes_per_second(to, rate))?;
    Ok(())
}

pub(crate) fn deploy(session: &Session, number: &str, to: &Path, sync: bool) -> Outcome {
    block_on(session.deploy(version(number)?, &home()?).sync(sync).to_path(to))?;
    Ok(())
}
