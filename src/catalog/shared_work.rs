//! Shared work that each of its waiters drives.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;

use crate::host::sync::Mutex;

/// A waiter for shared work. Polling any waiter polls the work, so a waiter that is alive and not polled does not stop
/// the others, and no task is needed. The work is dropped with its last waiter.
///
/// `futures::future::Shared` comes close, but there a waiter that arrives while another thread polls depends on that
/// thread's waiter to be polled again.
pub(super) struct SharedWork {
    shared: Arc<Shared>,
    seat: u64,
}

/// A reference that does not keep the work alive.
#[derive(Default)]
pub(super) struct WeakSharedWork(Weak<Shared>);

struct Shared {
    /// `None` once it is done.
    work: Mutex<Option<BoxFuture<'static, ()>>>,
    waiters: Arc<Waiters>,
    /// The work is done, or has panicked.
    is_over: AtomicBool,
    /// A waiter arrived while the work was polled: the polling one wakes it afterwards.
    is_missed: AtomicBool,
}

#[derive(Default)]
struct Waiters(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<u64, Waker>,
}

impl std::fmt::Debug for SharedWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedWork")
    }
}

impl SharedWork {
    pub(super) fn new(work: BoxFuture<'static, ()>) -> Self {
        let shared = Shared {
            work: Mutex::new(Some(work)),
            waiters: Arc::default(),
            is_over: AtomicBool::new(false),
            is_missed: AtomicBool::new(false),
        };
        Self::on(Arc::new(shared))
    }

    fn on(shared: Arc<Shared>) -> Self {
        let mut seats = shared.waiters.seats();
        let seat = seats.next;
        seats.next += 1;
        drop(seats);
        Self { shared, seat }
    }

    pub(super) fn downgrade(&self) -> WeakSharedWork {
        WeakSharedWork(Arc::downgrade(&self.shared))
    }
}

impl WeakSharedWork {
    /// Returns one more waiter, unless the work is over or was dropped.
    pub(super) fn upgrade(&self) -> Option<SharedWork> {
        let shared = self.0.upgrade().filter(|shared| !shared.is_over.load(Ordering::SeqCst))?;
        Some(SharedWork::on(shared))
    }
}

impl Future for SharedWork {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = &*self.shared;
        // ORDER: enter the waker, then poll the work. The other way round, the work is found pending -> another thread
        // finishes it and wakes all -> waker entered: this waiter sleeps forever.
        shared.waiters.enter(self.seat, context.waker());
        let Some(mut turn) = shared.take_turn() else { return Poll::Pending };
        let waker = Waker::from(shared.waiters.clone());
        let is_pending =
            |work: &mut BoxFuture<'_, ()>| work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        if turn.work().is_some_and(is_pending) {
            return Poll::Pending;
        }
        turn.is_the_last();
        Poll::Ready(())
    }
}

impl Drop for SharedWork {
    fn drop(&mut self) {
        self.shared.waiters.leave(self.seat);
    }
}

impl Shared {
    /// Returns the right to poll the work. If another waiter has it, that one wakes this waiter afterwards.
    fn take_turn(&self) -> Option<Turn<'_>> {
        let work = self.work.try_lock().or_else(|| {
            self.is_missed.store(true, Ordering::SeqCst);
            // The lock may have been released just before the flag was set.
            self.work.try_lock()
        });
        work.map(|work| Turn { shared: self, work: Some(work) })
    }
}

/// The right to poll the work.
struct Turn<'a> {
    shared: &'a Shared,
    work: Option<MutexGuard<'a, Option<BoxFuture<'static, ()>>>>,
}

