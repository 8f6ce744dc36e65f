//! A simulation that repeats: processes, callers that publish, replicate, deploy, read, change, delete, collect and scrub at
//! the same time, over stores behind a network that fails, with crashes, in an order that a seed decides.
//!
//! A step is one call of a store; before and after each, chance decides who goes on.
//!
//! # Faults
//!
//! - A call fails before it takes effect or after; it is throttled; the store is full, or away for a while; its answer never comes, and
//!   its caller has a deadline. A put, copy or deletion arrives late: after its caller gave up, went away or was killed.
//! - Stores are disks, or buckets of a service (`bucket.rs`): with and without versions, copies and deletions of several blobs.
//! - Callers go away or are parked, alive and not polled; processes are killed, and open the stores again.
//! - The power of all stores and processes fails at any moment. Of what is visible and not durable by the store's contract each blob is
//!   lost or not, independently of all others (`disk.rs`).
//! - Zones: one store of three fails and comes back, is lost in the end, and an empty one is adopted in its place.
//! - Clocks differ by minutes or hours, or by up to a year if stores have no times, and jump both ways; hours and days pass at once.
//! - Neighbours (`neighbour.rs`): two more galleries have a prefix each in one of our stores, and race for one more.
//! - A newer build (`newer_build.rs`) commits events that this build skips, and enables a feature that writers or readers must know, and
//!   this build does not.
//! - An operator makes a new catalog over the regions, swaps two of them or mounts a neighbour's, opens a log with a hole or from a backup.
//!
//! # Promises
//!
//! A model that is folded from the log alone (`model.rs`) keeps them at every step, and what must hold at the end is in
//! `convergence.rs`:
//!
//! - an acknowledged change is in the log and stays there, also after a power cut; a refused one is not; an unknown one is one or the
//!   other; no entry is ever changed, and there is no hole;
//! - a record that something needs is there at every moment, in every slot, in most zones if it is zone-redundant, and durable: so
//!   a collection removes only garbage;
//! - what an entry follows and names is durable before it is put: the entry before, a store's owner, all content;
//! - no caller ever gets a wrong byte, and one whose own calls do not fail gets all of them;
//! - a retention ends no sooner than by the stores' time, if they have one;
//! - a caller that is parked stops no other;
//! - who changes anything in a store owns it; a mistake of an operator is refused, and changes nothing;
//! - who does not know a feature commits nothing after it was enabled, deploys everything unless readers must know it, and leaves
//!   everything whole for the newer build;
//! - once the faults stop, everything comes to rest: every version can be made complete and deployed from each replica, and without any
//!   one zone; each neighbour has what it was told that it has; and when all is deleted, nothing is left.
//!
//! # Running
//!
//! A failure prints its seed and the end of its trace. `SIMULATION_SEED=17` runs that seed alone, `SIMULATION_TRACE=1` with
//! all of its trace; `SIMULATION_SEEDS=5000` runs more of them, `SIMULATION_SEEDS=300..400` these, and `SIMULATION_CALLS=5000` makes
//! longer runs. `SIMULATION_STORES=buckets` puts all stores in buckets. `tests/simulation/run.sh` runs many and goes on where it ended. At the
//! end counters tell what has happened: each fault and each operation at least once in a hundred seeds.
#![cfg(feature = "testkit")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail as the test does"
)]

#[path = "simulation/bucket.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod bucket;
#[path = "simulation/client.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod client;
#[path = "simulation/clock.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod clock;
#[path = "simulation/content.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod content;
#[path = "simulation/convergence.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod convergence;
#[path = "simulation/disk.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod disk;
#[path = "simulation/executor.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod executor;
#[path = "simulation/log.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod log;
#[path = "simulation/model.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod model;
#[path = "simulation/neighbour.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod neighbour;
#[path = "simulation/network.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod network;
#[path = "simulation/newer_build.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod newer_build;
#[path = "simulation/operator.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod operator;
#[path = "simulation/world.rs"]
#[expect(unreachable_pub, reason = "a test has no public face")]
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use client::{client, furnish};
use compute_gallery::{ErrorKind, GalleryService};
use executor::Executor;
use futures::executor::block_on;
use world::{CATALOG, PROCESSES, World, builder};

/// Callers of each process.
const CLIENTS: usize = 4;

/// By default so many seeds are run, each until its stores have been asked so many times.
const SEEDS: u64 = 200;
const CALLS: u64 = 1_500;

