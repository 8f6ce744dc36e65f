//! Collection: deleted content gives its bytes back, and nothing else does.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use compute_gallery::content::Compression;
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{Fault, Faults, HookedStore, ManualClock, Reaction, Sandbox, noise, raw, region};
use compute_gallery::*;
use futures::executor::block_on;

/// A disk of 2 MiB whose second half is another for each version.
fn disk(number: u8) -> Vec<u8> {
    [noise(0, 1 << 20), noise(1 + u64::from(number), 1 << 20)].concat()
}

/// A gallery whose regions are in one store, so that a fault can come at any of their calls.
struct World {
    sandbox: Sandbox,
    session: Session,
    regions: MemoryStore,
    faults: Faults,
}

impl World {
    async fn new() -> Self {
        let regions = MemoryStore::new();
        let settings = Sandbox::builder().catalog_store(MemoryStore::new()).one_store(regions.clone());
        let settings = settings.clock(ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap()));
        // Without compression the bytes that are stored and freed are those of the disks.
        let settings = settings.service(|builder| builder.retries(RetryPolicy::none()).compression(Compression::None));
        let sandbox = settings.build().await.unwrap();
        let (session, faults) = (sandbox.session().clone(), sandbox.faults("westeurope"));
        Self { sandbox, session, regions, faults }
    }

    fn version(&self, number: &str) -> ImageVersionId {
        self.sandbox.version(number)
    }

    fn new_version(&self, number: u8, regions: &str) -> NewImageVersion {
        self.sandbox.new_version(&format!("1.0.{number}"), regions, raw(disk(number)))
    }

    async fn publish(&self, number: u8, regions: &str) {
        self.sandbox.publish_to(&format!("1.0.{number}"), regions, disk(number)).await.unwrap();
    }

    /// Bytes of images below `place`.
    async fn bytes(&self, place: &str) -> u64 {
        let blobs = self.regions.list_all(Some(&place.parse().unwrap())).await.unwrap();
        blobs.iter().filter(|blob| blob.key.as_str().contains("/slots/")).map(|blob| blob.size).sum()
    }

    async fn deploys(&self, number: u8, place: &str) {
        let deployed = self.sandbox.deployed(&format!("1.0.{number}"), place).await.unwrap();
        assert!(deployed == disk(number), "1.0.{number} in {place}");
    }
}

#[test]
fn deleting_everything_leaves_the_catalog_alone() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope=2,eastus").await;
        }
        assert!(world.session.collect().await.unwrap().regions.is_empty(), "everything is needed");
        world.session.delete(world.sandbox.image().gallery()).cascade().await.unwrap();
        let all = world.bytes("regions").await;
        let plan = world.session.collect().plan().await.unwrap().collection.unwrap();
        assert_eq!((plan.bytes(), plan.regions.len()), (all, 2));
        assert_eq!(world.bytes("regions").await, all, "a plan removes nothing");
        assert_eq!(world.session.collect().await.unwrap(), plan);
        assert_eq!(world.bytes("regions").await, 0);
        assert!(world.session.collect().await.unwrap().regions.is_empty());
    });
}

#[test]
fn a_version_gives_back_its_own_and_what_others_share_stays() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope,eastus").await;
        }
        let before = world.bytes("regions/eastus").await;
        world.session.delete(world.version("1.0.1")).await.unwrap();
        let freed = world.session.collect().await.unwrap();
        let after = world.bytes("regions/eastus").await;
        assert!(before - after > 1_000_000, "its own half is freed: {before} {after}");
        assert_eq!(freed.regions.iter().find(|one| one.region == region("eastus")).unwrap().bytes, before - after);
        for place in ["westeurope", "eastus"] {
            world.deploys(0, place).await;
            world.deploys(2, place).await;
        }
        // The first one is what the others were compared with.
        world.session.delete(world.version("1.0.0")).await.unwrap();
        world.session.collect().await.unwrap();
        world.deploys(2, "eastus").await;
        world.publish(3, "westeurope,eastus").await;
        world.deploys(3, "eastus").await;
    });
}

