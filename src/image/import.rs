//! From a disk to chunks, packs and an index.
//!
//! Reading, searching for zeros and hashing run on the workers, a MiB at a time; one task puts the results, in disk
//! order, into packs and the index and keeps four finished packs on their way to the store. So the packs of a disk
//! depend on nothing but the disk and the base, and an attempt after a crash finds those of the one before.
//!
//! Memory: five packs of 16 MiB, the known chunks (32 MiB at most), one span of the base's index (12 MiB at most) and
//! two MiB for each worker, whatever the disk's size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use futures::stream::{self, FuturesUnordered, Stream, StreamExt, TryStreamExt};

use super::chunk::{CHUNK_BYTES, occupied_blocks};
use super::copies::Copies;
use super::digest::{Digest, ImageDigest};
use super::disk::SharedDisk;
use super::index::{IndexBuilder, Node};
use super::index_walk::{IndexWalk, Span};
use super::known::KnownChunks;
use super::manifest::{Manifest, ManifestDisk};
use super::pack::{FinishedPack, PackBuilder, PackId, PackInfo, RecordRef, UploadId};
use super::scan::{Group, Scan};
use super::slot::Stored;
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::progress::{OnProgress, Progress};

/// Packs on their way to the store while the next one fills: with fewer, a store that makes each durable idles between
/// them.
const PACKS_IN_FLIGHT: usize = 4;

/// Groups found ahead at a time, so that finding them costs one hand-over between threads for 64 MiB.
const GROUPS_AHEAD: usize = 64;

/// A disk to import.
pub(crate) struct OpenDisk {
    pub(crate) lun: Option<u32>,
    pub(crate) disk: SharedDisk,
    /// What errors call it.
    pub(crate) target: String,
}

impl OpenDisk {
    /// The same disk, for another attempt.
    pub(crate) fn again(&self) -> Self {
        Self { lun: self.lun, disk: self.disk.clone(), target: self.target.clone() }
    }
}

/// One import of a version's disks into a slot.
pub(crate) struct Import<'a> {
    pub(crate) copies: &'a Copies,
    pub(crate) workers: &'a Workers,
    pub(crate) upload: UploadId,
    /// Whether an earlier attempt at this upload may have stored packs.
    pub(crate) resumed: bool,
    /// A version whose chunks are in the slot and need not be stored again.
    pub(crate) base: Option<&'a Manifest>,
    pub(crate) on_progress: &'a OnProgress,
}

/// What an import came to.
pub(crate) enum Imported {
    /// The packs are in the slot.
    Done(Manifest, ImportStats),
    /// The disk is not the one that an earlier attempt at this upload began with.
    Differs,
}