/// What happens at least once in a hundred seeds: each fault, and the success of each operation.
const HAPPENS: [&str; 44] = [
    "caller that goes away",
    "clock that is set",
    "collect",
    "create a managed image",
    "create a snapshot",
    "delete",
    "deploy",
    "deployed without a zone",
    "fault: another is under way",
    "fault: answer lost",
    "fault: away",
    "fault: bucket is gone",
    "fault: credentials ran out",
    "fault: full",
    "fault: hangs",
    "fault: late",
    "fault: one of several deletions",
    "fault: request lost",
    "fault: slowed down",
    "fault: throttled",
    "fault: unanswered read",
    "fault: unavailable",
    "killed process",
    "late deletion",
    "late put",
    "leap of time",
    "lost to a power cut",
    "mistake of an operator",
    "neighbour's deploy",
    "neighbour's publish",
    "newer build's commit",
    "newer build's feature",
    "parked caller",
    "power cut",
    "publish",
    "read",
    "replicate",
    "restore",
    "scrub",
    "several deleted at once",
    "taken over by a newer build",
    "undone by a power cut",
    "update",
    "zone replaced",
];

/// Turns within which all work ends when nothing fails.
const ENDING: usize = 100_000;

struct Simulation {
    world: Arc<World>,
    executor: Executor,
    services: Vec<Option<GalleryService>>,
    /// Steps in a row in which no task could go on.
    waited: usize,
}

/// Says how to repeat a run that fails.
struct Replay(u64, Arc<World>);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, world) = self;
            let again = format!("SIMULATION_SEED={seed} cargo test --features testkit --test simulation");
            eprintln!("{}\nseed {seed} failed at call {}: {again}", world.trace_tail(), world.calls());
        }
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = Arc::new(World::new(seed));
        let mut simulation = Self { world, executor: Executor::default(), services: vec![None; PROCESSES], waited: 0 };
        (0..simulation.world.processes()).for_each(|process| simulation.start(process));
        simulation
    }

    /// A process opens the stores.
    fn start(&mut self, process: usize) {
        let world = self.world.clone();
        if let Some(name) = process.checked_sub(PROCESSES) {
            return self.executor.spawn(process, Box::pin(neighbour::live(world, neighbour::NAMES[name])));
        }
        self.services[process] = None;
        let open = async move {
            loop {
                match builder(&world, process).open_or_create().await {
                    Ok(service) if furnish(&world, &service).await.is_ok() || world.is_read_only() => {
                        return world.opened(process, service);
                    }
                    Err(error) if error.kind() == ErrorKind::Unsupported && world.is_closed() => return,
                    _ => {}
                }
            }
        };
        self.executor.spawn(process, Box::pin(open));
    }

    fn add_client(&mut self, process: usize) {
        if let Some(service) = &self.services[process] {
            self.executor.spawn(process, Box::pin(client(self.world.clone(), service.clone())));
        }
    }

    /// Lets one task go on, and checks the outcome.
    fn step(&mut self) {
        if self.executor.step(&self.world) {
            self.waited = 0;
        } else {
            // All wait for time to pass; and none for a caller that is parked.
            self.world.pass_time(Duration::from_secs(1));
            self.waited += 1;
            assert!(self.waited < 120 || !self.executor.do_others_wait(), "a parked caller stops the others");
        }
        for (process, service) in self.world.take_opened() {
            self.services[process] = Some(service);
            (0..CLIENTS).for_each(|_| self.add_client(process));
        }
        self.world.deliver_late(false);
        self.look();
    }

    fn look(&self) {
        for (place, key) in self.world.effects() {
            let mut model = self.world.model.lock().unwrap();
            if place == neighbour::CONTESTED {
                continue;
            }
            if place == CATALOG {
                model.catch_up(&self.world);
            } else {
                model.check(&self.world, place, &key);
            }
        }
    }

    /// Crashes, restarts and clocks.
    fn disturb(&mut self) {
        let world = self.world.clone();
        world.pass_time(Duration::from_millis(world.below(200) as u64));
        match world.below(3_000) {
            0..4 => {
                let process = world.below(world.processes());
                world.say(format!("-- process {process} is killed"));
                self.executor.kill(process);
                self.start(process);
                world.count("killed process");
            }
            4..14 => {
                if let Some(process) = self.executor.drop_one(&world) {
                    world.say(format!("-- a caller of process {process} goes away"));
                    world.count("caller that goes away");
                    match self.services.get(process) {
                        Some(Some(_)) => self.add_client(process),
                        Some(None) | None => self.start(process),
                    }
                }
            }
            14..18 => world.outage(),
            18..22 => {
                let minutes = *world.of(&[11, 60, 25 * 60, 8 * 24 * 60]);
                world.say(format!("-- {minutes} minutes pass"));
                world.pass_time(Duration::from_secs(60 * minutes));
                world.count("leap of time");
            }
            26..34 => {
                world.say("-- a caller is parked".to_owned());
                self.executor.park_one(&world);
                world.count("parked caller");
            }
            22..26 if !world.is_closed() => {
                world.mistake();
                world.count("mistake of an operator");
            }
            34..37 if world.conditions.power_fails => {
                (0..world.processes()).for_each(|process| self.executor.kill(process));
                world.power_cut();
                world.model.lock().unwrap().after_power_cut(&world);
                (0..world.processes()).for_each(|process| self.start(process));
                world.count("power cut");
            }
            41..43 if !world.is_read_only() => newer_build::commits(&world),
            37..41 => world.set_clock(world.below(world.processes())),
            _ => {}
        }
    }

    /// Everything that is under way comes to its end, with or without those that began it.
    fn rest(&mut self) {
        self.world.end();
        self.executor.unpark();
        if self.world.one_in(2) {
            (0..self.world.processes()).for_each(|process| self.executor.kill(process));
        }
        self.world.deliver_late(true);
        let mut turns = 0;
        while !self.executor.is_idle() {
            self.step();
            turns += 1;
            assert!(turns < ENDING, "it does not come to rest: {:?}", self.executor.left());
        }
        self.world.deliver_late(true);
        self.look();
    }
}

