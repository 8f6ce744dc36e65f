//! What a replication's status says when nobody is at work, when an attempt failed, and after a restart.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::time::Duration;

use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::host::Clock;
use compute_gallery::model::*;
use compute_gallery::replicate::{AggregatedState, RegionalReplicationStatus, ReplicationState};
use compute_gallery::store::{MemoryStore, StoreErrorKind};
use compute_gallery::testkit::{Fault, Faults, FaultyStore, ManualClock};
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

fn gallery_id() -> GalleryId {
    "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse().unwrap()
}

fn image_id() -> ImageDefinitionId {
    gallery_id().image("web".parse().unwrap())
}

fn version_id() -> ImageVersionId {
    image_id().version("1.0.0".parse().unwrap())
}

/// A catalog, a region at home and two others; catalog and `eastus` can fail.
#[derive(Clone, Debug)]
struct Stores {
    catalog: FaultyStore<MemoryStore>,
    home: MemoryStore,
    east: FaultyStore<MemoryStore>,
    north: MemoryStore,
    clock: ManualClock,
}

impl Stores {
    fn new() -> Self {
        let (catalog, east) = (FaultyStore::new(MemoryStore::new()), FaultyStore::new(MemoryStore::new()));
        let clock = ManualClock::new("2026-01-02T12:00:00Z".parse().unwrap());
        Self { catalog, home: MemoryStore::new(), east, north: MemoryStore::new(), clock }
    }

    fn east(&self) -> Faults {
        self.east.faults()
    }

    /// A process of its own.
    async fn process(&self) -> Session {
        let builder =
            GalleryService::builder().allow_all().clock(self.clock.clone()).retries(store::RetryPolicy::none());
        let builder = builder.catalog_store(self.catalog.clone()).region_store(region("westeurope"), self.home.clone());
        let builder = builder.region_store(region("eastus"), self.east.clone());
        let builder = builder.region_store(region("northeurope"), self.north.clone());
        builder.open_or_create().await.unwrap().session("test".parse().unwrap())
    }

    /// A version that is at home alone.
    async fn published(&self, regions: &str) -> Session {
        let session = self.process().await;
        session.create_gallery(Gallery::new(gallery_id(), region("westeurope"))).await.unwrap();
        let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend").unwrap();
        let location = region("westeurope");
        let definition = ImageDefinition::new(image_id(), location, OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(definition).await.unwrap();
        let profile = PublishingProfile::new(regions.parse().unwrap());
        let disk = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
        let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
        let new = NewImageVersion::new(version_id(), region("westeurope"), profile, disk).with_safety_profile(safety);
        session.publish(new).await.unwrap();
        session
    }
}

fn down() -> Fault {
    Fault::Before(StoreErrorKind::Unavailable)
}

async fn status_of(session: &Session, name: &str) -> RegionalReplicationStatus {
    let status = session.replication_status(&version_id()).await.unwrap();
    status.summary.into_iter().find(|one| one.region == region(name)).unwrap()
}

async fn overall(session: &Session) -> AggregatedState {
    session.replication_status(&version_id()).await.unwrap().aggregated_state
}

#[test]
fn a_replication_that_failed_stays_failed_with_its_reason_until_it_is_tried_again() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.published("westeurope=1,eastus=1,northeurope=1").await;
        let other = stores.process().await;
        stores.east().fail_from(0, down());
        let error = session.replicate(&version_id()).await.unwrap_err();
        assert_eq!((error.kind(), error.problems().count()), (ErrorKind::Unavailable, 1), "{error:#}");

        // Also when the region is back: nobody works on it.
        for healed in [false, true] {
            if healed {
                stores.east().heal();
            }
            for (who, session) in [("itself", &session), ("another", &other), ("restarted", &stores.process().await)] {
                let east = status_of(session, "eastus").await;
                assert_eq!(east.state, ReplicationState::Failed, "{who}, healed: {healed}");
                assert!(east.details.contains("injected fault"), "{who}, healed: {healed}: {east:?}");
                assert_eq!(status_of(session, "northeurope").await.state, ReplicationState::Completed, "{who}");
                assert_eq!(overall(session).await, AggregatedState::Failed, "{who}");
            }
        }

        // Tried again, and given up halfway: it has not failed, and nobody works on it.
        let mut again = session.replicate(&version_id());
        again.control().pause();
        again.next().await.unwrap().unwrap();
        assert_eq!(status_of(&session, "eastus").await.state, ReplicationState::Replicating);
        assert_eq!(status_of(&other, "eastus").await.state, ReplicationState::Unknown);
        drop(again);
        for session in [&session, &other, &stores.process().await] {
            let east = status_of(session, "eastus").await;
            assert_eq!((east.state, east.details.as_str()), (ReplicationState::Unknown, ""));
        }
        session.replicate(&version_id()).await.unwrap();
        for session in [&session, &other, &stores.process().await] {
            assert_eq!(overall(session).await, AggregatedState::Completed);
        }
    });
}

