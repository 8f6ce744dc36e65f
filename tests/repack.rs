//! Small packs of many versions are merged: the newest is read with hardly more requests than a version that was published alone, nothing
//! takes more room, and nothing that goes on at the same time notices.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may fail as the test does")]
#![expect(clippy::single_range_in_vec_init, reason = "a version replaces ranges, here one")]

#[path = "kills/call.rs"]
mod call;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use call::reaction;
use compute_gallery::Session;
use compute_gallery::content::Compression;
use compute_gallery::model::{ImageVersion, Region};
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, Capabilities, MemoryStore, PutMode};
use compute_gallery::testkit::{Call, HookedStore, Reaction, Sandbox, noise, raw};
use futures::StreamExt;
use futures::executor::block_on;
use futures::future::{Either, select};

const MIB: usize = 1 << 20;
/// Of the calls of a step, tests kill and interrupt at each third; at each with `EVERY_CALL=yes`.
const APART: usize = 3;
const CHUNK: usize = 64 << 10;

/// The calls at which something happens.
fn calls() -> impl Iterator<Item = u64> {
    (0..).step_by(if std::env::var_os("EVERY_CALL").is_some() { 1 } else { APART })
}

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
async fn chain(
    sandbox: &Sandbox,
    versions: usize,
    bytes: usize,
    changed: impl Fn(usize) -> Vec<Range<usize>>,
) -> Vec<Vec<u8>> {
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
    assert!(
        sandbox.deployed(&number(version), region).await.unwrap() == disk,
        "version {version} deployed in {region}"
    );
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

/// Deletes all `versions`, collects, and finds nothing in the slots of the store.
async fn leaves_nothing(sandbox: &Sandbox, versions: usize, store: &impl BlobStore) {
    for version in 0..versions {
        sandbox.session().delete(sandbox.version(&number(version))).await.unwrap();
    }
    sandbox.session().collect().await.unwrap();
    assert_eq!(blobs(store, "").await, []);
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

/// The requests for the newest of 60 versions before and after the step, and those for the same disk alone; the bytes stored.
struct Figures {
    unmerged: u64,
    merged: u64,
    alone: u64,
    alone_fresh: u64,
    before: u64,
    after: u64,
}

async fn figures(bytes: usize, changed: impl Fn(usize) -> Vec<Range<usize>>) -> Figures {
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
    let alone_fresh = requests(&alone, &calls, 0, &disks[59]).await;
    alone.session().compress().await.unwrap();
    let alone = requests(&alone, &calls, 0, &disks[59]).await;
    Figures { unmerged, merged, alone, alone_fresh, before, after }
}

/// Checks what the step does to the requests for the newest of 60 versions, and to what is stored.
fn is_hardly_more(name: &str, bytes: usize, changed: impl Fn(usize) -> Vec<Range<usize>>) {
    let Figures { unmerged, merged, alone, alone_fresh, before, after } = block_on(figures(bytes, changed));
    println!(
        "{name}: {unmerged} requests, merged {merged}; alone {alone_fresh}, {alone} after the step; {before} bytes, {after} after"
    );
    assert!(merged * 10 <= alone * 13, "{name}: {merged} requests, alone {alone}");
    assert!(after * 100 <= before * 105, "{name}: {after} bytes, before {before}");
}

#[test]
fn the_newest_of_sixty_versions_is_read_with_hardly_more_requests_than_one_alone() {
    // Four chunks in another place each time.
    is_hardly_more("small", 32 * MIB, |version| vec![8 * CHUNK * version..8 * CHUNK * version + 4 * CHUNK]);
}

/// Takes a minute and 8 GiB of memory.
#[test]
#[ignore = "by hand: cargo test --release --features testkit --test repack -- --ignored --nocapture"]
fn the_newest_of_sixty_larger_versions_is_read_with_hardly_more_requests_than_one_alone() {
    // A mebibyte in another place each time; sixteen chunks anywhere; the same mebibyte each time; nearly all of the disk.
    is_hardly_more("apart", 128 * MIB, |version| vec![2 * MIB * version..2 * MIB * version + MIB]);
    is_hardly_more("scattered", 128 * MIB, |version| {
        let at = |number: u64| {
            (noise(version as u64 * 16 + number, 8)[0] as usize * 8 + noise(number, 8)[1] as usize % 8) * CHUNK
        };
        (0..16).map(at).map(|at| at..at + CHUNK).collect()
    });
    is_hardly_more("same", 64 * MIB, |_| vec![9 * MIB..10 * MIB]);
    is_hardly_more("all", 64 * MIB, |version| vec![version * MIB..(version + 1) * MIB]);
}

/// What is left of the first version's large packs lies alone, each chunk far from the next: a copy of it is beside the rest.
#[test]
#[ignore = "by hand, as above"]
fn the_newest_of_sixty_versions_is_read_as_one_alone_where_little_is_left_of_large_packs() {
    is_hardly_more("steps", 64 * MIB, |version| {
        (0..16).map(|at| (64 * at + version) * CHUNK).map(|at| at..at + CHUNK).collect()
    });
}

/// Twelve versions, each of which changes two chunks of a small disk.
async fn small_chain(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    chain(sandbox, 12, 40 * CHUNK, |version| vec![version * 3 * CHUNK..(version * 3 + 2) * CHUNK]).await
}

#[test]
fn what_was_merged_is_planned_reported_and_stays_within_its_budget() {
    block_on(async {
        let memory = MemoryStore::new();
        let sandbox = sandbox_of(memory.clone()).await;
        let (session, disks) = (sandbox.session(), small_chain(&sandbox).await);
        // A budget for what is compressed, and nothing more.
        let plan = session.compress().plan().await.unwrap().collection.unwrap();
        assert_eq!(plan.regions[0].merged_packs, 0, "what is to be compressed comes first");
        session.compress().at_most_bytes(1).await.unwrap();
        assert!(blobs(&memory, "/merged/").await.is_empty());
        let report = session.compress().await.unwrap();
        // The chunks and the node of each version but the first, whose index is its root, and whose disk is small, too.
        assert_eq!(report.regions[0].merged_packs, 12);
        assert!(report.regions[0].bytes > 0 && report.regions[0].blobs > 12);
        assert_eq!(blobs(&memory, "/merged/").await.len(), 1);
        assert_eq!(blobs(&memory, "/packs/").await.len(), 0);
        all_come_back(&sandbox, &disks).await;
        assert!(session.compress().await.unwrap().regions.is_empty());
        assert!(session.collect().await.unwrap().regions.is_empty());
        let scrubbed = session.scrub("westeurope").await.unwrap();
        assert_eq!((scrubbed.damaged, scrubbed.mended), (0, 0));
        // A range, and a version that shares what is merged.
        let region: Region = "westeurope".parse().unwrap();
        let reader = session.deploy(sandbox.version("1.0.11"), &region).open().await.unwrap();
        assert!(reader.read_at(5 * CHUNK as u64..8 * CHUNK as u64).await.unwrap() == disks[11][5 * CHUNK..8 * CHUNK]);
        let mut next = disks[11].clone();
        next[..CHUNK].copy_from_slice(&noise(77, CHUNK));
        publish(&sandbox, 12, "westeurope", &next).await;
        comes_back(&sandbox, 12, "westeurope", &next).await;
        leaves_nothing(&sandbox, 13, &memory).await;
    });
}

#[test]
fn at_most_half_of_a_merged_blob_is_dead_after_a_collection() {
    block_on(async {
        let memory = MemoryStore::new();
        let sandbox = sandbox_of(memory.clone()).await;
        let disk_bytes = 20 * CHUNK;
        // Every version is another disk.
        let disks = chain(&sandbox, 16, disk_bytes, |_| vec![0..disk_bytes]).await;
        let session = sandbox.session();
        assert_eq!(compressed(session).await, 16);
        let full = stored(&memory).await;
        for version in 2..14 {
            session.delete(sandbox.version(&number(version))).await.unwrap();
            session.collect().await.unwrap();
            let left = 16 - (version - 1) as u64;
            let (now, live) = (stored(&memory).await, full * left / 16);
            assert!(now <= 2 * live + 64 * 1024, "{now} bytes, {live} of them needed");
            for version in [0, 1, 14, 15] {
                comes_back(&sandbox, version, "westeurope", &disks[version]).await;
            }
        }
        assert_eq!(session.scrub("westeurope").await.unwrap().damaged, 0);
    });
}

/// A reader has found a part; before it reads on, the part is merged and removed, and what is merged is merged again.
#[test]
fn a_reader_goes_on_in_what_is_merged() {
    block_on(async {
        let sandbox = sandbox_of(MemoryStore::new()).await;
        let (session, disks) = (sandbox.session(), small_chain(&sandbox).await);
        let region: Region = "westeurope".parse().unwrap();
        let open = |version: usize| session.deploy(sandbox.version(&number(version)), &region).open();
        let readers = [open(11).await.unwrap(), open(3).await.unwrap()];
        for (reader, version) in readers.iter().zip([11, 3]) {
            assert!(reader.read_at(0..9).await.unwrap() == disks[version][..9]);
        }
        assert!(compressed(session).await > 0);
        for (reader, version) in readers.iter().zip([11, 3]) {
            assert!(reader.read_at(0..CHUNK as u64 * 20).await.unwrap() == disks[version][..CHUNK * 20]);
        }
        // More versions: the small merged blob is merged with theirs, and removed.
        let mut last = disks[11].clone();
        for version in 12..24 {
            last[..CHUNK].copy_from_slice(&noise(version as u64, CHUNK));
            publish(&sandbox, version, "westeurope", &last).await;
        }
        assert!(compressed(session).await > 12);
        for (reader, version) in readers.iter().zip([11, 3]) {
            assert!(reader.read_at(0..CHUNK as u64 * 40).await.unwrap() == disks[version]);
        }
    });
}

#[test]
fn a_region_and_a_replica_are_filled_from_what_is_merged() {
    block_on(async {
        let (west, east) = (MemoryStore::new(), MemoryStore::new());
        let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]);
        let sandbox = sandbox.store("westeurope", west.clone()).store("eastus", east.clone());
        let sandbox = sandbox.service(|builder| builder.compression(Compression::Later)).build().await.unwrap();
        let (session, disks) = (sandbox.session(), small_chain(&sandbox).await);
        assert!(compressed(session).await > 0);
        let version = session.refresh().await.unwrap().image_version(sandbox.version("1.0.11")).unwrap().clone();
        let profile = version.publishing_profile().clone().with_target_regions("westeurope=2,eastus".parse().unwrap());
        session
            .update_image_version(ImageVersion::clone(&version).with_publishing_profile(profile).unwrap())
            .await
            .unwrap();
        session.replicate(sandbox.version("1.0.11")).await.unwrap();
        comes_back(&sandbox, 11, "eastus", &disks[11]).await;
        assert!(blobs(&east, "/merged/").await.is_empty(), "a slot is merged by itself");
        // From the second replica alone.
        for (key, _) in blobs(&west, "slots/0/").await {
            west.delete(&key).await.unwrap();
        }
        comes_back(&sandbox, 11, "westeurope", &disks[11]).await;
    });
}

