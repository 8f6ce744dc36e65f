//! Damage: another replica serves lost content, the damaged one is mended, and no wrong byte gets out.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeSet;

use bytes::Bytes;
use compute_gallery::deploy::Deployed;
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, MemoryStore, PutMode, StoreErrorKind};
use compute_gallery::testkit::{Fault, Sandbox, SeededEntropy, noise, raw, region};
use compute_gallery::upkeep::ScrubReport;
use compute_gallery::*;
use futures::TryStreamExt;
use futures::executor::block_on;
use futures::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

fn disk() -> Vec<u8> {
    noise(1, 300 << 10)
}

/// Its index has nodes below the root, which are in a pack: 300 KiB of noise, and a chunk far behind.
fn far_disk() -> Vec<u8> {
    let mut disk = disk();
    disk.resize(17 << 20, 0);
    disk.extend(noise(2, 64 << 10));
    disk
}

/// A version of a disk, in `regions`, and the store of them all.
async fn world(regions: &str) -> (Sandbox, MemoryStore) {
    world_with(regions, disk()).await
}

async fn world_with(regions: &str, disk: Vec<u8>) -> (Sandbox, MemoryStore) {
    let store = MemoryStore::new();
    let sandbox = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
    sandbox.publish_to("1.0.0", regions, disk).await.unwrap();
    (sandbox, store)
}

fn deployment(sandbox: &Sandbox) -> Deployment {
    sandbox.session().deploy(sandbox.version("1.0.0"), "westeurope")
}

async fn scrub(sandbox: &Sandbox, place: &str) -> ScrubReport {
    sandbox.session().scrub(region(place)).await.unwrap()
}

/// Once `read_at` could not be awaited in a task that goes from thread to thread, as most runtimes' do.
#[test]
fn a_reader_and_its_reads_can_be_sent_to_other_threads() {
    fn can_be_sent(_: &impl Send) {}
    block_on(async {
        let (sandbox, _) = world("westeurope=1").await;
        let reader = deployment(&sandbox).open().await.unwrap();
        let read = reader.read_at(0..10);
        can_be_sent(&read);
        assert_eq!(read.await.unwrap().len(), 10);
    });
}

/// The blobs of a replica.
async fn blobs(store: &MemoryStore, place: &str) -> Vec<(BlobKey, Bytes)> {
    let mut blobs = Vec::new();
    for blob in store.list_all(Some(&place.parse().unwrap())).await.unwrap() {
        blobs.push((blob.key.clone(), store.get(&blob.key, None).await.unwrap()));
    }
    blobs
}

async fn deploy(sandbox: &Sandbox) -> Result<(Deployed, Vec<u8>)> {
    deployment(sandbox).to_writer(Vec::new()).await
}

/// Damages each blob of the first replica in turn, in many ways; `good` says where a good one is left.
fn every_damage_is_served_and_mended(regions: &str) {
    block_on(async {
        let (sandbox, store) = world(regions).await;
        let whole = blobs(&store, "regions/westeurope/slots/0").await;
        assert_eq!(whole.len(), 2, "chunks, and a manifest with the root of their index");
        let mut damages = 0;
        for (key, bytes) in &whole {
            let step = bytes.len() / 60 + 1;
            let flips = (0..bytes.len()).step_by(step).map(|at| {
                let mut flipped = bytes.to_vec();
                flipped.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x10);
                Some(Bytes::from(flipped))
            });
            let cuts = (0..bytes.len()).step_by(step).map(|length| Some(bytes.slice(..length)));
            for damage in flips.chain(cuts).chain([None]) {
                match damage {
                    Some(damaged) => store.put(key, damaged, PutMode::Overwrite).await.unwrap(),
                    None => store.delete(key).await.unwrap(),
                }
                damages += 1;
                // Whichever replica is asked first: never a wrong byte.
                for _ in 0..2 {
                    assert!(deploy(&sandbox).await.unwrap().1 == disk(), "{key}");
                }
                let report = scrub(&sandbox, "westeurope").await;
                assert!(report.damaged_versions.is_empty(), "{report:?}");
                assert_eq!(&store.get(key, None).await.unwrap(), bytes, "{key} is mended");
            }
        }
        assert!(damages > 200, "{damages}");
        assert_eq!(scrub(&sandbox, "westeurope").await.mended, 0, "nothing is left to mend");
    });
}