#[test]
fn regions_and_replicas_that_are_taken_away_give_back_theirs() {
    block_on(async {
        let world = World::new().await;
        world.publish(0, "westeurope=3,eastus").await;
        let one = world.bytes("regions/westeurope/slots/0").await;
        let there = world.session.view().image_version(world.version("1.0.0")).unwrap();
        let profile = there.publishing_profile().clone().with_target_regions("westeurope=1".parse().unwrap());
        let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
        let fewer = ImageVersion::clone(&there).with_publishing_profile(profile).unwrap().with_safety_profile(safety);
        world.session.update_image_version(fewer).await.unwrap();
        world.session.collect().await.unwrap();
        assert_eq!((world.bytes("regions/westeurope").await, world.bytes("regions/eastus").await), (one, 0));
        world.deploys(0, "westeurope").await;
        // And back again.
        world.session.update_image_version(ImageVersion::clone(&there)).await.unwrap();
        world.session.replicate(world.version("1.0.0")).await.unwrap();
        world.deploys(0, "eastus").await;
        assert_eq!(world.bytes("regions/westeurope").await, 3 * one);
    });
}

#[test]
fn an_import_under_way_keeps_its_packs_until_it_is_given_up() {
    block_on(async {
        let world = World::new().await;
        // The packs of an import that met an error are kept for the next attempt, for a week.
        world.faults.fail_from(7, Fault::Before(StoreErrorKind::Unavailable));
        world.session.publish(world.new_version(0, "westeurope")).await.unwrap_err();
        world.faults.heal();
        let kept = world.bytes("regions").await;
        assert!(kept > 0 && world.session.collect().await.unwrap().regions.is_empty());
        assert_eq!(world.bytes("regions").await, kept);
        world.sandbox.clock().advance(Duration::from_secs(8 * 86_400));
        let report = world.session.collect().await.unwrap();
        assert_eq!((report.abandoned_uploads, world.bytes("regions").await), (1, 0));

        // An outcome that is not known cleans up nothing: it can be taken up again, and is kept for a week.
        world.faults.fail_from(2, Fault::Before(StoreErrorKind::Unknown));
        let error = world.session.publish(world.new_version(1, "westeurope")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
        world.faults.heal();
        let kept = world.bytes("regions").await;
        assert!(world.session.collect().await.unwrap().regions.is_empty());
        assert_eq!(world.bytes("regions").await, kept);
        world.sandbox.clock().advance(Duration::from_secs(8 * 86_400));
        let report = world.session.collect().await.unwrap();
        assert_eq!((report.abandoned_uploads, world.bytes("regions").await), (1, 0));
    });
}

#[test]
fn a_collection_that_was_interrupted_is_finished_by_another() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope").await;
        }
        world.session.delete(world.version("1.0.1")).await.unwrap();
        // At each store call in turn it stops, as a process that dies does.
        for skipped in 0..40 {
            world.faults.fail_from(skipped, Fault::Before(StoreErrorKind::Unavailable));
            let _ = world.session.collect().await;
            world.faults.heal();
            world.sandbox.clock().advance(Duration::from_secs(11 * 60));
            world.deploys(0, "westeurope").await;
            world.deploys(2, "westeurope").await;
        }
        world.session.collect().await.unwrap();
        assert!(world.session.collect().await.unwrap().regions.is_empty());
        world.session.delete(world.sandbox.image()).cascade().await.unwrap();
        world.session.collect().await.unwrap();
        assert_eq!(world.bytes("regions").await, 0);
    });
}

#[test]
fn soft_deleted_versions_are_kept_until_their_retention_is_over() {
    block_on(async {
        let world = World::new().await;
        let gallery = Gallery::new(world.sandbox.image().gallery().clone(), region("westeurope"));
        let soft = gallery.with_soft_delete_policy(SoftDeletePolicy::enabled());
        world.session.update_gallery(soft).await.unwrap();
        world.publish(0, "westeurope").await;
        world.session.delete(world.version("1.0.0")).await.unwrap();
        assert!(world.session.collect().await.unwrap().regions.is_empty());
        world.deploys(0, "westeurope").await;
        world.sandbox.clock().advance(Duration::from_secs(8 * 86_400));
        let report = world.session.collect().await.unwrap();
        assert_eq!((report.purged_versions, world.bytes("regions").await), (1, 0));
        world.session.delete(world.sandbox.image()).await.unwrap();
    });
}

/// A disk of 2 MiB that shares an eighth with the other ones.
fn mostly_own(number: u64) -> Vec<u8> {
    [noise(0, 256 << 10), noise(1 + number, 1792 << 10)].concat()
}