#[test]
fn a_failure_outlives_a_checkpoint_and_stands_in_the_history() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.published("westeurope=1,eastus=1").await;
        stores.east().fail_from(0, down());
        session.replicate(&version_id()).await.unwrap_err();
        for number in 0..130 {
            let tags = Tags::new([("n".to_owned(), number.to_string())].into()).unwrap();
            let gallery = Gallery::new(gallery_id(), region("westeurope")).with_tags(tags);
            session.update_gallery(gallery).await.unwrap();
        }
        let restarted = stores.process().await;
        assert_eq!(status_of(&restarted, "eastus").await.state, ReplicationState::Failed);
        let history: Vec<Commit> = restarted.history(0).map(|commit| commit.unwrap()).collect().await;
        let failed = history.iter().find_map(|commit| match &commit.event {
            Event::RegionFailed { version, region, code, reason } => Some((version, region, code, reason)),
            _ => None,
        });
        let (version, place, code, reason) = failed.unwrap();
        assert_eq!((version, place, code.as_str()), (&version_id(), &region("eastus"), "StorageOperationFailed"));
        assert!(reason.contains("injected fault"), "{reason}");
    });
}

#[test]
fn work_that_nobody_does_is_not_replicating() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.published("westeurope=2,eastus=1").await;
        for name in ["westeurope", "eastus"] {
            assert_eq!(status_of(&session, name).await.state, ReplicationState::Unknown, "{name}");
        }
        assert_eq!(overall(&session).await, AggregatedState::Unknown);
        // A region that does not answer says so, and is not at work for that.
        stores.east().fail_from(0, down());
        let east = status_of(&session, "eastus").await;
        assert_eq!(east.state, ReplicationState::Unknown);
        assert!(east.details.contains("injected fault"), "{east:?}");
    });
}

#[test]
fn a_region_that_was_taken_away_has_not_failed_when_it_is_back() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.published("westeurope=1,eastus=1").await;
        stores.east().fail_from(0, down());
        session.replicate(&version_id()).await.unwrap_err();
        stores.east().heal();
        for regions in ["westeurope=1", "westeurope=1,eastus=1"] {
            let version = session.refresh().await.unwrap().image_version(&version_id()).unwrap();
            let profile = version.publishing_profile().clone().with_target_regions(regions.parse().unwrap());
            let version = ImageVersion::clone(&version).with_publishing_profile(profile).unwrap();
            session.update_image_version(version).await.unwrap();
        }
        assert_eq!(status_of(&session, "eastus").await.state, ReplicationState::Unknown);
    });
}

#[test]
fn what_was_cancelled_or_ran_out_of_time_has_not_failed() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.published("westeurope=1,eastus=1").await;
        let replication = session.replicate(&version_id());
        replication.control().cancel();
        assert_eq!(replication.await.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(status_of(&session, "eastus").await.state, ReplicationState::Unknown);
        let mut replication = session.replicate(&version_id()).within(Duration::from_secs(60));
        replication.control().pause();
        assert_eq!(replication.next().await.unwrap().unwrap().aggregated_state, AggregatedState::InProgress);
        stores.clock.advance(Duration::from_secs(60));
        let last = replication.next().await.unwrap().unwrap();
        assert_eq!(last.aggregated_state, AggregatedState::Unknown);
        assert!(last.summary.iter().any(|region| region.details.contains("deadline")), "{last:?}");
        assert_eq!(replication.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(overall(&session).await, AggregatedState::Unknown);
    });
}

#[test]
fn a_failure_that_cannot_be_written_down_is_told_beside_the_error() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.published("westeurope=1,eastus=1").await;
        let (east, catalog) = (stores.east(), stores.catalog.faults());
        east.fail_from(0, down());
        // From the first put on; the read before it succeeds.
        catalog.fill_from(0);
        let error = session.replicate(&version_id()).await.unwrap_err();
        let problems: Vec<(ErrorKind, &str)> =
            error.problems().map(|problem| (problem.kind(), problem.target())).collect();
        assert_eq!(problems, [(ErrorKind::Unavailable, "eastus"), (ErrorKind::StorageFull, "eastus")], "{error:#}");
        assert!(error.to_string().contains("could not be written down"), "{error:#}");
        catalog.heal();
        assert_eq!(status_of(&session, "eastus").await.state, ReplicationState::Unknown);
    });
}

