//! A process's clock: time passes as it does for all, and the clock is wrong by a time of its own, which may jump.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::host::Clock;
use compute_gallery::testkit::ManualClock;
use futures::future::BoxFuture;

#[derive(Clone, Debug)]
pub struct WrongClock {
    truth: ManualClock,
    ahead: Arc<Mutex<TimeDelta>>,
}

impl WrongClock {
    pub fn new(truth: ManualClock) -> Self {
        Self { truth, ahead: Arc::default() }
    }

    /// Sets it ahead of the truth, or, if `ahead` is negative, behind.
    pub fn set_ahead(&self, ahead: TimeDelta) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
    }
}

impl Clock for WrongClock {
    fn now(&self) -> DateTime<Utc> {
        self.truth.now() + *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.truth.sleep(duration)
    }

    fn is_virtual(&self) -> bool {
        self.truth.is_virtual()
    }
}
