//! An error has its own words and, below them, its cause; neither repeats the other.
#![cfg(all(feature = "testkit", unix))]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::NewManagedImage;
use compute_gallery::store::{FsStore, MemoryStore, StoreError, StoreErrorKind};
use compute_gallery::testkit::{Fault, Sandbox, raw, region};
use compute_gallery::*;
use futures::executor::block_on;

const BOTH: &str = "westeurope=1,eastus=1";

async fn sandbox(catalog: impl store::BlobStore) -> Sandbox {
    Sandbox::builder().regions(["westeurope", "eastus"]).catalog_store(catalog).build().await.unwrap()
}

fn publishing(sandbox: &Sandbox, disk: DiskSource) -> Publication<ImageVersion> {
    sandbox.session().publish(sandbox.new_version("1.0.0", BOTH, disk))
}

fn disk() -> DiskSource {
    raw(vec![7; 1 << 20])
}

/// An error and everything below it.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

/// Typical failures, by name, with the cause that must be found below each.
async fn typical_failures(scratch: &Path) -> Vec<(&'static str, Error, io::ErrorKind)> {
    let mut failures = Vec::new();
    let missing = scratch.join("missing.raw");
    let healthy = sandbox(MemoryStore::new()).await;
    let session = healthy.session();
    let open = |path: &Path| DiskSource::path(path, DiskFormat::Raw);

    let error = publishing(&healthy, open(&missing)).await.unwrap_err();
    failures.push(("publish a missing file", error, io::ErrorKind::NotFound));
    let plan = publishing(&healthy, open(&missing)).plan().await.unwrap();
    failures.push(("plan to publish a missing file", plan.check().unwrap_err(), io::ErrorKind::NotFound));
    let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/web".parse().unwrap();
    let new = NewManagedImage::new(id, region("westeurope"), OsType::Linux, open(&missing));
    let error = session.create_managed_image(new).await.unwrap_err();
    failures.push(("a managed image of a missing file", error, io::ErrorKind::NotFound));

    publishing(&healthy, disk()).await.unwrap();
    let nowhere = scratch.join("no-directory").join("out.raw");
    let error = session.deploy(healthy.version("1.0.0"), "westeurope").to_path(&nowhere).await.unwrap_err();
    failures.push(("deploy into a directory that is not there", error, io::ErrorKind::NotFound));

    // The catalog's disk goes away.
    let root = scratch.join("catalog");
    let lost = sandbox(FsStore::open_or_create(&root).unwrap()).await;
    std::fs::rename(&root, scratch.join("elsewhere")).unwrap();
    let error = publishing(&lost, disk()).await.unwrap_err();
    failures.push(("publish without the catalog's disk", error, io::ErrorKind::NotFound));
    let error = lost.session().refresh().await.unwrap_err();
    failures.push(("refresh without the catalog's disk", error, io::ErrorKind::NotFound));
    failures
}

#[test]
fn the_cause_of_a_failure_is_below_its_error() {
    let scratch = tempfile::tempdir().unwrap();
    block_on(async {
        for (what, error, kind) in typical_failures(scratch.path()).await {
            let found = cause::<io::Error>(&error).map(io::Error::kind);
            assert_eq!(found, Some(kind), "{what}: {error:#}");
            let problem = error.problems().next().unwrap();
            assert!(cause::<io::Error>(problem).is_some(), "{what}: the problem by itself has lost it");
        }
    });
}

#[test]
fn a_file_that_may_not_be_read_says_so_and_by_what() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("secret.raw");
    std::fs::write(&path, vec![7; 512]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        // Nothing is forbidden to root. The other failures of this kind are held above.
        eprintln!("skipped: this user may read every file");
        return;
    }
    block_on(async {
        let sandbox = sandbox(MemoryStore::new()).await;
        let error = publishing(&sandbox, DiskSource::path(&path, DiskFormat::Raw)).await.unwrap_err();
        assert_eq!(cause::<io::Error>(&error).map(io::Error::kind), Some(io::ErrorKind::PermissionDenied));
        assert!(error.to_string().contains("lacks the right") && error.target().contains("secret.raw"), "{error}");
    });
}

#[test]
fn each_region_that_fails_has_its_own_cause() {
    block_on(async {
        let sandbox = sandbox(MemoryStore::new()).await;
        let (session, faults, id) = (sandbox.session(), sandbox.faults("eastus"), sandbox.version("1.0.0"));
        publishing(&sandbox, disk()).await.unwrap();
        faults.fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
        let error = session.replicate(&id).await.unwrap_err();
        let problem = error.problems().find(|problem| problem.target() == "eastus").unwrap();
        assert_eq!(cause::<StoreError>(problem).map(StoreError::kind), Some(StoreErrorKind::Unavailable));
        assert_eq!(cause::<StoreError>(&error).map(StoreError::kind), Some(StoreErrorKind::Unavailable));
        let plan = session.replicate(&id).plan().await.unwrap();
        assert!(plan.problems.iter().any(|problem| cause::<StoreError>(problem).is_some()), "{:?}", plan.problems);
    });
}

#[test]
fn an_error_repeats_no_words_of_its_cause() {
    let scratch = tempfile::tempdir().unwrap();
    block_on(async {
        let mut failures: Vec<(&str, Error)> = Vec::new();
        failures.extend(typical_failures(scratch.path()).await.into_iter().map(|(what, error, _)| (what, error)));
        let sandbox = sandbox(MemoryStore::new()).await;
        let (session, faults, id) = (sandbox.session(), sandbox.faults("eastus"), sandbox.version("1.0.0"));
        publishing(&sandbox, disk()).await.unwrap();
        for kind in [
            StoreErrorKind::Unavailable,
            StoreErrorKind::Unknown,
            StoreErrorKind::Full,
            StoreErrorKind::PermissionDenied,
        ] {
            faults.fail_from(0, Fault::Before(kind));
            failures.push(("replicate", session.replicate(&id).await.unwrap_err()));
        }
        faults.heal();
        for (what, error) in failures {
            let words: Vec<String> = chain(&error).map(ToString::to_string).collect();
            for (above, below) in words.iter().zip(words.iter().skip(1)) {
                assert!(!above.contains(below.as_str()), "{what}: `{above}` has the words of its cause `{below}`");
            }
            // Both with all causes: for a log, and what `main` prints.
            for told in [format!("{error:#}"), format!("{error:?}")] {
                for words in &words {
                    assert_eq!(told.matches(words.as_str()).count(), 1, "{what}: `{words}` in `{told}`");
                }
            }
            // The same for a printer that walks down by itself.
            let walked = words.join(": ");
            let last = words.last().unwrap();
            assert_eq!(walked.matches(last.as_str()).count(), 1, "{what}: {walked}");
        }
    });
}

#[test]
fn a_cause_that_includes_its_own_cause_is_not_repeated() {
    #[derive(Debug)]
    struct Chatty(Arc<io::Error>);
    impl std::fmt::Display for Chatty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "the bucket does not answer: {}", self.0)
        }
    }
    impl StdError for Chatty {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }
    let cause = Chatty(Arc::new(io::Error::other("the cable is cut")));
    let error = StoreError::new(StoreErrorKind::Unavailable, "put", None).with_source(cause);
    assert_eq!(format!("{error:#}").matches("the cable is cut").count(), 1, "{error:#}");
    assert!(format!("{error:#}").contains("the bucket does not answer"), "{error:#}");
}
