//! How an application is tested against the gallery's double: ten tests of one that was made up. Hours pass in them, and nothing waits.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::sync::Arc;
use std::time::Duration;

use compute_gallery::disk::DiskSource;
use compute_gallery::host::Clock;
use compute_gallery::model::*;
use compute_gallery::read::{OperationStatus, ProvisioningState};
use compute_gallery::replicate::ReplicationState;
use compute_gallery::store::StoreErrorKind;
use compute_gallery::testkit::{Calls, Fault, Refusal, Sandbox, noise, raw};
use compute_gallery::*;
use futures::executor::block_on;
use serde_json::json;

/// The application: it releases images, waits until they are everywhere, and says what it did.
struct Releases {
    session: Session,
    image: ImageDefinitionId,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, PartialEq, Eq)]
enum Rollout {
    Everywhere,
    Stuck { region: String },
}

const REGIONS: &str = "westeurope,eastus,northeurope";
const MINUTE: Duration = Duration::from_secs(60);

impl Releases {
    fn of(sandbox: &Sandbox) -> Self {
        let (session, image) = (sandbox.session().clone(), sandbox.image().clone());
        Self { session, image, clock: Arc::new(sandbox.clock().clone()) }
    }

    /// Publishes a release, after as many pauses as the gallery asks for.
    async fn publish(&self, number: &str, disk: impl Fn() -> DiskSource) -> Result<ImageVersionId> {
        let id = self.image.version(number.parse()?);
        loop {
            let profile = PublishingProfile::new(REGIONS.parse()?);
            let new = NewImageVersion::new(id.clone(), "westeurope".parse()?, profile, disk());
            match self.session.publish(new).await {
                Err(error) => match error.kind() {
                    ErrorKind::Throttled { after } => self.clock.sleep(after.unwrap_or(MINUTE)).await,
                    _ => return Err(error),
                },
                Ok(published) => return Ok(published.resource.id().clone()),
            }
        }
    }

    /// Looks each minute until the release is everywhere, or a region has been stuck for an hour.
    async fn wait(&self, version: &ImageVersionId) -> Result<Rollout> {
        let mut failed_looks = 0;
        loop {
            let status = self.session.replication_status(version).await?;
            if status.summary.iter().all(|line| line.state == ReplicationState::Completed) {
                return Ok(Rollout::Everywhere);
            }
            match status.summary.iter().find(|line| line.state == ReplicationState::Failed) {
                Some(line) if failed_looks == 60 => return Ok(Rollout::Stuck { region: line.region.to_string() }),
                Some(_) => failed_looks += 1,
                None => failed_looks = 0,
            }
            self.clock.sleep(MINUTE).await;
        }
    }

    /// The disk that a new machine in a region gets.
    async fn machine(&self, region: &str) -> Result<Vec<u8>> {
        Ok(self.session.deploy(&self.image, region).to_writer(Vec::new()).await?.1)
    }
}

/// The bytes of a disk that takes an hour at 10 MiB a second.
const LARGE: u64 = 36_000 << 20;

/// A large disk, which costs nothing.
fn large() -> DiskSource {
    DiskSource::zeros(LARGE).unwrap()
}

/// The rate at which the large disk takes `hours`.
fn in_hours(hours: u64) -> u64 {
    LARGE / (hours * 3_600)
}

#[test]
fn a_release_that_fails_in_one_of_three_regions_is_tried_again_and_deployed() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let broken = Refusal::new(ErrorKind::Unavailable, "InternalServerError");
        sandbox.refuse(Calls::of("replicate").containing("in eastus").first(1), broken);
        let releases = Releases::of(&sandbox);
        let version = releases.publish("1.0.0", || raw(noise(1, 1 << 16))).await.unwrap();

        let error = releases.session.replicate(&version).await.unwrap_err();
        assert_eq!((error.kind(), error.target()), (ErrorKind::Unavailable, "eastus"));
        assert!(releases.machine("eastus").await.is_err());
        assert_eq!(releases.machine("northeurope").await.unwrap(), noise(1, 1 << 16));

        releases.session.replicate(&version).await.unwrap();
        assert_eq!(releases.machine("eastus").await.unwrap(), noise(1, 1 << 16));
    });
}

