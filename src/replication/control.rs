//! Pausing and cancelling from outside.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::host::sync::Mutex;

/// Pauses, resumes and cancels a replication, from any task or thread. Clones are one handle.
#[derive(Clone, Debug, Default)]
pub struct ReplicationControl(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    command: Command,
    changes: u64,
    waiting: Vec<Waker>,
}

/// What the work is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Command {
    #[default]
    GoOn,
    Pause,
    Cancel,
}

impl ReplicationControl {
    /// Sends nothing more; what is on its way arrives.
    pub fn pause(&self) {
        self.give(Command::Pause);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.give(Command::GoOn);
    }

    /// Ends it. What has arrived stays, and replicating again goes on there.
    pub fn cancel(&self) {
        self.give(Command::Cancel);
    }

    fn give(&self, command: Command) {
        let mut inner = self.0.lock();
        // What is cancelled stays so.
        if inner.command != Command::Cancel {
            inner.command = command;
            inner.changes += 1;
            inner.waiting.drain(..).for_each(Waker::wake);
        }
    }

    pub(crate) fn now(&self) -> Command {
        self.0.lock().command
    }

    /// Until it is cancelled.
    pub(crate) async fn cancelled(&self) {
        loop {
            let changed = self.changed();
            if self.now() == Command::Cancel {
                return;
            }
            changed.await;
        }
    }

    /// Until another command is given.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + Unpin {
        let seen = self.0.lock().changes;
        poll_fn(move |context| {
            let mut inner = self.0.lock();
            if inner.changes != seen {
                return Poll::Ready(());
            }
            if !inner.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                inner.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}
