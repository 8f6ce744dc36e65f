//! What a service has verified of a local store, it hashes again when the file has changed, or always if it is told so.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::fs::{self, File};
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use compute_gallery::content::Compression;
use compute_gallery::disk::{DiskFormat, DiskSource, WrittenFormat};
use compute_gallery::host::{Clock, SystemClock};
use compute_gallery::image::ImageDigest;
use compute_gallery::model::{Gallery, ImageDefinition, ImageIdentifier, OsState, OsType};
use compute_gallery::store::{BlobStore, FsStore};
use compute_gallery::testkit::{HookedStore, Reaction, Sandbox, noise, raw, region};
use compute_gallery::{ErrorKind, GalleryService, Session};
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

/// A gallery in a store, and its session. The clock is the system's.
async fn gallery(sandbox: &Sandbox, store: impl BlobStore, remembers: bool) -> Session {
    let builder = GalleryService::builder().allow_all().store(store).clock(SystemClock);
    let builder = builder.compression(Compression::None).remember_verified(remembers);
    let service = builder.create().await.unwrap();
    let session = service.session("ci".parse().unwrap());
    let (gallery, image) = (sandbox.image().gallery().clone(), sandbox.image().clone());
    session.create_gallery(Gallery::new(gallery, region("westeurope"))).await.unwrap();
    let identifier = ImageIdentifier::new("Contoso", "Web", "web").unwrap();
    let definition = ImageDefinition::new(image, region("westeurope"), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await.unwrap();
    session
}

fn hour_ago() -> SystemTime {
    SystemTime::from(SystemClock.now()) - Duration::from_secs(3600)
}

/// Flips a bit of a record between two deployments, and gives the file this time of modification. Returns whether the second
/// deployment has found it.
fn finds(remembers: bool, modified: impl Fn(SystemTime) -> SystemTime) -> bool {
    block_on(async {
        let (directory, sandbox) = (tempfile::tempdir().unwrap(), Sandbox::new().await.unwrap());
        let store = FsStore::create(directory.path().join("store")).unwrap();
        let session = gallery(&sandbox, store, remembers).await;
        let disk = noise(7, 2 << 20);
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(disk.clone()))).await.unwrap();
        let (pack, hour_ago) = (pack_below(directory.path()), hour_ago());
        set_modified(&pack, hour_ago);
        let out = directory.path().join("out.raw");
        let deploy = || session.deploy(sandbox.version("1.0.0"), "westeurope").sync(false).to_path(&out);
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

/// A disk of every kind of chunk: full, with holes, all zeros, and a short last one.
fn odd_disk() -> Vec<u8> {
    let mut disk = noise(9, (3 << 20) + 9 * 512);
    for (at, length) in [(0, 4_096), (70_000, 20_000), (131_072, 131_072), (1 << 20, 61_440), (2 << 20, 65_537)] {
        disk.get_mut(at..at + length).unwrap().fill(0);
    }
    disk
}

/// What was verified is copied from file to file by the system: no byte of it comes through this process.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_was_verified_is_deployed_again_without_a_read_of_its_chunks() {
    block_on(async {
        let (directory, sandbox) = (tempfile::tempdir().unwrap(), Sandbox::new().await.unwrap());
        let store = FsStore::create(directory.path().join("store")).unwrap();
        let capabilities = store.capabilities();
        let opened = Arc::new(AtomicUsize::new(0));
        let count = opened.clone();
        let hooked = HookedStore::new(store, move |call| {
            count.fetch_add(usize::from(call.operation == "open_file"), Ordering::Relaxed);
            ready(Reaction::Pass)
        });
        let session = gallery(&sandbox, hooked.with_capabilities(capabilities), true).await;
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(odd_disk()))).await.unwrap();
        set_modified(&pack_below(directory.path()), hour_ago());
        let (out, digest) =
            (directory.path().join("out"), async |folder: &Path, format: WrittenFormat, read: DiskFormat| {
                let out = folder.join("out");
                let deployment = session.deploy(sandbox.version("1.0.0"), "westeurope").format(format);
                deployment.sync(false).to_path(&out).await.unwrap();
                ImageDigest::of(DiskSource::path(&out, read)).unwrap()
            });
        let read = digest(directory.path(), WrittenFormat::Raw, DiskFormat::Raw).await;
        assert_eq!((opened.load(Ordering::Relaxed), fs::read(&out).unwrap() == odd_disk()), (0, true));
        let copied = digest(directory.path(), WrittenFormat::Raw, DiskFormat::Raw).await;
        assert_eq!((opened.load(Ordering::Relaxed), fs::read(&out).unwrap() == odd_disk()), (1, true));
        assert_eq!(copied, read);
        // Of another file system than the store's, if there is one.
        let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        assert_eq!(digest(elsewhere.path(), WrittenFormat::Raw, DiskFormat::Raw).await, read);
        // In a format of blocks, what follows each other in the pack may not in the file.
        let qcow2 = digest(directory.path(), WrittenFormat::Qcow2, DiskFormat::Qcow2).await;
        let fixed = digest(directory.path(), WrittenFormat::Vhd, DiskFormat::Vhd).await;
        assert_eq!((qcow2, fixed), (read, read));
        assert_eq!(opened.load(Ordering::Relaxed), 4);
    });
}

/// A damaged head leads to what is left of it, where the place of a record may be wrong: what was verified before says nothing of that.
#[test]
fn a_head_that_is_damaged_after_its_records_were_verified_writes_no_wrong_byte() {
    block_on(async {
        let (directory, sandbox) = (tempfile::tempdir().unwrap(), Sandbox::new().await.unwrap());
        let store = FsStore::create(directory.path().join("store")).unwrap();
        let session = gallery(&sandbox, store, true).await;
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(odd_disk()))).await.unwrap();
        let (pack, out, modified) = (pack_below(directory.path()), directory.path().join("out"), hour_ago());
        set_modified(&pack, modified);
        let deploy = async || {
            let deployed = session.deploy(sandbox.version("1.0.0"), "westeurope").sync(false).to_path(&out).await;
            deployed.map(|_| fs::read(&out).unwrap() == odd_disk())
        };
        assert!(deploy().await.unwrap());
        let good = fs::read(&pack).unwrap();
        let mut found = 0;
        for at in (0..4_096).step_by(9) {
            let mut bytes = good.clone();
            *bytes.get_mut(at).unwrap() ^= 1 << (at % 8);
            fs::write(&pack, bytes).unwrap();
            set_modified(&pack, modified);
            match deploy().await {
                Ok(is_equal) => assert!(is_equal, "a bit of byte {at} has flipped, and the disk is another"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    found += 1;
                }
            }
        }
        assert_ne!(found, 0);
    });
}
