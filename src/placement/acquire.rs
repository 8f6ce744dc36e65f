//! A position in the queue, as a future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::oneshot;

use super::lease::{Lease, SharedPool};
use super::portion::Portions;
use super::request::PlacementRequest;
use crate::error::{Error, Result};

/// A position in a pool's queue: a future that resolves to a [`Lease`]. Made by [`Pool::acquire`](super::Pool::acquire).
///
/// Dropping it leaves the queue. Portions that were granted and not yet taken are given back.
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Pool};
///
/// # futures::executor::block_on(async {
/// let pool = Pool::default();
/// pool.resize(1);
/// let full = pool.place_vms(20)?;
/// let (first, second) = (pool.acquire(PlacementRequest::vms(20)), pool.acquire(PlacementRequest::vm()));
/// drop(full);
/// // The first was granted all 20. It leaves without taking them, and the second is served.
/// drop(first);
/// assert_eq!(second.await?.portions().count(), 1);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "dropping it leaves the queue"]
pub struct Acquire {
    shared: Arc<SharedPool>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Decided(Result<Lease>),
    Waiting { ticket: u64, request: PlacementRequest, receiver: oneshot::Receiver<Portions> },
    Taken,
}

impl Acquire {
    pub(super) fn decided(shared: Arc<SharedPool>, result: Result<Lease>) -> Self {
        Self { shared, stage: Stage::Decided(result) }
    }

    pub(super) fn waiting(
        shared: Arc<SharedPool>,
        ticket: u64,
        request: PlacementRequest,
        receiver: oneshot::Receiver<Portions>,
    ) -> Self {
        Self { shared, stage: Stage::Waiting { ticket, request, receiver } }
    }
}

impl Future for Acquire {
    type Output = Result<Lease>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = match &mut this.stage {
            Stage::Taken => return Poll::Pending,
            Stage::Decided(_) => match std::mem::replace(&mut this.stage, Stage::Taken) {
                Stage::Decided(result) => result,
                _ => return Poll::Pending,
            },
            Stage::Waiting { request, receiver, .. } => {
                let Poll::Ready(portions) = Pin::new(receiver).poll(context) else { return Poll::Pending };
                let request = *request;
                this.stage = Stage::Taken;
                // The pool drops a sender unsent only when another waiter's waker panics.
                let closed = || Error::invalid("request", "the pool closed its queue: call `acquire` again");
                portions
                    .map(|portions| this.shared.lease(&request, portions))
                    .map_err(|error| closed().with_source(error))
            }
        };
        Poll::Ready(result)
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Stage::Waiting { ticket, receiver, .. } = &mut self.stage else { return };
        // ORDER: closed before it is read. Portions that were sent are found here, and those still on their way
        // return to their sender, which gives them back. In the other order, portions that arrive in between are lost.
        receiver.close();
        let granted = receiver.try_recv().ok().flatten();
        // The others may fit now.
        let waiter = self.shared.change(|state| {
            state.give_back(granted.iter().flat_map(Portions::as_slice));
            state.queue.leave(*ticket)
        });
        drop(waiter);
    }
}
