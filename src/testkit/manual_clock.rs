//! A clock that you move by hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::host::Clock;

/// A clock that stands still until it is [advanced](Self::advance). Clones show the same time.
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
/// clock.advance(Duration::from_secs(60));
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
    sleepers: Vec<Waker>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self {
            state: Arc::new(Mutex::new(State { now: start, sleepers: Vec::new() })),
            advances_by_itself: false,
            is_compared_with_stores: false,
        }
    }

    /// A clock that jumps to the end of every sleep, so that nobody ever waits.
    pub fn auto_advancing(start: DateTime<Utc>) -> Self {
        Self { advances_by_itself: true, ..Self::new(start) }
    }

    /// The same clock, whose time is held against that of the stores, as the system's is: for stores that have their time
    /// from a clock like this one ([`MemoryStore::with_clock`](crate::store::MemoryStore::with_clock)).
    #[must_use]
    pub fn compared_with_stores(self) -> Self {
        Self { is_compared_with_stores: true, ..self }
    }

    /// Moves the clock forward and wakes those whose sleep is over.
    pub fn advance(&self, duration: Duration) {
        let woken = {
            let mut state = self.lock();
            state.now = after(state.now, duration);
            std::mem::take(&mut state.sleepers)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.lock().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        if self.advances_by_itself {
            return async move { clock.advance(duration) }.boxed();
        }
        let until = after(self.now(), duration);
        Sleep { clock, until }.boxed()
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
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.now >= self.until {
            return Poll::Ready(());
        }
        if !state.sleepers.iter().any(|sleeper| sleeper.will_wake(context.waker())) {
            state.sleepers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

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
}