/// Once a reader remembered that it had not found a pack.
#[test]
fn a_reader_finds_a_pack_that_comes_back() {
    block_on(async {
        let (sandbox, store) = world_with("westeurope=1", far_disk()).await;
        let reader = deployment(&sandbox).open().await.unwrap();
        let packs = blobs(&store, "regions/westeurope/slots/0/packs").await;
        for (key, _) in &packs {
            store.delete(key).await.unwrap();
        }
        assert_eq!(reader.read_at(0..1000).await.unwrap_err().kind(), ErrorKind::Corrupt);
        for (key, bytes) in packs {
            store.put(&key, bytes, PutMode::Create).await.unwrap();
        }
        assert!(reader.read_at(0..1000).await.unwrap() == disk().get(..1000).unwrap());
    });
}

/// The pack of index nodes: its head, a node, its end.
#[test]
fn a_damaged_index_is_served_by_another_replica_and_mended() {
    block_on(async {
        let (sandbox, store) = world_with("westeurope=2", far_disk()).await;
        let packs = blobs(&store, "regions/westeurope/slots/0/packs").await;
        let (key, nodes) = packs.iter().find(|(_, pack)| pack.len() < 64 << 10).unwrap();
        for at in [0, 60, 100, 140, 200, 250, 1000, 4096, 4100, 4200, nodes.len() - 1] {
            let mut flipped = nodes.to_vec();
            flipped.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x10);
            store.put(key, flipped.into(), PutMode::Overwrite).await.unwrap();
            assert!(deploy(&sandbox).await.unwrap().1 == far_disk(), "byte {at}");
            let report = scrub(&sandbox, "westeurope").await;
            assert!(report.damaged_versions.is_empty(), "{report:?}");
            assert_eq!(&store.get(key, None).await.unwrap(), nodes, "byte {at} is mended");
        }
    });
}

#[test]
fn a_damaged_replica_is_served_by_another_of_the_region_and_mended() {
    every_damage_is_served_and_mended("westeurope=2");
}

#[test]
fn a_damaged_replica_is_served_by_another_region_and_mended() {
    every_damage_is_served_and_mended("westeurope=1,eastus=1");
}

#[test]
fn any_part_of_a_disk_can_be_read_where_it_lies() {
    block_on(async {
        let (sandbox, store) = world_with("westeurope=2", far_disk()).await;
        let wanted = far_disk();
        let mut reader = deployment(&sandbox).open().await.unwrap();
        assert_eq!(reader.size(), wanted.len() as u64);
        for (start, end) in [(0, 1), (65_535, 65_537), (100, 200_000), (300 << 10, 300 << 10), (0, 17 << 20)] {
            let bytes = reader.read_at(start..end).await.unwrap();
            assert_eq!(bytes.as_ref(), wanted.get(start as usize..end as usize).unwrap(), "{start}..{end}");
        }
        assert_eq!(reader.read_at(0..(17 << 20) + (64 << 10) + 1).await.unwrap_err().kind(), ErrorKind::Invalid);
        // As a stream, from a position.
        reader.seek(SeekFrom::End(-100_000)).await.unwrap();
        let mut end = Vec::new();
        reader.read_to_end(&mut end).await.unwrap();
        assert!(end == wanted.get(wanted.len() - 100_000..).unwrap());
        // One replica after the other loses everything.
        for slot in 0..2 {
            for (key, _) in blobs(&store, &format!("regions/westeurope/slots/{slot}")).await {
                store.delete(&key).await.unwrap();
            }
            let fresh = deployment(&sandbox).open().await;
            match slot {
                0 => assert!(fresh.unwrap().read_at(0..1000).await.unwrap() == wanted.get(..1000).unwrap()),
                // The manifest may have been mended when the first was lost; the index is in neither.
                _ => assert!(match fresh {
                    Ok(reader) => reader.read_at(0..1000).await.is_err(),
                    Err(_) => true,
                }),
            }
            // Chunks that were read before are in the cache.
            assert!(reader.read_at(0..300 << 10).await.unwrap() == wanted.get(..300 << 10).unwrap());
        }
    });
}

