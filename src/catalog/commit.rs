//! Commits: many operations in one entry, one winner for each number, and an answer that is never guessed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::channel::oneshot;

use super::batch::Prepared;
use super::entry::log_key;
use super::frame::failed;
use super::identity::Identity;
use super::log::Catalog;
use super::look::Followed;
use super::pending::{Changes, Draft, Fate, Pending, Stage, Writer};
use super::shared_work::SharedWork;
use super::state::State;
use super::tombstone::LogBlob;
use crate::access::Caller;
use crate::error::{Error, ErrorKind, Result};
use crate::host::sync::Mutex;
use crate::host::turns::others_go_first;
use crate::host::within;
use crate::store::{BlobKey, BlobStoreExt, PutMode, StoreErrorKind};

/// Lost races in a row after which an operation fails: so that it ends, also if its rivals take no time.
const MAX_LOST: u32 = 1_000;

/// Unclear answers for one entry after which its operations fail.
const MAX_UNCLEAR: u32 = 100;

/// Unclear answers without a pause.
const EAGER: u32 = 3;

/// After each so many lost races in a row, a writer looks whether it is more than one entry behind.
const PEEK: u32 = 4;

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
        let stage = Stage::default();
        let pending = Pending { caller: caller.clone(), check: Box::new(check), done, stage: stage.clone() };
        self.writer().queue.push(pending);
        // The callers that are ready to run enqueue theirs first: a store that answers at once would otherwise get an entry for each
        // of them. Before the deadline begins, so that a commit that ends at once starts no timer.
        others_go_first().await;
        let mut answer = Answer(answer);
        let driven = async {
            loop {
                self.committing().await;
                if let Some(answer) = answer.now() {
                    return answer;
                }
            }
        };
        let in_time = within(&*self.clock, self.commit_limit, driven);
        if let Some(answer) = self.beside_a_checkpoint(in_time).await {
            return answer;
        }
        answer.now().unwrap_or_else(|| {
            let seconds = self.commit_limit.unwrap_or_default().as_secs_f64();
            match stage.withdraw() {
                true => {
                    let what = format!("nothing was committed within {seconds} s, and nothing will be: call again");
                    Err(Error::busy("catalog", what))
                }
                false => {
                    let what = format!("the catalog's store did not answer within {seconds} s");
                    Err(unknown(Error::busy("catalog", what)))
                }
            }
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

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock()
    }

    /// Returns a waiter for the work that commits pending operations; starts it if none is under way.
    fn committing(self: &Arc<Self>) -> SharedWork {
        let mut writer = self.writer();
        if let Some(waiter) = writer.committing.upgrade() {
            return waiter;
        }
        let catalog = self.clone();
        let waiter = SharedWork::new(Box::pin(async move { catalog.write().await }));
        writer.committing = waiter.downgrade();
        waiter
    }

    /// Commits the pending operations, and answers them.
    async fn write(self: &Arc<Self>) {
        self.rest().await;
        let (mut lost, mut unclear) = (0, 0);
        while let Some((draft, was_sent)) = self.next_put().await {
            let fate = self.put(&draft, lost).await;
            let Some(batch) = self.writer().under_way.take() else { return };
            match fate {
                Ok(Fate::Committed) => {
                    self.pace.lock().won(self.clock.now(), lost, self.chance());
                    self.advance(batch.next.clone());
                    self.backlog.lock().put(draft.number, draft.bytes.len() as u64, batch.next.head());
                    let next = batch.next.clone();
                    batch.answer(|| Ok(next.clone()));
                    return self.begin_checkpoint();
                }
                Ok(Fate::Lost) if lost == MAX_LOST => {
                    let what = format!(
                        "nothing was committed in {MAX_LOST} attempts, because other writers were faster: call again"
                    );
                    let error = Error::busy("catalog", what);
                    return batch.answer(|| Err(error.clone()));
                }
                // Back into the queue: their checks are repeated on the winner's state. No pause, since the winner rests.
                Ok(Fate::Lost) => {
                    lost += 1;
                    self.writer().queue.splice(0..0, batch.members.into_iter().map(|(pending, _)| pending));
                }
                Ok(Fate::Absent) if unclear == MAX_UNCLEAR => {
                    let what = format!("the store gave no clear answer in {MAX_UNCLEAR} attempts");
                    let cause = Error::busy("catalog", what);
                    return batch.answer(|| Err(unknown(cause.clone())));
                }
                Ok(Fate::Absent) => {
                    unclear += 1;
                    self.writer().under_way = Some(batch);
                    self.pause(unclear).await;
                }
                // Neither this put nor an earlier one of it can land any more.
                Ok(Fate::Refused(error)) => return batch.answer(|| Err(error.clone())),
                // This put did nothing, but an earlier one may still land.
                Err(error) if was_sent => return batch.answer(|| Err(unknown(error.clone()))),
                Err(error) => return batch.answer(|| Err(error.clone())),
            }
        }
    }

    /// Lets other writers go first, if it is their turn.
    async fn rest(&self) {
        let rest = self.pace.lock().rest(self.clock.now());
        if !rest.is_zero() {
            self.clock.sleep(rest).await;
        }
    }

    /// Returns the entry to put, and whether it was put before: the one under way, else a new one of all pending
    /// operations. Returns `None` if there is nothing to write and all are answered.
    async fn next_put(self: &Arc<Self>) -> Option<(Draft, bool)> {
        if self.writer().under_way.is_none() {
            self.draw_up().await;
        }
        let mut writer = self.writer();
        let batch = writer.under_way.as_mut()?;
        Some((batch.draft.clone(), std::mem::replace(&mut batch.is_sent, true)))
    }

    /// Makes an entry of the pending operations on the state that is known: if that is old, the entry's number is taken, and
    /// nothing was lost but a request. A state on which nothing is to be written answers only after a look.
    async fn draw_up(self: &Arc<Self>) {
        let mut looked_for = None;
        loop {
            let state = self.state_to_follow().await;
            let waiting = self.take(looked_for);
            let state = match state {
                Ok(state) => state,
                Err(error) => return waiting.into_iter().for_each(|pending| pending.answer(Err(error.clone()))),
            };
            match self.prepare(&state, waiting) {
                None => return,
                Some(Prepared::Entry(batch, later)) => {
                    let mut writer = self.writer();
                    writer.queue.splice(0..0, later);
                    writer.under_way = Some(batch);
                    return;
                }
                Some(Prepared::Nothing(members, later)) if looked_for.is_some() => {
                    members.into_iter().for_each(|(pending, verdict)| pending.answer(verdict.map(|()| state.clone())));
                    self.writer().queue.splice(0..0, later);
                    return;
                }
                Some(Prepared::Nothing(members, later)) => {
                    // ORDER: count, then look. The other way round, look -> another process commits and its caller, who
                    // knows that, enqueues here -> count: the caller's check runs on a state without that commit.
                    let waiting: Vec<_> = members.into_iter().map(|(pending, _)| pending).chain(later).collect();
                    let count = waiting.len();
                    if count == 0 {
                        return;
                    }
                    self.writer().queue.splice(0..0, waiting);
                    looked_for = Some(count);
                    if let Err(error) = Box::pin(self.look_into_the_same_store()).await {
                        let waiting = self.take(looked_for);
                        return waiting.into_iter().for_each(|pending| pending.answer(Err(error.clone())));
                    }
                }
            }
        }
    }

    /// Takes the first `count` operations off the queue, or all. Those whose callers are gone before anything was sent are
    /// dropped.
    fn take(&self, count: Option<usize>) -> Vec<Pending> {
        let mut writer = self.writer();
        let all = writer.queue.len();
        writer.queue.drain(..count.unwrap_or(all).min(all)).filter(Pending::is_wanted).collect()
    }

    /// Returns the newest state that is known, for an entry that follows it.
    async fn state_to_follow(&self) -> Result<Arc<State>> {
        let state = self.snapshot();
        // Another process may have enabled a feature since.
        state.refuse_change()?;
        // An earlier look may have failed after it had read.
        self.make_durable(state.number()).await?;
        self.time.refuse_a_wrong_clock(&*self.clock, &*self.store, &*self.entropy, &state).await?;
        Ok(state)
    }

    pub(super) async fn look_into_the_same_store(self: &Arc<Self>) -> Result<()> {
        if !self.store.capabilities().can_be_remounted() {
            return self.refresh().await.map(drop);
        }
        let (newest, same) = futures::join!(self.refresh(), self.refuse_another_store());
        same.and(newest).map(drop)
    }

    /// Puts the entry. Resolves an unclear answer by reading the entry back. A writer that has lost before reads beside its
    /// put, so that it falls no further behind the winner, who need not read.
    async fn put(&self, draft: &Draft, lost: u32) -> Result<Fate> {
        // ORDER: whose is the store, then put. The other way round, another store is mounted -> put: the entry is in the log
        // of another catalog.
        if self.store.capabilities().can_be_remounted() {
            self.refuse_another_store().await?;
        }
        let (key, begun) = (log_key(draft.number)?, self.clock.now());
        let put = async {
            let answer = self.store.put(&key, draft.bytes.clone(), PutMode::Create).await;
            let time = self.clock.now().signed_duration_since(begun);
            self.pace.lock().took(time.to_std().unwrap_or_default());
            answer
        };
        let wanted = match lost {
            0 => 0,
            _ if lost.is_multiple_of(PEEK) => 2,
            _ => 1,
        };
        let (answer, (there, _)) = futures::join!(put, self.read_entries(draft.number, wanted));
        match answer {
            Ok(()) => {
                // The entries before it are durable, and so is it.
                self.durable.fetch_max(draft.number, Ordering::Relaxed);
                return Ok(Fate::Committed);
            }
            // It may be our own entry: of a put whose answer was lost, here or inside the store.
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {}
            Err(error) => return Err(failed(error)),
        }
        // In a box, so that the work of a commit that wins at once stays small.
        Box::pin(self.fate_by_the_log(draft, there, (lost, begun))).await
    }

    /// Finds out by reading what became of an entry whose put gave no clear answer, or was lost.
    async fn fate_by_the_log(
        &self,
        draft: &Draft,
        mut there: Vec<LogBlob>,
        (lost, begun): (u32, DateTime<Utc>),
    ) -> Result<Fate> {
        if there.is_empty() {
            let wanted = if lost > 0 || self.pace.lock().is_busy(begun) { 1 } else { 2 };
            let (read, failed) = self.read_entries(draft.number, wanted).await;
            if let Some(error) = failed.filter(|_| read.is_empty()) {
                return match error.kind() {
                    ErrorKind::Unsupported if self.is_anothers(&log_key(draft.number)?, draft).await => {
                        Ok(Fate::Refused(error))
                    }
                    _ => Err(unknown(error)),
                };
            }
            there = read;
        }
        let Some(first) = there.first() else { return Ok(Fate::Absent) };
        if first.nonce() == draft.nonce {
            // ORDER: persist, then acknowledge. The other way round, entry found by reading -> acknowledged ->
            // power cut: the acknowledged commit is gone.
            self.make_durable(draft.number).await.map_err(unknown)?;
            return Ok(Fate::Committed);
        }
        let followed = self.follow_all(&there).await?;
        if there.len() > 1 || followed == Followed::FromACheckpoint {
            self.read_on(there.len()).await?;
        }
        Ok(Fate::Lost)
    }

    /// Returns whether something else than this entry has its number.
    async fn is_anothers(&self, key: &BlobKey, draft: &Draft) -> bool {
        self.store.find(key).await.is_ok_and(|there| there.is_some_and(|there| there != draft.bytes))
    }

    /// Refuses a store that is not the one that was opened: its mount was changed, or its identity is gone.
    pub(super) async fn refuse_another_store(&self) -> Result<()> {
        let there = Identity::find(&*self.store).await?.map(|(identity, _)| identity.catalog);
        if there == Some(self.id()) {
            return Ok(());
        }
        let what = match there {
            Some(other) => format!("this is the store of catalog {other}, not of {}", self.id()),
            None => format!("this store had catalog {} and has none now", self.id()),
        };
        let what = format!("{what}: nothing was committed. Mount the right store, or build the service again");
        Err(Error::busy("catalog", what))
    }

    /// Pauses for a store that gives no clear answer: longer each time, with jitter.
    async fn pause(&self, unclear: u32) {
        let Some(late @ 1..) = unclear.checked_sub(EAGER) else { return };
        let longest = f64::from(1_u32 << late.min(8));
        self.clock.sleep(Duration::from_millis(1).mul_f64(longest * (0.5 + self.chance() / 2.0))).await;
    }

    /// Returns a random number between 0 and 1.
    fn chance(&self) -> f64 {
        let mut bytes = [0; 4];
        // Without entropy, pauses are only less well spread.
        let _ = self.entropy.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
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
