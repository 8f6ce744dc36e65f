//! A store whose calls a test decides about.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::faulty_store::Call;
use crate::store::derived::{self, Reads};
use crate::store::{
    BlobFile, BlobKey, BlobMeta, BlobPlace, BlobStore, BlobVersion, Capabilities, Folders, Page, Pages, PutMode,
    StoreError, StoreErrorKind, StoreResult,
};

/// What becomes of a call that a [`HookedStore`]'s hook has seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reaction {
    /// The store gets the call.
    Pass,
    /// The caller gets `Ok`, and the store never gets the change. A read passes.
    Swallow,
    /// The caller gets this error; the store never gets the call.
    Fail(StoreErrorKind),
    /// Another store gets the call.
    Redirect(Arc<dyn BlobStore>),
}

/// A store that asks an asynchronous closure about each call before it passes it on to another store: for faults by key and
/// operation, latency, calls that never return, and work that has to happen just before a call.
///
/// [`FaultyStore`](super::FaultyStore) fails calls by their number, and [`YieldingStore`](super::YieldingStore) suspends each.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, StoreErrorKind};
/// use compute_gallery::testkit::{HookedStore, Reaction};
///
/// # futures::executor::block_on(async {
/// // Nothing below `locked` can be deleted.
/// let store = HookedStore::new(MemoryStore::new(), |call| async move {
///     let is_locked = call.key.is_some_and(|key| key.as_str().starts_with("locked/"));
///     if call.operation == "delete" && is_locked { Reaction::Fail(StoreErrorKind::PermissionDenied) } else { Reaction::Pass }
/// });
/// let (locked, free) = ("locked/a".parse()?, "free/a".parse()?);
/// for key in [&locked, &free] {
///     store.put(key, Bytes::from_static(b"x"), PutMode::Create).await?;
/// }
/// assert_eq!(store.delete(&locked).await.unwrap_err().kind(), StoreErrorKind::PermissionDenied);
/// store.delete(&free).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct HookedStore {
    inner: Arc<dyn BlobStore>,
    hook: Arc<dyn Fn(Call) -> BoxFuture<'static, Reaction> + Send + Sync>,
    capabilities: Capabilities,
}

impl HookedStore {
    /// Passes calls on to `inner` as `hook` decides. A hook that sleeps makes the call slow, and one that is pending hangs it.
    pub fn new<F, R>(inner: impl BlobStore, hook: F) -> Self
    where
        F: Fn(Call) -> R + Send + Sync + 'static,
        R: Future<Output = Reaction> + Send + 'static,
    {
        // The hook may redirect a call to another store.
        let capabilities = inner.capabilities().with_remounts(true);
        Self { inner: Arc::new(inner), hook: Arc::new(move |call| hook(call).boxed()), capabilities }
    }

    /// Sets what the store says of itself, such as that it is a bucket, which cannot be mounted anew. By default it is as `inner`
    /// says, but for that: the hook may redirect a call.
    #[must_use]
    pub fn with_capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// The store that gets the call; `None` if no store does and the caller is to believe that one did.
    async fn target(&self, call: Call) -> StoreResult<Option<Arc<dyn BlobStore>>> {
        let (operation, key) = (call.operation, call.key.clone());
        match (self.hook)(call).await {
            Reaction::Pass => Ok(Some(self.inner.clone())),
            Reaction::Swallow => Ok(None),
            Reaction::Fail(kind) => Err(StoreError::new(kind, operation, key.as_ref()).with_source("injected fault")),
            Reaction::Redirect(other) => Ok(Some(other)),
        }
    }

    async fn read_target(&self, call: Call) -> StoreResult<Arc<dyn BlobStore>> {
        Ok(self.target(call).await?.unwrap_or_else(|| self.inner.clone()))
    }
}

impl fmt::Debug for HookedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlobStore for HookedStore {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        let Some(store) = self.target(Call::new("put", Some(key))).await? else { return Ok(()) };
        store.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.read_target(Call::new("get", Some(key))).await?.get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.read_target(Call::new("head", Some(key))).await?.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        let Some(store) = self.target(Call::new("delete", Some(key))).await? else { return Ok(()) };
        store.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.read_target(Call::new("list", under)).await?.list(under, after, limit).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let Some(store) = self.target(Call::copy("copy", from, to)).await? else { return Ok(()) };
        store.copy(from, to, mode).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        let Some(store) = self.target(Call::new("persist", Some(under))).await? else { return Ok(()) };
        store.persist(under).await
    }

    /// Those of the store below; a hook may redirect calls to another one.
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        self.read_target(Call::new("open_file", Some(key))).await?.open_file(key).await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        let Some(store) = self.target(Call::new("put_parts", Some(key))).await? else { return Ok(()) };
        store.put_parts(key, parts, mode).await
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let reads = Reads::new(ranges, self.capabilities());
        let asked = reads.requests().map(|range| self.get(key, Some(range))).collect();
        reads.answers(key, derived::at_once(asked, self.capabilities()).await)
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        derived::at_once(keys.iter().map(|key| self.delete(key)).collect(), self.capabilities()).await
    }

    /// Each page is a `list` of its own, because each may go to another store.
    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        derived::pages(under, after, move |under, after| {
            async move { self.list(under.as_ref(), after.as_ref(), derived::PAGE).await }.boxed()
        })
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        self.read_target(Call::new("list_folders", under)).await?.list_folders(under, after, limit).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        let Some(store) = self.target(Call::new("replace_if", Some(key))).await? else { return Ok(()) };
        store.replace_if(key, bytes, version).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        let Some(store) = self.target(Call::new("delete_if", Some(key))).await? else { return Ok(()) };
        store.delete_if(key, version).await
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let call = Call::copy("copy_from", from, to);
        let Some(target) = self.target(call).await? else { return Ok(()) };
        target.copy_from(store, from, to, mode).await
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.inner.place_of(key)
    }

    async fn distrust(&self, key: &BlobKey) -> bool {
        self.inner.distrust(key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{BlobStoreExt, MemoryStore};
    use futures::executor::block_on;

    #[test]
    fn a_swallowed_change_is_acknowledged_and_never_made_and_a_swallowed_read_is_answered() {
        block_on(async {
            let (memory, key) = (MemoryStore::new(), "a".parse().unwrap());
            let store = HookedStore::new(memory.clone(), |_| async { Reaction::Swallow });
            store.put(&key, Bytes::from_static(b"x"), PutMode::Create).await.unwrap();
            assert_eq!(store.find(&key).await.unwrap(), None);
            memory.put(&key, Bytes::from_static(b"x"), PutMode::Create).await.unwrap();
            store.delete(&key).await.unwrap();
            assert_eq!(store.get(&key, None).await.unwrap(), "x");
        });
    }

    #[test]
    fn a_redirected_call_reaches_the_other_store_alone() {
        block_on(async {
            let (one, other, key) = (MemoryStore::new(), MemoryStore::new(), "a".parse().unwrap());
            let to = other.clone();
            let store = HookedStore::new(one.clone(), move |_| {
                let reaction = Reaction::Redirect(Arc::new(to.clone()));
                async move { reaction }
            });
            store.put(&key, Bytes::from_static(b"x"), PutMode::Create).await.unwrap();
            assert_eq!(one.find(&key).await.unwrap(), None);
            assert_eq!(other.get(&key, None).await.unwrap(), "x");
        });
    }
}
