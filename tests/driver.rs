//! Drivers: what was asked for is carried through, by whichever process lives, and once.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compute_gallery::access::{AccessScope, BuiltInRole, MemoryDirectory, RoleAssignment};
use compute_gallery::drive::{Driver, Duty, Step};
use compute_gallery::model::*;
use compute_gallery::read::{OperationKind, OperationStatus, ProvisioningState};
use compute_gallery::replicate::ReplicationState;
use compute_gallery::store::{MemoryStore, StoreErrorKind};
use compute_gallery::testkit::{Fault, HookedStore, ManualClock, Reaction, Sandbox, YieldingStore, noise, raw};
use compute_gallery::*;
use futures::executor::block_on;
use futures::future::{Either, select};
use futures::{FutureExt, TryStreamExt};
use serde_json::{Value, json};

const REGIONS: [&str; 3] = ["westeurope", "eastus", "northeurope"];

/// How long a duty is left to one that gives no sign of life.
const QUIET: Duration = Duration::from_secs(120);

/// A PUT of a version that is made of another one, in all regions.
fn made_of(source: &ImageVersionId) -> Value {
    let targets: Vec<Value> = REGIONS.iter().map(|region| json!({"name": region})).collect();
    json!({"location": "westeurope", "properties": {
        "publishingProfile": {"targetRegions": targets}, "storageProfile": {"source": {"id": source.to_string()}}}})
}

/// Steps until nothing is left to do, and lets time pass where something waits. Returns all that was done.
async fn drive(sandbox: &Sandbox, driver: &mut Driver) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..1_000 {
        let step = driver.step().await.unwrap();
        if step.is_idle() && step.waiting.is_empty() {
            return steps;
        }
        if step.is_idle() {
            sandbox.clock().advance(Duration::from_secs(5));
        }
        steps.push(step);
    }
    panic!("it does not come to rest: {:?}", steps.last());
}

fn driver(sandbox: &Sandbox) -> Driver {
    sandbox.session().driver().collect_every(None)
}

/// Everything that a user sees of a version: where it can be deployed, and with which bytes.
async fn seen(sandbox: &Sandbox, number: &str) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let view = sandbox.session().refresh().await.unwrap();
    let state = view.provisioning(sandbox.version(number)).map(|now| now.state.to_string());
    seen.insert("state".to_owned(), state.unwrap_or_else(|error| format!("{:?}", error.kind())));
    for region in REGIONS {
        let deployed = sandbox.deployed(number, region).await;
        seen.insert(
            region.to_owned(),
            format!("{:?}", deployed.map(|bytes| blake(&bytes)).map_err(|error| error.kind())),
        );
    }
    let operations = view.operations().into_iter().map(|operation| (operation.status, operation.percent));
    seen.insert("operations".to_owned(), format!("{:?}", operations.collect::<Vec<_>>()));
    seen
}

fn blake(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn a_put_is_carried_through_to_all_regions_and_its_operation_tells_how_far_it_is() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("2.0.0"));
        sandbox.publish_to("1.0.0", "westeurope", noise(1, 1 << 20)).await.unwrap();
        let put = session.put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        let operation = put.operation.unwrap();
        let begun = session.view().operation(operation).unwrap();
        assert_eq!((begun.kind, begun.status, begun.percent), (OperationKind::Create, OperationStatus::InProgress, 0));
        // The same PUT again is accepted, and has the same operation.
        let again = session.put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        assert_eq!(again.operation, Some(operation));

        let mut driver = driver(&sandbox);
        let first = driver.step().await.unwrap();
        assert_eq!(first.done[0].duty, Duty::Complete("westeurope".parse().unwrap()));
        let halfway = session.view().operation(operation).unwrap();
        assert_eq!((halfway.status, halfway.percent), (OperationStatus::InProgress, 50));
        drive(&sandbox, &mut driver).await;
        let ended = session.view().operation(operation).unwrap();
        assert_eq!((ended.status, ended.percent, &ended.error), (OperationStatus::Succeeded, 100, &None));
        assert!(ended.end_time.unwrap() >= ended.start_time);
        for region in REGIONS {
            assert_eq!(sandbox.deployed("2.0.0", region).await.unwrap(), noise(1, 1 << 20));
        }

        // Other regions are an update.
        let body = json!({"location": "westeurope", "properties": {"publishingProfile": {"targetRegions": [{"name": "westeurope"}]}}});
        let put = session.put_image_version(sandbox.version("1.0.0"), body).await.unwrap();
        assert_eq!(put.operation, None, "nothing has changed");
        let put = session.put_image_version(
            sandbox.version("1.0.0"),
            json!({"location": "westeurope", "properties": {
            "publishingProfile": {"targetRegions": [{"name": "westeurope"}, {"name": "eastus"}]}}}),
        );
        let operation = put.await.unwrap().operation.unwrap();
        assert_eq!(session.view().provisioning(sandbox.version("1.0.0")).unwrap().state, ProvisioningState::Updating);
        drive(&sandbox, &mut driver).await;
        let update = session.view().operation(operation).unwrap();
        assert_eq!((update.kind, update.status), (OperationKind::Update, OperationStatus::Succeeded));
        assert_eq!(sandbox.deployed("1.0.0", "eastus").await.unwrap(), noise(1, 1 << 20));
    });
}

