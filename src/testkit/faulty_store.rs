//! A store that fails on command.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use futures::stream::{self, TryStreamExt};

use super::calls::{Calls, Rules, STORE_CALLS};
use super::seeded_entropy::SeededEntropy;
use crate::host::sync::Mutex;
use crate::host::{Clock, SystemClock};
use crate::store::derived::{self, Reads};
use crate::store::{
    BlobFile, BlobKey, BlobMeta, BlobPlace, BlobStore, BlobVersion, Capabilities, Folders, Page, Pages, PutMode,
    StoreError, StoreErrorKind, StoreResult,
};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing happens, and the caller gets this kind: `Full`, `Unavailable`, `Throttled`, `PermissionDenied`, or `Unknown`
    /// for a request that was lost.
    Before(StoreErrorKind),
    /// The call takes effect, and its answer is lost: the caller of a change gets `Unknown`, that of a read or of `persist` gets
    /// `Unavailable`. A call that fails by itself still gives its own error.
    After,
    /// Nothing happens, and no answer ever comes.
    Hang,
    /// The call goes on after this time of the clock.
    Slow(Duration),
}

/// One call that reached a [`FaultyStore`], whether it failed or not.
///
/// `delete_many` is a `delete` of each key and `get_ranges` a `get` of each range that is read, so that one of them can fail; each
/// page of `list_pages` is a `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The name of the trait's method.
    pub operation: &'static str,
    /// The blob's key; the new blob's of a copy, the prefix of a listing or `persist`.
    pub key: Option<BlobKey>,
    /// The source of a copy; of `copy_from`, its key in the other store.
    pub copied_from: Option<BlobKey>,
}

/// A store that passes every call on to another, and fails those that its [`Faults`] choose.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, StoreErrorKind};
/// use compute_gallery::testkit::{Fault, FaultyStore};
///
/// # futures::executor::block_on(async {
/// let store = FaultyStore::new(MemoryStore::new());
/// let key = "a".parse()?;
/// store.faults().fail_call(0, Fault::After);
/// let error = store.put(&key, Bytes::from_static(b"x"), PutMode::Create).await.unwrap_err();
/// assert_eq!(error.kind(), StoreErrorKind::Unknown);
/// assert_eq!(store.get(&key, None).await?, "x", "it happened all the same");
/// assert_eq!(store.faults().record().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Faults,
}

