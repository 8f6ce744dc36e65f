//! A replication's status without work under way, after a failed attempt, and after a restart.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use compute_gallery::host::Clock;
use compute_gallery::model::*;
use compute_gallery::read::{EventKind, HistoryEntry};
use compute_gallery::replicate::{AggregatedState, RegionalReplicationStatus, ReplicationState};
use compute_gallery::store::{RetryPolicy, StoreErrorKind};
use compute_gallery::testkit::{Fault, HookedStore, ManualClock, Reaction, Sandbox, raw, region};
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;

/// A version that is to go to `regions` and is at home alone.
async fn published(regions: &str, clock: ManualClock) -> Sandbox {
    let sandbox = Sandbox::builder().clock(clock).service(|builder| builder.retries(RetryPolicy::none()));
    let sandbox = sandbox.build().await.unwrap();
    let safety = SafetyProfile::default().with_deletion_of_replicated_locations(true);
    let new = sandbox.new_version("1.0.0", regions, raw(vec![7; 1 << 20])).with_safety_profile(safety);
    sandbox.session().publish(new).await.unwrap();
    sandbox
}

fn noon() -> ManualClock {
    ManualClock::new("2026-01-02T12:00:00Z".parse().unwrap())
}

fn down() -> Fault {
    Fault::Before(StoreErrorKind::Unavailable)
}

async fn status_of(sandbox: &Sandbox, name: &str) -> RegionalReplicationStatus {
    let status = sandbox.session().replication_status(&sandbox.version("1.0.0")).await.unwrap();
    status.summary.into_iter().find(|one| one.region == region(name)).unwrap()
}

async fn overall(sandbox: &Sandbox) -> AggregatedState {
    sandbox.session().replication_status(&sandbox.version("1.0.0")).await.unwrap().aggregated_state
}

async fn reopened(sandbox: &Sandbox) -> Sandbox {
    sandbox.reopen().build().await.unwrap()
}

#[test]
fn a_replication_that_failed_stays_failed_with_its_reason_until_it_is_tried_again() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1,northeurope=1", noon()).await;
        let other = reopened(&sandbox).await;
        sandbox.faults("eastus").fail_from(0, down());
        let error = sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        assert_eq!((error.kind(), error.problems().count()), (ErrorKind::Unavailable, 1), "{error:#}");

        // Also when the region is back: no work is under way.
        for healed in [false, true] {
            if healed {
                sandbox.faults("eastus").heal();
            }
            for (who, one) in [("itself", &sandbox), ("another", &other), ("restarted", &reopened(&sandbox).await)] {
                let east = status_of(one, "eastus").await;
                assert_eq!(east.state, ReplicationState::Failed, "{who}, healed: {healed}");
                assert!(east.details.contains("injected fault"), "{who}, healed: {healed}: {east:?}");
                assert_eq!(status_of(one, "northeurope").await.state, ReplicationState::Completed, "{who}");
                assert_eq!(overall(one).await, AggregatedState::Failed, "{who}");
            }
        }

        // Tried again, and given up halfway: it has not failed, and no work is under way.
        let mut again = sandbox.session().replicate(sandbox.version("1.0.0"));
        again.control().pause();
        again.statuses().next().await.unwrap();
        assert_eq!(status_of(&sandbox, "eastus").await.state, ReplicationState::Replicating);
        assert_eq!(status_of(&other, "eastus").await.state, ReplicationState::Unknown);
        drop(again);
        for one in [&sandbox, &other, &reopened(&sandbox).await] {
            let east = status_of(one, "eastus").await;
            assert_eq!((east.state, east.details.as_str()), (ReplicationState::Unknown, ""));
        }
        sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap();
        for one in [&sandbox, &other, &reopened(&sandbox).await] {
            assert_eq!(overall(one).await, AggregatedState::Completed);
        }
    });
}

#[test]
fn a_failure_outlives_a_checkpoint_and_stands_in_the_history() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1", noon()).await;
        sandbox.faults("eastus").fail_from(0, down());
        sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        for number in 0..130 {
            let tags = Tags::new([("n".to_owned(), number.to_string())].into()).unwrap();
            let gallery = Gallery::new(sandbox.image().gallery().clone(), region("westeurope")).with_tags(tags);
            sandbox.session().update_gallery(gallery).await.unwrap();
        }
        let restarted = reopened(&sandbox).await;
        assert_eq!(status_of(&restarted, "eastus").await.state, ReplicationState::Failed);
        let history: Vec<HistoryEntry> = restarted.session().history(0).map(|entry| entry.unwrap()).collect().await;
        let failed = history.into_iter().find(|entry| entry.event.kind == EventKind::RegionFailed).unwrap().event;
        assert_eq!((failed.resource, failed.region), (Some(sandbox.version("1.0.0").into()), Some(region("eastus"))));
        let reason = failed.reason.unwrap();
        assert!(reason.starts_with("StorageOperationFailed: "), "{reason}");
        assert!(reason.contains("injected fault"), "{reason}");
    });
}