/// A gallery of three regions in one store, with a version that was put and one that lacks regions.
async fn half_done() -> Sandbox {
    let sandbox = Sandbox::builder().one_store(MemoryStore::new()).build().await.unwrap();
    sandbox.publish_to("1.0.0", "westeurope", noise(1, 1 << 20)).await.unwrap();
    let body = made_of(&sandbox.version("1.0.0"));
    sandbox.session().put_image_version(sandbox.version("2.0.0"), body).await.unwrap();
    let lacking = sandbox.new_version("3.0.0", &REGIONS.join(","), raw(noise(3, 1 << 20)));
    sandbox.session().publish(lacking).await.unwrap();
    sandbox
}

#[test]
fn a_process_that_is_killed_at_any_store_call_and_started_again_ends_in_the_same_state() {
    block_on(async { killed_at_any_store_call(half_done).await });
}

/// As the deletion of a version that others share packs with.
#[test]
fn a_process_that_is_killed_while_it_deletes_ends_in_the_same_state_too() {
    block_on(async {
        let marked = async || {
            let sandbox = Sandbox::builder().one_store(MemoryStore::new()).build().await.unwrap();
            for number in ["2.0.0", "3.0.0", "4.0.0"] {
                sandbox.publish(number, noise(1, 64 << 10)).await.unwrap();
            }
            for number in ["2.0.0", "4.0.0"] {
                sandbox.session().delete(sandbox.version(number)).begin().await.unwrap();
            }
            sandbox
        };
        killed_at_any_store_call(marked).await;
    });
}

/// Each time another process goes on.
async fn killed_at_any_store_call(half_done: impl AsyncFn() -> Sandbox) {
    let whole = half_done().await;
    let before = whole.catalog_faults().calls();
    drive(&whole, &mut driver(&whole)).await;
    let calls = whole.catalog_faults().calls() - before;
    let [second, third] = [seen(&whole, "2.0.0").await, seen(&whole, "3.0.0").await];
    assert_eq!(third.get("state").map(String::as_str), Some("Succeeded"));
    assert!(second.get("operations").is_some_and(|told| told.contains("Succeeded, 100")), "{second:?}");
    println!("{calls} store calls");
    for call in 0..calls {
        let sandbox = half_done().await;
        sandbox.catalog_faults().fail_from(call, Fault::Hang);
        {
            let mut killed = driver(&sandbox);
            let mut killed = pin!(drive(&sandbox, &mut killed));
            for _ in 0..300 {
                assert!((&mut killed).now_or_never().is_none(), "it does not end, killed at call {call}");
            }
        }
        sandbox.catalog_faults().heal();
        let again = sandbox.reopen().build().await.unwrap();
        drive(&again, &mut driver(&again)).await;
        let ended = [seen(&again, "2.0.0").await, seen(&again, "3.0.0").await];
        assert_eq!(ended, [second.clone(), third.clone()], "killed at call {call}");
    }
}

/// A gallery whose regions let others go first at each call.
async fn shared() -> Sandbox {
    let regions = REGIONS
        .iter()
        .fold(Sandbox::builder(), |builder, region| builder.store(region, YieldingStore::new(MemoryStore::new())));
    let sandbox = regions.service(|builder| builder.abandon_duties_after(QUIET)).build().await.unwrap();
    // A driver has collected.
    sandbox.session().driver().step().await.unwrap();
    for number in 0..4_u8 {
        // Each has packs of the one before it.
        let mut disk = noise(1, 4 << 20);
        disk.truncate((1 << 20) * (usize::from(number) + 1));
        let new = sandbox.new_version(&format!("1.0.{number}"), &REGIONS.join(","), raw(disk));
        sandbox.session().publish(new).await.unwrap();
    }
    REGIONS.iter().for_each(|region| sandbox.faults(region).forget_record());
    sandbox
}

/// The content that was sent into a region, and how much of it more than once.
fn sent(sandbox: &Sandbox, region: &str) -> (usize, usize) {
    let calls = sandbox.faults(region).record();
    let changes = calls.iter().filter(|call| call.operation.starts_with("put") || call.operation.starts_with("copy"));
    let mut times = BTreeMap::<String, usize>::new();
    let keys = changes.filter_map(|call| call.key.as_ref()).map(ToString::to_string);
    for key in keys.filter(|key| key.contains("packs/") || key.contains("parts/")) {
        *times.entry(key).or_default() += 1;
    }
    (times.len(), times.values().map(|times| times - 1).sum())
}

fn is_complete(sandbox: &Sandbox) -> bool {
    let view = sandbox.session().view();
    (0..4).all(|number| {
        let content = |region| view.latest(sandbox.image(), region).map(|latest| latest.id().clone());
        REGIONS.iter().all(|region| content(*region).ok() == Some(sandbox.version("1.0.3"))) && number < 4
    })
}

