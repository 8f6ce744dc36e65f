//! The catalog of one store: its state in memory, kept up with its log.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, Stream};

use super::checkpoint::{Checkpoints, Root};
use super::entry::{Commit, Entry, log_key, log_number};
use super::frame::failed;
use super::identity::{self, CatalogId, Identity};
use super::log_time::LogTime;
use super::pending::Writer;
use super::probe::probe;
use super::state::State;
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
    id: CatalogId,
    pub(super) mode: Mode,
    /// The time by clocks of others than this process.
    pub(super) time: LogTime,
    state: RwLock<Arc<State>>,
    pub(super) writer: Mutex<Writer>,
    /// The longest that a commit may take; unlimited by default.
    pub(super) commit_limit: Option<Duration>,
    /// The number of the newest entry that is known to survive a power cut.
    pub(super) durable: AtomicU64,
    /// The newest checkpoint that this process knows.
    pub(super) root: Mutex<Option<Root>>,
}

/// Refuses a checkpoint that is ahead of a log that lost its end, or that belongs to another log.
async fn refuse_a_checkpoint_of_another_log(store: &dyn BlobStore, state: &State) -> Result<()> {
    if state.number() == 0 {
        return Ok(());
    }
    let key = log_key(state.number())?;
    let what = match store.find(&key).await.map_err(failed)? {
        None => {
            format!("a checkpoint of commit `{}` exists and its entry does not: restore blob `{key}`", state.number())
        }
        Some(bytes) if Entry::decode(&bytes, &key).is_ok_and(|(digest, _)| digest != state.head()) => {
            format!(
                "a checkpoint of commit `{}` belongs to another log: restore the log of the checkpoint",
                state.number()
            )
        }
        // A damaged entry is reported when it is read.
        Some(_) => return Ok(()),
    };
    Err(Error::corrupt("catalog log", what))
}

fn unreadable(key: &BlobKey, cause: Error) -> Error {
    let what =
        "it is not an entry. Entries are written whole: move it away if another program wrote it, else restore it";
    Error::corrupt(format!("catalog blob {key}"), what).with_source(cause)
}

fn hole(missing: u64, there: u64) -> Error {
    let what = format!(
        "entry `{missing}` is missing and entry `{there}` exists: restore blob `log/{missing:020}`; until then nothing is \
         read, written or deleted on the strength of this log"
    );
    Error::corrupt("catalog log", what)
}

impl Catalog {
    /// Creates a catalog on `store`, which must have none, and opens it.
    pub(crate) async fn create(
        store: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workers: Workers,
    ) -> Result<Self> {
        let probed = probe(&*store, &*entropy).await?;
        let identity = Identity::create(&*store, &*entropy).await?;
        Self::start(store, clock, entropy, workers, Mode::ReadWrite, identity, probed).await
    }

    /// Opens the catalog on `store`. First checks, unless it only reads, that the store refuses a second creation of a key, which
    /// everything else relies on.
    pub(crate) async fn open(
        store: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workers: Workers,
        mode: Mode,
    ) -> Result<Self> {
        let Some(identity) = Identity::find(&*store).await? else {
            identity::refuse_remains(&*store).await?;
            return Err(identity::absent());
        };
        let is_changed = mode == Mode::ReadWrite && identity.0.features.refuse_change().is_ok();
        let probed = if is_changed { probe(&*store, &*entropy).await? } else { None };
        Self::start(store, clock, entropy, workers, mode, identity, probed).await
    }

    async fn start(
        store: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workers: Workers,
        mode: Mode,
        (identity, root): (Identity, Digest),
        probed: Option<DateTime<Utc>>,
    ) -> Result<Self> {
        let catalog = identity.catalog;
        let checkpoints = Checkpoints { store: &*store, catalog, entropy: &*entropy, workers: &workers };
        let (state, newest) = match checkpoints.newest().await? {
            Some((state, root)) => (state, Some(root)),
            None => (State::empty(root, identity.features.clone()), None),
        };
        refuse_a_checkpoint_of_another_log(&*store, &state).await?;
        let time = LogTime::new(&*clock, probed, &state);
        let catalog = Self {
            id: identity.catalog,
            mode,
            store,
            clock,
            entropy,
            time,
            // A checkpoint is written after its entry is durable.
            durable: state.number().into(),
            state: RwLock::new(Arc::new(state)),
            writer: Mutex::default(),
            commit_limit: None,
            root: Mutex::new(newest),
            workers,
        };
        catalog.read_to_the_end().await?;
        Ok(catalog)
    }

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

