//! A place in the queue, as a future.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::channel::oneshot;

use super::lease::{Lease, SharedPool};
use super::portion::Portions;
use super::request::PlacementRequest;
use crate::error::{Error, Result};

/// A place in the queue: a future of a [`Lease`]. Dropping it gives the place back, or what was granted already.
#[derive(Debug)]
#[must_use = "a place in the queue is given up when this is dropped"]
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
                // The pool keeps the sender until it sends.
                let given_up = || Error::invalid("request", "its place in the queue was given up: ask again");
                portions
                    .map(|portions| this.shared.lease(&request, portions))
                    .map_err(|error| given_up().with_source(error))
            }
        };
        Poll::Ready(result)
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Stage::Waiting { ticket, receiver, .. } = &mut self.stage else { return };
        // ORDER: closed before it is read. Portions that were sent are found here; those still on their way go back to
        // their sender, which gives them back. Read first, portions that came in between would be lost.
        receiver.close();
        let granted = receiver.try_recv().ok().flatten();
        // It may have been what the others waited for.
        let waiter = self.shared.change(|state| {
            state.give_back(granted.iter().flat_map(Portions::as_slice));
            state.queue.leave(*ticket)
        });
        drop(waiter);
    }
}
