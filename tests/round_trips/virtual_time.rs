//! Runs work in virtual time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use compute_gallery::testkit::ManualClock;

/// Runs `work` to its end. Time moves only when everything waits.
pub(crate) fn run<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let (mut work, waker) = (pin!(work), Waker::from(woken.clone()));
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        if !woken.0.swap(false, Ordering::Relaxed) {
            assert!(clock.advance_to_next().is_some(), "it waits for nothing");
            woken.0.store(false, Ordering::Relaxed);
        }
    }
}
