//! The orders that the source's `ORDER` and `INVARIANT` comments lay down, each broken by a mutant in `tests/mutants`, and the faults
//! of stores that other projects met. A test's name says what would be lost.
//!
//! Faults seen elsewhere, and where they are tried here:
//!
//! | | fault | tests |
//! |---|---|---|
//! | S1 | a collector lists names, a writer drops its hold, the collector lists the holds | `s1_…` here; `a_manifest_that_is_being_removed_is_not_relied_on` in `interleavings.rs` |
//! | S2 | a blob is hidden while it is found out what is needed | `s2_…` here; `a_manifest_without_a_whole_copy_is_named_and_stops_nothing_else` in `collect.rs`, `nothing_is_condemned_by_a_process_that_takes_a_hole_for_the_end` in `lost_entries.rs` |
//! | S3 | clocks that differ, a host asleep in the middle of a collection | `s3_…` here; `a_collection_that_stands_still_for_eleven_minutes_takes_nothing_that_came_back`, `a_late_delete_hits_a_dead_name` and all others of `clocks.rs` |
//! | S4 | a store that ignores the condition of a create, or answers 501 | `s4_…` here; `each_mutant_breaks_its_promise` in `mutant_stores.rs` |
//! | S5 | a create answered by 409, another change being in progress | `s5_…` here; `a_retry_never_turns_its_own_success_into_exists_nor_anothers_into_its_own` in `transient.rs` |
//! | S6 | published with compression, opened without, and the reverse | `s6_…` here; `versions_share_chunks_whichever_way_they_were_stored` in `compression.rs` |
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use compute_gallery::content::Compression;
use compute_gallery::model::*;
use compute_gallery::read::{EventKind, HistoryEntry};
use compute_gallery::store::*;
use compute_gallery::testkit::{
    Call, Fault, FaultyStore, HookedStore, ManualClock, Reaction, Sandbox, SandboxBuilder, YieldingStore, noise, raw,
    region,
};
use compute_gallery::*;
use futures::executor::block_on;
use futures::{FutureExt, TryStreamExt};

#[path = "interleavings/steps.rs"]
mod steps;

use steps::{gallery, goes_on, sends};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Settings under which the calls of an operation can be told by their names: no attempt is repeated, nothing is compressed.
fn settings() -> SandboxBuilder {
    Sandbox::builder().service(|builder| builder.retries(RetryPolicy::none()).compression(Compression::None))
}

fn clock() -> ManualClock {
    ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap())
}

/// Two processes on one store: the first can be stopped at each call.
async fn slow_and_fast() -> [Sandbox; 2] {
    let store = MemoryStore::new();
    let fast = settings().regions(["westeurope"]).one_store(store.clone()).build().await.unwrap();
    let yielding = YieldingStore::new(store);
    [fast.reopen().catalog_store(yielding.clone()).one_store(yielding).build().await.unwrap(), fast]
}

/// The sandbox's own gallery, changed.
async fn describe(sandbox: &Sandbox, description: &str) -> Result<()> {
    let own = Gallery::new(sandbox.image().gallery().clone(), region("westeurope"));
    sandbox.session().update_gallery(own.with_description(description)).await.map(drop)
}

/// A disk of which the first 128 KiB are those of all others.
fn disk(number: u64) -> Vec<u8> {
    [noise(0, 128 << 10), noise(1 + number, 128 << 10)].concat()
}

async fn publish(sandbox: &Sandbox, number: u64) {
    let new = sandbox.new_version(&format!("1.0.{number}"), "westeurope", raw(disk(number)));
    sandbox.session().publish(new).await.unwrap();
}

/// A scrub has nothing to do, and each version deploys. In that order: a deployment mends what it meets.
async fn is_whole(sandbox: &Sandbox, numbers: &[u64], place: &str) -> bool {
    let report = sandbox.session().scrub(region(place)).await.unwrap();
    for number in numbers {
        if sandbox.deployed(&format!("1.0.{number}"), place).await.unwrap() != disk(*number) {
            return false;
        }
    }
    (report.mended, report.damaged) == (0, 0)
}

async fn events(sandbox: &Sandbox) -> Vec<EventKind> {
    let history: Vec<HistoryEntry> = sandbox.session().history(0).try_collect().await.unwrap();
    history.into_iter().map(|entry| entry.event.kind).collect()
}

async fn blobs(store: &dyn BlobStore, under: &str) -> BTreeMap<BlobKey, Bytes> {
    let mut blobs = BTreeMap::new();
    for blob in store.list_all(Some(&under.parse().unwrap())).await.unwrap() {
        let bytes = store.get(&blob.key, None).await.unwrap();
        blobs.insert(blob.key, bytes);
    }
    blobs
}

async fn copy_of(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for blob in store.list_all(None).await.unwrap() {
        let bytes = store.get(&blob.key, None).await.unwrap();
        copy.put(&blob.key, bytes, PutMode::Create).await.unwrap();
    }
    copy
}

fn is_put(call: &Call) -> bool {
    matches!(call.operation, "put" | "put_parts" | "copy" | "copy_from" | "replace_if")
}

fn is_below(call: &Call, folder: &str) -> bool {
    call.key.as_ref().is_some_and(|key| key.as_str().starts_with(folder))
}

// Commits.