#[test]
fn a_catalog_that_hangs_does_not_hold_back_the_report_of_a_failure() {
    block_on(async {
        let mut stores = Stores::new();
        stores.clock = ManualClock::auto_advancing(stores.clock.now());
        let session = stores.published("westeurope=1,eastus=1").await;
        let hanging = Hanging { inner: stores.catalog.clone(), hangs: Default::default() };
        let hangs = hanging.hangs.clone();
        let builder = GalleryService::builder()
            .allow_all()
            .retries(store::RetryPolicy::none())
            .clock(stores.clock.clone())
            .catalog_store(hanging);
        let builder = builder.region_store(region("westeurope"), stores.home.clone());
        let service = builder.region_store(region("eastus"), stores.east.clone()).open_or_create().await.unwrap();
        drop(session);
        let session = service.session("test".parse().unwrap());
        // The store is claimed, and then goes away.
        stores.east().fail_from(6, down());
        session.replicate(&version_id()).await.unwrap_err();
        stores.east().fail_from(0, down());
        hangs.store(true, std::sync::atomic::Ordering::SeqCst);
        let began = stores.clock.now();
        let error = session.replicate(&version_id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
        assert!(error.to_string().contains("could not be written down"), "{error:#}");
        let took = stores.clock.now().signed_duration_since(began);
        assert!(took <= chrono::TimeDelta::seconds(10), "{took}");
    });
}

#[test]
fn a_watcher_is_told_of_a_failure_and_does_not_wait_for_ever() {
    block_on(async {
        let stores = Stores::new();
        let session = stores.published("westeurope=1,eastus=1").await;
        stores.east().fail_from(0, down());
        session.replicate(&version_id()).await.unwrap_err();
        let seen: Vec<AggregatedState> =
            session.watch_replication(&version_id()).map(|status| status.unwrap().aggregated_state).collect().await;
        assert_eq!(seen, [AggregatedState::Failed]);
    });
}

#[test]
fn a_version_whose_source_is_gone_has_failed_wherever_it_was_to_go() {
    block_on(async {
        let stores = Stores::new();
        let home = FaultyStore::new(stores.home.clone());
        let session = stores.published("westeurope=1,eastus=1").await;
        drop(session);
        let builder =
            GalleryService::builder().allow_all().retries(store::RetryPolicy::none()).clock(stores.clock.clone());
        let builder = builder.catalog_store(stores.catalog.clone());
        let builder = builder.region_store(region("westeurope"), home.clone());
        let service = builder.region_store(region("eastus"), stores.east.clone()).open_or_create().await.unwrap();
        let session = service.session("test".parse().unwrap());
        home.faults().fail_from(0, down());
        let error = session.replicate(&version_id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
        home.faults().heal();
        let status = session.replication_status(&version_id()).await.unwrap();
        let states: Vec<ReplicationState> = status.summary.iter().map(|region| region.state).collect();
        assert_eq!(states, [ReplicationState::Completed, ReplicationState::Failed]);
        assert!(status.summary.iter().any(|region| region.details.contains("injected fault")), "{status:?}");
    });
}

/// A store whose puts never answer, once it hangs.
#[derive(Debug)]
struct Hanging {
    inner: FaultyStore<MemoryStore>,
    hangs: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

#[async_trait::async_trait]
impl store::BlobStore for Hanging {
    async fn put(&self, key: &store::BlobKey, bytes: bytes::Bytes, mode: store::PutMode) -> store::StoreResult<()> {
        if self.hangs.load(std::sync::atomic::Ordering::SeqCst) {
            futures::future::pending::<()>().await;
        }
        self.inner.put(key, bytes, mode).await
    }

    async fn get(&self, key: &store::BlobKey, range: Option<std::ops::Range<u64>>) -> store::StoreResult<bytes::Bytes> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &store::BlobKey) -> store::StoreResult<store::BlobMeta> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &store::BlobKey) -> store::StoreResult<()> {
        self.inner.delete(key).await
    }

    async fn list(
        &self,
        under: Option<&store::BlobKey>,
        after: Option<&store::BlobKey>,
        limit: usize,
    ) -> store::StoreResult<store::Page> {
        self.inner.list(under, after, limit).await
    }

    async fn copy(&self, from: &store::BlobKey, to: &store::BlobKey, mode: store::PutMode) -> store::StoreResult<()> {
        self.inner.copy(from, to, mode).await
    }

    async fn persist(&self, under: &store::BlobKey) -> store::StoreResult<()> {
        self.inner.persist(under).await
    }
}
