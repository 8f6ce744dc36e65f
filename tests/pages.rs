//! Manifests in pages: a version that needs records of more packs than a root names.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, MemoryStore, PutMode};
use compute_gallery::testkit::{Sandbox, noise};
use futures::executor::block_on;

const CHUNK: usize = 64 << 10;

/// Each version changes one chunk of the one before, and so needs one pack more.
const VERSIONS: usize = 300;

async fn publish(sandbox: &Sandbox, number: usize, disk: &[u8]) {
    let regions = if number == VERSIONS { "westeurope=1,eastus=1" } else { "westeurope=1" };
    sandbox.publish_to(&format!("1.0.{number}"), regions, disk.to_vec()).await.unwrap();
}

/// The bytes of the manifests of one slot, by key.
async fn manifests(store: &MemoryStore, region: &str) -> Vec<(BlobKey, u64)> {
    let under = format!("regions/{region}/slots/0/manifests").parse().unwrap();
    let listed = store.list_all(Some(&under)).await.unwrap();
    listed.into_iter().map(|blob| (blob.key, blob.size)).collect()
}

#[test]
fn pages_are_shared_kept_mended_and_collected() {
    block_on(async {
        let store = MemoryStore::new();
        let sandbox = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
        let session = sandbox.session();
        let mut disk = noise(0, (VERSIONS + 1) * CHUNK);
        let mut written = Vec::new();
        for number in 0..=VERSIONS {
            disk[number * CHUNK..(number + 1) * CHUNK].copy_from_slice(&noise(number as u64 + 1, CHUNK));
            let before: u64 = manifests(&store, "westeurope").await.iter().map(|(_, size)| size).sum();
            publish(&sandbox, number, &disk).await;
            let after: u64 = manifests(&store, "westeurope").await.iter().map(|(_, size)| size).sum();
            written.push(after - before);
            // Of the chain, the newest alone is left: it needs pages that versions wrote which are gone.
            if number >= 8 && number % 8 == 0 {
                for old in number - 8..number {
                    session.delete(sandbox.version(&format!("1.0.{old}"))).await.unwrap();
                }
                session.collect().await.unwrap();
            }
        }
        let newest = format!("1.0.{VERSIONS}");
        // The root of the index has 9 KiB; all packs in one blob would take 20 KiB more.
        let last = written[VERSIONS];
        assert!(
            last < 24_000 && last < written[250],
            "{last} bytes for the manifest of one change, {} before",
            written[250]
        );
        let pages = manifests(&store, "westeurope").await;
        assert!(pages.len() > 4, "{pages:?}");
        assert!(sandbox.deployed(&newest, "westeurope").await.unwrap() == disk);
        assert!(sandbox.deployed(&newest, "eastus").await.unwrap() == disk, "all pages went to the other region");

        // The newest alone is in both regions.
        for old in VERSIONS - VERSIONS % 8..VERSIONS {
            session.delete(sandbox.version(&format!("1.0.{old}"))).await.unwrap();
        }
        session.collect().await.unwrap();
        let pages = manifests(&store, "westeurope").await;

        // A damaged or lost page is served by the other region, and mended.
        for (key, _) in &pages {
            let good = store.get(key, None).await.unwrap();
            let mut flipped = good.to_vec();
            *flipped.last_mut().unwrap() ^= 1;
            store.put(key, flipped.into(), PutMode::Overwrite).await.unwrap();
            let report = session.scrub("westeurope").await.unwrap();
            assert_eq!((report.mended, report.damaged), (1, 0), "{key}");
            assert!(store.get(key, None).await.unwrap() == good, "{key}");
        }
        for (key, _) in &pages {
            store.delete(key).await.unwrap();
        }
        assert!(sandbox.deployed(&newest, "westeurope").await.unwrap() == disk);
        let mut there = manifests(&store, "westeurope").await;
        there.sort();
        let mut wanted = pages.clone();
        wanted.sort();
        assert_eq!(there, wanted, "whoever reads a manifest mends it");

        session.delete(sandbox.version(&newest)).await.unwrap();
        session.collect().await.unwrap();
        assert!(store.list_all(Some(&"regions/westeurope/slots".parse().unwrap())).await.unwrap().is_empty());
        assert!(store.list_all(Some(&"regions/eastus/slots".parse().unwrap())).await.unwrap().is_empty());
    });
}