/// Two versions that share an eighth, of which the first is deleted: most of its pack is dead, and some of it is not.
async fn mostly_dead() -> World {
    let world = World::new().await;
    for number in 0..2 {
        let (version, disk) = (format!("1.0.{number}"), mostly_own(number));
        world.sandbox.publish_to(&version, "westeurope=2,eastus=1", disk).await.unwrap();
    }
    world.session.delete(world.version("1.0.0")).await.unwrap();
    world
}

async fn second_is_whole(world: &World) {
    for place in ["westeurope", "eastus"] {
        assert!(world.sandbox.deployed("1.0.1", place).await.unwrap() == mostly_own(1), "{place}");
    }
}

#[test]
fn a_pack_that_is_mostly_dead_is_rewritten() {
    block_on(async {
        let world = mostly_dead().await;
        let reader = world.session.deploy(world.version("1.0.1"), "westeurope").open().await.unwrap();
        let before = world.bytes("regions").await;
        let plan = world.session.collect().plan().await.unwrap().collection.unwrap();
        let freed = world.session.collect().await.unwrap();
        let after = world.bytes("regions").await;
        assert_eq!(before - after, freed.bytes());
        // A part begins with a head of 4 KiB, and the plan counts each of three by its share of the pack.
        assert!(plan.bytes().abs_diff(freed.bytes()) < 3 * 4096, "{plan:?} {freed:?}");
        let packs: Vec<usize> = freed.regions.iter().map(|one| one.rewritten_packs).collect();
        assert_eq!(packs, [1, 2], "one for each replica that the second version has");
        // Three replicas of 2 MiB each, and what they need besides.
        assert!(after < 3 * ((2 << 20) + (32 << 10)), "{after}");
        assert!(world.session.collect().await.unwrap().regions.is_empty(), "nothing is left to do");
        second_is_whole(&world).await;
        // A reader that was open reads on.
        assert_eq!(reader.read_at(0..1 << 20).await.unwrap(), mostly_own(1).get(..1 << 20).unwrap());
        // A pack that is there in parts serves as the base of another version, and goes to another region.
        let third = world.sandbox.publish_to("1.0.2", "westeurope=1,northeurope=1", mostly_own(2)).await.unwrap();
        assert_eq!(third.import.new_chunks, 28);
        assert!(world.sandbox.deployed("1.0.2", "northeurope").await.unwrap() == mostly_own(2));
    });
}

#[test]
fn rewriting_may_stop_at_any_moment() {
    block_on(async {
        let all = {
            let world = mostly_dead().await;
            let before = world.faults.calls();
            world.session.collect().await.unwrap();
            world.faults.calls() - before
        };
        let done = mostly_dead().await;
        done.session.collect().await.unwrap();
        let least = done.bytes("regions").await;
        for call in 0..all {
            let world = mostly_dead().await;
            let fault = if call % 2 == 0 { Fault::After } else { Fault::Before(StoreErrorKind::Unavailable) };
            world.faults.fail_from(call, fault);
            let _ = world.session.collect().await;
            world.faults.heal();
            second_is_whole(&world).await;
            world.sandbox.clock().advance(Duration::from_secs(11 * 60));
            world.session.collect().await.unwrap();
            world.session.collect().await.unwrap();
            assert_eq!(world.bytes("regions").await, least, "call {call}");
            second_is_whole(&world).await;
        }
    });
}

#[test]
fn damage_to_what_was_rewritten_is_served_and_mended() {
    block_on(async {
        let world = mostly_dead().await;
        world.session.collect().await.unwrap();
        let parts = world.regions.list_all(Some(&"regions/westeurope/slots/0/parts".parse().unwrap())).await.unwrap();
        assert!(!parts.is_empty());
        for part in parts {
            let whole = world.regions.get(&part.key, None).await.unwrap();
            let mut damages: Vec<Option<Vec<u8>>> =
                vec![None, Some(Vec::new()), Some(whole.slice(..whole.len() / 2).to_vec())];
            damages.extend([0, 9, 60, 5000, whole.len() - 1].map(|at| {
                let mut flipped = whole.to_vec();
                flipped.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
                Some(flipped)
            }));
            for damage in damages {
                match damage.clone() {
                    Some(bytes) => world.regions.put(&part.key, bytes.into(), PutMode::Overwrite).await.unwrap(),
                    None => world.regions.delete(&part.key).await.unwrap(),
                }
                second_is_whole(&world).await;
                let report = world.session.scrub("westeurope").await.unwrap();
                assert!(report.damaged_versions.is_empty(), "{report:?}");
                assert_eq!(world.regions.get(&part.key, None).await.unwrap(), whole);
            }
        }
        assert_eq!(world.session.scrub("westeurope").await.unwrap().mended, 0);
    });
}

