//! A process that holds a store through an older build while a newer one writes to it: it is refused or served, and corrupts nothing.
//!
//! This build stands for the older one. What the newer one commits is made by `docs/format.md`: an event that may be skipped, one that may
//! not, a feature that writers or readers must know, an entry of a newer format. It comes at each moment of an operation of the older one.
//! The simulation does the same among crashes and faults (`newer_build.rs`).
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail as the test does")]

use std::collections::BTreeMap;

use bytes::Bytes;
use compute_gallery::content::Compression;
use compute_gallery::store::*;
use compute_gallery::testkit::{HookedStore, Reaction, Sandbox, SandboxBuilder, YieldingStore, noise, raw};
use compute_gallery::*;
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;

type Blobs = BTreeMap<BlobKey, Bytes>;

/// What a newer build commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// An event that may be skipped.
    Ignorable,
    /// An event that may not.
    Event,
    /// A feature that must be known to write.
    WriteFeature,
    /// A feature that must be known to read.
    ReadFeature,
    /// An entry of another format.
    Format,
}

const ALL: [News; 5] = [News::Ignorable, News::Event, News::WriteFeature, News::ReadFeature, News::Format];

impl News {
    fn event(self) -> &'static str {
        match self {
            Self::Ignorable => r#"{"event":"galleryLiked","by":"ann","ignorable":true}"#,
            Self::Event | Self::Format => r#"{"event":"galleryMoved","gallery":"x","needs":"0.4.0"}"#,
            Self::WriteFeature => r#"{"event":"featuresEnabled","features":{"read":{},"write":{"pages":"0.4.0"}}}"#,
            Self::ReadFeature => r#"{"event":"featuresEnabled","features":{"read":{"pages":"0.4.0"},"write":{}}}"#,
        }
    }

    /// The entry of this that follows the last one.
    fn entry(self, number: u64, last: &Bytes) -> Bytes {
        let (line, hash) = std::str::from_utf8(last).unwrap().trim_end().split_once('\n').unwrap();
        let time = line.split("\"time\":\"").nth(1).unwrap().split('"').next().unwrap();
        let time: chrono::DateTime<chrono::Utc> = time.parse().unwrap();
        let time = (time + chrono::TimeDelta::milliseconds(1)).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        let (format, event) = (if self == Self::Format { 3 } else { 2 }, self.event());
        let line = format!(
            r#"{{"format":{format},"number":{number},"nonce":"{number:032x}","previous":"{hash}","time":"{time}","changes":[{{"caller":"newer","events":[{event}]}}]}}"#
        );
        let line = if self == Self::Format {
            line.replacen("{\"format\":3", "{\"format\":3,\"needs\":\"0.4.0\"", 1)
        } else {
            line
        };
        format!("{line}\n{}\n", blake3::hash(line.as_bytes()).to_hex()).into()
    }

    /// Commits it behind the older build's back; the number of its entry.
    async fn is_committed(self, store: &MemoryStore) -> u64 {
        let log = store.list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap();
        let last = store.get(&log.last().unwrap().key, None).await.unwrap();
        let number = log.len() as u64 + 1;
        store.put(&log_key(number), self.entry(number, &last), PutMode::Create).await.unwrap();
        number
    }
}

fn log_key(number: u64) -> BlobKey {
    format!("catalog/log/{number:020}").parse().unwrap()
}

/// Of which the first 64 KiB are those of all others.
fn disk(number: u64) -> Vec<u8> {
    [noise(0, 64 << 10), noise(1 + number, 64 << 10)].concat()
}

fn settings() -> SandboxBuilder {
    let quiet = |builder: GalleryServiceBuilder| builder.retries(RetryPolicy::none()).compression(Compression::None);
    Sandbox::builder().regions(["westeurope", "eastus"]).service(quiet)
}

async fn blobs_of(store: &MemoryStore) -> Blobs {
    let mut blobs = Blobs::new();
    for blob in store.list_all(None).await.unwrap() {
        let bytes = store.get(&blob.key, None).await.unwrap();
        blobs.insert(blob.key, bytes);
    }
    blobs
}

async fn store_of(blobs: &Blobs) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, bytes) in blobs {
        store.put(key, bytes.clone(), PutMode::Create).await.unwrap();
    }
    store
}

/// A bucket with a version in two regions, one that goes to a second region and is not there yet, and the garbage of a third.
async fn begun() -> (Sandbox, Blobs) {
    let store = MemoryStore::new();
    let sandbox = settings().one_store(store.clone()).build().await.unwrap();
    sandbox.publish("1.0.0", disk(0)).await.unwrap();
    sandbox.publish("1.0.1", disk(1)).await.unwrap();
    let new = sandbox.new_version("1.0.2", "westeurope,eastus", raw(disk(2)));
    sandbox.session().publish(new).await.unwrap();
    sandbox.session().delete(sandbox.version("1.0.1")).await.unwrap();
    let blobs = blobs_of(&store).await;
    (sandbox, blobs)
}

const OPERATIONS: [&str; 6] = ["publish", "replicate", "delete", "collect", "scrub", "deploy"];

fn operation<'a>(name: &str, sandbox: &'a Sandbox) -> BoxFuture<'a, Result<()>> {
    let session = sandbox.session();
    match name {
        "publish" => session.publish(sandbox.new_version("1.0.3", "westeurope", raw(disk(3)))).map(done).boxed(),
        "replicate" => session.replicate(sandbox.version("1.0.2")).map(done).boxed(),
        "delete" => session.delete(sandbox.version("1.0.0")).map(done).boxed(),
        "collect" => session.collect().map(done).boxed(),
        "scrub" => session.scrub("eastus").map(done).boxed(),
        _ => session.deploy(sandbox.version("1.0.0"), "eastus").to_writer(Vec::new()).map(done).boxed(),
    }
}

