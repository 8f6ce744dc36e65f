//! What the sandbox has its service do: refuse calls, take time, and see late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;

use super::calls::{Calls, Rules};
use super::faulty_store::Faults;
use super::manual_clock::ManualClock;
use super::seeded_entropy::SeededEntropy;
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::Clock;
use crate::host::sync::Mutex;
use crate::model::{Region, ResourceId};
use crate::service::session::simulation::Simulation;
use crate::store::{BlobKey, StoreErrorKind};

/// What a session can be asked for and a [`Refusal`] can hit.
pub(super) const SESSION_CALLS: &[&str] = &["publish", "put", "complete", "replicate", "deploy", "change", "delete"];

/// How long bytes on their way are sent again to a region that does not answer: as long as a service does by default.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(5);

/// The error with which the service answers in place of doing what it is asked for: see [`Sandbox::refuse`](super::Sandbox::refuse).
///
/// ```
/// use compute_gallery::ErrorKind;
/// use compute_gallery::testkit::{Calls, Refusal, Sandbox};
/// use std::time::Duration;
///
/// # futures::executor::block_on(async {
/// let sandbox = Sandbox::new().await?;
/// sandbox.refuse(Calls::of("publish").first(1), Refusal::throttled(Duration::from_secs(30)));
/// let error = sandbox.publish("1.0.0", vec![7; 4096]).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Throttled { after: Some(Duration::from_secs(30)) });
/// sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    kind: ErrorKind,
    code: &'static str,
    message: String,
}

impl Refusal {
    /// An error of this kind, with a code of Azure's such as `OperationNotAllowed`.
    pub fn new(kind: ErrorKind, code: &'static str) -> Self {
        Self { kind, code, message: "The test has refused the call.".to_owned() }
    }

    /// Azure's 429, with its `Retry-After`.
    pub fn throttled(after: Duration) -> Self {
        Self::new(ErrorKind::Throttled { after: Some(after) }, "TooManyRequests")
    }

    /// Sets the message.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }
}

/// The bytes of disks that have arrived, by image and region.
pub(super) type Arrived = Arc<Mutex<BTreeMap<(String, Region), u64>>>;

#[derive(Debug)]
pub(super) struct Script {
    pub(super) clock: ManualClock,
    pub(super) bytes_per_second: BTreeMap<Region, u64>,
    pub(super) stores: BTreeMap<Region, Faults>,
    pub(super) arrived: Arrived,
    pub(super) late: Late,
    refusals: Mutex<Rules<Refusal>>,
    dice: SeededEntropy,
    /// Disks that are on their way.
    travelling: AtomicUsize,
}

impl Script {
    pub(super) fn new(clock: ManualClock, seed: u64) -> Self {
        let (bytes_per_second, stores, arrived, late, refusals, travelling) = Default::default();
        Self { clock, bytes_per_second, stores, arrived, late, refusals, dice: SeededEntropy::new(seed), travelling }
    }

    #[track_caller]
    pub(super) fn refuse_on(&self, calls: Calls, refusal: Refusal) {
        calls.check(SESSION_CALLS, "a session");
        self.refusals.lock().add(calls, refusal);
    }

    pub(super) fn accept_all(&self) {
        *self.refusals.lock() = Rules::default();
    }

    pub(super) fn is_travelling(&self) -> bool {
        self.travelling.load(Ordering::Relaxed) > 0
    }

    /// The last time at which a fault or a refusal begins or ends.
    pub(super) fn last_change(&self) -> Option<DateTime<Utc>> {
        let faults = self.stores.values().filter_map(Faults::last_change);
        faults.chain(self.refusals.lock().last_change()).max()
    }

    async fn arrive(
        &self,
        image: &ResourceId,
        region: &Region,
        (bytes, rate): (u64, u64),
        tell: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<()> {
        let at = (image.to_string().to_lowercase(), region.clone());
        let mut there = self.arrived.lock().get(&at).copied().unwrap_or(0).min(bytes);
        tell(there);
        for percent in 1..=100 {
            let next = u64::try_from((u128::from(bytes) * percent).div_ceil(100)).unwrap_or(bytes);
            if next <= there {
                continue;
            }
            // Rounded up: the whole never takes less than its bytes need.
            let nanoseconds = (u128::from(next - there) * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
            let takes = u64::try_from(nanoseconds).map_or(Duration::MAX, Duration::from_nanos);
            self.clock.sleep(takes).await;
            self.reach(region).await?;
            there = next;
            self.arrived.lock().insert(at.clone(), there);
            tell(there);
        }
        self.arrived.lock().remove(&at);
        Ok(())
    }

    /// Waits until the store of a region takes what is sent to it.
    async fn reach(&self, region: &Region) -> Result<()> {
        let (Some(store), Ok(key)) = (self.stores.get(region), "simulated/disk".parse::<BlobKey>()) else {
            return Ok(());
        };
        let began = self.clock.now();
        loop {
            let Err(error) = store.simulate("put", &key).await else { return Ok(()) };
            let pause = match error.kind() {
                StoreErrorKind::Throttled { after } => after.unwrap_or(PAUSE),
                StoreErrorKind::Unavailable | StoreErrorKind::Unknown => PAUSE,
                _ => return Err(error.at(&format!("region {region}"))),
            };
            if self.clock.now() + pause > began + PATIENCE {
                return Err(error.at(&format!("region {region}")));
            }
            self.clock.sleep(pause).await;
        }
    }
}

/// Counts disks on their way.
struct OnTheWay<'a>(&'a AtomicUsize);

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Simulation for Script {
    fn refuse(&self, verb: &'static str, resource: &str) -> Option<Error> {
        let refusal = self.refusals.lock().hit(verb, resource, self.clock.now(), &self.dice)?;
        Some(Error::new(Problem::new(refusal.kind, refusal.code, resource, refusal.message)))
    }

    fn travel<'a>(
        &'a self,
        image: &'a ResourceId,
        region: &'a Region,
        bytes: u64,
        tell: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<()>> {
        let rate = self.bytes_per_second.get(region).copied();
        Box::pin(async move {
            let Some(rate) = rate else { return Ok(()) };
            self.travelling.fetch_add(1, Ordering::Relaxed);
            let _counted = OnTheWay(&self.travelling);
            self.arrive(image, region, (bytes, rate), tell).await
        })
    }

    fn seen(&self, newest: Arc<State>) -> Arc<State> {
        self.late.seen(newest, self.clock.now())
    }
}

/// States that are shown only after a while.
#[derive(Debug, Default)]
pub(super) struct Late {
    by: Duration,
    /// Since when each was the newest.
    states: Mutex<VecDeque<(DateTime<Utc>, Arc<State>)>>,
}

impl Late {
    pub(super) fn by(by: Duration) -> Self {
        Self { by, states: Mutex::default() }
    }

    fn seen(&self, newest: Arc<State>, now: DateTime<Utc>) -> Arc<State> {
        if self.by.is_zero() {
            return newest;
        }
        let mut states = self.states.lock();
        if states.back().is_none_or(|(_, last)| last.number() != newest.number()) {
            states.push_back((now, newest.clone()));
        }
        while states.get(1).is_some_and(|(since, _)| *since + self.by <= now) {
            states.pop_front();
        }
        states.front().map_or(newest, |(_, shown)| shown.clone())
    }
}