#[test]
fn of_two_forms_of_a_pack_the_good_one_is_kept() {
    block_on(async {
        for rotten in ["parts", "packs"] {
            let world = mostly_dead().await;
            let place = "regions/westeurope/slots/0";
            // The collection stops after it wrote the part; then one of the two rots.
            let mut forms = None;
            for skipped in 0.. {
                world.faults.fail_from(skipped, Fault::Before(StoreErrorKind::Unavailable));
                let _ = world.session.collect().await;
                world.faults.heal();
                let parts = world.regions.list_all(Some(&format!("{place}/parts").parse().unwrap())).await.unwrap();
                if let Some(part) = parts.first() {
                    let pack = part.key.parent().unwrap().as_str().replace("/parts/", "/packs/");
                    forms = Some((part.key.clone(), pack.parse().unwrap()));
                    break;
                }
            }
            let (part, whole) = forms.unwrap();
            let whole = &whole;
            assert!(world.regions.find(whole).await.unwrap().is_some());
            let hit = if rotten == "parts" { &part } else { whole };
            let mut flipped = world.regions.get(hit, None).await.unwrap().to_vec();
            flipped.iter_mut().skip(70_000).take(1).for_each(|byte| *byte ^= 1);
            world.regions.put(hit, flipped.into(), PutMode::Overwrite).await.unwrap();
            // No other replica has it.
            for other in ["regions/westeurope/slots/1", "regions/eastus/slots"] {
                for blob in world.regions.list_all(Some(&other.parse().unwrap())).await.unwrap() {
                    world.regions.delete(&blob.key).await.unwrap();
                }
            }
            let _ = world.session.collect().await;
            let report = world.session.scrub("westeurope").await.unwrap();
            assert!(report.damaged_versions.is_empty(), "{rotten}: {report:?}");
            assert!(world.sandbox.deployed("1.0.1", "westeurope").await.unwrap() == mostly_own(1));
        }
    });
}

#[test]
fn a_manifest_without_a_whole_copy_is_named_and_stops_nothing_else() {
    block_on(async {
        let world = World::new().await;
        for number in 0..3 {
            world.publish(number, "westeurope,eastus").await;
        }
        // Every copy of the second version's manifest rots.
        let content = world.session.view().image_content(world.version("1.0.1")).unwrap();
        let hit = serde_json::to_value(content).unwrap()["manifest"].as_str().unwrap().to_owned();
        let all = world.regions.list_all(None).await.unwrap();
        let hit: Vec<_> = all.iter().filter(|blob| blob.key.as_str().ends_with(&hit)).collect();
        assert_eq!(hit.len(), 2);
        for blob in &hit {
            world.regions.put(&blob.key, "rotten".into(), PutMode::Overwrite).await.unwrap();
        }
        world.session.delete(world.version("1.0.0")).await.unwrap();
        world.session.delete(world.version("1.0.2")).await.unwrap();
        let before: Vec<u64> = [world.bytes("regions/westeurope").await, world.bytes("regions/eastus").await].into();
        for collected in
            [world.session.collect().plan().await.unwrap().collection.unwrap(), world.session.collect().await.unwrap()]
        {
            for region in &collected.regions {
                assert_eq!(region.unreadable, [world.version("1.0.1").into()], "{collected:?}");
                // Uploads announced after it can't be needed by it.
                assert!(region.bytes > 1_000_000, "{collected:?}");
            }
            assert_eq!(collected.regions.len(), 2);
        }
        let after = [world.bytes("regions/westeurope").await, world.bytes("regions/eastus").await];
        // The first version's packs, which the second builds on, and its own are there: a mebibyte and more each.
        assert!(
            after.iter().zip(&before).all(|(after, before)| *after > 2_600_000 && after < before),
            "{before:?} {after:?}"
        );
        // Without it, all of it goes.
        world.session.delete(world.version("1.0.1")).await.unwrap();
        assert!(world.session.collect().await.unwrap().regions.iter().all(|region| region.unreadable.is_empty()));
        assert_eq!(world.bytes("regions").await, 0);
    });
}

