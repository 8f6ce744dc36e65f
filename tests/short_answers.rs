//! A foreign store that answers a ranged read with too many or too few bytes: that is damage, and no panic.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::testkit::{Sandbox, noise};
use compute_gallery::*;
use futures::executor::block_on;

/// Answers ranged reads with some bytes more or less, and reports sizes that are wrong by as many.
#[derive(Clone, Debug, Default)]
struct Wrong {
    store: MemoryStore,
    ranges: Arc<AtomicI64>,
    wholes: Arc<AtomicI64>,
    sizes: Arc<AtomicI64>,
    ranged: Arc<AtomicU64>,
    /// Whether listings ignore `after` and begin at the beginning.
    from_the_start: Arc<AtomicBool>,
}

impl Wrong {
    fn off(bytes: Bytes, by: i64) -> Bytes {
        match usize::try_from(by) {
            Ok(more) => [bytes.as_ref(), &vec![0; more]].concat().into(),
            Err(_) => bytes.slice(..bytes.len().saturating_sub(by.unsigned_abs() as usize)),
        }
    }

    fn meta(&self, meta: BlobMeta) -> BlobMeta {
        // `i64::MAX` stands for a size that no sum survives.
        let size = match self.sizes.load(Ordering::Relaxed) {
            i64::MAX => u64::MAX,
            by => meta.size.saturating_add_signed(by),
        };
        BlobMeta::new(meta.key, size)
    }
}

/// The provided methods are made of these, and so are as wrong.
#[async_trait]
impl BlobStore for Wrong {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.store.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.ranged.fetch_add(u64::from(range.is_some()), Ordering::Relaxed);
        let by = if range.is_some() { &self.ranges } else { &self.wholes };
        let bytes = self.store.get(key, range).await?;
        // The catalog's own blobs stay whole: the test is about images.
        let by = if key.as_str().contains("slots") { by.load(Ordering::Relaxed) } else { 0 };
        Ok(Self::off(bytes, by))
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        Ok(self.meta(self.store.head(key).await?))
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.store.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        let after = after.filter(|_| !self.from_the_start.load(Ordering::Relaxed));
        let page = self.store.list(under, after, limit).await?;
        Ok(Page::new(page.blobs.into_iter().map(|meta| self.meta(meta)).collect(), page.more))
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.store.copy(from, to, mode).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.store.persist(under).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_remounts(self.store.capabilities().can_be_remounted())
    }
}

fn home() -> Region {
    "westeurope".parse().unwrap()
}

fn disk(number: u8) -> Vec<u8> {
    noise(number.into(), 600 << 10)
}

async fn publish(sandbox: &Sandbox, number: u8) -> Result<Published<ImageVersion>> {
    sandbox.publish_to(&format!("1.0.{number}"), "westeurope=2,eastus=1", disk(number)).await
}

/// Version 1.0.0, replicated, in a store that is right until a test makes it wrong.
async fn world() -> (Sandbox, Wrong) {
    let store = Wrong::default();
    let sandbox = Sandbox::builder().one_store(store.clone()).build().await.unwrap();
    publish(&sandbox, 0).await.unwrap();
    (sandbox, store)
}

#[test]
fn a_ranged_read_that_is_answered_short_or_long_is_damage_and_no_panic() {
    for by in [-1, -70_000, i64::MIN, 1, 70_000] {
        block_on(async {
            let (sandbox, store) = world().await;
            let (session, first, second) = (sandbox.session(), sandbox.version("1.0.0"), sandbox.version("1.0.1"));
            store.ranges.store(by, Ordering::Relaxed);
            let before = store.ranged.load(Ordering::Relaxed);
            let error = session.deploy(&first, &home()).to_writer(Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{by}: {error}");
            assert!(format!("{error:#}").contains("bytes"), "{by}: {error}");
            let reader = session.deploy(&first, &home()).open().await.unwrap();
            assert_eq!(reader.read_at(0..10).await.unwrap_err().kind(), ErrorKind::Corrupt, "{by}");
            assert!(store.ranged.load(Ordering::Relaxed) > before);
            // None of these may panic; their outcomes are the store's fault.
            let _ = session.scrub(home()).await;
            let _ = session.replication_status(&first).await;
            let _ = publish(&sandbox, 1).await;
            let _ = session.replicate(&second).await;
            let _ = session.collect().await;
            store.ranges.store(0, Ordering::Relaxed);
            let good = session.deploy(&first, &home()).to_writer(Vec::new()).await.unwrap().1;
            assert!(good == disk(0), "{by}: nothing was deleted for it");
        });
    }
}

#[test]
fn a_whole_read_or_a_size_that_is_wrong_loses_nothing_and_does_not_panic() {
    for by in [-1, -70_000, i64::MIN, 1, 70_000, i64::MAX] {
        block_on(async {
            let (sandbox, store) = world().await;
            let (session, first, second) = (sandbox.session(), sandbox.version("1.0.0"), sandbox.version("1.0.1"));
            for wrong in [&store.wholes, &store.sizes] {
                if by == i64::MAX && Arc::ptr_eq(wrong, &store.wholes) {
                    continue;
                }
                wrong.store(by, Ordering::Relaxed);
                let _ = session.deploy(&first, &home()).to_writer(Vec::new()).await;
                let _ = session.replication_status(&first).await;
                let _ = session.replicate(&first).await;
                let _ = publish(&sandbox, 1).await;
                let _ = session.replicate(&second).await;
                let _ = session.scrub(home()).await;
                let _ = session.collect().await;
                wrong.store(0, Ordering::Relaxed);
            }
            let good = session.deploy(&first, &home()).to_writer(Vec::new()).await.unwrap().1;
            assert!(good == disk(0), "{by}");
        });
    }
}

/// The same page was asked for forever, and every answer was kept.
#[test]
fn a_listing_that_does_not_go_on_is_an_error_and_has_an_end() {
    block_on(async {
        let store = Wrong::default();
        for number in 0..1_500 {
            store.put(&format!("a/{number:04}").parse().unwrap(), Bytes::new(), PutMode::Create).await.unwrap();
        }
        assert_eq!(store.list_all(None).await.unwrap().len(), 1_500);
        store.from_the_start.store(true, Ordering::Relaxed);
        let error = store.list_all(None).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{error}");
        assert!(format!("{error:#}").contains("ascending order"), "{error}");
    });
}
