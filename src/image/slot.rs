//! A slot: the place of one replica, with every pack and manifest that its versions need.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::digest::Digest;
use super::manifest::Manifest;
use super::pack::{FinishedPack, PackId, PackInfo, RecordRef, UploadId};
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::store::{BlobKey, BlobStore, BlobStoreExt, Prefixed, PutMode, StoreError, StoreErrorKind};

/// Records that lie less than this apart in a pack are fetched with one read.
const MAX_GAP: u64 = 16 << 10;

/// No read is longer than this.
const MAX_READ: u64 = 4 << 20;

/// One replica's place in a region's store.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The slot alone.
    store: Prefixed<Arc<dyn BlobStore>>,
    /// The region's store, which the slot is a part of.
    region: Arc<dyn BlobStore>,
    key: BlobKey,
    place: Arc<str>,
}

/// What became of a pack that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It was sent.
    Now,
    /// The same pack was there.
    Already,
    /// Another pack of that name was there: the disk has changed since an earlier attempt at this upload.
    Differs,
}

impl Slot {
    /// Slot `number` of the region that `store` belongs to; `region` is for error messages.
    pub(crate) fn new(store: Arc<dyn BlobStore>, region: &str, number: u32) -> Result<Self> {
        let key: BlobKey = format!("slots/{number}").parse()?;
        let place = format!("region {region} slot {number}").into();
        Ok(Self { store: Prefixed::new(store.clone(), key.clone()), region: store, key, place })
    }

