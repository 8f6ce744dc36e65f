//! Listings of a bucket.

use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::list::PaginatedListOptions;
use object_store::path::Path;

use super::answer::Call;
use super::bucket::ObjectStoreBlobs;
use super::fault::Asked;
use crate::store::blob::{BlobMeta, Page, Pages};
use crate::store::error::{StoreError, StoreErrorKind, StoreResult};
use crate::store::key::BlobKey;

/// The blobs of one request: the most that S3 lists.
const PAGE: usize = 1_000;

/// A listing so far.
struct Reading {
    /// What names start with.
    start: String,
    under: Option<BlobKey>,
    after: Option<BlobKey>,
    /// The greatest key that the service has listed.
    last: Option<BlobKey>,
    /// Where the service goes on; `None` before the first page.
    token: Option<String>,
    is_done: bool,
}

impl ObjectStoreBlobs {
    fn reading(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Reading {
        let start = under.map_or_else(|| self.start(), |under| format!("{}{under}/", self.start()));
        Reading { start, under: under.cloned(), after: after.cloned(), last: None, token: None, is_done: false }
    }

    pub(super) async fn list_page(
        &self,
        under: Option<&BlobKey>,
        after: Option<&BlobKey>,
        limit: usize,
    ) -> StoreResult<Page> {
        let mut reading = self.reading(under, after);
        // One more, because Azure starts with the key that it is to start after.
        let mut blobs = self.next(&mut reading, limit.saturating_add(1).min(PAGE)).await?;
        while blobs.is_empty() && !reading.is_done {
            blobs = self.next(&mut reading, PAGE).await?;
        }
        let more = blobs.len() > limit || !(reading.is_done || blobs.is_empty());
        blobs.truncate(limit);
        Ok(Page::new(blobs, more))
    }

    pub(super) fn all_pages(&self, under: Option<&BlobKey>, after: Option<&BlobKey>) -> Pages<'_> {
        let pages = stream::try_unfold(self.reading(under, after), move |mut reading| async move {
            while !reading.is_done {
                let blobs = self.next(&mut reading, PAGE).await?;
                if !blobs.is_empty() {
                    return Ok(Some((blobs, reading)));
                }
            }
            Ok(None)
        });
        pages.boxed()
    }

    /// The blobs of one more request: none, if all of its names are foreign.
    async fn next(&self, reading: &mut Reading, most: usize) -> StoreResult<Vec<BlobMeta>> {
        let Some(pages) = self.bucket.pages.clone() else {
            reading.is_done = true;
            return self.all_in_order(reading).await;
        };
        let options = PaginatedListOptions {
            offset: reading.after.as_ref().map(|after| format!("{}{after}", self.start())),
            max_keys: Some(most),
            page_token: reading.token.take(),
            ..PaginatedListOptions::default()
        };
        let start = reading.start.clone();
        let request = async move {
            let start = Some(start.as_str()).filter(|start| !start.is_empty());
            pages.list_paginated(start, options).await
        };
        let listed = self.ask(Asked::List, Call::default(), request).await;
        let (page, _) = listed.map_err(|fault| fault.error("list", reading.under.as_ref()))?;
        reading.token = page.page_token;
        reading.is_done = reading.token.is_none();
        let known: Vec<BlobMeta> = page.result.objects.iter().filter_map(|meta| self.listed(meta)).collect();
        let keys = reading.last.iter().chain(known.iter().map(|blob| &blob.key));
        if !keys.clone().zip(keys.skip(1)).all(|(one, next)| one < next) {
            return Err(unordered(reading.under.as_ref()));
        }
        reading.last = known.last().map(|last| last.key.clone()).or(reading.last.take());
        // Some services start with the key to start after, or at the start.
        let is_asked = |blob: &BlobMeta| reading.after.as_ref().is_none_or(|after| blob.key > *after);
        Ok(known.into_iter().filter(is_asked).collect())
    }

    /// All blobs at once, of a store that lists in no order.
    async fn all_in_order(&self, reading: &Reading) -> StoreResult<Vec<BlobMeta>> {
        let (store, start) = (self.bucket.store.clone(), Path::from(reading.start.trim_end_matches('/')));
        let request = async move {
            let start = Some(&start).filter(|start| !start.as_ref().is_empty());
            store.list(start).try_collect::<Vec<_>>().await
        };
        let listed = self.ask(Asked::List, Call::default(), request).await;
        let (all, _) = listed.map_err(|fault| fault.error("list", reading.under.as_ref()))?;
        let is_asked = |key: &BlobKey| {
            reading.under.as_ref().is_none_or(|under| key.is_under(under))
                && reading.after.as_ref().is_none_or(|after| key > after)
        };
        let mut blobs: Vec<BlobMeta> =
            all.iter().filter_map(|meta| self.listed(meta)).filter(|blob| is_asked(&blob.key)).collect();
        blobs.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(blobs)
    }
}

fn unordered(under: Option<&BlobKey>) -> StoreError {
    let what = "the bucket's listing is not in ascending order of names, as that of an S3 directory bucket is not: use a \
                general purpose bucket";
    StoreError::new(StoreErrorKind::Unsupported, "list", under).with_detail(what)
}
