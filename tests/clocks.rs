//! No clock decides what can't be undone: clocks that are minutes, a month or a year off cost time, never an image.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::future::IntoFuture;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{ManualClock, SeededEntropy, YieldingStore};
use compute_gallery::*;
use futures::executor::block_on;
use futures::future::BoxFuture;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn start() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn image() -> ImageDefinitionId {
    let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
    gallery.parse::<GalleryId>().unwrap().image("web".parse().unwrap())
}

fn version(number: u32) -> ImageVersionId {
    image().version(VersionNumber::new(1, 0, number).unwrap())
}

fn disk(number: u32) -> Vec<u8> {
    (0..128_usize << 10).map(|at| (at % 251) as u8 ^ number as u8).collect()
}

/// A process with a clock of its own.
struct Process {
    session: Session,
    clock: ManualClock,
}

async fn process(store: &(impl BlobStore + Clone), clock: ManualClock, seed: u64) -> Process {
    let builder = GalleryService::builder().allow_all().store(store.clone()).clock(clock.clone());
    let builder = builder.entropy(SeededEntropy::new(seed)).workers(compute_gallery::host::Workers::inline());
    Process { session: builder.open_or_create().await.unwrap().session("test".parse().unwrap()), clock }
}

async fn begin(session: &Session, retention: bool) {
    let gallery = Gallery::new(image().gallery().clone(), region("westeurope"));
    let policy = SoftDeletePolicy::enabled().with_retention_period_in_days(7);
    let gallery = if retention { gallery.with_soft_delete_policy(policy) } else { gallery };
    session.create_gallery(gallery).await.unwrap();
    let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
    let new = ImageDefinition::new(image(), region("westeurope"), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(new).await.unwrap();
}

async fn publish(session: &Session, number: u32, regions: &str) {
    let profile = PublishingProfile::new(regions.parse().unwrap());
    let source = DiskSource::bytes(disk(number), DiskFormat::Raw);
    session.publish(NewImageVersion::new(version(number), region("westeurope"), profile, source)).await.unwrap();
    session.replicate(&version(number)).await.unwrap();
}

async fn sends(session: &Session, regions: &str) {
    let there = session.refresh().await.unwrap().image_version(&version(0)).unwrap().clone();
    let profile = there.publishing_profile().clone().with_target_regions(regions.parse().unwrap());
    let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
    let other = ImageVersion::clone(&there).with_publishing_profile(profile).unwrap().with_safety_profile(safety);
    session.update_image_version(other).await.unwrap();
}

async fn is_whole(session: &Session, place: &str) -> bool {
    let deployment = session.deploy(version(0), &region(place));
    let status = session.replication_status(&version(0)).await.unwrap();
    !status.summary.iter().any(|region| region.degraded) && deployment.to_writer(Vec::new()).await.unwrap().1 == disk(0)
}

/// Lets it go on for some steps; whether it is over.
fn goes_on<T>(future: &mut BoxFuture<'static, T>, steps: usize) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    (0..steps).any(|_| matches!(future.as_mut().poll(&mut context), Poll::Ready(_)))
}

#[test]
fn a_collection_that_stands_still_for_eleven_minutes_takes_nothing_that_came_back() {
    // At each step in turn: the slow one has condemned, or is about to, or is removing.
    for steps in 0.. {
        let is_over = block_on(async {
            let store = MemoryStore::new();
            let fast = process(&store, ManualClock::auto_advancing(start()), 1).await;
            begin(&fast.session, false).await;
            publish(&fast.session, 0, "westeurope=1,eastus=2").await;
            let slow = process(&YieldingStore::new(store.clone()), ManualClock::new(start()), 2).await;
            sends(&fast.session, "westeurope=1").await;
            let mut collection = slow.session.collect().into_future();
            let is_over = goes_on(&mut collection, steps);
            fast.clock.advance(11 * MINUTE);
            fast.session.collect().await.unwrap();
            sends(&fast.session, "westeurope=1,eastus=2").await;
            fast.session.replicate(&version(0)).await.unwrap();
            if !is_over {
                // It goes on by a clock that has not moved.
                let _ = collection.await;
            }
            assert!(is_whole(&fast.session, "eastus").await, "stopped after {steps} steps");
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
        let right = process(&store, ManualClock::auto_advancing(start()), 1).await;
        begin(&right.session, false).await;
        publish(&right.session, 0, "westeurope=1,eastus=2").await;
        // Every deletion of the first collection is lost on its way, and arrives in the end.
        let slow = Slow::new(store.clone());
        let late = process(&slow, ManualClock::auto_advancing(start()), 2).await;
        sends(&right.session, "westeurope=1").await;
        slow.holds_back.store(true, Ordering::Relaxed);
        late.session.collect().await.unwrap();
        right.session.collect().await.unwrap();
        sends(&right.session, "westeurope=1,eastus=2").await;
        right.session.replicate(&version(0)).await.unwrap();
        assert!(is_whole(&right.session, "eastus").await);
        let deletions = std::mem::take(&mut *slow.deletions.lock().unwrap());
        assert!(deletions.len() >= 4, "{deletions:?}");
        for key in deletions {
            store.delete(&key).await.unwrap();
        }
        assert!(is_whole(&right.session, "eastus").await);
        // And again, with what has its second life now.
        sends(&right.session, "westeurope=1").await;
        right.session.collect().await.unwrap();
        sends(&right.session, "westeurope=1,eastus=1").await;
        right.session.replicate(&version(0)).await.unwrap();
        assert!(is_whole(&right.session, "eastus").await);
    });
}

#[test]
fn a_clock_a_year_ahead_stops_nothing() {
    block_on(async {
        let store = MemoryStore::new();
        let right = process(&store, ManualClock::auto_advancing(start()), 1).await;
        begin(&right.session, false).await;
        publish(&right.session, 0, "westeurope=1,eastus=2").await;
        sends(&right.session, "westeurope=1").await;
        let ahead = ManualClock::new(start());
        ahead.advance(YEAR);
        let yielding = YieldingStore::new(store.clone());
        let ahead = process(&yielding, ahead, 2).await;
        // It condemns, and is gone before it has removed all.
        let mut collection = ahead.session.collect().into_future();
        for _ in 0.. {
            assert!(!goes_on(&mut collection, 1));
            let condemned = |commit: &Commit| matches!(commit.event, Event::ContentCondemned { .. });
            let history: Vec<Commit> = futures::TryStreamExt::try_collect(right.session.history(0)).await.unwrap();
            if history.iter().any(condemned) {
                break;
            }
        }
        drop(collection);
        let freed = right.session.collect().await.unwrap();
        assert!(freed.bytes() > 0, "{freed:?}");
        let left = store.list_all(Some(&"regions/eastus/slots".parse().unwrap())).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        // What its entries say of the time holds up nobody either.
        publish(&right.session, 1, "westeurope=1,eastus=1").await;
        sends(&right.session, "westeurope=1,eastus=1").await;
        right.session.replicate(&version(0)).await.unwrap();
        assert!(is_whole(&right.session, "eastus").await);
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
            let right = process(&store, clock(Duration::ZERO), 1).await;
            begin(&right.session, true).await;
            publish(&right.session, 0, "westeurope=1").await;
            right.session.delete(version(0)).await.unwrap();
            let ahead = process(&store, clock(wrong), 2).await;
            // It may be refused for its clock; it removes nothing, and nothing can take the number or the definition.
            let _ = ahead.session.collect().await;
            let profile = PublishingProfile::new("westeurope=1".parse().unwrap());
            let source = DiskSource::bytes(disk(9), DiskFormat::Raw);
            let over = NewImageVersion::new(version(0), region("westeurope"), profile, source);
            ahead.session.publish(over).await.unwrap_err();
            ahead.session.delete(image()).await.unwrap_err();
            right.session.restore(&version(0)).await.unwrap();
            assert!(is_whole(&right.session, "westeurope").await, "{wrong:?} {tells}");
            if !tells {
                return;
            }
            // Deleted by one that is behind, it can be restored for its seven days all the same.
            truth.advance(YEAR);
            right.clock.advance(YEAR);
            let behind = process(&store, clock(Duration::ZERO), 3).await;
            // Nobody has written to the log since, so that its time is behind, too.
            behind.session.delete(version(0)).await.unwrap();
            right.session.collect().await.unwrap();
            right.session.restore(&version(0)).await.unwrap();
            // And is purged when they are over.
            behind.session.delete(version(0)).await.unwrap();
            truth.advance(8 * DAY);
            right.clock.advance(8 * DAY);
            assert_eq!(right.session.collect().await.unwrap().purged_versions, 1);
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
        let right = process(&store, truth.clone().compared_with_stores(), 1).await;
        begin(&right.session, false).await;
        let wrong = ManualClock::auto_advancing(start()).compared_with_stores();
        wrong.advance(YEAR);
        let wrong = process(&store, wrong, 2).await;
        let error = wrong.session.create_gallery(other_gallery()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        for word in ["clock", "2027-01-02", "2026-01-02", "set the clock right"] {
            assert!(error.to_string().contains(word), "{error}: {word}");
        }
        // A quiet year is no wrong clock, and neither are nine minutes.
        truth.advance(YEAR);
        wrong.session.create_gallery(other_gallery()).await.unwrap();
        right.session.delete(other_gallery().id().clone()).await.unwrap();
        wrong.clock.advance(9 * MINUTE);
        wrong.session.create_gallery(other_gallery()).await.unwrap();
        // One that jumps while the process runs is noticed too.
        wrong.clock.advance(YEAR);
        let error = wrong.session.delete(other_gallery().id().clone()).await.unwrap_err();
        assert!(error.to_string().contains("set the clock right"), "{error}");
    });
}

#[test]
fn a_store_that_tells_no_time_is_replaced_by_the_newest_commit_of_another() {
    block_on(async {
        let store = MemoryStore::new();
        let right = process(&store, ManualClock::auto_advancing(start()).compared_with_stores(), 1).await;
        begin(&right.session, false).await;
        let wrong = ManualClock::auto_advancing(start()).compared_with_stores();
        wrong.advance(YEAR);
        let wrong = process(&store, wrong, 2).await;
        let error = wrong.session.create_gallery(other_gallery()).await.unwrap_err();
        assert!(error.to_string().contains("the newest commit of another process"), "{error}");
        right.session.create_gallery(other_gallery()).await.unwrap();
    });
}

/// Deletions that are acknowledged and arrive later.
#[derive(Clone, Debug)]
struct Slow {
    inner: MemoryStore,
    holds_back: Arc<AtomicBool>,
    deletions: Arc<Mutex<Vec<BlobKey>>>,
}

impl Slow {
    fn new(inner: MemoryStore) -> Self {
        Self { inner, holds_back: Arc::default(), deletions: Arc::default() }
    }
}

#[async_trait]
impl BlobStore for Slow {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.inner.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        if self.holds_back.load(Ordering::Relaxed) && key.as_str().contains("/slots/") {
            self.deletions.lock().unwrap().push(key.clone());
            return Ok(());
        }
        self.inner.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.inner.list(under, after, limit).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.inner.copy(from, to, mode).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.inner.persist(under).await
    }
}
