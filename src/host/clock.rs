//! Time.

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;

/// What time it is, and waiting.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time of day; it may jump in both directions.
    fn now(&self) -> DateTime<Utc>;

    /// Waits for at least `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Whether its time is made up, as in a simulation, and is not compared with the times that a store gives its blobs.
    fn is_virtual(&self) -> bool {
        false
    }

    /// Ends when `duration` is over, for something that should have come to its end before and is then given up.
    ///
    /// The same as [`sleep`](Self::sleep), except on a clock that jumps to the end of each sleep: there is nothing that is
    /// late on it.
    fn timeout(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep(duration)
    }
}

/// The operating system's clock. Its sleep needs no particular async runtime.
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
