//! The gallery on servers: moto for S3, azurite for Azure. `engines/servers` starts them, and runs these tests.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "servers take real time")]

mod fake;
mod processes;
mod service;

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use compute_gallery::host::{SystemClock, SystemEntropy};
use compute_gallery::store::{BlobStore, PutMode, RetryPolicy, Retrying, StoreErrorKind};
use compute_gallery::testkit::{HookedStore, Reaction, conformance};
use fake::Protocol;
use futures::executor::block_on;
use processes::{commit_at_once, take_over};
use service::{Job, Service};

/// The server of a protocol.
fn server(protocol: Protocol, test: &str) -> Service {
    Service::servers(test).into_iter().find(|service| service.protocol == protocol).unwrap()
}

fn contract(protocol: Protocol) {
    let service = server(protocol, "contract");
    let (number, started) = (AtomicU64::new(0), Instant::now());
    let stores = std::sync::Mutex::new(Vec::new());
    let report = block_on(conformance::run(|| {
        // Each promise has a prefix of its own.
        let store = service.open_at("west", &format!("contract/{}", number.fetch_add(1, Ordering::Relaxed)));
        stores.lock().unwrap().push(store.clone());
        // Moto answers some of the overwrites that race with 500: the gallery repeats those.
        ready(Retrying::new(store, RetryPolicy::default(), Arc::new(SystemClock), Arc::new(SystemEntropy)))
    }));
    let requests: u64 = stores.lock().unwrap().iter().map(|store| store.requests()).sum();
    let (promises, seconds) = (report.passed.len(), started.elapsed().as_secs_f64());
    println!("| {protocol:?} | contract | {promises} promises | {requests} requests | {seconds:.1} s |");
    report.assert_all_passed();
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn moto_keeps_the_contract() {
    contract(Protocol::S3);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn azurite_keeps_the_contract() {
    contract(Protocol::Azure);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn what_the_servers_have_is_found_by_a_look() {
    for service in Service::servers("look") {
        let store = block_on(service.open("west").probed(&SystemEntropy)).unwrap();
        println!("| {:?} | {:?} |", service.protocol, store.capabilities());
    }
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn the_whole_job() {
    for service in Service::servers("job") {
        let stores = ["catalog", "west", "east"].map(|bucket| service.open(bucket));
        let watched = stores.clone();
        let job =
            Job::new(format!("{:?}", service.protocol), move || watched.iter().map(|store| store.requests()).sum());
        block_on(job.run(service.gallery_in(stores), 40)).unwrap();
    }
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn the_whole_job_while_one_call_in_a_hundred_is_refused() {
    for service in Service::servers("refused") {
        let number = Arc::new(AtomicU64::new(0));
        let stores = ["catalog", "west", "east"].map(|bucket| {
            let number = number.clone();
            HookedStore::new(service.open(bucket), move |_| {
                let is_refused = number.fetch_add(1, Ordering::Relaxed) % 100 == 42;
                ready(if is_refused {
                    Reaction::Fail(StoreErrorKind::Throttled { after: None })
                } else {
                    Reaction::Pass
                })
            })
        });
        let policy = RetryPolicy::default();
        let sandbox = service.gallery_in(stores).service(move |builder| builder.retries(policy));
        block_on(Job::new("refused", || 0).run(sandbox, 4)).unwrap();
    }
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn one_process_commits_to_moto() {
    commit_at_once("one_process_commits_to_moto", || server(Protocol::S3, "commits1"), 1, 60);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn two_processes_commit_to_moto() {
    commit_at_once("two_processes_commit_to_moto", || server(Protocol::S3, "commits2"), 2, 60);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn sixteen_processes_commit_to_moto() {
    commit_at_once("sixteen_processes_commit_to_moto", || server(Protocol::S3, "commits16"), 16, 10);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn one_process_commits_to_azurite() {
    commit_at_once("one_process_commits_to_azurite", || server(Protocol::Azure, "commits1"), 1, 60);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn two_processes_commit_to_azurite() {
    commit_at_once("two_processes_commit_to_azurite", || server(Protocol::Azure, "commits2"), 2, 60);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn sixteen_processes_commit_to_azurite() {
    commit_at_once("sixteen_processes_commit_to_azurite", || server(Protocol::Azure, "commits16"), 16, 10);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn a_publish_that_was_killed_is_taken_up_on_moto() {
    take_over("a_publish_that_was_killed_is_taken_up_on_moto", || server(Protocol::S3, "killed"), 256);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn a_publish_that_was_killed_is_taken_up_on_azurite() {
    take_over("a_publish_that_was_killed_is_taken_up_on_azurite", || server(Protocol::Azure, "killed"), 256);
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn a_bucket_that_does_not_exist_is_the_wrong_store() {
    for service in Service::servers("absent") {
        let store = service.open("no-such-bucket");
        let key = "a".parse().unwrap();
        for range in [None, Some(0..1)] {
            let error = block_on(store.get(&key, range)).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::WrongStore, "{:?}: {error:#}", service.protocol);
        }
        let error = block_on(store.head(&key)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::WrongStore, "{:?}: {error:#}", service.protocol);
        let error = block_on(store.put(&key, "x".into(), PutMode::Create)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::WrongStore, "{:?}: {error:#}", service.protocol);
        let error = block_on(store.list(None, None, 1)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::WrongStore, "{:?}: {error:#}", service.protocol);
    }
}

#[test]
#[ignore = "needs the servers of `engines/servers`"]
fn moto_copies_between_buckets() {
    let service = server(Protocol::S3, "copies");
    let (west, east) = (service.open("west"), service.open("east"));
    let (from, to) = ("a/b".parse().unwrap(), "c".parse().unwrap());
    block_on(west.put(&from, "bytes".into(), PutMode::Create)).unwrap();
    block_on(east.copy_from(&west, &from, &to, PutMode::Overwrite)).unwrap();
    assert_eq!(block_on(east.get(&to, None)).unwrap(), "bytes");
}
