//! Retries.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, TryStreamExt};

use super::blob::{BlobFile, BlobMeta, Folders, Page, Pages, PutMode};
use super::blob_place::BlobPlace;
use super::blob_store::BlobStore;
use super::blob_version::BlobVersion;
use super::capabilities::Capabilities;
use super::derived;
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;
use crate::host::{Clock, Entropy};

/// For how long, and after which pauses, a failed call of a store is repeated.
///
/// ```
/// use compute_gallery::store::RetryPolicy;
/// use std::time::Duration;
///
/// let patient = RetryPolicy::default().with_time(Duration::from_secs(300));
/// assert_ne!(patient, RetryPolicy::default());
/// assert_eq!(RetryPolicy::none(), RetryPolicy::default().with_time(Duration::ZERO));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    within: Duration,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// 30 seconds, with pauses of 100 ms at first and at most 5 s.
    fn default() -> Self {
        Self {
            within: Duration::from_secs(30),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// Makes each call once.
    pub fn none() -> Self {
        Self { within: Duration::ZERO, ..Self::default() }
    }

    /// Sets how long after the first attempt another one may begin: 30 seconds by default. With zero, each call is made once.
    #[must_use]
    pub fn with_time(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Sets the longest pause before the second attempt, 100 ms by default, and before any attempt, 5 s by default.
    #[must_use]
    pub fn with_pauses(self, first: Duration, longest: Duration) -> Self {
        Self { first_pause: first, longest_pause: longest, ..self }
    }
}

/// A store that repeats the failed calls of another one.
///
/// - It repeats a call after `Unavailable` and `Throttled` (nothing has happened), and after `Unknown` (the change may have
///   happened): the contract allows that. Any other error is returned at once.
/// - After an `Unknown`, each later error of the same call becomes `Unknown`, with itself as the cause. Above all a `Create` that
///   finds the blob after an `Unknown` is `Unknown`, because the blob may be its own or another's: the caller reads it, as after
///   any `Unknown`. A success is a success.
///   So is a [conditional change](BlobStore::replace_if) that then finds another version: that may be what it has made.
/// - Of [`delete_many`](BlobStore::delete_many) it repeats the failed ones. A [listing](BlobStore::list_pages) goes on after the
///   last page.
/// - It repeats `persist` after `Throttled` alone: after a failed sync, the success of a second one proves nothing.
/// - Pauses are random between zero and a bound that doubles (full jitter). The delay that a store asks for is added.
/// - When the time of a call is used up without success, the store counts as away: until a call succeeds, each further call is
///   made once, so that other replicas are read without delay.
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::host::{SystemClock, SystemEntropy};
/// use compute_gallery::store::{BlobStore, MemoryStore, PutMode, RetryPolicy, Retrying, StoreErrorKind};
/// use std::sync::Arc;
///
/// # futures::executor::block_on(async {
/// let bucket = MemoryStore::new();
/// let store = Retrying::new(bucket, RetryPolicy::default(), Arc::new(SystemClock), Arc::new(SystemEntropy));
/// store.put(&"a".parse()?, Bytes::new(), PutMode::Create).await?;
/// // No later attempt could have another answer.
/// let missing = store.get(&"b".parse()?, None).await.unwrap_err();
/// assert_eq!(missing.kind(), StoreErrorKind::NotFound);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Retrying<S> {
    inner: S,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    is_away: AtomicBool,
}

impl<S: BlobStore> Retrying<S> {
    /// Forwards every call to `inner`, and repeats it by `policy`.
    pub fn new(inner: S, policy: RetryPolicy, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { inner, policy, clock, entropy, is_away: AtomicBool::new(false) }
    }

    async fn ask<T, F: Future<Output = StoreResult<T>>>(&self, what: Call, call: impl Fn() -> F) -> StoreResult<T> {
        let mut asked = Asked::new(self.clock.now());
        loop {
            match call().await {
                Ok(answer) => {
                    self.has_answered();
                    return Ok(answer);
                }
                Err(error) => self.again(what, &mut asked, error).await?,
            }
        }
    }

    /// Waits until it is time for another attempt; the error if there is none.
    async fn again(&self, what: Call, asked: &mut Asked, error: StoreError) -> StoreResult<()> {
        let kind = error.kind();
        asked.times += 1;
        if !is_transient(kind) {
            self.has_answered();
        } else if what.is_worth_another(kind) && self.pause(asked, kind).await {
            asked.is_unclear |= what == Call::Change && kind == StoreErrorKind::Unknown;
            return Ok(());
        }
        Err(last(error, asked.times, asked.is_unclear))
    }

    fn has_answered(&self) {
        self.is_away.store(false, Ordering::Relaxed);
    }

    /// Waits, and returns true if there is time for another attempt.
    async fn pause(&self, asked: &mut Asked, kind: StoreErrorKind) -> bool {
        let left = self.policy.within.saturating_sub(asked.elapsed(self.clock.now()));
        let most = self.policy.first_pause.saturating_mul(1 << (asked.times - 1).min(16));
        let wanted = delay_of(kind);
        let pause = wanted.saturating_add(most.min(self.policy.longest_pause).mul_f64(self.chance()));
        if left.is_zero() || pause > left || self.is_away.load(Ordering::Relaxed) {
            // A single attempt does not show how long the store has been away, and neither does the wish for a long pause.
            self.is_away.fetch_or(wanted <= left && !self.policy.within.is_zero(), Ordering::Relaxed);
            return false;
        }
        self.clock.sleep(pause).await;
        asked.waited += pause;
        true
    }

    /// Returns a random number between 0 and 1.
    fn chance(&self) -> f64 {
        let mut bytes = [u8::MAX; 4];
        // Without randomness the pauses are only less well spread.
        let _ = self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}

/// The attempts of a call so far.
struct Asked {
    times: u32,
    since: DateTime<Utc>,
    waited: Duration,
    /// Whether the change may have happened, or happen yet.
    is_unclear: bool,
}

impl Asked {
    fn new(since: DateTime<Utc>) -> Self {
        Self { times: 0, since, waited: Duration::ZERO, is_unclear: false }
    }

    /// The time since the first attempt by the clock, at least the sum of the pauses, because a clock may be set back.
    fn elapsed(&self, now: DateTime<Utc>) -> Duration {
        now.signed_duration_since(self.since).to_std().unwrap_or_default().max(self.waited)
    }
}

/// The delay that the store asks for.
fn delay_of(kind: StoreErrorKind) -> Duration {
    match kind {
        StoreErrorKind::Throttled { after } => after.unwrap_or_default(),
        _ => Duration::ZERO,
    }
}

/// The error of the last of `times` attempts, of which an earlier one may have made the change.
fn last(error: StoreError, times: u32, is_unclear: bool) -> StoreError {
    match is_unclear && error.kind() != StoreErrorKind::Unknown {
        true => error.after_an_unclear_one(times),
        false => error.after(times),
    }
}

/// A deletion that is not done.
struct Open {
    /// Its place among the outcomes.
    place: usize,
    key: BlobKey,
    is_unclear: bool,
}

fn is_transient(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Throttled { .. } | StoreErrorKind::Unknown)
}

/// The kind of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Change,
    Sync,
}

