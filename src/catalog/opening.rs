//! Creating and opening a catalog: identity and list of checkpoints, then root and log's listing, then segments and entries.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use super::backlog::Backlog;
use super::checkpoint::{self, Checkpoints, KEPT, Root};
use super::entry::log_key;
use super::identity::{self, Identity};
use super::log::{Catalog, ReadEntry, persist_log, read_entry};
use super::log_time::LogTime;
use super::look::LogPage;
use super::pace::Pace;
use super::pending::Writer;
use super::probe::probe;
use super::single_flight::SingleFlight;
use super::state::State;
use crate::content::digest::Digest;
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
    entries: Vec<ReadEntry>,
    rest: LogPage,
    /// The newest entry that is known to survive a power cut.
    durable: u64,
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
        let (identity, root) = Identity::create(&*store, &*entropy).await?;
        let checkpoints =
            Checkpoints { store, catalog: identity.catalog, entropy: entropy.clone(), workers: workers.clone() };
        let found = find(&checkpoints, Vec::new(), root).await?;
        Self::start(checkpoints, clock, probed, found).await
    }

    /// Opens the catalog on `store`. Also checks that the store refuses a second creation of a key, which everything
    /// else relies on.
    pub(crate) async fn open(
        store: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        workers: Workers,
    ) -> Result<Self> {
        let (identity, listed) = futures::join!(Identity::find(&*store), checkpoint::listed(&*store, KEPT));
        let Some((identity, root)) = identity? else {
            identity::refuse_remains(&*store).await?;
            return Err(identity::absent());
        };
        let checkpoints =
            Checkpoints { store: store.clone(), catalog: identity.catalog, entropy: entropy.clone(), workers };
        let (probed, found) = futures::join!(probe(&*store, &*entropy), find(&checkpoints, listed?, root));
        Self::start(checkpoints, clock, probed?, found?).await
    }

    async fn start(
        Checkpoints { store, catalog, entropy, workers }: Checkpoints,
        clock: Arc<dyn Clock>,
        probed: Option<DateTime<Utc>>,
        Found { state, root, entries, rest, durable }: Found,
    ) -> Result<Self> {
        let time = LogTime::new(&*clock, probed, &state);
        let catalog = Self {
            id: catalog,
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
        entries.iter().try_for_each(|read| catalog.follow(read))?;
        catalog.read_listed(Some(rest)).await?;
        catalog.make_durable(catalog.snapshot().number()).await?;
        // Processes that end before they have written the checkpoint that is due would let the log grow without end.
        if catalog.backlog.lock().is_long() {
            within(&*catalog.clock, Some(FOR_A_CHECKPOINT), catalog.write_checkpoint()).await;
        }
        Ok(catalog)
    }
}

/// Reads the newest intact checkpoint and the log after it.
///
/// # Errors
///
/// If the store does not answer: falling back to the whole log could take hours. `Unsupported` if a newer build wrote it.
async fn find(checkpoints: &Checkpoints, mut listed: Vec<u64>, root: Digest) -> Result<Found> {
    let mut at = 0;
    while let Some(number) = listed.get(at).copied() {
        // A missing, damaged or foreign checkpoint costs time, not data.
        if let Some(found) = find_from(checkpoints, number).await? {
            return Ok(found);
        }
        // It may have been replaced meanwhile.
        let again = checkpoint::listed(&*checkpoints.store, KEPT).await?;
        at = if again.first() == listed.first() { at + 1 } else { 0 };
        listed = again;
    }
    let page = LogPage::after(&*checkpoints.store, 0).await?;
    let (entries, rest, durable) = read_first(&*checkpoints.store, page).await?;
    Ok(Found { state: State::empty(root), root: None, entries, rest, durable })
}

/// Reads the checkpoint of commit `number` and the log after it; `None` if the checkpoint is not whole.
async fn find_from(checkpoints: &Checkpoints, number: u64) -> Result<Option<Found>> {
    let store = &*checkpoints.store;
    let (root, page) = futures::join!(checkpoints.root(number), LogPage::after(store, number));
    let Some(root) = root? else { return Ok(None) };
    let read = async {
        match page {
            Ok(page) => read_first(store, page).await,
            Err(error) => Err(error),
        }
    };
    let (state, own, read) = futures::join!(checkpoints.load(&root), read_entry(store, number), read);
    let Some(state) = state? else { return Ok(None) };
    refuse_a_checkpoint_of_another_log(&state, own)?;
    let (entries, rest, durable) = read?;
    // A checkpoint is written after its entry is durable.
    Ok(Some(Found { state, root: Some(root), entries, rest, durable: durable.max(number) }))
}

/// Reads the first entries of a page and makes them durable. Returns them, the rest of the page, and the newest that is durable.
async fn read_first(store: &dyn BlobStore, page: LogPage) -> Result<(Vec<ReadEntry>, LogPage, u64)> {
    let (last, is_empty) = (page.last(), page.is_empty());
    let (first, rest) = page.split();
    let persisted = async { if is_empty { Ok(()) } else { persist_log(store).await } };
    let (entries, persisted) = futures::join!(first.entries(store).try_collect(), persisted);
    persisted?;
    Ok((entries?, rest, last))
}

/// Refuses a checkpoint that is ahead of a log that lost its end, or that belongs to another log. `own` is the entry of the
/// checkpoint's commit.
fn refuse_a_checkpoint_of_another_log(state: &State, own: Result<Option<ReadEntry>>) -> Result<()> {
    let what = match own {
        Ok(Some(read)) if read.digest == state.head() => return Ok(()),
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