#[test]
fn an_entry_that_was_found_by_reading_is_acknowledged_only_when_it_is_durable() {
    block_on(async {
        let is_failing = Arc::new(AtomicBool::new(false));
        let failing = is_failing.clone();
        let store = HookedStore::new(MemoryStore::new(), move |call| {
            let fails = call.operation == "persist" && failing.load(Ordering::Relaxed);
            async move { if fails { Reaction::Fail(StoreErrorKind::Unavailable) } else { Reaction::Pass } }
        });
        let sandbox = settings().catalog_store(store).build().await.unwrap();
        let (session, faults) = (sandbox.session(), sandbox.catalog_faults());
        // The put takes effect, its answer is lost, and the entry is found by reading: nobody has said that it is durable.
        is_failing.store(true, Ordering::Relaxed);
        faults.forget_record();
        // The first call asks whose the store is.
        faults.fail_call(1, Fault::After);
        let error = session.create_gallery(gallery(&sandbox, "one")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        assert!(faults.record().get(1).is_some_and(|call| is_put(call) && is_below(call, "catalog/log")));
        is_failing.store(false, Ordering::Relaxed);
        session.refresh().await.unwrap();
        faults.fail_call(1, Fault::After);
        faults.forget_record();
        session.create_gallery(gallery(&sandbox, "two")).await.unwrap();
        let syncs = faults.record().iter().filter(|call| call.operation == "persist").count();
        assert!(syncs > 0, "{:?}", faults.record());
        session.refresh().await.unwrap().gallery(gallery(&sandbox, "one").id()).unwrap();
    });
}

/// Several entries are read at once, and one of them cannot be read: those before it are no end of the log, and no view and no
/// refusal rests on them.
#[test]
fn an_entry_that_cannot_be_read_is_no_end_of_the_log() {
    block_on(async {
        const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];
        for unreadable in 1..=NAMES.len() {
            let memory = MemoryStore::new();
            let other = settings().regions(["westeurope"]).one_store(memory.clone()).build().await.unwrap();
            let fails = format!("catalog/log/{:020}", blobs(&memory, "catalog/log").await.len() + unreadable);
            let is_failing = Arc::new(AtomicBool::new(true));
            let failing = is_failing.clone();
            let store = HookedStore::new(memory, move |call| {
                let fails = failing.load(Ordering::Relaxed) && call.operation == "get" && is_below(&call, &fails);
                async move { if fails { Reaction::Fail(StoreErrorKind::Unavailable) } else { Reaction::Pass } }
            });
            let sandbox = other.reopen().catalog_store(store.clone()).one_store(store).build().await.unwrap();
            for name in NAMES {
                other.session().create_gallery(gallery(&other, name)).await.unwrap();
            }
            let last = gallery(&other, "five");
            let refused = sandbox.session().delete(last.id()).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unavailable, "entry {unreadable} was not read: {refused}");
            assert!(sandbox.session().refresh().await.is_err(), "entry {unreadable} was not read");
            is_failing.store(false, Ordering::Relaxed);
            sandbox.session().refresh().await.unwrap().gallery(last.id()).unwrap();
        }
    });
}

/// A store whose `persist` fails while the flag is set.
fn not_persisting(inner: impl BlobStore) -> (HookedStore, Arc<AtomicBool>) {
    let is_failing = Arc::new(AtomicBool::new(false));
    let failing = is_failing.clone();
    let store = HookedStore::new(inner, move |call| {
        let fails = call.operation == "persist" && failing.load(Ordering::Relaxed);
        async move { if fails { Reaction::Fail(StoreErrorKind::Unavailable) } else { Reaction::Pass } }
    });
    (store, is_failing)
}

/// An identity is read, and nobody has said that it is durable: the first entry would outlive it in a power cut.
#[test]
fn an_identity_that_was_found_by_reading_is_durable_before_the_first_entry() {
    block_on(async {
        let memory = MemoryStore::new();
        let creator = settings().catalog_store(memory.clone()).empty().build().await.unwrap();
        let (store, is_failing) = not_persisting(memory.clone());
        is_failing.store(true, Ordering::Relaxed);
        creator.reopen().catalog_store(store.clone()).build().await.unwrap_err();
        assert!(blobs(&memory, "catalog/log").await.is_empty());
        is_failing.store(false, Ordering::Relaxed);
        let opened = creator.reopen().catalog_store(store).build().await.unwrap();
        opened.session().create_gallery(gallery(&opened, "one")).await.unwrap();
    });
}

/// An owner is read, and nobody has said that it is durable: a claim would outlive it in a power cut, and the region be refused.
#[test]
fn an_owner_that_was_found_by_reading_is_durable_before_it_is_claimed() {
    block_on(async {
        let new = |sandbox: &Sandbox| sandbox.new_version("1.0.0", "westeurope", raw(disk(0)));
        let usual = settings().regions(["westeurope"]).build().await.unwrap();
        usual.faults("westeurope").forget_record();
        usual.session().publish(new(&usual)).await.unwrap();
        let mut calls = usual.faults("westeurope").record().into_iter();
        let put = calls.position(|call| is_put(&call) && is_below(&call, "owner")).unwrap();

        let (store, is_failing) = not_persisting(MemoryStore::new());
        let sandbox = settings().regions(["westeurope"]).store("westeurope", store).build().await.unwrap();
        is_failing.store(true, Ordering::Relaxed);
        // The owner is created, and the answer is lost; the second publish finds it.
        sandbox.faults("westeurope").fail_call(put as u64, Fault::After);
        sandbox.session().publish(new(&sandbox)).await.unwrap_err();
        sandbox.store("westeurope").head(&"owner".parse().unwrap()).await.unwrap();
        sandbox.session().publish(new(&sandbox)).await.unwrap_err();
        assert!(!events(&sandbox).await.contains(&EventKind::RegionStoreClaimed));
        is_failing.store(false, Ordering::Relaxed);
        sandbox.session().publish(new(&sandbox)).await.unwrap();
        assert!(is_whole(&sandbox, &[0], "westeurope").await);
    });
}

