//! How calls of a store are made of others: for a store that has nothing better, and for wrappers that want to see each.

use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};

use super::blob::{BlobMeta, Folders, MAX_BLOB_BYTES, Page, Pages};
use super::capabilities::Capabilities;
use super::error::{StoreError, StoreErrorKind, StoreResult};
use super::key::BlobKey;

/// The blobs of one request of [`pages`].
pub(crate) const PAGE: usize = 1_000;
/// The blobs of one request of [`folders`]: most of a large folder is skipped, and several small ones are seen at once.
const FOLDERS_AHEAD: usize = 100;
/// The requests after which [`folders`] answers with what it has, so that a call takes a bounded time.
const FOLDER_REQUESTS: usize = 16;

/// Puts the parts of a blob together.
pub(crate) fn joined(key: &BlobKey, parts: &[Bytes]) -> StoreResult<Bytes> {
    match parts {
        [one] => Ok(one.clone()),
        // Such bytes may be more than there is memory.
        parts if size_of(parts) > MAX_BLOB_BYTES => {
            Err(StoreError::new(StoreErrorKind::TooLarge, "put_parts", Some(key)))
        }
        parts => Ok(parts.concat().into()),
    }
}

/// The bytes of all parts together.
pub(crate) fn size_of(parts: &[Bytes]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(part.len() as u64))
}

/// Makes calls, as many at once as the store serves well, and returns their answers in order.
pub(crate) async fn at_once<T>(calls: Vec<BoxFuture<'_, T>>, capabilities: Capabilities) -> Vec<T> {
    stream::iter(calls).buffered(capabilities.parallel_requests()).collect().await
}

/// The outcome of a deletion about which a store that was asked for several has said nothing.
pub(crate) fn unanswered(key: &BlobKey) -> StoreError {
    StoreError::new(StoreErrorKind::Unknown, "delete", Some(key)).with_source("the store answered for fewer keys")
}

/// Lists page by page with `list`, which is given `under` and the key to go on after.
pub(crate) fn pages<'a>(
    under: Option<&BlobKey>,
    after: Option<&BlobKey>,
    list: impl Fn(Option<BlobKey>, Option<BlobKey>) -> BoxFuture<'a, StoreResult<Page>> + Send + Sync + Copy + 'a,
) -> Pages<'a> {
    let start = Some((under.cloned(), after.cloned()));
    Box::pin(stream::try_unfold(start, move |next| async move {
        let Some((under, after)) = next else { return Ok(None) };
        let page = list(under.clone(), after.clone()).await?;
        in_order(under.as_ref(), after.as_ref(), &page.blobs)?;
        let last = page.blobs.last().map(|last| last.key.clone());
        let next = page.more.then_some((under, last));
        Ok((!page.blobs.is_empty()).then_some((page.blobs, next)))
    }))
}

/// A listing that is not in order after the given key might never end.
fn in_order(under: Option<&BlobKey>, after: Option<&BlobKey>, blobs: &[BlobMeta]) -> StoreResult<()> {
    let keys = after.into_iter().chain(blobs.iter().map(|blob| &blob.key));
    if keys.clone().zip(keys.skip(1)).all(|(one, next)| one < next) {
        return Ok(());
    }
    let what = "the store's listing is not in ascending order, or does not continue after the given key";
    Err(StoreError::new(StoreErrorKind::Unsupported, "list", under).with_source(what))
}