/// Flips each of some bytes of the merged blob: the version comes back, the scrub mends the member and leaves the others alone.
#[test]
fn damage_to_a_member_is_mended_and_the_others_stay() {
    block_on(async {
        let memory = MemoryStore::new();
        let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).store("westeurope", memory.clone());
        let sandbox = sandbox.service(|builder| builder.compression(Compression::Later)).build().await.unwrap();
        let mut disks = vec![noise(1, 40 * CHUNK)];
        publish(&sandbox, 0, "westeurope,eastus", &disks[0]).await;
        for version in 1..12 {
            let mut disk = disks[version - 1].clone();
            disk[version * CHUNK..(version + 1) * CHUNK].copy_from_slice(&noise(version as u64 + 5, CHUNK));
            publish(&sandbox, version, "westeurope,eastus", &disk).await;
            disks.push(disk);
        }
        let session = sandbox.session();
        for version in 0..12 {
            session.replicate(sandbox.version(&number(version))).await.unwrap();
        }
        assert!(compressed(session).await > 0);
        let (merged, size) = blobs(&memory, "/merged/").await.remove(0);
        let good = memory.get(&merged, None).await.unwrap();
        let links = blobs(&memory, "/parts/").await;
        let members = links.iter().filter(|(_, size)| *size == 0).count();
        assert_eq!(members, 12);
        for at in [10, 100, 4000, size as usize / 2, size as usize - 1] {
            let mut bad = good.to_vec();
            bad[at] ^= 4;
            memory.put(&merged, bad.into(), PutMode::Overwrite).await.unwrap();
            for version in [0, 5, 11] {
                comes_back(&sandbox, version, "westeurope", &disks[version]).await;
            }
            let scrubbed = session.scrub("westeurope").await.unwrap();
            assert_eq!(scrubbed.damaged, 0, "byte {at}");
            assert!(scrubbed.mended <= 1, "byte {at}: {} mended", scrubbed.mended);
            assert_eq!(session.scrub("westeurope").await.unwrap().mended, 0, "byte {at}");
        }
        // All of it is cut off, and then it is gone: the other region has everything.
        memory.put(&merged, good.slice(..5000), PutMode::Overwrite).await.unwrap();
        all_come_back(&sandbox, &disks).await;
        assert_eq!(session.scrub("westeurope").await.unwrap().damaged, 0);
        all_come_back(&sandbox, &disks).await;
        memory.delete(&merged).await.unwrap();
        assert_eq!(session.scrub("westeurope").await.unwrap().damaged, 0);
        all_come_back(&sandbox, &disks).await;
        session.collect().await.unwrap();
        session.compress().await.unwrap();
        all_come_back(&sandbox, &disks).await;
        assert_eq!(session.scrub("westeurope").await.unwrap().damaged, 0);
    });
}

