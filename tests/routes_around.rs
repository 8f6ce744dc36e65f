//! Reads that route around trouble, in virtual time: a replica that fails or stalls is read last for a while, and a late read is
//! repeated elsewhere.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

#[path = "round_trips/virtual_time.rs"]
mod virtual_time;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compute_gallery::host::Clock;
use compute_gallery::store::{MemoryStore, RetryPolicy, StoreErrorKind};
use compute_gallery::testkit::{HookedStore, ManualClock, Reaction, Sandbox, noise, raw};

const MIB: usize = 1 << 20;

/// What the store of a region does with reads.
const FINE: u64 = 0;
const FAILS: u64 = 1;
const STALLS: u64 = 2;

/// A version of 64 MiB in two regions; the store of the second behaves as a test wishes.
struct World {
    clock: ManualClock,
    sandbox: Sandbox,
    disk: Vec<u8>,
    /// How the store behaves, from which read on, and the reads so far.
    mood: Arc<AtomicU64>,
    from: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

impl World {
    fn new(retries: RetryPolicy) -> Self {
        let clock = ManualClock::new("2026-01-02T12:00:00Z".parse().unwrap());
        let (mood, from, asked) =
            (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let store = {
            let (clock, mood, from, asked) = (clock.clone(), mood.clone(), from.clone(), asked.clone());
            HookedStore::new(MemoryStore::new(), move |_| {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let mood = if number < from.load(Ordering::Relaxed) { FINE } else { mood.load(Ordering::Relaxed) };
                let clock = clock.clone();
                async move {
                    match mood {
                        FAILS => {
                            clock.sleep(Duration::from_millis(200)).await;
                            Reaction::Fail(StoreErrorKind::Unavailable)
                        }
                        STALLS => {
                            clock.sleep(Duration::from_secs(50)).await;
                            Reaction::Fail(StoreErrorKind::Unavailable)
                        }
                        _ => {
                            clock.sleep(Duration::from_millis(1)).await;
                            Reaction::Pass
                        }
                    }
                }
            })
        };
        let builder = Sandbox::builder().regions(["westeurope", "eastus"]).clock(clock.clone()).store("eastus", store);
        let builder = builder.service(move |builder| builder.retries(retries));
        let disk = noise(1, 64 * MIB);
        let sandbox = virtual_time::run(&clock, async {
            let sandbox = builder.build().await.unwrap();
            let new = sandbox.new_version("1.0.0", "westeurope=1,eastus=1", raw(disk.clone()));
            sandbox.session().publish(new).await.unwrap();
            sandbox.session().replicate(sandbox.version("1.0.0")).await.unwrap();
            sandbox
        });
        Self { clock, sandbox, disk, mood, from, asked }
    }

    /// Lets the store behave so after some more reads.
    fn turns(&self, mood: u64, after: u64) {
        self.asked.store(0, Ordering::Relaxed);
        self.from.store(after, Ordering::Relaxed);
        self.mood.store(mood, Ordering::Relaxed);
    }

    /// Deploys in the second region. Returns the milliseconds that it took, and how often its store was asked.
    fn deploys(&self) -> (u64, u64) {
        let before = self.clock.now();
        self.asked.store(0, Ordering::Relaxed);
        let bytes = virtual_time::run(&self.clock, self.sandbox.deployed("1.0.0", "eastus")).unwrap();
        assert!(bytes == self.disk);
        ((self.clock.now() - before).num_milliseconds() as u64, self.asked.load(Ordering::Relaxed))
    }
}

#[test]
fn a_replica_that_fails_after_200_ms_is_asked_a_few_times_and_again_when_it_has_rested() {
    for retries in [RetryPolicy::none(), RetryPolicy::default()] {
        let world = World::new(retries);
        let (fine, asked) = world.deploys();
        assert!(fine < 100 && asked > 16, "{fine} ms, asked {asked} times");
        world.turns(FAILS, 0);
        let (took, asked) = world.deploys();
        assert!(took <= 1_300 && asked <= 5, "{took} ms, asked {asked} times");
        // It rests, also for the next deployment of this service.
        assert_eq!(world.deploys(), (0, 0));
        world.turns(FINE, 0);
        assert_eq!(world.deploys(), (0, 0));
        world.clock.advance(Duration::from_secs(31));
        let (took, asked) = world.deploys();
        assert!(took < 100 && asked > 16, "{took} ms, asked {asked} times");
    }
}

#[test]
fn a_replica_that_stalls_costs_one_delay() {
    // From the first read on, and in the middle of a deployment with sixteen reads under way.
    for after in [0, 12] {
        let world = World::new(RetryPolicy::default());
        world.turns(STALLS, after);
        let (took, asked) = world.deploys();
        assert!(took <= 1_100, "{took} ms");
        assert!(asked <= after + 17, "asked {asked} times");
        assert_eq!(world.deploys(), (0, 0));
    }
}
