//! Work in flight: one bound for all that an operation asks of the stores at a time, and budgets that operations share.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::clock::Clock;
use super::deadlines::within;
use super::sync::Mutex;

/// Requests of one operation in flight. A round trip to a bucket takes as long as a few MiB of transfer, so the bound comes from
/// the network and not from the number of cores.
pub(crate) const REQUESTS: usize = 16;

/// Bytes of one operation in flight, of the catalog and of a service with the least memory.
pub(crate) const BYTES: u64 = 64 << 20;

/// An operation has at most this part of all memory in flight.
const SHARE: u64 = 4;

/// Bytes of one operation that are in flight even if all operations of the service together have no more to spare.
const LEAST_BYTES: u64 = 8 << 20;

/// The bytes that an operation has in flight: as many as the service's `memory` can spare, at most [its share](Budget::share).
pub(crate) fn bytes_of(memory: &Budget) -> (u64, Taken) {
    let more = memory.take_up_to(memory.share().saturating_sub(LEAST_BYTES));
    (LEAST_BYTES + more.units(), more)
}

/// Runs `work`, at most [`REQUESTS`] at a time, and returns the outputs in its order, so that the first error does not depend on
/// which one answers first.
pub(crate) async fn together<F: Future>(work: Vec<F>) -> Vec<F::Output> {
    let mut waiting = work.into_iter().enumerate();
    let (mut under_way, mut outputs) = (FuturesUnordered::new(), Vec::new());
    loop {
        while under_way.len() < REQUESTS
            && let Some((number, work)) = waiting.next()
        {
            // In a box: a set keeps room for one more future than it has.
            under_way.push(Box::pin(async move { (number, work.await) }));
        }
        match under_way.next().await {
            Some(done) => outputs.push(done),
            None => break,
        }
    }
    outputs.sort_unstable_by_key(|(number, _)| *number);
    outputs.into_iter().map(|(_, output)| output).collect()
}

/// As [`together`], and returns the first error in the order of `work`.
pub(crate) async fn all_of<T, E, F: Future<Output = Result<T, E>>>(work: Vec<F>) -> Result<Vec<T>, E> {
    together(work).await.into_iter().collect()
}

/// How long all who hold units may show no progress before one who waits for units goes on without.
const PATIENCE: Duration = Duration::from_secs(30);

/// A number of units that those who take some give back. Clones share it.
///
/// Units that are free are offered to those who wait in their order, but whoever asks first gets them. So one that waits and is not
/// polled costs the others at most the units that it waits for.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Mutex<Units>>);

#[derive(Debug)]
struct Units {
    all: u64,
    free: u64,
    asked: u64,
    /// Counts what shows that those who hold units are at work.
    progress: u64,
    /// Those who wait: a number, the units and the waker.
    waiting: VecDeque<(u64, u64, Waker)>,
}

/// Units of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    of: Budget,
    units: u64,
}

impl Budget {
    pub(crate) fn new(units: u64) -> Self {
        Self(Arc::new(Mutex::new(Units { all: units, free: units, asked: 0, progress: 0, waiting: VecDeque::new() })))
    }

    /// Returns the most units that one operation has.
    pub(crate) fn share(&self) -> u64 {
        self.0.lock().all / SHARE
    }

    /// Takes units, and waits for them. More than there are of all count as all.
    pub(crate) async fn take(&self, units: u64) -> Taken {
        let mut place = Place { of: self, number: None };
        poll_fn(|context| {
            let mut inner = self.0.lock();
            let units = units.min(inner.all);
            if inner.free < units {
                let waker = context.waker().clone();
                match inner.waiting.iter_mut().find(|(number, ..)| Some(*number) == place.number) {
                    Some((.., there)) => *there = waker,
                    None => {
                        inner.asked += 1;
                        let number = inner.asked;
                        place.number = Some(number);
                        inner.waiting.push_back((number, units, waker));
                    }
                }
                return Poll::Pending;
            }
            inner.free -= units;
            Poll::Ready(Taken { of: self.clone(), units })
        })
        .await
    }

