//! Small packs of many versions are merged: the newest is read with hardly more requests than a version that was published alone, nothing
//! takes more room, and nothing that goes on at the same time notices.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use compute_gallery::content::Compression;
use compute_gallery::model::Region;
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, Capabilities, MemoryStore, PutMode};
use compute_gallery::testkit::{Call, HookedStore, Reaction, Sandbox, noise, raw};
use compute_gallery::{Error, Session};
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{Either, select};

const MIB: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// A store as a bucket, which counts its requests.
fn counted(store: &MemoryStore) -> (HookedStore, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    let store = HookedStore::new(store.clone(), move |call: Call| {
        let counts = u64::from(call.operation != "persist");
        count.fetch_add(counts, Ordering::SeqCst);
        async { Reaction::Pass }
    });
    (store.with_capabilities(Capabilities::default().with_remounts(false)), calls)
}

async fn sandbox_of(west: impl BlobStore) -> Sandbox {
    let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).store("westeurope", west);
    sandbox.service(|builder| builder.compression(Compression::Later)).build().await.unwrap()
}

fn number(version: usize) -> String {
    format!("1.0.{version}")
}

async fn publish(sandbox: &Sandbox, version: usize, regions: &str, disk: &[u8]) {
    let new = sandbox.new_version(&number(version), regions, raw(disk.to_vec()));
    sandbox.session().publish(new).await.unwrap();
}

/// Publishes versions of a disk, each of which replaces `changed` bytes of the one before. Returns all disks.
async fn chain(sandbox: &Sandbox, versions: usize, bytes: usize, changed: impl Fn(usize) -> Vec<std::ops::Range<usize>>) -> Vec<Vec<u8>> {
    let mut disks = vec![noise(1, bytes)];
    publish(sandbox, 0, "westeurope", &disks[0]).await;
    for version in 1..versions {
        let mut disk = disks[version - 1].clone();
        for (number, range) in changed(version).into_iter().enumerate() {
            let length = range.len();
            disk[range].copy_from_slice(&noise((1000 * version + number) as u64, length));
        }
        publish(sandbox, version, "westeurope", &disk).await;
        disks.push(disk);
    }
    disks
}

async fn comes_back(sandbox: &Sandbox, version: usize, region: &str, disk: &[u8]) {
    assert!(sandbox.deployed(&number(version), region).await.unwrap() == disk, "version {version} deployed in {region}");
}

async fn all_come_back(sandbox: &Sandbox, disks: &[Vec<u8>]) {
    for (version, disk) in disks.iter().enumerate() {
        comes_back(sandbox, version, "westeurope", disk).await;
    }
}

/// The stored blobs of the slots in a folder.
async fn blobs(store: &impl BlobStore, folder: &str) -> Vec<(BlobKey, u64)> {
    let listed = store.list_all(Some(&"slots".parse().unwrap())).await.unwrap();
    listed.into_iter().filter(|blob| blob.key.as_str().contains(folder)).map(|blob| (blob.key, blob.size)).collect()
}

async fn stored(store: &impl BlobStore) -> u64 {
    blobs(store, "").await.iter().map(|(_, size)| size).sum()
}

async fn compressed(session: &Session) -> usize {
    session.compress().await.unwrap().regions.iter().map(|region| region.merged_packs).sum()
}

/// Deploys a version of a service that has read nothing yet, and counts the requests to the region's store.
async fn requests(sandbox: &Sandbox, calls: &AtomicU64, version: usize, disk: &[u8]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let before = calls.load(Ordering::SeqCst);
    sandbox.session().deploy(sandbox.version(&number(version)), "westeurope").sync(false).to_path(&path).await.unwrap();
    let made = calls.load(Ordering::SeqCst) - before;
    assert!(std::fs::read(&path).unwrap() == disk, "version {version}");
    made
}

/// Requests for the newest of 60 versions, for the same disk alone, before and after the step; the bytes stored before and after.
async fn figures(bytes: usize, changed: impl Fn(usize) -> Vec<std::ops::Range<usize>>) -> (u64, u64, u64, u64, u64, u64) {
    let memory = MemoryStore::new();
    let (store, calls) = counted(&memory);
    let sandbox = sandbox_of(store).await;
    let disks = chain(&sandbox, 60, bytes, changed).await;
    let unmerged = requests(&sandbox, &calls, 59, &disks[59]).await;
    let before = stored(&memory).await;
    assert!(compressed(sandbox.session()).await > 59);
    let (after, merged) = (stored(&memory).await, requests(&sandbox, &calls, 59, &disks[59]).await);
    assert_eq!(compressed(sandbox.session()).await, 0, "once is enough");
    for version in [0, 1, 30, 58, 59] {
        comes_back(&sandbox, version, "westeurope", &disks[version]).await;
    }

    let (store, calls) = counted(&MemoryStore::new());
    let alone = sandbox_of(store).await;
    publish(&alone, 0, "westeurope", &disks[59]).await;
    let fresh = requests(&alone, &calls, 0, &disks[59]).await;
    alone.session().compress().await.unwrap();
    (unmerged, merged, fresh, requests(&alone, &calls, 0, &disks[59]).await, before, after)
}

#[test]
fn the_newest_of_sixty_versions_is_read_with_hardly_more_requests_than_one_alone() {
    // A mebibyte in another place each time; sixteen chunks over the disk; the same mebibyte each time; nearly all of the disk.
    let apart = |version: usize| vec![4 * MIB * version..4 * MIB * version + MIB];
    let scattered = |version: usize| (0..16).map(|at| (at * 240 + version * 3) * CHUNK).map(|at| at..at + CHUNK).collect();
    let same = |_: usize| vec![9 * MIB..10 * MIB];
    let all = |version: usize| vec![version * MIB..(version + 1) * MIB];
    let mut told = Vec::new();
    told.push(("apart", block_on(figures(256 * MIB, apart))));
    told.push(("scattered", block_on(figures(256 * MIB, scattered))));
    told.push(("same", block_on(figures(64 * MIB, same))));
    told.push(("all", block_on(figures(64 * MIB, all))));
    for (name, (unmerged, merged, fresh, alone, before, after)) in &told {
        println!("{name}: {unmerged} requests before, {merged} after; alone {fresh} fresh, {alone} compressed; bytes {before} -> {after}");
    }
    for (name, (_, merged, fresh, alone, before, after)) in told {
        assert!(merged * 10 <= alone * 13, "{name}: {merged} requests, alone {alone}");
        assert!(merged * 10 <= fresh * 13, "{name}: {merged} requests, alone {fresh}");
        assert!(after * 100 <= before * 105, "{name}: {after} bytes, before {before}");
    }
}