/// The store's time is asked for, and no answer comes. Of the change nothing was sent: that is no unknown outcome.
#[test]
fn a_change_whose_probe_gets_no_answer_is_known_to_be_not_committed() {
    block_on(async {
        let clock = clock().compared_with_stores();
        let memory = MemoryStore::new().with_clock(clock.clone());
        let is_failing = Arc::new(AtomicBool::new(false));
        let failing = is_failing.clone();
        let store = HookedStore::new(memory, move |call| {
            let fails = failing.load(Ordering::Relaxed) && is_put(&call) && is_below(&call, "catalog/probes");
            async move { if fails { Reaction::Fail(StoreErrorKind::Unknown) } else { Reaction::Pass } }
        });
        let sandbox = settings().catalog_store(store).clock(clock.clone()).build().await.unwrap();
        let before = events(&sandbox).await.len();
        clock.advance(DAY);
        is_failing.store(true, Ordering::Relaxed);
        let error = sandbox.session().create_gallery(gallery(&sandbox, "one")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        is_failing.store(false, Ordering::Relaxed);
        assert_eq!(events(&sandbox).await.len(), before);
        sandbox.session().create_gallery(gallery(&sandbox, "one")).await.unwrap();
    });
}

/// Another's entry is read, and nobody has said that it is durable: neither a view nor a refusal rests on it before it is.
#[test]
fn what_was_read_of_other_writers_is_durable_before_an_answer_rests_on_it() {
    block_on(async {
        let memory = MemoryStore::new();
        let other = settings().regions(["westeurope"]).one_store(memory.clone()).build().await.unwrap();
        let is_failing = Arc::new(AtomicBool::new(false));
        let failing = is_failing.clone();
        let store = HookedStore::new(memory, move |call| {
            let fails = call.operation == "persist" && failing.load(Ordering::Relaxed);
            async move { if fails { Reaction::Fail(StoreErrorKind::Unavailable) } else { Reaction::Pass } }
        });
        let sandbox = other.reopen().catalog_store(store.clone()).one_store(store).build().await.unwrap();
        for number in 0..3 {
            let new = gallery(&other, &format!("g{number}"));
            other.session().create_gallery(new.clone()).await.unwrap();
            let acts = || async {
                match number {
                    0 => sandbox.session().refresh().await.map(drop),
                    1 => sandbox.session().update_gallery(new.clone()).await.map(drop),
                    _ => sandbox
                        .session()
                        .create_gallery(Gallery::new(new.id().clone(), region("eastus")))
                        .await
                        .map(drop),
                }
            };
            is_failing.store(true, Ordering::Relaxed);
            let error = acts().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{number}: {error}");
            is_failing.store(false, Ordering::Relaxed);
            let told = acts().await.map_err(|error| error.kind());
            assert_eq!(told, if number < 2 { Ok(()) } else { Err(ErrorKind::Conflict) });
        }
    });
}

/// A put whose answer was lost, and that is not there yet, lands just before it is put again: with other bytes it would look like
/// another writer's, and its caller would be told that what it has deleted does not exist.
#[test]
fn an_entry_that_lands_late_is_still_the_one_that_was_put() {
    block_on(async {
        let (memory, network) = (MemoryStore::new(), MemoryStore::new());
        // The network takes the put and gives no answer.
        let lossy = FaultyStore::new(network.clone());
        let (lossy_faults, lossy) = (lossy.faults(), Arc::new(lossy));
        let is_lossy = Arc::new(AtomicBool::new(false));
        let (losing, target, late) = (is_lossy.clone(), memory.clone(), network.clone());
        let store = HookedStore::new(memory.clone(), move |call| {
            let is_entry =
                call.operation == "put" && call.key.as_ref().is_some_and(|key| key.as_str().contains("log/"));
            let is_lost = is_entry && losing.swap(false, Ordering::Relaxed);
            if is_lost {
                lossy_faults.fail_call(0, Fault::After);
            }
            let (key, lossy, target, late) = (call.key, lossy.clone(), target.clone(), late.clone());
            async move {
                if is_lost {
                    return Reaction::Redirect(lossy);
                }
                // The next put of that number finds that the first has landed.
                if let Some(key) = key.filter(|_| is_entry)
                    && let Some(bytes) = late.find(&key).await.unwrap()
                {
                    target.put(&key, bytes, PutMode::Create).await.unwrap();
                }
                Reaction::Pass
            }
        });
        let sandbox = settings().catalog_store(store).build().await.unwrap();
        let session = sandbox.session();
        session.create_gallery(gallery(&sandbox, "one")).await.unwrap();
        is_lossy.store(true, Ordering::Relaxed);
        let deleted = session.delete(gallery(&sandbox, "one").id()).await.unwrap();
        assert_eq!((deleted.len(), is_lossy.load(Ordering::Relaxed)), (1, false));
        assert!(!network.list_all(None).await.unwrap().is_empty(), "a put was lost");
    });
}

/// What changes nothing is answered by a look at the log. An operation that comes while that is under way needs one of its own.
#[test]
fn an_operation_that_came_during_a_look_is_not_judged_by_it() {
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, fast] = slow_and_fast().await;
            describe(&slow, "wanted").await.unwrap();
            let mut earlier = Box::pin(describe(&slow, "wanted"));
            let is_over = goes_on(&mut earlier, steps);
            describe(&fast, "another").await.unwrap();
            let later = describe(&slow, "wanted");
            // It is in the queue when the look ends.
            if is_over { later.await } else { futures::join!(later, earlier).0 }.unwrap();
            let view = fast.session().refresh().await.unwrap();
            let now = view.gallery(fast.image().gallery()).unwrap().description().map(str::to_owned);
            assert_eq!(now.as_deref(), Some("wanted"), "stopped after {steps} steps");
            is_over
        });
        if is_over {
            assert!(steps > 2, "{steps}");
            return;
        }
    }
}

#[test]
fn a_look_that_began_before_the_question_does_not_answer_it() {
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, fast] = slow_and_fast().await;
            let session = slow.session().clone();
            let mut earlier = Box::pin(async move { session.refresh().await.map(drop) });
            let is_over = goes_on(&mut earlier, steps);
            fast.session().create_gallery(gallery(&fast, "new")).await.unwrap();
            let later = slow.session().refresh();
            let view = if is_over { later.await } else { futures::join!(later, earlier).0 }.unwrap();
            assert!(view.gallery(gallery(&fast, "new").id()).is_ok(), "stopped after {steps} steps");
            is_over
        });
        if is_over {
            assert!(steps > 2, "{steps}");
            return;
        }
    }
}

/// A look reads another process's entry, which nobody can make durable, while this process's own entry makes a checkpoint due.
#[test]
fn a_checkpoint_is_not_ahead_of_what_is_durable_of_the_log() {
    block_on(async {
        let memory = MemoryStore::new();
        let first = settings().regions(["westeurope"]).one_store(memory.clone()).build().await.unwrap();
        let entries = |store: &MemoryStore| {
            let store = store.clone();
            async move { store.list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap().len() }
        };
        while entries(&memory).await < 63 {
            describe(&first, &entries(&memory).await.to_string()).await.unwrap();
        }
        for commits in 0..12 {
            for looks in 0..8 {
                let memory = copy_of(&memory).await;
                let fast =
                    first.reopen().catalog_store(memory.clone()).one_store(memory.clone()).build().await.unwrap();
                let is_failing = Arc::new(AtomicBool::new(false));
                let failing = is_failing.clone();
                let hooked = HookedStore::new(memory.clone(), move |call| {
                    let fails = call.operation == "persist" && failing.load(Ordering::Relaxed);
                    async move { if fails { Reaction::Fail(StoreErrorKind::Unavailable) } else { Reaction::Pass } }
                });
                let store = YieldingStore::new(hooked);
                let slow = first.reopen().catalog_store(store.clone()).one_store(store).build().await.unwrap();
                let mut commit = Box::pin(describe(&slow, "the 64th"));
                let is_over = goes_on(&mut commit, commits);
                if entries(&memory).await < 64 {
                    continue;
                }
                describe(&fast, "another's").await.unwrap();
                is_failing.store(true, Ordering::Relaxed);
                let session = slow.session().clone();
                let mut look = Box::pin(async move { session.refresh().await.map(drop) });
                let has_looked = goes_on(&mut look, looks);
                if !is_over {
                    commit.await.unwrap();
                }
                if !has_looked {
                    let _ = look.await;
                }
                // Whoever waits for a look drives the checkpoint.
                for _ in 0..12 {
                    let _ = slow.session().refresh().await;
                }
                let roots = memory.list_all(Some(&"catalog/checkpoints".parse().unwrap())).await.unwrap();
                for root in roots {
                    let number = u64::MAX - root.key.segments().nth(2).unwrap().parse::<u64>().unwrap();
                    assert!(number < 65, "a root of commit {number}, after {commits} and {looks} steps");
                }
            }
        }
    });
}

