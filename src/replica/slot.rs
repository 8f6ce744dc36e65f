//! Slots: one replica's packs, parts and manifests in the store of a region or a zone.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::health::Health;
use super::holding::Holding;
use super::located::{LocatedPacks, Members};
use super::parcel::{Parcel, ParcelRequest};
use super::verified::Verified;
use crate::content::blob_name::{BlobName, Incarnations};
use crate::content::boot_set;
use crate::content::digest::Digest;
use crate::content::head::{Head, head_bytes};
use crate::content::manifest::Manifest;
use crate::content::merged::{Member, Merged, members_of};
use crate::content::names::{CatalogId, FamilyId, ManifestId, MemberPlace, MergedId, PackId, PartId, SlotId, UploadId};
use crate::content::pack::{FinishedPack, PackInfo};
use crate::content::part::Part;
use crate::content::record::Line;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Workers;
use crate::host::in_flight::{Budget, all_of, together};
use crate::host::sync::Mutex;
use crate::keys::keyring::RegionKeys;
use crate::model::Region;
use crate::store::derived::Reads;
use crate::store::{
    BlobKey, BlobMeta, BlobStore, BlobStoreExt, Capabilities, MAX_BLOB_BYTES, Prefixed, PutMode, StoreError,
    StoreErrorKind, StoreResult,
};

/// Records with at most this gap between them, that of one chunk that was replaced since, are fetched with one read, and those of
/// a store far away also with a larger one.
const LEAST_GAP: u64 = 64 << 10;

/// A pack of at most this length, such as an index or a chunk, is read whole when it is found.
const SMALL_PACK: u64 = 96 << 10;

/// As the gap, of what many requests are saved for: about as long as a request takes.
const WIDE_GAP: u64 = 2 << 20;

/// The most packs and parts that are remembered as verified: a few hundred KiB.
const MAX_KNOWN_GOOD: usize = 4096;

/// Uploads that are listed one by one, instead of by a page over all of them.
const MAX_LISTED_APART: usize = 4;

/// The blobs of a page.
const PAGE: usize = 1_000;

/// A read is of at most this length, and of a store far away also longer.
const LEAST_READ: u64 = 4 << 20;

/// One replica of a region, in the store of the region or of one of its zones.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Keys relative to the slot.
    pub(super) store: Prefixed<Arc<dyn BlobStore>>,
    /// The store that the slot is in.
    of: Arc<dyn BlobStore>,
    /// The name of that store: a region, and a zone of it.
    site: Arc<str>,
    key: BlobKey,
    /// Its place.
    region: Region,
    id: SlotId,
    label: Arc<str>,
    /// The catalog that the store belongs to.
    catalog: CatalogId,
    /// The versions of which it is read, if it is one image definition's.
    family: Option<FamilyId>,
    /// The condemned names, and the incarnations of new blobs.
    incarnations: Arc<Incarnations>,
    /// Where the records of packs lie that were read.
    pub(super) located: LocatedPacks,
    /// The keys of blobs that were verified as sources of copies, since this slot was opened.
    good: Arc<Mutex<HashSet<BlobKey>>>,
    /// The reads of ranges that are under way.
    requests: Budget,
    /// Reads of one blob that are so near are made together, also from a store that is near.
    gap: u64,
    /// The health of the store that the slot is in.
    health: Health,
    /// What this process has verified.
    pub(super) verified: Verified,
    /// What the blobs are encrypted with.
    pub(super) keys: RegionKeys,
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

