//! What a service has verified of a local store, it hashes again when the file has changed, or always if it is told so.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use compute_gallery::content::Compression;
use compute_gallery::host::{Clock, SystemClock};
use compute_gallery::model::{Gallery, ImageDefinition, ImageIdentifier, OsState, OsType, Region};
use compute_gallery::store::FsStore;
use compute_gallery::testkit::{Sandbox, noise, raw};
use compute_gallery::{ErrorKind, GalleryService};
use futures::executor::block_on;

/// The only pack below a folder.
fn pack_below(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_str().unwrap().contains("/packs/") => return path,
                false => {}
            }
        }
    }
    PathBuf::new()
}

fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Flips a bit of a record between two deployments, and gives the file this time of modification. Returns whether the second
/// deployment has found it.
fn finds(remembers: bool, modified: impl Fn(SystemTime) -> SystemTime) -> bool {
    block_on(async {
        let (directory, sandbox) = (tempfile::tempdir().unwrap(), Sandbox::new().await.unwrap());
        let store = FsStore::create(directory.path().join("store")).unwrap();
        let builder = GalleryService::builder().allow_all().store(store).clock(SystemClock);
        let builder = builder.compression(Compression::None).remember_verified(remembers);
        let service = builder.create().await.unwrap();
        let session = service.session("ci".parse().unwrap());
        let (gallery, image) = (sandbox.image().gallery().clone(), sandbox.image().clone());
        let home: Region = "westeurope".parse().unwrap();
        session.create_gallery(Gallery::new(gallery, home.clone())).await.unwrap();
        let identifier = ImageIdentifier::new("Contoso", "Web", "web").unwrap();
        let definition = ImageDefinition::new(image, home.clone(), OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(definition).await.unwrap();
        let disk = noise(7, 2 << 20);
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(disk.clone()))).await.unwrap();
        let (pack, hour_ago) =
            (pack_below(directory.path()), SystemTime::from(SystemClock.now()) - Duration::from_secs(3600));
        set_modified(&pack, hour_ago);
        let out = directory.path().join("out.raw");
        let deploy = || session.deploy(sandbox.version("1.0.0"), &home).sync(false).to_path(&out);
        deploy().await.unwrap();
        assert!(fs::read(&out).unwrap() == disk);
        let mut bytes = fs::read(&pack).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&pack, bytes).unwrap();
        set_modified(&pack, modified(hour_ago));
        match deploy().await {
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::Corrupt,
        }
    })
}

#[test]
fn a_file_that_has_changed_is_hashed_again() {
    assert!(finds(true, |before| before + Duration::from_secs(1)));
}

#[test]
fn a_service_that_remembers_nothing_hashes_each_time() {
    assert!(finds(false, |before| before));
}

/// What is spared: a bit that flips on the disk, which changes no time, is left to a scrub.
#[test]
fn a_file_that_looks_the_same_is_not_hashed_again() {
    assert!(!finds(true, |before| before));
}
