//! Import: turns a disk into chunks, packs and an index.
//!
//! The workers read, find zeros, hash, look up stored chunks and compress new ones, a MiB at a time. One task puts the
//! results, in disk order, into packs and the index, and keeps four finished packs on their way to the store. A worker
//! may compress a chunk that another has just encoded, but the task stores it once: so the packs depend only on the
//! disk, the base and the compression, and an attempt after a crash finds the packs of the one before.
//!
//! Memory: five packs of 16 MiB, the known chunks (32 MiB at most), two spans of the base's index (12 MiB at most) and
//! three MiB for each group under way, two more than there are workers, whatever the disk's size.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::sync::{Arc, MutexGuard};
use std::task::Poll;

use futures::stream::{self, FuturesUnordered, Stream, StreamExt, TryStreamExt};

use super::buffers::BufferPool;
use super::image_digest::ImageDigest;
use super::known_chunks::KnownChunks;
use super::scan::{Group, Scan};
use crate::content::chunk::{CHUNK_BYTES, occupied_blocks};
use crate::content::cipher::DataKey;
use crate::content::codec::encode;
use crate::content::compression::{Compression, Compressor};
use crate::content::digest::Digest;
use crate::content::extents::{Extents, Gathering};
use crate::content::head::Described;
use crate::content::index::{IndexBuilder, Node};
use crate::content::manifest::{Manifest, ManifestDisk};
use crate::content::names::{CatalogId, PackId, UploadId};
use crate::content::naming::Naming;
use crate::content::pack::{FilledPack, FinishedPack, PackBuilder, PackInfo};
use crate::content::record::{Encoding, RecordRef};
use crate::disk::note::DiskNote;
use crate::disk::read_at::SharedDisk;
use crate::disk::source::{OpenSource, reading_failed};
use crate::error::{Error, Result};
use crate::host::in_flight::{Budget, REQUESTS, Taken};
use crate::host::sync::Mutex;
use crate::host::{Clock, Workers};
use crate::progress::{OnProgress, Progress};
use crate::replica::copies::ZoneCopies;
use crate::replica::index_walk::{IndexWalk, Span};
use crate::replica::records::Records;
use crate::replica::slot::PutOutcome;

/// The least packs on their way to the store while the next one fills: with fewer, a store that makes each durable idles between
/// them. With more memory there are more, for a store that is far away.
const PACKS_IN_FLIGHT: usize = 4;

/// The bytes that an import holds in any case, with one pack on its way: two packs, and the groups under way.
const LEAST_BYTES: u64 = 48 << 20;

/// The bytes of a pack.
const PACK_BYTES: u64 = 16 << 20;

/// Groups found at a time: one hand-over between threads for each 64 MiB.
const GROUPS_AHEAD: usize = 64;

/// Groups under way besides one for each worker: groups are packed in order, so a slow one would otherwise stall the
/// others.
const GROUPS_WAITING: usize = 2;

/// A disk to import.
#[derive(Clone)]
pub(crate) struct OpenDisk {
    pub(crate) lun: Option<u32>,
    pub(crate) source: OpenSource,
}

impl OpenDisk {
    pub(crate) fn size(&self) -> u64 {
        self.source.disk.size()
    }
}

/// A note on a disk, with the disk's name in errors.
pub(crate) type Noted = (String, DiskNote);

/// One import of a version's disks into a slot.
pub(crate) struct Import<'a> {
    pub(crate) copies: &'a ZoneCopies,
    pub(crate) workers: &'a Workers,
    pub(crate) compression: Compression,
    pub(crate) catalog: CatalogId,
    pub(crate) upload: UploadId,
    /// True if an earlier attempt at this upload may have stored packs.
    pub(crate) resumed: bool,
    /// A version whose chunks are in the slot and are not stored again.
    pub(crate) base: Option<&'a Manifest>,
    pub(crate) on_progress: &'a OnProgress,
    /// The bytes that all operations share.
    pub(crate) memory: &'a Budget,
    pub(crate) clock: &'a dyn Clock,
}

/// The outcome of an import.
pub(crate) enum Imported {
    /// The packs are in the slot.
    Done(Box<Manifest>, ImportStats, Vec<Noted>),
    /// The disk differs from that of an earlier attempt at this upload.
    Differs,
}

