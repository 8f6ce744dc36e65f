//! The catalog of one store: its state in memory, kept up with its log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, Stream};

use super::backlog::Backlog;
use super::boundary::{begins_later, boundary};
use super::entry::{Commit, log_key};
use super::frame::failed;
use super::identity::CatalogId;
use super::log_time::LogTime;
use super::pace::Pace;
use super::pending::Writer;
use super::shared_work::SharedWork;
use super::single_flight::SingleFlight;
use super::state::State;
use super::tombstone::{LogBlob, ReadEntry};
use crate::content::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::host::sync::{Mutex, RwLock};
use crate::host::{Clock, Entropy, Workers};
use crate::store::{BlobKey, BlobStore, BlobStoreExt};

/// Whether this process changes the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadWrite,
    /// Puts and deletes nothing, in any store.
    ReadOnly,
}

/// A catalog on a store. Any number of them, in any number of processes, may be open on one store.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) workers: Workers,
    pub(super) id: CatalogId,
    pub(super) mode: Mode,
    /// The time by clocks of others than this process.
    pub(super) time: LogTime,
    pub(super) state: Arc<RwLock<Arc<State>>>,
    pub(super) writer: Mutex<Writer>,
    /// The longest that a commit may take; unlimited by default.
    pub(super) commit_limit: Option<Duration>,
    /// The number of the newest entry that is known to survive a power cut.
    pub(super) durable: AtomicU64,
    pub(super) pace: Mutex<Pace>,
    /// The look for new entries that callers share.
    pub(super) looks: SingleFlight<Result<Arc<State>>>,
    pub(super) backlog: Arc<Mutex<Backlog>>,
    /// The checkpoint that is being written. Callers drive it beside their own work.
    pub(super) checkpoint: Mutex<Option<SharedWork>>,
}

