//! Waiting for room: first in, first out.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::oneshot;

use super::place::State;
use super::pool::Shared;
use super::{Explanation, Lease, Request};
use crate::error::{Error, Result};

/// Those that wait, by ticket. Nobody is served before the first of them, so a scale set that needs much is not starved
/// by VMs that need little.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiter>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiter {
    request: Request,
    sender: oneshot::Sender<Lease>,
}

/// A lease on its way to who waited for it. It is sent when the pool is no longer locked: waking may run anything, and
/// a lease whose receiver has gone is dropped, which locks the pool.
#[derive(Debug)]
#[must_use]
pub(super) struct Grant {
    sender: oneshot::Sender<Lease>,
    lease: Lease,
}

impl Grant {
    pub(super) fn send(self) {
        self.sender.send(self.lease).ok();
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.waiting.values().map(|waiter| &waiter.request)
    }

    pub(super) fn enter(&mut self, request: Request) -> (u64, oneshot::Receiver<Lease>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, Waiter { request, sender });
        (ticket, receiver)
    }
}

impl State {
    /// Places those that wait, in their order, up to the first that has no room.
    pub(super) fn grant(&mut self, shared: &Arc<Shared>) -> Vec<Grant> {
        let mut granted = Vec::new();
        while let Some(first) = self.queue.waiting.first_entry() {
            let request = first.get().request;
            let Ok(shares) = self.place(&request, &mut Explanation::unasked()) else { break };
            let Some((_, Waiter { sender, .. })) = self.queue.waiting.pop_first() else { break };
            granted.push(Grant { sender, lease: shared.lease(&request, shares) });
        }
        granted
    }
}

/// A place in the queue: a future of a [`Lease`]. Dropping it gives the place back, or the lease if it was granted
/// already.
#[derive(Debug)]
#[must_use = "a place in the queue is given up when this is dropped"]
pub struct Acquire {
    shared: Arc<Shared>,
    now: Option<Result<Lease>>,
    /// The ticket, and where the lease will come from.
    waiting: Option<(u64, oneshot::Receiver<Lease>)>,
}

impl Acquire {
    pub(super) fn ready(shared: Arc<Shared>, result: Result<Lease>) -> Self {
        Self { shared, now: Some(result), waiting: None }
    }

    pub(super) fn waiting(shared: Arc<Shared>, ticket: u64, receiver: oneshot::Receiver<Lease>) -> Self {
        Self { shared, now: None, waiting: Some((ticket, receiver)) }
    }
}

impl Future for Acquire {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(now) = self.now.take() {
            return Poll::Ready(now);
        }
        let Some((_, receiver)) = self.waiting.as_mut() else { return Poll::Pending };
        let Poll::Ready(lease) = Pin::new(receiver).poll(context) else { return Poll::Pending };
        self.waiting = None;
        // The pool keeps the sender until it sends.
        let given_up = || Error::invalid("request", "its place in the queue was given up: ask again");
        Poll::Ready(lease.map_err(|error| given_up().with_source(error)))
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some((ticket, _)) = &self.waiting else { return };
        let mut state = self.shared.lock();
        if state.queue.waiting.remove(ticket).is_none() {
            return;
        }
        // It may have been what the others waited for.
        let grants = state.grant(&self.shared);
        drop(state);
        grants.into_iter().for_each(Grant::send);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::executor::block_on;

    use super::*;
    use crate::model::StorageAccountType;
    use crate::placement::{PlacementPolicy, Pool};

    fn pool(replicas: u32) -> Pool {
        let pool = Pool::new(&PlacementPolicy::default(), StorageAccountType::StandardLrs);
        pool.resize(replicas);
        pool
    }

    #[test]
    fn what_comes_first_is_served_first_however_much_it_needs() {
        let pool = pool(1);
        let mut vms = pool.place(Request::vms(20)).unwrap();
        let mut large = pool.acquire(Request::scale_set(600));
        let mut small = pool.acquire(Request::vm());
        assert_eq!(pool.waiting(), 2);
        while let Some(vm) = vms.split_vm() {
            drop(vm);
            assert!((&mut small).now_or_never().is_none(), "it would overtake");
            assert!(pool.place(Request::vm()).is_err(), "it would overtake");
        }
        drop(vms);
        let large = (&mut large).now_or_never().unwrap().unwrap();
        assert!((&mut small).now_or_never().is_none());
        drop(large);
        assert!(small.now_or_never().unwrap().is_ok());
    }

    #[test]
    fn a_place_that_is_given_up_is_given_back() {
        let pool = pool(1);
        let nineteen = pool.place(Request::vms(19)).unwrap();
        let large = pool.acquire(Request::vms(20));
        let small = pool.acquire(Request::vm());
        drop(large);
        let small = small.now_or_never().expect("the large one no longer stands before it").unwrap();
        // Granted, and given up without having been looked at.
        let granted = pool.acquire(Request::vm());
        drop(small);
        drop(granted);
        drop(nineteen);
        assert_eq!(pool.replicas()[0].load, 0);
        assert_eq!(pool.waiting(), 0);
    }

    #[test]
    fn who_waits_is_woken_by_other_threads_and_by_new_replicas() {
        let pool = pool(1);
        let full = pool.place(Request::vms(20)).unwrap();
        let (first, second) = (pool.acquire(Request::vm()), pool.acquire(Request::vms(20)));
        std::thread::scope(|scope| {
            scope.spawn(|| drop(full));
            block_on(async {
                let lease = first.await.unwrap();
                pool.join(None);
                second.await.unwrap().finish();
                lease.finish();
            });
        });
        assert!(pool.replicas().iter().all(|replica| replica.load == 0));
    }

    #[test]
    fn nobody_waits_for_what_can_never_be() {
        let pool = pool(1);
        assert!(pool.acquire(Request::vms(21)).now_or_never().unwrap().is_err());
        assert!(pool.acquire(Request::scale_set(1_000)).now_or_never().unwrap().is_err());
        assert!(pool.acquire(Request::vms(0)).now_or_never().unwrap().is_err());
        assert_eq!(pool.waiting(), 0);
    }
}
