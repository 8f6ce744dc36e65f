//! Waiting for room: first in, first out.

use std::collections::BTreeMap;

use futures::channel::oneshot;

use super::portion::{Portion, Portions};
use super::request::PlacementRequest;

/// The waiting requests, by ticket. None is served before the first, so that VMs do not starve a scale set.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiter>,
    next_ticket: u64,
}

/// A request in the queue, and the channel to its [`Acquire`](super::Acquire).
#[derive(Debug)]
pub(super) struct Waiter {
    request: PlacementRequest,
    sender: oneshot::Sender<Portions>,
}

/// Portions that were placed for a waiter and have not been sent to it.
#[derive(Debug)]
#[must_use = "its portions are lost unless they are sent"]
pub(super) struct Grant {
    sender: oneshot::Sender<Portions>,
    portions: Portions,
}

impl Grant {
    pub(super) fn portions(&self) -> &[Portion] {
        self.portions.as_slice()
    }

    /// Sends the portions, or returns them if the receiver is gone.
    pub(super) fn send(self) -> Result<(), Portions> {
        self.sender.send(self.portions)
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &PlacementRequest> {
        self.waiting.values().map(|waiter| &waiter.request)
    }

    /// Returns the request that is served next.
    pub(super) fn first(&self) -> Option<PlacementRequest> {
        self.waiting.first_key_value().map(|(_, waiter)| waiter.request)
    }

    pub(super) fn enter(&mut self, request: PlacementRequest) -> (u64, oneshot::Receiver<Portions>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, Waiter { request, sender });
        (ticket, receiver)
    }

    /// Removes a waiter.
    ///
    /// ORDER: the caller drops it after the pool is unlocked. That wakes a task, and a waker may run anything.
    #[must_use]
    pub(super) fn leave(&mut self, ticket: u64) -> Option<Waiter> {
        self.waiting.remove(&ticket)
    }

    /// Removes the first waiter, to which `portions` go.
    pub(super) fn grant_first(&mut self, portions: Portions) -> Option<Grant> {
        let (_, Waiter { sender, .. }) = self.waiting.pop_first()?;
        Some(Grant { sender, portions })
    }
}