async fn all_is_complete(sandbox: &Sandbox) {
    loop {
        sandbox.session().refresh().await.unwrap();
        let mut complete = is_complete(sandbox);
        for number in 0..4 {
            let version = sandbox.version(&format!("1.0.{number}"));
            let status = sandbox.session().replication_status(&version).await.unwrap();
            complete &= status.progress() == 100;
        }
        if complete {
            return;
        }
        sandbox.clock_sleep(Duration::from_secs(1)).await;
    }
}

trait Sleep {
    async fn clock_sleep(&self, time: Duration);
}

impl Sleep for Sandbox {
    async fn clock_sleep(&self, time: Duration) {
        compute_gallery::host::Clock::sleep(self.clock(), time).await;
    }
}

#[test]
fn two_drivers_share_the_work_and_no_pack_is_copied_twice() {
    block_on(async {
        let sandbox = shared().await;
        let other = sandbox.reopen().build().await.unwrap();
        let done = std::sync::Arc::new(std::sync::Mutex::new([0, 0]));
        let counting = |at: usize| {
            let done = done.clone();
            move |_: &drive::Done| done.lock().unwrap()[at] += 1
        };
        let one = driver(&sandbox).at_once(1).on_done(counting(0)).run();
        let two = driver(&other).at_once(1).on_done(counting(1)).run();
        let both = pin!(futures::future::join(one, two));
        let Either::Right(_) = select(both, pin!(all_is_complete(&sandbox))).await else {
            panic!("a driver has ended")
        };
        let sent: Vec<_> = ["eastus", "northeurope"].iter().map(|region| sent(&sandbox, region)).collect();
        println!("packs sent, and sent twice, by region: {sent:?}; done by each: {:?}", done.lock().unwrap());
        assert!(sent.iter().all(|(packs, twice)| *packs > 0 && *twice == 0), "{sent:?}");
        assert!(done.lock().unwrap().iter().all(|done| *done > 0), "both have worked");
    });
}

/// Whatever of the two is ahead, by so many polls.
#[test]
fn a_call_and_a_driver_share_the_work_and_no_pack_is_copied_twice() {
    for (driver_ahead, call_ahead) in [(0, 0), (30, 0), (120, 0), (0, 10), (0, 25)] {
        block_on(async {
            let sandbox = shared().await;
            let other = sandbox.reopen().build().await.unwrap();
            let mut driving = pin!(driver(&other).run());
            let mut calling = pin!(async {
                for number in (0..4).rev() {
                    let version = sandbox.version(&format!("1.0.{number}"));
                    let report = sandbox.session().replicate(&version).await.unwrap();
                    assert_eq!(report.regions.len(), 3);
                }
            });
            for _ in 0..driver_ahead {
                assert!((&mut driving).now_or_never().is_none());
            }
            for _ in 0..call_ahead {
                assert!((&mut calling).now_or_never().is_none());
            }
            let Either::Right(_) = select(driving, calling).await else { panic!("the driver has ended") };
            all_is_complete(&sandbox).await;
            let sent: Vec<_> = ["eastus", "northeurope"].iter().map(|region| sent(&sandbox, region)).collect();
            assert!(
                sent.iter().all(|(packs, twice)| *packs > 0 && *twice == 0),
                "{driver_ahead} {call_ahead}: {sent:?}"
            );
        });
    }
}

#[test]
fn a_driver_leaves_a_region_to_a_call_for_as_long_as_that_lives_and_tells_how_far_it_is() {
    block_on(async {
        let sandbox = shared().await;
        let other = sandbox.reopen().build().await.unwrap();
        let tags = json!({"location": "westeurope", "tags": {"put": "again"}});
        let put = sandbox.session().put_image_version(sandbox.version("1.0.3"), tags).await.unwrap();
        // At this rate, the megabyte takes about ten minutes.
        let replicating = sandbox.session().replicate(sandbox.version("1.0.0")).in_region("eastus");
        let calling = replicating.bytes_per_second("eastus", 1 << 11);
        let mut second = driver(&other);
        let driving = async {
            sandbox.clock_sleep(Duration::from_secs(300)).await;
            // The other region is free; in this one, even other versions wait.
            let mut done = Vec::new();
            for _ in 0..10 {
                done.extend(second.step().await.unwrap().done);
                sandbox.clock_sleep(Duration::from_secs(5)).await;
            }
            assert!(done.iter().all(|done| done.duty == Duty::Replicate("northeurope".parse().unwrap())), "{done:?}");
            assert_eq!(done.len(), 4);
        };
        let (report, ()) = futures::join!(calling, driving);
        assert!(report.unwrap().regions[0].cross_region_bytes >= 1 << 20);
        let step = second.step().await.unwrap();
        assert_eq!(step.done.len(), 3, "{step:?}");
        let put = other.session().view().operation(put.operation.unwrap()).unwrap();
        assert_eq!(put.status, OperationStatus::Succeeded);
        assert_eq!(sent(&sandbox, "eastus").1, 0);
    });
}

