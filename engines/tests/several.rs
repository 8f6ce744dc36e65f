//! Several processes on one bucket of the scripted service.

mod fake;
mod processes;
mod service;

use std::time::Duration;

use fake::{Fake, Protocol, Trouble};
use processes::{commit_at_once, take_over};
use service::Service;

/// Runs a test's processes on a service whose answers take 10 ms.
fn race(test: &str, protocol: Protocol, processes: usize, each: usize) {
    let fake = Fake::new();
    fake.latency(Duration::from_millis(10));
    commit_at_once(test, || Service::of(&fake, protocol), processes, each);
}

#[test]
fn two_processes_commit_to_a_bucket_of_s3() {
    race("two_processes_commit_to_a_bucket_of_s3", Protocol::S3, 2, 30);
}

#[test]
fn two_processes_commit_to_a_container_of_azure() {
    race("two_processes_commit_to_a_container_of_azure", Protocol::Azure, 2, 30);
}

#[test]
fn two_processes_commit_to_a_bucket_of_google() {
    race("two_processes_commit_to_a_bucket_of_google", Protocol::Google, 2, 30);
}

#[test]
fn sixteen_processes_commit_to_a_bucket() {
    race("sixteen_processes_commit_to_a_bucket", Protocol::S3, 16, 8);
}

/// A single writer makes one request a commit, and now and then a checkpoint.
#[test]
fn one_process_commits_by_one_request_each() {
    race("one_process_commits_by_one_request_each", Protocol::S3, 1, 60);
}

fn take_over_on(test: &str, protocol: Protocol) {
    let fake = Fake::new();
    fake.script(|asked| {
        let is_pack = asked.method == "PUT" && asked.key.contains("/packs/");
        is_pack.then_some(Trouble::Slow(Duration::from_millis(50 * (1 + asked.number % 4))))
    });
    take_over(test, || Service::of(&fake, protocol), 96);
}

#[test]
fn a_publish_that_was_killed_is_taken_up_on_s3() {
    take_over_on("a_publish_that_was_killed_is_taken_up_on_s3", Protocol::S3);
}

#[test]
fn a_publish_that_was_killed_is_taken_up_on_azure() {
    take_over_on("a_publish_that_was_killed_is_taken_up_on_azure", Protocol::Azure);
}
