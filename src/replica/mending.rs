//! Bringing a slot what it has lost.

use bytes::Bytes;

use super::holders::{Holders, is_damage};
use super::needs::needs;
use super::parcel::{Parcel, ParcelRequest};
use super::slot::Slot;
use crate::content::extents::Extents;
use crate::content::manifest::Manifest;
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::record::TableLine;
use crate::error::Result;
use crate::host::Workers;

/// What came of looking at one pack in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MendOutcome {
    /// All that is needed is there and good: so many bytes were read.
    Good(u64),
    /// It was not, and is now.
    Mended,
    /// It is not, and no other slot has it, or the slot can't be read or written to.
    Lost,
}

/// Reading what a slot has of a pack, and bringing it what of that is damaged or missing.
pub(crate) struct Mending<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) others: &'a Holders,
    pub(crate) info: &'a PackInfo,
    /// What must be there.
    pub(crate) need: &'a Extents,
    /// That, and what anything else may need of it in that slot when it is replicated; `None` where that is not known.
    pub(crate) all_needs: Option<&'a Extents>,
    pub(crate) workers: &'a Workers,
}

impl Mending<'_> {
    pub(crate) async fn run(&self) -> MendOutcome {
        self.try_to().await.unwrap_or(MendOutcome::Lost)
    }

    async fn try_to(&self) -> Result<MendOutcome> {
        let Self { slot, info, workers, .. } = *self;
        let holding = slot.holding(&info.id).await?;
        let whole = Parcel::Pack(*info);
        if holding.has_whole(info) && unless_damaged(slot.verified(&whole, workers).await)?.is_some() {
            return Ok(MendOutcome::Good(info.length));
        }
        let (mut there, mut read, mut bad) = (Extents::default(), 0, Vec::new());
        // Every record that is still good goes into the part that takes the place of what is damaged: others may need it.
        let mut saved: Vec<(TableLine, Bytes)> = Vec::new();
        for part in &holding.parts {
            let parcel = Parcel::Part(part.clone());
            if unless_damaged(slot.verified(&parcel, workers).await)?.is_some() {
                there = there.union(&part.extents());
                read += part.length();
            } else {
                saved.extend(unless_damaged(slot.good_records_of(&parcel).await)?.unwrap_or_default());
                bad.push(parcel);
            }
        }
        let mut blind = false;
        if holding.whole.is_some() {
            if let Ok(bytes) = self.others.whole(info, workers).await {
                slot.replace(&whole, bytes).await?;
                return Ok(MendOutcome::Mended);
            }
            match unless_damaged(slot.good_records_of(&whole).await)? {
                Some(records) => saved.extend(records),
                None => blind = true,
            }
        }
        if blind && self.all_needs.is_none() {
            // What is good in it can't be told from what is not, so it has to stay.
            return Ok(MendOutcome::Lost);
        }
        let need = self.all_needs.filter(|_| blind).unwrap_or(self.need);
        saved.sort_unstable_by_key(|(line, _)| line.offset);
        saved.dedup_by_key(|(line, _)| line.offset);
        saved.retain(|(line, _)| !there.covers(&line.range()));
        let missing = need.minus(&there).minus(&saved.iter().map(|(line, _)| line.range()).collect());
        if bad.is_empty() && holding.broken.is_empty() && holding.whole.is_none() && missing.is_empty() {
            return Ok(MendOutcome::Good(read));
        }
        let mut written = None;
        if !missing.is_empty() {
            let whole = holding.is_empty() && info.is_mostly(&missing);
            let (parcel, bytes) =
                self.others.fetch(&ParcelRequest { pack: *info, extents: missing, whole }, workers).await?;
            match parcel {
                Parcel::Pack(_) => {
                    slot.replace(&parcel, bytes).await?;
                    return Ok(MendOutcome::Mended);
                }
                Parcel::Part(part) => saved.extend(part.records_in(&bytes)),
            }
        }
        if !saved.is_empty() {
            let (part, bytes) = Part::build(info.id, saved);
            if let Parcel::Part(part) = slot.replace(&Parcel::Part(part), bytes).await? {
                written = Some(part.name());
            }
        }
        // ORDER: all that is good and all that is needed is there before what is damaged goes.
        for name in holding.broken.iter().filter(|name| Some(**name) != written) {
            slot.delete(*name).await?;
        }
        bad.extend(holding.whole.map(|_| whole));
        for parcel in &bad {
            // Another mending may have put a good one in its place meanwhile: the last look is right before.
            if written != Some(slot.name_of(parcel)) && unless_damaged(slot.verified(parcel, workers).await)?.is_none()
            {
                slot.delete(slot.name_of(parcel)).await?;
            }
        }
        Ok(MendOutcome::Mended)
    }
}

impl Holders {
    /// Mends what was found damaged, from another slot each; tells how many packs. What can't be mended stays as it is.
    pub(crate) async fn mend(&self, manifest: &Manifest, workers: &Workers) -> usize {
        let damaged = self.take_damaged();
        if damaged.is_empty() {
            return 0;
        }
        let Ok(needs) = needs(manifest, self).await else { return 0 };
        let mut mended = 0;
        for (number, id) in damaged {
            let info = manifest.packs.iter().find(|pack| pack.id == id);
            let (Some(info), Some(need), Some(slot)) = (info, needs.get(&id), self.slots().get(number)) else {
                continue;
            };
            let others = self.slots().iter().enumerate().filter(|(at, _)| *at != number);
            let others = Self::new(others.map(|(_, slot)| slot.clone()).collect());
            // What else is made of the pack is not known here.
            let mending = Mending { slot, others: &others, info, need, all_needs: None, workers };
            mended += usize::from(matches!(mending.run().await, MendOutcome::Mended));
        }
        mended
    }
}

/// `None` for what is damaged or gone; a store that does not answer says nothing of what it has.
fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(there) => Ok(Some(there)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
