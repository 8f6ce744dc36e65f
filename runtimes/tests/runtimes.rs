//! One job, from a gallery to a deployed disk, under the async runtimes that hosts have: the gallery needs none of them.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::LocalDisks;
use compute_gallery::store::MemoryStore;
use compute_gallery::*;

/// A disk of `mib` MiB, no two blocks of which are the same.
fn disk(mib: usize, seed: u8) -> Vec<u8> {
    (0..mib << 17).flat_map(|word: usize| (word.to_le_bytes()).map(|byte| byte ^ seed)).collect()
}

async fn job() {
    let gallery: GalleryId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse().unwrap();
    let region: Region = "westeurope".parse().unwrap();
    let builder = GalleryService::builder().allow_all().store(MemoryStore::new());
    let session = builder.open_or_create().await.unwrap().session("test".parse().unwrap());
    session.create_gallery(Gallery::new(gallery.clone(), region.clone())).await.unwrap();
    let image = gallery.image("web".parse().unwrap());
    let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend").unwrap();
    let definition =
        ImageDefinition::new(image.clone(), region.clone(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await.unwrap();

    let (os, data) = (disk(2, 1), disk(1, 2));
    let source = |bytes: &[u8]| DiskSource::bytes(bytes.to_vec(), DiskFormat::Raw);
    let disks = LocalDisks::new(source(&os)).with_data_disk(5, source(&data));
    let version = image.version("1.0.0".parse().unwrap());
    let profile = PublishingProfile::new("westeurope".parse().unwrap());
    session.publish(NewImageVersion::new(version.clone(), region.clone(), profile, disks)).await.unwrap();
    session.replicate(&version).await.unwrap();

    assert!(session.deploy(&version, &region).to_writer(Vec::new()).await.unwrap().1 == os);
    let deployment = session.deploy(&version, &region).data_disk(5);
    assert!(deployment.to_writer(Vec::new()).await.unwrap().1 == data);
    let none = session.deploy(&version, &region).data_disk(6);
    assert_eq!(none.to_writer(Vec::new()).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn it_works_under_tokio() {
    tokio::runtime::Runtime::new().unwrap().block_on(job());
}

#[test]
fn it_works_under_smol() {
    smol::block_on(job());
}
