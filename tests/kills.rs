//! A hundred processes are killed in the middle of their work, one after another on one store: every change acknowledged to any
//! of them is there afterwards, a change under way is made or not, and the next one goes on.
//!
//! The test binary runs itself again for the processes. Each prints the operations that it begins and those that are
//! acknowledged, and a line when it has come to the store call that its seed has chosen. There it stands still or goes on, and
//! is killed with SIGKILL. `KILLS=5000` makes a longer run.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::TimeDelta;
use compute_gallery::host::{Clock, SystemClock, SystemEntropy, Workers};
use compute_gallery::store::*;
use compute_gallery::testkit::{HookedStore, ManualClock, Reaction, Sandbox, SandboxBuilder, SeededEntropy, raw};
use futures::executor::block_on;

const STORE: &str = "COMPUTE_GALLERY_TEST_STORE";
const SEED: &str = "COMPUTE_GALLERY_TEST_SEED";
const TEST: &str = "acknowledged_changes_survive_a_hundred_kills";

/// Versions 1.0.0, 1.0.1, … that are made and deleted over and over.
const VERSIONS: usize = 4;

/// The store calls within which a process is killed.
const CALLS: usize = 200;

fn version(number: usize) -> String {
    format!("1.0.{number}")
}

/// A disk of three chunks, of which the last is another for each content.
fn disk(content: u64) -> Vec<u8> {
    let byte = |at: usize| if at < 2 << 16 { at % 251 + at / 4096 } else { at % 241 + content as usize } as u8;
    (0..3 << 16).map(byte).collect()
}

/// A process as in production: its clock, randomness and threads are the system's.
fn settings(store: impl BlobStore) -> SandboxBuilder {
    let sandbox = Sandbox::builder().regions(["westeurope", "eastus"]).one_store(store);
    sandbox.service(|builder| builder.clock(SystemClock).entropy(SystemEntropy).workers(Workers::default()))
}

async fn open(directory: &Path) -> Sandbox {
    settings(files(directory)).empty().build().await.unwrap()
}

fn files(directory: &Path) -> FsStore {
    FsStore::open_or_create(directory.join("store")).unwrap()
}

/// Says when its call number `last` has come, and stands still there or goes on.
fn doomed(store: FsStore, last: u64, stands_still: bool) -> HookedStore {
    let calls = Arc::new(AtomicU64::new(0));
    HookedStore::new(store, move |_| {
        let is_last = calls.fetch_add(1, Ordering::Relaxed) == last;
        async move {
            if is_last {
                println!("\nnow");
                if stands_still {
                    futures::future::pending::<()>().await;
                }
            }
            Reaction::Pass
        }
    })
}

/// In the process that is killed: publishes, replicates, deletes and collects until then.
async fn work(directory: &Path, seed: u64) {
    let chance = SeededEntropy::new(seed);
    let (last, stands_still) = (chance.below(CALLS) as u64, chance.below(2) == 0);
    let sandbox = settings(doomed(files(directory), last, stands_still)).empty().build().await.unwrap();
    let session = sandbox.session();
    loop {
        let number = chance.below(VERSIONS);
        let there = session.refresh().await.unwrap().image_version(sandbox.version(&version(number))).is_ok();
        match chance.below(4) {
            0 if there => {
                println!("\nbegins delete {number}");
                session.delete(sandbox.version(&version(number))).await.unwrap();
                println!("\ndone delete {number}");
            }
            _ if there => {
                session.replicate(sandbox.version(&version(number))).await.unwrap();
                println!("\ndone replicate {number}");
            }
            0 => {
                session.collect().await.unwrap();
            }
            _ => {
                let content = chance.below(1 << 32) as u64;
                println!("\nbegins publish {number} {content}");
                let new = sandbox.new_version(&version(number), "westeurope=2,eastus=1", raw(disk(content)));
                session.publish(new).await.unwrap();
                println!("\ndone publish {number} {content}");
            }
        }
    }
}

/// What the processes have printed about a version.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Said {
    /// Its content after the last acknowledged change.
    content: Option<u64>,
    /// Whether all its replicas are there.
    complete: bool,
    /// A change begun since and not acknowledged: a new content, or none for a deletion.
    begun: Option<Option<u64>>,
}