#[test]
fn a_release_arrives_hour_by_hour_and_tells_each_percent() {
    block_on(async {
        let sandbox = Sandbox::builder()
            .bytes_per_second("eastus", in_hours(2))
            .bytes_per_second("northeurope", in_hours(4))
            .build()
            .await
            .unwrap();
        let releases = Releases::of(&sandbox);
        let (began, version) = (sandbox.now(), releases.publish("1.0.0", large).await.unwrap());
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push((
                sandbox.progress("1.0.0", "eastus").await.unwrap(),
                sandbox.progress("1.0.0", "northeurope").await.unwrap(),
            ));
            sandbox.advance(60 * MINUTE).await.unwrap();
        }
        assert_eq!(seen, [(0, 0), (50, 25), (100, 50), (100, 75), (100, 100), (100, 100)]);

        // Each percent is seen, by whoever looks often enough.
        let version = {
            drop(version);
            releases.publish("1.0.1", large).await.unwrap()
        };
        let mut percents = std::collections::BTreeSet::new();
        sandbox
            .run(async {
                let mut left = 200;
                while left > 0 && !percents.contains(&100) {
                    percents.insert(releases.session.replication_status(&version).await.unwrap().summary[1].progress);
                    releases.clock.sleep(MINUTE).await;
                    left -= 1;
                }
            })
            .await
            .unwrap();
        assert!(percents.len() >= 100, "{percents:?}");
        assert!(sandbox.now() - began > chrono::TimeDelta::hours(8));
    });
}

#[test]
fn an_outage_of_twenty_minutes_delays_a_rollout_and_does_not_stop_it() {
    block_on(async {
        let sandbox = Sandbox::builder().bytes_per_second("eastus", in_hours(1)).build().await.unwrap();
        let at = |minutes: u32| sandbox.now() + minutes * MINUTE;
        let (began, late) = (sandbox.now(), at(70));
        sandbox.outage("eastus", at(10)..at(30));
        let releases = Releases::of(&sandbox);
        let version = releases.publish("1.0.0", large).await.unwrap();

        let north = sandbox.advance_to_next().await.unwrap();
        assert!(north.iter().all(|done| done.outcome.is_ok()) && sandbox.now() == began);
        let east = sandbox.advance_to_next().await.unwrap();
        assert!(east[0].outcome.is_err() && sandbox.now() < began + 12 * MINUTE);
        let status = releases.session.replication_status(&version).await.unwrap();
        assert_eq!(status.summary[1].state, ReplicationState::Failed);
        assert_eq!(sandbox.run(releases.wait(&version)).await.unwrap().unwrap(), Rollout::Everywhere);
        // What had arrived was not sent again.
        assert!(sandbox.now() > late && sandbox.now() < began + 100 * MINUTE, "{}", sandbox.now() - began);
    });
}

#[test]
fn a_region_that_stays_away_is_reported_after_an_hour() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        sandbox.faults("eastus").on(Calls::all(), Fault::Before(StoreErrorKind::Unavailable));
        let releases = Releases::of(&sandbox);
        let version = releases.publish("1.0.0", large).await.unwrap();
        let rollout = sandbox.run(releases.wait(&version)).await.unwrap().unwrap();
        assert_eq!(rollout, Rollout::Stuck { region: "eastus".to_owned() });
        // Repaired, it goes on by itself.
        sandbox.faults("eastus").heal();
        sandbox.run_until_idle().await.unwrap();
        assert_eq!(releases.wait(&version).await.unwrap(), Rollout::Everywhere);
    });
}

#[test]
fn an_application_that_is_throttled_waits_as_long_as_it_is_told() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        sandbox.refuse(Calls::of("publish").first(2), Refusal::throttled(7 * MINUTE));
        let (releases, began) = (Releases::of(&sandbox), sandbox.now());
        sandbox.run(releases.publish("1.0.0", large)).await.unwrap().unwrap();
        assert_eq!(sandbox.now() - began, chrono::TimeDelta::minutes(14));
    });
}

#[test]
fn the_third_release_of_a_day_meets_the_quota() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let quota = Refusal::new(ErrorKind::LimitReached, "QuotaExceeded").with_message("Two releases a day.");
        sandbox.refuse(Calls::of("publish").nth(3), quota);
        let releases = Releases::of(&sandbox);
        for number in ["1.0.0", "1.0.1"] {
            releases.publish(number, large).await.unwrap();
        }
        let error = releases.publish("1.0.2", large).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::LimitReached, "QuotaExceeded"));
        assert!(error.to_string().contains("Two releases a day"), "{error}");
        assert!(releases.session.view().image_version(sandbox.version("1.0.2")).is_err());
    });
}

