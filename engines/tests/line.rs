//! The line, not the latency: operations on buckets that are 30 ms away and move 80 MB/s a request, beside the ideal and beside the same
//! in memory.
//!
//! `cargo test --release --package compute-gallery-engines --test line -- --ignored --nocapture`
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "it measures the time of a scripted service")]

mod fake;
mod service;

use std::time::{Duration, Instant};

use compute_gallery::host::{SystemClock, SystemEntropy, Workers};
use compute_gallery::store::MemoryStore;
use compute_gallery::testkit::{Sandbox, SandboxBuilder, noise, raw};
use fake::{Fake, Protocol};
use futures::executor::block_on;
use service::Service;

const ROUND_TRIP: Duration = Duration::from_millis(30);
const RATE: u64 = 80_000_000;

/// Its name, the seconds, the requests.
type Step = (&'static str, f64, u64);

struct Line<'a> {
    steps: Vec<Step>,
    requests: Box<dyn Fn() -> u64 + 'a>,
}

impl Line<'_> {
    async fn step<T>(&mut self, name: &'static str, step: impl Future<Output = T>) -> T {
        let (before, started) = ((self.requests)(), Instant::now());
        let done = step.await;
        self.steps.push((name, started.elapsed().as_secs_f64(), (self.requests)() - before));
        done
    }

    async fn run(&mut self, settings: SandboxBuilder, disk: &mut [u8]) {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = self.step("open, empty", settings.build()).await.unwrap();
        let session = sandbox.session();
        let version = sandbox.new_version("1.0.0", "westeurope=2,eastus=2", raw(disk.to_vec()));
        self.step("publish", session.publish(version)).await.unwrap();
        self.step("replicate 2 x 2", session.replicate(sandbox.version("1.0.0"))).await.unwrap();
        let deployment = session.deploy(sandbox.version("1.0.0"), "eastus").to_path(directory.path().join("disk"));
        self.step("deploy to a file", deployment).await.unwrap();
        self.step("scrub", session.scrub("eastus")).await.unwrap();
        for number in 1..=19_u64 {
            let change = noise(100 + number, 100_000);
            for (byte, new) in disk.iter_mut().skip(usize::try_from(number).unwrap() << 20).zip(change) {
                *byte = new;
            }
            let version = sandbox.new_version(&format!("1.0.{number}"), "westeurope=2,eastus=2", raw(disk.to_vec()));
            session.publish(version).await.unwrap();
            let replication = session.replicate(sandbox.version(&format!("1.0.{number}")));
            if number == 19 {
                self.step("replicate the 20th of a chain", replication).await.unwrap();
            } else {
                replication.await.unwrap();
            }
        }
        self.step("status of a chain of 20", session.replication_status(&sandbox.version("1.0.19"))).await.unwrap();
        self.step("collect, nothing to free", session.collect()).await.unwrap();
        let behind = self.step("open, 40 to 63 entries behind", sandbox.reopen().build()).await.unwrap();
        let gallery = behind.image().gallery().clone();
        behind.session().delete(&gallery).cascade().await.unwrap();
        self.step("collect all", behind.session().collect()).await.unwrap();
    }
}

fn settings(sandbox: SandboxBuilder) -> SandboxBuilder {
    sandbox.service(|builder| builder.clock(SystemClock).entropy(SystemEntropy).workers(Workers::default()))
}

#[test]
#[ignore = "a measurement of half a minute in release"]
fn operations_take_about_as_long_as_the_line() {
    // 300 MiB of data, of which little compresses, in 512 MiB.
    let mut disk = noise(1, 300 << 20);
    disk.resize(512 << 20, 0);

    let mut memory = Line { steps: Vec::new(), requests: Box::new(|| 0) };
    let stores = Sandbox::builder().regions(["westeurope", "eastus"]).catalog_store(MemoryStore::new());
    let stores = stores.store("westeurope", MemoryStore::new()).store("eastus", MemoryStore::new());
    block_on(memory.run(settings(stores), &mut disk.clone()));

    let fake = Fake::new();
    fake.latency(ROUND_TRIP);
    fake.rate(RATE);
    let service = Service::of(&fake, Protocol::S3);
    let stores = ["catalog", "west", "east"].map(|bucket| service.open(bucket));
    let watched = stores.clone();
    let requests = move || watched.iter().map(|store| store.requests()).sum();
    let mut line = Line { steps: Vec::new(), requests: Box::new(requests) };
    block_on(line.run(service.gallery_in(stores), &mut disk));

    // Round trips that depend on each other, and MiB that cross the line.
    let ideal = |name: &str| match name {
        "open, empty" => (2, 0),
        "publish" => (4, 300),
        "replicate 2 x 2" => (8, 1_800),
        "deploy to a file" => (5, 300),
        "scrub" => (4, 600),
        "replicate the 20th of a chain" => (8, 1),
        "collect all" => (12, 0),
        "collect, nothing to free" => (6, 0),
        _ => (3, 0),
    };
    println!("| operation | s | requests | ideal at 16, s | in memory, s |");
    for ((name, seconds, requests), (_, inside, _)) in line.steps.iter().zip(&memory.steps) {
        let (trips, mebibytes) = ideal(name);
        let moved = f64::from(mebibytes << 20) / (16.0 * RATE as f64);
        let ideal = f64::from(trips) * ROUND_TRIP.as_secs_f64() + moved;
        println!("| {name} | {seconds:.2} | {requests} | {ideal:.2} | {inside:.2} |");
    }
}