/// Lists folders with `list`, which lists so many blobs under `under` after a key.
pub(crate) async fn folders<'a>(
    under: Option<&BlobKey>,
    after: Option<&BlobKey>,
    limit: usize,
    list: impl Fn(Option<BlobKey>, usize) -> BoxFuture<'a, StoreResult<Page>>,
) -> StoreResult<Folders> {
    let limit = limit.max(1);
    let start = after.map(|after| format!("{after}/"));
    let skipped = after.filter(|after| after.parent().as_ref() == under).and_then(BlobKey::last_under);
    let mut from = skipped.or_else(|| after.cloned());
    let (mut keys, mut requests, mut more): (Vec<BlobKey>, _, _) = (Vec::new(), 0, true);
    while more && keys.len() <= limit && (requests < FOLDER_REQUESTS || keys.is_empty()) {
        let page = list(from.clone(), FOLDERS_AHEAD).await?;
        in_order(under, from.as_ref(), &page.blobs)?;
        requests += 1;
        more = page.more && !page.blobs.is_empty();
        for folder in page.blobs.iter().filter_map(|blob| blob.key.folder(under)) {
            if keys.last() != Some(&folder) && start.as_ref().is_none_or(|start| format!("{folder}/") > *start) {
                keys.push(folder);
            }
        }
        // Past what is left of the last folder.
        let skipped = keys.last().and_then(BlobKey::last_under);
        from = page.blobs.last().map(|last| last.key.clone()).max(skipped);
    }
    more |= keys.len() > limit;
    keys.truncate(limit);
    Ok(Folders::new(keys, more))
}

/// The requests that read several ranges of a blob.
#[derive(Debug)]
pub(crate) struct Reads {
    spans: Vec<Span>,
}

/// One request, and the numbered ranges that it answers.
#[derive(Debug)]
struct Span {
    range: Range<u64>,
    holds: Vec<(usize, Range<u64>)>,
}

impl Reads {
    /// Merges neighbours, so far as the store reads the gap between them sooner than it answers a second request.
    pub(crate) fn new(ranges: &[Range<u64>], capabilities: Capabilities) -> Self {
        let mut sorted: Vec<(usize, &Range<u64>)> = ranges.iter().enumerate().collect();
        sorted.sort_by_key(|(_, range)| (range.start, range.end));
        let mut spans: Vec<Span> = Vec::new();
        for (number, range) in sorted {
            match spans.last_mut().filter(|span| span.has_room_for(range, capabilities)) {
                Some(span) => {
                    span.range.end = span.range.end.max(range.end);
                    span.holds.push((number, range.clone()));
                }
                None => spans.push(Span { range: range.clone(), holds: vec![(number, range.clone())] }),
            }
        }
        Self { spans }
    }

    pub(crate) fn requests(&self) -> impl Iterator<Item = Range<u64>> {
        self.spans.iter().map(|span| span.range.clone())
    }

    /// Cuts the answers to the [`requests`](Self::requests) of `key` into the ranges, in their own order.
    pub(crate) fn answers(self, key: &BlobKey, answers: Vec<StoreResult<Bytes>>) -> StoreResult<Vec<Bytes>> {
        let mut cut: Vec<(usize, Bytes)> = Vec::new();
        for (span, answer) in self.spans.iter().zip(answers) {
            let bytes = answer?;
            for (number, range) in &span.holds {
                let Some(part) = span.part(&bytes, range) else {
                    let Range { start, end } = span.range;
                    let what = format!("the store answered {} bytes for {start} to {end}", bytes.len());
                    let kind = StoreErrorKind::InvalidRange;
                    return Err(StoreError::new(kind, "get_ranges", Some(key)).with_source(what));
                };
                cut.push((*number, part));
            }
        }
        cut.sort_unstable_by_key(|(number, _)| *number);
        Ok(cut.into_iter().map(|(_, bytes)| bytes).collect())
    }
}

impl Span {
    fn has_room_for(&self, range: &Range<u64>, capabilities: Capabilities) -> bool {
        // One that ends before it starts is for the store to refuse.
        let are_ranges = self.range.start <= self.range.end && range.start <= range.end;
        let gap = range.start.saturating_sub(self.range.end);
        let length = range.end.saturating_sub(self.range.start);
        let is_inside = range.end <= self.range.end;
        let is_worth_it = gap <= capabilities.merged_gap_bytes() && length <= capabilities.best_read_bytes();
        are_ranges && (is_inside || is_worth_it)
    }

    /// The bytes of `range`; `None` if `bytes` are too few or too many for the request, and so may be any.
    fn part(&self, bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
        let place = |at: u64| usize::try_from(at.checked_sub(self.range.start)?).ok();
        let (start, end) = (place(range.start)?, place(range.end)?);
        let is_whole = bytes.len() as u64 == self.range.end.checked_sub(self.range.start)?;
        (is_whole && start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
    }
}