// Collection.

#[test]
fn s1_a_publish_beside_a_collection_keeps_its_blobs() {
    // A publish from beginning to end while the collection stands still, and the reverse.
    for is_publish_slow in [false, true] {
        for steps in 0.. {
            let is_over = block_on(async {
                let [slow, fast] = slow_and_fast().await;
                publish(&fast, 0).await;
                publish(&fast, 1).await;
                fast.session().delete(fast.version("1.0.1")).await.unwrap();
                let what = format!("slow publish: {is_publish_slow}, stopped after {steps} steps");
                let is_over = if is_publish_slow {
                    // It shares content with the deleted version only, and with one that stays.
                    let new = slow.new_version("1.0.2", "westeurope", raw(disk(2)));
                    let mut publishing = slow.session().publish(new);
                    let is_over = goes_on(&mut publishing, steps);
                    fast.session().collect().await.unwrap();
                    if !is_over {
                        publishing.await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    }
                    is_over
                } else {
                    let mut collection = slow.session().collect();
                    let is_over = goes_on(&mut collection, steps);
                    publish(&fast, 2).await;
                    if !is_over {
                        collection.await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    }
                    is_over
                };
                assert!(is_whole(&fast, &[0, 2], "westeurope").await, "{what}");
                fast.session().collect().await.unwrap();
                assert!(is_whole(&fast, &[0, 2], "westeurope").await, "{what}, and collected again");
                is_over
            });
            if is_over {
                assert!(steps > 20, "{steps}");
                break;
            }
        }
    }
}

#[test]
fn s2_a_collection_frees_no_more_because_a_blob_is_hidden() {
    block_on(async {
        let world = || async {
            let memory = MemoryStore::new();
            let sandbox = settings().regions(["westeurope", "eastus"]).one_store(memory.clone()).build().await.unwrap();
            for number in 0..3 {
                sandbox.publish(&format!("1.0.{number}"), disk(number)).await.unwrap();
            }
            sandbox.session().delete(sandbox.version("1.0.1")).await.unwrap();
            (sandbox, memory)
        };
        let (sandbox, memory) = world().await;
        let all = blobs(&memory, "regions").await;
        let most = sandbox.session().collect().await.unwrap().bytes();
        let left = blobs(&memory, "regions").await;
        assert!(most > 0 && left.len() < all.len());
        for key in left.keys().filter(|key| key.as_str().contains("/slots/")) {
            let (sandbox, memory) = world().await;
            let hidden = memory.get(key, None).await.unwrap();
            memory.delete(key).await.unwrap();
            // It may refuse. What it does free is garbage all the same.
            let _ = sandbox.session().collect().await;
            memory.put(key, hidden, PutMode::Overwrite).await.unwrap();
            for place in ["westeurope", "eastus"] {
                assert!(is_whole(&sandbox, &[0, 2], place).await, "{key} was hidden: {place}");
            }
            let now = blobs(&memory, "regions").await;
            let lost: Vec<_> = left.keys().filter(|key| !now.contains_key(*key)).collect();
            assert!(lost.iter().all(|key| !key.as_str().contains("/slots/")), "{key} was hidden: {lost:?}");
        }
    });
}

/// A collection on a host whose clock is an hour behind sleeps for a day in its middle.
#[test]
fn s3_a_collection_that_slept_beside_clocks_an_hour_apart_removes_nothing_live() {
    for steps in 0.. {
        let is_over = block_on(async {
            let (store, late, right) = (MemoryStore::new(), clock(), clock());
            right.advance(HOUR);
            let fast = settings().regions(["westeurope"]).one_store(store.clone()).clock(right.clone());
            let fast = fast.build().await.unwrap();
            let own = Gallery::new(fast.image().gallery().clone(), region("westeurope"));
            let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(7);
            fast.session().update_gallery(own.with_soft_delete_policy(policy)).await.unwrap();
            publish(&fast, 0).await;
            publish(&fast, 1).await;
            fast.session().delete(fast.version("1.0.0")).await.unwrap();
            let yielding = YieldingStore::new(store);
            let slow = fast.reopen().catalog_store(yielding.clone()).one_store(yielding).clock(late.clone());
            let slow = slow.build().await.unwrap();
            // The retention is over, by both clocks.
            right.advance(7 * DAY + 3 * HOUR);
            late.advance(7 * DAY + 3 * HOUR);
            let mut collection = slow.session().collect();
            let is_over = goes_on(&mut collection, steps);
            // Asleep: the others restore the version if it is not purged yet, and collect. It wakes on a later day.
            let restored = fast.session().restore(fast.version("1.0.0")).await.is_ok();
            fast.session().collect().await.unwrap();
            publish(&fast, 2).await;
            late.advance(DAY);
            right.advance(DAY);
            if !is_over {
                // The call that it slept in has taken too long.
                let _ = collection.await;
            }
            let live: &[u64] = if restored { &[0, 1, 2] } else { &[1, 2] };
            assert!(is_whole(&fast, live, "westeurope").await, "asleep after {steps} steps");
            is_over
        });
        if is_over {
            assert!(steps > 20, "{steps}");
            return;
        }
    }
}

#[test]
fn an_import_that_was_given_up_publishes_nothing() {
    let mut given_up = 0;
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, fast] = slow_and_fast().await;
            let mut publishing = slow.session().publish(slow.new_version("1.0.0", "westeurope", raw(disk(0))));
            if goes_on(&mut publishing, steps) {
                return true;
            }
            // Given up, its packs are removed.
            fast.clock().advance(Duration::from_secs(2));
            let collection = fast.session().collect().abandon_uploads_after(Duration::from_secs(1));
            let abandoned = collection.await.unwrap().abandoned_uploads;
            given_up += abandoned;
            match publishing.await {
                Ok(_) => assert_eq!(abandoned, 0, "stopped after {steps} steps"),
                Err(error) => {
                    assert_eq!((error.kind(), abandoned), (ErrorKind::Conflict, 1), "stopped after {steps}: {error}");
                    publish(&fast, 0).await;
                }
            }
            assert!(is_whole(&fast, &[0], "westeurope").await, "stopped after {steps} steps");
            false
        });
        if is_over {
            assert!(steps > 20 && given_up > 10, "{steps} steps, {given_up} given up");
            return;
        }
    }
}

