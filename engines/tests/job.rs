//! The whole job on the scripted service, in each protocol: as it is, with refusals, and with answers that are lost.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

mod fake;
mod service;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compute_gallery::ErrorKind;
use compute_gallery::store::RetryPolicy;
use compute_gallery::testkit::{Sandbox, SandboxBuilder, noise, raw};
use compute_gallery::upkeep::ScrubReport;
use fake::{Fake, Protocol, Trouble};
use futures::executor::block_on;
use service::{Job, Service};

fn whole_job(protocol: Protocol) {
    let fake = Fake::new();
    let service = Service::of(&fake, protocol);
    let stores = ["catalog", "west", "east"].map(|bucket| service.open(bucket));
    let watched = stores.clone();
    let job = Job::new(format!("{protocol:?}"), move || watched.iter().map(|store| store.requests()).sum());
    block_on(job.run(service.gallery_in(stores), 20)).unwrap();
    println!("| {protocol:?} | in all | {} |", service::told(&fake.counted().1));
}

#[test]
fn the_whole_job_in_buckets_of_s3() {
    whole_job(Protocol::S3);
}

#[test]
fn the_whole_job_in_containers_of_azure() {
    whole_job(Protocol::Azure);
}

#[test]
fn the_whole_job_in_buckets_of_google() {
    whole_job(Protocol::Google);
}

fn patient(sandbox: SandboxBuilder) -> SandboxBuilder {
    let policy = RetryPolicy::default().with_pauses(Duration::from_millis(1), Duration::from_millis(20));
    sandbox.service(move |builder| builder.retries(policy))
}

#[test]
fn the_whole_job_while_one_request_in_a_hundred_is_refused() {
    for protocol in fake::PROTOCOLS {
        let fake = Fake::new();
        fake.script(|asked| (asked.number % 100 == 42).then_some(Trouble::RefusedFor(503, "SlowDown", 0)));
        let service = Service::of(&fake, protocol);
        block_on(Job::new("refused", || 0).run(patient(service.gallery()), 4)).unwrap();
    }
}

#[test]
fn the_whole_job_while_answers_are_lost_of_what_was_done() {
    for protocol in fake::PROTOCOLS {
        let fake = Fake::new();
        fake.script(|asked| match asked.number.wrapping_mul(2_654_435_761) >> 7 & 63 {
            7 => Some(Trouble::DoneAndFailed(500, "InternalError")),
            19 => Some(Trouble::DoneAndClosed),
            31 => Some(Trouble::Truncated),
            43 => Some(Trouble::Refused(409, "ConditionalRequestConflict")),
            _ => None,
        });
        let service = Service::of(&fake, protocol);
        block_on(Job::new("lost answers", || 0).run(patient(service.gallery()), 4)).unwrap();
    }
}

/// A gallery whose calls are made once or for a moment.
async fn impatient(service: &Service) -> Sandbox {
    let policy = RetryPolicy::default().with_time(Duration::from_millis(50));
    service.gallery().service(move |builder| builder.retries(policy)).build().await.unwrap()
}

