//! Replication: only missing content crosses a border, to the byte; it can be slowed, paused, stopped and resumed; a
//! region that fails stops no other.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use compute_gallery::host::{Clock, Workers};
use compute_gallery::model::*;
use compute_gallery::replicate::{AggregatedState, OnFailure};
use compute_gallery::store::{BlobKey, BlobStore, BlobStoreExt, MemoryStore, PutMode, RetryPolicy, StoreErrorKind};
use compute_gallery::testkit::{
    Fault, Faults, HookedStore, ManualClock, Reaction, Sandbox, SandboxBuilder, noise, raw, region,
};
use compute_gallery::*;
use futures::executor::block_on;
use futures::future::{Either, select};
use futures::stream::StreamExt;

const CHUNK: usize = 64 << 10;

/// A disk of chunks, each named by its seed.
fn disk(chunks: &[u64]) -> Vec<u8> {
    chunks.iter().flat_map(|seed| noise(*seed, CHUNK)).collect()
}

/// A gallery whose regions are in one store, with the system's threads.
struct World {
    sandbox: Sandbox,
    session: Session,
    store: MemoryStore,
}

impl World {
    async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    async fn with(settings: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        let store = MemoryStore::new();
        let threaded =
            Sandbox::builder().one_store(store.clone()).service(|builder| builder.workers(Workers::default()));
        let sandbox = settings(threaded).build().await.unwrap();
        Self { session: sandbox.session().clone(), sandbox, store }
    }

    fn version(&self, number: u32) -> ImageVersionId {
        self.sandbox.version(&format!("1.0.{number}"))
    }

    async fn publish(&self, number: u32, regions: &str, chunks: &[u64]) {
        let new = self.sandbox.new_version(&format!("1.0.{number}"), regions, raw(disk(chunks)));
        self.session.publish(new).await.unwrap();
    }

    async fn deployed(&self, number: u32, from: &str) -> Result<Vec<u8>> {
        self.sandbox.deployed(&format!("1.0.{number}"), from).await
    }

    /// Gives a version other regions.
    async fn retarget(&self, number: u32, regions: &str) {
        let profile = PublishingProfile::new(regions.parse().unwrap());
        let view = self.session.refresh().await.unwrap();
        let updated = ImageVersion::clone(&*view.image_version(self.version(number)).unwrap());
        self.session.update_image_version(updated.with_publishing_profile(profile).unwrap()).await.unwrap();
    }

    /// The blobs below a key, with their lengths.
    async fn blobs(&self, under: &str) -> BTreeMap<BlobKey, u64> {
        let blobs = self.store.list_all(Some(&under.parse().unwrap())).await.unwrap();
        blobs.into_iter().map(|blob| (blob.key, blob.size)).collect()
    }

    /// Packs and parts of packs in a slot.
    async fn packs(&self, region: &str, slot: u32) -> u64 {
        let mut bytes = 0;
        for what in ["packs", "parts"] {
            bytes += self.blobs(&format!("regions/{region}/slots/{slot}/{what}")).await.values().sum::<u64>();
        }
        bytes
    }
}

/// Chunks of a version of which each one replaces some of those before.
fn chunks_of(number: u32) -> Vec<u64> {
    let mut chunks: Vec<u64> = (1..=64).collect();
    for later in 2..=u64::from(number) {
        for (at, chunk) in (0_u64..).zip(&mut chunks) {
            if (at * 7 + later * 5) % 8 < 3 {
                *chunk = later * 1000 + at;
            }
        }
    }
    chunks
}

#[test]
fn a_region_that_gets_only_the_newest_version_gets_what_that_alone_needs() {
    block_on(async {
        let alone = World::new().await;
        alone.publish(1, "westeurope", &chunks_of(12)).await;
        let needed = alone.packs("westeurope", 0).await;

        let world = World::new().await;
        for number in 1..12 {
            world.publish(number, "westeurope", &chunks_of(number)).await;
        }
        world.publish(12, "westeurope=1,eastus=3", &chunks_of(12)).await;
        let all = world.packs("westeurope", 0).await;
        let replication = world.session.replicate(world.version(12));
        let planned = replication.plan().await.unwrap().regions.remove(0).cross_region_bytes;
        let report = replication.await.unwrap();
        let eastus = report.regions.get(1).unwrap();
        println!("needed alone {needed}, received {}, all versions {all}", eastus.cross_region_bytes);
        assert!(eastus.cross_region_bytes * 10 <= needed * 11, "{} of {needed}", eastus.cross_region_bytes);
        assert!(planned.abs_diff(eastus.cross_region_bytes) * 50 < planned, "{planned} were planned");
        // The bytes that crossed are those of one slot; the other two were filled from it.
        assert_eq!(world.packs("eastus", 0).await, eastus.cross_region_bytes);
        assert_eq!(eastus.local_bytes, 2 * eastus.cross_region_bytes);
        assert_eq!(
            world.blobs("regions/eastus/slots/2").await.len(),
            world.blobs("regions/eastus/slots/0").await.len()
        );

        // It serves alone.
        for key in world.blobs("regions/westeurope").await.into_keys() {
            world.store.delete(&key).await.unwrap();
        }
        assert!(world.deployed(12, "eastus").await.unwrap() == disk(&chunks_of(12)));
        let reader = world.session.deploy(world.version(12), "eastus").open().await.unwrap();
        assert_eq!(
            reader.read_at(100_000..100_100).await.unwrap(),
            disk(&chunks_of(12)).get(100_000..100_100).unwrap()
        );
    });
}