/// Flips each of some bytes of the front, whose length is in the name of the blob: a scrub makes it anew, and a reader needs as few requests as
/// before.
#[test]
fn a_damaged_front_is_made_anew() {
    block_on(async {
        let (sandbox, [_, east], calls, disks) = halves(20, 19).await;
        let (session, name) = (sandbox.session(), blobs(&east, "/merged/").await.remove(0).0);
        let fields: Vec<&str> = name.as_str().rsplit('/').next().unwrap().split('-').collect();
        let front: usize = fields[1].parse().unwrap();
        let good = east.get(&name, None).await.unwrap();
        let of_newest = async || {
            let before = calls.load(Ordering::SeqCst);
            let reopened = sandbox.reopen().build().await.unwrap();
            comes_back(&reopened, 19, "eastus", &disks[19]).await;
            calls.load(Ordering::SeqCst) - before
        };
        let requests = of_newest().await;
        let places = (0..100).step_by(7).chain((100..front).step_by(front / 40)).chain([front - 1]);
        for at in places {
            flip(&east, &name, at).await;
            let scrubbed = session.scrub("eastus").await.unwrap();
            assert_eq!((scrubbed.mended, scrubbed.damaged, scrubbed.unreachable), (1, 0, 0), "byte {at}");
            assert!(east.get(&name, None).await.unwrap() == good, "byte {at}");
        }
        flip(&east, &name, 300).await;
        of_newest().await;
        assert_eq!(session.scrub("eastus").await.unwrap().mended, 1);
        assert_eq!(of_newest().await, requests);
        // Nothing else is mended that was not damaged, and a share of a scrub looks at fronts, too.
        assert_eq!(session.scrub("eastus").await.unwrap().mended, 0);
        flip(&east, &name, 64).await;
        let shares = async || {
            let (mut mended, mut next) = (0, Default::default());
            loop {
                let report = session.scrub("eastus").at_most_bytes(1 << 20).after(next).await.unwrap();
                mended += report.mended;
                match report.next {
                    Some(cursor) => next = cursor,
                    None => return mended,
                }
            }
        };
        assert_eq!((shares().await, shares().await), (1, 0));
    });
}

