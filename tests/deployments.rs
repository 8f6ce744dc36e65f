//! Files that deployments write: what one leaves behind, the next one takes away.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Once};

use compute_gallery::deploy::Deployed;
use compute_gallery::model::*;
use compute_gallery::store::{BlobStore, FsStore, MemoryStore};
use compute_gallery::testkit::{Sandbox, SandboxBuilder};
use compute_gallery::*;
use futures::executor::block_on;

const DIRECTORY: &str = "COMPUTE_GALLERY_TEST_DEPLOYMENT";

fn home() -> Region {
    "westeurope".parse().unwrap()
}

/// A disk of 24 MiB, another for each number.
fn disk(number: u32) -> Vec<u8> {
    (0..24_usize << 20).map(|at| (at / 4096 * 7 + at % 251) as u8 ^ number as u8).collect()
}

fn settings(store: impl BlobStore) -> SandboxBuilder {
    Sandbox::builder().regions(["westeurope"]).one_store(store)
}

/// Versions 1.0.0 and 1.0.1 in a store.
fn with_two_versions(store: impl BlobStore) -> Sandbox {
    block_on(async {
        let sandbox = settings(store).build().await.unwrap();
        for number in 0..2 {
            sandbox.publish(&format!("1.0.{number}"), disk(number)).await.unwrap();
        }
        sandbox
    })
}

fn deployment(sandbox: &Sandbox, number: u32) -> Deployment {
    sandbox.session().deploy(sandbox.version(&format!("1.0.{number}")), home())
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "store")
        .collect();
    names.sort();
    names
}

/// In the process that is killed: deploys until something is written, and stands still.
fn deploy_and_stand_still(directory: &Path) {
    block_on(async {
        let settings = settings(FsStore::open(directory.join("store")).unwrap()).empty().seed(1);
        let deployment = deployment(&settings.build().await.unwrap(), 0).on_progress(|_| {
            println!("\nnow");
            // Until it is killed: its input stays open and empty.
            let _ = std::io::stdin().read(&mut [0]);
        });
        deployment.to_path(directory.join("out.raw")).await.unwrap();
    });
}

#[test]
fn leftovers_of_a_killed_deployment_go_with_the_next_one_to_that_file() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return deploy_and_stand_still(directory.as_ref());
    }
    let directory = tempfile::tempdir().unwrap();
    let sandbox = with_two_versions(FsStore::create(directory.path().join("store")).unwrap());
    let out = directory.path().join("out.raw");
    for next in [0, 1] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "leftovers_of_a_killed_deployment_go_with_the_next_one_to_that_file", "--nocapture"]);
        command.env(DIRECTORY, directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::result::Result::ok);
        assert!(lines.into_iter().any(|line| line == "now"), "it was never under way");
        child.kill().unwrap();
        child.wait().unwrap();
        let left: Vec<String> = names(directory.path()).into_iter().filter(|name| name != "out.raw").collect();
        assert!(matches!(left.as_slice(), [one] if one.starts_with("out.raw.partial-")), "{left:?}");
        // The same content, or another.
        block_on(deployment(&sandbox, next).to_path(&out)).unwrap();
        assert!(fs::read(&out).unwrap() == disk(next), "1.0.{next}");
        assert_eq!(names(directory.path()), ["out.raw"], "after 1.0.{next}");
    }
}

/// Deploys to `first` and, when that is under way, to `second`; the outcomes of both.
fn two_at_once(first: (u32, &Path), second: (u32, &Path)) -> (Result<Deployed>, Result<Deployed>) {
    let sandbox = Arc::new(with_two_versions(MemoryStore::new()));
    let (other, (number, path)) = (sandbox.clone(), (second.0, second.1.to_owned()));
    let (told, inner) = std::sync::mpsc::channel();
    let once = Once::new();
    let outer = deployment(&sandbox, first.0).on_progress(move |_| {
        once.call_once(|| {
            let (other, path) = (other.clone(), path.clone());
            #[expect(clippy::disallowed_methods, reason = "one executor does not run within another")]
            let thread = std::thread::spawn(move || block_on(deployment(&other, number).to_path(path)));
            told.send(thread.join().unwrap()).unwrap();
        });
    });
    let outer = block_on(outer.to_path(first.1));
    (outer, inner.recv().unwrap())
}

#[test]
fn two_deployments_of_one_content_to_one_file_do_not_write_into_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.raw");
    let (first, second) = two_at_once((0, &out), (0, &out));
    first.unwrap();
    // Whichever way the second goes: the file is whole and alone.
    if let Err(error) = second {
        assert_eq!((error.kind(), error.target()), (ErrorKind::Conflict, out.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("another deployment"), "{error}");
    }
    assert!(fs::read(&out).unwrap() == disk(0));
    assert_eq!(names(directory.path()), ["out.raw"]);
}

#[test]
fn two_deployments_of_other_contents_to_one_file_leave_one_of_them_whole() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.raw");
    let (first, second) = two_at_once((0, &out), (1, &out));
    first.unwrap();
    second.unwrap();
    assert!(fs::read(&out).unwrap() == disk(0), "the last to finish stands");
    assert_eq!(names(directory.path()), ["out.raw"]);
}

#[test]
fn a_deployment_takes_away_the_leftovers_of_its_own_file_only() {
    let directory = tempfile::tempdir().unwrap();
    let leftovers = ["out.raw.partial-0123456789abcdef", "other.raw.partial-0123456789abcdef"];
    let not_ours = ["out.raw.partial-mine", "out.raw.partial-0123456789ABCDEF", "out.raw.bak"];
    for name in leftovers.iter().chain(&not_ours) {
        fs::write(directory.path().join(name), b"x").unwrap();
    }
    let sandbox = with_two_versions(MemoryStore::new());
    block_on(deployment(&sandbox, 0).to_path(directory.path().join("out.raw"))).unwrap();
    let mut left = vec![leftovers[1], "out.raw"];
    left.extend(not_ours);
    left.sort_unstable();
    assert_eq!(names(directory.path()), left);
}