#[test]
fn only_what_is_lacking_crosses_to_the_byte() {
    block_on(async {
        let world = World::new().await;
        world.publish(1, "westeurope=1,eastus=1", &chunks_of(1)).await;
        world.session.replicate(world.version(1)).await.unwrap();
        // Two versions that eastus does not get, then one that it gets.
        world.publish(2, "westeurope", &chunks_of(2)).await;
        world.publish(3, "westeurope", &chunks_of(3)).await;
        let newest = chunks_of(4);
        world.publish(4, "westeurope=1,eastus=1", &newest).await;
        let before = world.packs("eastus", 0).await;
        let report = world.session.replicate(world.version(4)).await.unwrap();
        let crossed = report.regions.get(1).unwrap().cross_region_bytes;
        assert_eq!(world.packs("eastus", 0).await - before, crossed, "what crossed is what came");
        let lacking = newest.iter().filter(|chunk| !chunks_of(1).contains(chunk)).count() as u64 * CHUNK as u64;
        // The chunks themselves, and a few nodes and tables.
        assert!((lacking..lacking + 16_384).contains(&crossed), "{crossed} for {lacking} bytes of chunks");
        assert!(world.deployed(4, "eastus").await.unwrap() == disk(&newest));

        // Another replica comes later: nothing crosses.
        world.retarget(4, "westeurope=1,eastus=2").await;
        let report = world.session.replicate(world.version(4)).await.unwrap();
        let eastus = report.regions.get(1).unwrap();
        assert_eq!((eastus.cross_region_bytes, eastus.local_bytes), (0, world.packs("eastus", 1).await));
        // Replicating a complete version moves nothing.
        let again = world.session.replicate(world.version(4)).await.unwrap();
        assert!(again.regions.iter().all(|region| region.cross_region_bytes + region.local_bytes == 0));
    });
}

#[test]
fn damage_at_home_stops_no_replication_while_another_region_has_the_version() {
    block_on(async {
        let world = World::new().await;
        world.publish(1, "westeurope=1,eastus=1", &chunks_of(1)).await;
        world.session.replicate(world.version(1)).await.unwrap();
        world.retarget(1, "westeurope=1,eastus=1,northeurope=2").await;
        for key in world.blobs("regions/westeurope").await.into_keys() {
            world.store.put(&key, Bytes::from_static(b"dust"), PutMode::Overwrite).await.unwrap();
        }
        world.session.replicate(world.version(1)).await.unwrap();
        assert!(world.deployed(1, "northeurope").await.unwrap() == disk(&chunks_of(1)));
    });
}

/// Flips a bit of a stored chunk: of the noise that `chunks` are made of, the one at a place in the first pack.
async fn flip(world: &World, slot: &str, chunk: usize) {
    let (pack, _) = world.blobs(&format!("{slot}/packs")).await.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap();
    let mut bytes = world.store.get(&pack, None).await.unwrap().to_vec();
    bytes.iter_mut().skip(8 + chunk * CHUNK + 100).take(1).for_each(|byte| *byte ^= 1);
    world.store.put(&pack, bytes.into(), PutMode::Overwrite).await.unwrap();
}

/// A bad sector of the first replica was copied into all the others, and all were recorded as complete.
#[test]
fn a_damaged_pack_is_not_multiplied_into_the_other_replicas() {
    block_on(async {
        let world = World::new().await;
        world.publish(1, "westeurope=4", &chunks_of(1)).await;
        flip(&world, "regions/westeurope/slots/0", 3).await;
        let error = world
            .session
            .replicate(world.version(1))
            .await
            .map(drop)
            .expect_err("damage was copied and called complete");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let damaged = world.blobs("regions/westeurope/slots/0/packs").await.into_iter().max_by_key(|(_, size)| *size);
        let damaged = world.store.get(&damaged.unwrap().0, None).await.unwrap();
        for slot in 1..4 {
            for key in world.blobs(&format!("regions/westeurope/slots/{slot}")).await.into_keys() {
                assert!(world.store.get(&key, None).await.unwrap() != damaged, "{key} is a copy of damage");
            }
        }
    });
}