#[test]
fn a_call_that_is_dropped_or_stands_still_loses_its_regions_to_a_driver() {
    block_on(async {
        let sandbox = shared().await;
        let other = sandbox.reopen().build().await.unwrap();
        let version = sandbox.version("1.0.0");
        let mut dropped = sandbox.session().replicate(&version).bytes_per_second("northeurope", 1 << 11);
        let mut still = sandbox.session().replicate(&version).bytes_per_second("eastus", 1 << 11);
        still = still.in_region("eastus");
        for _ in 0..200 {
            assert!((&mut dropped).now_or_never().is_none() && (&mut still).now_or_never().is_none());
        }
        drop(dropped);
        let mut second = driver(&other);
        let first = second.step().await.unwrap();
        assert!(first.is_idle() && first.waiting.len() == 2, "{first:?}");
        let from = chrono_now(other.clock());
        drive(&other, &mut second).await;
        all_is_complete(&other).await;
        assert!((100..300).contains(&(chrono_now(other.clock()) - from)));
        // It wakes up, finds that a driver has done it, and that is what it was asked for.
        assert_eq!(still.await.unwrap().regions[0].region.as_str(), "eastus");
    });
}

#[test]
fn a_call_waits_for_a_driver_that_lives_and_takes_over_from_one_that_is_gone() {
    block_on(async {
        for gone in [false, true] {
            let sandbox = shared().await;
            let other = sandbox.reopen().build().await.unwrap();
            // At this rate it takes about ten minutes for each version.
            let slow = driver(&other).bytes_per_second(1 << 11);
            let mut driving = Box::pin(slow.run());
            for _ in 0..200 {
                assert!((&mut driving).now_or_never().is_none());
            }
            let from = chrono_now(sandbox.clock());
            let version = sandbox.version("1.0.0");
            if gone {
                drop(driving);
                let cancelled =
                    sandbox.session().replicate(&version).within(Duration::from_secs(30)).await.unwrap_err();
                assert_eq!(cancelled.kind(), ErrorKind::Cancelled, "{cancelled}");
                sandbox.session().replicate(&version).await.unwrap();
                assert!((120..200).contains(&(chrono_now(sandbox.clock()) - from)));
            } else {
                let Either::Right((report, _)) = select(driving, sandbox.session().replicate(&version)).await else {
                    panic!("the driver has ended")
                };
                assert_eq!(report.unwrap().regions.iter().map(|region| region.cross_region_bytes).sum::<u64>(), 0);
                assert!(chrono_now(sandbox.clock()) - from > 300);
            }
            assert!(sandbox.deployed("1.0.0", "eastus").await.is_ok());
        }
    });
}

/// Two drivers see the same free duty, and both commit that they take it: the one whose commit comes second has not taken it.
#[test]
fn a_duty_that_two_drivers_want_at_once_is_taken_by_one() {
    for (ahead, deletes) in (0..24).map(|ahead| (ahead, false)).chain((0..24).map(|ahead| (ahead, true))) {
        block_on(async {
            let store = MemoryStore::new();
            let fast = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
            let regions = if deletes { "westeurope" } else { "westeurope,eastus" };
            let lacking = fast.new_version("1.0.0", regions, raw(noise(1, 128 << 10)));
            fast.session().publish(lacking).await.unwrap();
            let deletion = match deletes {
                true => fast.session().delete(fast.version("1.0.0")).begin().await.unwrap(),
                false => None,
            };
            let slow = async || {
                let yielding = YieldingStore::new(store.clone());
                fast.reopen().catalog_store(yielding.clone()).one_store(yielding).build().await.unwrap()
            };
            let (one, two) = (slow().await, slow().await);
            let (mut first, mut second) = (driver(&one), driver(&two));
            let (mut first, mut second) = (pin!(first.step().fuse()), pin!(second.step().fuse()));
            for turn in 0..2_000 {
                let _ = first.as_mut().now_or_never();
                if turn >= ahead {
                    let _ = second.as_mut().now_or_never();
                }
            }
            let view = fast.session().refresh().await.unwrap();
            match deletion {
                Some(deletion) => assert_eq!(view.operation(deletion).unwrap().status, OperationStatus::Succeeded),
                None => {
                    let status = fast.session().replication_status(&fast.version("1.0.0")).await.unwrap();
                    assert_eq!(status.progress(), 100);
                }
            }
            let history: Vec<read::HistoryEntry> = fast.session().history(0).try_collect().await.unwrap();
            let mut is_held = false;
            for entry in history {
                let (is_taken, is_laid_down) = match entry.event.kind {
                    read::EventKind::DutyTaken => (true, false),
                    read::EventKind::DutyLaidDown => (false, true),
                    _ => continue,
                };
                assert!(is_taken != is_held && is_laid_down == is_held, "{ahead} calls ahead: commit {}", entry.number);
                is_held = is_taken;
            }
        });
    }
}

