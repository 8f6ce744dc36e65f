//! A store of somebody else's that answers a ranged read with more or less than was asked for: that is damage, and no panic.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::store::*;
use compute_gallery::*;
use futures::executor::block_on;

/// Answers ranged reads with so many bytes more or less, and tells sizes that are wrong by as many.
#[derive(Clone, Debug, Default)]
struct Wrong {
    store: MemoryStore,
    ranges: Arc<AtomicI64>,
    wholes: Arc<AtomicI64>,
    sizes: Arc<AtomicI64>,
    ranged: Arc<AtomicU64>,
    /// Whether listings begin at the beginning, wherever they were to go on.
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

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlobStore for Wrong {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.store.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.ranged.fetch_add(u64::from(range.is_some()), Ordering::Relaxed);
        let by = if range.is_some() { &self.ranges } else { &self.wholes };
        let bytes = self.store.get(key, range).await?;
        // The catalog's own blobs are whole, or nothing would come so far.
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
}

fn version(number: u32) -> ImageVersionId {
    let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g";
    let definition = gallery.parse::<GalleryId>().unwrap().image("web".parse().unwrap());
    definition.version(VersionNumber::new(1, 0, number).unwrap())
}

fn home() -> Region {
    "westeurope".parse().unwrap()
}

fn disk(number: u8) -> Vec<u8> {
    (0..600_u32 << 10).map(|at| (at / 4096 * 7 + at % 251) as u8 ^ number).collect()
}

async fn publish(session: &Session, number: u32) -> Result<Published<ImageVersion>> {
    let profile = PublishingProfile::new("westeurope=2,eastus=1".parse().unwrap());
    let source = DiskSource::bytes(disk(number as u8), DiskFormat::Raw);
    session.publish(NewImageVersion::new(version(number), home(), profile, source)).await
}

/// Version 1.0.0, replicated, in a store that is right until it is told otherwise.
async fn world() -> (Session, Wrong) {
    let store = Wrong::default();
    let service = GalleryService::builder().allow_all().store(store.clone()).open_or_create().await.unwrap();
    let session = service.session("test".parse().unwrap());
    session.create_gallery(Gallery::new(version(0).definition().gallery().clone(), home())).await.unwrap();
    let (id, identifier) = (version(0).definition().clone(), ImageIdentifier::new("a", "b", "c").unwrap());
    let definition = ImageDefinition::new(id, home(), OsType::Linux, OsState::Generalized, identifier);
    session.create_image_definition(definition).await.unwrap();
    publish(&session, 0).await.unwrap();
    session.replicate(&version(0)).await.unwrap();
    (session, store)
}

#[test]
fn a_ranged_read_that_is_answered_short_or_long_is_damage_and_no_panic() {
    for by in [-1, -70_000, i64::MIN, 1, 70_000] {
        block_on(async {
            let (session, store) = world().await;
            store.ranges.store(by, Ordering::Relaxed);
            let before = store.ranged.load(Ordering::Relaxed);
            let error = session.deploy(version(0), &home()).to_writer(Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{by}: {error}");
            assert!(format!("{error:#}").contains("bytes"), "{by}: {error}");
            let reader = session.deploy(version(0), &home()).open().await.unwrap();
            assert_eq!(reader.read_at(0..10).await.unwrap_err().kind(), ErrorKind::Corrupt, "{by}");
            assert!(store.ranged.load(Ordering::Relaxed) > before);
            // None of these may panic; what they come to is the store's fault.
            let _ = session.scrub(&home()).await;
            let _ = session.replication_status(&version(0)).await;
            let _ = publish(&session, 1).await;
            let _ = session.replicate(&version(1)).await;
            let _ = session.collect().await;
            store.ranges.store(0, Ordering::Relaxed);
            let good = session.deploy(version(0), &home()).to_writer(Vec::new()).await.unwrap().1;
            assert!(good == disk(0), "{by}: nothing was deleted for it");
        });
    }
}

#[test]
fn a_whole_read_or_a_size_that_is_wrong_loses_nothing_and_does_not_panic() {
    for by in [-1, -70_000, i64::MIN, 1, 70_000, i64::MAX] {
        block_on(async {
            let (session, store) = world().await;
            for wrong in [&store.wholes, &store.sizes] {
                if by == i64::MAX && Arc::ptr_eq(wrong, &store.wholes) {
                    continue;
                }
                wrong.store(by, Ordering::Relaxed);
                let _ = session.deploy(version(0), &home()).to_writer(Vec::new()).await;
                let _ = session.replication_status(&version(0)).await;
                let _ = session.replicate(&version(0)).await;
                let _ = publish(&session, 1).await;
                let _ = session.replicate(&version(1)).await;
                let _ = session.scrub(&home()).await;
                let _ = session.collect().await;
                wrong.store(0, Ordering::Relaxed);
            }
            let good = session.deploy(version(0), &home()).to_writer(Vec::new()).await.unwrap().1;
            assert!(good == disk(0), "{by}");
        });
    }
}

/// It was asked for the same page for ever, and what it gave was kept.
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