/// Where another region has it good, the new replicas get it from there.
#[test]
fn a_replica_beside_a_damaged_one_gets_good_bytes_from_another_region() {
    block_on(async {
        let world = World::new().await;
        world.publish(1, "westeurope=1,eastus=1", &chunks_of(1)).await;
        world.session.replicate(world.version(1)).await.unwrap();
        flip(&world, "regions/westeurope/slots/0", 3).await;
        world.retarget(1, "westeurope=3,eastus=1").await;
        world.session.replicate(world.version(1)).await.unwrap();
        for key in world
            .blobs("regions/westeurope/slots/0")
            .await
            .into_keys()
            .chain(world.blobs("regions/eastus").await.into_keys())
        {
            world.store.delete(&key).await.unwrap();
        }
        assert!(world.deployed(1, "westeurope").await.unwrap() == disk(&chunks_of(1)));
    });
}

#[test]
fn mending_for_one_version_keeps_what_another_needs() {
    block_on(async {
        let world = World::new().await;
        let first: Vec<u64> = (1..=64).collect();
        let second: Vec<u64> = (1..=24).chain(101..=140).collect();
        world.publish(1, "westeurope=1", &first).await;
        world.publish(2, "westeurope=1,eastus=1", &second).await;
        world.session.replicate(world.version(2)).await.unwrap();
        // The other region has a part of the first version's pack, and no more.
        flip(&world, "regions/westeurope/slots/0", 3).await;
        let deployed_second = world.session.deploy(world.version(2), "westeurope");
        let (report, bytes) = deployed_second.to_writer(Vec::new()).await.unwrap();
        assert!(bytes == disk(&second));
        assert_eq!(report.mended_packs, 1);
        assert!(world.deployed(1, "westeurope").await.unwrap() == disk(&first));
        // Nothing is left for a scrub to do, nor garbage.
        let report = world.session.scrub("westeurope").await.unwrap();
        assert_eq!((report.mended, report.damaged), (0, 0));
        world.session.collect().await.unwrap();
        for (number, chunks) in [(1, &first), (2, &second)] {
            assert!(world.deployed(number, "westeurope").await.unwrap() == disk(chunks));
        }
    });
}

#[test]
fn two_replicas_damaged_in_different_places_serve_and_mend_each_other() {
    block_on(async {
        let world = World::new().await;
        world.publish(1, "westeurope=2", &chunks_of(1)).await;
        world.session.replicate(world.version(1)).await.unwrap();
        flip(&world, "regions/westeurope/slots/0", 3).await;
        flip(&world, "regions/westeurope/slots/1", 5).await;
        assert!(world.deployed(1, "westeurope").await.unwrap() == disk(&chunks_of(1)));
        let report = world.session.scrub("westeurope").await.unwrap();
        assert_eq!((report.damaged, report.damaged_versions.len()), (0, 0), "{report:?}");
        // Each can serve alone.
        for slot in ["regions/westeurope/slots/0", "regions/westeurope/slots/1"] {
            let kept: Vec<(BlobKey, Bytes)> = {
                let keys = world.blobs(slot).await.into_keys();
                let mut kept = Vec::new();
                for key in keys {
                    kept.push((key.clone(), world.store.get(&key, None).await.unwrap()));
                    world.store.delete(&key).await.unwrap();
                }
                kept
            };
            let reader = world.session.deploy(world.version(1), "westeurope").open().await.unwrap();
            assert!(reader.read_at(0..reader.size()).await.unwrap() == disk(&chunks_of(1)), "without {slot}");
            for (key, bytes) in kept {
                world.store.put(&key, bytes, PutMode::Overwrite).await.unwrap();
            }
        }
    });
}

/// A gallery with three versions, the newest of which is to go to two other regions; the store of one can fail.
async fn three_regions(clock: &ManualClock) -> (World, Session, Faults) {
    let settings = |settings: SandboxBuilder| {
        let settings = settings.store("eastus", MemoryStore::new()).clock(clock.clone());
        settings.service(|builder| builder.retries(RetryPolicy::none()))
    };
    let world = World::with(settings).await;
    // So the newest is made of three packs of chunks and as many of nodes.
    world.publish(1, "westeurope=1", &chunks_of(1)).await;
    world.publish(2, "westeurope=1", &chunks_of(2)).await;
    world.publish(3, "westeurope=1,eastus=2,northeurope=1", &chunks_of(3)).await;
    let (session, faults) = (world.session.clone(), world.sandbox.faults("eastus"));
    (world, session, faults)
}