impl Slot {
    /// Returns slot `id` of `region`. `store` has the zone of it, and `site` is the store's label.
    pub(crate) fn new(
        store: Arc<dyn BlobStore>,
        site: &str,
        (region, id): (&Region, SlotId),
        catalog: CatalogId,
        incarnations: Arc<Incarnations>,
        (health, verified, keys): (Health, Verified, RegionKeys),
    ) -> Result<Self> {
        let key: BlobKey = format!("slots/{}", id.number).parse()?;
        let (site, label) = (site.into(), format!("{site} slot {}", id.number).into());
        let parallel = store.capabilities().parallel_requests();
        Ok(Self {
            store: Prefixed::new(store.clone(), key.clone()),
            of: store,
            site,
            key,
            region: region.clone(),
            id,
            label,
            catalog,
            family: None,
            incarnations,
            located: LocatedPacks::default(),
            good: Arc::default(),
            requests: Budget::new(parallel as u64),
            gap: LEAST_GAP,
            health,
            verified,
            keys,
        })
    }

    /// Returns the slot as it is read for versions of a definition: what they need may be merged.
    pub(crate) fn in_family(self, family: FamilyId) -> Self {
        Self { family: Some(family), ..self }
    }

    /// Returns its region, and its place there.
    pub(crate) fn place(&self) -> (&Region, SlotId) {
        (&self.region, self.id)
    }

    /// Returns the slot as a later state of the log knows it: the condemned names, and the incarnations of new blobs.
    pub(crate) fn with_incarnations(self, incarnations: Arc<Incarnations>) -> Self {
        Self { incarnations, ..self }
    }

    pub(super) fn family(&self) -> Option<FamilyId> {
        self.family
    }

    /// Returns the slot with a cache of its own, which does not hold itself in what it is finding.
    pub(super) fn without_located(&self) -> Self {
        Self { located: LocatedPacks::default(), ..self.clone() }
    }

    /// Returns the slot with a cache that knows the listed parts, and no packs.
    pub(super) fn clone_of_parts(&self) -> Self {
        Self { located: self.located.of_parts(), ..self.clone() }
    }

    /// Returns the slot, read with fewer and larger requests: of what is wanted in many places, most is wanted.
    pub(super) fn read_widely(&self) -> Self {
        Self { gap: WIDE_GAP, ..self.clone() }
    }

    /// Returns the slot's name in errors, which is unique in the gallery.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Returns the catalog that the slot's content belongs to.
    pub(crate) fn catalog(&self) -> CatalogId {
        self.catalog
    }

    pub(super) fn shared_label(&self) -> &Arc<str> {
        &self.label
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// Returns a blob's length and what tells it from another one in its place, if the store answers.
    pub(super) async fn meta(&self, key: &BlobKey) -> Option<BlobMeta> {
        self.store.head(key).await.ok()
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Returns whether both slots are in one store, which copies between them by itself.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.site == other.site
    }

    pub(super) fn failed(&self, error: StoreError) -> Error {
        error.at(&self.label)
    }

    /// Returns the error of a blob of this slot that is not as it must be.
    fn damaged(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Corrupt => {
                let target = format!("{}, {}", self.label, error.target());
                Error::corrupt(target, "the pack is damaged").with_source(error)
            }
            // A newer build's is not damaged.
            _ => error,
        }
    }

