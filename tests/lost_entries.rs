//! A hole in the log is a hole, not its end.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;

use bytes::Bytes;
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{Fault, FaultyStore, Sandbox, noise, region};
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;

/// A gallery with a version that is deleted and one that is not, and nothing collected; its catalog, and its regions' store.
async fn sandbox() -> (Sandbox, MemoryStore, MemoryStore) {
    let (catalog, packs) = (MemoryStore::new(), MemoryStore::new());
    let sandbox = Sandbox::builder().catalog_store(catalog.clone()).one_store(packs.clone()).build().await.unwrap();
    for number in 0..2 {
        publish(&sandbox, number).await;
    }
    sandbox.session().delete(sandbox.version("1.0.0")).await.unwrap();
    (sandbox, catalog, packs)
}

/// Opens the catalog in another process.
async fn open(sandbox: &Sandbox) -> Result<Sandbox> {
    sandbox.reopen().build().await
}

fn disk(number: u32) -> Vec<u8> {
    noise(number.into(), 128 << 10)
}

async fn publish(sandbox: &Sandbox, number: u32) {
    sandbox.publish_to(&format!("1.0.{number}"), "westeurope=1,eastus=1", disk(number)).await.unwrap();
}

async fn blobs(store: &MemoryStore) -> BTreeMap<BlobKey, Bytes> {
    let mut blobs = BTreeMap::new();
    for blob in store.list_all(None).await.unwrap() {
        blobs.insert(blob.key.clone(), store.get(&blob.key, None).await.unwrap());
    }
    blobs
}

fn log(number: u64) -> BlobKey {
    format!("catalog/log/{number:020}").parse().unwrap()
}

#[test]
fn a_gap_in_the_log_is_corrupt() {
    block_on(async {
        let (sandbox, catalog, packs) = sandbox().await;
        let entries = catalog.list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap();
        assert!(entries.len() > 8, "{}", entries.len());
        let before = blobs(&packs).await;
        for (number, entry) in (1..).zip(&entries) {
            let bytes = catalog.get(&entry.key, None).await.unwrap();
            catalog.delete(&entry.key).await.unwrap();
            let opened = open(&sandbox).await;
            if number < entries.len() as u64 {
                let error = opened.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains(&format!("entry `{number}` is missing")), "{error}");
            } else if let Ok(opened) = opened {
                // A log that ends earlier is a log; but content that its stores know from the rest is not deleted.
                let _ = opened.session().view();
            }
            assert_eq!(blobs(&packs).await, before, "entry {number}");
            catalog.put(&entry.key, bytes, PutMode::Create).await.unwrap();
        }
        sandbox.session().collect().await.unwrap();
        assert!(sandbox.deployed("1.0.1", "eastus").await.unwrap() == disk(1));
    });
}

#[test]
fn nothing_is_condemned_by_a_process_that_takes_a_hole_for_the_end() {
    block_on(async {
        let (writer, catalog, packs) = sandbox().await;
        let behind = open(&writer).await.unwrap();
        let seen = catalog.list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap().len() as u64;
        publish(&writer, 2).await;
        // The entry that `behind` would read next is lost.
        let lost = catalog.get(&log(seen + 1), None).await.unwrap();
        catalog.delete(&log(seen + 1)).await.unwrap();
        let before = blobs(&packs).await;
        let error = behind.session().collect().await.unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt || error.kind() == ErrorKind::Unavailable, "{error}");
        assert_eq!(blobs(&packs).await, before);
        catalog.put(&log(seen + 1), lost, PutMode::Create).await.unwrap();
        behind.session().collect().await.unwrap();
        for number in [1, 2] {
            let deployed = behind.deployed(&format!("1.0.{number}"), "westeurope").await.unwrap();
            assert!(deployed == disk(number));
        }
    });
}