/// The bytes and chunks that an import read and stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ImportStats {
    pub(crate) read_bytes: u64,
    pub(crate) new_chunks: u64,
    pub(crate) new_chunk_bytes: u64,
    pub(crate) new_index_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Import<'_> {
    /// Imports `disks`. `learned` is what is known of the base, if it was read before.
    pub(crate) async fn run(&self, disks: Vec<OpenDisk>, learned: Option<Learned>) -> Result<Imported> {
        let total = disks.iter().map(OpenDisk::size).sum();
        let held = self.memory.take_patiently(LEAST_BYTES.min(3 * total), self.clock).await;
        // An earlier attempt of this process may have read the disks already, so only the increase counts.
        let hidden: Vec<u64> = disks.iter().map(|disk| disk.source.disk.hidden_bytes()).collect();
        let sources: Vec<OpenSource> = disks.iter().map(|disk| disk.source.clone()).collect();
        let Learned { known, mut first } = match (learned, self.base) {
            (Some(learned), _) => learned,
            (None, Some(base)) => Learned::of(self.copies, base).await?,
            (None, None) => Learned::default(),
        };
        let keys = self.copies.keys();
        // Another process may have rotated them.
        keys.refresh().await?;
        let key = keys.current().await?;
        let mut writer = PackWriter::new(self.catalog, self.upload, known, (keys.naming(), key.is_some()));
        let mut sending = FuturesUnordered::new();
        let most =
            usize::try_from(self.memory.share() / PACK_BYTES).unwrap_or(REQUESTS).clamp(PACKS_IN_FLIGHT, REQUESTS);
        let (mut differs, mut before) = (false, 0);
        let mut done_disks = Vec::with_capacity(disks.len());
        for OpenDisk { lun, source } in disks {
            let OpenSource { disk, target, .. } = source;
            let size = disk.size();
            let mut digest = ImageDigest::new(size);
            let mut index = IndexBuilder::new(size);
            let buffer_pool = BufferPool::default();
            let mut groups =
                Box::pin(self.encoded_groups(disk, target, self.base_of(lun, &mut first), &buffer_pool, &writer.known));
            loop {
                // Packs under way progress while the next group is awaited.
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
                    let record = match &chunk.content {
                        Content::Stored(record) => writer.reuse(*record),
                        Content::New(encoding, range, hash) => {
                            let record = group.buffers.record(*encoding, range);
                            writer.store_chunk(chunk.digest, *encoding, record, *hash)
                        }
                    };
                    digest.add(chunk.position, &chunk.digest);
                    index.push(chunk.position, record, &mut |node| writer.store_node(node))?;
                }
                buffer_pool.give(group.buffers);
                while let Some(pack) = writer.finished.pop_front() {
                    held.goes_on();
                    let more = loop {
                        // The first is of what is held in any case.
                        let more = self.memory.take_up_to(if sending.is_empty() { 0 } else { PACK_BYTES });
                        if sending.len() < most && (sending.is_empty() || more.units() == PACK_BYTES) {
                            break more;
                        }
                        drop(more);
                        if let Some(stored) = sending.next().await {
                            differs |= writer.note_stored(stored?);
                        }
                    };
                    sending.push(self.send(pack, &key, more));
                }
                (self.on_progress)(Progress { done: before + group.end.min(size), total });
            }
            let root = index.finish(&mut |node| writer.store_node(node))?;
            done_disks.push(ManifestDisk { lun, size, digest: digest.finish(), root: root.map(Arc::new) });
            before += size;
            (self.on_progress)(Progress { done: before, total });
        }
        writer.close();
        // There are two at most: the last of the chunks, and the last of the nodes, which are few.
        sending.extend(writer.finished.drain(..).map(|pack| self.send(pack, &key, self.memory.take_up_to(0))));
        while let Some(stored) = sending.next().await {
            differs |= writer.note_stored(stored?);
        }
        if differs {
            return Ok(Imported::Differs);
        }
        let lines = writer.packs_used(self.base)?;
        let pages = self.base.iter().flat_map(|base| base.known_pages()).collect();
        let manifest = Manifest::new(self.catalog, self.upload, done_disks, lines, &pages);
        // ORDER: read the last byte, then compare the stamps. The other way round, stamps equal -> disk is written to
        // -> its last chunks are read: a torn image is published.
        let notes = move || notes_of(&sources, &hidden);
        Ok(Imported::Done(Box::new(manifest), writer.stats, self.workers.run(notes).await?))
    }

    /// Sends a pack, which holds `_more` bytes of the shared ones.
    async fn send(
        &self,
        pack: FilledPack,
        key: &Option<Arc<DataKey>>,
        _more: Taken,
    ) -> Result<(FinishedPack, PutOutcome)> {
        let pack = match key.clone() {
            None => pack.finish(None)?,
            Some(key) => self.workers.run(move || pack.finish(Some(&key))).await?,
        };
        let (sent, resumed) = (&pack, self.resumed);
        let stored = self.copies.in_each(|slot| async move { slot.put_new_pack(sent, resumed).await }).await?;
        // One copy that differs is enough to start again.
        Ok((pack, stored.into_iter().max().unwrap_or(PutOutcome::Sent)))
    }

    fn base_of(&self, lun: Option<u32>, first: &mut Option<(Option<u32>, BaseDisk)>) -> Option<BaseDisk> {
        if let Some((_, disk)) = first.take_if(|(of, _)| *of == lun) {
            return Some(disk);
        }
        let disk = self.base?.disks.iter().find(|disk| disk.lun == lun)?;
        let records = Records::new(self.copies.readers(), self.base?);
        Some(BaseDisk { walk: IndexWalk::new(records, disk), span: Vec::new() })
    }

    /// Returns the disk's chunks that are not all zero, in order: references to stored ones, and records of those that
    /// may be new.
    fn encoded_groups(
        &self,
        disk: SharedDisk,
        target: String,
        base: Option<BaseDisk>,
        buffer_pool: &BufferPool<EncodeBuffers>,
        known: &SharedKnown,
    ) -> impl Stream<Item = Result<EncodedGroup>> + use<> {
        let (workers, reader) = (self.workers.clone(), disk.clone());
        let failed = move |error| reading_failed(&target, error);
        let (scanning, scan_failed) = (workers.clone(), failed.clone());
        let groups = stream::try_unfold((Scan::new(disk), base), move |(mut scan, mut base)| {
            let (scanning, failed) = (scanning.clone(), scan_failed.clone());
            async move {
                let find = move || {
                    let mut groups = Vec::with_capacity(GROUPS_AHEAD);
                    while let Some(group) = scan.next_group()? {
                        groups.push(group);
                        if groups.len() == GROUPS_AHEAD {
                            break;
                        }
                    }
                    Ok::<_, std::io::Error>((groups, scan))
                };
                let (found, scan) = scanning.run(find).await.map_err(failed)?;
                let mut groups = Vec::with_capacity(found.len());
                for group in found {
                    let mut before = Vec::new();
                    if let Some(base) = &mut base {
                        for position in group.positions() {
                            before.extend(base.at(*position).await?);
                        }
                    }
                    groups.push(Ok((group, before)));
                }
                Ok::<_, Error>((!groups.is_empty()).then_some((groups, (scan, base))))
            }
        });
        let under_way = workers.parallelism() + GROUPS_WAITING;
        let (buffer_pool, known, compression) = (buffer_pool.clone(), known.clone(), self.compression);
        let naming = self.copies.keys().naming();
        let encoded = groups.map_ok(stream::iter).try_flatten().map_ok(move |(group, before)| {
            let (reader, workers, known, failed) = (reader.clone(), workers.clone(), known.clone(), failed.clone());
            let buffers = buffer_pool.take();
            let encode = move || {
                let buffers = buffers.unwrap_or_else(|| EncodeBuffers::new(compression));
                EncodedGroup::read(&reader, &group, &before, (&known, naming), buffers)
            };
            async move { workers.run(encode).await.map_err(failed) }
        });
        encoded.try_buffered(under_way)
    }
}

