//! Measures placing and giving back against other structures that find the least loaded replica.
//!
//! `cargo bench --bench placement` prints medians, in nanoseconds per operation. Every contender holds half of the replicas'
//! capacity; each step gives a random VM back and places another. The pool pays for more than the bare structures: a lock,
//! a lease, a strategy behind a trait.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and starts threads")]

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use compute_gallery::model::{Limits, StorageAccountType};
use compute_gallery::placement::{
    Capacity, Lease, PlacementPolicy, PlacementRequest, Pool, Strategy, TwoChoices, Zone,
};

/// Steps per sample, and samples per median.
const STEPS: usize = 2_000;
const SAMPLES: usize = 301;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test --benches` builds it, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    println!("{:>9} {:<14} {:>9} {:>9}   ns, median", "replicas", "", "place", "release");
    for replicas in [6, 10, 100, 1_000, 10_000, 100_000] {
        row(replicas, "pool", || pool(replicas, None::<TwoChoices>));
        row(replicas, "pool, 3 zones", || zoned(replicas));
        row(replicas, "two choices", || pool(replicas, Some(TwoChoices::new(1))));
        row(replicas, "BTreeSet", || Tree::new(replicas));
        row(replicas, "BinaryHeap", || Heap::new(replicas));
    }
    many()?;
    contended()
}

/// A structure that places one VM and gives it back.
trait Contender {
    type Held;
    fn place(&mut self, held: &mut Vec<Self::Held>);
    fn release(&mut self, held: Self::Held);
}

fn row<C: Contender>(replicas: u32, name: &str, new: impl FnOnce() -> C) {
    let mut contender = new();
    let half = replicas as usize * 10;
    let mut held = Vec::with_capacity(half);
    (0..half).for_each(|_| contender.place(&mut held));
    let mut random = Random(7);
    let steps = STEPS.min(half);
    let (mut places, mut releases) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        // The look-up of a lease among a million is not measured.
        let taken: Vec<C::Held> = (0..steps).map(|_| held.swap_remove(random.below(held.len()))).collect();
        let started = Instant::now();
        taken.into_iter().for_each(|one| contender.release(one));
        releases.push(started.elapsed().as_secs_f64() * 1e9 / steps as f64);
        let started = Instant::now();
        (0..steps).for_each(|_| contender.place(&mut held));
        places.push(started.elapsed().as_secs_f64() * 1e9 / steps as f64);
    }
    println!("{replicas:>9} {name:<14} {:>9.1} {:>9.1}", median(places), median(releases));
}

fn pool(replicas: u32, strategy: Option<impl Strategy + 'static>) -> Pool {
    let pool = Pool::default();
    pool.resize(replicas);
    match strategy {
        None => pool,
        Some(strategy) => pool.with_strategy(strategy),
    }
}

impl Contender for Pool {
    type Held = Lease;

    fn place(&mut self, held: &mut Vec<Lease>) {
        if let Ok(lease) = Pool::place(self, PlacementRequest::vm()) {
            held.push(lease);
        }
    }

    fn release(&mut self, lease: Lease) {
        drop(lease);
    }
}

fn zoned(replicas: u32) -> Pool {
    let pool = pool(0, None::<TwoChoices>);
    (0..replicas).for_each(|replica| _ = pool.add_replica(Some(Zone::new(1 + (replica % 3) as u16))));
    pool
}

/// The bare structure, in one thread.
struct Tree {
    by_load: BTreeSet<(u32, u32)>,
    loads: Vec<u32>,
}

impl Tree {
    fn new(replicas: u32) -> Self {
        let by_load = (0..replicas).map(|replica| (0, replica)).collect();
        Self { by_load, loads: vec![0; replicas as usize] }
    }
}

impl Contender for Tree {
    type Held = u32;

    fn place(&mut self, held: &mut Vec<u32>) {
        let Some((load, replica)) = self.by_load.pop_first() else { return };
        let Some(now) = self.loads.get_mut(replica as usize) else { return };
        self.by_load.insert((load + 1, replica));
        *now += 1;
        held.push(replica);
    }

    fn release(&mut self, replica: u32) {
        let Some(load) = self.loads.get_mut(replica as usize) else { return };
        self.by_load.remove(&(*load, replica));
        *load -= 1;
        self.by_load.insert((*load, replica));
    }
}

/// The bare structure, in one thread. Its entries can't be changed, so outdated ones stay until they come up.
struct Heap {
    by_load: BinaryHeap<Reverse<(u32, u32)>>,
    loads: Vec<u32>,
}

impl Heap {
    fn new(replicas: u32) -> Self {
        let by_load = (0..replicas).map(|replica| Reverse((0, replica))).collect();
        Self { by_load, loads: vec![0; replicas as usize] }
    }
}

impl Contender for Heap {
    type Held = u32;

    fn place(&mut self, held: &mut Vec<u32>) {
        while let Some(Reverse((load, replica))) = self.by_load.pop() {
            let Some(now) = self.loads.get_mut(replica as usize) else { return };
            if *now == load {
                *now += 1;
                self.by_load.push(Reverse((load + 1, replica)));
                held.push(replica);
                return;
            }
        }
    }

    fn release(&mut self, replica: u32) {
        let Some(load) = self.loads.get_mut(replica as usize) else { return };
        *load -= 1;
        self.by_load.push(Reverse((*load, replica)));
    }
}

/// A million VMs over a thousand replicas.
fn many() -> Result<(), Box<dyn Error>> {
    let policy = PlacementPolicy::default().with_capacity(Capacity::new(1_000, 1_000));
    let pool = Pool::new(&policy, &Limits::default(), StorageAccountType::StandardLrs);
    pool.resize(1_000);
    for vms in [1_000, 1_000_000] {
        let mut times = Vec::new();
        for _ in 0..SAMPLES {
            let started = Instant::now();
            let lease = pool.place_vms(black_box(vms))?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
            drop(lease);
        }
        println!("place_vms({vms}) over 1,000 replicas: {:.1} us, median", median(times));
    }
    Ok(())
}

/// Two threads on one pool.
fn contended() -> Result<(), Box<dyn Error>> {
    const EACH: usize = 500_000;
    let pool = pool(1_000, None::<TwoChoices>);
    let mut rates = Vec::new();
    for _ in 0..9 {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        drop(black_box(pool.place(PlacementRequest::vm())));
                    }
                });
            }
        });
        rates.push(2.0 * EACH as f64 / started.elapsed().as_secs_f64() / 1e6);
    }
    println!("2 threads, place and release: {:.1} million placements a second in all, median", median(rates));
    Ok(())
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