#[test]
fn the_duties_of_a_driver_that_is_gone_are_taken_over_when_they_were_quiet_and_a_late_one_stops() {
    let taken_over = (20..180).step_by(7).filter(|polls| block_on(a_stall_after(*polls))).count();
    assert!(taken_over > 3, "{taken_over}");
}

/// Returns whether it stalled while it held a duty.
async fn a_stall_after(polls: usize) -> bool {
    let sandbox = shared().await;
    let other = sandbox.reopen().build().await.unwrap();
    let mut stalled = Box::pin(driver(&sandbox).at_once(1).run());
    // It has taken a duty, and is not polled any more.
    for _ in 0..polls {
        assert!((&mut stalled).now_or_never().is_none());
    }
    let mut second = driver(&other);
    let first = second.step().await.unwrap();
    if first.waiting.is_empty() {
        return false;
    }
    let clock = other.clock();
    let from = chrono_now(clock);
    // What was slept counts for a quarter at most.
    clock.advance(Duration::from_secs(24 * 3_600));
    let slept = second.step().await.unwrap();
    assert!(slept.is_idle() && slept.waiting.len() == 1, "{slept:?}");
    let steps = drive(&other, &mut second).await;
    assert!(steps.iter().any(|step| !step.is_idle()), "it was taken over");
    assert!(chrono_now(clock) - from > 24 * 3_600 + 60);
    let all: Vec<_> = ["eastus", "northeurope"].iter().map(|region| sent(&sandbox, region)).collect();
    println!("packs sent, and sent twice, after a stall at poll {polls}: {all:?}");
    all_is_complete(&other).await;
    // It wakes up: it finds its duty lost, and nothing to do.
    let before = other.session().refresh().await.unwrap().number();
    for _ in 0..300 {
        assert!((&mut stalled).now_or_never().is_none());
    }
    all_is_complete(&sandbox).await;
    let twice: usize = ["eastus", "northeurope"].iter().map(|region| sent(&sandbox, region).1).sum();
    assert!(twice <= 16, "at most what was in flight: {twice}");
    let entries = other.session().refresh().await.unwrap().number() - before;
    assert!(entries <= 2, "{entries}");
    true
}

fn chrono_now(clock: &compute_gallery::testkit::ManualClock) -> i64 {
    compute_gallery::host::Clock::now(clock).timestamp()
}

#[test]
fn a_region_that_fails_says_why_is_tried_again_and_recovers() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("2.0.0"));
        sandbox.publish_to("1.0.0", "westeurope", noise(1, 1 << 20)).await.unwrap();
        let put = session.put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        let operation = put.operation.unwrap();
        sandbox.faults("eastus").fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
        let mut driver = driver(&sandbox);
        driver.step().await.unwrap();
        let step = driver.step().await.unwrap();
        let failed: Vec<_> = step.done.iter().filter(|done| done.outcome.is_err()).collect();
        assert_eq!(failed.len(), 1, "{step:?}");
        let provisioning = session.view().provisioning(&id).unwrap();
        assert_eq!(provisioning.state, ProvisioningState::Failed);
        assert!(sandbox.deployed("2.0.0", "northeurope").await.is_ok(), "the others are there");
        assert_eq!(
            session.view().operation(operation).unwrap().status,
            OperationStatus::InProgress,
            "it is tried again"
        );
        // Not before 10 seconds are over.
        let step = driver.step().await.unwrap();
        assert!(step.is_idle() && step.waiting == [Duty::Replicate("eastus".parse().unwrap())].into(), "{step:?}");

        sandbox.faults("eastus").heal();
        let status = session.replication_status(&id).await.unwrap();
        let eastus = status.summary.iter().find(|line| line.region.as_str() == "eastus").unwrap();
        assert_eq!(eastus.state, ReplicationState::Failed);
        assert!(eastus.details.contains("eastus") || !eastus.details.is_empty(), "{}", eastus.details);
        drive(&sandbox, &mut driver).await;
        assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Succeeded);
        assert_eq!(session.view().operation(operation).unwrap().status, OperationStatus::Succeeded);

        // After five failures the operation has failed; the region recovers all the same.
        let id = sandbox.version("3.0.0");
        let put = session.put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        sandbox.faults("eastus").fail_from(0, Fault::Before(StoreErrorKind::Unavailable));
        for _ in 0..200 {
            driver.step().await.unwrap();
            sandbox.clock().advance(Duration::from_secs(10));
        }
        let given_up = session.view().operation(put.operation.unwrap()).unwrap();
        assert_eq!(given_up.status, OperationStatus::Failed);
        assert_eq!(given_up.error.unwrap().code, "ReplicationJobFailed");
        assert!(given_up.percent < 100);
        sandbox.faults("eastus").heal();
        drive(&sandbox, &mut driver).await;
        assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Succeeded);
    });
}