    /// What errors call it.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    fn failed(&self, error: StoreError) -> Error {
        error.at(&self.place)
    }

    /// The stored bytes of records, in the order asked for; neighbours are fetched together. Unverified.
    pub(crate) async fn read_records(&self, records: &[RecordRef]) -> Result<Vec<Bytes>> {
        let mut order: Vec<usize> = (0..records.len()).collect();
        let place = |at: &usize| records.get(*at).map(|record| (record.pack, record.offset));
        order.sort_unstable_by_key(place);
        let mut found = vec![Bytes::new(); records.len()];
        let mut rest = order.as_slice();
        while let Some(first) = rest.first().and_then(|at| records.get(*at)) {
            let start = u64::from(first.offset);
            let (mut end, mut count) = (start, 0);
            for record in rest.iter().map_while(|at| records.get(*at)) {
                let record_end = u64::from(record.offset) + u64::from(record.length);
                let near = || u64::from(record.offset) <= end + MAX_GAP && record_end - start <= MAX_READ;
                if count > 0 && (record.pack != first.pack || !near()) {
                    break;
                }
                end = end.max(record_end);
                count += 1;
            }
            let span =
                self.store.get(&first.pack.key()?, Some(start..end)).await.map_err(|error| self.failed(error))?;
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            for at in now {
                if let (Some(record), Some(place)) = (records.get(*at), found.get_mut(*at)) {
                    let from = (u64::from(record.offset) - start) as usize;
                    *place = span.slice(from..from + record.length as usize);
                }
            }
            rest = later;
        }
        Ok(found)
    }

    /// The manifest of that hash, verified.
    pub(crate) async fn read_manifest(&self, digest: &Digest) -> Result<Manifest> {
        let bytes = self.store.get(&manifest_key(digest)?, None).await.map_err(|error| self.failed(error))?;
        Manifest::decode(&bytes, digest)
    }

    /// Stores a manifest; one that is there is the same one.
    pub(crate) async fn put_manifest(&self, digest: &Digest, bytes: Bytes) -> Result<()> {
        match self.store.put(&manifest_key(digest)?, bytes, PutMode::Create).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether the manifest of that hash is there.
    pub(crate) async fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        self.holds(&manifest_key(digest)?).await
    }

    async fn holds(&self, key: &BlobKey) -> Result<bool> {
        Ok(self.store.find_meta(key).await.map_err(|error| self.failed(error))?.is_some())
    }

    /// Stores a new pack. With `look_first`, an earlier attempt may have stored it, and it is not sent again if so.
    pub(crate) async fn put_new_pack(&self, pack: &FinishedPack, look_first: bool) -> Result<Stored> {
        let key = pack.info.id.key()?;
        if look_first && self.holds(&key).await? {
            return self.compare_pack(pack).await;
        }
        match self.store.put(&key, pack.bytes.clone(), PutMode::Create).await {
            Ok(()) => Ok(Stored::Now),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => self.compare_pack(pack).await,
            // The answer was lost: the pack is there whole, or it is not there.
            Err(error) if error.kind() == StoreErrorKind::Unknown && self.holds(&key).await? => {
                self.compare_pack(pack).await
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Compares the stored pack's length and table with ours; packs are written whole, so that is enough.
    async fn compare_pack(&self, pack: &FinishedPack) -> Result<Stored> {
        let (key, tail) = (pack.info.id.key()?, pack.tail());
        let stored = self.store.head(&key).await.map_err(|error| self.failed(error))?;
        if stored.size != pack.info.length {
            return Ok(Stored::Differs);
        }
        let range = pack.info.length - tail.len() as u64..pack.info.length;
        let stored_tail = self.store.get(&key, Some(range)).await.map_err(|error| self.failed(error))?;
        Ok(if stored_tail == tail { Stored::Already } else { Stored::Differs })
    }

    /// A whole pack as it is stored; the caller verifies it.
    pub(crate) async fn read_pack(&self, info: &PackInfo) -> Result<Bytes> {
        self.store.get(&info.id.key()?, None).await.map_err(|error| self.failed(error))
    }

    /// Stores a verified pack of another slot; true if this call put it there.
    pub(crate) async fn put_pack(&self, info: &PackInfo, bytes: Bytes) -> Result<bool> {
        match self.store.put(&info.id.key()?, bytes, PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A whole pack, its every record verified.
    pub(crate) async fn verified_pack(&self, info: &PackInfo, workers: &Workers) -> Result<Bytes> {
        let bytes = self.read_pack(info).await?;
        let (pack, copy) = (*info, bytes.clone());
        workers.run(move || pack.verify(&copy)).await.map_err(|error| {
            let name = format!("{}, pack {}/{}", self.place, pack.id.upload, pack.id.number);
            Error::corrupt(name, "the pack is damaged").with_source(error)
        })?;
        Ok(bytes)
    }

    /// Puts a verified pack in place of a damaged one.
    pub(crate) async fn replace_pack(&self, info: &PackInfo, bytes: Bytes) -> Result<()> {
        self.store.put(&info.id.key()?, bytes, PutMode::Overwrite).await.map_err(|error| self.failed(error))
    }

    /// Puts a verified manifest in place of a damaged one.
    pub(crate) async fn replace_manifest(&self, digest: &Digest, bytes: Bytes) -> Result<()> {
        self.store.put(&manifest_key(digest)?, bytes, PutMode::Overwrite).await.map_err(|error| self.failed(error))
    }

    /// Copies a pack from another slot of the same region; true if this call put it here.
    pub(crate) async fn copy_pack(&self, from: &Slot, info: &PackInfo) -> Result<bool> {
        let name = info.id.key()?;
        let (source, target) = (from.key.join(name.as_str())?, self.key.join(name.as_str())?);
        match self.region.copy(&source, &target, PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The packs of the given uploads that are here, with their lengths.
    pub(crate) async fn packs_of(&self, uploads: impl IntoIterator<Item = UploadId>) -> Result<BTreeMap<PackId, u64>> {
        let mut found = BTreeMap::new();
        for upload in uploads {
            let under: BlobKey = format!("packs/{upload}").parse()?;
            for blob in self.store.list_all(Some(&under)).await.map_err(|error| self.failed(error))? {
                if let Some(number) = blob.key.segments().next_back().and_then(|name| name.parse().ok()) {
                    found.insert(PackId { upload, number }, blob.size);
                }
            }
        }
        Ok(found)
    }

    /// All packs that are here, with their lengths.
    pub(crate) async fn all_packs(&self) -> Result<BTreeMap<PackId, u64>> {
        let mut found = BTreeMap::new();
        for blob in self.store.list_all(Some(&"packs".parse()?)).await.map_err(|error| self.failed(error))? {
            let mut segments = blob.key.segments().rev();
            let number = segments.next().and_then(|name| name.parse().ok());
            let upload = segments.next().and_then(|name| name.parse().ok());
            if let Some((upload, number)) = upload.zip(number) {
                found.insert(PackId { upload, number }, blob.size);
            }
        }
        Ok(found)
    }

    /// All manifests that are here, with their lengths.
    pub(crate) async fn all_manifests(&self) -> Result<BTreeMap<Digest, u64>> {
        let blobs = self.store.list_all(Some(&"manifests".parse()?)).await.map_err(|error| self.failed(error))?;
        let named =
            blobs.into_iter().filter_map(|blob| Some((blob.key.segments().next_back()?.parse().ok()?, blob.size)));
        Ok(named.collect())
    }

    /// Removes a pack; it may be gone.
    pub(crate) async fn delete_pack(&self, id: &PackId) -> Result<()> {
        self.store.delete(&id.key()?).await.map_err(|error| self.failed(error))
    }

    /// Removes a manifest; it may be gone.
    pub(crate) async fn delete_manifest(&self, digest: &Digest) -> Result<()> {
        self.store.delete(&manifest_key(digest)?).await.map_err(|error| self.failed(error))
    }

    /// Removes every pack of an upload that was given up.
    pub(crate) async fn remove_upload(&self, upload: UploadId) -> Result<()> {
        for id in self.packs_of([upload]).await?.into_keys() {
            self.store.delete(&id.key()?).await.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Makes durable what an earlier or another process has put here for the given uploads: before a commit says that
    /// it is here.
    pub(crate) async fn persist(&self, uploads: impl IntoIterator<Item = UploadId>) -> Result<()> {
        for upload in uploads {
            let under = format!("packs/{upload}").parse()?;
            self.store.persist(&under).await.map_err(|error| self.failed(error))?;
        }
        self.store.persist(&"manifests".parse()?).await.map_err(|error| self.failed(error))
    }
}

fn manifest_key(digest: &Digest) -> Result<BlobKey> {
    format!("manifests/{digest}").parse()
}
