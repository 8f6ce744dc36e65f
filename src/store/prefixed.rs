//! A store that is a part of another one.

use std::future;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::blob::{BlobFile, BlobMeta, Folders, Page, Pages, PutMode};
use super::blob_place::BlobPlace;
use super::blob_store::BlobStore;
use super::blob_version::BlobVersion;
use super::capabilities::Capabilities;
use super::derived;
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;

/// The part of a store under a key, as a store: several galleries can share one bucket.
///
/// Keys in results and errors are without the prefix. A key that is too long with the prefix is
/// [`Unsupported`](StoreErrorKind::Unsupported).
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, MemoryStore, Prefixed, PutMode};
///
/// # futures::executor::block_on(async {
/// let whole = MemoryStore::new();
/// let part = Prefixed::new(whole.clone(), "tenants/7".parse()?);
/// part.put(&"a".parse()?, Bytes::from_static(b"x"), PutMode::Create).await?;
/// assert_eq!(whole.get(&"tenants/7/a".parse()?, None).await?, "x");
/// assert!(part.get(&"tenants/7/a".parse()?, None).await.is_err(), "nothing outside is seen");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Prefixed<S> {
    inner: S,
    under: BlobKey,
}

impl<S: BlobStore> Prefixed<S> {
    /// Makes a store of the blobs under `under` in `inner`.
    pub fn new(inner: S, under: BlobKey) -> Self {
        Self { inner, under }
    }

    fn inside(&self, operation: &'static str, key: &BlobKey) -> StoreResult<BlobKey> {
        self.under
            .join(key.as_str())
            .map_err(|error| StoreError::new(StoreErrorKind::Unsupported, operation, Some(key)).with_source(error))
    }

    /// `None` for a key that is not under the prefix.
    fn outside(&self, key: &BlobKey) -> Option<BlobKey> {
        key.as_str().strip_prefix(self.under.as_str())?.strip_prefix('/')?.parse().ok()
    }

    fn error(&self, error: StoreError) -> StoreError {
        let key = error.key().and_then(|key| self.outside(key));
        error.about(key)
    }

    /// The blobs of a page of the inner store, without the few that are not after `after`.
    fn page(&self, blobs: Vec<BlobMeta>, after: Option<&BlobKey>) -> Vec<BlobMeta> {
        let outside = blobs.into_iter().filter_map(|meta| Some(BlobMeta { key: self.outside(&meta.key)?, ..meta }));
        outside.filter(|meta| after.is_none_or(|after| meta.key > *after)).collect()
    }

    /// The greatest key inside that is not greater than `after`; at most [`MADE_SMALLER`] keys lie between.
    fn inside_after(&self, after: &BlobKey) -> Option<BlobKey> {
        // A key has at most `MAX_BYTES`, so the rest decides no comparison with one. A key does not end in a slash, so a slash at
        // the cut goes too.
        let joined = format!("{}/{after}", self.under);
        let cut: String = joined.chars().take(BlobKey::MAX_BYTES).collect();
        cut.trim_end_matches('/').parse().ok()
    }
}