#[test]
fn a_version_whose_base_was_deleted_meanwhile_is_not_published() {
    let (mut refused, mut published) = (0, 0);
    for steps in 0.. {
        let is_over = block_on(async {
            let [slow, fast] = slow_and_fast().await;
            publish(&fast, 0).await;
            let mut publishing = slow.session().publish(slow.new_version("1.0.1", "westeurope", raw(disk(1))));
            if goes_on(&mut publishing, steps) {
                return true;
            }
            fast.session().delete(fast.version("1.0.0")).await.unwrap();
            fast.session().collect().await.unwrap();
            match publishing.await {
                Ok(_) => {
                    published += 1;
                    assert!(is_whole(&fast, &[1], "westeurope").await, "stopped after {steps} steps");
                }
                Err(error) => {
                    refused += 1;
                    // It may meet the base's manifest or index after they were removed.
                    let is_told =
                        matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::NotFound);
                    assert!(is_told, "stopped after {steps} steps: {error}");
                    publish(&fast, 1).await;
                    assert!(is_whole(&fast, &[1], "westeurope").await, "stopped after {steps} steps, published again");
                }
            }
            false
        });
        if is_over {
            assert!(refused > 5 && published > 0, "{refused} refused, {published} published");
            return;
        }
    }
}

/// The region is put in again, and completed by what is there, between the survey of a collection and its condemnation.
#[test]
fn a_region_that_came_back_before_the_condemnation_keeps_its_content() {
    for steps in 0.. {
        let is_over = block_on(async {
            let store = MemoryStore::new();
            let fast = settings().one_store(store.clone()).build().await.unwrap();
            fast.publish_to("1.0.0", "westeurope,eastus", disk(0)).await.unwrap();
            let yielding = YieldingStore::new(store);
            let slow = fast.reopen().catalog_store(yielding.clone()).one_store(yielding).build().await.unwrap();
            sends(&fast, "westeurope").await;
            let mut collection = slow.session().collect();
            let is_over = goes_on(&mut collection, steps);
            sends(&fast, "westeurope,eastus").await;
            fast.session().replicate(fast.version("1.0.0")).await.unwrap();
            if !is_over {
                let _ = collection.await;
            }
            assert!(is_whole(&fast, &[0], "eastus").await, "stopped after {steps} steps");
            is_over
        });
        if is_over {
            assert!(steps > 20, "{steps}");
            return;
        }
    }
}

/// A region has two parts of a pack, each for a version of its own.
#[test]
fn a_part_that_holds_only_some_of_what_is_needed_makes_nothing_garbage() {
    block_on(async {
        let sandbox = settings().regions(["westeurope", "eastus"]).build().await.unwrap();
        let (session, all) = (sandbox.session(), noise(0, 512 << 10));
        let of = |half: &[u8], own| [half, &noise(own, 256 << 10)].concat();
        let (first, second) = all.split_at(256 << 10);
        session.publish(sandbox.new_version("1.0.0", "westeurope", raw(all.clone()))).await.unwrap();
        // Both build on the first version.
        for (number, disk) in [("3.0.0", of(first, 1)), ("2.0.0", of(second, 2))] {
            let published = sandbox.publish(number, disk).await.unwrap();
            assert_eq!(published.import.new_chunks, 4, "{number}");
        }
        let parts = blobs(sandbox.store("eastus").inner(), "slots/0/parts").await;
        assert!(parts.len() >= 2, "{parts:?}");
        for _ in 0..2 {
            session.collect().await.unwrap();
        }
        assert_eq!(session.scrub("eastus").await.map(|report| (report.mended, report.damaged)).unwrap(), (0, 0));
    });
}

#[test]
fn a_collection_that_was_taken_over_removes_no_second_batch() {
    block_on(async {
        let store = MemoryStore::new();
        let fast = settings().regions(["westeurope"]).one_store(store.clone()).build().await.unwrap();
        for number in 0..60 {
            let new = fast.new_version(&format!("1.0.{number}"), "westeurope", raw(noise(number, 4096)));
            fast.session().publish(new).await.unwrap();
        }
        fast.session().delete(fast.image()).cascade().await.unwrap();
        let deletions = Arc::new(Mutex::new(0));
        let counted = deletions.clone();
        let yielding = HookedStore::new(YieldingStore::new(store.clone()), move |call| {
            *counted.lock().unwrap() +=
                usize::from(call.operation == "delete" && is_below(&call, "regions/westeurope/slots"));
            async { Reaction::Pass }
        });
        let slow = fast.reopen().catalog_store(yielding.clone()).one_store(yielding).build().await.unwrap();
        let mut collection = slow.session().collect();
        while *deletions.lock().unwrap() == 0 {
            assert!(!goes_on(&mut collection, 1));
        }
        // Another takes over, and stands still in its turn.
        let yielding = YieldingStore::new(store);
        let other = fast.reopen().catalog_store(yielding.clone()).one_store(yielding).build().await.unwrap();
        let mut taking_over = other.session().collect();
        while !events(&fast).await.contains(&EventKind::RemovalTakenOver) {
            assert!(!goes_on(&mut taking_over, 1));
        }
        collection.await.unwrap();
        let removed = *deletions.lock().unwrap();
        assert!(removed <= 32, "{removed} deletions, of which at most one batch may come after the other took over");
        taking_over.await.unwrap();
        assert!(blobs(&fast.store("westeurope"), "slots").await.is_empty());
    });
}

