//! One piece of work for all who ask for the same at the same time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::shared_work::{SharedWork, WeakSharedWork};
use crate::host::sync::Mutex;
use crate::host::turns::others_go_first;

/// Work whose answer is shared by all who asked before it began. Who asks later waits for the next, which begins when this one
/// is over: so an answer is never older than its question, and two are never under way at once.
pub(super) struct SingleFlight<T>(Mutex<Option<Flight<T>>>);

struct Flight<T> {
    waiter: WeakSharedWork,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    has_begun: AtomicBool,
    /// Whether others asked too, or wait for its end: then any of them may have driven it.
    is_shared: AtomicBool,
    answer: Mutex<Option<T>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> fmt::Debug for SingleFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SingleFlight")
    }
}

impl<T: Clone + Send + 'static> SingleFlight<T> {
    /// Returns the answer of work that begins after this call, and whether others shared it. `None` if it has panicked.
    pub(super) async fn ask<F>(&self, work: impl FnOnce() -> F) -> Option<(T, bool)>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (waiter, shared) = self.board(work);
        // Those that ask in the same turn come on board, too.
        others_go_first().await;
        waiter.await;
        let answer = shared.answer.lock();
        answer.clone().map(|answer| (answer, shared.is_shared.load(Ordering::SeqCst)))
    }

    fn board<F>(&self, work: impl FnOnce() -> F) -> (SharedWork, Arc<Shared<T>>)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut newest = self.0.lock();
        let under_way = newest.as_ref().and_then(|flight| Some((flight.waiter.upgrade()?, flight.shared.clone())));
        if let Some((_, shared)) = &under_way {
            shared.is_shared.store(true, Ordering::SeqCst);
        }
        let before = match under_way {
            Some((waiter, shared)) if !shared.has_begun.load(Ordering::SeqCst) => return (waiter, shared),
            Some((waiter, _)) => Some(waiter),
            None => None,
        };
        let shared = Arc::new(Shared {
            has_begun: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            answer: Mutex::new(None),
        });
        let (of_work, work) = (shared.clone(), work());
        let waiter = SharedWork::new(Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            of_work.has_begun.store(true, Ordering::SeqCst);
            let answer = work.await;
            *of_work.answer.lock() = Some(answer);
        }));
        *newest = Some(Flight { waiter: waiter.downgrade(), shared: shared.clone() });
        (waiter, shared)
    }
}