/// Nine versions of a small disk, all but the last two of which are compressed.
async fn nine(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let mut disks = vec![noise(1, 9 * CHUNK)];
    for version in 0..9 {
        if version == 7 {
            sandbox.session().compress().await.unwrap();
        }
        publish(sandbox, version, "westeurope", &disks[version]).await;
        let mut next = disks[version].clone();
        next[version * CHUNK..(version + 1) * CHUNK].copy_from_slice(&noise(2 + version as u64, CHUNK));
        disks.push(next);
    }
    disks.truncate(9);
    disks
}

/// What happens at a store call of the merging process.
type At = Box<dyn Fn(&Call) -> bool + Send + Sync>;

/// A sandbox whose merging ends, as by a kill, before the first store call for which `dies` holds; whether it ended by itself.
async fn killed(memory: &MemoryStore, dies: At, after: impl AsyncFnOnce(&Sandbox, &[Vec<u8>])) -> bool {
    let armed = Arc::new(AtomicBool::new(false));
    let (killed, mut kills) = futures::channel::mpsc::unbounded();
    let hook = {
        let armed = armed.clone();
        move |call: Call| {
            let dies = armed.load(Ordering::SeqCst) && dies(&call);
            reaction(dies, killed.clone())
        }
    };
    let sandbox = sandbox_of(HookedStore::new(memory.clone(), hook)).await;
    let disks = nine(&sandbox).await;
    armed.store(true, Ordering::SeqCst);
    let merging = Box::pin(async { sandbox.session().compress().await });
    let ended = match select(merging, kills.next()).await {
        Either::Left((done, _)) => done.is_ok(),
        Either::Right((_, merging)) => {
            drop(merging);
            false
        }
    };
    armed.store(false, Ordering::SeqCst);
    after(&sandbox, &disks).await;
    ended
}