/// A process is behind, and the next two entries are lost: the third, which restores the version that is to be purged, comes after what
/// looks like the log's end.
#[test]
fn nothing_is_condemned_beside_a_hole_in_the_log() {
    block_on(async {
        let (memory, late) = (MemoryStore::new(), clock());
        let writer = settings().regions(["westeurope"]).one_store(memory.clone()).clock(clock()).build().await.unwrap();
        let own = Gallery::new(writer.image().gallery().clone(), region("westeurope"));
        let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(7);
        writer.session().update_gallery(own.with_soft_delete_policy(policy)).await.unwrap();
        publish(&writer, 0).await;
        writer.session().delete(writer.version("1.0.0")).await.unwrap();
        let behind = writer.reopen().catalog_store(memory.clone()).one_store(memory.clone()).clock(late.clone());
        let behind = behind.build().await.unwrap();
        let log = "catalog/log".parse().unwrap();
        let before = memory.list_all(Some(&log)).await.unwrap().len();
        for number in 0..2 {
            writer.session().create_gallery(gallery(&writer, &format!("g{number}"))).await.unwrap();
        }
        writer.session().restore(writer.version("1.0.0")).await.unwrap();
        let entries = memory.list_all(Some(&log)).await.unwrap();
        assert_eq!(entries.len(), before + 3);
        for lost in entries.iter().skip(before).take(2) {
            memory.delete(&lost.key).await.unwrap();
        }
        late.advance(8 * DAY);
        let (images, log) = (blobs(&memory, "regions/westeurope/slots").await, blobs(&memory, "catalog/log").await);
        let error = behind.session().collect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(blobs(&memory, "regions/westeurope/slots").await, images);
        assert_eq!(
            blobs(&memory, "catalog/log").await,
            log,
            "nothing is purged either: it would take the number of a lost entry"
        );
    });
}

/// A service runs on a restored backup of the catalog; the right one writes to the store after the service has looked whose it is.
#[test]
fn nothing_is_condemned_in_a_store_that_has_seen_a_newer_log() {
    block_on(async {
        let (catalog, west) = (MemoryStore::new(), MemoryStore::new());
        let right = settings().catalog_store(catalog.clone()).store("westeurope", west.clone()).regions(["westeurope"]);
        let right = right.clock(clock()).build().await.unwrap();
        let own = Gallery::new(right.image().gallery().clone(), region("westeurope"));
        let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(7);
        right.session().update_gallery(own.with_soft_delete_policy(policy)).await.unwrap();
        publish(&right, 0).await;
        right.session().delete(right.version("1.0.0")).await.unwrap();
        let backup = copy_of(&catalog).await;
        // By the time that the backup is used, the version's retention is over there. In the right log it was restored.
        let session = right.session().clone();
        let (restored, new) =
            (right.version("1.0.0"), Mutex::new(Some(right.new_version("1.0.1", "westeurope", raw(disk(1))))));
        let is_armed = Arc::new(AtomicBool::new(false));
        let armed = is_armed.clone();
        let hooked = HookedStore::new(west.clone(), move |call| {
            let is_listed = call.operation == "list" && is_below(&call, "slots");
            let now = is_listed && armed.swap(false, Ordering::Relaxed);
            let (session, restored) = (session.clone(), restored.clone());
            let new = if now { new.lock().unwrap().take() } else { None };
            async move {
                if let Some(new) = new {
                    session.restore(restored).await.unwrap();
                    session.publish(new).await.unwrap();
                }
                Reaction::Pass
            }
        });
        let later = clock();
        let wrong = right
            .reopen()
            .catalog_store(backup)
            .store("westeurope", hooked)
            .clock(later.clone())
            .build()
            .await
            .unwrap();
        for number in 0..8 {
            describe(&wrong, &number.to_string()).await.unwrap();
        }
        later.advance(8 * DAY);
        is_armed.store(true, Ordering::Relaxed);
        let error = wrong.session().collect().await.unwrap_err();
        assert!(!is_armed.load(Ordering::Relaxed), "the right one came while the region was listed");
        assert!(error.to_string().contains("has seen"), "{error}");
        assert!(!events(&wrong).await.contains(&EventKind::ContentCondemned));
        assert!(is_whole(&right, &[0, 1], "westeurope").await);
    });
}

// Publishing and replicating.

/// A catalog that is older than the import is refused from then on.
#[test]
fn a_store_has_seen_the_commit_of_an_import_before_it_is_published() {
    block_on(async {
        let sandbox = settings().regions(["westeurope"]).one_store(MemoryStore::new()).build().await.unwrap();
        publish(&sandbox, 0).await;
        let faults = sandbox.faults("westeurope");
        faults.forget_record();
        publish(&sandbox, 1).await;
        let puts: Vec<Call> = faults.record().into_iter().filter(is_put).collect();
        let seen = puts.iter().position(|call| is_below(call, "regions/westeurope/witnesses")).unwrap();
        let published = puts.iter().rposition(|call| is_below(call, "catalog/log")).unwrap();
        assert!(seen < published, "{puts:?}");
    });
}

/// What an earlier attempt or another process has put is visible, and may not be durable: so all of it is persisted.
#[test]
fn an_image_is_durable_before_its_commit() {
    block_on(async {
        let sandbox = settings().one_store(MemoryStore::new()).build().await.unwrap();
        let faults = sandbox.faults("westeurope");
        let is_durable = |calls: &[Call]| {
            let commit = calls.iter().rposition(|call| is_put(call) && is_below(call, "catalog/log")).unwrap();
            let (before, mut blobs) = (calls.get(..commit).unwrap(), 0);
            for (at, call) in before.iter().enumerate() {
                let Some(key) = call.key.as_ref().filter(|key| is_put(call) && key.as_str().contains("/slots/")) else {
                    continue;
                };
                blobs += 1;
                let covers = |sync: &Call| {
                    let under = sync.key.as_ref().map(|under| format!("{under}/")).unwrap_or_default();
                    sync.operation == "persist" && key.as_str().starts_with(&under)
                };
                assert!(before.iter().skip(at).any(covers), "{key} is not persisted before the commit");
            }
            assert!(blobs >= 2, "{calls:?}");
        };
        for number in 0..2 {
            faults.forget_record();
            let new = sandbox.new_version(&format!("1.0.{number}"), "westeurope=2,eastus", raw(disk(number)));
            sandbox.session().publish(new).await.unwrap();
            is_durable(&faults.record());
            for place in ["westeurope", "eastus"] {
                faults.forget_record();
                let replication = sandbox.session().replicate(sandbox.version(&format!("1.0.{number}")));
                let (_, record) = (replication.await.unwrap(), faults.record());
                // Both regions at once: the second time, nothing is left to do.
                if place == "westeurope" {
                    is_durable(&record);
                }
            }
        }
    });
}

/// A region that was taken out and put in again has a pack that was cut off meanwhile.
#[test]
fn a_pack_of_another_length_is_sent_again() {
    block_on(async {
        let sandbox = settings().regions(["westeurope", "eastus"]).build().await.unwrap();
        sandbox.publish("1.0.0", disk(0)).await.unwrap();
        sends(&sandbox, "westeurope").await;
        let away = sandbox.store("eastus");
        for (key, bytes) in blobs(away.inner(), "slots/0/packs").await {
            away.inner().put(&key, bytes.slice(..bytes.len() / 2), PutMode::Overwrite).await.unwrap();
        }
        sends(&sandbox, "westeurope,eastus").await;
        sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap();
        assert!(is_whole(&sandbox, &[0], "eastus").await);
    });
}

