//! Every input in the fuzzers' corpora, through the same functions: a bug that was found once stays found.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use compute_gallery::testkit::fuzz;

/// Replays a corpus; it is never empty.
fn replay(target: &str, run: fn(&[u8])) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count >= 5, "{target} has only {count} inputs");
}

#[test]
fn vhd() {
    replay("vhd", fuzz::vhd);
}

#[test]
fn qcow2() {
    replay("qcow2", fuzz::qcow2);
}

#[test]
fn vhdx() {
    replay("vhdx", fuzz::vhdx);
}

#[test]
fn vmdk() {
    replay("vmdk", fuzz::vmdk);
}

#[test]
fn resource_id() {
    replay("resource_id", fuzz::resource_id);
}

#[test]
fn catalog_entry() {
    replay("catalog_entry", fuzz::catalog_entry);
}

#[test]
fn content_index() {
    replay("content_index", fuzz::content_index);
}

#[test]
fn catalog_segment() {
    replay("catalog_segment", fuzz::catalog_segment);
}
