//! A store that is asked again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::blob_store::{BlobMeta, BlobStore, Page, PutMode};
use super::error::{StoreErrorKind, StoreResult};
use super::key::BlobKey;
use crate::host::{Clock, Entropy};

/// How often, and for how long, a store is asked again that did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    within: Duration,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// For 30 seconds, after pauses of 100 ms at first and of 5 s at most.
    fn default() -> Self {
        Self {
            within: Duration::from_secs(30),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// Each call is made once.
    pub fn none() -> Self {
        Self { within: Duration::ZERO, ..Self::default() }
    }

    /// How long after the first attempt another one may begin. With zero, each call is made once.
    #[must_use]
    pub fn with_time(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// How long the pause before the second attempt is at most, and that before any.
    #[must_use]
    pub fn with_pauses(self, first: Duration, longest: Duration) -> Self {
        Self { first_pause: first, longest_pause: longest, ..self }
    }
}

/// A store that asks another one again, when that one did not do what it was asked for.
///
/// - Asked again is after `Unavailable` and `Throttled` (nothing has happened), and after `Unknown` (it may have): every
///   call may be repeated without harm. After any other error nothing is gained by it.
/// - What may have happened once stays so: after an `Unknown`, each later error of the same call is told as `Unknown`, with
///   itself as the cause. Above all a `Create` that finds the blob there after an `Unknown` is told as `Unknown`, because
///   the blob may be its own or another's: the caller reads it and sees, as for any `Unknown`. A success is a success.
/// - `persist` is asked again only after `Throttled`: a sync that failed says nothing the second time.
/// - Pauses are drawn between nothing and a bound that doubles (full jitter). A store that says how long it wants to be
///   left alone is left alone for so long on top.
/// - When a call has used up its time in vain, the store counts as away: further calls are made once each, so that other
///   replicas are asked without delay, until one is answered.
#[derive(Debug)]
pub struct Retrying<S> {
    inner: S,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    is_away: AtomicBool,
}

impl<S: BlobStore> Retrying<S> {
    /// Passes every call on to `inner`, again where `policy` has it so.
    pub fn new(inner: S, policy: RetryPolicy, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { inner, policy, clock, entropy, is_away: AtomicBool::new(false) }
    }

    async fn ask<T, F: Future<Output = StoreResult<T>>>(&self, what: Call, call: impl Fn() -> F) -> StoreResult<T> {
        let (mut asked, mut is_unclear) = (Asked::new(self.clock.now()), false);
        loop {
            let error = match call().await {
                Ok(answer) => {
                    self.is_away.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            asked.times += 1;
            if !is_transient(error.kind()) {
                self.is_away.store(false, Ordering::Relaxed);
            } else if what.is_worth_another(error.kind()) && self.pause(&mut asked, error.kind()).await {
                is_unclear |= what == Call::Change && error.kind() == StoreErrorKind::Unknown;
                continue;
            }
            return Err(match is_unclear && error.kind() != StoreErrorKind::Unknown {
                true => error.after_an_unclear_one(asked.times),
                false => error.after(asked.times),
            });
        }
    }

    /// Waits, if there is time for another attempt.
    async fn pause(&self, asked: &mut Asked, kind: StoreErrorKind) -> bool {
        let left = self.policy.within.saturating_sub(asked.for_so_long(self.clock.now()));
        let most = self.policy.first_pause.saturating_mul(1 << (asked.times - 1).min(16));
        let wanted = match kind {
            StoreErrorKind::Throttled { after } => after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let pause = wanted.saturating_add(most.min(self.policy.longest_pause).mul_f64(self.chance()));
        if left.is_zero() || pause > left || self.is_away.load(Ordering::Relaxed) {
            // One attempt alone says nothing of how long it has been so, and neither does the wish for a long pause.
            self.is_away.fetch_or(wanted <= left && !self.policy.within.is_zero(), Ordering::Relaxed);
            return false;
        }
        self.clock.sleep(pause).await;
        asked.waited += pause;
        true
    }

    /// Between 0 and 1.
    fn chance(&self) -> f64 {
        let mut bytes = [u8::MAX; 4];
        // Without chance the pause is only less well spread.
        let _ = self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }
}

/// What a call has cost so far.
struct Asked {
    times: u32,
    since: DateTime<Utc>,
    waited: Duration,
}

impl Asked {
    fn new(since: DateTime<Utc>) -> Self {
        Self { times: 0, since, waited: Duration::ZERO }
    }

    /// By the clock, and never less than the pauses, because a clock may be set back.
    fn for_so_long(&self, now: DateTime<Utc>) -> Duration {
        now.signed_duration_since(self.since).to_std().unwrap_or_default().max(self.waited)
    }
}

fn is_transient(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Throttled { .. } | StoreErrorKind::Unknown)
}

/// What a call is for.
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
}
