//! A hundred processes are killed in the middle of their work, one after another on one store: whatever any of them was told is
//! done is there afterwards, what was under way is done or not, and the next one goes on.
//!
//! The test binary runs itself again for the processes. Each tells on its standard output what it begins and what is
//! acknowledged, and says so when it has come to the store call that its seed has chosen. There it stands still or goes on, and
//! is killed with SIGKILL. `KILLS=5000` makes a longer run.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::host::{Clock, Entropy, SystemClock};
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{ManualClock, SeededEntropy};
use compute_gallery::*;
use futures::executor::block_on;

const STORE: &str = "COMPUTE_GALLERY_TEST_STORE";
const SEED: &str = "COMPUTE_GALLERY_TEST_SEED";
const TEST: &str = "what_was_acknowledged_survives_a_hundred_kills";

/// Versions 1.0.0, 1.0.1, … that are made and deleted over and over.
const VERSIONS: u32 = 4;

/// The store calls within which a process is killed.
const CALLS: u64 = 200;

struct Chance(SeededEntropy);

impl Chance {
    fn of(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    fn below(&self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % end
    }
}

fn home() -> Region {
    "westeurope".parse().unwrap()
}

fn definition() -> ImageDefinitionId {
    let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
    gallery.parse::<GalleryId>().unwrap().image("web".parse().unwrap())
}

fn version(number: u32) -> ImageVersionId {
    definition().version(VersionNumber::new(1, 0, number).unwrap())
}

/// A disk of three chunks, of which the last is another for each content.
fn disk(content: u64) -> Vec<u8> {
    let byte = |at: usize| if at < 2 << 16 { at % 251 + at / 4096 } else { at % 241 + content as usize } as u8;
    (0..3 << 16).map(byte).collect()
}

async fn open(store: impl BlobStore) -> Session {
    let service = GalleryService::builder().allow_all().store(store).open_or_create().await.unwrap();
    service.session("process".parse().unwrap())
}

fn files(directory: &Path) -> FsStore {
    FsStore::open_or_create(directory.join("store")).unwrap()
}

/// Says when the call has come, and stands still there or goes on.
#[derive(Clone, Debug)]
struct Doomed {
    store: FsStore,
    calls: Arc<AtomicU64>,
    last: u64,
    stands_still: bool,
}

impl Doomed {
    async fn call<T>(&self, work: impl Future<Output = T>) -> T {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.last {
            println!("\nnow");
            if self.stands_still {
                futures::future::pending::<()>().await;
            }
        }
        work.await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlobStore for Doomed {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.call(self.store.put(key, bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.call(self.store.get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.call(self.store.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.call(self.store.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.call(self.store.list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.call(self.store.copy(from, to, mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.call(self.store.persist(under)).await
    }
}

/// In the process that is killed: publishes, replicates, deletes and collects until then.
async fn work(directory: &Path, seed: u64) {
    let chance = Chance::of(seed);
    let (last, stands_still) = (chance.below(CALLS), chance.below(2) == 0);
    let session = open(Doomed { store: files(directory), calls: Arc::default(), last, stands_still }).await;
    loop {
        let number = chance.below(u64::from(VERSIONS)) as u32;
        let there = session.refresh().await.unwrap().image_version(&version(number)).is_ok();
        match chance.below(4) {
            0 if there => {
                println!("\nbegins delete {number}");
                session.delete(version(number)).await.unwrap();
                println!("\ndone delete {number}");
            }
            _ if there => {
                session.replicate(&version(number)).await.unwrap();
                println!("\ndone replicate {number}");
            }
            0 => {
                session.collect().await.unwrap();
            }
            _ => {
                let content = chance.below(1 << 32);
                println!("\nbegins publish {number} {content}");
                let profile = PublishingProfile::new("westeurope=2,eastus=1".parse().unwrap());
                let source = DiskSource::bytes(disk(content), DiskFormat::Raw);
                session.publish(NewImageVersion::new(version(number), home(), profile, source)).await.unwrap();
                println!("\ndone publish {number} {content}");
            }
        }
    }
}

/// What the processes have said of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Said {
    /// What it holds, by the last that was acknowledged.
    content: Option<u64>,
    /// Whether all its replicas are there.
    complete: bool,
    /// What was begun since and not acknowledged: it holds that, or is gone.
    begun: Option<Option<u64>>,
}

/// Runs one process and kills it; tells whether it came so far.
fn kill_one(directory: &Path, seed: u64, said: &mut BTreeMap<u32, Said>) -> u64 {
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

/// A process that begins now finds what was said.
async fn check(session: &Session, seed: u64, said: &mut BTreeMap<u32, Said>) {
    let view = session.refresh().await.unwrap();
    for (number, said) in said {
        let id = version(*number);
        let there = view.image_version(&id).is_ok();
        match said.begun.take() {
            None => assert_eq!(there, said.content.is_some(), "seed {seed}: {id}, {said:?}"),
            Some(begun) if there == begun.is_some() => *said = Said { content: begun, ..Said::default() },
            Some(_) => {}
        }
        let regions: &[&str] = if said.complete { &["westeurope", "eastus"] } else { &[] };
        for region in regions {
            deploys(session, *number, region, said.content.unwrap()).await;
        }
    }
}

async fn deploys(session: &Session, number: u32, region: &str, content: u64) {
    let deployment = session.deploy(version(number), &region.parse().unwrap());
    assert!(deployment.to_writer(Vec::new()).await.unwrap().1 == disk(content), "1.0.{number} in {region}");
}

#[test]
fn what_was_acknowledged_survives_a_hundred_kills() {
    if let Some(directory) = std::env::var_os(STORE) {
        let seed = std::env::var(SEED).unwrap().parse().unwrap();
        return block_on(work(directory.as_ref(), seed));
    }
    let directory = tempfile::tempdir().unwrap();
    block_on(async {
        let session = open(files(directory.path())).await;
        session.create_gallery(Gallery::new(definition().gallery().clone(), home())).await.unwrap();
        let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
        let new = ImageDefinition::new(definition(), home(), OsType::Linux, OsState::Generalized, identifier);
        session.create_image_definition(new).await.unwrap();
    });
    let kills = std::env::var("KILLS").map_or(100, |kills| kills.parse().unwrap());
    let (mut said, mut acknowledged) = (BTreeMap::new(), 0);
    for seed in 0..kills {
        acknowledged += kill_one(directory.path(), seed, &mut said);
        block_on(async { check(&open(files(directory.path())).await, seed, &mut said).await });
    }
    eprintln!("{kills} kills, {acknowledged} acknowledged changes, none lost");
    // What was interrupted can be finished, and all of it deleted without a trace.
    block_on(async {
        let session = open(files(directory.path())).await;
        for (number, said) in &said {
            let Some(content) = said.content else { continue };
            session.replicate(&version(*number)).await.unwrap();
            deploys(&session, *number, "westeurope", content).await;
            deploys(&session, *number, "eastus", content).await;
        }
        session.delete(definition()).cascade().await.unwrap();
        // A collector that was killed has been given its time.
        let later = ManualClock::new(SystemClock.now() + TimeDelta::hours(1));
        let builder = GalleryService::builder().allow_all().store(files(directory.path())).clock(later);
        let session = builder.open_or_create().await.unwrap().session("last".parse().unwrap());
        session.collect().abandon_uploads_after(std::time::Duration::ZERO).await.unwrap();
        let mut left = files(directory.path()).list_all(Some(&"regions".parse().unwrap())).await.unwrap();
        left.retain(|blob| blob.key.as_str().contains("/slots/"));
        assert!(left.is_empty(), "{left:?}");
    });
}