/// Returns the notes on disks that were read. Fails if one of them has changed.
fn notes_of(sources: &[OpenSource], hidden_before: &[u64]) -> Result<Vec<Noted>> {
    let mut all = Vec::new();
    for (source, hidden_before) in sources.iter().zip(hidden_before) {
        let notes = source.notes_at_the_end(*hidden_before)?;
        all.extend(notes.into_iter().map(|note| (source.target.clone(), note)));
    }
    Ok(all)
}

/// A group's chunks, read, hashed and encoded; zero chunks are left out.
struct EncodedGroup {
    buffers: EncodeBuffers,
    chunks: Vec<EncodedChunk>,
    read_bytes: u64,
    end: u64,
}

struct EncodedChunk {
    position: u64,
    digest: Digest,
    content: Content,
}

enum Content {
    /// Stored already.
    Stored(RecordRef),
    /// Not stored when this was encoded: its record is at this range of the buffers, and its stored bytes have this
    /// hash.
    New(Encoding, Range<usize>, Digest),
}

impl EncodedGroup {
    /// `before` has the base's records at these positions.
    fn read(
        disk: &SharedDisk,
        group: &Group,
        before: &[(u64, RecordRef)],
        (known, naming): (&SharedKnown, Naming),
        mut buffers: EncodeBuffers,
    ) -> std::io::Result<Self> {
        let (mut chunks, mut before) = (Vec::new(), before.iter().peekable());
        buffers.records.clear();
        for (number, (position, chunk)) in group.read(&**disk, &mut buffers.disk)?.enumerate() {
            let old = before.next_if(|(at, _)| *at == position).map(|(_, record)| *record);
            let occupied = occupied_blocks(chunk);
            if occupied == 0 {
                continue;
            }
            let digest = naming.name(chunk);
            // The same position goes first: it alone recognizes the chunks of a base that has outgrown the set.
            let stored = old.filter(|old| old.digest == digest).or_else(|| known.lock().find(&digest));
            let content = stored.map_or_else(
                || {
                    let start = buffers.records.len();
                    match encode(chunk, occupied, &mut buffers.compressor, &mut buffers.records) {
                        Encoding::Plain => Content::New(Encoding::Plain, chunk_range(number), digest),
                        encoding => {
                            let hash = Digest::of(buffers.records.get(start..).unwrap_or_default());
                            Content::New(encoding, start..buffers.records.len(), hash)
                        }
                    }
                },
                Content::Stored,
            );
            chunks.push(EncodedChunk { position, digest, content });
        }
        Ok(Self { buffers, chunks, read_bytes: group.data_bytes(), end: group.end() })
    }
}

