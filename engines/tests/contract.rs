//! The contract of a store, kept by a bucket of each protocol.

mod fake;

use std::future::ready;
use std::sync::Arc;

use compute_gallery::host::SystemEntropy;
use compute_gallery::store::{BlobStore, ObjectStoreBlobs};
use compute_gallery::testkit::conformance;
use fake::{Fake, Protocol};
use futures::executor::block_on;

fn contract(protocol: Protocol) {
    let fake = Fake::new();
    let report = block_on(conformance::run(|| {
        fake.clear("west");
        ready(fake.open(protocol, "west", "a/prefix"))
    }));
    println!("{protocol:?}: {} promises in {:?}", report.passed.len(), fake.counted());
    report.assert_all_passed();
}

#[test]
fn a_bucket_of_s3_keeps_the_contract() {
    contract(Protocol::S3);
}

#[test]
fn a_container_of_azure_keeps_the_contract() {
    contract(Protocol::Azure);
}

#[test]
fn a_bucket_of_google_keeps_the_contract() {
    contract(Protocol::Google);
}

/// S3 and its likes claim conditional changes only after a look.
#[test]
fn a_bucket_of_s3_keeps_what_it_claims_after_a_look() {
    let promises = [
        "a_blob_that_differs_has_another_version",
        "a_listing_tells_the_version_that_head_tells",
        "a_replacement_of_the_version_that_is_there_is_made",
        "a_replacement_of_another_version_is_refused",
        "a_replacement_of_what_is_absent_is_refused",
        "a_deletion_of_the_version_that_is_there_is_made",
        "a_deletion_of_another_version_is_refused",
        "a_deletion_of_a_version_that_is_gone_is_fine",
        "of_many_replacements_of_a_version_exactly_one_wins",
    ];
    let fake = Fake::new();
    for promise in promises {
        fake.clear("west");
        let store = block_on(fake.open(Protocol::S3, "west", "").probed(&SystemEntropy)).unwrap();
        assert!(store.capabilities().changes_conditionally());
        block_on(conformance::run_case(promise, store)).assert_all_passed();
    }
}

#[test]
fn a_store_of_another_crate_keeps_the_contract() {
    for prefix in ["", "a/prefix"] {
        let new = || ObjectStoreBlobs::new(Arc::new(object_store::memory::InMemory::new()), prefix).unwrap();
        block_on(conformance::run(|| ready(new()))).assert_all_passed();
    }
}