    /// Refuses a store that is not the one that was opened: its mount was changed, or its identity is gone.
    pub(super) async fn refuse_another_store(&self) -> Result<()> {
        let there = Identity::find(&*self.store).await?.map(|(identity, _)| identity.catalog);
        if there == Some(self.id) {
            return Ok(());
        }
        let what = match there {
            Some(other) => format!("this is the store of catalog {other}, not of {}", self.id),
            None => format!("this store had catalog {} and has none now", self.id),
        };
        let what = format!("{what}: nothing was committed. Mount the right store, or build the service again");
        Err(Error::busy("catalog", what))
    }

    /// Reads every commit, and checks against a listing that none after the known state is missing: the first absent
    /// number is the log's end only if nothing comes after it.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the name of the missing entry.
    pub(crate) async fn read_to_the_end(&self) -> Result<Arc<State>> {
        let last = self.last_of_unbroken(self.snapshot().number()).await?;
        let state = self.refresh().await?;
        // Everything that a listing shows was written before and can be read.
        match state.number() < last {
            true => Err(hole(state.number() + 1, last)),
            false => Ok(state),
        }
    }

    /// Returns the number of the last entry in a listing from entry `after` on. Fails if one in between is missing.
    async fn last_of_unbroken(&self, mut after: u64) -> Result<u64> {
        let folder = "log".parse()?;
        loop {
            let from = log_key(after)?;
            let page = self.store.list(Some(&folder), Some(&from), 1_000).await.map_err(failed)?;
            for blob in &page.blobs {
                match log_number(&blob.key) {
                    Some(number) if number == after + 1 => after = number,
                    Some(number) => return Err(hole(after + 1, number)),
                    None => {
                        let what = "it was not written by a gallery: move it away";
                        return Err(Error::corrupt(format!("catalog blob {}", blob.key), what));
                    }
                }
            }
            if page.blobs.is_empty() || !page.more {
                return Ok(after);
            }
        }
    }

    /// Returns whether entry `number` of this log has the hash `digest`; `None` if the log has no such entry yet.
    pub(crate) async fn has_entry(&self, number: u64, digest: &Digest) -> Result<Option<bool>> {
        let mut state = self.snapshot();
        if state.number() < number {
            state = self.refresh().await?;
        }
        if state.number() <= number {
            return Ok((state.number() == number).then(|| state.head() == *digest));
        }
        match self.read_entry(number).await? {
            Some((there, _)) => Ok(Some(there == *digest)),
            None => Err(hole(number, state.number())),
        }
    }

    /// Returns the newest state that this process knows. No I/O.
    pub(crate) fn snapshot(&self) -> Arc<State> {
        self.state.read().clone()
    }

    /// Reads the commits of other writers, and returns the newest state.
    pub(crate) async fn refresh(&self) -> Result<Arc<State>> {
        loop {
            let state = self.snapshot();
            let Some((digest, entry)) = self.read_entry(state.number() + 1).await? else {
                // ORDER: persist, then answer. The other way round, another writer's entry is read -> an answer relies
                // on it -> power cut: the entry is gone.
                self.make_durable(state.number()).await?;
                return Ok(state);
            };
            self.time.read_of_another(&*self.clock, entry.time);
            self.advance(Arc::new(state.after(&entry, digest)?));
        }
    }

    /// Makes `state` the newest, unless a newer one is known.
    pub(super) fn advance(&self, state: Arc<State>) {
        let mut newest = self.state.write();
        if newest.number() < state.number() {
            *newest = state;
        }
    }

    /// Forgets what changed up to commit `number`, which a checkpoint has.
    pub(super) fn forget(&self, number: u64) {
        let mut newest = self.state.write();
        let mut state = State::clone(&newest);
        state.forget(number);
        *newest = Arc::new(state);
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

    pub(super) async fn read_entry(&self, number: u64) -> Result<Option<(Digest, Entry)>> {
        let key = log_key(number)?;
        match self.store.find(&key).await.map_err(failed)? {
            Some(bytes) => match Entry::decode(&bytes, &key) {
                Err(error) if error.kind() == ErrorKind::Corrupt => Err(unreadable(&key, error)),
                decoded => decoded.map(Some),
            },
            None => Ok(None),
        }
    }

    /// Returns every commit after number `after`, oldest first, read from the log.
    pub(crate) fn history(&self, after: u64) -> impl Stream<Item = Result<Commit>> {
        let commits = stream::try_unfold(after, move |number| async move {
            let entry = self.read_entry(number + 1).await?;
            let last = self.snapshot().number();
            if entry.is_none() && number < last {
                return Err(hole(number + 1, last));
            }
            Ok::<_, Error>(entry.map(|(_, entry)| (stream::iter(entry.commits().map(Ok)), number + 1)))
        });
        futures::stream::TryStreamExt::try_flatten(commits)
    }
}
