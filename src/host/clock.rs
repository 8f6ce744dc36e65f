//! Time.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

/// A source of time, and timers.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use compute_gallery::host::{Clock, SystemClock};
/// use futures::future::BoxFuture;
/// use std::time::Duration;
///
/// /// The system's clock on a machine that is an hour slow.
/// #[derive(Debug)]
/// struct Corrected;
///
/// impl Clock for Corrected {
///     fn now(&self) -> DateTime<Utc> {
///         SystemClock.now() + Duration::from_secs(3600)
///     }
///
///     fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
///         SystemClock.sleep(duration)
///     }
/// }
///
/// assert!(Corrected.now() > SystemClock.now());
/// ```
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the current time; it may jump in both directions.
    fn now(&self) -> DateTime<Utc>;

    /// Returns the time since any fixed moment, by a clock that never jumps: differences are time that has passed.
    ///
    /// By default it is the time since the process first asked. A clock whose time is artificial overrides it.
    fn monotonic(&self) -> Duration {
        monotonic()
    }

    /// Waits for at least `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Returns whether its time is artificial, as in a simulation, and not to be compared with the times of a store's blobs.
    fn is_virtual(&self) -> bool {
        false
    }

    /// Waits for `duration` as a deadline of work that normally ends earlier.
    ///
    /// By default it is [`sleep`](Self::sleep). A clock that jumps to the end of each sleep overrides it, so that work on it is
    /// never late.
    fn timeout(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep(duration)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the seam that all time comes through")]
fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The operating system's clock. Its timers need no particular async runtime.
///
/// ```
/// use compute_gallery::host::{Clock, SystemClock};
/// use std::time::Duration;
///
/// let before = SystemClock.now();
/// futures::executor::block_on(SystemClock.sleep(Duration::from_millis(2)));
/// assert!(SystemClock.now() > before);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that all time comes through")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        futures_timer::Delay::new(duration).boxed()
    }
}