fn chunk_range(number: usize) -> Range<usize> {
    number * CHUNK_BYTES..(number + 1) * CHUNK_BYTES
}

/// The buffers that a worker needs to encode a group.
struct EncodeBuffers {
    /// The group's bytes of the disk, which include the records of plain chunks.
    disk: Vec<u8>,
    /// All other records.
    records: Vec<u8>,
    compressor: Compressor,
}

impl EncodeBuffers {
    fn new(compression: Compression) -> Self {
        Self { disk: Vec::new(), records: Vec::new(), compressor: Compressor::new(compression) }
    }

    fn record(&self, encoding: Encoding, range: &Range<usize>) -> &[u8] {
        let bytes = if encoding == Encoding::Plain { &self.disk } else { &self.records };
        bytes.get(range.clone()).unwrap_or_default()
    }
}

/// The set of stored chunks, shared with the workers.
#[derive(Clone, Default)]
struct SharedKnown(Arc<Mutex<KnownChunks>>);

impl SharedKnown {
    fn lock(&self) -> MutexGuard<'_, KnownChunks> {
        self.0.lock()
    }
}

/// What is known of the version that an import compares with.
#[derive(Default)]
pub(crate) struct Learned {
    /// Its chunks and index nodes, until the set is full.
    known: SharedKnown,
    /// Its first disk, with the first span of the index, so that it is read once.
    first: Option<(Option<u32>, BaseDisk)>,
}

impl Learned {
    /// Reads the indexes of `base`.
    pub(crate) async fn of(copies: &ZoneCopies, base: &Manifest) -> Result<Self> {
        let mut learned = Self::default();
        let records = Records::new(copies.readers(), base);
        for disk in &base.disks {
            let mut walk = IndexWalk::new(records.clone(), disk);
            while let Some(span) = walk.next_span().await? {
                let is_full = {
                    let mut known = learned.known.lock();
                    let chunks = span.iter().map(|(_, chunk)| chunk);
                    walk.entered().iter().chain(chunks).for_each(|record| known.insert(record));
                    known.is_full()
                };
                if learned.first.is_none() {
                    learned.first = Some((disk.lun, BaseDisk { walk: walk.clone(), span }));
                }
                if is_full {
                    return Ok(learned);
                }
            }
        }
        Ok(learned)
    }
}

/// The same disk of the base version, asked for positions in ascending order.
struct BaseDisk {
    walk: IndexWalk,
    span: Span,
}

impl BaseDisk {
    /// Returns the base's record at `position`, if it has one.
    async fn at(&mut self, position: u64) -> Result<Option<(u64, RecordRef)>> {
        while self.span.last().is_none_or(|(last, _)| *last < position) {
            self.walk.skip_to(position);
            match self.walk.next_span().await? {
                Some(span) => self.span = span,
                None => return Ok(None),
            }
        }
        let found = self.span.binary_search_by_key(&position, |(position, _)| *position);
        Ok(found.ok().and_then(|at| self.span.get(at)).copied())
    }
}

/// Puts new records into packs, and tracks all packs in use.
struct PackWriter {
    catalog: CatalogId,
    upload: UploadId,
    next_pack: u32,
    chunks: Option<PackBuilder>,
    nodes: Option<PackBuilder>,
    finished: VecDeque<FilledPack>,
    /// Buffers of packs that were sent.
    spare: Vec<Vec<u8>>,
    stored: BTreeMap<PackId, PackInfo>,
    used: BTreeMap<PackId, Gathering>,
    known: SharedKnown,
    naming: Naming,
    encrypts: bool,
    stats: ImportStats,
}