#[test]
fn a_version_whose_source_is_refused_is_failed_until_it_is_put_again() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("2.0.0"));
        let put = session.put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        let mut driver = driver(&sandbox);
        drive(&sandbox, &mut driver).await;
        let failed = session.view().operation(put.operation.unwrap()).unwrap();
        assert_eq!((failed.status, failed.error.unwrap().code.as_str()), (OperationStatus::Failed, "NotFound"));
        assert_eq!(session.view().provisioning(&id).unwrap().state, ProvisioningState::Failed);
        sandbox.publish_to("1.0.0", "westeurope", noise(1, 1 << 20)).await.unwrap();
        let put = session.put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        drive(&sandbox, &mut driver).await;
        assert_eq!(session.view().operation(put.operation.unwrap()).unwrap().status, OperationStatus::Succeeded);
    });
}

#[test]
fn retentions_end_and_regions_are_collected_and_scrubbed_when_it_is_time() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
        let gallery = Gallery::clone(&session.view().gallery(sandbox.image().gallery()).unwrap());
        session.update_gallery(gallery.with_soft_delete_policy(SoftDeletePolicy::enabled())).await.unwrap();
        sandbox.publish("1.0.0", noise(1, 1 << 20)).await.unwrap();
        let mut driver = session.driver().scrub_every(Duration::from_secs(7 * 24 * 3_600));
        let first = driver.step().await.unwrap();
        let duties = |step: &Step| {
            let mut duties: Vec<_> = step.done.iter().map(|done| done.duty.to_string()).collect();
            duties.sort();
            duties.join(", ")
        };
        assert_eq!(duties(&first), "collect, scrub eastus, scrub northeurope, scrub westeurope");
        assert!(driver.step().await.unwrap().is_idle());

        session.delete(&id).await.unwrap();
        assert!(driver.step().await.unwrap().is_idle());
        assert_eq!(session.view().soft_deleted_versions(sandbox.image()).unwrap().len(), 1);
        sandbox.clock().advance(Duration::from_secs(3_601));
        assert_eq!(duties(&driver.step().await.unwrap()), "collect");
        assert_eq!(session.view().soft_deleted_versions(sandbox.image()).unwrap().len(), 1);
        sandbox.clock().advance(Duration::from_secs(31 * 24 * 3_600));
        assert_eq!(duties(&driver.step().await.unwrap()), "collect, scrub eastus, scrub northeurope, scrub westeurope");
        assert_eq!(session.view().soft_deleted_versions(sandbox.image()).unwrap().len(), 0);
        assert_eq!(session.collect().await.unwrap().bytes(), 0);
        // Another process: when each was last done is in the catalog.
        let other = sandbox.reopen().build().await.unwrap();
        let mut second = other.session().driver().scrub_every(Duration::from_secs(7 * 24 * 3_600));
        assert!(second.step().await.unwrap().is_idle());
        other.clock().advance(Duration::from_secs(3_601));
        assert_eq!(duties(&second.step().await.unwrap()), "collect");
        sandbox.session().refresh().await.unwrap();
        assert!(driver.step().await.unwrap().is_idle(), "another has done it");
    });
}

#[test]
fn a_driver_needs_an_administrator() {
    block_on(async {
        let directory = MemoryDirectory::new();
        directory.add_user("ann", &"contoso".parse().unwrap()).unwrap();
        directory.add_subscription("dev".parse().unwrap(), "contoso".parse().unwrap(), None).unwrap();
        let sandbox = Sandbox::builder().directory(directory).build().await.unwrap();
        let error = sandbox.session_of("ann").driver().step().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert_eq!(sandbox.session_of("ann").driver().run().await.kind(), ErrorKind::Forbidden);
    });
}