#[test]
fn a_collection_that_cannot_commit_is_no_success() {
    block_on(async {
        let fast = Sandbox::new().await.unwrap();
        fast.publish("1.0.0", disk(0)).await.unwrap();
        fast.session().delete(fast.version("1.0.0")).await.unwrap();
        // Another process commits just before each commit.
        let rival = Arc::new(Mutex::new(None));
        let current = rival.clone();
        let contested = HookedStore::new(fast.catalog_store(), move |call| {
            let key = call.key.filter(|_| call.operation == "put").map(|key| key.to_string()).unwrap_or_default();
            let rival: Option<(Session, Gallery)> = current.lock().unwrap().clone();
            async move {
                if let Some((session, gallery)) = rival.filter(|_| key.starts_with("catalog/log/")) {
                    session.update_gallery(gallery.with_description(&key)).await.unwrap();
                }
                Reaction::Pass
            }
        });
        let slow = fast.reopen().catalog_store(contested).build().await.unwrap();
        let gallery = Gallery::new(fast.image().gallery().clone(), region("westeurope"));
        *rival.lock().unwrap() = Some((fast.session().clone(), gallery));
        let error = slow.session().collect().await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "RetryableError"), "{error}");
        rival.lock().unwrap().take();
        assert!(slow.session().collect().await.unwrap().bytes() > 0);
    });
}

#[test]
fn one_blob_that_cannot_be_deleted_keeps_nothing_else() {
    block_on(async {
        let (regions, stuck) = (MemoryStore::new(), Arc::new(Mutex::new(None)));
        let current = stuck.clone();
        let store = HookedStore::new(regions.clone(), move |call| {
            let is_stuck = call.operation == "delete" && call.key == *current.lock().unwrap();
            async move { if is_stuck { Reaction::Fail(StoreErrorKind::PermissionDenied) } else { Reaction::Pass } }
        });
        let sandbox = Sandbox::builder().regions(["westeurope"]).store("westeurope", store).build().await.unwrap();
        let session = sandbox.session();
        sandbox.publish_to("1.0.0", "westeurope=3", disk(0)).await.unwrap();
        session.delete(sandbox.version("1.0.0")).await.unwrap();
        let slots = "slots".parse().unwrap();
        let all = regions.list_all(Some(&slots)).await.unwrap();
        assert!(all.len() >= 6, "{all:?}");
        let key = all.first().unwrap().key.clone();
        *stuck.lock().unwrap() = Some(key.clone());
        // It says so, each time; all else is freed at once.
        for _ in 0..2 {
            let error = session.collect().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let left = regions.list_all(Some(&slots)).await.unwrap();
            assert_eq!(left.iter().map(|blob| &blob.key).collect::<Vec<_>>(), [&key]);
        }
        stuck.lock().unwrap().take();
        assert_eq!(session.collect().await.unwrap().regions.first().map(|region| region.blobs), Some(1));
        assert!(regions.list_all(Some(&slots)).await.unwrap().is_empty());
    });
}

/// What a collection that finds nothing costs, by the number of versions: `VERSIONS=10000 cargo test --release --features testkit --test
/// collect -- --ignored how_a_collection_grows --nocapture`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "it measures, and takes minutes"]
fn how_a_collection_grows() {
    let versions: usize = std::env::var("VERSIONS").map_or(1000, |versions| versions.parse().unwrap());
    let kib = |field: &str| -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    block_on(async {
        let calls = Arc::new(Mutex::new(std::collections::BTreeMap::<&str, u64>::new()));
        let count = calls.clone();
        let store = HookedStore::new(MemoryStore::new(), move |call| {
            *count.lock().unwrap().entry(call.operation).or_default() += 1;
            async { Reaction::Pass }
        });
        let sandbox = Sandbox::builder().regions(["westeurope"]).store("westeurope", store).build().await.unwrap();
        // Each version replaces one of 100 chunks, so it needs 100 packs, most of them with the one before.
        let mut disk = vec![0; 100 << 16];
        for version in 0..versions {
            let at = (version % 100) << 16;
            disk[at..at + 8].copy_from_slice(&(version + 1).to_le_bytes());
            sandbox.publish(&format!("1.{}.{}", version / 1000, version % 1000), disk.clone()).await.unwrap();
        }
        for round in 0..2 {
            calls.lock().unwrap().clear();
            std::fs::write("/proc/self/clear_refs", "5").unwrap();
            let before = kib("VmRSS:");
            let report = sandbox.session().collect().await.unwrap();
            let peak = kib("VmHWM:").saturating_sub(before);
            let calls = calls.lock().unwrap();
            println!("{versions} versions, {round}: peak {peak} KiB, {calls:?}, {} bytes freed", report.bytes());
        }
    });
}
