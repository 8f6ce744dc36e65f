//! Several processes on one store: they never break a rule between them, and one that is killed loses nothing.
//!
//! The test binary runs itself again for the other processes; an environment variable tells a child its store.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::host::{SystemClock, SystemEntropy, Workers};
use compute_gallery::image::ImageDigest;
use compute_gallery::model::*;
use compute_gallery::read::ListScope;
use compute_gallery::store::FsStore;
use compute_gallery::testkit::{Sandbox, SandboxBuilder, noise};
use compute_gallery::*;
use futures::executor::block_on;

const STORE: &str = "COMPUTE_GALLERY_TEST_STORE";

/// This test again, in a process of its own, on the store in `directory`.
fn child(test: &str, directory: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(STORE, directory).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// In a child: its store's directory.
fn role() -> Option<PathBuf> {
    std::env::var_os(STORE).map(PathBuf::from)
}

/// A process as in production: its clock, randomness and threads are the system's.
fn settings(directory: &Path) -> SandboxBuilder {
    let sandbox = Sandbox::builder().one_store(FsStore::open_or_create(directory.join("store")).unwrap());
    sandbox.service(|builder| builder.clock(SystemClock).entropy(SystemEntropy).workers(Workers::default()))
}

/// A process that has nothing but a limit of galleries.
async fn limited(directory: &Path, galleries: usize) -> Sandbox {
    let limits = Limits::default().with_galleries(galleries);
    let settings = settings(directory).empty().service(move |builder| builder.limits(limits.clone()));
    settings.build().await.unwrap()
}

fn gallery(name: &str) -> Gallery {
    let id = format!("/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/{name}");
    Gallery::new(id.parse().unwrap(), "westeurope".parse().unwrap())
}

#[test]
fn processes_that_race_for_the_last_places_get_each_once() {
    const LIMIT: usize = 10;
    if let Some(directory) = role() {
        block_on(async {
            let sandbox = limited(&directory, LIMIT).await;
            let session = sandbox.session();
            let writers = (0..8).map(|number| gallery(&format!("g{}x{number}", std::process::id())));
            let writers = writers.map(|gallery| session.create_gallery(gallery));
            for outcome in futures::future::join_all(writers).await {
                match outcome {
                    Ok(_) => println!("created"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}"),
                }
            }
        });
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let test = "processes_that_race_for_the_last_places_get_each_once";
    let children: Vec<Child> = (0..4).map(|_| child(test, directory.path())).collect();
    let mut created = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        created += String::from_utf8_lossy(&output.stdout).matches("created").count();
    }
    assert_eq!(created, LIMIT);
    let listed = block_on(async {
        limited(directory.path(), LIMIT).await.session().view().galleries(&ListScope::All, None, usize::MAX).items.len()
    });
    assert_eq!(listed, LIMIT);
}

/// Publishes and replicates, whatever an earlier process has done of it.
async fn finish(directory: &Path) {
    let sandbox = settings(directory).build().await.unwrap();
    let source = DiskSource::path(directory.join("disk.raw"), DiskFormat::Raw);
    match sandbox.session().publish(sandbox.new_version("1.0.0", "westeurope=2,eastus=2", source)).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
    }
    sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap();
}

fn packs(directory: &Path) -> usize {
    let mut ahead = vec![directory.join("store/regions")];
    let mut count = 0;
    while let Some(directory) = ahead.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => ahead.push(entry.path()),
                false => count += usize::from(entry.path().to_str().unwrap().contains("/packs/")),
            }
        }
    }
    count
}

#[test]
fn a_process_killed_at_any_pack_is_taken_up_by_the_next() {
    if let Some(directory) = role() {
        return block_on(finish(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = noise(1, 96 << 20);
    std::fs::write(directory.path().join("disk.raw"), &disk).unwrap();
    // Seven packs in each of four slots: killed when the first, the third, … of all of them has arrived.
    for kill_at in (1..28).step_by(5) {
        let mut child = child("a_process_killed_at_any_pack_is_taken_up_by_the_next", directory.path());
        while packs(directory.path()) < kill_at && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    block_on(async {
        finish(directory.path()).await;
        let sandbox = settings(directory.path()).build().await.unwrap();
        for region in ["westeurope", "eastus"] {
            assert!(sandbox.deployed("1.0.0", region).await.unwrap() == disk, "{region}");
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_bounded_whatever_the_size_of_the_disk() {
    if let Some(directory) = role() {
        block_on(async {
            finish(&directory).await;
            let sandbox = settings(&directory).build().await.unwrap();
            let deployment = sandbox.session().deploy(sandbox.version("1.0.0"), "eastus");
            deployment.to_path(directory.join("deployed.raw")).await.unwrap();
        });
        print!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(directory.path().join("disk.raw")).unwrap();
    file.set_len(1 << 40).unwrap();
    // A terabyte with 400 pieces of a MiB, each another.
    for number in 1..=400_u64 {
        let mut block = number.to_le_bytes().repeat(1 << 17);
        block.chunks_mut(64 << 10).zip(0..).for_each(|(chunk, at)| chunk[8] = at);
        file.seek(SeekFrom::Start(number * (5 << 29))).unwrap();
        file.write_all(&block).unwrap();
    }
    drop(file);
    let child = child("memory_stays_bounded_whatever_the_size_of_the_disk", directory.path());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status = String::from_utf8(output.stdout).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
    assert!(kib < 300 << 10, "{kib} KiB");
    let digest = |name: &str| ImageDigest::of(DiskSource::path(directory.path().join(name), DiskFormat::Raw)).unwrap();
    assert_eq!(digest("deployed.raw"), digest("disk.raw"));
}