/// Two of three zones answer, and take no image.
#[test]
fn an_image_in_one_zone_of_three_is_not_acknowledged() {
    block_on(async {
        for refusing in 1..=2 {
            let zone = |number: usize| {
                HookedStore::new(MemoryStore::new(), move |call| {
                    let fails = number <= refusing && is_put(&call) && is_below(&call, "slots");
                    async move { if fails { Reaction::Fail(StoreErrorKind::PermissionDenied) } else { Reaction::Pass } }
                })
            };
            let zones = [zone(1), zone(2), zone(3)];
            let sandbox = settings().zone_stores("westeurope", zones).regions(["westeurope"]).build().await.unwrap();
            let account = StorageAccountType::StandardZrs;
            let profile = PublishingProfile::new("westeurope".parse().unwrap()).with_storage_account_type(account);
            let id = sandbox.version("1.0.0");
            let new = NewImageVersion::new(id.clone(), region("westeurope"), profile, raw(disk(0)));
            let published = sandbox.session().publish(new).await.map(|published| published.degraded);
            let view = sandbox.session().refresh().await.unwrap();
            match refusing {
                1 => assert!(published.unwrap() && view.image_version(&id).is_ok()),
                _ => assert!(published.is_err() && view.image_version(&id).is_err(), "{published:?}"),
            }
        }
    });
}

// Mending.

/// Two regions: at home a whole pack of which a shared record is damaged, away only a part of that pack, with that record.
struct Damaged {
    sandbox: Sandbox,
    west: MemoryStore,
    pack: BlobKey,
    good: Bytes,
}

impl Damaged {
    /// `hook` sees the calls at home.
    async fn new(hook: impl Fn(&Call, &MemoryStore) -> Reaction + Send + Sync + 'static) -> Self {
        let west = MemoryStore::new();
        let inner = west.clone();
        let hooked = HookedStore::new(west.clone(), move |call| {
            let reaction = hook(&call, &inner);
            async move { reaction }
        });
        let sandbox = settings().regions(["westeurope", "eastus"]).store("westeurope", hooked).build().await.unwrap();
        publish(&sandbox, 0).await;
        // The index has a pack of its own.
        let packs = blobs(&west, "slots/0/packs").await;
        let (pack, good) = packs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        sandbox.publish_to("1.0.1", "westeurope,eastus", disk(1)).await.unwrap();
        let damaged = Self { sandbox, west, pack, good };
        damaged.flip().await;
        damaged
    }

    /// Damages a record that both versions have.
    async fn flip(&self) {
        let mut bytes = self.good.to_vec();
        bytes.iter_mut().skip(70_000).take(1).for_each(|byte| *byte ^= 1);
        self.west.put(&self.pack, bytes.into(), PutMode::Overwrite).await.unwrap();
    }
}

#[test]
fn a_mending_that_cannot_write_deletes_nothing() {
    block_on(async {
        let world = Damaged::new(|_, _| Reaction::Pass).await;
        let before = blobs(&world.west, "slots").await;
        let faults = world.sandbox.faults("westeurope");
        faults.fill_from(0);
        let report = world.sandbox.session().scrub("westeurope").await.unwrap();
        assert!(report.damaged > 0, "{report:?}");
        assert_eq!(blobs(&world.west, "slots").await, before);
        faults.heal();
        let report = world.sandbox.session().scrub("westeurope").await.unwrap();
        assert_eq!((report.mended, report.damaged), (1, 0), "{report:?}");
        assert!(is_whole(&world.sandbox, &[0, 1], "westeurope").await);
    });
}

/// A part that another mending has just put is good, and nobody has said that it is durable: the damaged pack, which has the same
/// records but for one, stays until it is.
#[test]
fn a_mending_deletes_nothing_that_another_is_replacing_before_the_replacement_is_durable() {
    block_on(async {
        let (dies, is_failing) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (dying, failing) = (dies.clone(), is_failing.clone());
        let world = Damaged::new(move |call, _| match call.operation {
            "delete" if dying.load(Ordering::Relaxed) && is_below(call, "slots") => {
                Reaction::Fail(StoreErrorKind::Unavailable)
            }
            "persist" if failing.load(Ordering::Relaxed) => Reaction::Fail(StoreErrorKind::Unavailable),
            _ => Reaction::Pass,
        });
        let world = world.await;
        // The first mending puts the part, and ends before it deletes the pack.
        world.sandbox.session().scrub("westeurope").await.unwrap();
        let before = blobs(&world.west, "slots").await;
        assert!(before.keys().any(|key| key.as_str().contains("/parts/")) && before.contains_key(&world.pack));
        dies.store(false, Ordering::Relaxed);
        is_failing.store(true, Ordering::Relaxed);
        world.sandbox.session().scrub("westeurope").await.unwrap();
        assert_eq!(blobs(&world.west, "slots").await, before);
        is_failing.store(false, Ordering::Relaxed);
        world.sandbox.session().scrub("westeurope").await.unwrap();
        assert!(!blobs(&world.west, "slots").await.contains_key(&world.pack));
        assert!(is_whole(&world.sandbox, &[0, 1], "westeurope").await);
    });
}

#[test]
fn a_mending_does_not_delete_what_another_has_mended() {
    block_on(async {
        // Just before the replacement is put, another mending puts the good pack there.
        let good: Arc<Mutex<Option<(BlobKey, Bytes)>>> = Arc::default();
        let mended = good.clone();
        let world = Damaged::new(move |call, west| {
            let is_part = is_put(call) && call.key.as_ref().is_some_and(|key| key.as_str().contains("/parts/"));
            if let Some((key, bytes)) = mended.lock().unwrap().take_if(|_| is_part) {
                west.put(&key, bytes, PutMode::Overwrite).now_or_never().unwrap().unwrap();
            }
            Reaction::Pass
        });
        let world = world.await;
        *good.lock().unwrap() = Some((world.pack.clone(), world.good.clone()));
        world.sandbox.session().scrub("westeurope").await.unwrap();
        assert!(good.lock().unwrap().is_none(), "a part was put");
        assert_eq!(world.west.get(&world.pack, None).await.unwrap(), world.good);
        assert!(is_whole(&world.sandbox, &[0, 1], "westeurope").await);
    });
}