/// Runs a seed until its stores have been asked `calls` times, then to the end.
fn run(seed: u64, calls: u64) -> Arc<World> {
    let mut simulation = Simulation::new(seed);
    let world = simulation.world.clone();
    let _replay = Replay(seed, world.clone());
    while world.calls() < calls {
        simulation.disturb();
        simulation.step();
    }
    let needed = world.conditions.feature;
    let feature = needed.and_then(|needed| Some((newer_build::enables_a_feature(&world, needed)?, needed)));
    if let Some((_, needed)) = feature {
        world.has_feature(needed);
        while world.calls() < calls + calls / 8 {
            simulation.disturb();
            simulation.step();
        }
    }
    simulation.rest();
    if let Some((number, needed)) = feature {
        block_on(newer_build::is_obeyed(&world, number, needed));
        block_on(newer_build::takes_over(&world, number));
    }
    block_on(convergence::converges(&world));
    if world.processes() > PROCESSES {
        neighbour::NAMES.iter().for_each(|name| block_on(neighbour::is_intact(&world, name)));
    }
    world
}

/// The seeds of this run: `SIMULATION_SEED=17` alone, `SIMULATION_SEEDS=5000` the first so many, `SIMULATION_SEEDS=300..400` those.
fn seeds() -> Range<u64> {
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        let seed = seed.parse().unwrap();
        return seed..seed + 1;
    }
    let seeds = std::env::var("SIMULATION_SEEDS").unwrap_or_else(|_| SEEDS.to_string());
    let (first, end) = seeds.split_once("..").unwrap_or(("0", &seeds));
    first.parse().unwrap()..end.parse().unwrap()
}

/// Runs every other seed, so that two tests share the machine.
fn run_all(remainder: u64) {
    let calls = std::env::var("SIMULATION_CALLS").map_or(CALLS, |calls| calls.parse().unwrap());
    let seeds: Vec<u64> = seeds().filter(|seed| seed % 2 == remainder).collect();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seed in &seeds {
        for (what, count) in run(*seed, calls).counts() {
            *counts.entry(what).or_default() += count;
        }
    }
    eprintln!("{} seeds: {counts:?}", seeds.len());
    // What never happens tests nothing.
    let never: Vec<_> = HAPPENS.into_iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(seeds.len() < 100 || never.is_empty(), "{never:?} never happened");
}

#[test]
fn nothing_is_lost_whatever_happens_in_even_seeds() {
    run_all(0);
}

#[test]
fn nothing_is_lost_whatever_happens_in_odd_seeds() {
    run_all(1);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| run(seed, 300).trace_hash();
    for seed in [1, 2, 3, 4] {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}
