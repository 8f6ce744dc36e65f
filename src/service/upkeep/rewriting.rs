//! Writes packs anew: what is left of mostly dead ones, and what has rested, compressed.
//!
//! A pack that an import wrote has its own name in a slot; what is written anew is a part of it, and is compressed once. So
//! the names tell what is left to do: nothing is recorded, any process can go on, and content that does not shrink is tried once.
//! The part holds the same records under the same names, so no index changes, and other slots stay as they are.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::freeing::{Freed, Freeing};
use crate::catalog::State;
use crate::content::names::{PackId, SlotId};
use crate::content::recode::Recoding;
use crate::error::{Error, Result};
use crate::host::in_flight::all_of;
use crate::progress::{OnProgress, Progress};
use crate::regions::garbage::{Rewrite, Survey};

/// Packs that are rewritten at a time, of 16 MiB each.
const REWRITES: usize = 4;

/// Packs that are compressed before what they replace is removed: a replica needs room for as many more, of up to 16 MiB.
const BETWEEN_REMOVALS: usize = 64;

/// What is to be compressed, and how much.
#[derive(Clone, Debug)]
pub(super) struct Compressing {
    /// The time since the publication of the last version that needs a pack.
    pub(super) rested_for: TimeDelta,
    /// The bytes to read, over all regions.
    pub(super) at_most: u64,
    /// The time after which no further pack is begun.
    pub(super) within: Option<TimeDelta>,
    /// Small packs of a definition are merged if they are at least so many.
    pub(super) several: usize,
}

/// The number of small packs from which on they are merged, unless another is given: each merge rewrites what the last ones left small.
const SEVERAL: usize = 8;

impl Default for Compressing {
    fn default() -> Self {
        Self { rested_for: TimeDelta::hours(1), at_most: u64::MAX, within: None, several: SEVERAL }
    }
}

impl Compressing {
    /// Returns the packs that are to be compressed.
    pub(super) fn found_in(&self, survey: &Survey, state: &State, now: DateTime<Utc>) -> Vec<Rewrite> {
        survey.uncompressed(state, self.rested(now))
    }

    /// Returns the time before which a version must have been published, if that counts.
    pub(super) fn rested(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Without a rest no clock counts: that of a store may be a tick behind the one that a publication has its date from.
        let has_to_rest = self.rested_for > TimeDelta::zero();
        let rested = now.checked_sub_signed(self.rested_for).unwrap_or(DateTime::<Utc>::MIN_UTC);
        has_to_rest.then_some(rested)
    }
}

impl Freeing<'_> {
    /// Writes the live content of mostly dead packs. The rest of them is garbage from then on.
    pub(super) async fn rewrite(
        &self,
        survey: &mut Survey,
        how: Option<Recoding>,
        freed: &mut Freed<'_>,
    ) -> Result<()> {
        let state = self.session.state().await?;
        if survey.is_overtaken(&state) {
            survey.list_again(&state).await?;
        }
        let state = self.session.state().await?;
        survey.read(&state).await?;
        for wave in survey.mostly_dead(&state).chunks(REWRITES) {
            for written in self.write_anew(survey, wave, how).await? {
                written.new_bytes().into_iter().for_each(|bytes| freed.report.rewritten(survey.region(), bytes));
            }
        }
        Ok(())
    }

    /// Compresses what has rested in a region. Returns the bytes that were read.
    pub(super) async fn compress(
        &self,
        survey: &mut Survey,
        compressing: &Compressing,
        freed: &mut Freed<'_>,
        on_progress: &OnProgress,
    ) -> Result<u64> {
        let inner = &self.session.inner;
        let (began, now) = (inner.clock.now(), inner.catalog.agreed_time().await?);
        let mut tried = BTreeSet::<(SlotId, PackId)>::new();
        let mut read = 0_u64;
        loop {
            let state = self.session.state().await?;
            if survey.is_overtaken(&state) {
                survey.list_again(&state).await?;
            }
            survey.read(&state).await?;
            let mut found = compressing.found_in(survey, &state, now);
            found.retain(|rewrite| !tried.contains(&(rewrite.slot, rewrite.pack.id)));
            let left = found.len();
            let is_late =
                compressing.within.is_some_and(|within| inner.clock.now().signed_duration_since(began) >= within);
            found.truncate(if is_late { 0 } else { BETWEEN_REMOVALS });
            let mut bytes = read;
            found.retain(|rewrite| {
                bytes = bytes.saturating_add(rewrite.pack.length);
                bytes <= compressing.at_most
            });
            if found.is_empty() {
                freed.report.add_uncompressed(survey.region(), left);
                return Ok(read);
            }
            tried.extend(found.iter().map(|rewrite| (rewrite.slot, rewrite.pack.id)));
            for wave in found.chunks(REWRITES) {
                for written in self.write_anew(survey, wave, Some(Recoding::Rested)).await? {
                    freed.report.compressed(survey.region(), written.length);
                }
                read += wave.iter().map(|rewrite| rewrite.pack.length).sum::<u64>();
                on_progress(Progress { done: read, total: read.max(bytes) });
            }
            self.remove_all_garbage(survey, freed).await?;
        }
    }

    /// Writes what is live of some packs as parts, and adds these to the survey.
    async fn write_anew(&self, survey: &mut Survey, packs: &[Rewrite], how: Option<Recoding>) -> Result<Vec<Written>> {
        let workers = &self.session.inner.workers;
        let writing = packs.iter().filter_map(|Rewrite { slot: id, pack, live, .. }| {
            let slot = survey.slot(*id)?;
            Some(async move {
                // A damaged pack is left to a scrub, a slot that does not answer to the next time.
                let Ok((parcel, bytes)) = slot.recoded(pack, live, how, workers).await else {
                    return Ok::<_, Error>(None);
                };
                let (placed, is_new) = slot.put_parcel(&parcel, bytes).await?;
                let length = placed.length();
                Ok(Some((*id, placed, Written { length, is_new })))
            })
        });
        let mut all = Vec::new();
        for (slot, placed, written) in all_of(writing.collect()).await?.into_iter().flatten() {
            survey.written(slot, placed);
            all.push(written);
        }
        Ok(all)
    }
}

/// A part that was written.
struct Written {
    length: u64,
    /// Whether it was not there before.
    is_new: bool,
}

impl Written {
    fn new_bytes(&self) -> Option<u64> {
        self.is_new.then_some(self.length)
    }
}
