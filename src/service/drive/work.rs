//! The work of a duty: what is due in a state, and doing one thing after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::{AbortHandle, Abortable, BoxFuture};

use super::board::{AtRevision, Board, cancelled};
use crate::catalog::{
    Duty, IncompleteRecord, OperationKind, OperationRecord, OperationStatus, OperationTarget, State, VersionRecord,
};
use crate::error::{ErrorKind, Result};
use crate::model::{ImageVersionId, Region};
use crate::progress::Progress;
use crate::service::change::operations::CANCELED;
use crate::service::session::session::Session;

/// After so many failures in a row the operation of a version has failed.
const ATTEMPTS: u32 = 5;

/// After a collection, the next one waits at least so long, also if a retention is over.
const BETWEEN_COLLECTIONS: Duration = Duration::from_secs(60);

/// What a driver does, and how.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) at_once: usize,
    pub(super) every: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) collect_every: Option<Duration>,
    pub(super) scrub_every: Option<Duration>,
    /// How long after the end of its life something is deleted.
    pub(super) end_of_life: Option<TimeDelta>,
}

/// What the works of a driver share.
#[derive(Clone, Debug)]
pub(super) struct Works {
    pub(super) session: Session,
    pub(super) terms: Arc<Terms>,
    pub(super) board: Arc<Board>,
}

impl Works {
    pub(super) fn now(&self) -> Duration {
        self.session.inner.clock.monotonic()
    }

    /// Returns the duties that have something to do in a state, also what is to be tried again later.
    pub(super) fn all(&self, state: &State) -> BTreeSet<Duty> {
        let mut duties = BTreeSet::new();
        let canceled = canceled(state);
        for record in open(state) {
            duties.insert(Duty::Complete(record.version.location().clone()));
        }
        for record in state.lacking().filter(|record| goes_on(state, &canceled, record)) {
            duties.extend(lacked(record).map(|region| Duty::Replicate(region.clone())));
        }
        if !state.deletions().is_empty() {
            duties.insert(Duty::Delete);
        }
        let time = self.session.inner.log_time();
        let is_due = |duty: &Duty, every: Duration| {
            let finished = state.duty(duty).and_then(|record| record.finished);
            let every = TimeDelta::from_std(every).unwrap_or(TimeDelta::MAX);
            finished.is_none_or(|finished| time.signed_duration_since(finished) >= every)
        };
        if let Some(every) = self.terms.collect_every
            && (is_due(&Duty::Collect, every) || state.gone(time).next().is_some())
        {
            duties.insert(Duty::Collect);
        }
        if let Some(every) = self.terms.scrub_every {
            let scrubs = state.claimed_regions().into_iter().map(Duty::Scrub);
            duties.extend(scrubs.filter(|duty| is_due(duty, every)));
        }
        duties
    }

    /// Returns whether a duty has something to do now, and not only later.
    pub(super) fn is_due(&self, state: &State, duty: &Duty) -> bool {
        match duty {
            Duty::Complete(_) | Duty::Replicate(_) => self.next(state, duty, &BTreeSet::new()).is_some(),
            Duty::Delete | Duty::Collect | Duty::Scrub(_) => self.board.is_due(duty, None, self.now()),
        }
    }

    /// Forgets what is tried again of versions that have nothing to be done.
    pub(super) fn forget(&self, state: &State) {
        self.board.forget(|_, version| match version {
            Some((id, revision)) => state.revision(&id.into()) == Some(*revision),
            None => true,
        });
    }

    /// Returns the version that is the next of a duty, and its revision: the one that was changed first.
    fn next(&self, state: &State, duty: &Duty, tried: &BTreeSet<AtRevision>) -> Option<AtRevision> {
        let now = self.now();
        let is_next = |one: &AtRevision| !tried.contains(one) && self.board.is_due(duty, Some(one), now);
        match duty {
            Duty::Complete(home) => {
                let here = open(state).filter(|record| record.version.location() == home);
                let versions = here.map(|record| (record.version.id().clone(), record.revision));
                versions.filter(is_next).min_by_key(|(_, revision)| *revision)
            }
            Duty::Replicate(region) => {
                let canceled = canceled(state);
                let open = state.lacking().filter(|record| goes_on(state, &canceled, record));
                let here = open.filter(|record| lacked(record).any(|lacked| lacked == region));
                let versions = here.map(|record| (record.version.id().clone(), record.revision()));
                versions.filter(is_next).min_by_key(|(_, revision)| *revision)
            }
            Duty::Delete | Duty::Collect | Duty::Scrub(_) => None,
        }
    }

    /// Does what a duty has to do, one thing after the other. Returns whether it is done for now.
    pub(super) async fn work(self, duty: Duty) -> bool {
        let outcome = match &duty {
            Duty::Complete(_) | Duty::Replicate(_) => {
                let mut tried = BTreeSet::new();
                loop {
                    let state = self.session.inner.catalog.snapshot();
                    let Some(next) = self.next(&state, &duty, &tried) else { return false };
                    self.work_on(&duty, &next).await;
                    tried.insert(next);
                }
            }
            Duty::Delete => self.delete().await,
            Duty::Collect => self.collect().await,
            Duty::Scrub(region) => {
                let scrub = self.session.scrub(region.clone());
                let rate = self.terms.bytes_per_second;
                match rate {
                    Some(rate) => scrub.bytes_per_second(rate).await.map(drop),
                    None => scrub.await.map(drop),
                }
            }
        };
        let is_done = outcome.is_ok();
        self.board.end(&duty, None, outcome, self.now());
        if is_done && duty == Duty::Collect {
            self.board.rest_for(&duty, self.now() + BETWEEN_COLLECTIONS);
        }
        is_done
    }