/// Runs one process and kills it; the number of changes that it acknowledged.
fn kill_one(directory: &Path, seed: u64, said: &mut BTreeMap<usize, Said>) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(STORE, directory).env(SEED, seed.to_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut acknowledged = 0;
    let mut was_killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::result::Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        if line == "now" {
            child.kill().unwrap();
            was_killed = true;
        }
        let [when @ ("begins" | "done"), what, number, content @ ..] = words.as_slice() else { continue };
        let of = said.entry(number.parse().unwrap()).or_default();
        let content = content.first().map(|content| content.parse::<u64>().unwrap());
        match (*when, *what) {
            ("begins", _) => of.begun = Some(content),
            ("done", "replicate") => of.complete = true,
            ("done", _) => *of = Said { content, ..Said::default() },
            _ => {}
        }
        acknowledged += u64::from(*when == "done");
    }
    let output = child.wait_with_output().unwrap();
    assert!(was_killed, "seed {seed}: {}", String::from_utf8_lossy(&output.stderr));
    acknowledged
}

/// A process that begins now finds what was acknowledged.
async fn check(sandbox: &Sandbox, seed: u64, said: &mut BTreeMap<usize, Said>) {
    let view = sandbox.session().refresh().await.unwrap();
    for (number, said) in said {
        let id = sandbox.version(&version(*number));
        let there = view.image_version(&id).is_ok();
        match said.begun.take() {
            None => assert_eq!(there, said.content.is_some(), "seed {seed}: {id}, {said:?}"),
            Some(begun) if there == begun.is_some() => *said = Said { content: begun, ..Said::default() },
            Some(_) => {}
        }
        let regions: &[&str] = if said.complete { &["westeurope", "eastus"] } else { &[] };
        for region in regions {
            deploys(sandbox, *number, region, said.content.unwrap()).await;
        }
    }
}

async fn deploys(sandbox: &Sandbox, number: usize, region: &str, content: u64) {
    assert!(sandbox.deployed(&version(number), region).await.unwrap() == disk(content), "1.0.{number} in {region}");
}

#[test]
fn acknowledged_changes_survive_a_hundred_kills() {
    if let Some(directory) = std::env::var_os(STORE) {
        let seed = std::env::var(SEED).unwrap().parse().unwrap();
        return block_on(work(directory.as_ref(), seed));
    }
    let directory = tempfile::tempdir().unwrap();
    block_on(settings(files(directory.path())).build()).unwrap();
    let kills = std::env::var("KILLS").map_or(100, |kills| kills.parse().unwrap());
    let (mut said, mut acknowledged) = (BTreeMap::new(), 0);
    for seed in 0..kills {
        acknowledged += kill_one(directory.path(), seed, &mut said);
        block_on(async { check(&open(directory.path()).await, seed, &mut said).await });
    }
    eprintln!("{kills} kills, {acknowledged} acknowledged changes, none lost");
    // Interrupted work can be finished, and all of it deleted without a trace.
    block_on(async {
        let sandbox = open(directory.path()).await;
        let session = sandbox.session();
        for (number, said) in &said {
            let Some(content) = said.content else { continue };
            session.replicate(sandbox.version(&version(*number))).await.unwrap();
            deploys(&sandbox, *number, "westeurope", content).await;
            deploys(&sandbox, *number, "eastus", content).await;
        }
        session.delete(sandbox.image()).cascade().await.unwrap();
        // A collector that was killed has been given its time.
        let later = ManualClock::new(SystemClock.now() + TimeDelta::hours(1));
        let settings = settings(files(directory.path())).empty().service(move |builder| builder.clock(later.clone()));
        let sandbox = settings.build().await.unwrap();
        sandbox.session().collect().abandon_uploads_after(std::time::Duration::ZERO).await.unwrap();
        let mut left = files(directory.path()).list_all(Some(&"regions".parse().unwrap())).await.unwrap();
        left.retain(|blob| blob.key.as_str().contains("/slots/"));
        assert!(left.is_empty(), "{left:?}");
    });
}
