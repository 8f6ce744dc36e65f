//! What waits to be committed, and the entry that is on its way. Data, which the log and the committing of it share.

use std::sync::Arc;

use bytes::Bytes;
use futures::channel::oneshot;

use super::driver::WeakDriver;
use super::entry::Nonce;
use super::event::Event;
use super::state::State;
use crate::access::{Authorization, Caller};
use crate::error::Result;

/// What an operation wants to happen in a given state, or why it must not: asked again after each lost race. No events
/// means that nothing is left to do.
pub(super) type Check = Box<dyn FnMut(&State) -> Result<Changes> + Send + Sync>;

/// What an operation changes, and what allowed it.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) events: Vec<Event>,
    pub(crate) authorization: Option<Authorization>,
}

/// An operation that waits to be committed.
pub(super) struct Pending {
    pub(super) caller: Caller,
    pub(super) check: Check,
    pub(super) done: oneshot::Sender<Result<Arc<State>>>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.caller)
    }
}

impl Pending {
    pub(super) fn answer(self, result: Result<Arc<State>>) {
        // The caller may have stopped listening.
        let _ = self.done.send(result);
    }
}

/// What waits to be committed, the entry that is on its way, and the work that commits.
///
/// INVARIANT: from before its first put until its fate is known an entry is in here, not in a future. So when the work
/// that put it is dropped with the last caller that waited, the next writer finds it, and settles it by putting the same
/// bytes again.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) queue: Vec<Pending>,
    pub(super) under_way: Option<Batch>,
    /// Every caller that waits drives it; there is one at a time.
    pub(super) driver: WeakDriver,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} waiting, under way: {:?})", self.queue.len(), self.under_way)
    }
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) draft: Draft,
    pub(super) next: Arc<State>,
    /// Whether a put of it was begun: it may land yet, unless it was answered.
    pub(super) is_sent: bool,
    /// Those that the entry is for, each with what its check came to in turn: a refusal may rest on a change that
    /// stands earlier in the same entry, so it too is told only when the entry's fate is known.
    pub(super) members: Vec<(Pending, Result<()>)>,
}

impl Batch {
    /// Tells each member `outcome`, or its own refusal where the outcome is a success.
    pub(super) fn answer(self, outcome: impl Fn() -> Result<Arc<State>>) {
        for (pending, verdict) in self.members {
            pending.answer(outcome().and_then(|state| verdict.map(|()| state)));
        }
    }
}

/// An entry as it is put.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) number: u64,
    pub(super) nonce: Nonce,
    pub(super) bytes: Bytes,
}

/// What became of an entry.
pub(super) enum Fate {
    Committed,
    /// The number is taken by another's entry.
    Lost,
    /// It is not there, and can be put again.
    Absent,
}
