//! Waiting for room: first in, first out.

use std::collections::BTreeMap;

use futures::channel::oneshot;

use super::portion::Portions;
use super::request::PlacementRequest;

/// Those that wait, by ticket. Nobody is served before the first of them, so a scale set that needs much is not starved
/// by VMs that need little.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<u64, Waiter>,
    next_ticket: u64,
}

/// A request in the queue, and where its portions go.
#[derive(Debug)]
pub(super) struct Waiter {
    request: PlacementRequest,
    sender: oneshot::Sender<Portions>,
}

/// Portions that were placed for a waiter and have not been sent to it.
#[derive(Debug)]
#[must_use = "its portions are leased to nobody until they are sent"]
pub(super) struct Grant {
    sender: oneshot::Sender<Portions>,
    portions: Portions,
}

impl Grant {
    /// Sends the portions, or returns them where the receiver has gone.
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

    /// The request that is served next.
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

    /// Takes a waiter out. It is dropped when the pool is no longer locked: that wakes its task, which may run anything.
    #[must_use]
    pub(super) fn leave(&mut self, ticket: u64) -> Option<Waiter> {
        self.waiting.remove(&ticket)
    }

    /// Takes the first waiter out, with the portions that were placed for it.
    pub(super) fn grant_first(&mut self, portions: Portions) -> Option<Grant> {
        let (_, Waiter { sender, .. }) = self.waiting.pop_first()?;
        Some(Grant { sender, portions })
    }
}