#[test]
fn an_operation_is_read_by_who_may_from_another_service_and_is_cancelled_and_awaited() {
    block_on(async {
        let directory = MemoryDirectory::new();
        for user in ["ann", "bob"] {
            directory.add_user(user, &"contoso".parse().unwrap()).unwrap();
        }
        directory.add_subscription("dev".parse().unwrap(), "contoso".parse().unwrap(), None).unwrap();
        let sandbox = Sandbox::builder().directory(directory).build().await.unwrap();
        let subscription = AccessScope::Subscription("dev".parse().unwrap());
        let assignment =
            RoleAssignment::new("1", "ann".parse().unwrap(), BuiltInRole::Reader.id(), subscription).unwrap();
        sandbox.session().assign_role(assignment).await.unwrap();
        sandbox.publish_to("1.0.0", "westeurope", noise(1, 1 << 20)).await.unwrap();
        let id = sandbox.version("2.0.0");
        let put = sandbox.session().put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        let operation = put.operation.unwrap();

        let other = sandbox.reopen().build().await.unwrap();
        let (ann, bob) = (other.session_of("ann"), other.session_of("bob"));
        let read = ann.refresh().await.unwrap().operation(operation.to_string().as_str()).unwrap();
        assert_eq!((read.id, read.resource.to_string()), (operation, id.to_string()));
        assert_eq!(ann.view().operations(), [read]);
        assert_eq!(bob.view().operation(operation).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(bob.view().operations().is_empty());
        assert_eq!(bob.cancel_operation(operation).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(ann.cancel_operation(operation).await.unwrap_err().kind(), ErrorKind::Forbidden);

        // Its version gets its content, and then it is cancelled: no driver goes on.
        let mut driver = driver(&sandbox);
        driver.step().await.unwrap();
        let cancelled = other.session().cancel_operation(operation).await.unwrap();
        assert_eq!(cancelled.status, OperationStatus::Canceled);
        assert_eq!(cancelled.error.as_ref().unwrap().code, "OperationCanceled");
        let step = driver.step().await.unwrap();
        assert!(step.is_idle() && step.waiting.is_empty(), "{step:?}");
        assert_eq!(other.session().cancel_operation(operation).await.unwrap(), cancelled, "it stays as it is");
        assert_eq!(ann.wait_for_operation(operation).await.unwrap(), cancelled);

        // One that is put again goes on, and is awaited by another process.
        let mut body = made_of(&sandbox.version("1.0.0"));
        body["tags"] = json!({"again": "yes"});
        let again = sandbox.session().put_image_version(&id, body.clone()).await.unwrap().operation.unwrap();
        let (driving, waiting) = (pin!(driver.run()), pin!(ann.wait_for_operation(again)));
        let Either::Right((ended, _)) = select(driving, waiting).await else { panic!("the driver has ended") };
        assert_eq!(ended.unwrap().status, OperationStatus::Succeeded);

        // One that is put again or deleted while it is under way is preempted.
        let put = |number: &str| sandbox.session().put_image_version(sandbox.version(number), body.clone());
        let first = put("3.0.0").await.unwrap().operation.unwrap();
        sandbox.session().delete(sandbox.version("3.0.0")).await.unwrap();
        let preempted = sandbox.session().view().operation(first).unwrap();
        assert_eq!(preempted.status, OperationStatus::Canceled);
        assert_eq!(preempted.error.unwrap().code, "OperationPreempted");
    });
}

#[test]
fn a_cancellation_stops_the_work_that_another_process_does() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        let (session, id) = (sandbox.session(), sandbox.version("2.0.0"));
        sandbox.publish_to("1.0.0", "westeurope", noise(1, 1 << 20)).await.unwrap();
        let put = session.put_image_version(&id, made_of(&sandbox.version("1.0.0"))).await.unwrap();
        let operation = put.operation.unwrap();
        let other = sandbox.reopen().build().await.unwrap();
        // At this rate it takes ten hours.
        let mut driver = driver(&other).bytes_per_second(30);
        driver.step().await.unwrap();
        let from = chrono_now(other.clock());
        let cancelling = async {
            sandbox.clock_sleep(Duration::from_secs(60)).await;
            let halfway = session.refresh().await.unwrap().operation(operation).unwrap();
            assert!((50..100).contains(&halfway.percent), "{halfway:?}");
            session.cancel_operation(operation).await.unwrap();
        };
        let (step, ()) = futures::join!(driver.step(), cancelling);
        assert!(
            step.unwrap().done.iter().all(|done| done.outcome.as_ref().unwrap_err().kind() == ErrorKind::Cancelled)
        );
        assert!(chrono_now(other.clock()) - from < 120);
    });
}

#[test]
fn operations_that_ended_are_kept_for_a_week_and_at_most_a_thousand() {
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        sandbox.publish_to("1.0.0", "westeurope", noise(1, 4096)).await.unwrap();
        let put = async |number: u32| {
            let body = json!({"location": "westeurope", "tags": {"number": number.to_string()}});
            sandbox.session().put_image_version(sandbox.version("1.0.0"), body).await.unwrap().operation.unwrap()
        };
        let first = put(0).await;
        for number in 1..=1_000 {
            put(number).await;
        }
        let view = sandbox.session().view();
        assert_eq!(view.operations().len(), 1_000);
        assert_eq!(view.operation(first).unwrap_err().kind(), ErrorKind::NotFound);
        sandbox.clock().advance(Duration::from_secs(8 * 24 * 3_600));
        let last = put(1_001).await;
        let kept: Vec<_> = sandbox.session().view().operations().iter().map(|operation| operation.id).collect();
        assert_eq!(kept, [last]);
        // Checkpoints have them.
        let other = sandbox.reopen().build().await.unwrap();
        assert_eq!(other.session().view().operation(last).unwrap().status, OperationStatus::Succeeded);
    });
}

#[test]
fn a_driver_that_reaches_the_regions_and_not_the_catalog_stops_before_another_may_begin() {
    block_on(async {
        let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
        let quiet = |builder: GalleryServiceBuilder| builder.abandon_duties_after(QUIET);
        let sandbox = Sandbox::builder().clock(clock).service(quiet).build().await.unwrap();
        let lacking = sandbox.new_version("1.0.0", "westeurope,eastus", raw(noise(1, 1 << 20)));
        sandbox.session().publish(lacking).await.unwrap();
        // At this rate it takes hours.
        let mut driver = driver(&sandbox).bytes_per_second(30);
        let mut held_at = Vec::new();
        for hangs in [false, true] {
            let mut step = Box::pin(driver.step());
            assert!((&mut step).now_or_never().is_none());
            if hangs {
                sandbox.catalog_faults().fail_from(0, Fault::Hang);
            }
            for _ in 0..70 {
                sandbox.clock().advance(Duration::from_secs(1));
                assert!((&mut step).now_or_never().is_none());
            }
            drop(step);
            held_at.push(format!("{driver:?}"));
        }
        assert!(held_at[0].contains("eastus"), "it is renewed: {held_at:?}");
        assert!(!held_at[1].contains("eastus"), "it is given up: {held_at:?}");
    });
}