/// What became of a release over a network that loses each tenth answer, and when.
async fn over_a_bad_network(seed: u64) -> (Vec<String>, chrono::DateTime<chrono::Utc>) {
    let sandbox = Sandbox::builder().seed(seed).latency("eastus", Duration::from_millis(80)).build().await.unwrap();
    sandbox.faults("eastus").on(Calls::all().with_chance(0.3), Fault::Before(StoreErrorKind::Unavailable));
    let releases = Releases::of(&sandbox);
    releases.publish("1.0.0", || raw(noise(1, 1 << 20))).await.unwrap();
    let done = sandbox.run_until_idle().await.unwrap();
    assert_eq!(releases.machine("eastus").await.unwrap(), noise(1, 1 << 20));
    let calls = sandbox.faults("eastus").record().into_iter().map(|call| format!("{} {:?}", call.operation, call.key));
    (calls.chain(done.into_iter().map(|done| format!("{done:?}"))).collect(), sandbox.now())
}

#[test]
fn a_release_survives_a_bad_network_and_the_same_seed_replays_it() {
    block_on(async {
        let first = over_a_bad_network(7).await;
        assert_eq!(first, over_a_bad_network(7).await);
        assert_ne!(first.1, over_a_bad_network(8).await.1);
    });
}

#[test]
fn a_version_that_is_withdrawn_is_still_deployed_by_those_who_see_late() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        sandbox.publish("1.0.0", noise(1, 4096)).await.unwrap();
        sandbox.publish("1.0.1", noise(2, 4096)).await.unwrap();
        let other = sandbox.reopen().sees_late(10 * MINUTE).build().await.unwrap();
        let (here, there) = (Releases::of(&sandbox), Releases::of(&other));
        assert_eq!(there.machine("eastus").await.unwrap(), noise(2, 4096));
        here.session.delete(sandbox.version("1.0.1")).await.unwrap();
        assert_eq!(here.machine("eastus").await.unwrap(), noise(1, 4096));
        assert_eq!(there.machine("eastus").await.unwrap(), noise(2, 4096));
        sandbox.advance(10 * MINUTE).await.unwrap();
        assert_eq!(there.machine("eastus").await.unwrap(), noise(1, 4096));
    });
}

#[test]
fn a_replica_that_cannot_be_read_fails_the_machines_of_its_region_alone() {
    block_on(async {
        let sandbox = Sandbox::builder().service(|builder| builder.deploy_within_region()).build().await.unwrap();
        sandbox.publish("1.0.0", noise(1, 4096)).await.unwrap();
        sandbox.faults("eastus").on(Calls::of("get"), Fault::Before(StoreErrorKind::Unavailable));
        let releases = Releases::of(&sandbox);
        assert_eq!(releases.machine("eastus").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(releases.machine("westeurope").await.unwrap(), noise(1, 4096));
    });
}

#[test]
fn a_version_of_a_vm_that_is_only_named_is_made_in_the_time_of_its_disk() {
    block_on(async {
        let sandbox =
            Sandbox::builder().any_source(LARGE).bytes_per_second("westeurope", in_hours(1)).build().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        let vm = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/virtualMachines/golden";
        let body = json!({"location": "westeurope", "properties": {
            "publishingProfile": {"targetRegions": [{"name": "West Europe"}, {"name": "East US"}]},
            "storageProfile": {"source": {"virtualMachineId": vm}}}});
        let operation = session.put_image_version(&id, body).await.unwrap().operation.unwrap();
        sandbox.advance(30 * MINUTE).await.unwrap();
        let now = session.view().operation(operation).unwrap();
        assert_eq!((now.status, now.percent), (OperationStatus::InProgress, 16));
        assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Creating);

        sandbox.run(session.wait_for_operation(operation)).await.unwrap().unwrap();
        assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Succeeded);
        assert_eq!(session.view().image_version(&id).unwrap().storage_profile().os_disk_image().size_in_bytes(), LARGE);
    });
}

#[test]
fn a_release_goes_on_after_the_process_that_made_it_has_gone() {
    block_on(async {
        let sandbox = Sandbox::builder().bytes_per_second("eastus", in_hours(2)).build().await.unwrap();
        let version = Releases::of(&sandbox).publish("1.0.0", large).await.unwrap();
        sandbox.advance(60 * MINUTE).await.unwrap();
        let again = sandbox.reopen().build().await.unwrap();
        drop(sandbox);
        let done = again.run_until_idle().await.unwrap();
        assert!(done.iter().all(|done| done.outcome.is_ok()), "{done:?}");
        assert_eq!(Releases::of(&again).wait(&version).await.unwrap(), Rollout::Everywhere);
    });
}