#[test]
fn a_deployment_mends_what_it_meets() {
    block_on(async {
        let (sandbox, store) = world("westeurope=1,eastus=1").await;
        let whole = blobs(&store, "regions/westeurope/slots/0/packs").await;
        for (key, _) in &whole {
            store.delete(key).await.unwrap();
        }
        let (deployed, bytes) = deploy(&sandbox).await.unwrap();
        assert!(bytes == disk());
        assert_eq!(deployed.mended_packs, whole.len());
        assert_eq!(blobs(&store, "regions/westeurope/slots/0/packs").await, whole);
        assert_eq!(deploy(&sandbox).await.unwrap().0.mended_packs, 0);
    });
}

#[test]
fn damage_that_cannot_be_mended_names_the_versions_that_are_hit() {
    block_on(async {
        let (sandbox, store) = world("westeurope=2").await;
        for slot in 0..2 {
            let packs = blobs(&store, &format!("regions/westeurope/slots/{slot}/packs")).await;
            let (key, bytes) = packs.first().unwrap();
            store.put(key, bytes.slice(..bytes.len() / 2), PutMode::Overwrite).await.unwrap();
        }
        assert_eq!(deploy(&sandbox).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let report = scrub(&sandbox, "westeurope").await;
        assert_eq!(report.damaged_versions, [sandbox.version("1.0.0").into()]);
        assert_eq!((report.mended, report.damaged), (0, 2));
    });
}

#[test]
fn a_whole_replica_that_is_lost_is_filled_again() {
    block_on(async {
        let (sandbox, store) = world("westeurope=2,eastus").await;
        let whole = blobs(&store, "regions/westeurope/slots").await;
        for (key, _) in &whole {
            store.delete(key).await.unwrap();
        }
        let report = scrub(&sandbox, "westeurope").await;
        assert_eq!((report.mended, report.damaged), (whole.len(), 0), "{report:?}");
        assert_eq!(blobs(&store, "regions/westeurope/slots").await, whole);
    });
}

/// A disk whose replica is so small that every byte of it can be damaged.
fn tiny_disk() -> Vec<u8> {
    (0..4096_u32).map(|at| (at % 251 + 1) as u8).collect()
}

/// Puts `damage` in place of a blob in some of three replicas, so that one is good; then it is found, served and mended.
async fn is_found_and_mended(sandbox: &Sandbox, store: &MemoryStore, key: &str, damage: &Bytes, hit: &[&str]) {
    let mut whole = Vec::new();
    for place in hit {
        let key: BlobKey = format!("regions/{place}/{key}").parse().unwrap();
        whole.push((key.clone(), store.get(&key, None).await.unwrap()));
        store.put(&key, damage.clone(), PutMode::Overwrite).await.unwrap();
    }
    // Deployed from wherever, then scrubbed; or scrubbed at once, which finds each.
    let is_deployed_first = damage.len().is_multiple_of(2);
    if is_deployed_first {
        for _ in 0..2 {
            assert!(deploy(sandbox).await.unwrap().1 == tiny_disk(), "{key}, {hit:?}");
        }
    }
    let mut found = 0;
    for place in ["westeurope", "eastus"] {
        let report = scrub(sandbox, place).await;
        assert_eq!(report.damaged, 0, "{key}, {hit:?}");
        found += report.mended;
    }
    assert!(is_deployed_first || found == hit.len(), "{key}, {hit:?}: {found} found");
    for (key, bytes) in whole {
        assert_eq!(store.get(&key, None).await.unwrap(), bytes, "{key}");
    }
}

#[test]
fn a_thousand_flips_and_every_truncation_are_found_and_mended() {
    const PLACES: [&str; 3] = ["westeurope/slots/0", "westeurope/slots/1", "eastus/slots/0"];
    const SEED: u64 = 17;
    println!("seed {SEED}");
    let entropy = SeededEntropy::new(SEED);
    let below = |end| entropy.below(end);
    // One or two of the three, beginning anywhere.
    let some = || -> Vec<&str> {
        let (first, count) = (below(3), 1 + below(2));
        (0..count).map(|next| PLACES[(first + next) % 3]).collect()
    };
    block_on(async {
        let (sandbox, store) = world_with("westeurope=2,eastus=1", tiny_disk()).await;
        let of_first = |key: &BlobKey| key.as_str().split("/slots/0/").nth(1).unwrap().to_owned();
        let whole = blobs(&store, "regions/westeurope/slots/0").await;
        let whole: Vec<(String, Bytes)> = whole.into_iter().map(|(key, bytes)| (of_first(&key), bytes)).collect();
        for _ in 0..1_000 {
            let (key, bytes) = &whole[below(whole.len())];
            let mut flipped = bytes.to_vec();
            let bit = below(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            is_found_and_mended(&sandbox, &store, key, &flipped.into(), &some()).await;
        }
        let mut cuts = 0;
        for (key, bytes) in &whole {
            for length in 0..bytes.len() {
                is_found_and_mended(&sandbox, &store, key, &bytes.slice(..length), &some()).await;
                cuts += 1;
            }
        }
        println!("1000 flips and {cuts} truncations of {} blobs: all found, all mended, no wrong byte", whole.len());
    });
}

/// A region is scrubbed in shares, each by a service that knows only where the last one ended.
#[test]
fn a_scrub_goes_on_where_it_has_ended_and_reads_nothing_twice() {
    block_on(async {
        let store = MemoryStore::new();
        let sandbox = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
        for number in 0..6 {
            let mut disk = noise(1, 2 << 20);
            disk[number << 16..][..64 << 10].copy_from_slice(&noise(number as u64 + 10, 64 << 10));
            sandbox.publish_to(&format!("1.0.{number}"), "westeurope=2", disk).await.unwrap();
        }
        let whole = scrub(&sandbox, "westeurope").await;
        assert_eq!((whole.mended, whole.damaged, whole.next), (0, 0, None));
        // One record of each upload's last pack is damaged in the first replica.
        let mut damaged = 0;
        for (key, bytes) in blobs(&store, "regions/westeurope/slots/0/packs").await {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            store.put(&key, bytes.into(), PutMode::Overwrite).await.unwrap();
            damaged += 1;
        }
        assert!(damaged >= 6);
        let (mut cursor, mut mended, mut shares) = (Some(upkeep::ScrubCursor::default()), 0, 0);
        while let Some(after) = cursor {
            let kept: upkeep::ScrubCursor = after.to_string().parse().unwrap();
            let share = sandbox.session().scrub("westeurope").at_most_bytes(1).after(kept).await.unwrap();
            (cursor, mended, shares) = (share.next, mended + share.mended, shares + 1);
            assert!(share.damaged_versions.is_empty());
        }
        assert_eq!((mended, shares), (damaged, 6));
        // All is good again, and the shares together read what one scrub reads.
        let (mut cursor, mut verified) = (Some(upkeep::ScrubCursor::default()), 0);
        while let Some(after) = cursor {
            let share = sandbox.session().scrub("westeurope").at_most_bytes(1 << 20).after(after).await.unwrap();
            (cursor, verified) = (share.next, verified + share.verified_bytes);
        }
        assert_eq!(verified, whole.verified_bytes);
        let nothing = sandbox.session().scrub("westeurope").at_most_bytes(0).await.unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::Invalid);
    });
}

/// Versions that one commit has published are in one share, whatever that is to read: a cursor is a commit.
#[test]
fn a_share_of_a_scrub_ends_between_two_commits() {
    block_on(async {
        let store = MemoryStore::new();
        let sandbox = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
        let publish = |number: u64| {
            let disk = noise(number, 64 << 10);
            sandbox.session().publish(sandbox.new_version(&format!("1.0.{number}"), "westeurope=2", raw(disk)))
        };
        // In step with each other, so that their commits are one.
        let (one, two) = futures::join!(publish(1), publish(2));
        let _ = (one.unwrap(), two.unwrap());
        let history: Vec<_> = sandbox.session().history(0).try_collect().await.unwrap();
        let published = history.iter().filter(|entry| entry.event.kind == read::EventKind::ImageVersionPublished);
        let commits: BTreeSet<u64> = published.map(|entry| entry.number).collect();
        assert_eq!(commits.len(), 1, "both are in one commit");
        for number in [1, 2] {
            sandbox.session().replicate(sandbox.version(&format!("1.0.{number}"))).await.unwrap();
        }
        let mut damaged = 0;
        for (key, bytes) in blobs(&store, "regions/westeurope/slots/0/packs").await {
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            store.put(&key, bytes.into(), PutMode::Overwrite).await.unwrap();
            damaged += 1;
        }
        assert!(damaged >= 2);
        let (mut cursor, mut mended) = (Some(upkeep::ScrubCursor::default()), 0);
        while let Some(after) = cursor {
            let share = sandbox.session().scrub("westeurope").at_most_bytes(1).after(after).await.unwrap();
            (cursor, mended) = (share.next, mended + share.mended);
        }
        assert_eq!(mended, damaged);
    });
}

#[test]
fn a_scrub_calls_nothing_damaged_that_it_could_not_read() {
    block_on(async {
        let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).build().await.unwrap();
        sandbox.publish_to("1.0.0", "westeurope=1,eastus=2", disk()).await.unwrap();
        let before = scrub(&sandbox, "eastus").await;
        let faults = sandbox.faults("eastus");
        let mut seen = 0;
        for skipped in 0..12 {
            faults.fail_from(skipped, Fault::Before(StoreErrorKind::PermissionDenied));
            if let Ok(report) = sandbox.session().scrub(region("eastus")).await {
                assert_eq!((report.damaged, report.mended), (0, 0), "after {skipped} calls: {report:?}");
                assert!(report.damaged_versions.is_empty());
                assert!(report.unreachable > 0 || report == before, "after {skipped} calls: {report:?}");
                seen += report.unreachable;
            }
            faults.heal();
            assert_eq!(scrub(&sandbox, "eastus").await, before, "it goes on when the store answers");
        }
        assert!(seen > 0);
    });
}

