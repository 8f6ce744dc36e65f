//! No clock decides what can't be undone: clocks that are minutes, a month or a year off cost time, never an image.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use chrono::{DateTime, Utc};
use compute_gallery::model::*;
use compute_gallery::read::{EventKind, HistoryEntry};
use compute_gallery::store::*;
use compute_gallery::testkit::{HookedStore, ManualClock, Reaction, Sandbox, YieldingStore, noise, raw, region};
use compute_gallery::*;
use futures::executor::block_on;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn start() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn disk(number: u32) -> Vec<u8> {
    noise(number.into(), 128 << 10)
}

/// A process whose clock advances by itself, on a store that others will share.
async fn first(store: &MemoryStore) -> Sandbox {
    Sandbox::builder().one_store(store.clone()).build().await.unwrap()
}

/// Another process on that store, with a clock of its own.
async fn another(first: &Sandbox, store: impl BlobStore + Clone, clock: ManualClock) -> Sandbox {
    first.reopen().catalog_store(store.clone()).one_store(store).clock(clock).build().await.unwrap()
}

/// Keeps deleted versions for a week.
async fn keep_deleted(sandbox: &Sandbox) {
    let gallery = Gallery::new(sandbox.image().gallery().clone(), region("westeurope"));
    let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(7);
    sandbox.session().update_gallery(gallery.with_soft_delete_policy(policy)).await.unwrap();
}

async fn publish(sandbox: &Sandbox, number: u32, regions: &str) {
    sandbox.publish_to(&format!("1.0.{number}"), regions, disk(number)).await.unwrap();
}

/// Gives the first version other regions.
async fn sends(sandbox: &Sandbox, regions: &str) {
    let id = sandbox.version("1.0.0");
    let there = sandbox.session().refresh().await.unwrap().image_version(&id).unwrap().clone();
    let profile = there.publishing_profile().clone().with_target_regions(regions.parse().unwrap());
    let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
    let other = ImageVersion::clone(&there).with_publishing_profile(profile).unwrap().with_safety_profile(safety);
    sandbox.session().update_image_version(other).await.unwrap();
}

async fn replicate(sandbox: &Sandbox) {
    sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap();
}

async fn is_whole(sandbox: &Sandbox, place: &str) -> bool {
    let status = sandbox.session().replication_status(&sandbox.version("1.0.0")).await.unwrap();
    !status.summary.iter().any(|region| region.degraded) && sandbox.deployed("1.0.0", place).await.unwrap() == disk(0)
}

/// Lets it go on for some steps; whether it is over.
fn goes_on(mut future: impl Future + Unpin, steps: usize) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    (0..steps).any(|_| Pin::new(&mut future).poll(&mut context).is_ready())
}

#[test]
fn a_collection_that_stands_still_for_eleven_minutes_takes_nothing_that_came_back() {
    // At each step in turn: the slow one has condemned, or is about to, or is removing.
    for steps in 0.. {
        let is_over = block_on(async {
            let store = MemoryStore::new();
            let fast = first(&store).await;
            publish(&fast, 0, "westeurope=1,eastus=2").await;
            let slow = another(&fast, YieldingStore::new(store), ManualClock::new(start())).await;
            sends(&fast, "westeurope=1").await;
            let mut collection = slow.session().collect();
            let is_over = goes_on(&mut collection, steps);
            fast.clock().advance(11 * MINUTE);
            fast.session().collect().await.unwrap();
            sends(&fast, "westeurope=1,eastus=2").await;
            replicate(&fast).await;
            if !is_over {
                // It goes on by a clock that has not moved.
                let _ = collection.await;
            }
            assert!(is_whole(&fast, "eastus").await, "stopped after {steps} steps");
            is_over
        });
        if is_over {
            assert!(steps > 20, "{steps}");
            return;
        }
    }
}

