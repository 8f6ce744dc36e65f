//! Creating and opening a catalog: identity and list of checkpoints, then root and log's listing, then segments and entries.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use super::backlog::Backlog;
use super::checkpoint::{self, Checkpoints, KEPT, Root};
use super::entry::log_key;
use super::features::Features;
use super::identity::{self, Identity};
use super::log::{Catalog, Mode, persist_log, read_entry};
use super::log_time::LogTime;
use super::look::LogPage;
use super::pace::Pace;
use super::pending::Writer;
use super::probe::probe;
use super::single_flight::SingleFlight;
use super::state::State;
use super::tombstone::{LogBlob, without_checkpoint};
use crate::error::{Error, ErrorKind, Result};
use crate::host::sync::{Mutex, RwLock};
use crate::host::{Clock, Entropy, Workers, within};
use crate::store::BlobStore;

/// The longest that opening waits for a checkpoint.
const FOR_A_CHECKPOINT: Duration = Duration::from_secs(10);

/// What the store has.
struct Found {
    /// Of the newest checkpoint.
    state: State,
    root: Option<Root>,
    /// The first entries after it, and the listing of the others.
    entries: Vec<LogBlob>,
    rest: LogPage,
    /// The newest entry that survives a power cut if they were persisted.
    durable: u64,
    persisted: Result<()>,
}

impl Catalog {
    /// Creates a catalog on `store`, which must have none, and opens it.
    pub(crate) async fn create(
        store: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workers: Workers,
        is_encrypted: bool,
    ) -> Result<Self> {
        let features = if is_encrypted { Features::encrypted() } else { Features::default() };
        let probed = probe(&*store, &*entropy).await?;
        let (identity, root) = Identity::create(&*store, &*entropy, features).await?;
        let checkpoints =
            Checkpoints { store, catalog: identity.catalog, entropy: entropy.clone(), workers: workers.clone() };
        let opened = Opened { checkpoints, mode: Mode::ReadWrite, before: State::empty(root, identity.features) };
        let found = opened.find(Vec::new()).await?;
        Self::start(opened, clock, probed, found).await
    }

    /// Opens the catalog on `store`. Also checks, unless it only reads, that the store refuses a second creation of a key, which
    /// everything else relies on.
    pub(crate) async fn open(
        store: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workers: Workers,
        mode: Mode,
    ) -> Result<Self> {
        let (identity, listed) = futures::join!(Identity::find(&*store), checkpoint::listed(&*store, KEPT));
        let Some((identity, root)) = identity? else {
            identity::refuse_remains(&*store).await?;
            return Err(identity::absent());
        };
        let checkpoints =
            Checkpoints { store: store.clone(), catalog: identity.catalog, entropy: entropy.clone(), workers };
        let is_changed = mode == Mode::ReadWrite && identity.features.refuse_change().is_ok();
        let probed = async { if is_changed { probe(&*store, &*entropy).await } else { Ok(None) } };
        let opened = Opened { checkpoints, mode, before: State::empty(root, identity.features) };
        let (probed, found) = futures::join!(probed, opened.find(listed?));
        let found = found?;
        if is_changed && found.root.is_none() && found.durable == 0 {
            // ORDER: persist, then commit. The other way round, another process creates the identity, and is not told so ->
            // read here -> the first entry -> power cut: a log without an identity.
            identity::persist(&*store).await?;
        }
        Self::start(opened, clock, probed?, found).await
    }

    /// Opens the newest checkpoint: entry `truncated` follows the state that is known, and says no more what it changed.
    pub(super) async fn open_again(&self, truncated: u64) -> Result<()> {
        self.refuse_another_store().await?;
        let listed = checkpoint::listed(&*self.store, KEPT).await?;
        // Without a checkpoint it ends at the truncated entry.
        let before = State::clone(&self.snapshot());
        let opened = Opened { checkpoints: self.checkpoints(), mode: self.mode, before };
        let Found { state, root, .. } = opened.find(listed).await?;
        if state.number() < truncated {
            return Err(without_checkpoint(truncated));
        }
        self.time.read_of_another(&*self.clock, state.time());
        self.backlog.lock().has(root);
        self.advance(Arc::new(state));
        Ok(())
    }