    /// As [`take`](Self::take). Those who hold all units may be alive and not polled: if they have shown no progress for half a minute,
    /// it goes on without units, and the budget is exceeded.
    pub(crate) async fn take_patiently(&self, units: u64, clock: &dyn Clock) -> Taken {
        let mut taking = std::pin::pin!(self.take(units));
        loop {
            let before = self.0.lock().progress;
            if let Some(taken) = within(clock, Some(PATIENCE), &mut taking).await {
                return taken;
            }
            if self.0.lock().progress == before {
                return Taken { of: self.clone(), units: 0 };
            }
        }
    }

    /// Takes as many of `units` as are free, and leaves half of the free ones to the next. Never waits.
    pub(crate) fn take_up_to(&self, units: u64) -> Taken {
        let mut inner = self.0.lock();
        let units = units.min(inner.free / 2);
        inner.free -= units;
        Taken { of: self.clone(), units }
    }

    /// Wakes those who wait, in their order, as far as the free units go.
    fn offer(&self) {
        let woken: Vec<Waker> = {
            let inner = self.0.lock();
            let mut left = inner.free;
            let fits = inner.waiting.iter().take_while(|(_, units, _)| {
                let fits = *units <= left;
                left = left.saturating_sub(*units);
                fits
            });
            fits.map(|(.., waker)| waker.clone()).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

/// The place of one that waits; it is given up when dropped.
struct Place<'a> {
    of: &'a Budget,
    number: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(own) = self.number else { return };
        self.of.0.lock().waiting.retain(|(number, ..)| *number != own);
        // The units that it was offered go to the next.
        self.of.offer();
    }
}

impl Taken {
    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    /// Shows that the work that holds the units goes on.
    pub(crate) fn goes_on(&self) {
        self.of.0.lock().progress += 1;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut inner = self.of.0.lock();
        (inner.free, inner.progress) = (inner.free + self.units, inner.progress + 1);
        drop(inner);
        self.of.offer();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt;
    use futures::executor::block_on;
    use futures::future::join_all;

    use super::*;

    #[test]
    fn at_most_sixteen_run_at_a_time_and_outputs_come_in_order() {
        let (running, most) = (Cell::new(0_usize), Cell::new(0_usize));
        let work = (0..100).map(|number: usize| {
            let (running, most) = (&running, &most);
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                let mut turns = 2 + number % 7;
                poll_fn(|context| {
                    context.waker().wake_by_ref();
                    turns = turns.saturating_sub(1);
                    if turns == 0 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                running.set(running.get() - 1);
                if number % 10 == 3 { Err(number) } else { Ok(number) }
            }
        });
        let outputs = block_on(together(work.collect()));
        assert_eq!(most.get(), REQUESTS);
        assert!(outputs.iter().enumerate().all(|(number, one)| one.unwrap_or_else(|error| error) == number));
        let work = (0..9).map(|number| async move { if number > 4 { Err(number) } else { Ok(()) } });
        assert_eq!(block_on(all_of(work.collect())), Err(5));
    }

    #[test]
    fn a_budget_is_never_exceeded_and_everyone_gets_some() {
        let budget = Budget::new(10);
        let held = Cell::new(0);
        let work = (0..50_u64).map(|number| {
            let (budget, held) = (&budget, &held);
            async move {
                let units = 1 + number % 15;
                let taken = budget.take(units).await;
                held.set(held.get() + units.min(10));
                assert!(held.get() <= 10);
                let mut turns = 3;
                poll_fn(|context| {
                    context.waker().wake_by_ref();
                    turns -= 1;
                    if turns == 0 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                held.set(held.get() - units.min(10));
                drop(taken);
            }
        });
        assert_eq!(block_on(join_all(work)).len(), 50);
    }

    #[test]
    fn one_that_waits_and_is_not_polled_stops_nobody() {
        let budget = Budget::new(4);
        let first = budget.take(3).now_or_never().unwrap();
        let mut parked = Box::pin(budget.take(2));
        assert!((&mut parked).now_or_never().is_none());
        let mut next = Box::pin(budget.take(2));
        assert!((&mut next).now_or_never().is_none());
        drop(first);
        let next = next.now_or_never().unwrap();
        // One that goes away while it waits leaves its offer to the others.
        let mut last = Box::pin(budget.take(3));
        assert!((&mut last).now_or_never().is_none());
        drop(parked);
        drop(next);
        assert!(last.now_or_never().is_some());
    }
}