#[test]
fn a_bucket_that_vanishes_stops_the_work_and_loses_nothing() {
    for protocol in fake::PROTOCOLS {
        let fake = Fake::new();
        let service = Service::of(&fake, protocol);
        block_on(async {
            let sandbox = impatient(&service).await;
            let disk = noise(3, 3 << 20);
            sandbox.publish_to("1.0.0", "westeurope=2,eastus=1", disk.clone()).await.unwrap();
            fake.remove_bucket("east");
            let error = sandbox.deployed("1.0.0", "eastus").await.map(drop);
            // Another region has it: either answer is right, and neither may call it lost.
            if let Err(error) = error {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{protocol:?}: {error:#}");
            }
            let scrubbed = sandbox.session().scrub("eastus").await;
            println!("{protocol:?}: a scrub of a bucket that is gone: {scrubbed:?}");
            // What does not answer is neither good nor damaged.
            let looked = |report: &ScrubReport| report.damaged == 0 && report.unreachable == 0;
            assert!(!scrubbed.as_ref().is_ok_and(looked), "{protocol:?}: it looked at nothing");
            if let Ok(report) = scrubbed {
                assert_eq!((report.damaged, report.damaged_versions.len()), (0, 0), "{protocol:?}: {report:?}");
            }
            let version = sandbox.new_version("1.0.1", "westeurope=2,eastus=1", raw(noise(4, 1 << 20)));
            sandbox.session().publish(version).await.unwrap();
            let error = sandbox.session().replicate(sandbox.version("1.0.1")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{protocol:?}: {error:#}");
            // It deletes nothing elsewhere because of what is not seen here.
            let before = fake.keys("west").len();
            let _ = sandbox.session().collect().await;
            assert_eq!(fake.keys("west").len(), before, "{protocol:?}");
            fake.remove_bucket("catalog");
            let gallery = sandbox.image().gallery().clone();
            let error = sandbox.session().delete(&gallery).cascade().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{protocol:?}: {error:#}");
            fake.restore_bucket("catalog");
            fake.restore_bucket("east");
            sandbox.session().replicate(sandbox.version("1.0.1")).await.unwrap();
            assert!(sandbox.deployed("1.0.0", "eastus").await.unwrap() == disk);
            assert!(sandbox.deployed("1.0.1", "eastus").await.unwrap() == noise(4, 1 << 20));
        });
    }
}

#[test]
fn credentials_that_run_out_stop_the_work_and_new_ones_finish_it() {
    for protocol in fake::PROTOCOLS {
        let fake = Fake::new();
        let service = Service::of(&fake, protocol);
        block_on(async {
            let sandbox = impatient(&service).await;
            let disk = noise(5, 40 << 20);
            let version = || sandbox.new_version("1.0.0", "westeurope=2,eastus=1", raw(disk.clone()));
            // They run out in the middle of an upload.
            fake.script(|asked| {
                (asked.bucket == "west" && asked.key.contains("packs/"))
                    .then_some(Trouble::Refused(403, "ExpiredToken"))
            });
            let error = sandbox.session().publish(version()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{protocol:?}: {error:#}");
            assert!(error.to_string().contains("refuses this process's user"), "{error:#}");
            fake.script(|asked| (asked.bucket == "catalog").then_some(Trouble::Refused(401, "AuthenticationFailed")));
            let error = sandbox.session().publish(version()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{protocol:?}: {error:#}");
            fake.script(|_| None);
            sandbox.session().publish(version()).await.unwrap();
            sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap();
            // In the middle of a scrub: nothing counts as damaged, and nothing is written.
            let (before, seen) = (fake.keys("east"), Arc::<AtomicU64>::default());
            fake.script(move |asked| {
                let is_late = asked.bucket == "east" && seen.fetch_add(1, Ordering::Relaxed) > 8;
                is_late.then_some(Trouble::Refused(403, "ExpiredToken"))
            });
            let report = sandbox.session().scrub("eastus").await;
            println!("{protocol:?}: a scrub whose credentials ran out: {report:?}");
            if let Ok(report) = &report {
                assert_eq!((report.damaged, report.mended), (0, 0), "{protocol:?}: {report:?}");
                assert!(report.unreachable > 0, "{protocol:?}: {report:?}");
            }
            fake.script(|_| None);
            assert_eq!(fake.keys("east"), before, "{protocol:?}");
            let report = sandbox.session().scrub("eastus").await.unwrap();
            assert_eq!((report.damaged, report.mended, report.unreachable), (0, 0, 0), "{protocol:?}: {report:?}");
            assert!(sandbox.deployed("1.0.0", "eastus").await.unwrap() == disk);
        });
    }
}

#[test]
fn no_catalog_is_made_on_a_service_that_lacks_conditional_puts() {
    for protocol in fake::PROTOCOLS {
        let fake = Fake::new();
        let service = Service::of(&fake, protocol);
        fake.script(|asked| (asked.method == "PUT").then_some(Trouble::Careless));
        let error = block_on(service.gallery().build()).err().unwrap();
        println!("{error:#}");
        fake.script(|asked| (asked.method == "PUT").then_some(Trouble::Refused(501, "NotImplemented")));
        let error = block_on(service.gallery().build()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{protocol:?}: {error:#}");
        println!("{error:#}");
    }
}
