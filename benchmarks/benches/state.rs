//! The state of a catalog in memory: the bytes that are allocated for each version.
//!
//! `cargo bench --bench state -- --versions 1000,10000,1000000`

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::alloc::System;
use std::error::Error;

use cap::Cap;
use compute_gallery::store::MemoryStore;
use futures::executor::block_on;

#[path = "catalog/scale.rs"]
#[allow(dead_code, reason = "the other half is the catalog's bench")]
mod scale;

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

fn main() -> Result<(), Box<dyn Error>> {
    // Built by `cargo test --benches`, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--versions").skip(1);
    let counts = arguments.next().unwrap_or_else(|| "1000,10000,100000".to_owned());
    println!("{:>9} {:>14}", "versions", "bytes each");
    for count in counts.split(',') {
        let (store, count) = (MemoryStore::new(), count.parse::<u32>()?);
        let bytes = block_on(async {
            scale::fill(&store, count).await?;
            let session = scale::open(&store).await?;
            let opened = ALLOCATED.allocated();
            drop(session);
            Ok::<_, Box<dyn Error>>(opened.saturating_sub(ALLOCATED.allocated()))
        })?;
        println!("{count:>9} {:>14}", bytes / count as usize);
    }
    Ok(())
}