impl PackWriter {
    fn new(catalog: CatalogId, upload: UploadId, known: SharedKnown, (naming, encrypts): (Naming, bool)) -> Self {
        Self {
            catalog,
            upload,
            next_pack: 0,
            chunks: None,
            nodes: None,
            finished: VecDeque::new(),
            spare: Vec::new(),
            stored: BTreeMap::new(),
            used: BTreeMap::new(),
            known,
            naming,
            encrypts,
            stats: ImportStats::default(),
        }
    }

    fn reuse(&mut self, record: RecordRef) -> RecordRef {
        self.used.entry(record.pack).or_default().add(record.ordinals());
        record
    }

    fn store_chunk(&mut self, digest: Digest, encoding: Encoding, record: &[u8], hash: Digest) -> RecordRef {
        let (record, new_bytes) = self.store(digest, encoding, (record, hash), |writer| &mut writer.chunks);
        self.stats.new_chunks += u64::from(new_bytes > 0);
        self.stats.new_chunk_bytes += new_bytes;
        record
    }

    fn store_node(&mut self, node: &Node) -> RecordRef {
        let bytes = node.encode();
        let digest = self.naming.name(&bytes);
        let (record, new_bytes) = self.store(digest, Encoding::Plain, (&bytes, digest), |writer| &mut writer.nodes);
        self.stats.new_index_bytes += new_bytes;
        record
    }

    /// Stores a record in a pack of a kind, unless its content is stored already, perhaps only since a worker's lookup.
    /// Returns the reference and the number of new bytes.
    fn store(
        &mut self,
        digest: Digest,
        encoding: Encoding,
        (record, hash): (&[u8], Digest),
        kind: impl Fn(&mut Self) -> &mut Option<PackBuilder>,
    ) -> (RecordRef, u64) {
        let known = self.known.lock().find(&digest);
        if let Some(known) = known {
            return (self.reuse(known), 0);
        }
        let bytes = record.len() as u64;
        let record = self.builder(kind, record.len()).append(digest, encoding, record, &hash);
        self.known.lock().insert(&record);
        (self.reuse(record), bytes)
    }

    /// Returns the open pack of a kind, with room for `length` more bytes. Chunks and nodes have separate packs, so
    /// that an index is read without chunks in between.
    fn builder(&mut self, kind: impl Fn(&mut Self) -> &mut Option<PackBuilder>, length: usize) -> &mut PackBuilder {
        if let Some(full) = kind(self).take_if(|pack| !pack.has_room(length)) {
            self.finished.push_back(full.fill());
        }
        let id = PackId { upload: self.upload, number: self.next_pack };
        let spare = if kind(self).is_none() {
            self.next_pack += 1;
            self.spare.pop()
        } else {
            None
        };
        let (of, encrypts) = (Described { catalog: self.catalog, pack: id }, self.encrypts);
        let new = || {
            let new = PackBuilder::new(of, spare);
            if encrypts { new.with_room_for_tags() } else { new }
        };
        kind(self).get_or_insert_with(new)
    }

    fn close(&mut self) {
        let open = self.chunks.take().into_iter().chain(self.nodes.take());
        self.finished.extend(open.map(PackBuilder::fill));
    }

    /// Notes the outcome of a pack; true if another pack of its name was there.
    fn note_stored(&mut self, (FinishedPack { info, records, .. }, stored): (FinishedPack, PutOutcome)) -> bool {
        if stored == PutOutcome::Sent {
            self.stats.sent_bytes += info.length;
        }
        self.stored.insert(info.id, info);
        // A store in memory keeps the bytes; others have released them.
        if records.is_unique() {
            self.spare.push(records.into());
        }
        stored == PutOutcome::Differs
    }

    /// Returns every pack that the new version needs, with the records that it needs of it.
    fn packs_used(&mut self, base: Option<&Manifest>) -> Result<Vec<(PackInfo, Extents)>> {
        let used = std::mem::take(&mut self.used).into_iter();
        let info = |id: &PackId| self.stored.get(id).or_else(|| base?.packs.get(id)).copied();
        let missing = || Error::corrupt("index", "the base version's index refers to a pack that its manifest lacks");
        used.map(|(id, needed)| Ok((info(&id).ok_or_else(missing)?, needed.finish()))).collect()
    }
}
