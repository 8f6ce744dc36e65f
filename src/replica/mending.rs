//! Mending: replaces the damaged and missing records of a slot.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::holders::{Holders, is_damage};
use super::parcel::{Parcel, ParcelRequest};
use super::slot::Slot;
use crate::content::blob_name::BlobName;
use crate::content::codec::Unpacker;
use crate::content::extents::Extents;
use crate::content::manifest::Manifest;
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::record::Line;
use crate::error::Result;
use crate::host::Workers;

/// The outcome of checking one pack in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MendOutcome {
    /// Everything needed is there and good. Holds the number of bytes read.
    Good(u64),
    /// Something was damaged or missing, and was replaced.
    Mended,
    /// Something is damaged or missing, and either no other slot has it or this slot cannot be written.
    Lost,
    /// This slot cannot be read: nothing is known of what it has.
    Unreachable,
}

/// Knows the newest state of the log.
pub(crate) trait Renew: Sync {
    /// Returns a slot as that state knows it: the condemned names, and the incarnations of new blobs.
    fn renewed<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<Slot>>;
}

/// The check of one pack in one slot, and the replacement of what is damaged or missing.
pub(crate) struct Mending<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) others: &'a Holders,
    pub(crate) info: &'a PackInfo,
    /// The records that must be there.
    pub(crate) need: &'a Extents,
    pub(crate) workers: &'a Workers,
    pub(crate) log: &'a dyn Renew,
}