    async fn start(
        Opened { checkpoints, mode, .. }: Opened,
        clock: Arc<dyn Clock>,
        probed: Option<DateTime<Utc>>,
        Found { state, root, entries, rest, durable, persisted }: Found,
    ) -> Result<Self> {
        let Checkpoints { store, catalog, entropy, workers } = checkpoints;
        let time = LogTime::new(&*clock, probed, &state);
        let catalog = Self {
            id: catalog,
            mode,
            store,
            clock,
            entropy,
            time,
            durable: durable.into(),
            state: Arc::new(RwLock::new(Arc::new(state))),
            writer: Mutex::<Writer>::default(),
            pace: Mutex::<Pace>::default(),
            looks: SingleFlight::default(),
            commit_limit: None,
            backlog: Arc::new(Mutex::new(Backlog::new(root))),
            checkpoint: Mutex::new(None),
            workers,
        };
        catalog.follow_all(&entries).await?;
        // A process that only reads may lack the permission.
        if catalog.refuse_change().is_ok() {
            persisted?;
        }
        catalog.read_listed(Some(rest)).await?;
        catalog.make_durable(catalog.snapshot().number()).await?;
        // Processes that end before they have written the checkpoint that is due would let the log grow without end.
        if catalog.backlog.lock().is_long() && catalog.refuse_change().is_ok() {
            within(&*catalog.clock, Some(FOR_A_CHECKPOINT), catalog.write_checkpoint()).await;
        }
        Ok(catalog)
    }
}

/// A catalog that is being opened.
struct Opened {
    checkpoints: Checkpoints,
    mode: Mode,
    /// The state before the first commit.
    before: State,
}

impl Opened {
    /// Reads the newest intact checkpoint and the log after it; `listed` are the newest two.
    ///
    /// # Errors
    ///
    /// If the store does not answer: falling back to the whole log could take hours. `Unsupported` if a newer build wrote it.
    async fn find(&self, mut listed: Vec<u64>) -> Result<Found> {
        let mut at = 0;
        while let Some(number) = listed.get(at).copied() {
            // A missing, damaged or foreign checkpoint costs time, not data.
            if let Some(found) = self.find_from(number).await? {
                return Ok(found);
            }
            // It may have been replaced meanwhile.
            let again = checkpoint::listed(self.store(), KEPT).await?;
            at = if again.first() == listed.first() { at + 1 } else { 0 };
            listed = again;
        }
        let page = LogPage::after(self.store(), 0).await?;
        let First { entries, rest, durable, persisted } = read_first(self.store(), page).await;
        let entries = entries?;
        if let Some(truncated) = entries.iter().find(|blob| blob.is_tombstone()) {
            return Err(without_checkpoint(truncated.number()));
        }
        Ok(Found { state: self.before.clone(), root: None, entries, rest, durable, persisted })
    }

    fn store(&self) -> &dyn BlobStore {
        &*self.checkpoints.store
    }

    /// Reads the checkpoint of commit `number` and the log after it; `None` if the checkpoint is not whole, or so old that the
    /// log was truncated after it.
    async fn find_from(&self, number: u64) -> Result<Option<Found>> {
        let (root, page) = futures::join!(self.checkpoints.root(number), LogPage::after(self.store(), number));
        let Some(root) = root? else { return Ok(None) };
        let read = async {
            match page {
                Ok(page) => Ok(read_first(self.store(), page).await),
                Err(error) => Err(error),
            }
        };
        let own = read_entry(self.store(), number);
        let (state, own, read) = futures::join!(self.checkpoints.load(&root), own, read);
        let Some(state) = state? else { return Ok(None) };
        refuse_a_checkpoint_of_another_log(&state, own)?;
        let First { entries, rest, durable, persisted } = read?;
        let entries = entries?;
        if entries.iter().any(LogBlob::is_tombstone) {
            return Ok(None);
        }
        Ok(Some(Found { state, root: Some(root), entries, rest, durable, persisted }))
    }
}

/// The first entries of a page.
struct First {
    entries: Result<Vec<LogBlob>>,
    rest: LogPage,
    durable: u64,
    persisted: Result<()>,
}

/// Reads the first entries of a page, and makes all of the page durable. What comes before a page is: a checkpoint is written
/// after its entry is durable.
async fn read_first(store: &dyn BlobStore, page: LogPage) -> First {
    let (durable, is_empty) = (page.last(), page.is_empty());
    let (first, rest) = page.split();
    let persisted = async { if is_empty { Ok(()) } else { persist_log(store).await } };
    let (entries, persisted) = futures::join!(first.entries(store).try_collect(), persisted);
    First { entries, rest, durable, persisted }
}

/// Refuses a checkpoint that is ahead of a log that lost its end, or that belongs to another log. `own` is the entry of the
/// checkpoint's commit.
fn refuse_a_checkpoint_of_another_log(state: &State, own: Result<Option<LogBlob>>) -> Result<()> {
    let what = match own {
        Ok(Some(read)) if read.digest() == state.head() => return Ok(()),
        // A damaged entry is reported when it is read.
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
        Err(error) => return Err(error),
        Ok(None) => {
            let key = log_key(state.number())?;
            format!("a checkpoint of commit `{}` exists and its entry does not: restore blob `{key}`", state.number())
        }
        Ok(Some(_)) => format!(
            "a checkpoint of commit `{}` belongs to another log: restore the log of the checkpoint",
            state.number()
        ),
    };
    Err(Error::corrupt("catalog log", what))
}