/// A driver has seen what is marked, and has not come to it: meanwhile another process cancels the deletion, or deletes at once and publishes
/// under the same id again. The first was answered with `Canceled`, the second is another image.
#[test]
fn a_driver_deletes_only_what_is_still_marked_by_the_deletion_that_it_saw() {
    for publishes_again in [false, true] {
        let mut stayed = 0;
        for steps in 0.. {
            let is_over = block_on(async {
                let store = MemoryStore::new();
                let fast = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
                fast.publish_to("1.0.0", "westeurope", vec![7; 4096]).await.unwrap();
                let (session, id) = (fast.session(), fast.version("1.0.0"));
                let marked = session.delete(&id).begin().await.unwrap().unwrap();
                let yielding = YieldingStore::new(store);
                let slow = fast.reopen().catalog_store(yielding.clone()).one_store(yielding).build().await.unwrap();
                let mut driver = driver(&slow);
                let mut step = Box::pin(driver.step());
                if (0..steps).any(|_| (&mut step).now_or_never().is_some()) {
                    return true;
                }
                let is_there = session.refresh().await.unwrap().image_version(&id).is_ok();
                if publishes_again {
                    session.delete(&id).await.unwrap();
                    fast.publish_to("1.0.0", "westeurope", vec![8; 4096]).await.unwrap();
                    step.await.unwrap();
                    assert_eq!(fast.deployed("1.0.0", "westeurope").await.unwrap(), [8; 4096], "after {steps} steps");
                } else {
                    let ended = session.cancel_operation(marked).await.unwrap().status;
                    step.await.unwrap();
                    assert_eq!(ended == OperationStatus::Canceled, is_there, "after {steps} steps");
                    let there = session.refresh().await.unwrap().image_version(&id).is_ok();
                    assert_eq!(there, is_there, "cancelled after {steps} steps: {ended}");
                }
                stayed += usize::from(is_there);
                false
            });
            if is_over {
                break;
            }
        }
        assert!(stayed > 5, "{stayed}");
    }
}

/// The fifth failure ends its own operation, and not that of a put which came during the attempt.
#[test]
fn an_attempt_that_fails_ends_no_operation_but_its_own() {
    block_on(async {
        let again: Arc<OnceLock<Session>> = Arc::default();
        let (is_fifth, puts) = (Arc::new(AtomicBool::new(false)), again.clone());
        let armed = is_fifth.clone();
        let body = |number: &str, source: &ImageVersionId| {
            let mut body = made_of(source);
            body["tags"] = json!({"put": number});
            body
        };
        let id = Sandbox::new().await.unwrap().version("2.0.0");
        let source = id.definition().version("1.0.0".parse().unwrap());
        let (second, put_again) = (body("again", &source), id.clone());
        let east = HookedStore::new(MemoryStore::new(), move |_| {
            let (puts, second, id) = (puts.clone(), second.clone(), put_again.clone());
            let comes = armed.swap(false, Ordering::SeqCst);
            async move {
                let Some(session) = puts.get() else { return Reaction::Pass };
                if comes {
                    session.put_image_version(&id, second).await.unwrap();
                }
                Reaction::Fail(StoreErrorKind::Unavailable)
            }
        });
        let sandbox = Sandbox::builder().store("eastus", east).build().await.unwrap();
        let session = sandbox.session();
        sandbox.publish_to("1.0.0", "westeurope", noise(1, 1 << 20)).await.unwrap();
        let first = session.put_image_version(&id, body("once", &source)).await.unwrap().operation.unwrap();
        again.set(sandbox.reopen().build().await.unwrap().session().clone()).unwrap();
        let (mut driver, mut failures) = (driver(&sandbox), 0);
        while failures < 5 {
            is_fifth.store(failures == 4, Ordering::SeqCst);
            let step = driver.step().await.unwrap();
            failures += step.done.iter().filter(|done| done.outcome.is_err()).count();
            sandbox.clock().advance(Duration::from_secs(10));
        }
        let view = session.refresh().await.unwrap();
        let of: Vec<_> =
            view.operations().into_iter().map(|operation| (operation.id == first, operation.status)).collect();
        assert_eq!(of, [(false, OperationStatus::InProgress), (true, OperationStatus::Canceled)]);
    });
}

#[test]
fn a_host_spawns_a_driver_on_any_runtime() {
    fn spawned<T: Send + 'static>(future: T) {
        drop(future);
    }
    block_on(async {
        let sandbox = Sandbox::new().await.unwrap();
        spawned(sandbox.session().driver().run());
    });
}
