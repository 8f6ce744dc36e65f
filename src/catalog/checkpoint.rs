//! Checkpoints: the state at some commit, so that opening a catalog does not read its whole log.
//!
//! A checkpoint is a root and the segments that it names: ranges of records, and deltas that changed since. Writing one costs
//! what changed since the last, and a few ranges merged anew in turn; see decision 18. It only saves time: if one is
//! damaged, an older one or the log alone gives the same state.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::encoding::RowWriter;
use super::features::Features;
use super::frame::{self, FORMAT, failed};
use super::identity::CatalogId;
use super::record::Number;
use super::record_key::RecordKey;
use super::rows::{RangeRecords, Row};
use super::segment::{self, Segment, SegmentName};
use super::state::State;
use crate::content::digest::Digest;
use crate::content::names::UploadId;
use crate::error::{ErrorKind, Result};
use crate::host::in_flight::REQUESTS;
use crate::host::{Entropy, Workers, draw};
use crate::store::{BlobKey, BlobStore, BlobStoreExt, PutMode, StoreErrorKind};

/// The number of newest roots that are kept, in case the newest is damaged.
pub(super) const KEPT: usize = 2;

/// The rows of a range, before they are compressed: so few that a checkpoint, which merges some, puts at most 2 MiB.
const RANGE_BYTES: usize = 3 << 17;

/// The most deltas, unless there are more ranges than can be merged in as many checkpoints.
const DELTAS: usize = 64;

/// The most ranges that a checkpoint merges.
const MERGED: usize = 4;

/// The root of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Root {
    format: u32,
    catalog: CatalogId,
    /// The features of the catalog's format.
    features: Features,
    /// The commit that it is the state after, with the hash of its entry.
    pub(super) number: u64,
    head: Digest,
    time: DateTime<Utc>,
    /// How many galleries and definitions there ever were.
    numbered: Number,
    /// In the order of their keys; together they have all of them.
    ranges: Vec<Range>,
    /// The oldest first.
    deltas: Vec<Delta>,
}

/// All records from a key up to the next range's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Range {
    /// `None` for the first.
    from: Option<RecordKey>,
    /// The commit that it is the state after.
    number: u64,
    segment: Segment,
}

/// What changed up to a commit, since the root before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Delta {
    number: u64,
    segment: Segment,
}

fn folder() -> Result<BlobKey> {
    "checkpoints".parse()
}

/// The newest sorts first: finding it takes one short listing, and no hint that could be stale.
fn key(number: u64) -> Result<BlobKey> {
    format!("checkpoints/{:020}", u64::MAX - number).parse()
}

fn number_of(key: &BlobKey) -> Option<u64> {
    let number = u64::MAX - key.as_str().strip_prefix("checkpoints/")?.parse::<u64>().ok()?;
    (self::key(number).ok()? == *key).then_some(number)
}

#[cfg(feature = "testkit")]
pub(super) fn fuzz_key() -> BlobKey {
    #[expect(clippy::unwrap_used, reason = "only for tests, and constant")]
    key(0).unwrap()
}

pub(super) fn decode(bytes: &[u8], key: &BlobKey) -> Result<Root> {
    let (_, root): (_, Root) = frame::decode(bytes, key)?;
    root.features.refuse_unreadable()?;
    Ok(root)
}

impl Root {
    /// Returns whether all of its segments exist.
    fn is_whole(&self, there: &BTreeSet<SegmentName>) -> bool {
        self.segments().all(|segment| there.contains(&segment.name))
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.ranges.iter().map(|range| &range.segment).chain(self.deltas.iter().map(|delta| &delta.segment))
    }
}

/// Returns the numbers of the roots, the newest first.
pub(super) async fn listed(store: &dyn BlobStore, most: usize) -> Result<Vec<u64>> {
    let page = store.list(Some(&folder()?), None, most).await.map_err(failed)?;
    Ok(page.blobs.iter().filter_map(|blob| number_of(&blob.key)).collect())
}

/// Where checkpoints lie, and who writes them.
pub(super) struct Checkpoints {
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) catalog: CatalogId,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) workers: Workers,
}

impl Checkpoints {
    async fn listed(&self, most: usize) -> Result<Vec<u64>> {
        listed(&*self.store, most).await
    }