fn done<T>(outcome: Result<T>) -> Result<()> {
    outcome.map(drop)
}

/// What the newer build finds: all that the log says, whole. It is read by this build, from a copy without the newer one's entry.
async fn is_whole(sandbox: &Sandbox, blobs: &Blobs, without: Option<u64>, what: &str) {
    let mut blobs = blobs.clone();
    if let Some(number) = without {
        blobs.remove(&log_key(number));
    }
    let copy = reopened(sandbox, store_of(&blobs).await).await;
    let copy = copy.unwrap_or_else(|error| panic!("{what}: {error}"));
    let view = copy.session().view();
    for number in 0..4 {
        let version = copy.version(&format!("1.0.{number}"));
        let Ok(there) = view.image_version(&version) else { continue };
        assert!(number != 1, "{what}: a deleted version is back");
        copy.session().replicate(&version).await.unwrap_or_else(|error| panic!("{what}: {version}: {error}"));
        for target in there.publishing_profile().target_regions().iter() {
            let bytes = copy.deployed(&format!("1.0.{number}"), target.region().as_str()).await;
            assert!(bytes.is_ok_and(|bytes| bytes == disk(number)), "{what}: {version} in {}", target.region());
        }
    }
    for region in ["westeurope", "eastus"] {
        let report = copy.session().scrub(region).await.unwrap();
        assert_eq!((report.mended, report.damaged), (0, 0), "{what}: {region}");
    }
}

/// A process on another store.
async fn reopened(sandbox: &Sandbox, store: impl BlobStore + Clone) -> Result<Sandbox> {
    sandbox.reopen().catalog_store(store.clone()).one_store(store).build().await
}

fn is_refused(error: &Error, what: &str) {
    // A region that may not be written any more is an error of its own, before that of the catalog.
    assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Unavailable), "{what}: {error}");
    assert!(error.to_string().contains("use build 0.4.0"), "{what}: {error}");
}

/// Lets the older build begin an operation, and go on after some calls when the newer one has committed; whether it was over before.
async fn meets(sandbox: &Sandbox, begun: &Blobs, name: &str, news: News, calls: usize) -> bool {
    let what = format!("{news:?} after {calls} calls of {name}");
    let memory = store_of(begun).await;
    let bucket = Capabilities::default().with_free_persist(true).with_remounts(false).with_copies_inside(true);
    let bucket = HookedStore::new(YieldingStore::new(memory.clone()), |_| std::future::ready(Reaction::Pass))
        .with_capabilities(bucket);
    let older = reopened(sandbox, bucket).await.unwrap();
    let mut work = operation(name, &older);
    let is_over = (0..calls).any(|_| (&mut work).now_or_never().is_some());
    let number = news.is_committed(&memory).await;
    if !is_over {
        match work.await {
            Ok(()) => {}
            Err(error) => {
                assert_ne!(news, News::Ignorable, "{what}: {error}");
                is_refused(&error, &what);
            }
        }
    }
    let blobs = blobs_of(&memory).await;
    let last = blobs.keys().rfind(|key| key.is_under(&"catalog/log".parse().unwrap())).unwrap();
    assert!(news == News::Ignorable || *last == log_key(number), "{what}: the older build has committed {last}");
    is_whole(sandbox, &blobs, (news != News::Ignorable).then_some(number), &what).await;
    if news != News::Ignorable {
        // Whatever it is asked for from here on, it changes nothing.
        for name in OPERATIONS {
            match operation(name, &older).await {
                // By what it may still read.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {}
                Err(error) => is_refused(&error, &what),
                Ok(()) => {}
            }
        }
        let there = blobs_of(&memory).await;
        let changed: Vec<_> =
            blobs.iter().filter(|(key, bytes)| there.get(*key) != Some(*bytes)).map(|(key, _)| key).collect();
        let added: Vec<_> = there.keys().filter(|key| !blobs.contains_key(*key)).collect();
        assert!(changed.is_empty() && added.is_empty(), "{what}: changed {changed:?}, added {added:?}");
        // And one that begins now serves what it can read, or is refused by name.
        match reopened(sandbox, memory.clone()).await {
            Ok(served) => {
                assert_eq!(news, News::WriteFeature, "{what}");
                if served.session().view().image_version(served.version("1.0.0")).is_ok() {
                    assert!(served.deployed("1.0.0", "eastus").await.unwrap() == disk(0), "{what}");
                }
            }
            Err(error) => {
                assert_ne!(news, News::WriteFeature, "{what}: {error}");
                is_refused(&error, &what);
            }
        }
        assert!(blobs_of(&memory).await == there, "{what}: opening has changed something");
    }
    is_over
}

/// Every so many calls, a commit of each kind.
fn at_every(stride: usize) {
    block_on(async {
        let (sandbox, begun) = begun().await;
        let mut longest = 0;
        for name in OPERATIONS {
            for (offset, news) in ALL.into_iter().enumerate() {
                let mut calls = offset % stride;
                while !meets(&sandbox, &begun, name, news, calls).await {
                    calls += stride;
                }
                longest = longest.max(calls);
            }
        }
        assert!(longest > 10, "the longest operation made {longest} calls");
    });
}

#[test]
fn an_older_build_on_the_same_bucket_is_refused_or_served_and_corrupts_nothing() {
    at_every(13);
}

/// By hand: a minute.
#[test]
#[ignore = "it takes a minute: at each call"]
fn an_older_build_is_refused_or_served_at_each_call() {
    at_every(1);
}