/// Every store call of the step is the last one before the process is killed, in turn; another one goes on.
#[test]
fn a_merge_that_is_killed_anywhere_loses_nothing() {
    let mut survived = 0;
    for kill in calls() {
        let (memory, calls) = (MemoryStore::new(), AtomicU64::new(0));
        let dies = Box::new(move |_: &Call| calls.fetch_add(1, Ordering::SeqCst) >= kill);
        let ended = block_on(killed(&memory, dies, async |sandbox, disks| {
            let session = sandbox.session();
            for version in [0, 4, 8] {
                comes_back(sandbox, version, "westeurope", &disks[version]).await;
            }
            // A collection that compresses nothing, in between.
            session.collect().await.unwrap();
            session.compress().await.unwrap();
            session.collect().await.unwrap();
            all_come_back(sandbox, disks).await;
            assert_eq!(blobs(&memory, "/packs/").await, [], "killed at call {kill}");
            assert_eq!(blobs(&memory, "/merged/").await.len(), 1, "killed at call {kill}");
            // Fewer than it takes for another merge.
            assert!(blobs(&memory, "/parts/").await.iter().filter(|(_, size)| *size > 0).count() < 8);
            assert_eq!(session.scrub("westeurope").await.unwrap().damaged, 0);
        }));
        survived = kill;
        if ended {
            break;
        }
    }
    assert!(survived > 40, "{survived} calls");
}