#[test]
fn a_region_without_work_under_way_is_not_replicating() {
    block_on(async {
        let sandbox = published("westeurope=2,eastus=1", noon()).await;
        for name in ["westeurope", "eastus"] {
            assert_eq!(status_of(&sandbox, name).await.state, ReplicationState::Unknown, "{name}");
        }
        assert_eq!(overall(&sandbox).await, AggregatedState::Unknown);
        // A region that does not answer is reported so, and not as under way.
        sandbox.faults("eastus").fail_from(0, down());
        let east = status_of(&sandbox, "eastus").await;
        assert_eq!(east.state, ReplicationState::Unknown);
        assert!(east.details.contains("injected fault"), "{east:?}");
    });
}

#[test]
fn a_region_that_was_taken_away_has_not_failed_when_it_is_back() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1", noon()).await;
        sandbox.faults("eastus").fail_from(0, down());
        sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        sandbox.faults("eastus").heal();
        for regions in ["westeurope=1", "westeurope=1,eastus=1"] {
            let view = sandbox.session().refresh().await.unwrap();
            let version = view.image_version(sandbox.version("1.0.0")).unwrap();
            let profile = version.publishing_profile().clone().with_target_regions(regions.parse().unwrap());
            let version = ImageVersion::clone(&version).with_publishing_profile(profile).unwrap();
            sandbox.session().update_image_version(version).await.unwrap();
        }
        assert_eq!(status_of(&sandbox, "eastus").await.state, ReplicationState::Unknown);
    });
}

#[test]
fn a_cancelled_or_late_replication_has_not_failed() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1", noon()).await;
        let replication = sandbox.session().replicate(sandbox.version("1.0.0"));
        replication.control().cancel();
        assert_eq!(replication.await.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(status_of(&sandbox, "eastus").await.state, ReplicationState::Unknown);
        let mut replication = sandbox.session().replicate(sandbox.version("1.0.0")).within(Duration::from_secs(60));
        replication.control().pause();
        assert_eq!(replication.statuses().next().await.unwrap().aggregated_state, AggregatedState::InProgress);
        sandbox.clock().advance(Duration::from_secs(60));
        let last = replication.statuses().next().await.unwrap();
        assert_eq!(last.aggregated_state, AggregatedState::Unknown);
        assert!(last.summary.iter().any(|region| region.details.contains("deadline")), "{last:?}");
        assert_eq!(replication.await.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(overall(&sandbox).await, AggregatedState::Unknown);
    });
}

#[test]
fn a_failure_that_cannot_be_recorded_is_reported_beside_the_error() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1", noon()).await;
        let (east, catalog) = (sandbox.faults("eastus"), sandbox.catalog_faults());
        east.fail_from(0, down());
        // From the first put on; the read before it succeeds.
        catalog.fill_from(0);
        let error = sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        let problems: Vec<(ErrorKind, &str)> =
            error.problems().map(|problem| (problem.kind(), problem.target())).collect();
        assert_eq!(problems, [(ErrorKind::Unavailable, "eastus"), (ErrorKind::StorageFull, "eastus")], "{error:#}");
        assert!(error.to_string().contains("could not be recorded"), "{error:#}");
        catalog.heal();
        assert_eq!(status_of(&sandbox, "eastus").await.state, ReplicationState::Unknown);
    });
}

#[test]
fn a_catalog_that_hangs_does_not_hold_back_the_report_of_a_failure() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1", ManualClock::auto_advancing(noon().now())).await;
        let hangs = Arc::new(AtomicBool::new(false));
        let is_hanging = hangs.clone();
        let hanging = HookedStore::new(sandbox.catalog_store(), move |call| {
            let hangs = call.operation.starts_with("put") && is_hanging.load(Ordering::SeqCst);
            async move { if hangs { std::future::pending().await } else { Reaction::Pass } }
        });
        let sandbox = sandbox.reopen().catalog_store(hanging).build().await.unwrap();
        // The store is claimed, and then goes away.
        sandbox.faults("eastus").fail_from(6, down());
        sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        sandbox.faults("eastus").fail_from(0, down());
        hangs.store(true, Ordering::SeqCst);
        let began = sandbox.clock().now();
        let error = sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
        assert!(error.to_string().contains("could not be recorded"), "{error:#}");
        let took = sandbox.clock().now().signed_duration_since(began);
        assert!(took <= chrono::TimeDelta::seconds(10), "{took}");
    });
}

#[test]
fn a_watcher_sees_a_failure_and_does_not_wait_forever() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1", noon()).await;
        sandbox.faults("eastus").fail_from(0, down());
        sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        let seen: Vec<AggregatedState> = sandbox
            .session()
            .watch_replication(&sandbox.version("1.0.0"))
            .map(|status| status.unwrap().aggregated_state)
            .collect()
            .await;
        assert_eq!(seen, [AggregatedState::Failed]);
    });
}

#[test]
fn a_version_whose_source_is_gone_has_failed_wherever_it_was_to_go() {
    block_on(async {
        let sandbox = published("westeurope=1,eastus=1", noon()).await;
        let sandbox = reopened(&sandbox).await;
        sandbox.faults("westeurope").fail_from(0, down());
        let error = sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
        sandbox.faults("westeurope").heal();
        let status = sandbox.session().replication_status(&sandbox.version("1.0.0")).await.unwrap();
        let states: Vec<ReplicationState> = status.summary.iter().map(|region| region.state).collect();
        assert_eq!(states, [ReplicationState::Completed, ReplicationState::Failed]);
        assert!(status.summary.iter().any(|region| region.details.contains("injected fault")), "{status:?}");
    });
}