/// What an import read and stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ImportStats {
    pub(crate) read_bytes: u64,
    pub(crate) new_chunks: u64,
    pub(crate) new_chunk_bytes: u64,
    pub(crate) new_index_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Import<'_> {
    pub(crate) async fn run(&self, disks: Vec<OpenDisk>) -> Result<Imported> {
        let total = disks.iter().map(|disk| disk.disk.size()).sum();
        let mut writer = Writer::new(self.upload);
        self.learn_base(&mut writer.known).await?;
        let mut sending = FuturesUnordered::new();
        let (mut differs, mut before) = (false, 0);
        let mut done_disks = Vec::with_capacity(disks.len());
        for OpenDisk { lun, disk, target } in disks {
            let size = disk.size();
            let mut digest = ImageDigest::new(size);
            let mut index = IndexBuilder::new(size);
            let mut base = self.base_of(lun);
            let spare = Spare::default();
            let mut groups = Box::pin(self.hashed_groups(disk, target, spare.clone()));
            loop {
                // The packs under way move on while the next group is waited for.
                let next = poll_fn(|context| {
                    while let Poll::Ready(Some(stored)) = sending.poll_next_unpin(context) {
                        differs |= writer.note_stored(stored?);
                    }
                    groups.poll_next_unpin(context).map(Option::transpose)
                });
                let Some(group) = next.await? else { break };
                if differs {
                    return Ok(Imported::Differs);
                }
                writer.stats.read_bytes += group.read_bytes;
                for chunk in &group.chunks {
                    let old = match &mut base {
                        Some(base) => base.at(chunk.position).await?,
                        None => None,
                    };
                    let record = match old.filter(|old| old.digest == chunk.digest) {
                        Some(same_place) => writer.reuse(same_place),
                        None => writer.store_chunk(chunk, &group.buffer),
                    };
                    digest.add(chunk.position, &chunk.digest);
                    index.push(chunk.position, record, &mut |node| writer.store_node(node))?;
                }
                spare.give(group.buffer);
                while let Some(pack) = writer.finished.pop_front() {
                    while sending.len() >= PACKS_IN_FLIGHT {
                        if let Some(stored) = sending.next().await {
                            differs |= writer.note_stored(stored?);
                        }
                    }
                    sending.push(self.send(pack));
                }
                (self.on_progress)(Progress { done: before + group.end.min(size), total });
            }
            let root = index.finish(&mut |node| writer.store_node(node))?;
            done_disks.push(ManifestDisk { lun, size, digest: digest.finish(), root: root.map(Into::into) });
            before += size;
            (self.on_progress)(Progress { done: before, total });
        }
        writer.close();
        sending.extend(writer.finished.drain(..).map(|pack| self.send(pack)));
        while let Some(stored) = sending.next().await {
            differs |= writer.note_stored(stored?);
        }
        if differs {
            return Ok(Imported::Differs);
        }
        let manifest = Manifest::new(done_disks, writer.packs_used(self.base)?);
        Ok(Imported::Done(manifest, writer.stats))
    }

    async fn send(&self, pack: FinishedPack) -> Result<(FinishedPack, Stored)> {
        let (sent, resumed) = (&pack, self.resumed);
        let stored = self.copies.in_each(|slot| async move { slot.put_new_pack(sent, resumed).await }).await?;
        // One copy that differs is enough to begin anew.
        Ok((pack, stored.into_iter().max().unwrap_or(Stored::Now)))
    }

    /// Fills the set of known chunks from the base's indexes, until it is full.
    async fn learn_base(&self, known: &mut KnownChunks) -> Result<()> {
        for disk in self.base.iter().flat_map(|base| &base.disks) {
            let mut walk = IndexWalk::new(self.copies.readers(), disk);
            while let Some(span) = walk.next_span().await? {
                walk.entered()
                    .iter()
                    .chain(span.iter().map(|(_, chunk)| chunk))
                    .for_each(|record| known.insert(record));
                if known.is_full() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn base_of(&self, lun: Option<u32>) -> Option<BaseDisk> {
        let disk = self.base?.disks.iter().find(|disk| disk.lun == lun)?;
        Some(BaseDisk { walk: IndexWalk::new(self.copies.readers(), disk), span: Vec::new() })
    }

    /// The disk's chunks that are not all zero, hashed, in order.
    fn hashed_groups(&self, disk: SharedDisk, target: String, spare: Spare) -> impl Stream<Item = Result<HashedGroup>> {
        let (workers, reader) = (self.workers.clone(), disk.clone());
        let failed = move |error| Error::from_io(target.as_str(), "reading the disk", error);
        let scanning = workers.clone();
        let groups = stream::try_unfold(Scan::new(disk), move |mut scan| {
            let scanning = scanning.clone();
            async move {
                let find = move || {
                    let mut groups = Vec::with_capacity(GROUPS_AHEAD);
                    while let Some(group) = scan.next_group()? {
                        groups.push(group);
                        if groups.len() == GROUPS_AHEAD {
                            break;
                        }
                    }
                    Ok::<_, std::io::Error>((!groups.is_empty()).then_some((groups, scan)))
                };
                scanning.run(find).await
            }
        });
        let parallelism = workers.parallelism();
        let hashed = groups.map_ok(|groups| stream::iter(groups).map(Ok)).try_flatten().map_ok(move |group: Group| {
            let (reader, spare) = (reader.clone(), spare.clone());
            let workers = workers.clone();
            async move { workers.run(move || HashedGroup::read(&reader, &group, spare.take())).await }
        });
        hashed.try_buffered(parallelism).map_err(failed)
    }
}

/// A group's chunks, read and hashed; zero chunks are left out.
struct HashedGroup {
    buffer: Vec<u8>,
    chunks: Vec<HashedChunk>,
    read_bytes: u64,
    end: u64,
}

struct HashedChunk {
    position: u64,
    digest: Digest,
    occupied: u16,
    /// Where it starts in the group's buffer.
    start: usize,
}

impl HashedGroup {
    fn read(disk: &SharedDisk, group: &Group, mut buffer: Vec<u8>) -> std::io::Result<Self> {
        let mut chunks = Vec::new();
        for (number, (position, chunk)) in group.read(&**disk, &mut buffer)?.enumerate() {
            let occupied = occupied_blocks(chunk);
            if occupied != 0 {
                chunks.push(HashedChunk { position, digest: Digest::of(chunk), occupied, start: number * CHUNK_BYTES });
            }
        }
        Ok(Self { buffer, chunks, read_bytes: group.data_bytes(), end: group.end() })
    }
}

/// Buffers to use again: fresh ones would cost a page fault for each 4 KiB.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, buffer: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// The same disk of the base version, asked for positions in ascending order.
struct BaseDisk {
    walk: IndexWalk,
    span: Span,
}

impl BaseDisk {
    /// What the base has at `position`.
    async fn at(&mut self, position: u64) -> Result<Option<RecordRef>> {
        while self.span.last().is_none_or(|(last, _)| *last < position) {
            self.walk.skip_to(position);
            match self.walk.next_span().await? {
                Some(span) => self.span = span,
                None => return Ok(None),
            }
        }
        let place = self.span.binary_search_by_key(&position, |(position, _)| *position);
        Ok(place.ok().and_then(|place| self.span.get(place)).map(|(_, record)| *record))
    }
}

/// Puts new records into packs, and keeps account of all packs in use.
struct Writer {
    upload: UploadId,
    next_pack: u32,
    chunks: Option<PackBuilder>,
    nodes: Option<PackBuilder>,
    finished: VecDeque<FinishedPack>,
    /// Buffers of packs that were sent.
    spare: Vec<Vec<u8>>,
    stored: BTreeMap<PackId, PackInfo>,
    used: BTreeSet<PackId>,
    known: KnownChunks,
    stats: ImportStats,
}

impl Writer {
    fn new(upload: UploadId) -> Self {
        Self {
            upload,
            next_pack: 0,
            chunks: None,
            nodes: None,
            finished: VecDeque::new(),
            spare: Vec::new(),
            stored: BTreeMap::new(),
            used: BTreeSet::new(),
            known: KnownChunks::default(),
            stats: ImportStats::default(),
        }
    }

    fn reuse(&mut self, record: RecordRef) -> RecordRef {
        self.used.insert(record.pack);
        record
    }

    fn store_chunk(&mut self, chunk: &HashedChunk, buffer: &[u8]) -> RecordRef {
        if let Some(known) = self.known.find(&chunk.digest) {
            return self.reuse(known);
        }
        let bytes = buffer.get(chunk.start..chunk.start + CHUNK_BYTES).unwrap_or_default();
        let record =
            self.builder(|writer| &mut writer.chunks, CHUNK_BYTES).append_chunk(chunk.digest, bytes, chunk.occupied);
        self.stats.new_chunks += 1;
        self.stats.new_chunk_bytes += u64::from(record.length);
        self.known.insert(&record);
        self.reuse(record)
    }

    fn store_node(&mut self, node: &Node) -> RecordRef {
        let bytes = node.encode();
        let digest = Digest::of(&bytes);
        if let Some(known) = self.known.find(&digest) {
            return self.reuse(known);
        }
        let record = self.builder(|writer| &mut writer.nodes, bytes.len()).append_node(digest, &bytes);
        self.stats.new_index_bytes += u64::from(record.length);
        self.known.insert(&record);
        self.reuse(record)
    }

    /// The open pack of a kind, with room for `length` more. Chunks and nodes have packs of their own, so that an
    /// index is read without reading over chunks.
    fn builder(&mut self, kind: impl Fn(&mut Self) -> &mut Option<PackBuilder>, length: usize) -> &mut PackBuilder {
        if let Some(full) = kind(self).take_if(|pack| !pack.has_room(length)) {
            self.finished.push_back(full.finish());
        }
        let id = PackId { upload: self.upload, number: self.next_pack };
        let spare = if kind(self).is_none() {
            self.next_pack += 1;
            self.spare.pop()
        } else {
            None
        };
        kind(self).get_or_insert_with(|| PackBuilder::new(id, spare))
    }

    fn close(&mut self) {
        let open = self.chunks.take().into_iter().chain(self.nodes.take());
        self.finished.extend(open.map(PackBuilder::finish));
    }

    /// Takes note of a pack that has arrived; true if another one of its name was there.
    fn note_stored(&mut self, (FinishedPack { info, bytes }, stored): (FinishedPack, Stored)) -> bool {
        if stored == Stored::Now {
            self.stats.sent_bytes += info.length;
        }
        self.stored.insert(info.id, info);
        // A store in memory keeps the bytes; any other has let go of them.
        if bytes.is_unique() {
            self.spare.push(bytes.into());
        }
        stored == Stored::Differs
    }

    /// What is recorded of every pack that the new version needs.
    fn packs_used(&self, base: Option<&Manifest>) -> Result<Vec<PackInfo>> {
        let of_base: BTreeMap<PackId, PackInfo> =
            base.iter().flat_map(|base| &base.packs).map(|pack| (pack.id, *pack)).collect();
        let info = |id: &PackId| self.stored.get(id).or_else(|| of_base.get(id)).copied();
        let missing = || Error::corrupt("index", "the base version's index refers to a pack that its manifest lacks");
        self.used.iter().map(|id| info(id).ok_or_else(missing)).collect()
    }
}