impl<S: BlobStore> FaultyStore<S> {
    /// Passes every call on to `inner` until its [`faults`](Self::faults) say otherwise.
    pub fn new(inner: S) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// A store that shares its faults with others.
    pub(super) fn with_faults(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The handle that chooses the calls that fail.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// The store below, past the faults.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

/// Chooses the calls of a [`FaultyStore`] that fail, and records all calls. Clones are one handle.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug)]
struct Plan {
    record: Vec<Call>,
    calls: u64,
    once: BTreeMap<u64, Fault>,
    onwards: Option<(u64, Fault)>,
    full: Option<u64>,
    rules: Rules<Fault>,
    latency: Duration,
    clock: Arc<dyn Clock>,
    dice: SeededEntropy,
}

impl Default for Plan {
    fn default() -> Self {
        let (once, rules) = Default::default();
        let (clock, dice) = (Arc::new(SystemClock), SeededEntropy::new(0));
        let (record, latency) = (Vec::new(), Duration::ZERO);
        Self { record, calls: 0, once, onwards: None, full: None, rules, latency, clock, dice }
    }
}

impl Faults {
    /// The number of calls since the store was made.
    pub fn calls(&self) -> u64 {
        self.plan().calls
    }

    /// Fails the call after `skipped` more; with 0, the next one.
    pub fn fail_call(&self, skipped: u64, fault: Fault) {
        let mut plan = self.plan();
        let number = plan.calls.saturating_add(skipped);
        plan.once.insert(number, fault);
    }

    /// Fails every call after `skipped` more: the store went away.
    pub fn fail_from(&self, skipped: u64, fault: Fault) {
        let mut plan = self.plan();
        plan.onwards = Some((plan.calls.saturating_add(skipped), fault));
    }

    /// After `skipped` more calls no space is left: every put and copy of any kind gets `Full`, all else goes on.
    pub fn fill_from(&self, skipped: u64) {
        let mut plan = self.plan();
        plan.full = Some(plan.calls.saturating_add(skipped));
    }

    /// Fails the calls that are chosen by operation, key, number, chance and time. Of several faults that hit a call, the one that was
    /// added first counts. An operation is the name of a method of [`BlobStore`]; a name that is none panics.
    ///
    /// ```
    /// use compute_gallery::store::{BlobStore, MemoryStore, StoreErrorKind};
    /// use compute_gallery::testkit::{Calls, Fault, FaultyStore};
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let store = FaultyStore::new(MemoryStore::new());
    /// let busy = StoreErrorKind::Throttled { after: Some(Duration::from_secs(30)) };
    /// store.faults().on(Calls::of("head").containing("packs/").nth(2), Fault::Before(busy));
    /// let (pack, other) = ("packs/a".parse()?, "other".parse()?);
    /// let mut kinds = Vec::new();
    /// for key in [&pack, &other, &pack, &pack] {
    ///     kinds.push(store.head(key).await.unwrap_err().kind());
    /// }
    /// assert_eq!(kinds, [StoreErrorKind::NotFound, StoreErrorKind::NotFound, busy, StoreErrorKind::NotFound]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn on(&self, calls: Calls, fault: Fault) {
        calls.check(STORE_CALLS, "a store");
        self.plan().rules.add(calls, fault);
    }

    /// Lets every call take this time of the clock, beside what faults say; zero by default.
    pub fn set_latency(&self, latency: Duration) {
        self.plan().latency = latency;
    }

    /// Sets the clock of faults with times and of slow calls: the system's by default.
    pub fn set_clock(&self, clock: impl Clock) {
        self.plan().clock = Arc::new(clock);
    }

    /// Sets the seed of faults with a chance: 0 by default.
    pub fn set_seed(&self, seed: u64) {
        self.plan().dice = SeededEntropy::new(seed);
    }

    /// The last time at which a fault begins or ends.
    pub(super) fn last_change(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        self.plan().rules.last_change()
    }

    /// No further call fails. The latency stays.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.once.clear();
        plan.rules = Rules::default();
        (plan.onwards, plan.full) = (None, None);
    }

    /// Makes a call that changes nothing, for bytes that are simulated.
    pub(super) async fn simulate(&self, operation: &'static str, key: &BlobKey) -> StoreResult<()> {
        self.pass(Call::new(operation, Some(key)), async { Ok(()) }).await
    }

    /// The calls so far, or since the last [`forget_record`](Self::forget_record).
    pub fn record(&self) -> Vec<Call> {
        self.plan().record.clone()
    }

    /// Empties the record; the count of calls goes on.
    pub fn forget_record(&self) {
        self.plan().record.clear();
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock()
    }

    async fn pass<T>(&self, call: Call, work: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        let (operation, key) = (call.operation, call.key.clone());
        let (fault, slow) = {
            let mut plan = self.plan();
            let now = plan.clock.now();
            let number = plan.calls;
            plan.calls += 1;
            plan.record.push(call);
            let onwards = plan.onwards.filter(|(from, _)| number >= *from).map(|(_, fault)| fault);
            let full = plan.full.filter(|from| number >= *from && takes_space(operation));
            let Plan { rules, dice, .. } = &mut *plan;
            let text = key.as_ref().map_or("", BlobKey::as_str);
            let chosen = rules.hit(operation, text, now, dice);
            let full = full.map(|_| Fault::Before(StoreErrorKind::Full));
            let fault = plan.once.remove(&number).or(onwards).or(full).or(chosen);
            let more = if let Some(Fault::Slow(more)) = fault { more } else { Duration::ZERO };
            let time = plan.latency.saturating_add(more);
            (fault, (!time.is_zero()).then(|| plan.clock.sleep(time)))
        };
        if let Some(slow) = slow {
            slow.await;
        }
        let kind = match fault {
            None | Some(Fault::Slow(_)) => return work.await,
            Some(Fault::Before(kind)) => kind,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::After) => {
                work.await?;
                match takes_space(operation) || matches!(operation, "delete" | "delete_if") {
                    true => StoreErrorKind::Unknown,
                    false => StoreErrorKind::Unavailable,
                }
            }
        };
        Err(StoreError::new(kind, operation, key.as_ref()).with_source("injected fault"))
    }
}