/// Overwrites four bytes of each pack of a region.
async fn damage_packs(store: &MemoryStore, place: &str) {
    for (key, bytes) in blobs(store, place).await.into_iter().filter(|(key, _)| key.as_str().contains("/packs/")) {
        let mut damaged = bytes.to_vec();
        let middle = damaged.len() / 2;
        damaged.iter_mut().skip(middle).take(4).for_each(|byte| *byte ^= 0xff);
        store.put(&key, damaged.into(), PutMode::Overwrite).await.unwrap();
    }
}

/// Once each version after it was damaged with it: its chunks were known, and not looked at.
#[test]
fn what_is_published_over_damage_that_was_found_shares_nothing_with_it() {
    for found_by in ["a scrub", "a deployment"] {
        block_on(async {
            let (sandbox, store) = world("westeurope=1").await;
            let publish = async |number: &str| {
                let new = sandbox.new_version(number, "westeurope=1", raw(disk()));
                let published = sandbox.session().publish(new).await.unwrap();
                sandbox.session().replicate(sandbox.version(number)).await.unwrap();
                published.import.new_chunks
            };
            let deploy = async |number: &str| {
                sandbox.session().deploy(sandbox.version(number), "westeurope").to_writer(Vec::new()).await
            };
            damage_packs(&store, "regions/westeurope").await;
            match found_by {
                "a scrub" => assert_ne!(scrub(&sandbox, "westeurope").await.damaged, 0),
                _ => {
                    let error = deploy("1.0.0").await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    assert!(error.to_string().contains("store_everything"), "{error}");
                }
            }
            assert_eq!(publish("1.0.1").await, 5, "{found_by}");
            assert!(deploy("1.0.1").await.unwrap().1 == disk(), "{found_by}");
            // From then on there is a good one to compare with.
            assert_eq!(publish("1.0.2").await, 0);
            assert!(deploy("1.0.2").await.unwrap().1 == disk());
        });
    }
}