/// Reads what lies at a number; `None` if that is free.
pub(super) async fn read_entry(store: &dyn BlobStore, number: u64) -> Result<Option<LogBlob>> {
    let key = log_key(number)?;
    let Some(blob) = store.find(&key).await.map_err(failed)? else { return Ok(None) };
    match LogBlob::decode(&blob, &key) {
        Ok(logged) if logged.number() == number => Ok(Some(logged)),
        Ok(logged) => {
            let what = format!("it is entry `{}`: restore entry `{number}` from a copy", logged.number());
            Err(Error::corrupt(format!("catalog blob {key}"), what))
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => Err(unreadable(&key, error)),
        Err(error) => Err(error),
    }
}

/// Makes all entries durable that were read, or seen in a listing.
pub(super) async fn persist_log(store: &dyn BlobStore) -> Result<()> {
    store.persist(&log_folder()?).await.map_err(failed)
}

pub(super) fn log_folder() -> Result<BlobKey> {
    "log".parse()
}

fn unreadable(key: &BlobKey, cause: Error) -> Error {
    let what =
        "it is not an entry. Entries are written whole: move it away if another program wrote it, else restore it";
    Error::corrupt(format!("catalog blob {key}"), what).with_source(cause)
}

pub(super) fn hole(missing: u64, there: u64) -> Error {
    let what = format!(
        "entry `{missing}` is missing and entry `{there}` exists: restore blob `log/{missing:020}`; until then nothing is \
         read, written or deleted on the strength of this log"
    );
    Error::corrupt("catalog log", what)
}

impl Catalog {
    /// Returns the catalog's id.
    pub(crate) fn id(&self) -> CatalogId {
        self.id
    }

    /// Refuses a change by a process that only reads: it was opened so, or the format has a feature that this build does not
    /// know.
    ///
    /// # Errors
    ///
    /// `Unsupported`.
    pub(crate) fn refuse_change(&self) -> Result<()> {
        match self.mode {
            Mode::ReadOnly => {
                let what = "the gallery was opened with `open_read_only` and changes nothing: open it with `open` to change it";
                Err(Error::unsupported("catalog", what))
            }
            Mode::ReadWrite => self.snapshot().refuse_change(),
        }
    }

    /// Returns the entries that this process has read or put since the newest checkpoint, each with its hash.
    pub(crate) fn recent_entries(&self) -> Vec<(u64, Digest)> {
        self.backlog.lock().entries().collect()
    }

    /// Returns whether entry `number` of this log has the hash `digest`; `None` if the log has no such entry yet.
    pub(crate) async fn has_entry(self: &Arc<Self>, number: u64, digest: &Digest) -> Result<Option<bool>> {
        let mut state = self.snapshot();
        if state.number() < number {
            state = self.refresh().await?;
        }
        if state.number() <= number {
            return Ok((state.number() == number).then(|| state.head() == *digest));
        }
        match self.read_entry(number).await? {
            Some(logged) => Ok(Some(logged.digest() == *digest)),
            None => Err(hole(number, state.number())),
        }
    }

    /// Returns the newest state that this process knows. No I/O.
    pub(crate) fn snapshot(&self) -> Arc<State> {
        self.state.read().clone()
    }

    /// Makes the state after `read` the newest, unless it is known.
    pub(super) fn follow(&self, read: &ReadEntry) -> Result<()> {
        let state = self.snapshot();
        if read.entry.number <= state.number() {
            return Ok(());
        }
        self.time.read_of_another(&*self.clock, read.entry.time);
        self.advance(Arc::new(state.after(&read.entry, read.digest)?));
        self.backlog.lock().read(read.entry.number, read.bytes, read.digest);
        Ok(())
    }

    /// Makes entries up to `number` durable: an entry that was found by reading may not yet have been made durable by
    /// its writer.
    pub(super) async fn make_durable(&self, number: u64) -> Result<()> {
        if self.durable.load(Ordering::Relaxed) < number {
            match Box::pin(persist_log(&*self.store)).await {
                // A process that only reads may lack the permission to make another's entries durable: their writers do.
                Err(_) if self.refuse_change().is_err() => {}
                done => done?,
            }
            self.durable.fetch_max(number, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes `state` the newest, unless a newer one is known.
    pub(super) fn advance(&self, state: Arc<State>) {
        let mut newest = self.state.write();
        if newest.number() < state.number() {
            *newest = state;
        }
    }

    /// Returns the latest time of any clock: a retention starts from it, so that a local clock that is behind does not
    /// shorten it.
    pub(crate) fn latest_time(&self) -> DateTime<Utc> {
        self.time.latest(&*self.clock)
    }

    /// Returns a time that has surely come, without asking the store.
    pub(crate) fn log_time(&self) -> DateTime<Utc> {
        self.time.earliest(&*self.clock)
    }

    /// Returns a time that has surely come, by this process's clock and by the store's, which is asked: for acts that may come
    /// late and must not come early.
    pub(crate) async fn agreed_time(&self) -> Result<DateTime<Utc>> {
        self.time.ask(&*self.clock, &*self.store, &*self.entropy).await?;
        Ok(self.log_time())
    }

    pub(super) async fn read_entry(&self, number: u64) -> Result<Option<LogBlob>> {
        read_entry(&*self.store, number).await
    }

    /// Returns every commit after number `after`, oldest first, read from the log.
    ///
    /// An item is `NotFound` where the log was truncated.
    pub(crate) fn history(&self, after: u64) -> impl Stream<Item = Result<Commit>> {
        let commits = stream::try_unfold(after, move |number| async move {
            let read = self.read_entry(number + 1).await?;
            let last = self.snapshot().number();
            match read {
                Some(LogBlob::Entry(read)) => Ok(Some((stream::iter(read.entry.commits().map(Ok)), number + 1))),
                Some(LogBlob::Tombstone(_)) => Err(begins_later(number, boundary(&*self.store).await?)),
                None if number < last => Err(hole(number + 1, last)),
                None => Ok::<_, Error>(None),
            }
        });
        futures::stream::TryStreamExt::try_flatten(commits)
    }
}