fn takes_space(operation: &str) -> bool {
    matches!(operation, "put" | "put_parts" | "replace_if" | "copy" | "copy_from")
}

impl Call {
    pub(super) fn new(operation: &'static str, key: Option<&BlobKey>) -> Self {
        Self { operation, key: key.cloned(), copied_from: None }
    }

    pub(super) fn copy(operation: &'static str, from: &BlobKey, to: &BlobKey) -> Self {
        Self { copied_from: Some(from.clone()), ..Self::new(operation, Some(to)) }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for FaultyStore<S> {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.faults.pass(Call::new("put", Some(key)), self.inner.put(key, bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.faults.pass(Call::new("get", Some(key)), self.inner.get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.faults.pass(Call::new("head", Some(key)), self.inner.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.faults.pass(Call::new("delete", Some(key)), self.inner.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.faults.pass(Call::new("list", under), self.inner.list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.faults.pass(Call::copy("copy", from, to), self.inner.copy(from, to, mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.faults.pass(Call::new("persist", Some(under)), self.inner.persist(under)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        self.faults.pass(Call::new("open_file", Some(key)), self.inner.open_file(key)).await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        self.faults.pass(Call::new("put_parts", Some(key)), self.inner.put_parts(key, parts, mode)).await
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let reads = Reads::new(ranges, self.capabilities());
        let asked = reads.requests().map(|range| self.get(key, Some(range))).collect();
        reads.answers(key, derived::at_once(asked, self.capabilities()).await)
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        derived::at_once(keys.iter().map(|key| self.delete(key)).collect(), self.capabilities()).await
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let start = (self.inner.list_pages(under, after), Call::new("list", under));
        Box::pin(stream::try_unfold(start, move |(mut pages, call)| async move {
            let page = self.faults.pass(call.clone(), pages.try_next()).await?;
            Ok(page.map(|page| (page, (pages, call))))
        }))
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        self.faults.pass(Call::new("list_folders", under), self.inner.list_folders(under, after, limit)).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        self.faults.pass(Call::new("replace_if", Some(key)), self.inner.replace_if(key, bytes, version)).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        self.faults.pass(Call::new("delete_if", Some(key)), self.inner.delete_if(key, version)).await
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        let call = Call::copy("copy_from", from, to);
        self.faults.pass(call, self.inner.copy_from(store, from, to, mode)).await
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
    use crate::store::MemoryStore;
    use futures::executor::block_on;

    fn head_kinds(store: &FaultyStore<MemoryStore>, count: usize) -> Vec<StoreErrorKind> {
        let key = "a".parse().unwrap();
        (0..count).map(|_| block_on(store.head(&key)).unwrap_err().kind()).collect()
    }

    #[test]
    fn the_chosen_calls_fail_and_no_others() {
        use StoreErrorKind::{Full, NotFound, Unavailable};
        let store = FaultyStore::new(MemoryStore::new());
        let faults = store.faults();
        faults.fail_call(1, Fault::Before(Full));
        faults.fail_from(3, Fault::Before(Unavailable));
        assert_eq!(head_kinds(&store, 5), [NotFound, Full, NotFound, Unavailable, Unavailable]);
        faults.heal();
        assert_eq!(head_kinds(&store, 1), [NotFound]);
        assert_eq!((faults.calls(), faults.record().len()), (6, 6));
    }

    #[test]
    fn a_full_store_can_be_read_and_deleted_from() {
        let store = FaultyStore::new(MemoryStore::new());
        let key = "a".parse().unwrap();
        store.faults().fill_from(1);
        block_on(store.put(&key, Bytes::new(), PutMode::Create)).unwrap();
        let error = block_on(store.put(&key, Bytes::new(), PutMode::Overwrite)).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Full);
        block_on(store.get(&key, None)).unwrap();
        block_on(store.delete(&key)).unwrap();
        store.faults().heal();
        block_on(store.put(&key, Bytes::new(), PutMode::Create)).unwrap();
    }

    #[test]
    fn a_call_that_fails_before_has_not_happened() {
        let store = FaultyStore::new(MemoryStore::new());
        store.faults().fail_call(0, Fault::Before(StoreErrorKind::Unknown));
        let key = "a".parse().unwrap();
        block_on(store.put(&key, Bytes::new(), PutMode::Create)).unwrap_err();
        assert!(block_on(store.inner().head(&key)).is_err());
    }
}
