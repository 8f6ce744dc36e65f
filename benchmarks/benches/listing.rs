//! Listings of a store in a directory: all blobs, in one directory and spread over 256.
//!
//! `cargo bench --bench listing -- [COUNT ...]`, by default 10,000 and 100,000. The blobs are empty files, made without the store
//! beside the build; the listing's time is the best of three, the directories being in memory.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first thing that is wrong")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fs::{File, create_dir};
use std::path::Path;
use std::time::Instant;

use compute_gallery::store::{BlobStoreExt, Durability, FsStore};
use futures::executor::block_on;

fn main() {
    // Built by `cargo test --benches`, too; only `cargo bench` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![10_000, 100_000];
    }
    for count in counts {
        for directories in [1, 256] {
            let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let store = FsStore::create_with(root.path(), Durability::LostOnPowerCut).unwrap();
            fill(root.path(), count, directories);
            let rounds = if count > 100_000 { 1 } else { 3 };
            let times = (0..rounds).map(|_| {
                let start = Instant::now();
                assert_eq!(block_on(store.list_all(None)).unwrap().len(), count);
                start.elapsed()
            });
            let best = times.min().unwrap().as_secs_f64();
            println!("{count} blobs in {directories} directories: {best:.3} s");
        }
    }
}

fn fill(root: &Path, count: usize, directories: usize) {
    for directory in 0..directories {
        create_dir(root.join(format!("{directory:02x}"))).unwrap();
    }
    // In an order that is not that of the names.
    for number in 0..count {
        let name = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        File::create(root.join(format!("{:02x}/{name:016x}", number % directories))).unwrap();
    }
}
