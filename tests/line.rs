//! The line, not the latency: operations on buckets that are 30 ms away and move 80 MB/s a request, in virtual time.
//!
//! Computing takes no time here, so a figure is what the requests alone take: it is the same on every machine.
//! `cargo test --features testkit --test line -- --nocapture` prints the table, with the ideal beside each.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

#[path = "line/far_store.rs"]
mod far_store;
#[path = "round_trips/virtual_time.rs"]
mod virtual_time;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compute_gallery::host::{Clock, Workers};
use compute_gallery::testkit::{ManualClock, Sandbox, SeededEntropy, noise, raw};
use compute_gallery::*;
use far_store::Line;

/// An operation, its seconds at most, and the round trips of it that wait for one another.
type Limit = (&'static str, f64, u32);

/// At most these seconds.
const LIMITS: &[Limit] = &[
    ("open, empty", 0.44, 7),
    ("publish", 0.8, 4),
    ("replicate to 2 regions x 2", 2.0, 8),
    ("deploy to a file", 0.7, 5),
    ("scrub", 1.5, 6),
    ("replicate the 20th of a chain", 0.5, 10),
    ("status of a chain of 20", 0.2, 3),
    ("collect, nothing to free", 0.8, 4),
    ("open, 40 to 63 entries behind", 0.16, 5),
    ("collect all", 0.8, 12),
];

#[derive(Debug)]
struct Told {
    name: &'static str,
    seconds: f64,
    requests: u64,
    bytes: u64,
}

fn measure<T>(line: &Line, told: &mut Vec<Told>, name: &'static str, work: impl Future<Output = Result<T>>) -> T {
    if std::env::var_os("LINE_TRACE").is_some() {
        println!("--- {name}");
    }
    line.requests.store(0, Ordering::Relaxed);
    line.bytes.store(0, Ordering::Relaxed);
    let before = line.clock.now();
    let done = virtual_time::run(&line.clock, work).unwrap();
    let seconds = (line.clock.now() - before).as_seconds_f64();
    let (requests, bytes) = (line.requests.load(Ordering::Relaxed), line.bytes.load(Ordering::Relaxed));
    told.push(Told { name, seconds, requests, bytes });
    done
}

#[test]
fn operations_take_as_long_as_the_line_and_not_as_the_latency() {
    let clock = ManualClock::new("2026-01-02T12:00:00Z".parse().unwrap());
    let line = Line {
        clock,
        round_trip: Duration::from_millis(30),
        rate: 80_000_000,
        requests: Arc::default(),
        bytes: Arc::default(),
    };
    // 300 MiB of data, of which little compresses, in 512 MiB.
    let mut disk = noise(1, 300 << 20);
    disk.resize(512 << 20, 0);
    let mut told = Vec::new();
    let settings = Sandbox::builder().regions(["westeurope", "eastus"]).clock(line.clock.clone());
    let [catalog, west, east] = [(); 3].map(|()| line.store());
    let settings =
        settings.catalog_store(catalog.clone()).store("westeurope", west.clone()).store("eastus", east.clone());
    measure(&line, &mut told, "open, empty", settings.clone().empty().build());
    let sandbox = virtual_time::run(&line.clock, settings.build()).unwrap();
    let session = sandbox.session();
    let new = |number: u64, disk: &[u8]| {
        sandbox.new_version(&format!("1.0.{number}"), "westeurope=2,eastus=2", raw(disk.to_vec()))
    };
    let version = |number: u64| sandbox.version(&format!("1.0.{number}"));
    // The first version of a region claims its store: some round trips more, once.
    virtual_time::run(&line.clock, session.publish(new(99, &noise(7, 1 << 20)))).unwrap();
    virtual_time::run(&line.clock, session.replicate(version(99))).unwrap();
    measure(&line, &mut told, "publish", session.publish(new(0, &disk)));
    measure(&line, &mut told, "replicate to 2 regions x 2", session.replicate(version(0)));
    let directory = tempfile::tempdir().unwrap();
    let deployment = session.deploy(version(0), "eastus").sync(false).to_path(directory.path().join("disk"));
    measure(&line, &mut told, "deploy to a file", deployment);
    measure(&line, &mut told, "scrub", session.scrub("eastus"));
    for number in 1..=19_u64 {
        let change = noise(100 + number, 100_000);
        let at = (number << 20) as usize;
        disk.get_mut(at..at + change.len()).unwrap().copy_from_slice(&change);
        virtual_time::run(&line.clock, session.publish(new(number, &disk))).unwrap();
        if number == 19 {
            measure(&line, &mut told, "replicate the 20th of a chain", session.replicate(version(number)));
        } else {
            virtual_time::run(&line.clock, session.replicate(version(number))).unwrap();
        }
    }
    measure(&line, &mut told, "status of a chain of 20", session.replication_status(version(19)));
    measure(&line, &mut told, "collect, nothing to free", session.collect());
    // Without the sandbox, whose faults see each deletion: a bucket removes a thousand blobs by one request.
    let builder = GalleryService::builder().allow_all().clock(line.clock.clone()).entropy(SeededEntropy::new(9));
    let builder = builder.workers(Workers::inline()).catalog_store(catalog);
    let behind = builder.region_store("westeurope", west).region_store("eastus", east).open();
    let behind = measure(&line, &mut told, "open, 40 to 63 entries behind", behind).session("test".parse().unwrap());
    virtual_time::run(&line.clock, behind.delete(sandbox.image().gallery()).cascade()).unwrap();
    measure(&line, &mut told, "collect all", behind.collect());

    println!("| operation | s | requests | MB | ideal at 16, s | at most, s |");
    let mut slow = Vec::new();
    for (Told { name, seconds, requests, bytes }, (of, most, trips)) in told.iter().zip(LIMITS) {
        assert_eq!(name, of);
        let ideal = f64::from(*trips) * 0.03 + *bytes as f64 / (16.0 * line.rate as f64);
        println!("| {name} | {seconds:.2} | {requests} | {} | {ideal:.2} | {most:.2} |", bytes / 1_000_000);
        slow.extend((seconds > most).then(|| format!("{name}: {seconds:.2} s, at most {most:.2}")));
    }
    assert!(slow.is_empty(), "{slow:#?}");
}
