//! The time for irreversible acts, which is never taken from this process's clock alone.
//!
//! The times of a log ascend, so one entry from a clock that is a year ahead would delay everything that waits for a
//! time, and a purge by such a clock would come a year early. Therefore this process's clock is trusted only as far as
//! another one agrees: the store's, which it sets on each blob, else that of the newest entry of another writer. From
//! then on, the local clock only measures the elapsed time. Late is safe.

use std::sync::MutexGuard;

use chrono::{DateTime, TimeDelta, Utc};

use super::probe::store_time;
use super::state::State;
use crate::error::{Error, Result};
use crate::host::sync::Mutex;
use crate::host::{Clock, Entropy};
use crate::store::BlobStore;

/// The most that an entry may be ahead of the store's time.
const AHEAD_OF_STORE: TimeDelta = TimeDelta::minutes(10);

/// The most that an entry may be ahead of the newest entry of another writer, if the store reports no time: a gallery
/// may be quiet.
const AHEAD_OF_OTHERS: TimeDelta = TimeDelta::days(30);

/// A time of another clock.
#[derive(Clone, Copy, Debug)]
struct Told {
    time: DateTime<Utc>,
    /// The time of this process's clock at that moment.
    at: DateTime<Utc>,
    by_store: bool,
}

impl Told {
    /// Returns the current time of that clock, assuming that the local clock runs at the right speed.
    fn now(&self, clock: DateTime<Utc>) -> DateTime<Utc> {
        self.time + clock.signed_duration_since(self.at).max(TimeDelta::zero())
    }
}

/// The last time of another clock, if there is any.
#[derive(Debug)]
pub(super) struct LogTime(Mutex<Option<Told>>);

impl LogTime {
    /// `probed` is the store's current time, if it reports one. All entries of `state` count as other writers'.
    pub(super) fn new(clock: &dyn Clock, probed: Option<DateTime<Utc>>, state: &State) -> Self {
        let at = clock.now();
        let by_store = probed.filter(|_| !clock.is_virtual()).map(|time| Told { time, at, by_store: true });
        let by_others = (state.number() > 0).then(|| Told { time: state.time(), at, by_store: false });
        Self(Mutex::new(by_store.or(by_others)))
    }

    /// Notes the time of an entry of another writer.
    pub(super) fn read_of_another(&self, clock: &dyn Clock, time: DateTime<Utc>) {
        let (at, mut told) = (clock.now(), self.told());
        if told.is_none_or(|told| !told.by_store && told.now(at) < time) {
            *told = Some(Told { time, at, by_store: false });
        }
    }

    /// Returns the latest time of any clock: a retention starts from it, so that a local clock that is behind does not
    /// shorten it.
    pub(super) fn latest(&self, clock: &dyn Clock) -> DateTime<Utc> {
        let now = clock.now();
        self.told().map_or(now, |told| told.now(now).max(now))
    }

    /// Returns the earliest time of any clock. No I/O.
    pub(super) fn earliest(&self, clock: &dyn Clock) -> DateTime<Utc> {
        let now = clock.now();
        self.told().map_or(now, |told| told.now(now).min(now))
    }

    /// Reads the store's clock again, if it reports one.
    pub(super) async fn ask(&self, clock: &dyn Clock, store: &dyn BlobStore, entropy: &dyn Entropy) -> Result<()> {
        let is_by_store = self.told().is_some_and(|told| told.by_store);
        if is_by_store && let Some(time) = store_time(store, entropy).await? {
            *self.told() = Some(Told { time, at: clock.now(), by_store: true });
        }
        Ok(())
    }

    /// Refuses to write an entry if the local clock is far ahead. Asks the store if the newest entry is old.
    pub(super) async fn refuse_a_wrong_clock(
        &self,
        clock: &dyn Clock,
        store: &dyn BlobStore,
        entropy: &dyn Entropy,
        state: &State,
    ) -> Result<()> {
        let now = clock.now();
        if clock.is_virtual() || now <= state.time().checked_add_signed(AHEAD_OF_STORE).unwrap_or(now) {
            return Ok(());
        }
        Box::pin(self.ask(clock, store, entropy)).await?;
        let Some(told) = *self.told() else { return Ok(()) };
        let (limit, whose) = match told.by_store {
            true => (AHEAD_OF_STORE, "the catalog's store"),
            false => (AHEAD_OF_OTHERS, "the newest commit of another process"),
        };
        let (now, theirs) = (clock.now(), told.now(now));
        if now.signed_duration_since(theirs) <= limit {
            return Ok(());
        }
        let what = format!(
            "this process has {now}, {whose} has {theirs}: set the clock right. Nothing was written, because the times of a log \
             ascend and one from the future would stay"
        );
        Err(Error::unavailable("clock", what))
    }

    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.0.lock()
    }
}
