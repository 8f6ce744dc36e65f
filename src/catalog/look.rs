//! Looks at the log: what other writers have committed.

use std::sync::Arc;

use futures::future::join_all;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use super::entry::{log_key, log_number};
use super::frame::failed;
use super::log::{Catalog, hole, log_folder, read_entry};
use super::state::State;
use super::tombstone::LogBlob;
use crate::error::{Error, Result};
use crate::host::in_flight::{BYTES, REQUESTS};
use crate::store::{BlobMeta, BlobStore};

/// The longest page of a listing of the log.
const PAGE: usize = 1_000;

impl Catalog {
    /// Reads the commits of other writers, and returns the newest state. It has every commit that was acknowledged before
    /// this call.
    pub(crate) async fn refresh(self: &Arc<Self>) -> Result<Arc<State>> {
        let catalog = self.clone();
        let look = async {
            match self.looks.ask(move || async move { catalog.look().await }).await {
                // An error is not shared: each caller meets its own.
                Some((Err(_), true)) | None => self.look().await,
                Some((answer, _)) => answer,
            }
        };
        self.beside_a_checkpoint(look).await
    }

    async fn look(&self) -> Result<Arc<State>> {
        self.read_on(0).await?;
        let state = self.snapshot();
        // ORDER: persist, then answer. The other way round, another writer's entry is read -> an answer relies
        // on it -> power cut: the entry is gone.
        self.make_durable(state.number()).await?;
        Ok(state)
    }

    /// Reads entries until one is absent, more at a time the more there are; `found` were read just now.
    pub(super) async fn read_on(&self, mut found: usize) -> Result<()> {
        loop {
            let wanted = found.clamp(1, REQUESTS);
            let (read, failed) = self.read_entries(self.snapshot().number() + 1, wanted).await;
            let are_all = read.len() < wanted;
            let followed = self.follow_all(&read).await?;
            match failed {
                // What was not read may be there: it is no end of the log.
                Some(error) if followed == Followed::ToTheEnd => return Err(error),
                None if followed == Followed::ToTheEnd && are_all => return Ok(()),
                _ => {}
            }
            found += wanted;
        }
    }

    /// Makes the state after entries that were read the newest. If one of them was truncated, the newest checkpoint takes their
    /// place, and there is more to read after that.
    pub(super) async fn follow_all(&self, read: &[LogBlob]) -> Result<Followed> {
        for blob in read {
            match blob {
                LogBlob::Entry(read) => self.follow(read)?,
                LogBlob::Tombstone(tombstone) if tombstone.number <= self.snapshot().number() => {}
                LogBlob::Tombstone(tombstone) => {
                    self.open_again(tombstone.number).await?;
                    return Ok(Followed::FromACheckpoint);
                }
            }
        }
        Ok(Followed::ToTheEnd)
    }

    /// Reads some entries at once, up to the first that is absent or cannot be read; in that case with the error.
    pub(super) async fn read_entries(&self, first: u64, count: usize) -> (Vec<LogBlob>, Option<Error>) {
        let mut entries = Vec::with_capacity(count);
        for read in join_all((first..).take(count).map(|number| self.read_entry(number))).await {
            match read {
                Ok(Some(read)) => entries.push(read),
                Ok(None) => break,
                Err(error) => return (entries, Some(error)),
            }
        }
        (entries, None)
    }

    /// Reads every commit, and checks against a listing that none after the known state is missing: the first absent
    /// number is the log's end only if nothing comes after it.
    ///
    /// # Errors
    ///
    /// `Corrupt` with the name of the missing entry.
    pub(crate) async fn read_to_the_end(&self) -> Result<Arc<State>> {
        self.read_listed(None).await?;
        let state = self.snapshot();
        self.make_durable(state.number()).await?;
        Ok(state)
    }

    /// Reads the entries of a listing after the known state, page by page; the first page may be there already.
    pub(super) async fn read_listed(&self, first: Option<LogPage>) -> Result<()> {
        let mut page = match first {
            Some(page) => page,
            None => LogPage::after(&*self.store, self.snapshot().number()).await?,
        };
        loop {
            let mut last = page.last();
            let mut entries = page.entries(&*self.store);
            let mut followed = Followed::ToTheEnd;
            while followed == Followed::ToTheEnd
                && let Some(read) = entries.try_next().await?
            {
                followed = self.follow_all(&[read]).await?;
            }
            drop(entries);
            match followed {
                Followed::ToTheEnd if !page.more => return Ok(()),
                Followed::ToTheEnd => {}
                Followed::FromACheckpoint => last = self.snapshot().number(),
            }
            page = LogPage::after(&*self.store, last).await?;
        }
    }
}

/// How entries that were read were followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    ToTheEnd,
    /// Up to one that was truncated.
    FromACheckpoint,
}

/// A part of a listing of the log, without a hole.
#[derive(Debug)]
pub(super) struct LogPage {
    after: u64,
    blobs: Vec<BlobMeta>,
    more: bool,
}

impl LogPage {
    /// Lists the entries after `after`. Fails if one of them is missing, or is none.
    pub(super) async fn after(store: &dyn BlobStore, after: u64) -> Result<Self> {
        let page = store.list(Some(&log_folder()?), Some(&log_key(after)?), PAGE).await.map_err(failed)?;
        for (number, blob) in (after + 1..).zip(&page.blobs) {
            match log_number(&blob.key) {
                Some(there) if there == number => {}
                Some(there) => return Err(hole(number, there)),
                None => {
                    let what = "it was not written by a gallery: move it away";
                    return Err(Error::corrupt(format!("catalog blob {}", blob.key), what));
                }
            }
        }
        Ok(Self { after, more: page.more && !page.blobs.is_empty(), blobs: page.blobs })
    }

    /// Returns the number of the last entry of the page, or the one that it begins after.
    pub(super) fn last(&self) -> u64 {
        self.after + self.blobs.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Takes the first entries off, as many as may be read at once beside something else.
    pub(super) fn split(self) -> (Self, Self) {
        let mut bytes = 0;
        let is_within = |blob: &&BlobMeta| {
            bytes += blob.size;
            bytes <= BYTES
        };
        let count = self.blobs.iter().take_while(is_within).count();
        let mut first = self.blobs;
        let rest = first.split_off(count);
        let middle = self.after + first.len() as u64;
        let first = Self { after: self.after, blobs: first, more: false };
        (first, Self { after: middle, blobs: rest, more: self.more })
    }

    /// Reads the entries, in order.
    pub(super) fn entries<'s>(&self, store: &'s dyn BlobStore) -> impl Stream<Item = Result<LogBlob>> + use<'s> {
        let largest = self.blobs.iter().map(|blob| blob.size).max().unwrap_or(0).max(1);
        let at_once = usize::try_from(BYTES / largest).unwrap_or(REQUESTS).clamp(1, REQUESTS);
        let (first, last) = (self.after + 1, self.last());
        let read = move |number| async move {
            // Everything that a listing shows was written before and can be read.
            read_entry(store, number).await?.ok_or_else(|| hole(number, last))
        };
        stream::iter(first..=last).map(read).buffered(at_once)
    }
}
