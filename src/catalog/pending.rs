//! Pending operations and the entry under way: the data that the log and the commits share.

use std::sync::Arc;

use bytes::Bytes;
use futures::channel::oneshot;

use super::entry::Nonce;
use super::event::Event;
use super::shared_work::WeakSharedWork;
use super::state::State;
use crate::access::{Authorization, Caller};
use crate::error::{Error, Result};
use crate::host::sync::Mutex;

/// Returns an operation's changes to a given state, or its refusal. Called again after each lost race. No events mean
/// that nothing is left to do.
pub(super) type Check = Box<dyn FnMut(&State) -> Result<Changes> + Send + Sync>;

/// The events of an operation, and the permission that allowed them.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) events: Vec<Event>,
    pub(crate) authorization: Option<Authorization>,
}

/// An operation that waits for its commit.
pub(super) struct Pending {
    pub(super) caller: Caller,
    pub(super) check: Check,
    pub(super) done: oneshot::Sender<Result<Arc<State>>>,
    pub(super) stage: Stage,
}

/// Whether an operation was ever part of an entry that was put. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage(Arc<Mutex<Reached>>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Reached {
    #[default]
    Waits,
    /// An entry with the operation was put, or is about to be.
    Sent,
    /// Its caller was told that nothing was committed.
    Withdrawn,
}

impl Stage {
    /// Returns false if the operation was withdrawn. Otherwise it can be no more.
    pub(super) fn send(&self) -> bool {
        self.reach(Reached::Sent)
    }

    /// Returns false if an entry with the operation was ever put. Otherwise none will be.
    pub(super) fn withdraw(&self) -> bool {
        self.reach(Reached::Withdrawn)
    }

    fn reach(&self, wanted: Reached) -> bool {
        let mut reached = self.0.lock();
        if *reached == Reached::Waits {
            *reached = wanted;
        }
        *reached == wanted
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        *self.0.lock() == Reached::Withdrawn
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.caller)
    }
}

impl Pending {
    pub(super) fn answer(self, result: Result<Arc<State>>) {
        // The caller may be gone.
        let _ = self.done.send(result);
    }

    /// Returns whether its caller still waits.
    pub(super) fn is_wanted(&self) -> bool {
        !self.done.is_canceled() && !self.stage.is_withdrawn()
    }
}

/// The pending operations, the entry under way, and the work that commits.
///
/// INVARIANT: from before its first put until its fate is known, an entry is in here, not in a future. So if the work
/// that put it is dropped with its last waiting caller, the next writer finds the entry and settles it by putting the
/// same bytes again.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) queue: Vec<Pending>,
    pub(super) under_way: Option<Batch>,
    /// Every waiting caller drives it; there is one at a time.
    pub(super) committing: WeakSharedWork,
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
    /// True once a put has started: it may land, until it is answered.
    pub(super) is_sent: bool,
    /// The operations of the entry, each with the result of its check. A refusal may depend on an earlier change of the
    /// same entry, so it too is answered only when the entry's fate is known.
    pub(super) members: Vec<(Pending, Result<()>)>,
}

impl Batch {
    /// Answers each member with `outcome`, or with its own refusal if the outcome is a success.
    pub(super) fn answer(self, outcome: impl Fn() -> Result<Arc<State>>) {
        for (pending, verdict) in self.members {
            pending.answer(outcome().and_then(|state| verdict.map(|()| state)));
        }
    }
}

/// An entry, encoded.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) number: u64,
    pub(super) nonce: Nonce,
    pub(super) bytes: Bytes,
}

/// The fate of an entry that was put.
pub(super) enum Fate {
    Committed,
    /// Another writer's entry has the number. It was read, and is in the newest state.
    Lost,
    /// A newer build's entry has the number, which this build cannot read.
    Refused(Error),
    /// The entry is not there, and can be put again.
    Absent,
}
