//! The contract of a store, kept by a bucket of each protocol.

mod fake;

use std::future::ready;
use std::sync::Arc;

use compute_gallery::store::ObjectStoreBlobs;
use compute_gallery::testkit::conformance;
use fake::{Fake, PROTOCOLS};
use futures::executor::block_on;

#[test]
fn a_bucket_of_each_protocol_keeps_the_contract() {
    for protocol in PROTOCOLS {
        let fake = Fake::new();
        let started = std::time::Instant::now();
        let report = block_on(conformance::run(|| {
            fake.clear("west");
            ready(fake.open(protocol, "west", "a/prefix"))
        }));
        println!("{protocol:?}: {} promises, {:?}, {:?}", report.passed.len(), started.elapsed(), fake.counted());
        report.assert_all_passed();
    }
}

#[test]
fn a_store_of_another_crate_keeps_the_contract() {
    for prefix in ["", "a/prefix"] {
        let new = || ObjectStoreBlobs::new(Arc::new(object_store::memory::InMemory::new()), prefix).unwrap();
        block_on(conformance::run(|| ready(new()))).assert_all_passed();
    }
}
