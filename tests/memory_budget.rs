//! One budget of memory for all operations of a service, in virtual time.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

#[path = "round_trips/virtual_time.rs"]
mod virtual_time;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use compute_gallery::host::Clock;
use compute_gallery::store::MemoryStore;
use compute_gallery::testkit::{HookedStore, ManualClock, Reaction, Sandbox, noise, raw};
use futures::future::join_all;

const MIB: u64 = 1 << 20;

/// A gallery whose operations have 24 MiB of memory, and a store whose puts of packs take 10 ms.
struct World {
    clock: ManualClock,
    sandbox: Sandbox,
    /// The most packs under way at a time.
    most: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new("2026-01-02T12:00:00Z".parse().unwrap());
        let (now, most) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (of_store, highest) = (clock.clone(), most.clone());
        let store = HookedStore::new(MemoryStore::new(), move |call| {
            let is_pack = call.operation == "put_parts" && call.key.is_some_and(|key| key.as_str().contains("/packs/"));
            let (clock, now, most) = (of_store.clone(), now.clone(), highest.clone());
            async move {
                if is_pack {
                    most.fetch_max(1 + now.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
                    clock.sleep(Duration::from_millis(10)).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                }
                Reaction::Pass
            }
        });
        let builder = Sandbox::builder().regions(["westeurope"]).clock(clock.clone()).store("westeurope", store);
        let builder = builder.service(|builder| builder.memory_bytes(24 * MIB));
        let sandbox = virtual_time::run(&clock, builder.build()).unwrap();
        Self { clock, sandbox, most }
    }

    fn publish(&self, number: u64) -> impl Future<Output = ()> + '_ {
        let disk = raw(noise(number, 4 * MIB as usize));
        let new = self.sandbox.new_version(&format!("1.0.{number}"), "westeurope=1", disk);
        let published = self.sandbox.session().publish(new);
        async move { drop(published.await.unwrap()) }
    }
}

#[test]
fn a_hundred_imports_at_once_share_one_budget() {
    let world = World::new();
    virtual_time::run(&world.clock, join_all((0..100).map(|number| world.publish(number))));
    // An import of 4 MiB takes 12, so two run at a time, each with its one pack of chunks; the root of its index is in its manifest.
    assert_eq!(world.most.load(Ordering::Relaxed), 2);
}

#[test]
fn imports_that_are_alive_and_not_polled_stop_the_others_for_half_a_minute() {
    let world = World::new();
    let mut parked: Vec<_> = (0..2).map(|number| Box::pin(world.publish(number))).collect();
    // They are polled until their pack is on its way, and never again.
    for import in &mut parked {
        while world.most.load(Ordering::Relaxed) < 1 {
            assert!(import.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        world.most.store(0, Ordering::Relaxed);
    }
    let before = world.clock.now();
    virtual_time::run(&world.clock, pin!(world.publish(2)));
    let waited = (world.clock.now() - before).num_seconds();
    assert!((30..=31).contains(&waited), "{waited} s");
    virtual_time::run(&world.clock, join_all(parked));
}
