//! A clock that a test moves.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::host::Clock;
use crate::host::sync::Mutex;

/// A clock that stands still until it is moved. Clones show the same time.
///
/// A sleep is due at the time at which it was asked for plus its length, however late and however often it is polled. Each
/// sleep that is not over holds a wake-up until it is dropped.
///
/// - A [`new`](Self::new) clock moves only by [`advance`](Self::advance) and [`advance_to_next`](Self::advance_to_next).
///   A test polls its work until nothing more happens, then moves the clock: so time is exact, whatever else the work waits
///   for.
/// - An [`auto_advancing`](Self::auto_advancing) one moves by itself too, as described there.
///
/// ```
/// use compute_gallery::host::Clock;
/// use compute_gallery::testkit::ManualClock;
/// use futures::FutureExt;
/// use std::time::Duration;
///
/// let clock = ManualClock::new("2026-01-01T00:00:00Z".parse()?);
/// let mut sleep = clock.sleep(Duration::from_secs(60));
/// assert!((&mut sleep).now_or_never().is_none(), "it is not yet time");
/// assert_eq!(clock.next_wakeup(), Some("2026-01-01T00:01:00Z".parse()?));
/// clock.advance_to_next();
/// assert!(sleep.now_or_never().is_some());
/// assert_eq!(clock.now().to_rfc3339(), "2026-01-01T00:01:00+00:00");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
    advances_by_itself: bool,
    is_compared_with_stores: bool,
}

#[derive(Debug)]
struct State {
    now: DateTime<Utc>,
    /// Every sleep that is not due, by its end and a number of its own, with whom to wake.
    sleeps: BTreeMap<(DateTime<Utc>, u64), Option<Waker>>,
    /// How many sleeps there have been.
    begun: u64,
    /// How often a sleep has begun or ended, or the time has moved.
    changes: u64,
    /// How many hold it: then it does not move by itself.
    held: u32,
}

