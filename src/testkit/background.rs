//! The driver of a sandbox.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::{ArcWake, waker};

use crate::error::Result;
use crate::host::sync::Mutex;
use crate::service::drive::{Done, Driver};

/// The driver of a sandbox, at work while the sandbox's time passes.
pub(super) struct Background {
    work: Mutex<Option<BoxFuture<'static, Result<()>>>>,
    done: Arc<Mutex<Vec<Done>>>,
    driver: Arc<dyn Fn() -> Driver + Send + Sync>,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("is_at_work", &self.work.lock().is_some()).finish_non_exhaustive()
    }
}

impl Background {
    pub(super) fn new(driver: impl Fn() -> Driver + Send + Sync + 'static) -> Self {
        Self { work: Mutex::default(), done: Arc::default(), driver: Arc::new(driver) }
    }

    /// Lets the driver look, if it is at rest.
    pub(super) fn wake(&self) {
        self.work.lock().get_or_insert_with(|| {
            let done = self.done.clone();
            let mut driver = (self.driver)().on_done(move |one| done.lock().push(one.clone()));
            async move { driver.run_until_idle().await }.boxed()
        });
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.work.lock().is_some()
    }

    pub(super) fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut self.done.lock())
    }

    fn poll(&self, context: &mut Context<'_>) -> Result<()> {
        let mut work = self.work.lock();
        let Some(at_work) = work.as_mut() else { return Ok(()) };
        match at_work.poll_unpin(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(ended) => {
                *work = None;
                ended
            }
        }
    }

    /// Lets it work until nothing more happens at this moment.
    pub(super) fn settle(&self, outer: &Waker) -> Result<()> {
        loop {
            let (flag, waker) = Flag::raised_by(outer);
            self.poll(&mut Context::from_waker(&waker))?;
            if !flag.is_raised() {
                return Ok(());
            }
        }
    }
}

/// Tells whether a task was woken, and wakes the one around it too.
pub(super) struct Flag {
    is_raised: AtomicBool,
    outer: Waker,
}

impl Flag {
    pub(super) fn raised_by(outer: &Waker) -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self { is_raised: AtomicBool::new(false), outer: outer.clone() });
        (flag.clone(), waker(flag))
    }

    pub(super) fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Acquire)
    }
}

impl ArcWake for Flag {
    fn wake_by_ref(flag: &Arc<Self>) {
        flag.is_raised.store(true, Ordering::Release);
        flag.outer.wake_by_ref();
    }
}
