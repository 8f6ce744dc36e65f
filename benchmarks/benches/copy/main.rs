//! Copies, replications and whole disks beside the tools that one would use instead, and the memory that each operation
//! takes: on the same disks, in the same run, in turns. Prints the tables of `docs/benchmarks.md`.
//!
//! `cargo bench --bench copy -- [--rounds N] [--in DIR] [DISK.raw ...]`. Without a disk it makes one up: 4 GiB, sparse,
//! with 256 MiB of data. Stores and copies are made in the target directory, or in the directory that `--in` names: to
//! measure another file system. A tool that is not there is said to be absent.
//!
//! The page cache is warm. Every step begins with nothing left to be written back and as much memory just freed as it
//! will fill.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod border;
mod copies;
mod disks;
mod gallery;
mod peak;
mod peers;
mod table;

use std::error::Error;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lexopt::ValueExt;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let mut arguments = lexopt::Parser::from_env();
    let (mut rounds, mut place, mut disks) = (7, PathBuf::from(env!("CARGO_TARGET_TMPDIR")), Vec::new());
    while let Some(argument) = arguments.next()? {
        match argument {
            // What cargo says to every benchmark.
            lexopt::Arg::Long("bench") => {}
            lexopt::Arg::Long("rounds") => rounds = arguments.value()?.parse()?,
            lexopt::Arg::Long("in") => place = arguments.value()?.into(),
            lexopt::Arg::Long("copy-in-memory") => return copies::child(&arguments.value()?.string()?),
            lexopt::Arg::Long("peak-of") => {
                let [operation, disk, store] = <[_; 3]>::try_from(arguments.values()?.collect::<Vec<_>>())
                    .map_err(|_others| "an operation, a disk and a store")?;
                return peak::child(&operation.string()?, Path::new(&disk), Path::new(&store));
            }
            lexopt::Arg::Value(disk) => disks.push(PathBuf::from(disk)),
            other => return Err(other.unexpected().into()),
        }
    }
    let place = tempfile::tempdir_in(place)?;
    if disks.is_empty() {
        disks.push(place.path().join("made-up.raw"));
        make_disk(&place.path().join("made-up.raw"))?;
    }
    peers::describe(place.path())?;
    copies::in_memory(rounds)?;
    for disk in &disks {
        border::measure(disk, place.path(), rounds)?;
        copies::in_files(disk, place.path(), rounds)?;
        disks::measure(disk, place.path(), rounds)?;
        peak::measure(disk, place.path())?;
    }
    Ok(())
}

/// A sparse disk of 4 GiB with 256 MiB of data that no tool can make smaller, the same in every run.
fn make_disk(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.set_len(4 << 30)?;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut block = vec![0_u8; 1 << 20];
    for number in 0..256 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.seek(SeekFrom::Start(number * (16 << 20)))?;
        file.write_all(&block)?;
    }
    Ok(())
}