/// Something else is done, from its begin to its end, before each store call of the step, in turn.
fn in_between(what: impl AsyncFn(&Session, &Sandbox) + Send + Sync + Copy + 'static) {
    let mut happened = 0;
    for at in calls() {
        let memory = MemoryStore::new();
        let ended = block_on(async {
            let (calls, is_there) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let (reached, mut reaches) = futures::channel::mpsc::unbounded();
            let go_on = Arc::new(Mutex::new(None::<futures::channel::oneshot::Receiver<()>>));
            let (release, released) = futures::channel::oneshot::channel();
            *go_on.lock().unwrap() = Some(released);
            let hook = {
                let (calls, is_there, go_on) = (calls.clone(), is_there.clone(), go_on.clone());
                move |_: Call| {
                    let stops = is_there.load(Ordering::SeqCst) && calls.fetch_add(1, Ordering::SeqCst) == at;
                    let wait = stops.then(|| go_on.lock().unwrap().take()).flatten();
                    let reached = reached.clone();
                    async move {
                        if let Some(wait) = wait {
                            reached.unbounded_send(()).unwrap();
                            let _ = wait.await;
                        }
                        Reaction::Pass
                    }
                }
            };
            let sandbox = sandbox_of(HookedStore::new(memory.clone(), hook)).await;
            let mut disks = nine(&sandbox).await;
            // Another process.
            let beside = sandbox.reopen().build().await.unwrap();
            is_there.store(true, Ordering::SeqCst);
            let merging = Box::pin(async { sandbox.session().compress().await });
            let (ended, merging) = match select(merging, reaches.next()).await {
                Either::Left((done, _)) => (done.is_ok(), None),
                Either::Right((_, merging)) => (false, Some(merging)),
            };
            is_there.store(false, Ordering::SeqCst);
            what(beside.session(), &beside).await;
            let _ = release.send(());
            if let Some(merging) = merging {
                // It may have lost a race.
                drop(merging.await);
            }
            let there = sandbox.session().refresh().await.unwrap();
            let is_left = |version: &usize| there.image_version(sandbox.version(&number(*version))).is_ok();
            let left: BTreeMap<usize, Vec<u8>> =
                (0..9).filter(is_left).map(|version| (version, std::mem::take(&mut disks[version]))).collect();
            for _ in 0..2 {
                for (version, disk) in &left {
                    comes_back(&sandbox, *version, "westeurope", disk).await;
                }
                sandbox.session().compress().await.unwrap();
                sandbox.session().collect().await.unwrap();
            }
            assert_eq!(sandbox.session().scrub("westeurope").await.unwrap().damaged, 0, "at call {at}");
            assert!(blobs(&memory, "/merged/").await.len() <= 2, "at call {at}");
            ended
        });
        happened = at;
        if ended {
            break;
        }
    }
    assert!(happened > 40, "{happened} calls");
}

#[test]
fn a_collection_beside_each_call_of_a_merge_loses_nothing() {
    in_between(async |session, _| drop(session.collect().await));
}

#[test]
fn another_merge_beside_each_call_of_a_merge_loses_nothing() {
    in_between(async |session, _| drop(session.compress().await));
}

#[test]
fn a_deletion_and_a_collection_beside_each_call_of_a_merge_lose_nothing_that_is_needed() {
    in_between(async |session, sandbox| {
        for version in [2, 3, 4, 5, 6] {
            session.delete(sandbox.version(&number(version))).await.unwrap();
        }
        drop(session.collect().await);
    });
}

/// Two regions, each with a store of its own, and the number of requests to the first. The first has `versions` versions, each of which
/// replaces two chunks, one of them that of the version before; the second has `there`, whose small packs are merged: so it has half of
/// most packs.
async fn halves(versions: usize, there: usize) -> (Sandbox, [MemoryStore; 2], Arc<AtomicU64>, Vec<Vec<u8>>) {
    let (west, east) = (MemoryStore::new(), MemoryStore::new());
    let (counted, calls) = counted(&west);
    let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).store("westeurope", counted);
    let sandbox = sandbox.store("eastus", east.clone());
    let sandbox = sandbox.service(|builder| builder.compression(Compression::Later)).build().await.unwrap();
    let changed = |version: usize| vec![version * CHUNK..(version + 2) * CHUNK];
    let disks = chain(&sandbox, versions, (versions + 2) * CHUNK, changed).await;
    goes_to_both(&sandbox, there).await;
    assert!(compressed(sandbox.session()).await > versions);
    assert!(blobs(&east, "/merged/").await.len() == 1);
    (sandbox, [west, east], calls, disks)
}

