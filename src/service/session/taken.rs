//! The duties that a call takes while it does what a driver does, so that a driver leaves them to it, and it leaves to a driver what that is
//! at work on. Where no driver has ever worked, it takes none: a call alone costs no commit more.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};

use super::rights::Need;
use super::session::Session;
use super::watch::Watch;
use crate::access::Action;
use crate::catalog::{Changes, DriverId, Duty, DutyRecord, Event, State};
use crate::content::names::UploadId;
use crate::error::Result;
use crate::model::ImageVersionId;

/// How far a call is with a duty, in percent.
type Percent<'a> = &'a (dyn Fn(&Duty) -> u8 + Sync);

/// The duties of a call that works on a version.
#[derive(Debug)]
pub(crate) struct TakenDuties {
    session: Session,
    version: ImageVersionId,
    /// Drawn when the first is taken.
    id: Option<DriverId>,
    watch: Watch,
    held: BTreeSet<Duty>,
}

impl TakenDuties {
    pub(crate) fn new(session: &Session, version: &ImageVersionId) -> Self {
        let (session, version) = (session.clone(), version.clone());
        Self { session, version, id: None, watch: Watch::default(), held: BTreeSet::new() }
    }

    /// Looks for signs of life of drivers in a state that was read since `before`, by the monotonic clock.
    pub(crate) fn look(&mut self, before: Duration, state: &State) {
        let (after, most) = (self.session.inner.clock.monotonic(), self.session.inner.quiet / 4);
        let of_drivers = state.duties().filter(|record| is_of_a_driver(record));
        self.watch.look(of_drivers.map(|record| &**record), (before, after), most);
    }

    /// Takes those of `wanted` that no driver is at work on, as the last [`look`](Self::look) has found. Returns those that are a driver's.
    ///
    /// A duty of another call is taken over: that may be gone, and its caller has come again. What cannot be committed is done without: a duty
    /// saves bytes, and gives no right.
    pub(crate) async fn take(&mut self, state: &State, wanted: BTreeSet<Duty>) -> BTreeSet<Duty> {
        if state.duties().next().is_none() {
            return BTreeSet::new();
        }
        let (mut busy, free): (BTreeSet<Duty>, BTreeSet<Duty>) =
            wanted.into_iter().partition(|duty| state.duty(duty).is_some_and(|record| self.is_at_work(record)));
        let as_seen: Vec<_> =
            free.iter().map(|duty| (duty.clone(), state.duty(duty).map(|record| record.beat))).collect();
        let patience = self.session.inner.clock.sleep(PATIENCE);
        let taken = match select(pin!(self.commit_taken(as_seen)), patience).await {
            Either::Left((Ok(taken), _)) => Some(taken),
            Either::Left((Err(_), _)) | Either::Right(_) => None,
        };
        if let Some(taken) = &taken {
            busy.extend(free.difference(taken).cloned());
        }
        self.held = taken.unwrap_or_default();
        busy
    }

    async fn commit_taken(&mut self, as_seen: Vec<(Duty, Option<u64>)>) -> Result<BTreeSet<Duty>> {
        if as_seen.is_empty() {
            return Ok(BTreeSet::new());
        }
        let id = match self.id {
            Some(id) => id,
            None => *self.id.insert(DriverId(UploadId::from_bytes(self.session.inner.draw()?))),
        };
        let (session, version) = (self.session.clone(), self.version.clone());
        let check = move |state: &State| {
            let authorization = session.authorize(state, &[Need::new(Action::WriteVersion, &version)])?;
            let free = |(duty, beat): &&(Duty, Option<u64>)| {
                let record = state.duty(duty);
                record.map(|record| record.beat) == *beat || record.is_none_or(|record| !is_of_a_driver(record))
            };
            let taken: BTreeSet<Duty> = as_seen.iter().filter(free).map(|(duty, _)| duty.clone()).collect();
            let event = |duty: &Duty| Event::DutyTaken { duty: duty.clone(), driver: id, by_call: true, at: None };
            Ok((Changes { events: taken.iter().map(event).collect(), authorization }, taken))
        };
        let (catalog, caller) = (self.session.inner.catalog.clone(), self.session.caller.clone());
        Ok(catalog.commit_found(&caller, check).await?.1)
    }

    /// Renews what is held for as long as it is polled, unless the work `is_paused`, and tells how far it is. Ends when a driver has taken
    /// one of them over.
    pub(crate) async fn keep(&self, percent: Percent<'_>, is_paused: &(dyn Fn() -> bool + Sync)) {
        let Some(id) = self.id.filter(|_| !self.held.is_empty()) else { return std::future::pending().await };
        loop {
            self.session.inner.clock.sleep(self.session.inner.quiet / 4).await;
            if is_paused() {
                continue;
            }
            let held: Vec<(Duty, u8)> = self.held.iter().map(|duty| (duty.clone(), percent(duty))).collect();
            let (session, version) = (self.session.clone(), self.version.clone());
            let check = move |state: &State| {
                let authorization = session.authorize(state, &[Need::new(Action::WriteVersion, &version)])?;
                let is_own = |(duty, _): &&(Duty, u8)| is_held_by(state, duty, id);
                let renewed = held.iter().filter(is_own).map(|(duty, percent)| {
                    let at = Some((version.clone(), *percent));
                    Event::DutyTaken { duty: duty.clone(), driver: id, by_call: true, at }
                });
                let is_lost =
                    held.iter().any(|(duty, _)| state.duty(duty).is_some_and(|record| is_of_a_driver(record)));
                Ok((Changes { events: renewed.collect(), authorization }, is_lost))
            };
            let committed = self.session.inner.catalog.commit_found(&self.session.caller, check).await;
            if committed.is_ok_and(|(_, is_lost)| is_lost) {
                return;
            }
        }
    }

    /// Lays down what is held. What cannot be committed is abandoned by its quiet.
    pub(crate) async fn lay_down(&mut self) {
        let (held, session, version) = (std::mem::take(&mut self.held), self.session.clone(), self.version.clone());
        let Some(id) = self.id.filter(|_| !held.is_empty()) else { return };
        let check = move |state: &State| {
            let authorization = session.authorize(state, &[Need::new(Action::WriteVersion, &version)])?;
            let events = held.iter().filter_map(|duty| laid_down(state, duty, Some(id))).collect();
            Ok(Changes { events, authorization })
        };
        let laid_down = self.session.inner.catalog.commit(&self.session.caller, check);
        let _ = select(pin!(laid_down), self.session.inner.clock.sleep(PATIENCE)).await;
    }

    /// Returns who holds them.
    pub(crate) fn holder(&self) -> Option<DriverId> {
        self.id
    }

    /// Returns whether a driver is at work on a duty.
    fn is_at_work(&self, record: &DutyRecord) -> bool {
        is_of_a_driver(record) && self.watch.quiet(&record.duty) < self.session.inner.quiet
    }
}

/// How long a call waits for the catalog to take a duty, or to lay it down.
const PATIENCE: Duration = Duration::from_secs(5);

fn is_of_a_driver(record: &DutyRecord) -> bool {
    record.driver.is_some() && !record.by_call
}

fn is_held_by(state: &State, duty: &Duty, holder: DriverId) -> bool {
    state.duty(duty).is_some_and(|record| record.driver == Some(holder))
}

/// Returns the event that lays a duty down, if `holder` has it.
pub(crate) fn laid_down(state: &State, duty: &Duty, holder: Option<DriverId>) -> Option<Event> {
    let is_held = holder.is_some_and(|holder| is_held_by(state, duty, holder));
    is_held.then(|| Event::DutyLaidDown { duty: duty.clone(), finished: false })
}
