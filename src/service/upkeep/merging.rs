//! Merges small packs of a slot into one blob (`docs/decisions/0028`).
//!
//! The members are parts under their own names, so what they replace is garbage, and is removed as any.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::freeing::{Freed, Freeing};
use super::rewriting::Compressing;
use crate::catalog::State;
use crate::content::merged::Merged;
use crate::content::names::{PackId, SlotId};
use crate::content::part::Part;
use crate::error::Result;
use crate::host::in_flight::together;
use crate::progress::{OnProgress, Progress};
use crate::regions::garbage::{Merge, MergeRule, Small, Survey};
use crate::replica::parcel::Parcel;
use crate::replica::slot::Slot;

/// Packs that are read at a time.
const READS: usize = 16;

/// Blobs that are written before what they replace is removed: a replica needs room for as many more.
const BETWEEN_REMOVALS: usize = 4;

/// How much is merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merging {
    pub(super) only_mostly_dead: bool,
    pub(super) several: usize,
    pub(super) rested: Option<DateTime<Utc>>,
    /// The bytes to read.
    pub(super) at_most: u64,
    /// No further blob is begun from then on.
    pub(super) until: Option<DateTime<Utc>>,
}

impl Merging {
    /// Writes anew what is needed of mostly dead merged blobs, and nothing else.
    pub(super) const MOSTLY_DEAD: Self =
        Self { only_mostly_dead: true, several: usize::MAX, rested: None, at_most: u64::MAX, until: None };

    /// Merges what has rested.
    pub(super) fn of(compressing: &Compressing, now: DateTime<Utc>) -> Self {
        let Compressing { at_most, several, .. } = *compressing;
        Self { only_mostly_dead: false, several, rested: compressing.rested(now), at_most, until: None }
    }

    pub(super) fn found_in(&self, survey: &Survey, state: &State, tried: &BTreeSet<(SlotId, PackId)>) -> Vec<Merge> {
        let Self { only_mostly_dead, several, rested, .. } = *self;
        survey.to_merge(state, &MergeRule { only_mostly_dead, several, rested, tried })
    }
}

impl Freeing<'_> {
    /// Merges small packs of a region. Returns the bytes that were read.
    pub(super) async fn merge(
        &self,
        survey: &mut Survey,
        merging: Merging,
        freed: &mut Freed<'_>,
        on_progress: &OnProgress,
    ) -> Result<u64> {
        let (mut tried, mut read) = (BTreeSet::<(SlotId, PackId)>::new(), 0_u64);
        loop {
            // Mostly there is nothing to do, which the survey tells without a look at the log.
            if merging.found_in(survey, &self.session.inner.catalog.snapshot(), &tried).is_empty() {
                return Ok(read);
            }
            let state = self.session.state().await?;
            if survey.is_overtaken(&state) {
                survey.list_again(&state).await?;
            }
            survey.read(&state).await?;
            let mut found = merging.found_in(survey, &state, &tried);
            if merging.until.is_some_and(|until| self.session.inner.clock.now() >= until) {
                found.clear();
            }
            found.truncate(BETWEEN_REMOVALS);
            let mut bytes = read;
            found.retain(|merge| {
                bytes = bytes.saturating_add(merge.bytes());
                bytes <= merging.at_most
            });
            if found.is_empty() {
                return Ok(read);
            }
            for merge in found {
                tried.extend(merge.packs.iter().map(|small| (merge.slot, small.pack.id)));
                read += merge.bytes();
                if let Some((packs, written)) = self.write_merged(survey, &state, merge).await? {
                    freed.report.merged(survey.region(), packs, written);
                }
                on_progress(Progress { done: read, total: read.max(bytes) });
            }
            self.remove_all_garbage(survey, freed).await?;
        }
    }

    /// Writes a merged blob and its links, and adds them to the survey. Returns the number of its members, and its length.
    async fn write_merged(&self, survey: &mut Survey, state: &State, merge: Merge) -> Result<Option<(usize, u64)>> {
        let Some(slot) = survey.slot(merge.slot).cloned() else { return Ok(None) };
        let mut members = BTreeMap::<Option<u32>, Vec<(Part, Bytes)>>::new();
        for wave in merge.packs.chunks(READS) {
            let reading = wave.iter().map(|small| self.member(&slot, small));
            // A damaged one is left to a scrub.
            for (key, part, bytes) in together(reading.collect()).await.into_iter().flatten() {
                members.entry(key).or_default().push((part, bytes));
            }
        }
        let (catalog, family, number) = (slot.catalog(), merge.family, state.number());
        let (mut packs, mut all) = (0, 0);
        // Those under one key together: what a rotation leaves of a merged blob would be under the old one.
        for members in members.into_values() {
            let build = move || Merged::build(catalog, family, number, members);
            let Some(merged) = self.session.inner.workers.run(build).await else { continue };
            let (id, bytes) = (merged.id, merged.pieces.iter().map(|piece| piece.len() as u64).sum());
            let linked = slot.put_merged(merged).await?;
            survey.merged(merge.slot, id, bytes);
            (packs, all) = (packs + linked.len(), all + bytes);
            linked.into_iter().for_each(|parcel| survey.written(merge.slot, parcel));
        }
        Ok((packs > 0).then_some((packs, all)))
    }

    /// Returns what becomes a member, verified by its seals, with its blob and the key that it is under.
    async fn member(&self, slot: &Slot, small: &Small) -> Option<(Option<u32>, Part, Bytes)> {
        let workers = &self.session.inner.workers;
        let (part, bytes) = match (&small.copied, &small.kept) {
            (Some(copied), _) => slot.copied(&small.pack, copied, workers).await.ok()?,
            (None, Parcel::Part(part)) => (part.clone().placed(None), slot.verified(&small.kept, workers).await.ok()?),
            (None, Parcel::Pack(_)) => return None,
        };
        let key = part.head_in(slot.catalog(), &bytes).ok()?.key();
        Some((key, part, bytes))
    }
}
