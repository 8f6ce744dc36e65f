//! Reads the records of a slot: where a pack is whole, from it, and otherwise from its parts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;

use super::located::{Blobs, Located, Looking, Members};
use super::slot::Slot;
use super::verified::Observed;
use crate::content::cipher::BlobCipher;
use crate::content::extents::Extents;
use crate::content::head::Head;
use crate::content::manifest::Packs;
use crate::content::names::{FamilyId, PartId};
use crate::content::pack::PackInfo;
use crate::content::part::Part;
use crate::content::record::{Hashed, Line, RecordRef, StoredRecord};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::Workers;
use crate::host::in_flight::{all_of, together};
use crate::store::{BlobKey, BlobMeta, Latency, StoreErrorKind};

/// The heads of at most this many packs are read together, before the first record of a version: what reads some of a small version
/// mostly reads more.
const MAX_AHEAD: usize = 16;

/// To hash fewer records takes no longer than to ask for the state of their blob.
const LEAST_OBSERVED: usize = 8;

/// A version with more uploads than this looks for merged blobs.
const MAX_UPLOADS: usize = 4;

/// The most fronts of merged blobs that are read for a version, the newest ones: of 2 GiB.
const MAX_FRONTS: usize = 64;

/// A member of a merged blob, and the lines of what is wanted of it.
type OfMember<'m, 'a, 'b> = (&'m Located, Vec<Line>, &'b [Wanted<'a>]);

/// Why records were not read.
enum Unread {
    /// They are not where they were found, or not here.
    Gone(Error),
    Failed(Error),
}

impl Unread {
    fn into_error(self) -> Error {
        match self {
            Self::Gone(error) | Self::Failed(error) => error,
        }
    }
}

/// A record to read, with its index in the answer.
type Wanted<'a> = (usize, &'a RecordRef);

/// A record that was read, with its index in the answer, and its blob as it was before.
type Found = (usize, StoredRecord, Option<Arc<Observed>>);

/// The records that were read.
pub(super) struct Read {
    pub(super) records: Vec<StoredRecord>,
    /// Those that are not verified yet, in blobs of which it is remembered.
    pub(super) to_verify: Vec<(Arc<Observed>, Range<u32>)>,
}

