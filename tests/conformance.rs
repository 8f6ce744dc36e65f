//! Every store that comes with the crate keeps the contract.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::path::Path;
use std::sync::Arc;

use compute_gallery::host::{Clock, Deadlines, SystemClock, SystemEntropy, Workers};
use compute_gallery::store::{
    BlobStore, Durability, FsStore, MemoryStore, Prefixed, RetryPolicy, Retrying, WithDeadline,
};
use compute_gallery::testkit::{FaultyStore, YieldingStore, conformance};
use futures::executor::block_on;
use tempfile::TempDir;

/// Stores in fresh directories that live as long as the test.
fn fresh(directory: &TempDir, durability: Durability) -> FsStore {
    let root = tempfile::tempdir_in(directory).unwrap().keep();
    FsStore::open_or_create_with(root, durability).unwrap()
}

#[test]
fn memory() {
    let report = block_on(conformance::run(|| async { MemoryStore::new() }));
    report.assert_all_passed();
    assert!(report.passed.len() > 100, "README says that there are more than a hundred cases: {}", report.passed.len());
}

#[test]
fn memory_with_deep_copies() {
    for workers in [Workers::inline(), Workers::default()] {
        let new = || async { MemoryStore::new().with_deep_copies(workers.clone()) };
        block_on(conformance::run(new)).assert_all_passed();
    }
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    block_on(conformance::run(|| async { fresh(&directory, Durability::Full) })).assert_all_passed();
}

#[test]
fn files_lost_on_power_cut() {
    let directory = tempfile::tempdir().unwrap();
    block_on(conformance::run(|| async { fresh(&directory, Durability::LostOnPowerCut) })).assert_all_passed();
}

#[test]
fn files_on_the_calling_thread() {
    let directory = tempfile::tempdir().unwrap();
    let new = || async { fresh(&directory, Durability::LostOnPowerCut).with_workers(Workers::inline()) };
    block_on(conformance::run(new)).assert_all_passed();
}

#[test]
fn a_shared_store_of_any_kind() {
    block_on(conformance::run(|| async { Arc::new(MemoryStore::new()) as Arc<dyn BlobStore> })).assert_all_passed();
    block_on(conformance::run(|| async { Box::new(MemoryStore::new()) as Box<dyn BlobStore> })).assert_all_passed();
}

/// A directory, because its calls are not done at once.
#[test]
fn a_store_that_is_asked_again_and_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let new = || async {
        let ends =
            WithDeadline::new(fresh(&directory, Durability::LostOnPowerCut), Deadlines::default(), clock.clone());
        Retrying::new(ends, RetryPolicy::default(), clock.clone(), Arc::new(SystemEntropy))
    };
    block_on(conformance::run(new)).assert_all_passed();
}

#[test]
fn a_part_of_memory() {
    block_on(conformance::run(|| async { Prefixed::new(MemoryStore::new(), "tenants/7".parse().unwrap()) }))
        .assert_all_passed();
}

#[test]
fn a_part_of_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let new = || async { Prefixed::new(fresh(&directory, Durability::LostOnPowerCut), "tenants/7".parse().unwrap()) };
    block_on(conformance::run(new)).assert_all_passed();
}

#[test]
fn a_faulty_store_without_faults_and_a_yielding_store() {
    block_on(conformance::run(|| async { FaultyStore::new(MemoryStore::new()) })).assert_all_passed();
    block_on(conformance::run(|| async { YieldingStore::new(MemoryStore::new()) })).assert_all_passed();
}

#[test]
fn four_processes_race_in_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let open = |shared: &Path| FsStore::open_or_create(shared).unwrap();
    let name = "four_processes_race_in_one_directory";
    assert_eq!(conformance::race_processes(name, directory.path(), open, 250), Ok(()));
}

/// A suite that passes everything proves nothing: it has to find the broken promise.
#[test]
fn a_broken_store_is_found_out() {
    use compute_gallery::store::StoreErrorKind;
    use compute_gallery::testkit::Fault;

    let report = block_on(conformance::run(|| async {
        let store = FaultyStore::new(MemoryStore::new());
        store.faults().fail_from(1, Fault::Before(StoreErrorKind::Unavailable));
        store
    }));
    assert!(report.failed.len() > 80, "{report}");
    assert!(report.to_string().contains("a_created_blob_reads_back: an unexpected error"), "{report}");
}