fn noon() -> DateTime<Utc> {
    "2026-01-02T12:00:00Z".parse().unwrap()
}

#[test]
fn a_limit_on_a_border_is_kept_and_what_is_left_is_estimated() {
    block_on(async {
        let clock = ManualClock::auto_advancing(noon());
        let (world, session, _) = three_regions(&clock).await;
        let began = clock.now();
        let mut replication = session.replicate(world.version(3)).bytes_per_second("eastus", 100_000);
        let mut estimated = Vec::new();
        while let Some(status) = replication.statuses().next().await {
            let eastus = status.summary.iter().find(|one| one.region == region("eastus")).unwrap();
            if let Some(left) = eastus.time_left {
                estimated.push((clock.now() + left, eastus.bytes_per_second.unwrap()));
            }
        }
        let report = replication.await.unwrap();
        let crossed = report.regions.get(1).unwrap().cross_region_bytes;
        let took = clock.now().signed_duration_since(began).as_seconds_f64();
        let rate = crossed as f64 / took;
        assert!((95_000.0..=100_500.0).contains(&rate), "{crossed} bytes in {took} s");
        // The estimate was there all along, and came true to within a pack, which is a good part of the whole.
        let offs: Vec<f64> =
            estimated.iter().map(|(end, _)| end.signed_duration_since(clock.now()).as_seconds_f64().abs()).collect();
        assert!(offs.len() > 3 && offs.last().is_some_and(|off| *off < took / 3.0), "off by {offs:?} s of {took} s");
        // The bytes cross once for both replicas.
        assert!(estimated.iter().all(|(_, rate)| (50_000..=400_000).contains(rate)), "{estimated:?}");
    });
}

#[test]
fn a_replication_that_has_no_time_left_is_given_up_as_it_is() {
    block_on(async {
        let clock = ManualClock::new(noon());
        let (world, session, _) = three_regions(&clock).await;
        let work = session.replicate(world.version(3)).bytes_per_second("eastus", 1).within(Duration::from_secs(60));
        let mut work = work;
        // As far as it comes without time: all but the region that is slow.
        while world.deployed(3, "northeurope").await.is_err() {
            assert!(select(&mut work, pin!(yield_once())).await.is_right());
        }
        clock.advance(Duration::from_secs(61));
        let error = work.await.unwrap_err();
        let problems: Vec<String> = error.problems().map(ToString::to_string).collect();
        assert_eq!((error.kind(), problems.len()), (ErrorKind::Cancelled, 1), "{error}");
        assert!(error.to_string().contains("eastus") && error.to_string().contains("deadline"), "{error}");
        session.replicate(world.version(3)).await.unwrap();
        assert!(world.deployed(3, "eastus").await.unwrap() == disk(&chunks_of(3)));
    });
}

