//! Where the records of a pack lie in a slot: in the whole pack, or in parts of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::slot::Slot;
use crate::content::extents::Extents;
use crate::content::head::Head;
use crate::content::manifest::Packs;
use crate::content::names::PackId;
use crate::content::pack::PackInfo;
use crate::content::record::{Line, RecordRef, StoredRecord};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::Workers;
use crate::host::in_flight::all_of;
use crate::host::sync::Mutex;
use crate::store::BlobKey;

/// The most packs of a slot whose heads are cached: a few MiB.
const MAX_LOCATED: usize = 256;

/// The blobs of one pack in a slot, with their heads.
type Blobs = Arc<[(BlobKey, Arc<Head>)]>;

/// The packs of a slot whose heads were read, or are being read. Clones share them.
#[derive(Clone, Default)]
pub(super) struct LocatedPacks(Arc<Mutex<HashMap<PackId, Shared<BoxFuture<'static, Result<Blobs>>>>>>);

impl std::fmt::Debug for LocatedPacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocatedPacks").finish_non_exhaustive()
    }
}

impl LocatedPacks {
    pub(super) fn forget(&self, pack: &PackId) {
        self.0.lock().remove(pack);
    }
}

/// A record to read, with its index in the answer.
type Wanted<'a> = (usize, &'a RecordRef);

impl Slot {
    /// Returns the stored `records`, in that order, unverified. `packs` has the packs that they are in. All are fetched at
    /// the same time, neighbours with one read.
    pub(super) async fn read_records(&self, packs: &Packs, records: &[RecordRef]) -> Result<Vec<StoredRecord>> {
        let mut order: Vec<Wanted<'_>> = records.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, record)| (record.pack, record.ordinal));
        let mut reading = Vec::new();
        for of_pack in order.chunk_by(|(_, a), (_, b)| a.pack == b.pack) {
            let Some((_, first)) = of_pack.first() else { continue };
            let unknown = || Error::corrupt("index", format!("the index refers to pack {}, which the manifest lacks", first.pack));
            reading.push(self.read_of_pack(packs.get(&first.pack).ok_or_else(unknown)?, of_pack));
        }
        let mut found = all_of(reading).await?.concat();
        found.sort_unstable_by_key(|(number, _)| *number);
        Ok(found.into_iter().map(|(_, record)| record).collect())
    }

    async fn read_of_pack(&self, pack: &PackInfo, wanted: &[Wanted<'_>]) -> Result<Vec<(usize, StoredRecord)>> {
        // What is cached may have been replaced since, by other parts or the whole pack.
        if let Some(known) = self.known(pack) {
            match self.read_from(known.await, pack, wanted).await {
                Err(error) if error.kind() == ErrorKind::NotFound => self.located.forget(&pack.id),
                done => return done,
            }
        }
        let read = self.read_from(self.locate(pack).await, pack, wanted).await;
        if read.is_err() {
            self.located.forget(&pack.id);
        }
        read
    }

    fn known(&self, pack: &PackInfo) -> Option<Shared<BoxFuture<'static, Result<Blobs>>>> {
        self.located.0.lock().get(&pack.id).cloned()
    }

    /// Finds the blobs of a pack. Callers at the same time share the requests.
    fn locate(&self, pack: &PackInfo) -> Shared<BoxFuture<'static, Result<Blobs>>> {
        let mut located = self.located.0.lock();
        if let Some(known) = located.get(&pack.id) {
            return known.clone();
        }
        if located.len() >= MAX_LOCATED {
            // Eviction order does not matter much: a miss costs one read.
            located.clear();
        }
        let (slot, info) = (self.without_located(), *pack);
        let locating = async move { slot.blobs_of(&info).await }.boxed().shared();
        located.insert(pack.id, locating.clone());
        locating
    }

    async fn blobs_of(&self, pack: &PackInfo) -> Result<Blobs> {
        match self.read_head(pack).await {
            Ok(head) => Ok([(self.key_of_pack(&pack.id)?, Arc::new(head))].into()),
            // The pack may be here in parts.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parts = self.listed_parts(&pack.id).await?.parts;
                if parts.is_empty() {
                    return Err(error);
                }
                parts.iter().map(|part| Ok((part.name().key()?, part.head().clone()))).collect()
            }
            Err(error) => Err(error),
        }
    }

    /// Reads records from the blobs of their pack.
    async fn read_from(
        &self,
        blobs: Result<Blobs>,
        pack: &PackInfo,
        wanted: &[Wanted<'_>],
    ) -> Result<Vec<(usize, StoredRecord)>> {
        let blobs = blobs?;
        let mut of_blobs: BTreeMap<usize, Vec<(usize, Line)>> = BTreeMap::new();
        for (number, record) in wanted {
            let lines = || blobs.iter().enumerate().filter_map(|(at, (_, head))| Some((at, *head.line(record.ordinal)?)));
            let found = lines().find(|(_, line)| line.content == record.digest);
            let (at, line) = found.ok_or_else(|| self.lacks(pack, record, lines().next().is_some()))?;
            of_blobs.entry(at).or_default().push((*number, line));
        }
        let reading = of_blobs.iter().filter_map(|(at, lines)| {
            let (key, _) = blobs.get(*at)?;
            Some(async move {
                let ranges: Vec<_> = lines.iter().map(|(_, line)| line.range()).collect();
                let read = self.get_ranges(key, &ranges).await.map_err(|error| self.failed(error))?;
                let records = lines.iter().zip(read).map(|((number, line), bytes)| (*number, StoredRecord { line: *line, bytes }));
                Ok::<_, Error>(records.collect::<Vec<_>>())
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
        match self.read_good(self.locate(pack).await, extents, workers).await {
            // It was replaced since.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.located.forget(&pack.id);
                self.read_good(self.locate(pack).await, extents, workers).await
            }
            read => read,
        }
        .inspect_err(|_| self.located.forget(&pack.id))
    }

    async fn read_good(
        &self,
        blobs: Result<Blobs>,
        extents: &Extents,
        workers: &Workers,
    ) -> Result<Vec<(Line, Bytes)>> {
        let (blobs, mut left, mut found) = (blobs?, extents.clone(), Vec::new());
        for (key, head) in blobs.iter() {
            let lines: Vec<Line> = head.lines().iter().filter(|line| left.covers(&line.ordinals())).copied().collect();
            if lines.is_empty() {
                continue;
            }
            let ranges: Vec<_> = lines.iter().map(Line::range).collect();
            let read = self.get_ranges(key, &ranges).await.map_err(|error| self.failed(error))?;
            let records = lines.into_iter().zip(read);
            let good = move || records.filter(|(line, bytes)| line.seals(&line.content, bytes)).collect::<Vec<_>>();
            let good = workers.run(good).await;
            left = left.minus(&good.iter().map(|(line, _)| line.ordinals()).collect());
            found.extend(good);
        }
        Ok(found)
    }
}
