//! The README's first example: a golden image, from a file to a VM's disk in another region.
//!
//! `cargo run --example golden_image`. It replaces the directory `golden-image` in the system's directory for temporary files.

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::FsStore;
use compute_gallery::{GalleryService, NewImageVersion};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    futures::executor::block_on(golden_image())
}

async fn golden_image() -> Result<(), Box<dyn std::error::Error>> {
    // Any directory will do; each region can be on a disk of its own.
    let place = std::env::temp_dir().join("golden-image");
    let _ = std::fs::remove_dir_all(&place);
    let west: Region = "westeurope".parse()?;
    let service = GalleryService::builder()
        .allow_all()
        .catalog_store(FsStore::create(place.join("catalog"))?)
        .region_store(&west, FsStore::create(place.join("west"))?)
        .region_store("eastus", FsStore::create(place.join("east"))?)
        .create()
        .await?;
    let session = service.session("ci".parse()?);

    // Once: a gallery and the definition of an image.
    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
    session.create_gallery(Gallery::new(gallery.clone(), west.clone())).await?;
    let web = gallery.image("web".parse()?);
    let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
    let definition = ImageDefinition::new(web.clone(), west.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await?;

    // For each build: a version with two replicas at home and one away. The disk stands for one that your build makes.
    let disk = place.join("web.raw");
    std::fs::write(&disk, vec![7; 4 << 20])?;
    let version = web.version("1.0.0".parse()?);
    let profile = PublishingProfile::new("westeurope=2,eastus=1".parse()?);
    let source = DiskSource::path(&disk, DiskFormat::Raw);
    session.publish(NewImageVersion::new(version.clone(), west, profile, source)).await?;
    session.replicate(&version).await?;

    // For each VM: its disk, from the latest version in its region.
    let latest = session.refresh().await?.latest(&web, "eastus")?;
    session.deploy(latest.id(), "eastus").to_path(place.join("vm1.raw")).await?;
    println!("{} is at {}", latest.id(), place.join("vm1.raw").display());
    Ok(())
}