#[test]
fn a_deadline_holds_on_a_slow_store_under_a_clock_that_advances_by_itself() {
    block_on(async {
        let clock = ManualClock::auto_advancing(noon());
        // Each put takes half an hour.
        let to_wait = clock.clone();
        let slow = HookedStore::new(MemoryStore::new(), move |call| {
            let (is_put, clock) = (call.operation.starts_with("put"), to_wait.clone());
            async move {
                if is_put {
                    clock.sleep(Duration::from_secs(1800)).await;
                }
                Reaction::Pass
            }
        });
        let settings = |settings: SandboxBuilder| settings.store("eastus", slow).clock(clock.clone());
        let world = World::with(|all| settings(all).service(|builder| builder.workers(Workers::inline()))).await;
        let session = world.session.clone();
        world.publish(1, "westeurope=1,eastus=1", &chunks_of(3)).await;
        let began = clock.now();
        let error = session.replicate(world.version(1)).within(Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert_eq!(clock.now().signed_duration_since(began).num_seconds(), 60);
        // Concurrent puts pass together: several packs at once, each half an hour.
        let began = clock.now();
        let report = session.replicate(world.version(1)).await.unwrap();
        assert!(report.regions[1].cross_region_bytes > 0);
        let took = clock.now().signed_duration_since(began).num_seconds();
        // Before them the store is claimed, and a witness put.
        assert!((1800..=5 * 1800).contains(&took), "{took} s");
    });
}

#[test]
fn a_rate_of_nothing_is_refused_and_not_taken_for_one_byte() {
    block_on(async {
        let clock = ManualClock::new(noon());
        let (world, session, _) = three_regions(&clock).await;
        let refused = session.replicate(world.version(3)).bytes_per_second("eastus", 0).await.unwrap_err();
        let problem = refused.problems().next().unwrap();
        assert_eq!((problem.kind(), problem.target()), (ErrorKind::Invalid, "bytes_per_second"));
        for part in ["`0`", "`eastus`", "at least 1", "pause"] {
            assert!(problem.message().contains(part), "{problem}");
        }
        let limited = session.replicate(world.version(3)).bytes_per_second("eastus", 0);
        let plan = limited.bytes_per_second("westus", 1).plan().await.unwrap();
        assert_eq!(plan.problems.len(), 2, "{:?}", plan.problems);
        let refused = session.scrub("westeurope").bytes_per_second(0).await.unwrap_err();
        assert_eq!((refused.kind(), refused.target()), (ErrorKind::Invalid, "bytes_per_second"), "{refused}");
        assert!(refused.to_string().contains("at least 1"), "{refused}");
        session.replicate(world.version(3)).await.unwrap();
    });
}

/// Lets others have a turn.
async fn yield_once() {
    let mut first = true;
    std::future::poll_fn(|context| match std::mem::take(&mut first) {
        true => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await;
}

#[test]
fn a_region_that_fails_stops_the_others_only_if_it_is_to() {
    block_on(async {
        let clock = ManualClock::new(noon());
        let (world, session, faults) = three_regions(&clock).await;
        faults.fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
        let error = session.replicate(world.version(3)).await.unwrap_err();
        assert_eq!((error.kind(), error.problems().count()), (ErrorKind::Unavailable, 1), "{error}");
        assert!(error.to_string().contains("eastus"), "{error}");
        assert!(world.deployed(3, "northeurope").await.unwrap() == disk(&chunks_of(3)));
        // Calling again repairs that region alone.
        faults.heal();
        let report = session.replicate(world.version(3)).await.unwrap();
        let moved: Vec<bool> = report.regions.iter().map(|region| region.cross_region_bytes > 0).collect();
        assert_eq!(moved, [false, true, false]);

        let (world, session, faults) = three_regions(&clock).await;
        faults.fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
        let error = session.replicate(world.version(3)).on_failure(OnFailure::Stop).await.unwrap_err();
        let kinds: Vec<ErrorKind> = error.problems().map(Problem::kind).collect();
        assert_eq!(kinds, [ErrorKind::Unavailable, ErrorKind::Cancelled], "{error}");
        faults.heal();
        // The look at it succeeds; the first pack fails.
        faults.fail_from(12, Fault::Before(StoreErrorKind::Unavailable));
        let error = session.replicate(world.version(3)).on_failure(OnFailure::Stop).await.unwrap_err();
        let kinds: Vec<ErrorKind> = error.problems().map(Problem::kind).collect();
        assert_eq!(kinds, [ErrorKind::Unavailable, ErrorKind::Cancelled], "{error}");
        faults.heal();
        let error = session.replicate(world.version(3)).bytes_per_second("westus", 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        session.replicate(world.version(3)).await.unwrap();
    });
}

#[test]
fn it_is_paused_resumed_and_cancelled_from_elsewhere() {
    block_on(async {
        let clock = ManualClock::new(noon());
        let (world, session, _) = three_regions(&clock).await;
        let mut replication = session.replicate(world.version(3)).bytes_per_second("eastus", 1 << 20);
        let control = replication.control();
        control.pause();
        // It looks, says how it stands, and sends nothing, however long.
        let first = replication.statuses().next().await.unwrap();
        assert_eq!(first.aggregated_state, AggregatedState::InProgress);
        for _ in 0..100 {
            clock.advance(Duration::from_secs(10));
            assert!(select(replication.statuses().next(), pin!(yield_once())).await.is_right());
        }
        control.resume();
        while replication.statuses().next().await.unwrap().progress() == first.progress() {}
        control.cancel();
        control.resume();
        let error = replication.await.unwrap_err();
        assert!(error.problems().all(|problem| problem.kind() == ErrorKind::Cancelled), "{error}");
        assert!(error.to_string().contains("replicate again"), "{error}");
        session.replicate(world.version(3)).await.unwrap();
        assert!(world.deployed(3, "eastus").await.unwrap() == disk(&chunks_of(3)));
    });
}

/// Either's right side.
trait IsRight {
    fn is_right(&self) -> bool;
}

impl<A, B> IsRight for Either<A, B> {
    fn is_right(&self) -> bool {
        matches!(self, Self::Right(_))
    }
}