    /// Returns a root; `None` if it is gone, damaged or another catalog's.
    pub(super) async fn root(&self, number: u64) -> Result<Option<Root>> {
        let key = key(number)?;
        let Some(bytes) = self.store.find(&key).await.map_err(failed)? else { return Ok(None) };
        match decode(&bytes, &key) {
            Ok(root) => Ok(Some(root).filter(|root| root.catalog == self.catalog && root.number == number)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the segments of a root; `None` if one is absent or damaged.
    pub(super) async fn load(&self, root: &Root) -> Result<Option<State>> {
        let root = Arc::new(root.clone());
        let ranges = root.ranges.iter().map(|range| (range.segment.clone(), None));
        let deltas = root.deltas.iter().map(|delta| (delta.segment.clone(), Some(delta.number)));
        let parts: Vec<_> = ranges.chain(deltas).map(|(segment, delta)| self.part(&root, segment, delta)).collect();
        let mut parts = stream::iter(parts).buffered(REQUESTS);
        let (mut ranges, mut deltas) = (Vec::with_capacity(root.ranges.len()), Vec::new());
        while let Some(part) = parts.try_next().await? {
            match part {
                Some(Part::Range(records)) => ranges.push(records),
                Some(Part::Delta(rows)) => deltas.push(rows),
                None => return Ok(None),
            }
        }
        drop(parts);
        let assemble = move || {
            let before =
                State::before_checkpoint(root.number, root.head, root.time, root.numbered, root.features.clone());
            let mut state = State::of_ranges(before, ranges);
            deltas.into_iter().flatten().for_each(|row| state.take(row));
            state.named()
        };
        Ok(Some(self.workers.run(assemble).await))
    }

    /// Reads a range, or the delta of a commit; `None` if it is absent or damaged.
    async fn part(&self, root: &Arc<Root>, segment: Segment, delta: Option<u64>) -> Result<Option<Part>> {
        let Some(blob) = self.store.find(&segment.name.key()?).await.map_err(failed)? else { return Ok(None) };
        let (catalog, root) = (self.catalog, root.clone());
        let decode = move || match delta {
            None => segment::decode(catalog, &segment, &blob).map(Part::Range),
            Some(number) => {
                let mut rows: Vec<Row> = segment::decode(catalog, &segment, &blob)?;
                // What a range has taken in already is older than the range.
                rows.retain(|row| range_of(&root.ranges, &row.key()).is_none_or(|range| range.number < number));
                Ok(Part::Delta(rows))
            }
        };
        match self.workers.run(decode).await {
            Ok(part) => Ok(Some(part)),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the newest root, if it is whole; else `known`, the newest one that this process knows. Another process may have
    /// written one: its segments stay, while those of older ones may go.
    pub(super) async fn newest(&self, known: Option<Root>) -> Result<Option<Root>> {
        match self.listed(1).await?.first() {
            Some(newest) if known.as_ref().is_none_or(|known| known.number != *newest) => {
                Ok(self.whole(*newest).await?.or(known))
            }
            _ => Ok(known),
        }
    }

    /// Writes a checkpoint of `state`, whose entry is durable, on top of `base`, the newest. Returns the one that the next goes
    /// on from; `None` if what was written lacks a segment that was lost.
    pub(super) async fn write(&self, state: &Arc<State>, base: Option<Root>) -> Result<Option<Root>> {
        if base.as_ref().is_some_and(|base| base.number >= state.number()) {
            return Ok(base);
        }
        let random = draw(&*self.entropy, "drawing a segment's name")?;
        let (catalog, of, from) = (self.catalog, state.clone(), base.clone());
        let (root, blobs) = self.workers.run(move || build(catalog, &of, from.as_ref(), random)).await?;
        let put = |(name, blob): (SegmentName, Bytes)| async move {
            self.store.put(&name.key()?, blob, PutMode::Create).await.map_err(failed)
        };
        stream::iter(blobs.into_iter().map(put)).buffer_unordered(REQUESTS).try_collect::<()>().await?;
        let (_, bytes) = frame::encode(&root)?;
        match self.store.put(&key(root.number)?, bytes, PutMode::Create).await {
            Ok(()) => {}
            // Another's of the same state, or our own after a lost answer.
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {
                return self.whole(root.number).await;
            }
            Err(error) => return Err(failed(error)),
        }
        let there = self.segments().await?;
        self.tidy(&there, [Some(&root), base.as_ref()].into_iter().flatten()).await?;
        Ok(Some(root).filter(|root| root.is_whole(&there)))
    }

    async fn segments(&self) -> Result<BTreeSet<SegmentName>> {
        let listed = self.store.list_all(Some(&"segments".parse()?)).await.map_err(failed)?;
        Ok(listed.iter().filter_map(|blob| blob.key.as_str().strip_prefix("segments/")?.parse().ok()).collect())
    }

    /// Returns a root that has all of its segments.
    async fn whole(&self, number: u64) -> Result<Option<Root>> {
        let Some(root) = self.root(number).await? else { return Ok(None) };
        let there = self.segments().await?;
        Ok(Some(root).filter(|root| root.is_whole(&there)))
    }

    /// Removes roots older than the two newest that have all of their segments, and segments that no root from there on
    /// names. `known` need not be read again.
    async fn tidy<'k>(
        &self,
        there: &BTreeSet<SegmentName>,
        known: impl Iterator<Item = &'k Root> + Clone,
    ) -> Result<()> {
        let (mut needed, mut complete, mut floor) = (BTreeSet::new(), 0, None);
        let numbers = self.listed(16).await?;
        for number in &numbers {
            let root = match known.clone().find(|root| root.number == *number) {
                Some(root) => Some(root.clone()),
                None => self.root(*number).await?,
            };
            let Some(root) = root else { continue };
            complete += usize::from(root.is_whole(there));
            needed.extend(root.segments().map(|segment| segment.name));
            if complete == KEPT {
                floor = Some(root.number);
                break;
            }
        }
        // The first checkpoints, or some are broken: everything stays.
        let Some(floor) = floor else { return Ok(()) };
        let old = numbers.iter().filter(|number| **number < floor).map(|number| key(*number));
        // ORDER: roots first, so that none is left without its segments. Segments of a later root may not have it yet.
        let unneeded = there.iter().filter(|name| name.number < floor && !needed.contains(name));
        for key in old.chain(unneeded.map(SegmentName::key)) {
            self.store.delete(&key?).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// What was read of a checkpoint.
enum Part {
    Range(RangeRecords),
    /// What no range has yet.
    Delta(Vec<Row>),
}

/// What a checkpoint puts.
type Built = (Root, Vec<(SegmentName, Bytes)>);

/// Makes the root of `state` and its new segments.
fn build(catalog: CatalogId, state: &State, base: Option<&Root>, random: [u8; 16]) -> Result<Built> {
    // Without all changes since the base, everything is written anew.
    let since = base.and_then(|base| Some((base, state.touched_since(base.number)?)));
    let (base, touched) = since.unzip();
    let mut segments =
        Segments { catalog, number: state.number(), random: u128::from_be_bytes(random), blobs: Vec::new() };
    let old = base.map_or(&[][..], |base| &base.ranges);
    let merged = to_merge(old);
    let (before, after) = (old.get(..merged.start).unwrap_or_default(), old.get(merged.end..).unwrap_or_default());
    let from = old.get(merged.start).and_then(|first| first.from.as_ref());
    let to = after.first().and_then(|next| next.from.as_ref());
    let mut ranges = before.to_vec();
    ranges.extend(segments.ranges(state, from, to)?);
    ranges.extend_from_slice(after);
    let mut rows = RowWriter::default();
    for key in touched.into_iter().flatten() {
        // What was merged just now has it.
        if range_of(&ranges, key).is_some_and(|range| range.number < state.number()) {
            rows.push(&state.row(key))?;
        }
    }
    let oldest = ranges.iter().map(|range| range.number).min().unwrap_or(state.number());
    let deltas = base.into_iter().flat_map(|base| &base.deltas).filter(|delta| delta.number > oldest);
    let mut deltas: Vec<Delta> = deltas.cloned().collect();
    if !rows.is_empty() {
        deltas.push(Delta { number: state.number(), segment: segments.add(rows.take())? });
    }
    let root = Root {
        format: FORMAT,
        catalog,
        features: state.features.clone(),
        number: state.number(),
        head: state.head(),
        time: state.time(),
        numbered: state.numbered,
        ranges,
        deltas,
    };
    Ok((root, segments.blobs))
}

/// Returns the range that a key belongs to.
fn range_of<'r>(ranges: &'r [Range], key: &RecordKey) -> Option<&'r Range> {
    let after = ranges.partition_point(|range| range.from.as_ref().is_none_or(|from| from <= key));
    ranges.get(after.checked_sub(1)?)
}

/// Returns the positions of the ranges to merge: neighbours, from the one that was merged longest ago.
fn to_merge(ranges: &[Range]) -> std::ops::Range<usize> {
    let count = ranges.len().div_ceil(DELTAS).clamp(2, MERGED).min(ranges.len());
    let oldest = (0..ranges.len()).min_by_key(|at| ranges.get(*at).map(|range| range.number)).unwrap_or(0);
    let start = oldest.min(ranges.len().saturating_sub(count));
    start..start + count
}

/// The segments of a checkpoint that is being made.
struct Segments {
    catalog: CatalogId,
    number: u64,
    random: u128,
    blobs: Vec<(SegmentName, Bytes)>,
}

impl Segments {
    fn add(&mut self, rows: Vec<u8>) -> Result<Segment> {
        // One draw a checkpoint: its segments count on from there.
        self.random = self.random.wrapping_add(1);
        let name = SegmentName { number: self.number, random: UploadId::from_bytes(self.random.to_be_bytes()) };
        let (segment, blob) = segment::encode(self.catalog, name, &rows)?;
        self.blobs.push((name, blob));
        Ok(segment)
    }

    /// Makes ranges of all records from a key up to another.
    fn ranges(&mut self, state: &State, from: Option<&RecordKey>, to: Option<&RecordKey>) -> Result<Vec<Range>> {
        let (mut ranges, mut rows, mut first) = (Vec::new(), RowWriter::default(), from.cloned());
        for key in state.keys_from(from).take_while(|key| to.is_none_or(|to| key < to)) {
            if rows.len() >= RANGE_BYTES {
                let from = first.replace(key.clone());
                ranges.push(Range { from, number: self.number, segment: self.add(rows.take())? });
            }
            rows.push(&state.row(&key))?;
        }
        ranges.push(Range { from: first, number: self.number, segment: self.add(rows.take())? });
        Ok(ranges)
    }
}