/// Between a key of one byte less than the longest, and that with a slash, lie that with `-` and with `.`.
const MADE_SMALLER: usize = 2;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for Prefixed<S> {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        let key = self.inside("put", key)?;
        self.inner.put(&key, bytes, mode).await.map_err(|error| self.error(error))
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        let key = self.inside("get", key)?;
        self.inner.get(&key, range).await.map_err(|error| self.error(error))
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        let inside = self.inside("head", key)?;
        let meta = self.inner.head(&inside).await.map_err(|error| self.error(error))?;
        Ok(BlobMeta { key: key.clone(), ..meta })
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        let key = self.inside("delete", key)?;
        self.inner.delete(&key).await.map_err(|error| self.error(error))
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        let inside = match under {
            Some(under) => self.inside("list", under)?,
            None => self.under.clone(),
        };
        let limit = limit.max(1);
        let from = after.and_then(|after| self.inside_after(after));
        let asked = limit.saturating_add(MADE_SMALLER);
        let page = self.inner.list(Some(&inside), from.as_ref(), asked).await.map_err(|error| self.error(error))?;
        let mut blobs = self.page(page.blobs, after);
        let more = page.more || blobs.len() > limit;
        blobs.truncate(limit);
        Ok(Page::new(blobs, more))
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let (from, to) = (self.inside("copy", from)?, self.inside("copy", to)?);
        self.inner.copy(&from, &to, mode).await.map_err(|error| self.error(error))
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        let under = self.inside("persist", under)?;
        self.inner.persist(&under).await.map_err(|error| self.error(error))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        let inside = self.inside("open_file", key)?;
        let open = self.inner.open_file(&inside).await.map_err(|error| self.error(error))?;
        Ok(open.map(|open| BlobFile::new(BlobMeta { key: key.clone(), ..open.meta }, open.file)))
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        let key = self.inside("put_parts", key)?;
        self.inner.put_parts(&key, parts, mode).await.map_err(|error| self.error(error))
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let key = self.inside("get_ranges", key)?;
        self.inner.get_ranges(&key, ranges).await.map_err(|error| self.error(error))
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let inside: Vec<StoreResult<BlobKey>> = keys.iter().map(|key| self.inside("delete", key)).collect();
        let possible: Vec<BlobKey> = inside.iter().flatten().cloned().collect();
        let mut outcomes = self.inner.delete_many(&possible).await.into_iter();
        let outcome = |key: StoreResult<BlobKey>| {
            let key = key?;
            outcomes.next().unwrap_or_else(|| Err(derived::unanswered(&key))).map_err(|error| self.error(error))
        };
        inside.into_iter().map(outcome).collect()
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let inside = match under.map_or_else(|| Ok(self.under.clone()), |under| self.inside("list", under)) {
            Ok(inside) => inside,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let (from, after) = (after.and_then(|after| self.inside_after(after)), after.cloned());
        let pages = self.inner.list_pages(Some(&inside), from.as_ref());
        let pages = pages.map_ok(move |page| self.page(page, after.as_ref())).map_err(|error| self.error(error));
        pages.try_filter(|page| future::ready(!page.is_empty())).boxed()
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        let inside = under.map_or_else(|| Ok(self.under.clone()), |under| self.inside("list_folders", under))?;
        // No folder lies between a key and what is left of it: none is so long.
        let from = after.and_then(|after| self.inside_after(after));
        let found = self.inner.list_folders(Some(&inside), from.as_ref(), limit).await;
        let Folders { keys, more } = found.map_err(|error| self.error(error))?;
        Ok(Folders::new(keys.iter().filter_map(|key| self.outside(key)).collect(), more))
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        let key = self.inside("replace_if", key)?;
        self.inner.replace_if(&key, bytes, version).await.map_err(|error| self.error(error))
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        let key = self.inside("delete_if", key)?;
        self.inner.delete_if(&key, version).await.map_err(|error| self.error(error))
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let to = self.inside("copy_from", to)?;
        self.inner.copy_from(store, from, &to, mode).await.map_err(|error| match error.kind() {
            // It names the key in the other store.
            StoreErrorKind::NotFound => error,
            _ => self.error(error),
        })
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.inner.place_of(&self.inside("place_of", key).ok()?)
    }

    async fn distrust(&self, key: &BlobKey) -> bool {
        match self.inside("distrust", key) {
            Ok(key) => self.inner.distrust(&key).await,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryStore;
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn a_page_may_start_after_a_key_that_would_be_too_long_inside() {
        let inner = MemoryStore::new();
        // With the prefix `p/` these have 511 and 512 bytes.
        let stem = format!("{0}/{0}/{0}/{1}", "a".repeat(127), "b".repeat(125));
        let stored: Vec<BlobKey> =
            ["", "-", ".", "0"].iter().map(|end| format!("{stem}{end}").parse().unwrap()).collect();
        let store = Prefixed::new(inner, "p".parse().unwrap());
        for key in &stored {
            block_on(store.put(key, Bytes::new(), PutMode::Create)).unwrap();
        }
        let after: BlobKey = format!("{stem}/c").parse().unwrap();
        let page = block_on(store.list(None, Some(&after), 1)).unwrap();
        assert_eq!(page.blobs.iter().map(|meta| &meta.key).collect::<Vec<_>>(), [&stored[3]]);
        let page = block_on(store.list(None, Some(&stored[0]), 2)).unwrap();
        assert_eq!((page.blobs.len(), page.more), (2, true));
    }

    #[test]
    fn errors_name_the_key_that_the_caller_gave() {
        let store = Prefixed::new(MemoryStore::new(), "p/q".parse().unwrap());
        let error = block_on(store.get(&"a".parse().unwrap(), None)).unwrap_err();
        assert_eq!(error.to_string(), "get of `a`: it does not exist");
    }
}