impl Turn<'_> {
    /// Returns `None` if the work is over.
    fn work(&mut self) -> Option<&mut BoxFuture<'static, ()>> {
        let is_over = self.shared.is_over.load(Ordering::SeqCst);
        self.work.as_mut().filter(|_| !is_over)?.as_mut()
    }

    fn is_the_last(&mut self) {
        if let Some(work) = &mut self.work {
            **work = None;
        }
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.is_missed.store(true, Ordering::SeqCst);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.is_over.store(true, Ordering::SeqCst);
            self.shared.is_missed.store(true, Ordering::SeqCst);
        }
        // ORDER: release the lock, then wake. The other way round, a woken waiter finds the lock taken, sets
        // `is_missed` after it was read, and sleeps.
        self.work = None;
        if self.shared.is_missed.swap(false, Ordering::SeqCst) {
            self.shared.waiters.wake_all();
        }
    }
}

impl Waiters {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock()
    }

    fn enter(&self, seat: u64, waker: &Waker) {
        let mut seats = self.seats();
        let is_new = seats.taken.get(&seat).is_none_or(|there| !there.will_wake(waker));
        let old = if is_new { seats.taken.insert(seat, waker.clone()) } else { None };
        // ORDER: release the lock, then drop the old waker. It may own the last reference to a task that owns another
        // waiter, whose drop takes the lock.
        drop(seats);
        drop(old);
    }

    fn leave(&self, seat: u64) {
        // ORDER: as in `enter`: the lock is released at the end of the first statement.
        let waker = self.seats().taken.remove(&seat);
        drop(waker);
    }

    /// Wakes all of them, because any one may be parked.
    fn wake_all(&self) {
        let taken = std::mem::take(&mut self.seats().taken);
        taken.into_values().for_each(Waker::wake);
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;
    use futures::task::noop_waker;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waiter_that_comes_while_another_polls_is_woken_when_that_one_is_parked() {
        // The work lets the second waiter come in the middle of the first one's poll, and never wakes anybody.
        let second: Arc<Mutex<Option<SharedWork>>> = Arc::default();
        let woken = Arc::new(Woken::default());
        let (comes, waker) = (second.clone(), Waker::from(woken.clone()));
        let first = SharedWork::new(Box::pin(poll_fn(move |_| {
            let taken = comes.lock().take();
            if let Some(mut waiter) = taken {
                assert!(waiter.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
                *comes.lock() = Some(waiter);
            }
            Poll::Pending
        })));
        *second.lock() = first.downgrade().upgrade();
        let mut first = first;
        assert!(first.poll_unpin(&mut Context::from_waker(&noop_waker())).is_pending());
        assert!(woken.0.load(Ordering::SeqCst), "the first may never be polled again");
    }

    #[test]
    fn work_that_panics_is_over_for_all_that_wait() {
        let first = SharedWork::new(Box::pin(async { std::panic::resume_unwind(Box::new("as intended")) }));
        let mut second = first.downgrade().upgrade().unwrap();
        let woken = Arc::new(Woken::default());
        second.shared.waiters.enter(second.seat, &Waker::from(woken.clone()));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| first.now_or_never()));
        assert!(panicked.is_err() && woken.0.load(Ordering::SeqCst));
        assert!(second.downgrade().upgrade().is_none(), "others begin anew");
        assert!((&mut second).now_or_never().is_some());
    }

    #[test]
    fn a_waker_that_owns_another_waiter_locks_nothing_up() {
        struct Owner {
            _waiter: SharedWork,
        }
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {}
        }
        let mut first = SharedWork::new(Box::pin(std::future::pending()));
        let owner = |of: &SharedWork| Waker::from(Arc::new(Owner { _waiter: of.downgrade().upgrade().unwrap() }));
        // The old waker is dropped when a new one comes, and the last when its waiter goes.
        for _ in 0..2 {
            let waker = owner(&first);
            assert!(first.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
        let weak = first.downgrade();
        drop(first);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn work_goes_with_its_last_waiter() {
        let alive = Arc::new(());
        let held = alive.clone();
        let first = SharedWork::new(Box::pin(async move {
            let _held = held;
            std::future::pending().await
        }));
        let weak = first.downgrade();
        let second = weak.upgrade().unwrap();
        assert!(first.now_or_never().is_none());
        assert_eq!(Arc::strong_count(&alive), 2);
        drop(second);
        assert!(weak.upgrade().is_none());
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