impl Slot {
    /// Returns the stored `records`, in that order. `packs` has the packs that they are in. All are fetched at
    /// the same time, neighbours with one read.
    pub(super) async fn read_records(&self, packs: &Packs, records: &[RecordRef]) -> Result<Read> {
        let merged = self.members_for(packs).await;
        if packs.iter().len() <= MAX_AHEAD {
            // Each tells its failure to those who need it.
            together(packs.iter().map(|pack| self.locate(pack)).collect()).await;
        }
        let mut order: Vec<Wanted<'_>> = records.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, record)| (record.pack, record.ordinal));
        let of_packs: Vec<&[Wanted<'_>]> = order.chunk_by(|(_, a), (_, b)| a.pack == b.pack).collect();
        let (mut found, of_packs) = self.read_merged(&merged, of_packs).await;
        let mut reading = Vec::new();
        for of_pack in of_packs {
            let Some((_, first)) = of_pack.first() else { continue };
            let unknown = || {
                Error::corrupt("index", format!("the index refers to pack {}, which the manifest lacks", first.pack))
            };
            reading.push(self.read_of_pack(packs.get(&first.pack).ok_or_else(unknown)?, of_pack));
        }
        found.extend(all_of(reading).await?.into_iter().flatten());
        found.sort_unstable_by_key(|(number, _, _)| *number);
        let mut read = Read { records: Vec::with_capacity(found.len()), to_verify: Vec::new() };
        for (_, record, observed) in found {
            read.to_verify.extend(observed.filter(|_| !record.is_verified).map(|blob| (blob, record.line.ordinals())));
            read.records.push(record);
        }
        Ok(read)
    }

    /// Notes that what was read turned out to be good.
    pub(super) fn note_verified(&self, to_verify: &[(Arc<Observed>, Range<u32>)]) {
        for of_blob in to_verify.chunk_by(|(one, _), (next, _)| Arc::ptr_eq(one, next)) {
            if let Some((blob, _)) = of_blob.first() {
                self.verified.note(blob, of_blob.iter().map(|(_, record)| record.clone()).collect());
            }
        }
    }

    /// Returns the members of merged blobs among the packs of a version, if it has many uploads.
    pub(super) async fn members_for(&self, packs: &Packs) -> Members {
        let Some(family) = self.family() else { return Members::default() };
        let look = || {
            let (slot, is_of_many) = (self.without_located(), is_of_many_uploads(packs));
            async move { if is_of_many { slot.members_of_family(family).await } else { Ok(Members::default()) } }
                .boxed()
        };
        // Without them, each pack is found by itself.
        self.located.merged.find(&family, look).await.unwrap_or_default()
    }

    async fn members_of_family(&self, family: FamilyId) -> Result<Members> {
        let mut listed = self.listed_merged(family).await?;
        listed.truncate(MAX_FRONTS);
        let fronts = together(listed.iter().map(|id| self.members(*id)).collect()).await;
        let mut members = HashMap::new();
        for member in fronts.into_iter().filter_map(Result::ok).flatten().flatten() {
            let blob = member.place.merged.key()?;
            let (start, pack) = (member.place.range().start, member.pack);
            let key = blob.join(&format!("{start}"))?;
            // The newest comes first.
            members.entry(pack).or_insert(Located { head: member.head, blob, start, key, bytes: None });
        }
        Ok(members.into())
    }

    /// Reads the records of members of merged blobs: what lies in one of these together, as if it were one pack. Returns also the packs of
    /// which it has not found all.
    async fn read_merged<'a, 'b>(
        &self,
        members: &Members,
        of_packs: Vec<&'b [Wanted<'a>]>,
    ) -> (Vec<Found>, Vec<&'b [Wanted<'a>]>) {
        let (mut of_blobs, mut rest) = (BTreeMap::<&BlobKey, Vec<OfMember<'_, 'a, 'b>>>::new(), Vec::new());
        for wanted in of_packs {
            let member = wanted.first().and_then(|(_, record)| self.located.member(members, &record.pack));
            let lines = member.and_then(|member| {
                let line = |(_, record): &Wanted<'_>| {
                    member.head.line(record.ordinal).filter(|line| line.content == record.digest).copied()
                };
                Some((member, wanted.iter().map(line).collect::<Option<Vec<Line>>>()?))
            });
            match lines {
                Some((member, lines)) => of_blobs.entry(&member.blob).or_default().push((member, lines, wanted)),
                None => rest.push(wanted),
            }
        }
        let reading = of_blobs.iter().map(|(blob, of_members)| async move {
            let (mut observed, mut ciphers) = (Vec::new(), Vec::new());
            for (member, lines, _) in of_members {
                observed.push(self.observe_for(member, lines).await);
                ciphers.push(self.cipher_of(&member.head).await.ok()?);
            }
            let places = of_members.iter().flat_map(|(member, lines, _)| lines.iter().map(|line| member.range(line)));
            let read = self.get_ranges(blob, &places.collect::<Vec<_>>()).await.ok()?;
            Some((observed, ciphers, read))
        });
        let read = together(reading.collect()).await;
        let mut found = Vec::new();
        for ((_, of_members), read) in of_blobs.into_iter().zip(read) {
            let Some((observed, ciphers, read)) = read else {
                // It was merged again, does not answer, or its key is away: each is looked for by itself.
                for (_, _, wanted) in of_members {
                    wanted.first().into_iter().for_each(|(_, record)| self.located.forget(&record.pack));
                    rest.push(wanted);
                }
                continue;
            };
            let mut read = read.into_iter();
            for ((member, lines, wanted), (observed, cipher)) in
                of_members.into_iter().zip(observed.into_iter().zip(ciphers))
            {
                let known = self.known_good(&member.head, observed.as_deref());
                found.extend(lines.iter().zip(wanted).zip(read.by_ref()).map(|((line, (number, _)), bytes)| {
                    let is_verified = known.covers(&line.ordinals());
                    let encrypted = cipher.as_ref().map(|cipher| member.head.encrypted(line, cipher));
                    (*number, StoredRecord { line: *line, bytes, is_verified, encrypted }, observed.clone())
                }));
            }
        }
        (found, rest)
    }

    /// Returns the records of a blob that were verified where its head says that they lie.
    pub(super) fn known_good(&self, head: &Head, observed: Option<&Observed>) -> Extents {
        observed.filter(|_| !head.is_salvaged()).map(|blob| self.verified.of(blob)).unwrap_or_default()
    }

    /// As [`observe`](Self::observe), if so many records are read that it is worth it.
    async fn observe_for(&self, located: &Located, lines: &[Line]) -> Option<Arc<Observed>> {
        // What was read when it was found may be of another blob than the one that is there now.
        let is_few = lines.len() < LEAST_OBSERVED || located.bytes.is_some();
        if is_few { None } else { self.observe(located).await }
    }

    /// Returns the blob as it is before it is read, if what is verified of it is remembered.
    async fn observe(&self, located: &Located) -> Option<Arc<Observed>> {
        // A service on a network would be asked once more, which takes longer than hashing.
        if !self.verified.is_on() || self.capabilities().latency() != Latency::Low {
            return None;
        }
        let blob = BlobMeta { key: located.key.clone(), ..self.meta(&located.blob).await? };
        self.verified.observed(self.shared_label(), blob).map(Arc::new)
    }

    async fn read_of_pack(&self, pack: &PackInfo, wanted: &[Wanted<'_>]) -> Result<Vec<Found>> {
        // What is cached may have been replaced since, by other parts or the whole pack.
        if let Some(known) = self.located.packs.known(&pack.id) {
            let known = known.await;
            let was_found = known.is_ok();
            match self.read_from(known, pack, wanted).await {
                Err(Unread::Failed(error)) if was_found => return Err(error),
                // What could not be found before may be there now.
                Err(_) => self.located.forget(&pack.id),
                read => return read.map_err(Unread::into_error),
            }
        }
        let mut read = self.read_from(self.locate(pack).await, pack, wanted).await;
        // What a front leads to may not be all that is here.
        if matches!(read, Err(Unread::Gone(_))) && self.find_by_links(&pack.id).await {
            read = self.read_from(self.locate(pack).await, pack, wanted).await;
        }
        read.map_err(|unread| {
            self.located.forget(&pack.id);
            unread.into_error()
        })
    }

    /// Finds the blobs of a pack. Callers at the same time share the requests.
    pub(super) fn locate(&self, pack: &PackInfo) -> Looking<Blobs> {
        let locate = || {
            let (slot, info) = (self.clone_of_parts(), *pack);
            async move { slot.blobs_of(&info).await }.boxed()
        };
        self.located.packs.find(&pack.id, locate)
    }

    async fn blobs_of(&self, pack: &PackInfo) -> Result<Blobs> {
        let merged = self.family().and_then(|family| self.located.merged.known(&family));
        if let Some(members) = merged
            && let Some(member) = self.located.member(&members.await.unwrap_or_default(), &pack.id)
            && member.head.content() == pack.content
        {
            return Ok([member.clone()].into());
        }
        // Who has found one pack of an upload compressed finds the others so, mostly.
        let mut listed = match self.located.parts.known(&pack.id.upload) {
            Some(listing) => Some(self.parts_in(listing, pack).await?),
            None => None,
        };
        if let Some(parts) = listed.take_if(|parts| parts.iter().any(|part| part.id.is_complete())) {
            let blobs = self.blobs_of_parts(pack, parts).await?;
            if !blobs.is_empty() {
                return Ok(blobs);
            }
        }
        let missing = match self.read_head(pack).await? {
            Ok((head, bytes)) => {
                let blob = self.key_of_pack(&pack.id)?;
                return Ok([Located { head: Arc::new(head), start: 0, key: blob.clone(), blob, bytes }].into());
            }
            Err(missing) => missing,
        };
        // The pack may be here in parts. Those of all packs of the upload are listed together.
        let mut parts = match listed {
            Some(parts) => parts,
            None => {
                let (slot, upload) = (self.without_located(), pack.id.upload);
                let list = || async move { slot.listed_parts_of(&upload).await }.boxed();
                self.parts_in(self.located.parts.find(&upload, list), pack).await?
            }
        };
        if parts.is_empty() {
            // Since they were listed, the whole pack may have become a part.
            parts = self.listed_parts(&pack.id).await?.parts;
        }
        match self.blobs_of_parts(pack, parts).await? {
            blobs if blobs.is_empty() => Err(missing),
            blobs => Ok(blobs),
        }
    }

    /// Returns the parts of a pack among the listed ones of its upload.
    async fn parts_in(&self, listing: Looking<Arc<[BlobMeta]>>, pack: &PackInfo) -> Result<Vec<Part>> {
        let under = PartId::keys_of(&pack.id)?;
        let listed = listing.await?;
        let of_pack: Vec<BlobMeta> = listed.iter().filter(|blob| blob.key.is_under(&under)).cloned().collect();
        Ok(self.contents(of_pack).await?.holdings.remove(&pack.id).unwrap_or_default().parts)
    }

    async fn blobs_of_parts(&self, pack: &PackInfo, parts: Vec<Part>) -> Result<Blobs> {
        let parts: Vec<Part> = parts.into_iter().filter(|part| part.is_of(pack)).collect();
        let heads = all_of(parts.iter().map(|part| self.head_of_part(part)).collect()).await?;
        let found = parts.iter().zip(heads).filter_map(|(part, head)| Some((part, head?)));
        let located = found.map(|(part, (head, bytes))| {
            let key = part.name().key()?;
            let (blob, start) = match part.id.place() {
                Some(place) => (place.merged.key()?, place.range().start),
                None => (key.clone(), 0),
            };
            Ok(Located { head, blob, start, key, bytes })
        });
        located.collect()
    }

    /// Returns what decrypts the records of a blob, if it is encrypted.
    async fn cipher_of(&self, head: &Head) -> Result<Option<Arc<BlobCipher>>, Unread> {
        let key = self.keys.of_blob(head.key()).await.map_err(Unread::Failed)?;
        head.cipher(key.as_deref()).map_err(Unread::Failed)
    }

    /// Reads ranges of a blob that was located.
    async fn read_located(&self, located: &Located, lines: &[Line]) -> Result<Vec<Bytes>, Unread> {
        if let Some(bytes) = &located.bytes {
            let records = lines.iter().map(|line| line.stored_in(bytes)).collect::<Option<Vec<Bytes>>>();
            let cut = || Error::corrupt(self.label(), format!("a record of `{}` is past its end", located.key));
            return records.ok_or_else(cut).map_err(Unread::Failed);
        }
        let ranges: Vec<_> = lines.iter().map(|line| located.range(line)).collect();
        self.get_ranges(&located.blob, &ranges).await.map_err(|error| match error.kind() {
            StoreErrorKind::NotFound => Unread::Gone(self.failed(error)),
            _ => Unread::Failed(self.failed(error)),
        })
    }

    /// Reads records from the blobs of their pack.
    async fn read_from(
        &self,
        blobs: Result<Blobs>,
        pack: &PackInfo,
        wanted: &[Wanted<'_>],
    ) -> Result<Vec<Found>, Unread> {
        let blobs = blobs.map_err(Unread::Failed)?;
        let mut of_blobs: BTreeMap<usize, (Vec<usize>, Vec<Line>)> = BTreeMap::new();
        for (number, record) in wanted {
            let lines = || blobs.iter().enumerate().filter_map(|(at, one)| Some((at, *one.head.line(record.ordinal)?)));
            let found = lines().find(|(_, line)| line.content == record.digest);
            let lacks = || Unread::Gone(self.lacks(pack, record, lines().next().is_some()));
            let (at, line) = found.ok_or_else(lacks)?;
            let (numbers, lines) = of_blobs.entry(at).or_default();
            numbers.push(*number);
            lines.push(line);
        }
        let reading = of_blobs.iter().filter_map(|(at, (numbers, lines))| {
            let located = blobs.get(*at)?;
            Some(async move {
                // ORDER: look at the blob, then read it. The other way round, read -> replaced -> looked at: what was read
                // is taken for what has replaced it.
                let observed = self.observe_for(located, lines).await;
                let known = self.known_good(&located.head, observed.as_deref());
                let cipher = self.cipher_of(&located.head).await?;
                let read = self.read_located(located, lines).await?;
                let records = lines.iter().zip(read).map(|(line, bytes)| {
                    let is_verified = known.covers(&line.ordinals());
                    let encrypted = cipher.as_ref().map(|cipher| located.head.encrypted(line, cipher));
                    StoredRecord { line: *line, bytes, is_verified, encrypted }
                });
                let found = numbers.iter().zip(records).map(|(number, record)| (*number, record, observed.clone()));
                Ok(found.collect::<Vec<_>>())
            })
        });
        Ok(all_of(reading.collect()).await?.concat())
    }

    fn lacks(&self, pack: &PackInfo, record: &RecordRef, is_other: bool) -> Error {
        if is_other {
            let what = format!("record `{}` of pack {} is not the one that the index names", record.ordinal, pack.id);
            return Error::corrupt(self.label(), what);
        }
        let what = format!("the slot has only parts of pack {}, and a needed record is in none of them", pack.id);
        Error::new(Problem::new(ErrorKind::NotFound, "ContentMissing", self.label(), what))
    }

    /// Returns the records of a pack within `extents` that are here and good.
    pub(super) async fn good_records(
        &self,
        pack: &PackInfo,
        extents: &Extents,
        workers: &Workers,
    ) -> Result<Vec<(Line, Bytes)>> {
        let mut read = self.read_good(self.locate(pack).await, extents, workers).await;
        // It was replaced since.
        if matches!(read, Err(Unread::Gone(_))) {
            self.located.forget(&pack.id);
            read = self.read_good(self.locate(pack).await, extents, workers).await;
        }
        let lacks = |read: &Vec<(Line, Bytes)>| {
            !extents.minus(&read.iter().map(|(line, _)| line.ordinals()).collect()).is_empty()
        };
        if read.as_ref().is_ok_and(lacks) && self.find_by_links(&pack.id).await {
            read = self.read_good(self.locate(pack).await, extents, workers).await;
        }
        if read.as_ref().is_ok_and(lacks) {
            // What a cache has of it may be damaged.
            self.distrust(&pack.id).await;
        }
        read.map_err(|unread| {
            self.located.forget(&pack.id);
            unread.into_error()
        })
    }

    async fn read_good(
        &self,
        blobs: Result<Blobs>,
        extents: &Extents,
        workers: &Workers,
    ) -> Result<Vec<(Line, Bytes)>, Unread> {
        let (blobs, mut left, mut found) = (blobs.map_err(Unread::Failed)?, extents.clone(), Vec::new());
        for located in blobs.iter() {
            let lines: Vec<Line> =
                located.head.lines().iter().filter(|line| left.covers(&line.ordinals())).copied().collect();
            if lines.is_empty() {
                continue;
            }
            let cipher = self.cipher_of(&located.head).await?;
            let read = self.read_located(located, &lines).await?;
            let (records, head) = (lines.into_iter().zip(read), located.head.clone());
            let good = move || {
                let mut hashed = Hashed::default();
                let good = records.filter(|(line, bytes)| line.seals(&line.content, bytes, &mut hashed));
                head.decrypted(good.collect(), cipher.as_ref())
            };
            let good = workers.run(good).await;
            left = left.minus(&good.iter().map(|(line, _)| line.ordinals()).collect());
            found.extend(good);
        }
        Ok(found)
    }
}

/// Returns whether the packs of a version are of so many uploads that a listing of merged blobs is worth it.
pub(crate) fn is_of_many_uploads(packs: &Packs) -> bool {
    let mut uploads = HashSet::new();
    packs.iter().any(|pack| uploads.insert(pack.id.upload) && uploads.len() > MAX_UPLOADS)
}