impl Mending<'_> {
    pub(crate) async fn run(&self) -> MendOutcome {
        match self.good_bytes().await {
            Ok(Some(read)) => return MendOutcome::Good(read),
            Ok(None) => {}
            Err(error) if is_damage(&error) => {}
            Err(_) => return MendOutcome::Unreachable,
        }
        // It may have been replaced since the state that the slot is known by, which may be hours old.
        let Ok(newest) = self.log.renewed(self.slot).await else { return MendOutcome::Unreachable };
        let mut is_damaged = false;
        match (Mending { slot: &newest, ..*self }).try_to(&mut is_damaged).await {
            Ok(outcome) => outcome,
            Err(error) if !is_damaged && !is_damage(&error) => MendOutcome::Unreachable,
            Err(_) => MendOutcome::Lost,
        }
    }

    /// Returns the bytes that were read, if all that is here is good, and all that is needed is here.
    async fn good_bytes(&self) -> Result<Option<u64>> {
        let Self { slot, info, workers, .. } = *self;
        let holding = slot.holding(&info.id).await?;
        if holding.has_whole(info) {
            let read = unless_damaged(slot.checked(&Parcel::Pack(*info), workers).await)?;
            return Ok(read.map(|_| info.length));
        }
        if holding.whole.is_some() || !holding.broken.is_empty() || !holding.lacks(info, self.need).is_empty() {
            return Ok(None);
        }
        let mut read = 0;
        for part in &holding.parts {
            let parcel = Parcel::Part(part.clone());
            if !part.is_of(info) || unless_damaged(slot.checked(&parcel, workers).await)?.is_none() {
                return Ok(None);
            }
            read += part.length();
        }
        Ok(Some(read))
    }

    /// `is_damaged` tells, also after an error, that something was found to be damaged or missing.
    async fn try_to(&self, is_damaged: &mut bool) -> Result<MendOutcome> {
        let Self { slot, info, workers, .. } = *self;
        let holding = slot.holding(&info.id).await?;
        let whole = Parcel::Pack(*info);
        if holding.has_whole(info) && unless_damaged(slot.checked(&whole, workers).await)?.is_some() {
            return Ok(MendOutcome::Good(info.length));
        }
        let (mut there, mut read, mut bad) = (Extents::default(), 0, Vec::new());
        // What is relied on once the damaged blobs are gone.
        let mut kept: Vec<BlobName> = Vec::new();
        // Every record that is still good goes into the part that replaces the damaged blobs: other versions may need
        // it.
        let mut saved: Vec<(Line, Bytes)> = Vec::new();
        for part in &holding.parts {
            let parcel = Parcel::Part(part.clone());
            if part.is_of(info) && unless_damaged(slot.checked(&parcel, workers).await)?.is_some() {
                there = there.union(&part.extents());
                read += part.length();
                kept.push(part.name());
            } else {
                *is_damaged = true;
                saved.extend(unless_damaged(slot.good_records_of(&parcel).await)?.unwrap_or_default());
                bad.push(parcel);
            }
        }
        for name in &holding.broken {
            saved.extend(unless_damaged(slot.good_records_of_broken(*name).await)?.unwrap_or_default());
        }
        if holding.whole.is_some() {
            *is_damaged = true;
            if let Ok((Parcel::Pack(_), bytes)) = self.others.whole(info, workers).await
                && self.is_checked(&whole, &bytes).await
            {
                slot.replace(&whole, bytes).await?;
                return Ok(MendOutcome::Mended);
            }
            saved.extend(unless_damaged(slot.good_records_of(&whole).await)?.unwrap_or_default());
        }
        let mut saved = self.checked(saved).await;
        saved.sort_unstable_by_key(|(line, _)| line.ordinal);
        saved.dedup_by_key(|(line, _)| line.ordinal);
        saved.retain(|(line, _)| !there.covers(&line.ordinals()));
        let missing = self.need.minus(&there).minus(&saved.iter().map(|(line, _)| line.ordinals()).collect());
        if bad.is_empty() && holding.broken.is_empty() && holding.whole.is_none() && missing.is_empty() {
            return Ok(MendOutcome::Good(read));
        }
        *is_damaged = true;
        let mut written = None;
        if !missing.is_empty() {
            let whole = holding.is_empty() && info.is_mostly(&missing);
            let (parcel, bytes) =
                self.others.fetch(&ParcelRequest { pack: *info, extents: missing, whole }, workers).await?;
            match parcel {
                Parcel::Pack(_) if self.is_checked(&parcel, &bytes).await => {
                    slot.replace(&parcel, bytes).await?;
                    return Ok(MendOutcome::Mended);
                }
                Parcel::Pack(_) => return Ok(MendOutcome::Lost),
                Parcel::Part(part) => {
                    // It was built in memory, and is not encrypted.
                    let fetched = self.checked(part.head_or_rest(slot.catalog(), &bytes).records_in(&bytes)).await;
                    if (fetched.len() as u64) < part.extents().count() {
                        // The others have the same wrong content: what is here stays as it is.
                        return Ok(MendOutcome::Lost);
                    }
                    saved.extend(fetched);
                }
            }
        }
        if !saved.is_empty() {
            let (part, bytes) = Part::build(slot.catalog(), info, saved)?;
            if let Parcel::Part(part) = slot.replace(&Parcel::Part(part), bytes).await? {
                written = Some(part.name());
            }
        }
        // ORDER: write the replacement, then delete. The other way round, delete a damaged part -> the write fails: its
        // good records are lost. And persist before: a good part that was found may be that of another mending, who does not
        // know yet that it is durable -> delete the damaged one -> power cut: neither is there.
        if !there.is_empty() {
            slot.persist([info.id.upload], []).await?;
        }
        // ORDER: the log is read, then the damaged blobs are deleted. If a collection has condemned meanwhile what replaces them, or what
        // was good beside them, they stay: their good records are all that is left.
        let newest = self.log.renewed(slot).await?;
        if kept.iter().chain(&written).any(|name| newest.is_dead(*name)) {
            return Ok(MendOutcome::Lost);
        }
        for name in holding.broken.iter().filter(|name| Some(**name) != written) {
            slot.delete(*name).await?;
        }
        bad.extend(holding.whole.map(|_| whole));
        for parcel in &bad {
            // Another mending may have replaced it by a good one since: so it is verified again right before the
            // deletion.
            if written != Some(slot.name_of(parcel)) && unless_damaged(slot.checked(parcel, workers).await)?.is_none() {
                slot.delete(slot.name_of(parcel)).await?;
            }
        }
        Ok(MendOutcome::Mended)
    }

    /// Returns whether each record of a blob decodes to the content that it is named by.
    async fn is_checked(&self, parcel: &Parcel, blob: &Bytes) -> bool {
        self.slot.check(parcel, blob, self.workers).await.is_ok()
    }

    /// Returns the records that decode to the content that they are named by.
    async fn checked(&self, records: Vec<(Line, Bytes)>) -> Vec<(Line, Bytes)> {
        let naming = self.slot.naming();
        let check = move || {
            let mut unpacker = Unpacker::new(naming);
            records.into_iter().filter(|(line, bytes)| unpacker.is_good(line, bytes)).collect()
        };
        self.workers.run(check).await
    }
}

impl Holders {
    /// Mends the damage found so far, from the other slots, and returns the number of mended packs. The rest stays as
    /// it is.
    pub(crate) async fn mend(&self, manifest: &Manifest, workers: &Workers, log: &dyn Renew) -> usize {
        let damaged = self.take_damaged();
        if damaged.is_empty() {
            return 0;
        }
        let mut mended = 0;
        for (number, id) in damaged {
            let info = manifest.packs.iter().find(|pack| pack.id == id);
            let (Some(info), Some(need), Some(slot)) = (info, manifest.needs.get(&id), self.slots().get(number)) else {
                continue;
            };
            let others = self.slots().iter().enumerate().filter(|(at, _)| *at != number);
            let others = Self::new(others.map(|(_, slot)| slot.clone()).collect());
            let mending = Mending { slot, others: &others, info, need, workers, log };
            mended += usize::from(matches!(mending.run().await, MendOutcome::Mended));
        }
        mended
    }
}

/// Returns `None` for damaged or missing bytes. Other errors, such as a store that does not answer, do not mean damage.
fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(there) => Ok(Some(there)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