#[test]
fn a_process_that_has_met_no_damage_can_store_everything_again() {
    block_on(async {
        let (sandbox, store) = world("westeurope=1").await;
        damage_packs(&store, "regions/westeurope").await;
        let new = sandbox.new_version("1.0.1", "westeurope=1", raw(disk()));
        let published = sandbox.session().publish(new).store_everything().await.unwrap();
        assert_eq!(published.import.new_chunks, 5);
        sandbox.session().replicate(sandbox.version("1.0.1")).await.unwrap();
        let deployed = sandbox.session().deploy(sandbox.version("1.0.1"), "westeurope").to_writer(Vec::new()).await;
        assert!(deployed.unwrap().1 == disk());
    });
}

#[test]
fn a_disk_that_another_region_had_to_serve_says_so() {
    block_on(async {
        let (sandbox, store) = world("westeurope=1,eastus=1").await;
        let (deployed, _) = deploy(&sandbox).await.unwrap();
        assert!(!deployed.from_other_regions);
        for (key, _) in blobs(&store, "regions/westeurope/slots").await {
            store.delete(&key).await.unwrap();
        }
        let (deployed, bytes) = deploy(&sandbox).await.unwrap();
        assert!(deployed.from_other_regions && bytes == disk());
        scrub(&sandbox, "westeurope").await;
        assert!(!deploy(&sandbox).await.unwrap().0.from_other_regions);
    });
}
