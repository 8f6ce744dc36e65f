//! Slots: one replica's packs, parts and manifests in the store of a region or a zone.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::health::Health;
use super::holding::Holding;
use super::parcel::{Parcel, ParcelRequest};
use crate::content::blob_name::{BlobName, Incarnations};
use crate::content::digest::Digest;
use crate::content::extents::Extents;
use crate::content::manifest::Manifest;
use crate::content::names::{ManifestId, PackId, PartId, UploadId};
use crate::content::pack::{FinishedPack, PackInfo};
use crate::content::part::Part;
use crate::content::record::{RecordRef, TableLine};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::Workers;
use crate::host::in_flight::{Budget, REQUESTS, all_of, together};
use crate::host::sync::Mutex;
use crate::store::{
    BlobKey, BlobMeta, BlobStore, BlobStoreExt, MAX_BLOB_BYTES, Prefixed, PutMode, StoreError, StoreErrorKind,
    StoreResult,
};

/// Records with at most this gap between them, that of one chunk that was replaced since, are fetched with one read.
const MAX_GAP: u64 = 64 << 10;

/// The most packs whose parts are cached: a few MiB.
const MAX_KNOWN_PARTS: usize = 64;

/// The most packs and parts that are remembered as verified: a few hundred KiB.
const MAX_KNOWN_GOOD: usize = 4096;

/// Uploads that are listed one by one, instead of by a page over all of them.
const MAX_LISTED_APART: usize = 4;

/// The blobs of a page.
const PAGE: usize = 1_000;

/// The longest read.
const MAX_READ: u64 = 4 << 20;

/// One replica of a region, in the store of the region or of one of its zones.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Keys relative to the slot.
    store: Prefixed<Arc<dyn BlobStore>>,
    /// The store that the slot is in.
    of: Arc<dyn BlobStore>,
    /// The name of that store: a region, and a zone of it.
    site: Arc<str>,
    key: BlobKey,
    label: Arc<str>,
    /// The condemned names, and the incarnations of new blobs.
    incarnations: Arc<Incarnations>,
    /// Cache of the parts of packs that are not whole here.
    parts: Arc<Mutex<HashMap<PackId, Arc<[Part]>>>>,
    /// The keys of blobs that were verified as sources of copies, since this slot was opened.
    good: Arc<Mutex<HashSet<BlobKey>>>,
    /// The reads of ranges that are under way.
    requests: Budget,
    /// The health of the store that the slot is in.
    health: Health,
}

/// A record's range in its pack, with its index in the answer.
type Wanted = (usize, Range<u32>);

/// The bytes of a record, with its index in the answer.
type Found = (usize, Bytes);

/// The outcome of storing a new pack. The later variant wins when several copies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PutOutcome {
    /// An earlier attempt had stored the same pack.
    AlreadyThere,
    /// This call stored it.
    Sent,
    /// Another pack of that name is there: the disk changed since an earlier attempt at this upload.
    Differs,
}

/// A record to read: its index in the answer, and its bytes in a blob.
struct RecordRead {
    number: usize,
    start: u64,
    length: u32,
}

impl RecordRead {
    fn of((number, range): (usize, &Range<u32>)) -> Self {
        Self { number, start: range.start.into(), length: range.end - range.start }
    }
}

impl Slot {
    /// Returns slot `number` of `store`. `site` is the store's label: a region, or a zone of one.
    pub(crate) fn new(
        store: Arc<dyn BlobStore>,
        site: &str,
        number: u32,
        incarnations: Arc<Incarnations>,
        health: Health,
    ) -> Result<Self> {
        let key: BlobKey = format!("slots/{number}").parse()?;
        let (site, label) = (site.into(), format!("{site} slot {number}").into());
        let (parts, good) = (Arc::default(), Arc::default());
        Ok(Self {
            store: Prefixed::new(store.clone(), key.clone()),
            of: store,
            site,
            key,
            label,
            incarnations,
            parts,
            good,
            requests: Budget::new(REQUESTS as u64),
            health,
        })
    }