impl Call {
    fn is_worth_another(self, kind: StoreErrorKind) -> bool {
        match self {
            Self::Read | Self::Change => is_transient(kind),
            Self::Sync => matches!(kind, StoreErrorKind::Throttled { .. }),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for Retrying<S> {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.ask(Call::Change, || self.inner.put(key, bytes.clone(), mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.ask(Call::Read, || self.inner.get(key, range.clone())).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.ask(Call::Read, || self.inner.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.ask(Call::Change, || self.inner.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.ask(Call::Read, || self.inner.list(under, after, limit)).await
    }

    async fn copy(&self, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.ask(Call::Change, || self.inner.copy(from, to, mode)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.ask(Call::Sync, || self.inner.persist(under)).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open_file(&self, key: &BlobKey) -> StoreResult<Option<BlobFile>> {
        self.ask(Call::Read, || self.inner.open_file(key)).await
    }

    async fn put_parts(&self, key: &BlobKey, parts: &[Bytes], mode: PutMode) -> StoreResult<()> {
        self.ask(Call::Change, || self.inner.put_parts(key, parts, mode)).await
    }

    async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.ask(Call::Read, || self.inner.get_ranges(key, ranges)).await
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Vec<StoreResult<()>> {
        let mut asked = Asked::new(self.clock.now());
        let new = |(place, key): (usize, &BlobKey)| Open { place, key: key.clone(), is_unclear: false };
        let mut open: Vec<Open> = keys.iter().enumerate().map(new).collect();
        let mut outcomes: Vec<(usize, StoreResult<()>)> = Vec::with_capacity(keys.len());
        while !open.is_empty() {
            let these: Vec<BlobKey> = open.iter().map(|one| one.key.clone()).collect();
            let mut answers = self.inner.delete_many(&these).await.into_iter();
            asked.times += 1;
            let mut failed: Vec<(Open, StoreError)> = Vec::new();
            for one in open {
                match answers.next().unwrap_or_else(|| Err(derived::unanswered(&one.key))) {
                    Err(error) if is_transient(error.kind()) => failed.push((one, error)),
                    answer => {
                        self.has_answered();
                        let answer = answer.map_err(|error| last(error, asked.times, one.is_unclear));
                        outcomes.push((one.place, answer));
                    }
                }
            }
            // The longest delay that is asked for is enough for all.
            let kind = failed.iter().map(|(_, error)| error.kind()).max_by_key(|kind| delay_of(*kind));
            let has_time = match kind {
                Some(kind) => self.pause(&mut asked, kind).await,
                None => break,
            };
            if !has_time {
                let end = |(one, error): (Open, StoreError)| (one.place, Err(last(error, asked.times, one.is_unclear)));
                outcomes.extend(failed.into_iter().map(end));
                break;
            }
            let again = |(one, error): (Open, StoreError)| Open {
                is_unclear: one.is_unclear || error.kind() == StoreErrorKind::Unknown,
                ..one
            };
            open = failed.into_iter().map(again).collect();
        }
        outcomes.sort_unstable_by_key(|(place, _)| *place);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn list_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let start = (None, under.cloned(), after.cloned());
        Box::pin(stream::try_unfold(start, move |(mut pages, under, mut after)| async move {
            let mut asked = Asked::new(self.clock.now());
            loop {
                let mut open: Pages<'_> =
                    pages.take().unwrap_or_else(|| self.inner.list_pages(under.as_ref(), after.as_ref()));
                match open.try_next().await {
                    Ok(page) => {
                        self.has_answered();
                        after = page.as_ref().and_then(|page| page.last()).map(|last| last.key.clone()).or(after);
                        return Ok(page.map(|page| (page, (Some(open), under, after))));
                    }
                    Err(error) => self.again(Call::Read, &mut asked, error).await?,
                }
            }
        }))
    }

    async fn list_folders(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Folders> {
        self.ask(Call::Read, || self.inner.list_folders(under, after, limit)).await
    }

    async fn replace_if(&self, key: &BlobKey, bytes: Bytes, version: &BlobVersion) -> StoreResult<()> {
        self.ask(Call::Change, || self.inner.replace_if(key, bytes.clone(), version)).await
    }

    async fn delete_if(&self, key: &BlobKey, version: &BlobVersion) -> StoreResult<()> {
        self.ask(Call::Change, || self.inner.delete_if(key, version)).await
    }

    async fn copy_from(&self, store: &dyn BlobStore, from: &BlobKey, to: &BlobKey, mode: PutMode) -> StoreResult<()> {
        self.ask(Call::Change, || self.inner.copy_from(store, from, to, mode)).await
    }

    fn place_of(&self, key: &BlobKey) -> Option<BlobPlace<'_>> {
        self.inner.place_of(key)
    }

    async fn distrust(&self, key: &BlobKey) -> bool {
        self.inner.distrust(key).await
    }
}
