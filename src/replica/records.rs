//! Reads the records of a version: one that is damaged in a slot is served by another.

use std::collections::BTreeSet;
use std::future::Future;

use futures::FutureExt;

use super::holders::{Holders, is_damage, no_replica};
use super::located::Members;
use super::reading::Read;
use super::slot::Slot;
use crate::content::codec::Unpacker;
use crate::content::manifest::{Manifest, Packs};
use crate::content::names::PackId;
use crate::content::naming::Naming;
use crate::content::record::{RecordRef, StoredRecord};
use crate::error::{Error, Result};
use crate::store::{BlobKey, Latency};

/// The slots that hold a version whole, and the packs that its manifest names.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    holders: Holders,
    packs: Packs,
}

/// Where the members of merged blobs lie.
pub(crate) struct PlacedMembers(Members);

impl PlacedMembers {
    /// Returns the merged blob that a pack is a member of, and its offset there.
    pub(crate) fn place(&self, pack: &PackId) -> Option<(&BlobKey, u64)> {
        self.0.get(pack).map(|member| (&member.blob, member.start))
    }
}

/// The reason why records could not be used.
pub(crate) enum Rejected {
    /// This record is damaged.
    Damaged(RecordRef, Error),
    /// The records are good; using them failed.
    Failed(Error),
}

impl Records {
    pub(crate) fn new(holders: Holders, manifest: &Manifest) -> Self {
        Self { holders, packs: manifest.packs.clone() }
    }

    /// Returns the same records, read with fewer and larger requests.
    pub(crate) fn read_widely(&self) -> Self {
        Self { holders: self.holders.read_widely(), packs: self.packs.clone() }
    }

    /// Returns how the catalog names content.
    pub(crate) fn naming(&self) -> Naming {
        self.holders.naming()
    }

    /// Returns the label of the first slot, for errors.
    pub(crate) fn label(&self) -> &str {
        self.holders.label()
    }

    /// Returns the slot that is read first, unless all have failed lately.
    pub(super) fn first_slot(&self) -> Option<(usize, &Slot)> {
        self.holders.slots().iter().enumerate().find(|(_, slot)| !slot.health().rests())
    }

    pub(super) fn holders(&self) -> &Holders {
        &self.holders
    }

    pub(super) fn packs(&self) -> &Packs {
        &self.packs
    }

    /// Returns the members of merged blobs among the packs, in the slot that is read first.
    pub(crate) async fn members(&self) -> PlacedMembers {
        match self.first_slot() {
            Some((_, slot)) => PlacedMembers(slot.members_for(&self.packs).await),
            None => PlacedMembers(Members::default()),
        }
    }

    /// Returns whether all slots are in stores that answer within less than the time of a disk's access.
    pub(crate) fn are_near(&self) -> bool {
        self.holders.slots().iter().all(|slot| slot.capabilities().latency() == Latency::Low)
    }

    /// Passes the stored `records` to `using`: from the first slot whose bytes it does not reject as damaged,
    /// or, if every slot has some of them damaged, each record from a slot that has it good.
    pub(crate) async fn read<T, F: Future<Output = Result<T, Rejected>>>(
        &self,
        records: &[RecordRef],
        using: impl Fn(Vec<StoredRecord>) -> F,
    ) -> Result<T> {
        let (mut first, mut queue, mut is_again) = (None, self.holders.queue(), BTreeSet::new());
        while let Some((number, slot, answer)) =
            self.holders.ask(&mut queue, |slot| slot.read_records(&self.packs, records).boxed()).await
        {
            let error = match answer {
                Ok(Read { records: stored, to_verify }) => match using(stored).await {
                    Ok(done) => {
                        slot.note_verified(&to_verify);
                        self.holders.served(number);
                        return Ok(done);
                    }
                    Err(Rejected::Failed(error)) => return Err(error),
                    // What a cache had was damaged when it was read, or a member was, or it has been mended since.
                    Err(Rejected::Damaged(record, _))
                        if is_again.insert((number, record.pack))
                            && (slot.find_by_links(&record.pack).await | slot.distrust(&record.pack).await) =>
                    {
                        queue.push_front(number);
                        continue;
                    }
                    Err(Rejected::Damaged(record, error)) => {
                        self.holders.note(number, [record.pack]);
                        // What was read may be kept.
                        slot.located.forget(&record.pack);
                        let pack = format!("{}, pack {}", slot.label(), record.pack);
                        let what = format!("record `{}` cannot be used", record.ordinal);
                        Error::corrupt(pack, what).with_source(error)
                    }
                },
                Err(error) => {
                    if is_damage(&error) {
                        self.holders.note(number, records.iter().map(|record| record.pack));
                    }
                    error
                }
            };
            // A replica that does not answer may have what the others have damaged.
            if first.as_ref().is_none_or(|known| is_damage(known) && !is_damage(&error)) {
                first = Some(error);
            }
        }
        let first = first.unwrap_or_else(no_replica);
        if self.holders.slots().len() < 2 || records.len() < 2 {
            return Err(first);
        }
        let mut bytes = Vec::with_capacity(records.len());
        for record in records {
            match self.read_one(record).await {
                Some(one) => bytes.push(one),
                None => return Err(first),
            }
        }
        using(bytes).await.map_err(|rejected| match rejected {
            Rejected::Failed(error) => error,
            Rejected::Damaged(..) => first,
        })
    }

    /// Returns one record from the first slot that has it good.
    async fn read_one(&self, record: &RecordRef) -> Option<StoredRecord> {
        for number in self.holders.queue() {
            let Some(slot) = self.holders.slots().get(number) else { continue };
            let read = slot
                .read_records(&self.packs, std::slice::from_ref(record))
                .await
                .ok()
                .and_then(|mut read| read.records.pop());
            let is_good = |read: &StoredRecord| {
                read.line.content == record.digest && Unpacker::new(self.naming()).is_good_stored(read)
            };
            if let Some(read) = read.filter(is_good) {
                self.holders.served(number);
                return Some(read);
            }
        }
        None
    }
}
