//! Commits: many operations in one entry, one winner for each number, and an answer that is never guessed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use chrono::{SubsecRound, TimeDelta};
use futures::channel::oneshot;

use super::checkpoint::{self, Checkpoints};
use super::driver::Driver;
use super::entry::{Entry, EntryChange, Nonce, log_key};
use super::frame::{FORMAT, failed};
use super::log::Catalog;
use super::pending::{Batch, Changes, Draft, Fate, Pending, Writer};
use super::state::State;
use crate::access::Caller;
use crate::content::names::UploadId;
use crate::error::{Error, Result};
use crate::host::sync::Mutex;
use crate::host::{draw, within};
use crate::store::{PutMode, StoreErrorKind};

/// The longest that a commit waits for its checkpoint.
const FOR_A_CHECKPOINT: Duration = Duration::from_secs(10);

/// Lost races or unclear answers in a row after which an operation fails.
const MAX_ATTEMPTS: u32 = 100;

/// Attempts without a pause.
const EAGER_ATTEMPTS: u32 = 3;

impl Catalog {
    /// Commits the changes that `check` returns, and returns the state after them. Without changes, nothing is
    /// committed.
    ///
    /// If the future is dropped, the operation may or may not be committed.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        caller: &Caller,
        check: impl FnMut(&State) -> Result<Changes> + Send + Sync + 'static,
    ) -> Result<Arc<State>> {
        self.refuse_change()?;
        let (done, answer) = oneshot::channel();
        self.writer().queue.push(Pending { caller: caller.clone(), check: Box::new(check), done });
        let mut answer = Answer(answer);
        let driven = async {
            loop {
                self.driver().await;
                if let Some(answer) = answer.now() {
                    return answer;
                }
            }
        };
        if let Some(answer) = within(&*self.clock, self.commit_limit, driven).await {
            return answer;
        }
        // The commit may be answered, with only its checkpoint still to write.
        answer.now().unwrap_or_else(|| {
            let seconds = self.commit_limit.unwrap_or_default().as_secs_f64();
            let what = format!("the catalog's store did not answer within {seconds} s");
            Err(unknown(Error::busy("catalog", what)))
        })
    }

    /// As [`commit`](Self::commit), and also returns the value of the check whose changes were committed.
    pub(crate) async fn commit_found<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &Caller,
        mut check: impl FnMut(&State) -> Result<(Changes, T)> + Send + Sync + 'static,
    ) -> Result<(Arc<State>, T)> {
        let found = Arc::new(Mutex::new(None));
        let of_check = found.clone();
        let check = move |state: &State| {
            let (changes, what) = check(state)?;
            // The last check is the one whose changes were committed.
            *of_check.lock() = Some(what);
            Ok(changes)
        };
        let state = self.commit(caller, check).await?;
        let found = found.lock().take();
        let found = found.ok_or_else(|| unknown(Error::invalid("catalog", "it was committed without a check")))?;
        Ok((state, found))
    }

    /// Limits the time of a commit. A commit over the limit fails with `Unknown`.
    pub(crate) fn with_commit_limit(mut self, commit_limit: Option<Duration>) -> Self {
        self.commit_limit = commit_limit;
        self
    }

    /// Makes entries up to `number` durable: an entry that was found by reading may not yet have been made durable by
    /// its writer.
    pub(super) async fn make_durable(&self, number: u64) -> Result<()> {
        if self.durable.load(Ordering::Relaxed) < number {
            let log = log_key(number)?;
            let folder = log.parent().unwrap_or(log);
            match self.store.persist(&folder).await {
                // A process that only reads may lack the permission to make another's entries durable: their writers do.
                Err(_) if self.refuse_change().is_err() => {}
                done => done.map_err(failed)?,
            }
            self.durable.fetch_max(number, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes a checkpoint of `state`, which must be a state of this catalog whose entry was put or read.
    async fn write_checkpoint(&self, state: &Arc<State>) -> Result<()> {
        // ORDER: persist, then write. The other way round, another writer's entry is read -> checkpoint -> power cut: the
        // checkpoint is ahead of the log.
        self.make_durable(state.number()).await?;
        let (store, entropy, workers) = (&*self.store, &*self.entropy, &self.workers);
        let checkpoints = Checkpoints { store, catalog: self.id(), entropy, workers };
        let known = self.root.lock().clone();
        let root = checkpoints.write(state, known).await?;
        root.iter().for_each(|root| self.forget(root.number));
        *self.root.lock() = root;
        Ok(())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock()
    }

    /// Returns a driver of the work that commits pending operations; starts it if none is under way.
    fn driver(self: &Arc<Self>) -> Driver {
        let mut writer = self.writer();
        if let Some(driver) = writer.driver.upgrade() {
            return driver;
        }
        let catalog = self.clone();
        let driver = Driver::new(Box::pin(async move { catalog.write().await }));
        writer.driver = driver.downgrade();
        driver
    }

    /// Commits the pending operations, and answers them.
    async fn write(&self) {
        for attempt in 1.. {
            let Some((draft, was_sent)) = self.next_put().await else { return };
            let fate = self.put(&draft).await;
            let Some(batch) = self.writer().under_way.take() else { return };
            match fate {
                Ok(Fate::Committed) => {
                    self.advance(batch.next.clone());
                    let next = batch.next.clone();
                    batch.answer(|| Ok(next.clone()));
                    if draft.number.is_multiple_of(checkpoint::EVERY) {
                        // A checkpoint only saves time: a failure loses nothing, and the wait is bounded.
                        let written = self.write_checkpoint(&next);
                        let _ = within(&*self.clock, Some(FOR_A_CHECKPOINT), written).await;
                    }
                    return;
                }
                Ok(Fate::Absent) if attempt > MAX_ATTEMPTS => {
                    let what = format!("the store gave no clear answer in {MAX_ATTEMPTS} attempts");
                    let cause = Error::busy("catalog", what);
                    return batch.answer(|| Err(unknown(cause.clone())));
                }
                Ok(Fate::Lost) if attempt > MAX_ATTEMPTS => {
                    let what = format!(
                        "nothing was committed in {MAX_ATTEMPTS} attempts, because other writers were faster: call again"
                    );
                    let error = Error::busy("catalog", what);
                    return batch.answer(|| Err(error.clone()));
                }
                // Back into the queue: their checks are repeated on the winner's state.
                Ok(Fate::Lost) => {
                    self.writer().queue.splice(0..0, batch.members.into_iter().map(|(pending, _)| pending));
                }
                Ok(Fate::Absent) => self.writer().under_way = Some(batch),
                // This put did nothing, but an earlier one may still land.
                Err(error) if was_sent => return batch.answer(|| Err(unknown(error.clone()))),
                Err(error) => return batch.answer(|| Err(error.clone())),
            }
            self.pause(attempt).await;
        }
    }

    /// Returns the entry to put, and whether it was put before: the one under way, else a new one of all pending
    /// operations. Returns `None` if there is nothing to write and all are answered.
    async fn next_put(&self) -> Option<(Draft, bool)> {
        if self.writer().under_way.is_none() {
            // ORDER: count, then refresh. The other way round, refresh -> another process commits and its caller, who
            // knows that, enqueues here -> count: the caller's check runs on a state without that commit.
            let count = self.writer().queue.len();
            // Concurrent with the read, so it costs no time. After a changed mount, the entry would go to another
            // store.
            let (newest, same) = futures::join!(self.refresh(), self.refuse_another_store());
            let newest = match same.and(newest) {
                Ok(state) => {
                    let checked =
                        self.time.refuse_a_wrong_clock(&*self.clock, &*self.store, &*self.entropy, &state).await;
                    checked.map(|()| state)
                }
                refused => refused,
            };
            let mut writer = self.writer();
            let count = count.min(writer.queue.len());
            // An operation whose caller is gone before anything was sent is dropped.
            let waiting = writer.queue.drain(..count).filter(|pending| !pending.done.is_canceled()).collect();
            drop(writer);
            // Another process may have enabled a feature since.
            let newest = newest.and_then(|state| state.refuse_change().map(|()| state));
            match newest {
                Ok(state) => {
                    let batch = self.prepare(state, waiting);
                    self.writer().under_way = batch;
                }
                Err(error) => waiting.into_iter().for_each(|pending: Pending| pending.answer(Err(error.clone()))),
            }
        }
        let mut writer = self.writer();
        let batch = writer.under_way.as_mut()?;
        Some((batch.draft.clone(), std::mem::replace(&mut batch.is_sent, true)))
    }

    /// Makes one entry of `waiting`. Returns `None` if there is nothing to write and all are answered.
    fn prepare(&self, state: Arc<State>, waiting: Vec<Pending>) -> Option<Batch> {
        let (mut next, now) = (State::clone(&state), self.clock.now());
        let (mut changes, mut members) = (Vec::new(), Vec::with_capacity(waiting.len()));
        for mut pending in waiting {
            let verdict = (pending.check)(&next).and_then(|Changes { events, authorization }| {
                if !events.is_empty() {
                    // On a copy: if one of the events does not apply, none does.
                    let mut applied = next.clone();
                    events.iter().try_for_each(|event| applied.apply(event, now))?;
                    next = applied;
                    changes.push(EntryChange { caller: pending.caller.clone(), authorization, events });
                }
                Ok(())
            });
            members.push((pending, verdict));
        }
        let entry = if changes.is_empty() { Ok(None) } else { self.entry_after(&state, changes).map(Some) };
        match entry {
            Ok(Some((nonce, bytes, next))) => {
                let draft = Draft { number: next.number(), nonce, bytes };
                Some(Batch { draft, next: Arc::new(next), is_sent: false, members })
            }
            Ok(None) => {
                members.into_iter().for_each(|(pending, verdict)| pending.answer(verdict.map(|()| state.clone())));
                None
            }
            Err(error) => {
                members.into_iter().for_each(|(pending, _)| pending.answer(Err(error.clone())));
                None
            }
        }
    }

    fn entry_after(&self, state: &State, changes: Vec<EntryChange>) -> Result<(Nonce, Bytes, State)> {
        let nonce = Nonce(UploadId::from_bytes(draw(&*self.entropy, "drawing a nonce")?));
        let entry = Entry {
            format: FORMAT,
            number: state.number() + 1,
            nonce,
            previous: state.head(),
            // Later than the previous entry, whatever this machine's clock shows.
            time: self.clock.now().trunc_subsecs(6).max(state.time() + TimeDelta::microseconds(1)),
            changes,
        };
        let (digest, bytes) = entry.encode()?;
        let next = state.after(&entry, digest)?;
        Ok((nonce, bytes, next))
    }

    /// Puts the entry. Resolves an unclear answer by reading the entry back.
    async fn put(&self, draft: &Draft) -> Result<Fate> {
        let error = match self.store.put(&log_key(draft.number)?, draft.bytes.clone(), PutMode::Create).await {
            Ok(()) => {
                // The entries before it are durable, and so is it.
                self.durable.fetch_max(draft.number, Ordering::Relaxed);
                return Ok(Fate::Committed);
            }
            Err(error) => error,
        };
        // `AlreadyExists` may be our own entry: of a put whose answer was lost, here or inside the store.
        if !matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) {
            return Err(failed(error));
        }
        match self.read_entry(draft.number).await.map_err(unknown)? {
            Some((_, entry)) if entry.nonce == draft.nonce => {
                // ORDER: persist, then acknowledge. The other way round, entry found by reading -> acknowledged ->
                // power cut: the acknowledged commit is gone.
                self.make_durable(draft.number).await.map_err(unknown)?;
                Ok(Fate::Committed)
            }
            Some(_) => Ok(Fate::Lost),
            None => Ok(Fate::Absent),
        }
    }

    /// Pauses for other writers or the store: longer each time, with jitter, so that writers do not move in lockstep.
    async fn pause(&self, attempt: u32) {
        let Some(late @ 1..) = attempt.checked_sub(EAGER_ATTEMPTS) else { return };
        let mut chance = [0; 1];
        // Without entropy, the pause is only less well spread.
        let _ = self.entropy.fill(&mut chance);
        let longest = 1_u64 << late.min(8);
        self.clock.sleep(Duration::from_micros(longest * (1000 + 4 * u64::from(chance[0])) / 2)).await;
    }
}

fn unknown(cause: Error) -> Error {
    let what = "it is unknown whether the operation is committed: read the state, then decide";
    Error::unknown("catalog", what).with_source(cause)
}

/// The receiver of an operation's answer.
struct Answer(oneshot::Receiver<Result<Arc<State>>>);

impl Answer {
    fn now(&mut self) -> Option<Result<Arc<State>>> {
        self.0.try_recv().unwrap_or_else(|oneshot::Canceled| {
            let what = "this process dropped the operation: read the state, then decide";
            Some(Err(Error::unknown("catalog", what)))
        })
    }
}