#[test]
fn a_store_that_does_not_answer_has_damaged_nothing() {
    block_on(async {
        let is_silent = Arc::new(AtomicBool::new(false));
        let changes: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (silent, seen) = (is_silent.clone(), changes.clone());
        let hook = move |call: &Call, _: &MemoryStore| {
            let is_of_pack = call.key.as_ref().is_some_and(|key| key.as_str().contains("/packs/"));
            match silent.load(Ordering::Relaxed) && is_of_pack {
                true if call.operation.starts_with("get") => return Reaction::Fail(StoreErrorKind::Unavailable),
                true if is_put(call) || call.operation.starts_with("delete") => seen.lock().unwrap().push(call.clone()),
                _ => {}
            }
            Reaction::Pass
        };
        let west = MemoryStore::new();
        let hooked = HookedStore::new(west.clone(), move |call| {
            let reaction = hook(&call, &MemoryStore::new());
            async move { reaction }
        });
        let sandbox = settings().regions(["westeurope", "eastus"]).store("westeurope", hooked).build().await.unwrap();
        // Another region has all of it whole, to mend from.
        sandbox.publish("1.0.0", disk(0)).await.unwrap();
        let before = blobs(&west, "slots").await;
        is_silent.store(true, Ordering::Relaxed);
        let _ = sandbox.session().scrub("westeurope").await;
        let changes: Vec<Call> = std::mem::take(&mut *changes.lock().unwrap());
        assert!(changes.is_empty(), "{changes:?}");
        is_silent.store(false, Ordering::Relaxed);
        assert_eq!(blobs(&west, "slots").await, before);
        assert!(is_whole(&sandbox, &[0], "westeurope").await);
    });
}

// Stores.

#[test]
fn s4_a_store_without_conditional_creates_is_refused_at_opening() {
    block_on(async {
        let right = settings().regions(["westeurope"]).one_store(MemoryStore::new()).build().await.unwrap();
        // A create that finds its key taken: the store overwrites it all the same, or does not know the condition.
        for is_deaf in [true, false] {
            for is_new in [true, false] {
                let memory = if is_new { MemoryStore::new() } else { copy_of_catalog(&right).await };
                let created: Arc<Mutex<BTreeSet<BlobKey>>> = Arc::default();
                let store = HookedStore::new(memory.clone(), move |call| {
                    let key = call.key.clone().filter(|_| call.operation == "put");
                    let is_second = key.is_some_and(|key| !created.lock().unwrap().insert(key));
                    async move {
                        match (is_deaf, call.operation) {
                            (true, _) if is_second => Reaction::Swallow,
                            (false, "put") => Reaction::Fail(StoreErrorKind::Unsupported),
                            _ => Reaction::Pass,
                        }
                    }
                });
                let settings = if is_new { settings().regions(["westeurope"]) } else { right.reopen() };
                let before = memory.list_all(None).await.unwrap().len();
                let error = settings.catalog_store(store.clone()).one_store(store).build().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported, "deaf: {is_deaf}, new: {is_new}: {error}");
                assert_eq!(memory.list_all(None).await.unwrap().len(), before, "deaf: {is_deaf}, new: {is_new}");
            }
        }
    });
}

async fn copy_of_catalog(sandbox: &Sandbox) -> MemoryStore {
    let copy = MemoryStore::new();
    for (key, bytes) in blobs(sandbox.catalog_store().inner(), "catalog").await {
        copy.put(&key, bytes, PutMode::Create).await.unwrap();
    }
    copy
}

/// A store answers the first create of each key by 409, another change of it being in progress: sometimes it has taken effect.
#[test]
fn s5_a_conflict_in_progress_is_neither_success_nor_exists() {
    for takes_effect in [false, true] {
        block_on(async {
            let (memory, seen) = (MemoryStore::new(), Mutex::new(BTreeSet::new()));
            let (refusing, silent) = (FaultyStore::new(memory.clone()), FaultyStore::new(memory.clone()));
            refusing.faults().fail_from(0, Fault::Before(StoreErrorKind::Unknown));
            silent.faults().fail_from(0, Fault::After);
            let (refusing, silent): (Arc<dyn BlobStore>, Arc<dyn BlobStore>) = (Arc::new(refusing), Arc::new(silent));
            let store = HookedStore::new(memory.clone(), move |call| {
                let is_first = is_put(&call) && seen.lock().unwrap().insert(call.key.clone());
                let target = if takes_effect { silent.clone() } else { refusing.clone() };
                async move { if is_first { Reaction::Redirect(target) } else { Reaction::Pass } }
            });
            for retries in [RetryPolicy::none(), RetryPolicy::default()] {
                let sandbox = Sandbox::builder()
                    .regions(["westeurope", "eastus"])
                    .service(move |builder| builder.retries(retries));
                let sandbox = sandbox.empty().one_store(store.clone()).build().await;
                let Ok(sandbox) = sandbox else {
                    // Without retries the identity's own creation may stay unknown, and is asked for again.
                    continue;
                };
                let session = sandbox.session();
                // One that is not known may be asked for again, until it is: never is it told as another's, nor as done if it is not.
                let mut outcome = session.create_gallery(gallery(&sandbox, "g")).await.map(drop);
                while let Err(error) = &outcome {
                    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
                    outcome = session.create_gallery(gallery(&sandbox, "g")).await.map(drop);
                }
                session.refresh().await.unwrap().gallery(gallery(&sandbox, "g").id()).unwrap();
            }
        });
    }
}

#[test]
fn s6_a_disk_is_the_same_whichever_way_it_is_stored() {
    for (first, second) in [(Compression::Zstd, Compression::None), (Compression::None, Compression::Zstd)] {
        block_on(async {
            let with = |settings: SandboxBuilder, compression| {
                settings.service(move |builder| builder.compression(compression)).build()
            };
            let before = with(Sandbox::builder().one_store(MemoryStore::new()), first).await.unwrap();
            let after = with(before.reopen(), second).await.unwrap();
            // Some of it can be compressed.
            let disk = [noise(0, 256 << 10), vec![7; 128 << 10], b"text ".repeat(51_200)].concat();
            before.publish("1.0.0", disk.clone()).await.unwrap();
            let published = after.publish("1.0.1", disk.clone()).await.unwrap();
            assert_eq!((published.import.new_chunks, published.import.new_bytes), (0, 0), "{first:?} then {second:?}");
            for (sandbox, number) in [(&before, "1.0.1"), (&after, "1.0.0"), (&after, "1.0.1")] {
                assert!(
                    sandbox.deployed(number, "eastus").await.unwrap() == disk,
                    "{first:?} then {second:?}: {number}"
                );
            }
        });
    }
}
