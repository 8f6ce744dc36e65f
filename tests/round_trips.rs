//! Budgets of round trips: the store calls of each public operation, and how many of them wait for one another.
//!
//! Time is virtual. Each call of a store takes one unit and computing takes none, so the units that an operation takes are
//! the round trips on its critical path. `persist` is free, as it is in a bucket, and counted apart. The table is golden: a
//! number that gets worse fails the test, and one that gets better does, too, until it stands in the table.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail as the test does")]

#[path = "round_trips/virtual_time.rs"]
mod virtual_time;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use compute_gallery::host::Clock;
use compute_gallery::model::*;
use compute_gallery::publish::NewManagedImage;
use compute_gallery::store::{Capabilities, MemoryStore};
use compute_gallery::testkit::{HookedStore, ManualClock, Reaction, Sandbox, noise, raw, region};
use compute_gallery::*;

/// An operation, its calls, its round trips, and its calls of `persist`.
type Line = (&'static str, u64, u64, u64);

const MIB: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
const VERSIONS: usize = 60;

#[rustfmt::skip]
const SINGLE: &[Line] = &[
    ("open, empty", 14, 6, 1),
    ("open, 27 entries", 41, 6, 1),
    ("refresh, nothing new", 1, 1, 0),
    ("a change of the catalog", 1, 1, 0),
    ("publish 64 MiB", 17, 10, 3),
    ("publish, 1 MiB changed", 21, 7, 3),
    ("publish, unchanged", 21, 6, 3),
    ("publish from a managed image", 7, 3, 0),
    ("replicate 64 MiB to 2 slots", 31, 11, 6),
    ("replicate 1 MiB of news", 22, 8, 10),
    ("replication status", 14, 3, 0),
    ("deploy 64 MiB", 23, 4, 0),
    ("open a reader", 2, 2, 0),
    ("its first 4 KiB", 6, 2, 0),
    ("its next 4 KiB", 1, 1, 0),
    ("scrub 64 MiB", 37, 4, 0),
    ("collect, one of 4 versions", 36, 11, 0),
    ("deploy 64 MiB, compressed", 29, 6, 0),
    ("collect, nothing, all compressed", 14, 3, 0),
];

#[rustfmt::skip]
const CHAIN: &[Line] = &[
    ("replicate 64 KiB, chain of 60", 19, 8, 242),
    ("replication status, chain of 60", 8, 3, 0),
    ("deploy 24 MiB, newest of 60", 72, 9, 0),
    ("collect, nothing in 60 versions", 128, 6, 0),
    ("deploy 24 MiB, newest of 60, merged", 17, 9, 0),
];

/// The time of a call.
const UNIT: Duration = Duration::from_millis(1);

/// What the stores of a gallery were asked.
#[derive(Clone, Debug)]
struct Meter {
    clock: ManualClock,
    is_on: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    persists: Arc<AtomicU64>,
}

impl Meter {
    fn new() -> Self {
        let clock = ManualClock::new("2026-01-02T12:00:00Z".parse().unwrap());
        Self { clock, is_on: Arc::default(), calls: Arc::default(), persists: Arc::default() }
    }

    fn store(&self) -> HookedStore {
        let meter = self.clone();
        let store = HookedStore::new(MemoryStore::new(), move |call| {
            let meter = meter.clone();
            async move {
                match meter.is_on.load(Ordering::Relaxed) {
                    true if call.operation == "persist" => drop(meter.persists.fetch_add(1, Ordering::Relaxed)),
                    true => {
                        meter.calls.fetch_add(1, Ordering::Relaxed);
                        if std::env::var_os("ROUND_TRIPS_TRACE").is_some() {
                            println!("{:>4} {} {:?}", meter.now(), call.operation, call.key.map(|key| key.to_string()));
                        }
                        meter.clock.sleep(UNIT).await;
                    }
                    false => {}
                }
                Reaction::Pass
            }
        });
        // As a bucket.
        store.with_capabilities(Capabilities::default().with_remounts(false))
    }

    fn now(&self) -> i64 {
        self.clock.now().timestamp_millis() % 1_000_000
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        virtual_time::run(&self.clock, work)
    }

    /// Runs and measures `work`.
    fn measure<T>(&self, told: &mut Vec<Line>, name: &'static str, work: impl Future<Output = Result<T>>) -> T {
        let before = self.clock.now();
        self.calls.store(0, Ordering::Relaxed);
        self.persists.store(0, Ordering::Relaxed);
        if std::env::var_os("ROUND_TRIPS_TRACE").is_some() {
            println!("--- {name}");
        }
        self.is_on.store(true, Ordering::Relaxed);
        let done = self.run(work);
        self.is_on.store(false, Ordering::Relaxed);
        let trips = (self.clock.now() - before).num_milliseconds() as u64;
        told.push((name, self.calls.load(Ordering::Relaxed), trips, self.persists.load(Ordering::Relaxed)));
        done.unwrap_or_else(|error| panic!("{name}: {error:#}"))
    }

    /// A gallery with a store for the catalog, and one for each of two regions.
    fn sandbox(&self) -> testkit::SandboxBuilder {
        let builder = Sandbox::builder().regions(["westeurope", "eastus"]).clock(self.clock.clone());
        builder.catalog_store(self.store()).store("westeurope", self.store()).store("eastus", self.store())
    }
}

/// Compares with the golden numbers.
fn compare(told: &[Line], golden: &[Line]) {
    let lines = |lines: &[Line]| {
        let line = |(name, calls, trips, persists): &Line| format!("    ({name:?}, {calls}, {trips}, {persists}),\n");
        lines.iter().map(line).collect::<String>()
    };
    assert!(told == golden, "the numbers are now\n{}and the table has\n{}", lines(told), lines(golden));
}

async fn publish(sandbox: &Sandbox, number: &str, disk: Vec<u8>) -> Result<()> {
    let new = sandbox.new_version(number, "westeurope=1,eastus=2", raw(disk));
    sandbox.session().publish(new).await.map(drop)
}

#[test]
fn the_round_trips_of_each_operation_are_what_the_table_says() {
    let (meter, mut told) = (Meter::new(), Vec::new());
    let empty = meter.run(meter.sandbox().empty().build()).unwrap();
    meter.measure(&mut told, "open, empty", empty.reopen().build());
    let sandbox = meter.run(meter.sandbox().build()).unwrap();
    let session = sandbox.session();
    let gallery = Gallery::new(sandbox.image().gallery().clone(), region("westeurope"));
    let tagged = |number: usize| {
        let tags = Tags::new([("n".to_owned(), number.to_string())].into()).unwrap();
        session.update_gallery(gallery.clone().with_tags(tags))
    };
    for number in 0..25 {
        meter.run(tagged(number)).unwrap();
    }
    meter.measure(&mut told, "open, 27 entries", sandbox.reopen().build());
    meter.measure(&mut told, "refresh, nothing new", session.refresh());
    meter.measure(&mut told, "a change of the catalog", tagged(30));

    let disk = noise(1, 64 * MIB);
    let mut changed = disk.clone();
    changed.get_mut(..MIB).unwrap().copy_from_slice(&noise(2, MIB));
    meter.measure(&mut told, "publish 64 MiB", publish(&sandbox, "1.0.0", disk));
    meter.measure(&mut told, "publish, 1 MiB changed", publish(&sandbox, "1.0.1", changed.clone()));
    meter.measure(&mut told, "publish, unchanged", publish(&sandbox, "1.0.2", changed));
    let image: ManagedImageId =
        "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse().unwrap();
    let new = NewManagedImage::new(image.clone(), region("westeurope"), OsType::Linux, raw(noise(3, MIB)));
    meter.run(session.create_managed_image(new)).unwrap();
    let of_image = session.publish(sandbox.new_version("1.0.3", "westeurope=1,eastus=2", image));
    meter.measure(&mut told, "publish from a managed image", of_image);

    let version = |number: &str| sandbox.version(number);
    meter.measure(&mut told, "replicate 64 MiB to 2 slots", session.replicate(version("1.0.0")));
    meter.measure(&mut told, "replicate 1 MiB of news", session.replicate(version("1.0.1")));
    meter.measure(&mut told, "replication status", session.replication_status(version("1.0.1")));
    meter.run(session.replicate(version("1.0.2"))).unwrap();
    meter.run(session.replicate(version("1.0.3"))).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let deploy = || session.deploy(version("1.0.0"), "eastus");
    meter.measure(&mut told, "deploy 64 MiB", deploy().sync(false).to_path(&path));
    let reader = meter.measure(&mut told, "open a reader", deploy().open());
    meter.measure(&mut told, "its first 4 KiB", reader.read_at(0..4096));
    meter.measure(&mut told, "its next 4 KiB", reader.read_at(CHUNK as u64..CHUNK as u64 + 4096));

    meter.measure(&mut told, "scrub 64 MiB", session.scrub("westeurope"));
    meter.run(session.delete(version("1.0.1"))).unwrap();
    meter.measure(&mut told, "collect, one of 4 versions", session.collect());
    meter.run(session.compress()).unwrap();
    meter.measure(&mut told, "deploy 64 MiB, compressed", deploy().sync(false).to_path(&path));
    meter.measure(&mut told, "collect, nothing, all compressed", session.collect());
    compare(&told, SINGLE);
}

#[test]
fn a_chain_of_sixty_versions_takes_hardly_more_round_trips_than_one() {
    let (meter, mut told) = (Meter::new(), Vec::new());
    let sandbox = meter.run(meter.sandbox().build()).unwrap();
    let session = sandbox.session();
    let mut disk = noise(1, 24 * MIB);
    let version = |number: usize| sandbox.version(&format!("1.0.{number}"));
    for number in 0..VERSIONS {
        let at = number * 6 * CHUNK;
        disk.get_mut(at..at + CHUNK).unwrap().copy_from_slice(&noise(2 + number as u64, CHUNK));
        meter.run(publish(&sandbox, &format!("1.0.{number}"), disk.clone())).unwrap();
        if number + 1 < VERSIONS {
            meter.run(session.replicate(version(number))).unwrap();
        }
    }
    let newest = || version(VERSIONS - 1);
    meter.measure(&mut told, "replicate 64 KiB, chain of 60", session.replicate(newest()));
    meter.measure(&mut told, "replication status, chain of 60", session.replication_status(newest()));
    let folder = tempfile::tempdir().unwrap();
    let deploy = || session.deploy(newest(), "eastus").sync(false).to_path(folder.path().join("disk"));
    meter.measure(&mut told, "deploy 24 MiB, newest of 60", deploy());
    let report = meter.measure(&mut told, "collect, nothing in 60 versions", session.collect());
    assert_eq!(report.bytes(), 0);
    meter.run(session.compress()).unwrap();
    meter.measure(&mut told, "deploy 24 MiB, newest of 60, merged", deploy());
    compare(&told, CHAIN);
}