/// How often a sleep is polled in a row, with no change of the clock in between, before an auto-advancing clock moves:
/// others that are runnable have had as many turns.
const TURNS: u32 = 16;

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        let state = State { now: start, sleeps: BTreeMap::new(), begun: 0, changes: 0, held: 0 };
        Self { state: Arc::new(Mutex::new(state)), advances_by_itself: false, is_compared_with_stores: false }
    }

    /// A clock that moves by itself to the earliest wake-up when all that is left to do is to sleep. Concurrent sleeps
    /// pass together: ten of a minute take a minute, and a deadline of a minute comes before the end of a sleep of an hour
    /// that it races with.
    ///
    /// It knows of sleeps alone. A sleep that is polled lets everything else that is runnable have 16 turns; when no sleep
    /// has begun or ended meanwhile, the clock moves. So work that needs more turns than that without sleeping, or that
    /// waits for a thread, may be overtaken by a deadline that it races with: give such a service
    /// [`Workers::inline`](crate::host::Workers::inline) and stores in memory, or a [`new`](Self::new) clock.
    pub fn auto_advancing(start: DateTime<Utc>) -> Self {
        Self { advances_by_itself: true, ..Self::new(start) }
    }

    /// The same clock, compared with the stores' time, as the system's is: for stores that have their time
    /// from a clock like this one ([`MemoryStore::with_clock`](crate::store::MemoryStore::with_clock)).
    #[must_use]
    pub fn compared_with_stores(self) -> Self {
        Self { is_compared_with_stores: true, ..self }
    }

    /// Moves the clock forward and wakes those whose sleep is over.
    pub fn advance(&self, duration: Duration) {
        let woken = {
            let mut state = self.lock();
            let to = after(state.now, duration);
            state.move_to(to)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// The end of the next sleep; `None` without sleepers.
    pub fn next_wakeup(&self) -> Option<DateTime<Utc>> {
        self.lock().next()
    }

    /// Moves the clock to the [next wake-up](Self::next_wakeup) and wakes those whose sleep is over; returns the new
    /// time, or `None` without sleepers: then the clock stands still.
    pub fn advance_to_next(&self) -> Option<DateTime<Utc>> {
        let (next, woken) = {
            let mut state = self.lock();
            let next = state.next()?;
            (next, state.move_to(next))
        };
        woken.into_iter().for_each(Waker::wake);
        Some(next)
    }

    /// Keeps the clock from moving by itself until the hold is dropped.
    pub(super) fn hold(&self) -> Hold {
        self.lock().held += 1;
        Hold(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Holds a clock.
#[derive(Debug)]
pub(super) struct Hold(ManualClock);

impl Drop for Hold {
    fn drop(&mut self) {
        let woken: Vec<Waker> = {
            let mut state = self.0.lock();
            state.held -= 1;
            match state.held == 0 && self.0.advances_by_itself {
                true => state.sleeps.values().flatten().cloned().collect(),
                false => Vec::new(),
            }
        };
        // They move it from now on.
        woken.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn next(&self) -> Option<DateTime<Utc>> {
        self.sleeps.keys().next().map(|(until, _)| *until)
    }

    /// Moves to a later time; answers with whom to wake.
    fn move_to(&mut self, now: DateTime<Utc>) -> Vec<Waker> {
        self.now = now;
        self.changes += 1;
        let mut woken = Vec::new();
        while let Some(entry) = self.sleeps.first_entry().filter(|entry| entry.key().0 <= now) {
            woken.extend(entry.remove());
        }
        woken
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.lock().now
    }

    fn monotonic(&self) -> Duration {
        self.lock().now.signed_duration_since(DateTime::<Utc>::MIN_UTC).to_std().unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.lock();
        let (until, number) = (after(state.now, duration), state.begun);
        if until > state.now {
            state.sleeps.insert((until, number), None);
            (state.begun, state.changes) = (number + 1, state.changes + 1);
        }
        drop(state);
        Sleep { clock: self.clone(), until, number, quiet: (0, 0) }.boxed()
    }

    fn is_virtual(&self) -> bool {
        !self.is_compared_with_stores
    }

    fn timeout(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if self.advances_by_itself { std::future::pending().boxed() } else { self.sleep(duration) }
    }
}

fn after(now: DateTime<Utc>, duration: Duration) -> DateTime<Utc> {
    let moved = TimeDelta::from_std(duration).ok().and_then(|duration| now.checked_add_signed(duration));
    moved.unwrap_or(DateTime::<Utc>::MAX_UTC)
}

struct Sleep {
    clock: ManualClock,
    until: DateTime<Utc>,
    number: u64,
    /// The clock's changes at the last poll, and how many polls there have been since.
    quiet: (u64, u32),
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut state = clock.lock();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        if let Some(waker) = state.sleeps.get_mut(&(self.until, self.number)) {
            *waker = Some(context.waker().clone());
        }
        if !clock.advances_by_itself || state.held > 0 {
            return Poll::Pending;
        }
        self.quiet = match self.quiet {
            (changes, turns) if changes == state.changes => (changes, turns + 1),
            _ => (state.changes, 0),
        };
        let woken = match state.next().filter(|_| self.quiet.1 >= TURNS) {
            Some(next) => state.move_to(next),
            None => Vec::new(),
        };
        let over = state.now >= self.until;
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        if over {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut state = self.clock.lock();
        if state.sleeps.remove(&(self.until, self.number)).is_some() {
            state.changes += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::future::{Either, join_all, select};

    #[test]
    fn a_sleeper_on_another_thread_is_woken() {
        let clock = ManualClock::new(DateTime::UNIX_EPOCH);
        let sleep = clock.sleep(Duration::from_secs(5));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| block_on(sleep));
            clock.advance(Duration::from_secs(4));
            clock.advance(Duration::from_secs(1));
            sleeper.join().unwrap();
        });
    }

    #[test]
    fn an_auto_advancing_clock_never_waits_and_never_overflows() {
        let clock = ManualClock::auto_advancing(DateTime::UNIX_EPOCH);
        block_on(clock.sleep(Duration::from_secs(7)));
        assert_eq!(clock.now().timestamp(), 7);
        block_on(clock.sleep(Duration::MAX));
        assert_eq!(clock.now(), DateTime::<Utc>::MAX_UTC);
    }

    #[test]
    fn concurrent_sleeps_do_not_add_up() {
        let clock = ManualClock::auto_advancing(DateTime::UNIX_EPOCH);
        let lazily = |seconds| {
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_secs(seconds)).await;
                clock.now().timestamp()
            }
        };
        assert_eq!(block_on(join_all([1800, 1800, 60, 1800].map(lazily))), [1800, 1800, 60, 1800]);
        assert_eq!(clock.now().timestamp(), 1800);
        assert_eq!(clock.next_wakeup(), None);
    }

    #[test]
    fn a_deadline_comes_before_the_end_of_a_longer_sleep_whichever_is_polled_first() {
        for deadline_first in [true, false] {
            let clock = ManualClock::auto_advancing(DateTime::UNIX_EPOCH);
            let (deadline, slow) = (clock.sleep(Duration::from_secs(60)), clock.clone());
            let work = async move { slow.sleep(Duration::from_secs(1800)).await }.boxed();
            let late = match deadline_first {
                true => matches!(block_on(select(deadline, work)), Either::Left(_)),
                false => matches!(block_on(select(work, deadline)), Either::Right(_)),
            };
            assert!(late, "the work came first");
            assert_eq!(clock.now().timestamp(), 60);
            assert_eq!(clock.next_wakeup(), None, "what was dropped is not waited for");
        }
    }

    #[test]
    fn a_sleep_that_is_not_polled_blocks_no_other() {
        let clock = ManualClock::auto_advancing(DateTime::UNIX_EPOCH);
        let forgotten = clock.sleep(Duration::from_secs(5));
        block_on(clock.sleep(Duration::from_secs(7)));
        assert_eq!(clock.now().timestamp(), 7);
        block_on(forgotten);
        assert_eq!(clock.now().timestamp(), 7);
    }

    #[test]
    fn work_that_takes_turns_without_sleeping_takes_no_time() {
        let clock = ManualClock::auto_advancing(DateTime::UNIX_EPOCH);
        let mut turns = 0;
        let busy = futures::future::poll_fn(|context| {
            turns += 1;
            context.waker().wake_by_ref();
            if turns < TURNS { Poll::Pending } else { Poll::Ready(()) }
        });
        let first = block_on(select(clock.sleep(Duration::from_secs(5)), busy));
        assert!(matches!(first, Either::Right(_)), "time has passed while there was work");
    }

    #[test]
    fn a_clock_is_moved_from_wakeup_to_wakeup() {
        let clock = ManualClock::new(DateTime::UNIX_EPOCH);
        let (mut short, mut long) = (clock.sleep(Duration::from_secs(1)), clock.sleep(Duration::from_secs(9)));
        assert!((&mut long).now_or_never().is_none() && (&mut short).now_or_never().is_none());
        assert_eq!(clock.advance_to_next().map(|now| now.timestamp()), Some(1));
        assert!(short.now_or_never().is_some() && (&mut long).now_or_never().is_none());
        drop(long);
        assert_eq!((clock.next_wakeup(), clock.advance_to_next(), clock.now().timestamp()), (None, None, 1));
    }
}
