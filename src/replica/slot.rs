//! Slots: one replica's packs, parts and manifests in the store of a region or a zone.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

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
use crate::host::sync::Mutex;
use crate::store::{
    BlobKey, BlobMeta, BlobStore, BlobStoreExt, MAX_BLOB_BYTES, Prefixed, PutMode, StoreError, StoreErrorKind,
};

/// Records with a smaller gap than this between them are fetched with one read.
const MAX_GAP: u64 = 16 << 10;

/// The most packs whose parts are cached: a few MiB.
const MAX_KNOWN_PARTS: usize = 64;

/// The most packs and parts that are remembered as verified: a few hundred KiB.
const MAX_KNOWN_GOOD: usize = 4096;

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
}

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

impl Slot {
    /// Returns slot `number` of `store`. `site` is the store's label: a region, or a zone of one.
    pub(crate) fn new(
        store: Arc<dyn BlobStore>,
        site: &str,
        number: u32,
        incarnations: Arc<Incarnations>,
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
        })
    }

    /// Returns the slot's name in errors, which is unique in the gallery.
    pub(crate) fn label(&self) -> &str {
        &self.label
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
    async fn get_range(&self, key: &BlobKey, range: Range<u64>) -> std::result::Result<Bytes, StoreError> {
        let asked = range.end.saturating_sub(range.start);
        let bytes = self.store.get(key, Some(range)).await?;
        if bytes.len() as u64 == asked {
            return Ok(bytes);
        }
        let what = format!("the store answered with {} bytes where {asked} were asked for", bytes.len());
        Err(StoreError::new(StoreErrorKind::InvalidRange, "get", Some(key)).with_source(what))
    }

    /// Returns the stored bytes of `records`, in that order, unverified. Neighbors are fetched together.
    pub(crate) async fn read_records(&self, records: &[RecordRef]) -> Result<Vec<Bytes>> {
        let mut order: Vec<(usize, &RecordRef)> = records.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, record)| (record.pack, record.offset));
        let mut found = vec![Bytes::new(); records.len()];
        for of_pack in order.chunk_by(|(_, a), (_, b)| a.pack == b.pack) {
            let Some((_, first)) = of_pack.first() else { continue };
            let ranges: Vec<_> = of_pack.iter().map(|(number, record)| (*number, record.range())).collect();
            self.read_of_pack(&first.pack, &ranges, &mut found).await?;
        }
        Ok(found)
    }

    async fn read_of_pack(&self, pack: &PackId, ranges: &[(usize, Range<u32>)], found: &mut [Bytes]) -> Result<()> {
        // The cached parts may have been replaced since, by other parts or the whole pack.
        if self.known_parts(pack).is_some() && self.read_of_parts(pack, ranges, found).await? {
            return Ok(());
        }
        self.forget_parts(pack);
        let wanted = ranges.iter().map(|(number, range)| RecordRead {
            number: *number,
            start: u64::from(range.start),
            length: range.end - range.start,
        });
        match self.read_from(&self.key_of_pack(pack)?, &wanted.collect::<Vec<_>>(), found).await {
            Err(error) if error.kind() == StoreErrorKind::NotFound => {
                // The pack may be here in parts.
                if self.list_parts(pack).await?.is_empty() {
                    return Err(self.failed(error));
                }
            }
            done => return done.map_err(|error| self.failed(error)),
        }
        if self.read_of_parts(pack, ranges, found).await? {
            return Ok(());
        }
        self.forget_parts(pack);
        let what = format!("the slot has only parts of pack {pack}, and a needed record is in none of them");
        Err(Error::new(Problem::new(ErrorKind::NotFound, "ContentMissing", self.label(), what)))
    }

    /// Reads records from the cached parts; false if one of the records is in none of them.
    async fn read_of_parts(&self, pack: &PackId, ranges: &[(usize, Range<u32>)], found: &mut [Bytes]) -> Result<bool> {
        let parts = self.known_parts(pack).unwrap_or_default();
        let mut wanted: BTreeMap<usize, Vec<RecordRead>> = BTreeMap::new();
        for (number, range) in ranges {
            let found = parts.iter().enumerate().find_map(|(at, part)| Some((at, part.start_of(range)?)));
            let Some((at, start)) = found else { return Ok(false) };
            let length = range.end - range.start;
            wanted.entry(at).or_default().push(RecordRead { number: *number, start, length });
        }
        for (at, wanted) in wanted {
            let Some(part) = parts.get(at) else { continue };
            match self.read_from(&part.name().key()?, &wanted, found).await {
                Err(error) if error.kind() == StoreErrorKind::NotFound => return Ok(false),
                done => done.map_err(|error| self.failed(error))?,
            }
        }
        Ok(true)
    }

    /// Reads records of one blob; `wanted` is ascending.
    async fn read_from(
        &self,
        key: &BlobKey,
        mut wanted: &[RecordRead],
        found: &mut [Bytes],
    ) -> std::result::Result<(), StoreError> {
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
            let span = self.get_range(key, start..end).await?;
            let (now, later) = wanted.split_at_checked(count).unwrap_or((wanted, &[]));
            for one in now {
                if let Some(target) = found.get_mut(one.number) {
                    let from = (one.start - start) as usize;
                    *target = span.slice(from..from + one.length as usize);
                }
            }
            wanted = later;
        }
        Ok(())
    }

    fn known_parts(&self, pack: &PackId) -> Option<Arc<[Part]>> {
        self.parts.lock().get(pack).cloned()
    }

    fn forget_parts(&self, pack: &PackId) {
        self.parts.lock().remove(pack);
    }

    /// Lists the readable parts of a pack that are here.
    async fn parts_of(&self, pack: &PackId) -> Result<Arc<[Part]>> {
        let (parts, _) = self.parts_under(&PartId::keys_of(pack)?).await?;
        Ok(parts.into_iter().filter_map(|(_, part, _)| part).collect())
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

    /// Lists the parts below a key, with the length of each blob; the part is `None` if its table cannot be read.
    /// Condemned parts are the second list.
    async fn parts_under(&self, under: &BlobKey) -> Result<(Vec<ListedPart>, Vec<(BlobName, u64)>)> {
        let (mut parts, mut dead) = (Vec::new(), Vec::new());
        for blob in self.store.list_all(Some(under)).await.map_err(|error| self.failed(error))? {
            let Some(name @ BlobName::Part(id, incarnation)) = BlobName::of_key(&blob.key) else { continue };
            if self.incarnations.is_dead(name) {
                dead.push((name, size_of(&blob)));
                continue;
            }
            match self.get_range(&blob.key, 0..id.table_bytes()).await {
                Ok(table) => parts.push((
                    name,
                    Part::of_table(id, &table).ok().map(|part| part.with_incarnation(incarnation)),
                    size_of(&blob),
                )),
                Err(error) if error.kind() == StoreErrorKind::InvalidRange => parts.push((name, None, size_of(&blob))),
                Err(error) if error.kind() == StoreErrorKind::NotFound => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok((parts, dead))
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
        let lines = self.table_of(pack).await?;
        let wanted: Vec<TableLine> = lines.into_iter().filter(|line| extents.covers(&line.range())).collect();
        let mut bytes = vec![Bytes::new(); wanted.len()];
        let ranges: Vec<_> = wanted.iter().enumerate().map(|(number, line)| (number, line.range())).collect();
        self.read_of_pack(&pack.id, &ranges, &mut bytes).await?;
        let good = move || {
            let records = wanted.into_iter().zip(bytes);
            records.filter(|(line, bytes)| Digest::of(bytes) == line.hash).collect()
        };
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
        let mut found = BTreeMap::new();
        self.forget_parts(pack);
        self.add_parts(&PartId::keys_of(pack)?, &mut found).await?;
        let mut holding: Holding = found.remove(pack).unwrap_or_default();
        holding.incarnation = self.incarnations.of_pack(*pack);
        holding.whole = self
            .store
            .find_meta(&self.key_of_pack(pack)?)
            .await
            .map_err(|error| self.failed(error))?
            .map(|blob| size_of(&blob));
        Ok(holding)
    }

    /// Returns the slot's holdings of the packs of `uploads`.
    pub(crate) async fn holdings(
        &self,
        uploads: impl IntoIterator<Item = UploadId>,
    ) -> Result<BTreeMap<PackId, Holding>> {
        let mut found = BTreeMap::new();
        for upload in uploads {
            self.add_holdings(&format!("packs/{upload}").parse()?, &format!("parts/{upload}").parse()?, &mut found)
                .await?;
        }
        Ok(found)
    }

    /// Returns the slot's holdings of all packs.
    pub(crate) async fn all_holdings(&self) -> Result<BTreeMap<PackId, Holding>> {
        let mut found = BTreeMap::new();
        self.add_holdings(&"packs".parse()?, &"parts".parse()?, &mut found).await?;
        Ok(found)
    }

    async fn add_holdings(
        &self,
        packs: &BlobKey,
        parts: &BlobKey,
        found: &mut BTreeMap<PackId, Holding>,
    ) -> Result<()> {
        for blob in self.store.list_all(Some(packs)).await.map_err(|error| self.failed(error))? {
            let Some(name @ BlobName::Pack(id, incarnation)) = BlobName::of_key(&blob.key) else { continue };
            let holding = found.entry(id).or_default();
            match incarnation.cmp(&self.incarnations.of_pack(id)) {
                Ordering::Less => holding.dead.push((name, size_of(&blob))),
                Ordering::Equal => (holding.whole, holding.incarnation) = (Some(size_of(&blob)), incarnation),
                // Written after a commit that this log lacks: it is neither read nor garbage.
                Ordering::Greater => holding.foreign.push((name, size_of(&blob))),
            }
        }
        self.add_parts(parts, found).await
    }

    async fn add_parts(&self, under: &BlobKey, found: &mut BTreeMap<PackId, Holding>) -> Result<()> {
        let (parts, dead) = self.parts_under(under).await?;
        for (name, part, size) in parts {
            let Some(pack) = name.pack() else { continue };
            let holding: &mut Holding = found.entry(pack).or_default();
            match part.filter(|part| part.length() == size) {
                Some(part) => holding.parts.push(part),
                None => holding.broken.push(name),
            }
        }
        for (name, size) in dead {
            let Some(pack) = name.pack() else { continue };
            found.entry(pack).or_default().dead.push((name, size));
        }
        Ok(())
    }

    /// Lists all manifests that are here, with their lengths.
    pub(crate) async fn all_manifests(&self) -> Result<BTreeMap<BlobName, u64>> {
        let blobs = self.store.list_all(Some(&"manifests".parse()?)).await.map_err(|error| self.failed(error))?;
        let named = blobs.into_iter().filter_map(|blob| Some((BlobName::of_key(&blob.key)?, size_of(&blob))));
        Ok(named.filter(|(name, _)| matches!(name, BlobName::Manifest(..))).collect())
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
        for id in self.holdings([upload]).await?.into_keys() {
            self.delete_pack(&id).await?;
        }
        Ok(())
    }

    /// Makes durable what any process has put here: packs and parts of `uploads`, and a manifest. To be called before a
    /// commit announces them.
    pub(crate) async fn persist(
        &self,
        uploads: impl IntoIterator<Item = UploadId>,
        manifest: Option<&ManifestId>,
    ) -> Result<()> {
        let packs = uploads.into_iter().flat_map(|upload| [format!("packs/{upload}"), format!("parts/{upload}")]);
        for under in packs.chain(manifest.map(|manifest| format!("manifests/{}", manifest.upload))) {
            self.store.persist(&under.parse()?).await.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }
}

/// A listed part: its name, its contents if its table can be read, and its length.
type ListedPart = (BlobName, Option<Part>, u64);

/// Returns a blob's size as the store reports it, capped just above the largest blob: a reported size beyond that is
/// damage, and must not overflow a sum.
fn size_of(blob: &BlobMeta) -> u64 {
    blob.size.min(MAX_BLOB_BYTES + 1)
}