#[test]
fn a_foreign_file_in_the_log_is_named_with_a_fix() {
    block_on(async {
        for (key, bytes) in [("catalog/log/note", "x"), ("catalog/log/00000000000000000099", "")] {
            let (sandbox, catalog, _) = sandbox().await;
            let entries = catalog.list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap().len() as u64;
            let key: BlobKey = if bytes.is_empty() { log(entries + 1) } else { key.parse().unwrap() };
            catalog.put(&key, Bytes::from_static(bytes.as_bytes()), PutMode::Create).await.unwrap();
            let error = open(&sandbox).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let name = key.as_str().strip_prefix("catalog/").unwrap();
            assert!(error.to_string().contains(name) && error.to_string().contains("move it away"), "{error}");
            catalog.delete(&key).await.unwrap();
            open(&sandbox).await.unwrap();
        }
    });
}

#[test]
fn a_log_without_its_identity_is_not_begun_anew() {
    block_on(async {
        let (sandbox, catalog, packs) = sandbox().await;
        catalog.delete(&"catalog/identity".parse().unwrap()).await.unwrap();
        let error = open(&sandbox).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("identity"), "{error}");
        // With the regions at hand, and without them.
        for packs in [packs, MemoryStore::new()] {
            let builder = || GalleryService::builder().allow_all().catalog_store(catalog.clone()).store(packs.clone());
            builder().create().await.unwrap_err();
            builder().open_or_create().await.unwrap_err();
        }
        assert!(catalog.find(&"catalog/identity".parse().unwrap()).await.unwrap().is_none());
    });
}

#[test]
fn a_log_of_another_catalog_is_not_read() {
    block_on(async {
        let (sandbox, catalog, _) = sandbox().await;
        let other = MemoryStore::new();
        Sandbox::builder().seed(2).catalog_store(other.clone()).empty().build().await.unwrap();
        for (key, bytes) in blobs(&catalog).await {
            if key.as_str().starts_with("catalog/log") {
                other.put(&key, bytes, PutMode::Create).await.unwrap();
            }
        }
        let error = sandbox.reopen().catalog_store(other).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    });
}

#[test]
fn a_hole_below_a_checkpoint_ends_no_history_silently_and_a_checkpoint_ahead_of_its_log_is_refused() {
    block_on(async {
        let (sandbox, catalog, _) = sandbox().await;
        for number in 0..70 {
            let gallery = Gallery::new(sandbox.image().gallery().clone(), region("westeurope"));
            sandbox.session().update_gallery(gallery.with_description(number.to_string())).await.unwrap();
        }
        let lost = catalog.get(&log(5), None).await.unwrap();
        catalog.delete(&log(5)).await.unwrap();
        let opened = open(&sandbox).await.unwrap();
        let history: Vec<_> = opened.session().history(0).collect().await;
        let error = history.last().unwrap().as_ref().unwrap_err();
        assert!(history.len() >= 4 && error.to_string().contains("entry `5` is missing"), "{error}");
        catalog.put(&log(5), lost, PutMode::Create).await.unwrap();
        let history: Vec<_> = opened.session().history(0).collect().await;
        assert!(history.iter().all(|commit| commit.is_ok()));
        // The log was copied before its checkpoints were.
        for blob in catalog.list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap().iter().skip(60) {
            catalog.delete(&blob.key).await.unwrap();
        }
        let error = open(&sandbox).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("a checkpoint of commit `64`"), "{error}");
    });
}

#[test]
fn a_checkpoint_that_does_not_answer_is_not_taken_for_none() {
    block_on(async {
        let (sandbox, catalog, _) = sandbox().await;
        for number in 0..80 {
            let gallery = Gallery::new(sandbox.image().gallery().clone(), region("westeurope"))
                .with_description(number.to_string());
            sandbox.session().update_gallery(gallery).await.unwrap();
        }
        assert!(!catalog.list_all(Some(&"catalog/checkpoints".parse().unwrap())).await.unwrap().is_empty());
        let faulty = FaultyStore::new(catalog.clone());
        let reopening = sandbox.reopen().catalog_store(faulty.clone());
        for skipped in 0.. {
            faulty.faults().fail_call(skipped, Fault::Before(StoreErrorKind::Unavailable));
            let before = faulty.faults().calls();
            let opened = reopening.clone().build().await;
            let calls = faulty.faults().calls() - before;
            if calls <= skipped {
                faulty.faults().heal();
                break;
            }
            // Either it fails, or the call did not matter; but the whole log is never read instead.
            assert!(opened.is_err() || calls < 60, "{calls}");
        }
    });
}
