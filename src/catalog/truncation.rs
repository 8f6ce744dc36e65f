//! Truncation of the log: entries that two checkpoints have are replaced by [tombstones](super::tombstone).
//!
//! Nothing is replaced before it is proven that the newest two checkpoints can be opened, and that the log after them is whole.
//! A boundary is created first. What was begun is finished by the next truncation: all up to a boundary is replaced before the
//! next one is created.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::boundary::{boundary, create_boundary, newest_boundaries};
use super::checkpoint::{self, Checkpoints, KEPT};
use super::entry::log_key;
use super::frame::failed;
use super::log::{Catalog, hole};
use super::tombstone::LogBlob;
use crate::access::Caller;
use crate::error::{Error, Result};
use crate::host::in_flight::REQUESTS;
use crate::store::{PutMode, StoreErrorKind};

/// What a truncation has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncation {
    /// The history begins after this commit.
    pub(crate) boundary: u64,
    /// The entries that were replaced.
    pub(crate) replaced: u64,
}

impl Catalog {
    /// Returns the commit after which the history begins; 0 for all of it.
    pub(crate) async fn boundary(&self) -> Result<u64> {
        boundary(&*self.store).await
    }

    /// Replaces the entries up to `up_to` by tombstones, as far as the older of the newest two checkpoints is newer.
    pub(crate) async fn truncate(self: &Arc<Self>, caller: &Caller, up_to: u64) -> Result<Truncation> {
        self.refuse_change()?;
        self.look_into_the_same_store().await?;
        // All of the log after the state that is known.
        self.read_to_the_end().await?;
        let [newest, before] = newest_boundaries(&*self.store).await?;
        let wanted = up_to.max(newest);
        let least = self.least_checkpoint(wanted).await?;
        if newest > 0 && newest >= least {
            let what = format!(
                "it was truncated up to commit `{newest}`, and the older of its two checkpoints is that of commit `{least}`: one \
                 was lost. Truncate it after the next checkpoints"
            );
            return Err(Error::conflict("catalog log", what));
        }
        let number = wanted.min(least.saturating_sub(1));
        // What an earlier truncation has left.
        let left = self.replace(before, newest).await?;
        if number == newest {
            return Ok(Truncation { boundary: newest, replaced: left });
        }
        // ORDER: boundary, then tombstones. The other way round, tombstones -> crash: nothing says where the history begins.
        create_boundary(&*self.store, self.id(), number, self.clock.now(), caller).await?;
        let replaced = left + self.replace(newest, number).await?;
        Ok(Truncation { boundary: number, replaced })
    }

    /// Returns the number of the older of the newest two checkpoints, both of which were read in full. Reads none if there is
    /// nothing to truncate.
    async fn least_checkpoint(&self, wanted: u64) -> Result<u64> {
        if wanted == 0 {
            return Ok(0);
        }
        let numbers = checkpoint::listed(&*self.store, KEPT).await?;
        let &[newest, older] = numbers.as_slice() else {
            let what = "the catalog has fewer than two checkpoints, which are written as it changes: truncate it later";
            return Err(Error::conflict("catalog log", what));
        };
        let checkpoints = self.checkpoints();
        for number in [newest, older] {
            self.prove(&checkpoints, number).await?;
        }
        Ok(older)
    }

    /// Proves that the catalog can be opened from the checkpoint of commit `number`.
    async fn prove(&self, checkpoints: &Checkpoints, number: u64) -> Result<()> {
        let not_whole = || {
            let what = format!(
                "the checkpoint of commit `{number}` is not whole: the log is needed, and nothing was truncated. The next \
                 checkpoints replace it"
            );
            Error::corrupt("catalog log", what)
        };
        let root = checkpoints.root(number).await?.ok_or_else(not_whole)?;
        let state = checkpoints.load(&root).await?.ok_or_else(not_whole)?;
        match self.read_entry(number).await? {
            Some(own) if own.digest() == state.head() => Ok(()),
            _ => Err(not_whole()),
        }
    }

    /// Replaces the entries after one up to another, and returns how many were none yet.
    async fn replace(&self, after: u64, up_to: u64) -> Result<u64> {
        let (mut replaced, mut first) = (0, after + 1);
        while first <= up_to {
            // ORDER: whose is the store, then put. The other way round, another store is mounted -> put: its log is truncated.
            self.refuse_another_store().await?;
            let last = up_to.min(first + BETWEEN_CHECKS - 1);
            let all = stream::iter(first..=last).map(|number| self.replace_one(number)).buffer_unordered(REQUESTS);
            replaced += all.try_fold(0, |sum, one| std::future::ready(Ok(sum + one))).await?;
            first = last + 1;
        }
        Ok(replaced)
    }

    /// Replaces an entry. Each truncation puts the same bytes, so a late one changes nothing; where the store can, none replaces
    /// anything but the entry that was read.
    async fn replace_one(&self, number: u64) -> Result<u64> {
        let key = log_key(number)?;
        loop {
            // ORDER: version, then bytes. The other way round, bytes -> the log is restored from a copy -> version: what was
            // restored is replaced by what is left of another entry.
            let version = match self.store.capabilities().changes_conditionally() {
                true => match self.store.head(&key).await {
                    Ok(blob) => blob.version,
                    Err(error) if error.kind() == StoreErrorKind::NotFound => None,
                    Err(error) => return Err(failed(error)),
                },
                false => None,
            };
            let tombstone = match self.read_entry(number).await? {
                Some(LogBlob::Entry(read)) => read.tombstone()?,
                Some(LogBlob::Tombstone(_)) => return Ok(0),
                None => return Err(hole(number, self.snapshot().number())),
            };
            let put = match &version {
                Some(version) => self.store.replace_if(&key, tombstone, version).await,
                None => self.store.put(&key, tombstone, PutMode::Overwrite).await,
            };
            match put {
                Ok(()) => return Ok(1),
                Err(error) if error.kind() == StoreErrorKind::Changed => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// Entries that are replaced between two looks at whose the store is.
const BETWEEN_CHECKS: u64 = 256;
