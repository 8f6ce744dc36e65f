//! The pace of a writer: when it lets others go first.
//!
//! A writer that has just won knows the log's end, and its next put is under way while the others still read: left alone, it
//! wins until it is done. So it rests, for about the round trip that another needs: after each entry while others race, and
//! now and then in a long row of entries, since a writer that never lost cannot know of the others. What its callers ask for
//! meanwhile goes into one entry.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A round trip that is shorter is not worth a timer: such races are short anyway.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest round trip that counts: a call that hung says nothing about the next.
const LONGEST: Duration = Duration::from_secs(1);

/// The entries that a race is remembered for after the last that was lost.
const REMEMBERED: u32 = 8;

/// The most lost races for one entry that count as a crowd.
const CROWD: u32 = 16;

/// The length of a gap in round trips: long enough for another to read what it missed, and to put.
const GAP: f64 = 2.7;

/// Returns whether a row of entries without a race has a gap after its entry `nth`: soon, for one that is there from the
/// beginning, and then rarely, since each gap costs time.
fn has_gap_after(nth: u32) -> bool {
    matches!(nth, 2 | 6) || nth % 40 == 20
}

/// What a process knows of the race for the next entry.
#[derive(Debug, Default)]
pub(super) struct Pace {
    round_trip: Option<Duration>,
    /// The moving average of the races that an entry lost.
    crowd: f64,
    /// The entries for which the race is still remembered.
    raced: u32,
    /// The entries in a row, without a pause in between.
    row: u32,
    last: Option<Last>,
}

/// The newest own entry.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: DateTime<Utc>,
    rest: Duration,
}

impl Pace {
    /// Notes how long a put took.
    pub(super) fn took(&mut self, time: Duration) {
        let time = time.min(LONGEST);
        self.round_trip = Some(self.round_trip.map_or(time, |usual| (usual * 3 + time) / 4));
    }

    /// Notes that an entry was committed after so many lost races. `chance` is between 0 and 1.
    pub(super) fn won(&mut self, now: DateTime<Utc>, lost: u32, chance: f64) {
        let round_trip = self.round_trip.unwrap_or_default();
        self.row = if self.is_busy(now) { self.row.saturating_add(1) } else { 1 };
        self.raced = if lost > 0 { REMEMBERED } else { self.raced.saturating_sub(1) };
        self.crowd = 0.75 * self.crowd + 0.25 * f64::from(lost.min(CROWD));
        let round_trips = match (self.raced, self.row) {
            // With jitter, and longer in a crowd, so that writers do not move in lockstep.
            (1.., _) => 1.0 + chance / 2.0 + 0.3 * self.crowd,
            (0, row) if has_gap_after(row) => GAP,
            (0, _) => 0.0,
        };
        let rest = if round_trip < SHORTEST { Duration::ZERO } else { round_trip.mul_f64(round_trips) };
        self.last = Some(Last { at: now, rest });
    }

    /// Returns whether this process has put an entry just now: then it is not far behind.
    pub(super) fn is_busy(&self, now: DateTime<Utc>) -> bool {
        let round_trip = self.round_trip.unwrap_or_default();
        self.last.is_some_and(|last| since(last.at, now) <= last.rest + round_trip * 4)
    }

    /// Returns how long the next entry waits for others.
    pub(super) fn rest(&self, now: DateTime<Utc>) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last.rest.saturating_sub(since(last.at, now)))
    }
}

/// Returns the time that has passed; none if the clock went back.
fn since(then: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    now.signed_duration_since(then).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(30);

    /// The rests after each of so many entries, which follow each other at once and lost as many races each.
    fn rests(lost: &[u32]) -> Vec<u128> {
        let (mut pace, mut now) = (Pace::default(), DateTime::UNIX_EPOCH);
        pace.took(ROUND_TRIP);
        let rest = |lost: &u32| {
            now += ROUND_TRIP;
            pace.won(now, *lost, 0.0);
            let rest = pace.rest(now);
            now += rest;
            rest.as_millis()
        };
        lost.iter().map(rest).collect()
    }

    #[test]
    fn a_writer_alone_leaves_a_gap_now_and_then() {
        let gaps: Vec<usize> = (1..).zip(rests(&[0; 61])).filter(|(_, rest)| *rest > 0).map(|(at, _)| at).collect();
        assert_eq!(gaps, [2, 6, 20, 60]);
        assert_eq!(rests(&[0; 2]), [0, 81]);
    }

    #[test]
    fn a_winner_rests_while_others_race_and_for_a_while_after() {
        let rests = rests(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(rests.iter().take(8).all(|rest| (30..40).contains(rest)), "{rests:?}");
        assert_eq!(rests.last(), Some(&0));
    }

    #[test]
    fn a_call_that_hung_and_a_clock_that_goes_back_make_no_long_rest() {
        let (mut pace, now) = (Pace::default(), DateTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        pace.took(Duration::from_secs(60));
        pace.won(now, 1, 1.0);
        assert!(pace.rest(now) < Duration::from_secs(2));
        assert!(pace.rest(DateTime::UNIX_EPOCH) < Duration::from_secs(2));
        assert_eq!(pace.rest(now + Duration::from_secs(2)), Duration::ZERO);
    }
}
