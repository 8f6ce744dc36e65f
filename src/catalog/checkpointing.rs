//! Checkpoints off the commits' path.
//!
//! A checkpoint that is due is begun after the answer of the commit that made it due. From then on each caller that waits
//! for a commit, or for a look at the log, drives it beside that. It needs no task, and nobody waits for it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;

use super::checkpoint::Checkpoints;
use super::log::{Catalog, persist_log};
use super::shared_work::SharedWork;
use super::state::State;
use crate::host::sync::RwLock;

impl Catalog {
    pub(super) fn checkpoints(&self) -> Checkpoints {
        Checkpoints {
            store: self.store.clone(),
            catalog: self.id(),
            entropy: self.entropy.clone(),
            workers: self.workers.clone(),
        }
    }

    /// Begins the checkpoint that is due, unless one is being written.
    pub(super) fn begin_checkpoint(&self) {
        let mut under_way = self.checkpoint.lock();
        let is_writing = under_way.as_ref().is_some_and(|work| work.downgrade().upgrade().is_some());
        if !is_writing && self.backlog.lock().is_due() {
            *under_way = Some(SharedWork::new(self.write_checkpoint().boxed()));
        }
    }

    /// Does `work`, and drives the checkpoint that is being written each time it is polled: also the last time, so that a
    /// checkpoint goes on however fast the commits are.
    pub(super) async fn beside_a_checkpoint<T>(&self, work: impl Future<Output = T>) -> T {
        let (mut work, mut waiter) = (pin!(work), None::<SharedWork>);
        poll_fn(|context| {
            let answer = work.as_mut().poll(context);
            if waiter.is_none() {
                waiter = self.checkpoint.lock().as_ref().and_then(|work| work.downgrade().upgrade());
            }
            if waiter.as_mut().is_some_and(|waiter| waiter.poll_unpin(context).is_ready()) {
                waiter = None;
            }
            answer
        })
        .await
    }

    /// Writes the checkpoint that is due, on top of the newest one, if it still is due then.
    pub(super) fn write_checkpoint(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let checkpoints = self.checkpoints();
        let (state, newest, backlog) = (self.snapshot(), self.state.clone(), self.backlog.clone());
        let is_durable = self.durable.load(Ordering::Relaxed) >= state.number();
        async move {
            let written = async {
                let known = backlog.lock().root.clone();
                let base = checkpoints.newest(known).await?;
                backlog.lock().has(base.clone());
                if !backlog.lock().is_due() {
                    return Ok(base);
                }
                // ORDER: persist, then write. The other way round, another writer's entry is read -> checkpoint -> power cut:
                // the checkpoint is ahead of the log.
                if !is_durable {
                    persist_log(&*checkpoints.store).await?;
                }
                checkpoints.write(&state, base).await
            };
            match written.await {
                Ok(Some(root)) => {
                    forget(&newest, root.number);
                    backlog.lock().has(Some(root));
                }
                // A segment was lost: the next one is written anew.
                Ok(None) => {
                    let mut backlog = backlog.lock();
                    backlog.has(None);
                    backlog.failed(state.number());
                }
                // It only saves time: a failure loses nothing.
                Err::<_, crate::error::Error>(_) => backlog.lock().failed(state.number()),
            }
        }
    }
}

/// Forgets what changed up to commit `number`, which a checkpoint has.
fn forget(newest: &RwLock<Arc<State>>, number: u64) {
    let mut newest = newest.write();
    let mut state = State::clone(&newest);
    state.forget(number);
    *newest = Arc::new(state);
}
