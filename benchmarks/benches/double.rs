//! What the double for tests takes to start, in time and memory, and what a simulated rollout takes.
//!
//! `cargo bench -p compute-gallery-benchmarks --features testkit --bench double`: prints medians.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::alloc::System;
use std::error::Error;
use std::time::Instant;

use cap::Cap;
use compute_gallery::disk::DiskSource;
use compute_gallery::testkit::Sandbox;
use futures::executor::block_on;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const ROUNDS: usize = 101;

fn main() -> Result<(), Box<dyn Error>> {
    // Built by `cargo test --benches`, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let (mut times, mut bytes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = ALLOCATOR.allocated();
        let started = Instant::now();
        let sandbox = block_on(Sandbox::new())?;
        times.push(started.elapsed());
        bytes.push(ALLOCATOR.allocated().saturating_sub(before));
        drop(sandbox);
    }
    println!("start: {:?}, {} KiB", median(&mut times), median(&mut bytes) / 1024);

    // 30 GiB to two regions in 4 hours each.
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        block_on(async {
            let rate = (30 << 30) / (4 * 3_600);
            let sandbox = Sandbox::builder().bytes_per_second("eastus", rate).bytes_per_second("northeurope", rate);
            let sandbox = sandbox.build().await?;
            let new = sandbox.new_version("1.0.0", "westeurope,eastus,northeurope", DiskSource::zeros(30 << 30)?);
            sandbox.session().publish(new).await?;
            let began = sandbox.now();
            sandbox.run_until_idle().await?;
            assert!((sandbox.now() - began).num_minutes() >= 239);
            Ok::<(), Box<dyn Error>>(())
        })?;
        times.push(started.elapsed());
    }
    println!("a rollout of 4 simulated hours: {:?}", median(&mut times));
    Ok(())
}

fn median<T: Ord + Copy + Default>(values: &mut [T]) -> T {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