    /// Returns the key of a whole pack here, whether or not it is there.
    pub(super) fn key_of_pack(&self, id: &PackId) -> Result<BlobKey> {
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
            // In a blob of its own: it is a member only where it was merged.
            Parcel::Part(part) => {
                let incarnation = self.incarnations.of_parts(part.id.pack);
                Parcel::Part(part.clone().placed(None).with_incarnation(incarnation))
            }
        }
    }

    /// Reads the blob of a pack or part: of a member, its range of the merged blob.
    async fn blob_of(&self, parcel: &Parcel) -> Result<Bytes> {
        let BlobName::Part(id, _) = self.name_of(parcel) else {
            let read = self.store.get(&self.key_of(parcel)?, None).await;
            return read.map_err(|error| self.failed(error));
        };
        self.blob_of_part(id, &self.key_of(parcel)?).await
    }

    async fn blob_of_part(&self, id: PartId, key: &BlobKey) -> Result<Bytes> {
        let read = match id.place() {
            Some(place) => {
                let merged = place.merged.key()?;
                // Blobs that are read whole pass a cache by themselves; a range would be what the cache had, whatever became of the blob.
                self.store.distrust(&merged).await;
                self.get_range(&merged, place.range()).await
            }
            None => self.store.get(key, None).await,
        };
        // A merged blob that is shorter than it was has lost the member.
        read.map_err(|error| match error.kind() {
            StoreErrorKind::InvalidRange if id.place().is_some() => {
                let target = format!("{}, part of pack {}", self.label, id.pack);
                Error::corrupt(target, "the merged blob that it is in is cut short").with_source(error)
            }
            _ => self.failed(error),
        })
    }

    /// Reads the head of a part's blob.
    async fn head_bytes_of(&self, id: &PartId, key: &BlobKey) -> StoreResult<Bytes> {
        let Some(place) = id.place() else { return self.get_range(key, 0..id.head_bytes()).await };
        let merged = place
            .merged
            .key()
            .map_err(|error| StoreError::new(StoreErrorKind::InvalidRange, "get", Some(key)).with_source(error))?;
        let range = place.range();
        self.get_range(&merged, range.start..(range.start + id.head_bytes()).min(range.end)).await
    }

    /// Reads the members of a merged blob, by its front; `None` if it is not there any more, or its front is damaged: links tell where its
    /// members are.
    pub(super) async fn members(&self, id: MergedId) -> Result<Option<Vec<Member>>> {
        match self.get_range(&id.key()?, 0..id.front_bytes()).await {
            Ok(front) => Ok(members_of(self.catalog, id, &front).ok()),
            Err(error) if matches!(error.kind(), StoreErrorKind::NotFound | StoreErrorKind::InvalidRange) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Lists the merged blobs of a family that may be relied on, the newest first.
    pub(super) async fn listed_merged(&self, family: FamilyId) -> Result<Vec<MergedId>> {
        let listed = self.list(&family.keys()?).await?;
        let merged = listed.iter().filter_map(|blob| match BlobName::of_key(&blob.key) {
            Some(name @ BlobName::Merged(id)) if !self.incarnations.is_dead(name) => Some(id),
            _ => None,
        });
        Ok(merged.collect())
    }

    /// Stores a merged blob, and then the links that make its members parts of this slot. Returns these.
    pub(crate) async fn put_merged(&self, merged: Merged) -> Result<Vec<Parcel>> {
        let key = merged.id.key()?;
        match self.store.put_parts(&key, &merged.pieces, PutMode::Create).await {
            Ok(()) => {}
            // The same members were merged before, or the answer was lost: what is there is read back before anything relies on it.
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {
                let length = merged.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
                let there = self.store.find_meta(&key).await.map_err(|error| self.failed(error))?;
                if there.is_none_or(|blob| blob.size != length) {
                    return Err(self.failed(error));
                }
            }
            Err(error) => return Err(self.failed(error)),
        }
        // ORDER: the merged blob is durable, then its links are put. The other way round, link -> power cut: a part that is listed and not
        // there.
        self.store.persist(&merged.id.family().keys()?).await.map_err(|error| self.failed(error))?;
        let linked = merged.parts.into_iter().map(|part| {
            let incarnation = self.incarnations.of_parts(part.id.pack);
            Parcel::Part(part.with_incarnation(incarnation))
        });
        let linked: Vec<Parcel> = linked.collect();
        all_of(linked.iter().map(|parcel| self.put_link(parcel)).collect()).await?;
        Ok(linked)
    }

    async fn put_link(&self, parcel: &Parcel) -> Result<()> {
        let put = self.store.put(&self.key_of(parcel)?, Bytes::new(), PutMode::Create).await;
        self.located.forget(&parcel.pack());
        match put {
            Ok(()) => Ok(()),
            // There is no other content of that name. One that is not there after all is not listed.
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Returns exactly the bytes of a range. A store that answers with another number of bytes breaks its contract.
    pub(super) async fn get_range(&self, key: &BlobKey, range: Range<u64>) -> StoreResult<Bytes> {
        let asked = range.end.saturating_sub(range.start);
        let _request = self.requests.take(1).await;
        let bytes = self.store.get(key, Some(range)).await?;
        if bytes.len() as u64 == asked {
            return Ok(bytes);
        }
        let what = format!("the store answered with {} bytes where {asked} were asked for", bytes.len());
        Err(StoreError::new(StoreErrorKind::InvalidRange, "get", Some(key)).with_source(what))
    }

    /// Lists the parts of all packs of an upload.
    pub(super) async fn listed_parts_of(&self, upload: &UploadId) -> Result<Arc<[BlobMeta]>> {
        self.list(&format!("parts/{upload}").parse()?).await.map(Arc::from)
    }

    /// Lists what is here of a pack, except the whole pack.
    pub(super) async fn listed_parts(&self, pack: &PackId) -> Result<Holding> {
        let parts = self.list(&PartId::keys_of(pack)?).await?;
        Ok(self.contents(parts).await?.holdings.remove(pack).unwrap_or_default())
    }

    /// Reads the head of a whole pack, or what is left of it, and of a small pack all of it. The inner error says that the slot does not
    /// have it whole.
    pub(super) async fn read_head(&self, info: &PackInfo) -> Result<Result<(Head, Option<Bytes>), Error>> {
        let (key, head) = (self.key_of_pack(&info.id)?, 0..head_bytes(info.records));
        let mut read = match info.length <= SMALL_PACK {
            true => self.get_range(&key, 0..info.length).await,
            false => self.get_range(&key, head.clone()).await,
        };
        let mut is_all = info.length <= SMALL_PACK;
        // It is damaged: what is left of it may still be good.
        if is_all && matches!(&read, Err(error) if error.kind() == StoreErrorKind::InvalidRange) {
            (read, is_all) = (self.get_range(&key, head).await, false);
        }
        match read {
            Ok(bytes) => info.head_or_rest(self.catalog, &bytes).map(|head| Ok((head, is_all.then_some(bytes)))),
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(Err(self.failed(error))),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Reads ranges of a blob: neighbours together, and the rest at the same time.
    pub(super) async fn get_ranges(&self, key: &BlobKey, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let of_store = self.store.capabilities();
        let (best, gap) = (of_store.best_read_bytes().max(LEAST_READ), of_store.merged_gap_bytes().max(self.gap));
        let reads = Reads::new(ranges, of_store.with_reads(best, gap));
        let answers = together(reads.requests().map(|range| self.get_range(key, range)).collect()).await;
        reads.answers(key, answers)
    }

    async fn list(&self, under: &BlobKey) -> Result<Vec<BlobMeta>> {
        self.store.list_all(Some(under)).await.map_err(|error| self.failed(error))
    }

    /// Sorts listed blobs of the slot, and reads the heads of the parts among them.
    pub(super) async fn contents(&self, listed: Vec<BlobMeta>) -> Result<Contents> {
        let (mut contents, mut parts) = (Contents::default(), Vec::new());
        for blob in listed {
            let size = size_of(&blob);
            if let Some(manifest) = boot_set::manifest_of(&blob.key) {
                contents.boot_sets.insert(manifest, size);
            }
            let Some(name) = BlobName::of_key(&blob.key) else { continue };
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
                BlobName::Part(id, incarnation) => {
                    let size = id.place().map_or(size, |place| place.length.into());
                    parts.push((id, incarnation, name, blob.key, size));
                }
                BlobName::Manifest(..) => drop(contents.manifests.insert(name, size)),
                BlobName::Merged(id) => drop(contents.merged.insert(id, size)),
            }
        }
        // The name of a part that has all of its pack says so, as that of a pack does.
        parts.retain(|(id, incarnation, _, _, size)| match Part::named(*id, *incarnation, *size) {
            Some(part) => {
                contents.holdings.entry(id.pack).or_default().parts.push(part);
                false
            }
            None => true,
        });
        let reading = parts.iter().map(|(id, _, _, key, _)| self.head_bytes_of(id, key)).collect();
        let heads = together(reading).await;
        for ((id, incarnation, name, _, size), head) in parts.into_iter().zip(heads) {
            let part = match head {
                Ok(head) => match Part::of_head(self.catalog, id, &head) {
                    Ok(part) => Some(part.with_incarnation(incarnation)),
                    // A newer build's is not damaged.
                    Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
                    Err(_) => None,
                },
                Err(error) if error.kind() == StoreErrorKind::InvalidRange => None,
                // The merged blob is lost, and the link has to go.
                Err(error) if error.kind() == StoreErrorKind::NotFound && id.place().is_some() => None,
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

    /// Reads a root or a page of a manifest, and verifies it.
    pub(crate) async fn read_manifest_blob(&self, id: &ManifestId) -> Result<Bytes> {
        let key = self.key_of_manifest(id)?;
        let read = || async { self.store.get(&key, None).await.map_err(|error| self.failed(error)) };
        let mut bytes = read().await?;
        // What a cache has may have been mended since.
        if Digest::of(&bytes) != id.digest && self.store.distrust(&key).await {
            bytes = read().await?;
        }
        match Digest::of(&bytes) == id.digest {
            true => Ok(bytes),
            false => {
                let what = "the manifest is damaged: its hash differs";
                Err(Error::corrupt(format!("{}, manifest {}", self.label, id.digest), what))
            }
        }
    }

    /// As [`read_manifest_blob`](Self::read_manifest_blob), from the store itself.
    pub(crate) async fn check_manifest_blob(&self, id: &ManifestId) -> Result<Bytes> {
        self.store.distrust(&self.key_of_manifest(id)?).await;
        self.read_manifest_blob(id).await
    }

    /// Looks for a pack by its links from now on, if a front has led to it. Returns whether it may be found elsewhere now.
    pub(super) async fn find_by_links(&self, pack: &PackId) -> bool {
        self.known_members().await.is_some_and(|members| members.contains_key(pack)) && self.located.find_by_links(pack)
    }

    /// Returns the members of merged blobs, as far as they were looked up.
    async fn known_members(&self) -> Option<Members> {
        self.located.merged.known(&self.family?)?.await.ok()
    }

    /// Drops what a cache has of a pack and its parts, and returns whether there was anything.
    pub(super) async fn distrust(&self, pack: &PackId) -> bool {
        let located = match self.located.packs.known(pack) {
            Some(located) => located.await.ok(),
            None => None,
        };
        let members = self.known_members().await;
        let member = members.iter().filter_map(|members| members.get(pack));
        let parts = located.iter().flat_map(|blobs| blobs.iter()).chain(member).map(|one| one.blob.clone());
        let keys = self.key_of_pack(pack).into_iter().chain(parts).collect::<BTreeSet<_>>();
        self.located.forget(pack);
        together(keys.iter().map(|key| self.store.distrust(key)).collect()).await.contains(&true)
    }

    /// Stores the pages and the root of a manifest. An existing blob is read back, and replaced if it is damaged.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<()> {
        self.put_manifest_blobs(manifest.blobs()).await
    }

    /// As [`put_manifest`](Self::put_manifest), and leaves out the pages that other uploads have written.
    pub(crate) async fn put_new_manifest(&self, manifest: &Manifest) -> Result<()> {
        let own = manifest.id().upload;
        self.put_manifest_blobs(manifest.blobs().filter(|(id, _)| id.upload == own)).await
    }

    async fn put_manifest_blobs(&self, blobs: impl Iterator<Item = &(ManifestId, Bytes)>) -> Result<()> {
        // In any order: nothing reads a root before a commit names it.
        all_of(blobs.map(|(id, bytes)| self.put_manifest_blob(id, bytes)).collect()).await.map(drop)
    }

    async fn put_manifest_blob(&self, id: &ManifestId, bytes: &Bytes) -> Result<()> {
        let key = self.key_of_manifest(id)?;
        match self.store.put(&key, bytes.clone(), PutMode::Create).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {
                match self.store.find(&key).await.map_err(|error| self.failed(error))? {
                    Some(there) if there == *bytes => Ok(()),
                    // The answer was lost, and the manifest is not there.
                    None if error.kind() == StoreErrorKind::Unknown => Err(self.failed(error)),
                    _ => self.replace_manifest_blob(id, bytes.clone()).await,
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
        let parts = [pack.head.clone(), pack.records.clone()];
        match self.store.put_parts(&key, &parts, PutMode::Create).await {
            Ok(()) => Ok(PutOutcome::Sent),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => self.compare_pack(pack).await,
            // The answer was lost: the pack is there whole or not at all.
            Err(error) if error.kind() == StoreErrorKind::Unknown && self.holds(&key).await? => {
                self.compare_pack(pack).await
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Compares the stored pack's length and head with `pack`; packs are written whole, so that is enough.
    async fn compare_pack(&self, pack: &FinishedPack) -> Result<PutOutcome> {
        let (key, head) = (self.key_of_pack(&pack.info.id)?, &pack.head);
        self.store.distrust(&key).await;
        let stored = self.store.head(&key).await.map_err(|error| self.failed(error))?;
        if stored.size != pack.info.length {
            return Ok(PutOutcome::Differs);
        }
        let stored_head = self.get_range(&key, 0..head.len() as u64).await.map_err(|error| self.failed(error))?;
        Ok(if stored_head == *head { PutOutcome::AlreadyThere } else { PutOutcome::Differs })
    }

    /// Stores verified bytes of another slot. Returns the parcel as it is stored here, and true if this call wrote it.
    pub(crate) async fn put_parcel(&self, parcel: &Parcel, bytes: Bytes) -> Result<(Parcel, bool)> {
        let (parcel, bytes) = self.encrypted_for_here(parcel, bytes).await?;
        let parcel = self.as_kept_here(&parcel);
        let key = self.key_of(&parcel)?;
        let put = self.create(&parcel, |mode| self.store.put(&key, bytes.clone(), mode)).await?;
        self.located.forget(&parcel.pack());
        put.map(|is_new| (parcel, is_new)).map_err(|error| self.failed(error))
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
        let parts = self.listed_parts(&request.pack.id).await?.parts;
        let mut same = parts.into_iter().filter(|part| part.is_of(&request.pack));
        let is_it = |part: &Part| part.extents() == request.extents || request.whole && part.id.is_complete();
        Ok(same.find(is_it).map(Parcel::Part))
    }

    /// Returns the head of a part, or what is left of it, and of a small part all of it; `None` if it is not there any more.
    pub(super) async fn head_of_part(&self, part: &Part) -> Result<Option<(Arc<Head>, Option<Bytes>)>> {
        if let Some(head) = part.head() {
            return Ok(Some((head.clone(), None)));
        }
        let key = part.name().key()?;
        let mut all = None;
        if part.length() <= SMALL_PACK {
            let place = part.id.place();
            let blob = place.map_or_else(|| Ok(key.clone()), |place| place.merged.key())?;
            let range = place.map_or(0..part.length(), MemberPlace::range);
            match self.get_range(&blob, range).await {
                Ok(bytes) => all = Some(bytes),
                // It is shorter than it was: it is read up to the end of its head.
                Err(error) if error.kind() == StoreErrorKind::InvalidRange => {}
                Err(error) if error.kind() == StoreErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.failed(error)),
            }
        }
        let read = match &all {
            Some(bytes) => Ok(bytes.clone()),
            None => self.head_bytes_of(&part.id, &key).await,
        };
        match read {
            Ok(bytes) => match Part::of_head(self.catalog, part.id, &bytes) {
                Ok(read) => Ok(read.head().map(|head| (head.clone(), all))),
                // What is left of it: each of its lines proves itself.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    Ok(Some((Arc::new(part.id.salvage(self.catalog, &bytes)), all)))
                }
                Err(error) => Err(error),
            },
            // It was removed since, or is shorter than its head.
            Err(error) if matches!(error.kind(), StoreErrorKind::NotFound | StoreErrorKind::InvalidRange) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Returns whether the blob is there with the right length.
    async fn is_whole(&self, parcel: &Parcel) -> Result<bool> {
        let there = self.store.find_meta(&self.key_of(parcel)?).await.map_err(|error| self.failed(error))?;
        Ok(there.is_some_and(|blob| blob.size == parcel.length()))
    }

    /// Reads a whole pack or part and verifies every record by its seal.
    pub(crate) async fn verified(&self, parcel: &Parcel, workers: &Workers) -> Result<Bytes> {
        self.read_parcel(parcel, workers, Parcel::verify).await
    }

    /// As [`verified`](Self::verified), of all of a pack in one blob.
    pub(super) async fn verified_whole(&self, pack: &PackInfo, workers: &Workers) -> Result<(Parcel, Bytes)> {
        let missing = match self.verified(&Parcel::Pack(*pack), workers).await {
            Ok(bytes) => return Ok((Parcel::Pack(*pack), bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => error,
            Err(error) => return Err(error),
        };
        let parts = self.listed_parts(&pack.id).await?.parts;
        let Some(part) = parts.into_iter().find(|part| part.id.is_complete() && part.is_of(pack)) else {
            return Err(missing);
        };
        let parcel = Parcel::Part(part);
        let bytes = self.verified(&parcel, workers).await?;
        Ok((parcel, bytes))
    }

    /// As [`verified`](Self::verified), and decodes every record and compares it with the content that it is named by.
    pub(super) async fn checked(&self, parcel: &Parcel, workers: &Workers) -> Result<Bytes> {
        let bytes = self.verified(parcel, workers).await?;
        self.check(parcel, &bytes, workers).await.map_err(|error| self.damaged(error))?;
        Ok(bytes)
    }

    async fn read_parcel(
        &self,
        parcel: &Parcel,
        workers: &Workers,
        look_at: fn(&Parcel, CatalogId, &Bytes) -> Result<()>,
    ) -> Result<Bytes> {
        let bytes = self.blob_of(parcel).await?;
        let (whole, copy, catalog) = (parcel.clone(), bytes.clone(), self.catalog);
        workers.run(move || look_at(&whole, catalog, &copy)).await.map_err(|error| self.damaged(error))?;
        Ok(bytes)
    }

    /// Replaces a damaged root or page of a manifest by a verified one.
    pub(crate) async fn replace_manifest_blob(&self, id: &ManifestId, bytes: Bytes) -> Result<()> {
        self.store.put(&self.key_of_manifest(id)?, bytes, PutMode::Overwrite).await.map_err(|error| self.failed(error))
    }

    /// Returns the records of a damaged pack or part that are still good.
    pub(crate) async fn good_records_of(&self, parcel: &Parcel) -> Result<Vec<(Line, Bytes)>> {
        let blob = self.blob_of(parcel).await?;
        match parcel.head_or_rest(self.catalog, &blob) {
            Ok(head) => self.decrypted_records(&head, &blob).await,
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Returns the records of a part that are good although its head is damaged.
    pub(super) async fn good_records_of_broken(&self, name: BlobName) -> Result<Vec<(Line, Bytes)>> {
        let BlobName::Part(id, _) = name else { return Ok(Vec::new()) };
        let blob = self.blob_of_part(id, &name.key()?).await?;
        self.decrypted_records(&id.salvage(self.catalog, &blob), &blob).await
    }

    /// Writes verified bytes, over damaged ones if there are any. Returns the parcel as stored here.
    pub(crate) async fn replace(&self, parcel: &Parcel, bytes: Bytes) -> Result<Parcel> {
        let (parcel, bytes) = self.encrypted_for_here(parcel, bytes).await?;
        let parcel = self.as_kept_here(&parcel);
        let done = self.store.put(&self.key_of(&parcel)?, bytes, PutMode::Overwrite).await;
        self.located.forget(&parcel.pack());
        done.map(|()| parcel).map_err(|error| self.failed(error))
    }

    /// Copies a parcel from another slot of the same store; true if this call wrote it. Returns `None` if it is missing
    /// or damaged there: a store would copy the damage unnoticed.
    pub(crate) async fn copy_parcel(&self, from: &Slot, parcel: &Parcel, workers: &Workers) -> Result<Option<bool>> {
        if matches!(parcel, Parcel::Part(part) if part.id.place().is_some()) {
            // No store copies a range.
            let Ok(bytes) = from.verified(parcel, workers).await else { return Ok(None) };
            return self.put_parcel(parcel, bytes).await.map(|(_, is_new)| Some(is_new));
        }
        if !from.is_good(parcel, workers).await? {
            return Ok(None);
        }
        let target_parcel = self.as_kept_here(parcel);
        let source = from.key.join(from.key_of(parcel)?.as_str())?;
        let target = self.key.join(self.key_of(&target_parcel)?.as_str())?;
        let copied = self.create(&target_parcel, |mode| self.of.copy(&source, &target, mode)).await?;
        self.located.forget(&parcel.pack());
        match copied {
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
        self.located.forget(pack);
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
                let folders: [BlobKey; 5] = [
                    boot_set::FOLDER.parse()?,
                    "manifests".parse()?,
                    "merged".parse()?,
                    "packs".parse()?,
                    "parts".parse()?,
                ];
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
            self.located.forget(&pack);
        }
        self.store.delete(&name.key()?).await.map_err(|error| self.failed(error))
    }

    /// Returns the key of a blob in the store that the slot is in.
    pub(crate) fn key_in_store(&self, name: BlobName) -> Result<BlobKey> {
        self.key.join(name.key()?.as_str())
    }

    /// Removes blobs of any slots of the store that this one is in, with as few requests as the store can; they may be missing.
    pub(crate) async fn delete_in_store(&self, keys: &[BlobKey]) -> Vec<Result<()>> {
        let deleted = self.of.delete_many(keys).await;
        deleted.into_iter().map(|deleted| deleted.map_err(|error| self.failed(error))).collect()
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

    /// Makes durable what any process has put here: packs and parts of `uploads`, and manifests that `manifests` wrote. To be called
    /// before a commit announces them.
    pub(crate) async fn persist(
        &self,
        uploads: impl IntoIterator<Item = UploadId>,
        manifests: impl IntoIterator<Item = UploadId>,
    ) -> Result<()> {
        let packs = uploads.into_iter().flat_map(|upload| [format!("packs/{upload}"), format!("parts/{upload}")]);
        let all = packs.chain(manifests.into_iter().map(|upload| format!("manifests/{upload}")));
        let all: Vec<BlobKey> = all.map(|under| under.parse()).collect::<Result<_>>()?;
        let persisted = all_of(all.iter().map(|under| self.store.persist(under)).collect()).await;
        persisted.map(drop).map_err(|error| self.failed(error))
    }
}

/// What a slot has: its holdings of packs, and its manifests and merged blobs with their lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) holdings: BTreeMap<PackId, Holding>,
    pub(crate) manifests: BTreeMap<BlobName, u64>,
    pub(crate) merged: BTreeMap<MergedId, u64>,
    /// By their manifests, with their lengths.
    pub(crate) boot_sets: BTreeMap<ManifestId, u64>,
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
        Slot::new(
            store,
            "region here",
            (&"here".parse().unwrap(), SlotId { zone: 0, number: 0 }),
            CatalogId(upload(5)),
            Arc::default(),
            (Health::new(Arc::new(SystemClock)), Verified::new(Arc::new(SystemClock), true), RegionKeys::default()),
        )
        .unwrap()
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