    async fn work_on(&self, duty: &Duty, at: &AtRevision) {
        let (version, _) = at;
        let (abort, registration) = AbortHandle::new_pair();
        self.board.begin(duty, version, abort);
        let (board, of) = (self.board.clone(), duty.clone());
        let tell = move |progress: Progress| {
            // It is whole when it is committed.
            let percent = progress.done.saturating_mul(100) / progress.total.max(1);
            board.progress(&of, u8::try_from(percent).unwrap_or(99).min(99));
        };
        let work: BoxFuture<'_, Result<()>> = match duty {
            Duty::Replicate(region) => {
                let replication = self.session.replicate(version.clone()).of_a_duty(region.clone()).on_progress(tell);
                let replication = match self.terms.bytes_per_second {
                    Some(rate) => replication.bytes_per_second(region.clone(), rate),
                    None => replication,
                };
                Box::pin(async move { replication.await.map(drop) })
            }
            _ => {
                let completion = self.session.complete_version(version.clone()).on_progress(tell);
                Box::pin(async move { completion.await.map(drop) })
            }
        };
        // A later put begins another.
        let operation = self.session.inner.catalog.snapshot().operation_of(version).map(|open| open.id);
        let outcome = Abortable::new(work, registration).await.unwrap_or_else(|_| Err(cancelled(version)));
        let error = outcome.as_ref().err().cloned();
        let failures = self.board.end(duty, Some(at), outcome, self.now());
        if let Some(error) = error.filter(|_| failures == ATTEMPTS) {
            // What cannot be recorded is tried again with the next failure but four; the work goes on in any case.
            let _ = self.session.give_up(operation, &error).await;
        }
    }

    /// Collects, after deleting what has passed the end of its life, if that is asked for.
    async fn collect(&self) -> Result<()> {
        if let Some(grace) = self.terms.end_of_life {
            while !self.session.delete_after_end_of_life(grace).await?.is_empty() {}
        }
        self.session.collect().await.map(drop)
    }

    /// Deletes what is marked for deletion. One that cannot be deleted after all is as it was.
    async fn delete(&self) -> Result<()> {
        let marked: Vec<Arc<OperationRecord>> =
            self.session.inner.catalog.snapshot().deletions().into_iter().cloned().collect();
        let mut outcome = Ok(());
        for deletion in marked {
            let OperationTarget::Resource(id) = &deletion.resource else { continue };
            let deleted = self.session.delete(id.clone()).announced_by(&deletion).await;
            let Err(error) = deleted else { continue };
            outcome = match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Throttled { .. } | ErrorKind::StorageFull => {
                    Err(error)
                }
                _ => self.session.give_up(Some(deletion.id), &error).await.and(outcome),
            };
        }
        outcome
    }
}

/// The announced versions that are to get their content.
fn open(state: &State) -> impl Iterator<Item = &Arc<IncompleteRecord>> {
    let open = state.all_incomplete().filter(|record| record.failure.is_none());
    open.filter(|record| state.deletion_of(&record.version.id().into()).is_none())
}

/// Whether a version that lacks replicas is to get them.
fn goes_on(state: &State, canceled: &Canceled, record: &VersionRecord) -> bool {
    !is_canceled(canceled, record) && state.deletion_of(&record.version.id().into()).is_none()
}

/// The target regions that lack replicas of a version.
fn lacked(record: &VersionRecord) -> impl Iterator<Item = &Region> {
    let targets = record.version.publishing_profile().target_regions().iter();
    targets.map(|target| target.region()).filter(|region| !record.is_complete_in(region))
}

/// The versions whose operation was cancelled, with the commit.
pub(super) type Canceled = BTreeMap<ImageVersionId, u64>;

pub(super) fn canceled(state: &State) -> Canceled {
    let ended = state.operations().filter(|record| record.status() == OperationStatus::Canceled);
    let canceled = ended.filter(|record| record.kind != OperationKind::Delete).filter_map(|record| {
        let (version, ended) = (record.resource.version()?, record.ended.as_ref()?);
        let (_, why) = ended.bad.as_ref()?;
        (why.code == CANCELED).then(|| (version.clone(), ended.number))
    });
    let mut all = Canceled::new();
    for (version, number) in canceled {
        let last = all.entry(version).or_insert(number);
        *last = (*last).max(number);
    }
    all
}

/// Whether the last operation of a version was cancelled, and it was not changed since.
pub(super) fn is_canceled(canceled: &Canceled, record: &VersionRecord) -> bool {
    canceled.get(record.version.id()).is_some_and(|number| *number >= record.revision())
}
