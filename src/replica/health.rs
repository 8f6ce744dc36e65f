//! The health of a store: one that fails or stalls is read last for a while.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::host::Clock;
use crate::host::sync::Mutex;

/// The time that a store is read last after a failure. Then one read tries it, and the others follow if it answers.
const REST: TimeDelta = TimeDelta::seconds(30);

/// Recent reads that the usual time is taken from.
const RECENT: usize = 64;

/// Reads that must have been observed before their times count.
const ENOUGH: usize = 16;

/// The time after which a read is late while too few were observed.
const AT_FIRST: Duration = Duration::from_secs(1);

/// The least and the longest time after which a read is late.
const LATE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// Reads for each one that may be repeated elsewhere because it is late: 5 %.
const READS_FOR_A_HEDGE: u32 = 20;

/// Hedges that can be saved up.
const SAVED_HEDGES: u32 = 2;

/// The health of a store, as its readers find it. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    clock: Arc<dyn Clock>,
    found: Arc<Mutex<Found>>,
}

#[derive(Debug)]
struct Found {
    /// It is read last until then.
    rests_until: Option<DateTime<Utc>>,
    /// The times of the last reads.
    recent: VecDeque<Duration>,
    /// Counts the reads towards the next hedges.
    saved: u32,
}

impl Health {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let saved = SAVED_HEDGES * READS_FOR_A_HEDGE;
        let found = Found { rests_until: None, recent: VecDeque::new(), saved };
        Self { clock, found: Arc::new(Mutex::new(found)) }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Returns whether both are of one store.
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.found, &other.found)
    }

    /// Returns whether the store is to be read last.
    pub(crate) fn rests(&self) -> bool {
        self.found.lock().rests_until.is_some()
    }

    /// Returns whether the store can be read first. After its rest, one caller is told so, to try it.
    pub(crate) fn may_be_first(&self) -> bool {
        let (now, mut found) = (self.clock.now(), self.found.lock());
        match found.rests_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                found.rests_until = now.checked_add_signed(REST);
                true
            }
        }
    }

    /// Notes that a read failed, or was so late that another store was faster.
    pub(crate) fn failed(&self) {
        let until = self.clock.now().checked_add_signed(REST);
        self.found.lock().rests_until = until;
    }

    /// Notes that a read that began at `began` was answered.
    pub(crate) fn answered(&self, began: DateTime<Utc>) {
        let took = self.clock.now().signed_duration_since(began).to_std().unwrap_or_default();
        let mut found = self.found.lock();
        // An answer to a question from before the failure says nothing of now.
        found.rests_until = found.rests_until.filter(|until| *until - REST > began);
        if found.recent.len() >= RECENT {
            found.recent.pop_front();
        }
        found.recent.push_back(took);
        found.saved = (found.saved + 1).min(SAVED_HEDGES * READS_FOR_A_HEDGE);
    }

    /// Returns the time after which a read is late: all but 5 % of the recent ones took less.
    pub(crate) fn late_after(&self) -> Duration {
        let found = self.found.lock();
        if found.recent.len() < ENOUGH {
            return AT_FIRST;
        }
        let mut times: Vec<Duration> = found.recent.iter().copied().collect();
        times.sort_unstable();
        let usual = times.get(times.len() * 19 / 20).copied().unwrap_or(AT_FIRST);
        usual.clamp(LATE.0, LATE.1)
    }

    /// Returns whether a late read may be repeated elsewhere: always if the store rests by now, otherwise as a hedge, of which there is
    /// one for 20 reads.
    pub(crate) fn may_be_left(&self) -> bool {
        let mut found = self.found.lock();
        if found.rests_until.is_some() {
            return true;
        }
        let left = found.saved.checked_sub(READS_FOR_A_HEDGE);
        found.saved = left.unwrap_or(found.saved);
        left.is_some()
    }
}

#[cfg(test)]
#[cfg(feature = "testkit")]
mod tests {
    use super::*;
    use crate::testkit::ManualClock;

    fn health() -> (ManualClock, Health) {
        let clock = ManualClock::new(DateTime::UNIX_EPOCH);
        (clock.clone(), Health::new(Arc::new(clock)))
    }

    #[test]
    fn a_store_that_failed_is_tried_by_one_read_after_its_rest() {
        let (clock, health) = health();
        assert!(health.may_be_first() && !health.rests());
        health.failed();
        assert!(!health.may_be_first() && health.rests());
        clock.advance(Duration::from_secs(30));
        assert_eq!([health.may_be_first(), health.may_be_first()], [true, false]);
        health.answered(clock.now());
        assert_eq!([health.may_be_first(), health.may_be_first()], [true, true]);
    }

    #[test]
    fn a_read_is_late_when_it_takes_longer_than_almost_all_did() {
        let (clock, health) = health();
        assert_eq!(health.late_after(), AT_FIRST);
        for number in 0..100 {
            let began = clock.now();
            clock.advance(Duration::from_millis(if number % 25 == 0 { 900 } else { 100 + number }));
            health.answered(began);
        }
        let late = health.late_after().as_millis();
        assert!((150..200).contains(&late), "{late}");
    }

    #[test]
    fn hedges_are_five_in_a_hundred_unless_the_store_rests() {
        let (clock, health) = health();
        let hedges = (0..1000).filter(|_| {
            health.answered(clock.now());
            health.may_be_left()
        });
        let hedges = hedges.count();
        assert!((45..=52).contains(&hedges), "{hedges}");
        health.failed();
        assert!((0..100).all(|_| health.may_be_left()));
    }
}