    /// Returns the slot's name in errors, which is unique in the gallery.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Returns whether both slots are in one store, which copies between them by itself.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.site == other.site
    }

    fn failed(&self, error: StoreError) -> Error {
        error.at(&self.label)
    }

    /// Returns the key of a whole pack here, whether or not it is there.
    fn key_of_pack(&self, id: &PackId) -> Result<BlobKey> {
        BlobName::Pack(*id, self.incarnations.of_pack(*id)).key()
    }

    fn key_of_manifest(&self, id: &ManifestId) -> Result<BlobKey> {
        BlobName::Manifest(*id, self.incarnations.of_manifest(*id)).key()
    }

    /// Returns the name of a pack or part of this slot.
    pub(crate) fn name_of(&self, parcel: &Parcel) -> BlobName {
        match parcel {
            Parcel::Pack(info) => BlobName::Pack(info.id, self.incarnations.of_pack(info.id)),
            Parcel::Part(part) => part.name(),
        }
    }

    fn key_of(&self, parcel: &Parcel) -> Result<BlobKey> {
        self.name_of(parcel).key()
    }

    /// Returns a parcel of any slot under the incarnation that it gets in this one.
    pub(crate) fn as_kept_here(&self, parcel: &Parcel) -> Parcel {
        match parcel {
            Parcel::Pack(info) => Parcel::Pack(*info),
            Parcel::Part(part) => Parcel::Part(part.clone().with_incarnation(self.incarnations.of_parts(part.id.pack))),
        }
    }

    /// Returns exactly the bytes of a range. A store that answers with another number of bytes breaks its contract.
    async fn get_range(&self, key: &BlobKey, range: Range<u64>) -> StoreResult<Bytes> {
        let asked = range.end.saturating_sub(range.start);
        let _request = self.requests.take(1).await;
        let bytes = self.store.get(key, Some(range)).await?;
        if bytes.len() as u64 == asked {
            return Ok(bytes);
        }
        let what = format!("the store answered with {} bytes where {asked} were asked for", bytes.len());
        Err(StoreError::new(StoreErrorKind::InvalidRange, "get", Some(key)).with_source(what))
    }

    /// Returns the stored bytes of `records`, in that order, unverified. Neighbors are fetched together, and all the rest at the
    /// same time.
    pub(crate) async fn read_records(&self, records: &[RecordRef]) -> Result<Vec<Bytes>> {
        let mut order: Vec<(usize, &RecordRef)> = records.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, record)| (record.pack, record.offset));
        let of_packs: Vec<(PackId, Vec<Wanted>)> = order
            .chunk_by(|(_, a), (_, b)| a.pack == b.pack)
            .filter_map(|of_pack| {
                let ranges = of_pack.iter().map(|(number, record)| (*number, record.range())).collect();
                Some((of_pack.first()?.1.pack, ranges))
            })
            .collect();
        let reading = of_packs.iter().map(|(pack, ranges)| self.read_of_pack(pack, ranges)).collect();
        Ok(in_order(records.len(), all_of(reading).await?))
    }

    async fn read_of_pack(&self, pack: &PackId, ranges: &[Wanted]) -> Result<Vec<Found>> {
        // The cached parts may have been replaced since, by other parts or the whole pack.
        if self.known_parts(pack).is_some()
            && let Some(found) = self.read_of_parts(pack, ranges).await?
        {
            return Ok(found);
        }
        self.forget_parts(pack);
        let wanted = ranges.iter().map(|(number, range)| RecordRead::of((*number, range)));
        match self.read_from(&self.key_of_pack(pack)?, &wanted.collect::<Vec<_>>()).await {
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                // The pack may be here in parts.
                if self.list_parts(pack).await?.is_empty() {
                    return Err(self.failed(error));
                }
            }
            done => return done.map_err(|error| self.failed(error)),
        }
        if let Some(found) = self.read_of_parts(pack, ranges).await? {
            return Ok(found);
        }
        self.forget_parts(pack);
        let what = format!("the slot has only parts of pack {pack}, and a needed record is in none of them");
        Err(Error::new(Problem::new(ErrorKind::NotFound, "ContentMissing", self.label(), what)))
    }

    /// Reads records from the cached parts; `None` if one of the records is in none of them.
    async fn read_of_parts(&self, pack: &PackId, ranges: &[Wanted]) -> Result<Option<Vec<Found>>> {
        let parts = self.known_parts(pack).unwrap_or_default();
        let mut wanted: BTreeMap<usize, Vec<RecordRead>> = BTreeMap::new();
        for (number, range) in ranges {
            let found = parts.iter().enumerate().find_map(|(at, part)| Some((at, part.start_of(range)?)));
            let Some((at, start)) = found else { return Ok(None) };
            let length = range.end - range.start;
            wanted.entry(at).or_default().push(RecordRead { number: *number, start, length });
        }
        let mut reading = Vec::new();
        for (at, wanted) in wanted {
            let Some(part) = parts.get(at) else { continue };
            let key = part.name().key()?;
            reading.push(async move { self.read_from(&key, &wanted).await });
        }
        match all_of(reading).await {
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(None),
            read => read.map(|found| Some(found.concat())).map_err(|error| self.failed(error)),
        }
    }

    /// Reads records of one blob; `wanted` is ascending.
    async fn read_from(&self, key: &BlobKey, mut wanted: &[RecordRead]) -> StoreResult<Vec<Found>> {
        let mut spans = Vec::new();
        while let Some(first) = wanted.first() {
            let (start, mut end, mut count) = (first.start, first.start, 0);
            for one in wanted {
                let one_end = one.start + u64::from(one.length);
                if count > 0 && (one.start > end + MAX_GAP || one_end - start > MAX_READ) {
                    break;
                }
                end = end.max(one_end);
                count += 1;
            }
            let (now, later) = wanted.split_at_checked(count).unwrap_or((wanted, &[]));
            spans.push((start..end, now));
            wanted = later;
        }
        let reading = spans.into_iter().map(|(range, of_span)| async move {
            let (start, span) = (range.start, self.get_range(key, range).await?);
            let record = |one: &RecordRead| {
                let from = (one.start - start) as usize;
                (one.number, span.slice(from..from + one.length as usize))
            };
            Ok(of_span.iter().map(record).collect::<Vec<_>>())
        });
        all_of(reading.collect()).await.map(|found| found.concat())
    }

    fn known_parts(&self, pack: &PackId) -> Option<Arc<[Part]>> {
        self.parts.lock().get(pack).cloned()
    }

    fn forget_parts(&self, pack: &PackId) {
        self.parts.lock().remove(pack);
    }

    /// Lists the readable parts of a pack that are here.
    async fn parts_of(&self, pack: &PackId) -> Result<Arc<[Part]>> {
        Ok(self.listed_parts(pack).await?.parts.into())
    }

    /// As [`parts_of`](Self::parts_of), and caches them.
    async fn list_parts(&self, pack: &PackId) -> Result<Arc<[Part]>> {
        let parts = self.parts_of(pack).await?;
        if !parts.is_empty() {
            let mut known = self.parts.lock();
            if known.len() >= MAX_KNOWN_PARTS {
                // Eviction order does not matter much: a miss costs one listing.
                known.clear();
            }
            known.insert(*pack, parts.clone());
        }
        Ok(parts)
    }

    /// Lists what is here of a pack, except the whole pack.
    async fn listed_parts(&self, pack: &PackId) -> Result<Holding> {
        let parts = self.list(&PartId::keys_of(pack)?).await?;
        Ok(self.contents(parts).await?.holdings.remove(pack).unwrap_or_default())
    }

    async fn list(&self, under: &BlobKey) -> Result<Vec<BlobMeta>> {
        self.store.list_all(Some(under)).await.map_err(|error| self.failed(error))
    }

    /// Sorts listed blobs of the slot, and reads the tables of the parts among them.
    async fn contents(&self, listed: Vec<BlobMeta>) -> Result<Contents> {
        let (mut contents, mut parts) = (Contents::default(), Vec::new());
        for blob in listed {
            let (Some(name), size) = (BlobName::of_key(&blob.key), size_of(&blob)) else { continue };
            match name {
                BlobName::Pack(id, incarnation) => {
                    let holding = contents.holdings.entry(id).or_default();
                    match incarnation.cmp(&self.incarnations.of_pack(id)) {
                        Ordering::Less => holding.dead.push((name, size)),
                        Ordering::Equal => (holding.whole, holding.incarnation) = (Some(size), incarnation),
                        // Written after a commit that this log lacks: it is neither read nor garbage.
                        Ordering::Greater => holding.foreign.push((name, size)),
                    }
                }
                BlobName::Part(id, _) if self.incarnations.is_dead(name) => {
                    contents.holdings.entry(id.pack).or_default().dead.push((name, size));
                }
                BlobName::Part(id, incarnation) => parts.push((id, incarnation, name, blob.key, size)),
                BlobName::Manifest(..) => drop(contents.manifests.insert(name, size)),
            }
        }
        let reading = parts.iter().map(|(id, _, _, key, _)| self.get_range(key, 0..id.table_bytes())).collect();
        let tables = together(reading).await;
        for ((id, incarnation, name, _, size), table) in parts.into_iter().zip(tables) {
            let part = match table {
                Ok(table) => Part::of_table(id, &table).ok().map(|part| part.with_incarnation(incarnation)),
                Err(error) if error.kind() == StoreErrorKind::InvalidRange => None,
                Err(error) if error.kind() == StoreErrorKind::NotFound => continue,
                Err(error) => return Err(self.failed(error)),
            };
            let holding = contents.holdings.entry(id.pack).or_default();
            match part.filter(|part| part.length() == size) {
                Some(part) => holding.parts.push(part),
                None => holding.broken.push(name),
            }
        }
        Ok(contents)
    }

    /// Returns the table lines of a pack's records that are here; verified against the manifest if the pack is whole.
    async fn table_of(&self, info: &PackInfo) -> Result<Vec<TableLine>> {
        let key = self.key_of_pack(&info.id)?;
        match self.get_range(&key, info.length - info.tail_bytes()..info.length).await {
            Ok(tail) => info.table(&tail),
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                let parts = self.parts_of(&info.id).await?;
                if parts.is_empty() {
                    return Err(self.failed(error));
                }
                let mut lines: Vec<TableLine> = parts.iter().flat_map(|part| part.lines().to_vec()).collect();
                lines.sort_unstable_by_key(|line| line.offset);
                lines.dedup_by_key(|line| line.offset);
                Ok(lines)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Reads a manifest and verifies it.
    pub(crate) async fn read_manifest(&self, id: &ManifestId) -> Result<Manifest> {
        let bytes = self.store.get(&self.key_of_manifest(id)?, None).await.map_err(|error| self.failed(error))?;
        Manifest::decode(&bytes, &id.digest)
    }

    /// Stores a manifest. An existing one is read back, and replaced if it is damaged.
    pub(crate) async fn put_manifest(&self, id: &ManifestId, bytes: Bytes) -> Result<()> {
        let key = self.key_of_manifest(id)?;
        match self.store.put(&key, bytes.clone(), PutMode::Create).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {
                match self.store.find(&key).await.map_err(|error| self.failed(error))? {
                    Some(there) if there == bytes => Ok(()),
                    // The answer was lost, and the manifest is not there.
                    None if error.kind() == StoreErrorKind::Unknown => Err(self.failed(error)),
                    _ => self.replace_manifest(id, bytes).await,
                }
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn holds(&self, key: &BlobKey) -> Result<bool> {
        Ok(self.store.find_meta(key).await.map_err(|error| self.failed(error))?.is_some())
    }

    /// Stores a new pack. With `check_first`, a pack that an earlier attempt stored is not sent again.
    pub(crate) async fn put_new_pack(&self, pack: &FinishedPack, check_first: bool) -> Result<PutOutcome> {
        let key = self.key_of_pack(&pack.info.id)?;
        if check_first && self.holds(&key).await? {
            return self.compare_pack(pack).await;
        }
        match self.store.put(&key, pack.bytes.clone(), PutMode::Create).await {
            Ok(()) => Ok(PutOutcome::Sent),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => self.compare_pack(pack).await,
            // The answer was lost: the pack is there whole or not at all.
            Err(error) if error.kind() == StoreErrorKind::Unknown && self.holds(&key).await? => {
                self.compare_pack(pack).await
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Compares the stored pack's length and table with `pack`; packs are written whole, so that is enough.
    async fn compare_pack(&self, pack: &FinishedPack) -> Result<PutOutcome> {
        let (key, tail) = (self.key_of_pack(&pack.info.id)?, pack.tail());
        let stored = self.store.head(&key).await.map_err(|error| self.failed(error))?;
        if stored.size != pack.info.length {
            return Ok(PutOutcome::Differs);
        }
        let range = pack.info.length - tail.len() as u64..pack.info.length;
        let stored_tail = self.get_range(&key, range).await.map_err(|error| self.failed(error))?;
        Ok(if stored_tail == tail { PutOutcome::AlreadyThere } else { PutOutcome::Differs })
    }

    /// Stores verified bytes of another slot; true if this call wrote them.
    pub(crate) async fn put_parcel(&self, parcel: &Parcel, bytes: Bytes) -> Result<bool> {
        let parcel = self.as_kept_here(parcel);
        let key = self.key_of(&parcel)?;
        let put = self.create(&parcel, |mode| self.store.put(&key, bytes.clone(), mode)).await?;
        put.map_err(|error| self.failed(error))
    }

    /// Writes a blob that is missing or has another length; true if this call wrote it.
    async fn create<F: Future<Output = Result<(), StoreError>>>(
        &self,
        parcel: &Parcel,
        write: impl Fn(PutMode) -> F,
    ) -> Result<Result<bool, StoreError>> {
        match write(PutMode::Create).await {
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => match self.is_whole(parcel).await? {
                true => Ok(Ok(false)),
                false => Ok(write(PutMode::Overwrite).await.map(|()| true)),
            },
            // The answer was lost, and the blob is there.
            Err(error) if error.kind() == StoreErrorKind::Unknown && self.is_whole(parcel).await? => Ok(Ok(true)),
            done => Ok(done.map(|()| true)),
        }
    }

    /// Returns a parcel of this slot in exactly the requested form, to be copied as it is.
    pub(crate) async fn find_parcel(&self, request: &ParcelRequest) -> Result<Option<Parcel>> {
        let whole = Parcel::Pack(request.pack);
        if request.whole && self.is_whole(&whole).await? {
            return Ok(Some(whole));
        }
        let parts = self.parts_of(&request.pack.id).await?;
        let same = parts.iter().find(|part| part.extents() == request.extents);
        Ok(same.cloned().map(Parcel::Part))
    }

    /// Returns whether the blob is there with the right length.
    async fn is_whole(&self, parcel: &Parcel) -> Result<bool> {
        let there = self.store.find_meta(&self.key_of(parcel)?).await.map_err(|error| self.failed(error))?;
        Ok(there.is_some_and(|blob| blob.size == parcel.length()))
    }

    /// Reads a whole pack or part and verifies every record.
    pub(crate) async fn verified(&self, parcel: &Parcel, workers: &Workers) -> Result<Bytes> {
        let bytes = self.store.get(&self.key_of(parcel)?, None).await.map_err(|error| self.failed(error))?;
        let (whole, copy) = (parcel.clone(), bytes.clone());
        workers.run(move || whole.verify(&copy)).await.map_err(|error| {
            Error::corrupt(format!("{}, {}", self.label, error.target()), "the pack is damaged").with_source(error)
        })?;
        Ok(bytes)
    }

    /// Replaces a damaged manifest by a verified one.
    pub(crate) async fn replace_manifest(&self, id: &ManifestId, bytes: Bytes) -> Result<()> {
        self.store.put(&self.key_of_manifest(id)?, bytes, PutMode::Overwrite).await.map_err(|error| self.failed(error))
    }

    /// Returns the records of a pack within `extents` that are here and good.
    pub(crate) async fn good_records(
        &self,
        pack: &PackInfo,
        extents: &Extents,
        workers: &Workers,
    ) -> Result<Vec<(TableLine, Bytes)>> {
        // In a whole pack the records lie where the extents say, so they are read together with its table.
        let ranges: Vec<Range<u32>> = extents.ranges().to_vec();
        let wanted: Vec<RecordRead> = ranges.iter().enumerate().map(RecordRead::of).collect();
        let key = self.key_of_pack(&pack.id)?;
        let is_in_parts = self.known_parts(&pack.id).is_some();
        let at_once = async { if is_in_parts { Ok(Vec::new()) } else { self.read_from(&key, &wanted).await } };
        let (lines, read) = futures::join!(self.table_of(pack), at_once);
        let lines: Vec<TableLine> = lines?.into_iter().filter(|line| extents.covers(&line.range())).collect();
        let records: Vec<(TableLine, Bytes)> = match read {
            Ok(found) if !is_in_parts => {
                let found = in_order(ranges.len(), vec![found]);
                lines.into_iter().filter_map(|line| Some((line, cut(&line, &ranges, &found)?))).collect()
            }
            _ => {
                let wanted: Vec<_> = lines.iter().enumerate().map(|(number, line)| (number, line.range())).collect();
                let found = in_order(lines.len(), vec![self.read_of_pack(&pack.id, &wanted).await?]);
                lines.into_iter().zip(found).collect()
            }
        };
        let good = move || records.into_iter().filter(|(line, bytes)| Digest::of(bytes) == line.hash).collect();
        Ok(workers.run(good).await)
    }

    /// Returns the records of a damaged pack or part that are still good. Fails if its table cannot be read.
    pub(crate) async fn good_records_of(&self, parcel: &Parcel) -> Result<Vec<(TableLine, Bytes)>> {
        let blob = self.store.get(&self.key_of(parcel)?, None).await.map_err(|error| self.failed(error))?;
        parcel.records_in(&blob)
    }

    /// Writes verified bytes, over damaged ones if there are any. Returns the parcel as stored here.
    pub(crate) async fn replace(&self, parcel: &Parcel, bytes: Bytes) -> Result<Parcel> {
        let parcel = self.as_kept_here(parcel);
        let done = self.store.put(&self.key_of(&parcel)?, bytes, PutMode::Overwrite).await;
        self.forget_parts(&parcel.pack());
        done.map(|()| parcel).map_err(|error| self.failed(error))
    }

    /// Copies a parcel from another slot of the same store; true if this call wrote it. Returns `None` if it is missing
    /// or damaged there: a store would copy the damage unnoticed.
    pub(crate) async fn copy_parcel(&self, from: &Slot, parcel: &Parcel, workers: &Workers) -> Result<Option<bool>> {
        if !from.is_good(parcel, workers).await? {
            return Ok(None);
        }
        let target_parcel = self.as_kept_here(parcel);
        let source = from.key.join(from.key_of(parcel)?.as_str())?;
        let target = self.key.join(self.key_of(&target_parcel)?.as_str())?;
        match self.create(&target_parcel, |mode| self.of.copy(&source, &target, mode)).await? {
            // The store reports success, but the copy may be short.
            Ok(true) if !self.is_whole(&target_parcel).await? => {
                let what = format!("the store's copy of {target} is shorter or longer than its source");
                Err(Error::corrupt(self.label(), what))
            }
            Ok(copied) => Ok(Some(copied)),
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Returns whether a pack or part can be copied from here. Verifies every record once.
    async fn is_good(&self, parcel: &Parcel, workers: &Workers) -> Result<bool> {
        let key = self.key_of(parcel)?;
        let known = || self.good.lock();
        if known().contains(&key) {
            return Ok(true);
        }
        let good = self.verified(parcel, workers).await.is_ok();
        let mut known = known();
        if good {
            if known.len() >= MAX_KNOWN_GOOD {
                known.clear();
            }
            known.insert(key);
        }
        Ok(good)
    }

    /// Returns the slot's holding of a pack.
    pub(crate) async fn holding(&self, pack: &PackId) -> Result<Holding> {
        self.forget_parts(pack);
        let key = self.key_of_pack(pack)?;
        let (holding, whole) = futures::join!(self.listed_parts(pack), self.store.find_meta(&key));
        let whole = whole.map_err(|error| self.failed(error))?.map(|blob| size_of(&blob));
        Ok(Holding { whole, incarnation: self.incarnations.of_pack(*pack), ..holding? })
    }

    /// Returns the slot's holdings of the packs of `uploads`.
    pub(crate) async fn holdings(&self, uploads: &BTreeSet<UploadId>) -> Result<BTreeMap<PackId, Holding>> {
        let folders = all_of(["packs", "parts"].map(|folder| self.list_uploads(folder, uploads)).into()).await?;
        Ok(self.contents(folders.concat()).await?.holdings)
    }

    /// Lists the blobs of `uploads` in a folder: of many uploads, those on one page over all of them first, which mostly has
    /// everything.
    async fn list_uploads(&self, folder: &str, uploads: &BTreeSet<UploadId>) -> Result<Vec<BlobMeta>> {
        let mut rest: Vec<UploadId> = uploads.iter().copied().collect();
        let mut found = Vec::new();
        if let Some(first) = rest.first().filter(|_| uploads.len() > MAX_LISTED_APART) {
            let (under, before) = (folder.parse()?, format!("{folder}/{first}").parse()?);
            let page = self.store.list(Some(&under), Some(&before), PAGE).await.map_err(|error| self.failed(error))?;
            // An upload whose blobs may go on on the next page is listed by itself.
            let last = page.blobs.last().filter(|_| page.more).map(|last| upload_of(&last.key));
            if page.blobs.is_sorted_by(|one, next| one.key < next.key) {
                let is_in = |upload: &UploadId| last.is_none_or(|last| last.is_some_and(|last| *upload < last));
                rest.retain(|upload| !is_in(upload));
                let in_page = |blob: &BlobMeta| {
                    upload_of(&blob.key).is_some_and(|upload| uploads.contains(&upload) && is_in(&upload))
                };
                found = page.blobs.into_iter().filter(in_page).collect();
            }
        }
        let keys: Vec<BlobKey> =
            rest.iter().map(|upload| format!("{folder}/{upload}").parse()).collect::<Result<_>>()?;
        let apart = all_of(keys.iter().map(|key| self.list(key)).collect()).await?;
        found.extend(apart.into_iter().flatten());
        Ok(found)
    }

    /// Returns everything that the slot has; `listed` is a listing of it, if there is one.
    pub(crate) async fn all_contents(&self, listed: Option<Vec<BlobMeta>>) -> Result<Contents> {
        let listed = match listed {
            Some(listed) => listed,
            None => {
                let folders: [BlobKey; 3] = ["manifests".parse()?, "packs".parse()?, "parts".parse()?];
                all_of(folders.iter().map(|folder| self.list(folder)).collect()).await?.concat()
            }
        };
        self.contents(listed).await
    }

    /// Returns whether a blob was condemned here.
    pub(crate) fn is_dead(&self, name: BlobName) -> bool {
        self.incarnations.is_dead(name)
    }

    /// Removes a blob; it may be missing.
    pub(crate) async fn delete(&self, name: BlobName) -> Result<()> {
        if let Some(pack) = name.pack() {
            self.forget_parts(&pack);
        }
        self.store.delete(&name.key()?).await.map_err(|error| self.failed(error))
    }

    /// Removes a whole pack; it may be missing.
    pub(crate) async fn delete_pack(&self, id: &PackId) -> Result<()> {
        self.delete(BlobName::Pack(*id, self.incarnations.of_pack(*id))).await
    }

    /// Removes every pack of an abandoned upload.
    pub(crate) async fn remove_upload(&self, upload: UploadId) -> Result<()> {
        let packs = self.holdings(&[upload].into()).await?;
        all_of(packs.keys().map(|id| self.delete_pack(id)).collect()).await.map(drop)
    }

    /// Makes durable what any process has put here: packs and parts of `uploads`, and a manifest. To be called before a
    /// commit announces them.
    pub(crate) async fn persist(
        &self,
        uploads: impl IntoIterator<Item = UploadId>,
        manifest: Option<&ManifestId>,
    ) -> Result<()> {
        let packs = uploads.into_iter().flat_map(|upload| [format!("packs/{upload}"), format!("parts/{upload}")]);
        let all = packs.chain(manifest.map(|manifest| format!("manifests/{}", manifest.upload)));
        let all: Vec<BlobKey> = all.map(|under| under.parse()).collect::<Result<_>>()?;
        let persisted = all_of(all.iter().map(|under| self.store.persist(under)).collect()).await;
        persisted.map(drop).map_err(|error| self.failed(error))
    }
}

/// What a slot has: its holdings of packs, and its manifests with their lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) holdings: BTreeMap<PackId, Holding>,
    pub(crate) manifests: BTreeMap<BlobName, u64>,
}

/// Returns the bytes in the order of their numbers, from 0 to `count`.
fn in_order(count: usize, found: Vec<Vec<Found>>) -> Vec<Bytes> {
    let mut ordered = vec![Bytes::new(); count];
    for (number, bytes) in found.into_iter().flatten() {
        if let Some(place) = ordered.get_mut(number) {
            *place = bytes;
        }
    }
    ordered
}

/// Returns the bytes of a record out of ranges of its pack that were read; `None` if it lies in none of them.
fn cut(line: &TableLine, ranges: &[Range<u32>], found: &[Bytes]) -> Option<Bytes> {
    let at = ranges.partition_point(|range| range.start <= line.offset).checked_sub(1)?;
    let (range, bytes) = ranges.get(at).zip(found.get(at))?;
    let from = (line.offset - range.start) as usize;
    (line.range().end <= range.end).then(|| bytes.slice(from..from + line.length as usize))
}

/// Returns the upload of a blob, by its key in a slot.
fn upload_of(key: &BlobKey) -> Option<UploadId> {
    key.segments().nth(1)?.parse().ok()
}

/// Returns a blob's size as the store reports it, capped just above the largest blob: a reported size beyond that is
/// damage, and must not overflow a sum.
fn size_of(blob: &BlobMeta) -> u64 {
    blob.size.min(MAX_BLOB_BYTES + 1)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;
    use crate::host::SystemClock;
    use crate::store::MemoryStore;

    const PACKS: u32 = 300;

    fn upload(number: u8) -> UploadId {
        UploadId::from_bytes([number; 16])
    }

    /// A slot with 300 packs of each of 10 uploads: more than two pages.
    async fn slot() -> Slot {
        let store: Arc<dyn BlobStore> = Arc::new(MemoryStore::new());
        for pack in (0..10).flat_map(|of| (0..PACKS).map(move |number| PackId { upload: upload(of), number })) {
            let key = format!("slots/0/{}", pack.key().unwrap()).parse().unwrap();
            store.put(&key, Bytes::from_static(b"x"), PutMode::Create).await.unwrap();
        }
        Slot::new(store, "region here", 0, Arc::default(), Health::new(Arc::new(SystemClock))).unwrap()
    }

    #[test]
    fn what_a_page_over_many_uploads_does_not_reach_is_listed_by_itself() {
        block_on(async {
            let slot = slot().await;
            for chosen in [
                vec![],
                vec![7],
                vec![0, 9],
                vec![0, 1, 2, 3, 9],
                vec![1, 3, 5, 6, 8],
                (0..10).collect(),
                (0..30).collect(),
            ] {
                let uploads: BTreeSet<UploadId> = chosen.iter().copied().map(upload).collect();
                let found = slot.holdings(&uploads).await.unwrap();
                let there = chosen.iter().filter(|number| **number < 10).count();
                assert_eq!(found.len(), there * PACKS as usize, "{chosen:?}");
                assert!(found.iter().all(|(pack, holding)| uploads.contains(&pack.upload) && holding.whole == Some(1)));
            }
            assert_eq!(slot.all_contents(None).await.unwrap().holdings.len(), 10 * PACKS as usize);
        });
    }
}