async fn goes_to_both(sandbox: &Sandbox, version: usize) {
    let (session, id) = (sandbox.session(), sandbox.version(&number(version)));
    let version = session.refresh().await.unwrap().image_version(&id).unwrap().clone();
    let profile = version.publishing_profile().clone().with_target_regions("westeurope,eastus".parse().unwrap());
    let both = ImageVersion::clone(&version).with_publishing_profile(profile).unwrap();
    session.update_image_version(both).await.unwrap();
    session.replicate(id).await.unwrap();
}

#[test]
fn what_a_replica_has_beside_a_member_of_its_pack_is_found() {
    block_on(async {
        let (sandbox, [_, east], calls, disks) = halves(40, 39).await;
        // It needs the other half of a pack.
        goes_to_both(&sandbox, 30).await;
        assert!(blobs(&east, "/parts/").await.iter().any(|(_, size)| *size > 0));
        for version in [30, 39] {
            let before = calls.load(Ordering::SeqCst);
            comes_back(&sandbox, version, "eastus", &disks[version]).await;
            assert_eq!(calls.load(Ordering::SeqCst), before, "version {version} is read from the other region");
        }
        let before = calls.load(Ordering::SeqCst);
        let reader = sandbox.session().deploy(sandbox.version(&number(30)), "eastus").open().await.unwrap();
        assert!(reader.read_at(0..32 * CHUNK as u64).await.unwrap() == disks[30][..32 * CHUNK]);
        assert_eq!(calls.load(Ordering::SeqCst), before);
    });
}

/// The links of a merged blob, each with the place of its member there.
async fn members(store: &impl BlobStore) -> Vec<(BlobKey, Range<usize>)> {
    let links = blobs(store, "/parts/").await;
    let place = |(key, _): (BlobKey, u64)| {
        let folder = key.segments().nth(5)?.to_owned();
        let fields: Vec<&str> = folder.split('-').collect();
        let [.., offset, length] = fields.as_slice() else { return None };
        let (offset, length): (usize, usize) = (offset.parse().ok()?, length.parse().ok()?);
        (fields.len() == 6).then_some((key, offset..offset + length))
    };
    links.into_iter().filter_map(place).collect()
}

async fn flip(store: &impl BlobStore, blob: &BlobKey, at: usize) {
    let mut bad = store.get(blob, None).await.unwrap().to_vec();
    bad[at] ^= 4;
    store.put(blob, bad.into(), PutMode::Overwrite).await.unwrap();
}

#[test]
fn a_member_that_was_mended_is_read_where_it_is_now() {
    block_on(async {
        let (sandbox, [_, east], calls, disks) = halves(20, 19).await;
        let merged = blobs(&east, "/merged/").await.remove(0).0;
        let largest = members(&east).await.into_iter().max_by_key(|(_, place)| place.len()).unwrap();
        flip(&east, &merged, largest.1.end - 1).await;
        assert_eq!(sandbox.session().scrub("eastus").await.unwrap().mended, 1);
        assert!(members(&east).await.iter().all(|(link, _)| *link != largest.0), "it is no member any more");
        for _ in 0..2 {
            let before = calls.load(Ordering::SeqCst);
            comes_back(&sandbox, 19, "eastus", &disks[19]).await;
            assert_eq!(calls.load(Ordering::SeqCst), before, "it is read from the other region");
        }
        sandbox.session().collect().await.unwrap();
        assert_eq!(sandbox.session().scrub("eastus").await.unwrap().mended, 0);
    });
}

