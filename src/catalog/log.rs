//! The catalog of one store: its state in memory, kept up with its log.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::stream::{self, Stream};

use super::checkpoint;
use super::commit::{Pending, Writer};
use super::entry::{Commit, Entry, log_key};
use super::state::State;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::{Clock, Entropy};
use crate::store::{BlobStore, BlobStoreExt, PutMode, StoreError, StoreErrorKind};

/// A catalog on a store. Any number of them, in any number of processes, may be open on one store.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    state: RwLock<Arc<State>>,
    /// Operations that wait to be committed together.
    pub(super) queue: Mutex<Vec<Pending>>,
    /// Whoever holds it commits, for all that wait.
    pub(super) writer: futures::lock::Mutex<Writer>,
}

pub(super) fn failed(error: StoreError) -> Error {
    error.at("catalog")
}

impl Catalog {
    /// Opens the catalog on `store`, and first makes sure that the store can keep its one promise that all else
    /// rests on.
    pub(crate) async fn open(
        store: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        probe(&*store, &*entropy).await?;
        let state = checkpoint::newest(&*store).await?;
        let catalog = Self {
            store,
            clock,
            entropy,
            state: RwLock::new(Arc::new(state)),
            queue: Mutex::new(Vec::new()),
            writer: futures::lock::Mutex::new(Writer::default()),
        };
        catalog.refresh().await?;
        Ok(catalog)
    }

    /// The newest state that this process knows of; no I/O, and no waiting for any.
    pub(crate) fn snapshot(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the commits of others, and returns the state after the newest.
    pub(crate) async fn refresh(&self) -> Result<Arc<State>> {
        loop {
            let state = self.snapshot();
            let Some((digest, entry)) = self.read_entry(state.number() + 1).await? else { return Ok(state) };
            self.advance(Arc::new(state.after(&entry, digest)?));
        }
    }

    /// Makes `state` the newest, unless a newer one is known.
    pub(super) fn advance(&self, state: Arc<State>) {
        let mut newest = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if newest.number() < state.number() {
            *newest = state;
        }
    }

    pub(super) async fn read_entry(&self, number: u64) -> Result<Option<(crate::image::Digest, Entry)>> {
        let key = log_key(number)?;
        match self.store.find(&key).await.map_err(failed)? {
            Some(bytes) => Entry::decode(&bytes, &key).map(Some),
            None => Ok(None),
        }
    }

    /// Every commit after number `after`, oldest first, read from the log.
    pub(crate) fn history(&self, after: u64) -> impl Stream<Item = Result<Commit>> {
        let commits = stream::try_unfold(after, move |number| async move {
            let entry = self.read_entry(number + 1).await?;
            Ok::<_, Error>(entry.map(|(_, entry)| (stream::iter(entry.commits().map(Ok)), number + 1)))
        });
        futures::stream::TryStreamExt::try_flatten(commits)
    }
}

/// Refuses a store that lets two callers create the same key: on it, two writers would both believe that they
/// committed.
async fn probe(store: &dyn BlobStore, entropy: &dyn Entropy) -> Result<()> {
    let mut name = [0; 16];
    entropy.fill(&mut name).map_err(|error| Error::from_io("entropy", "drawing a random name", error))?;
    let key = format!("probes/{:032x}", u128::from_be_bytes(name)).parse()?;
    let bytes = bytes::Bytes::from_static(b"is a second creation refused?\n");
    store.put(&key, bytes.clone(), PutMode::Create).await.map_err(failed)?;
    let second = store.put(&key, bytes, PutMode::Create).await;
    store.delete(&key).await.map_err(failed)?;
    match second {
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(()) => {
            let what = "the store accepts the same create-if-absent twice, so commits could be lost on it: use a store \
                        with conditional writes, or turn them on";
            Err(Error::new(Problem::new(ErrorKind::Unsupported, "OperationNotAllowed", "catalog", what)))
        }
    }
}