#[test]
fn a_late_delete_hits_a_dead_name() {
    block_on(async {
        let store = MemoryStore::new();
        let right = first(&store).await;
        publish(&right, 0, "westeurope=1,eastus=2").await;
        // Every deletion of the first collection is lost on its way, and arrives in the end.
        let (is_lossy, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let slow = HookedStore::new(store.clone(), {
            let (is_lossy, lost) = (is_lossy.clone(), lost.clone());
            move |call| {
                let key = call.key.filter(|key| call.operation == "delete" && key.as_str().contains("/slots/"));
                let key = key.filter(|_| is_lossy.load(Ordering::Relaxed));
                let reaction = if key.is_some() { Reaction::Swallow } else { Reaction::Pass };
                lost.lock().unwrap().extend(key);
                async move { reaction }
            }
        });
        let late = another(&right, slow, ManualClock::auto_advancing(start())).await;
        sends(&right, "westeurope=1").await;
        is_lossy.store(true, Ordering::Relaxed);
        late.session().collect().await.unwrap();
        right.session().collect().await.unwrap();
        sends(&right, "westeurope=1,eastus=2").await;
        replicate(&right).await;
        assert!(is_whole(&right, "eastus").await);
        let deletions = std::mem::take(&mut *lost.lock().unwrap());
        assert!(deletions.len() >= 4, "{deletions:?}");
        for key in deletions {
            store.delete(&key).await.unwrap();
        }
        assert!(is_whole(&right, "eastus").await);
        // And again, with blobs in their second life.
        sends(&right, "westeurope=1").await;
        right.session().collect().await.unwrap();
        sends(&right, "westeurope=1,eastus=1").await;
        replicate(&right).await;
        assert!(is_whole(&right, "eastus").await);
    });
}

#[test]
fn a_clock_a_year_ahead_stops_nothing() {
    block_on(async {
        let store = MemoryStore::new();
        let right = first(&store).await;
        publish(&right, 0, "westeurope=1,eastus=2").await;
        sends(&right, "westeurope=1").await;
        let ahead = ManualClock::new(start());
        ahead.advance(YEAR);
        let ahead = another(&right, YieldingStore::new(store.clone()), ahead).await;
        // It condemns, and is gone before it has removed all.
        let mut collection = ahead.session().collect();
        for _ in 0.. {
            assert!(!goes_on(&mut collection, 1));
            let condemned = |entry: &HistoryEntry| entry.event.kind == EventKind::ContentCondemned;
            let history: Vec<HistoryEntry> =
                futures::TryStreamExt::try_collect(right.session().history(0)).await.unwrap();
            if history.iter().any(condemned) {
                break;
            }
        }
        drop(collection);
        let freed = right.session().collect().await.unwrap();
        assert!(freed.bytes() > 0, "{freed:?}");
        let left = store.list_all(Some(&"regions/eastus/slots".parse().unwrap())).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        // The times in its entries delay no other process.
        publish(&right, 1, "westeurope=1,eastus=1").await;
        sends(&right, "westeurope=1,eastus=1").await;
        replicate(&right).await;
        assert!(is_whole(&right, "eastus").await);
    });
}

#[test]
fn a_clock_that_is_ahead_purges_nothing_and_one_that_is_behind_keeps_it_as_long() {
    for (wrong, tells) in [(31 * DAY, false), (YEAR, false), (31 * DAY, true), (YEAR, true), (9 * MINUTE, true)] {
        block_on(async {
            let truth = ManualClock::auto_advancing(start());
            let store = if tells { MemoryStore::new().with_clock(truth.clone()) } else { MemoryStore::new() };
            let clock = |ahead: Duration| {
                let clock = ManualClock::auto_advancing(start());
                clock.advance(ahead);
                if tells { clock.compared_with_stores() } else { clock }
            };
            let settings = Sandbox::builder().one_store(store.clone()).clock(clock(Duration::ZERO));
            let right = settings.build().await.unwrap();
            keep_deleted(&right).await;
            publish(&right, 0, "westeurope=1").await;
            right.session().delete(right.version("1.0.0")).await.unwrap();
            let ahead = another(&right, store.clone(), clock(wrong)).await;
            // It may be refused for its clock; it removes nothing, and nothing can take the number or the definition.
            let _ = ahead.session().collect().await;
            let over = ahead.new_version("1.0.0", "westeurope=1", raw(disk(9)));
            ahead.session().publish(over).await.unwrap_err();
            ahead.session().delete(ahead.image()).await.unwrap_err();
            right.session().restore(right.version("1.0.0")).await.unwrap();
            assert!(is_whole(&right, "westeurope").await, "{wrong:?} {tells}");
            if !tells {
                return;
            }
            // Deleted by one that is behind, it can be restored for its seven days all the same.
            truth.advance(YEAR);
            right.clock().advance(YEAR);
            let behind = another(&right, store.clone(), clock(Duration::ZERO)).await;
            // Nothing has been written to the log since, so its time is behind, too.
            behind.session().delete(behind.version("1.0.0")).await.unwrap();
            right.session().collect().await.unwrap();
            right.session().restore(right.version("1.0.0")).await.unwrap();
            // And is purged when they are over.
            behind.session().delete(behind.version("1.0.0")).await.unwrap();
            truth.advance(8 * DAY);
            right.clock().advance(8 * DAY);
            assert_eq!(right.session().collect().await.unwrap().purged_versions, 1);
        });
    }
}

fn other_gallery() -> Gallery {
    let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/other";
    Gallery::new(id.parse().unwrap(), region("westeurope"))
}

#[test]
fn an_entry_from_the_future_is_not_written() {
    block_on(async {
        let truth = ManualClock::auto_advancing(start());
        let store = MemoryStore::new().with_clock(truth.clone());
        let settings = Sandbox::builder().one_store(store.clone()).clock(truth.clone().compared_with_stores());
        let right = settings.build().await.unwrap();
        let wrong = ManualClock::auto_advancing(start()).compared_with_stores();
        wrong.advance(YEAR);
        let wrong = another(&right, store.clone(), wrong).await;
        let error = wrong.session().create_gallery(other_gallery()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        for word in ["clock", "2027-01-02", "2026-01-02", "set the clock right"] {
            assert!(error.to_string().contains(word), "{error}: {word}");
        }
        // A quiet year is no wrong clock, and neither are nine minutes.
        truth.advance(YEAR);
        wrong.session().create_gallery(other_gallery()).await.unwrap();
        right.session().delete(other_gallery().id().clone()).await.unwrap();
        wrong.clock().advance(9 * MINUTE);
        wrong.session().create_gallery(other_gallery()).await.unwrap();
        // One that jumps while the process runs is noticed too.
        wrong.clock().advance(YEAR);
        let error = wrong.session().delete(other_gallery().id().clone()).await.unwrap_err();
        assert!(error.to_string().contains("set the clock right"), "{error}");
    });
}

#[test]
fn the_newest_commit_of_another_process_stands_in_for_a_store_without_a_clock() {
    block_on(async {
        let store = MemoryStore::new();
        let clock = ManualClock::auto_advancing(start()).compared_with_stores();
        let right = Sandbox::builder().one_store(store.clone()).clock(clock).build().await.unwrap();
        let wrong = ManualClock::auto_advancing(start()).compared_with_stores();
        wrong.advance(YEAR);
        let wrong = another(&right, store.clone(), wrong).await;
        let error = wrong.session().create_gallery(other_gallery()).await.unwrap_err();
        assert!(error.to_string().contains("the newest commit of another process"), "{error}");
        right.session().create_gallery(other_gallery()).await.unwrap();
    });
}