#[test]
fn links_into_a_merged_blob_that_was_lost_do_not_stay_for_ever() {
    block_on(async {
        let (sandbox, [_, east], _, disks) = halves(20, 19).await;
        let session = sandbox.session();
        east.delete(&blobs(&east, "/merged/").await.remove(0).0).await.unwrap();
        comes_back(&sandbox, 19, "eastus", &disks[19]).await;
        session.scrub("eastus").await.unwrap();
        assert_eq!(members(&east).await, []);
        assert_eq!(session.scrub("eastus").await.unwrap().mended, 0);
        leaves_nothing(&sandbox, 20, &east).await;
    });
}

#[test]
fn what_is_merged_is_not_merged_again_for_nothing() {
    block_on(async {
        // Half of each pack is needed by the last version.
        let memory = MemoryStore::new();
        let sandbox = sandbox_of(memory.clone()).await;
        let session = sandbox.session();
        chain(&sandbox, 16, 18 * CHUNK, |version| vec![version * CHUNK..(version + 2) * CHUNK]).await;
        assert!(compressed(session).await >= 16);
        for version in 0..15 {
            session.delete(sandbox.version(&number(version))).await.unwrap();
        }
        for _ in 0..3 {
            session.collect().await.unwrap();
        }
        let before = blobs(&memory, "").await;
        assert!(session.collect().await.unwrap().regions.is_empty());
        assert_eq!(blobs(&memory, "").await, before);

        // All of each pack is needed, which is hardly longer than its head.
        let memory = MemoryStore::new();
        let sandbox = sandbox_of(memory.clone()).await;
        for version in 0..60 {
            let mut disk = number(version).repeat(800).into_bytes();
            disk.resize(4096, 0);
            publish(&sandbox, version, "westeurope", &disk).await;
        }
        assert!(compressed(sandbox.session()).await >= 60);
        let before = blobs(&memory, "").await;
        assert!(sandbox.session().collect().await.unwrap().regions.is_empty());
        assert_eq!(blobs(&memory, "").await, before);
    });
}

/// A scrub knows the log of when it began. What it mends has a name that was never condemned, also since then.
#[test]
fn a_scrub_that_began_before_a_merge_keeps_what_it_mends() {
    block_on(async {
        let (memory, armed) = (MemoryStore::new(), Arc::new(AtomicBool::new(false)));
        let (reached, mut reaches) = futures::channel::mpsc::unbounded();
        let (release, released) = futures::channel::oneshot::channel();
        let go_on = Arc::new(Mutex::new(Some(released)));
        let hook = {
            let armed = armed.clone();
            move |call: Call| {
                let in_slot = call.key.as_ref().is_some_and(|key| key.as_str().starts_with("slots/"));
                let stops = in_slot && armed.swap(false, Ordering::SeqCst);
                let wait = stops.then(|| go_on.lock().unwrap().take()).flatten();
                let reached = reached.clone();
                async move {
                    if let Some(wait) = wait {
                        reached.unbounded_send(()).unwrap();
                        let _ = wait.await;
                    }
                    Reaction::Pass
                }
            }
        };
        let sandbox = sandbox_of(HookedStore::new(memory.clone(), hook)).await;
        let (session, disks) = (sandbox.session(), small_chain(&sandbox).await);
        session.compress().merged_from(1000).await.unwrap();
        armed.store(true, Ordering::SeqCst);
        let scrubbing = Box::pin(async { session.scrub("westeurope").await });
        let Either::Right((_, scrubbing)) = select(scrubbing, reaches.next()).await else { panic!("it reads") };
        let beside = sandbox.reopen().build().await.unwrap();
        assert!(compressed(beside.session()).await > 10);
        // The head of a member: each of its records is still good.
        let merged = blobs(&memory, "/merged/").await.remove(0).0;
        for (_, place) in members(&memory).await {
            flip(&memory, &merged, place.start + 20).await;
        }
        let _ = release.send(());
        scrubbing.await.unwrap();
        for _ in 0..2 {
            all_come_back(&beside, &disks).await;
            assert_eq!(beside.session().scrub("westeurope").await.unwrap().damaged, 0);
            beside.session().collect().await.unwrap();
        }
        all_come_back(&beside, &disks).await;
    });
}
