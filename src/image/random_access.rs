//! Reads any part of a disk from its replicas, without writing it out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::chunk_cache::ChunkCache;
use super::chunk_fetch::ChunkFetch;
use crate::content::boot_set::MAX_CHUNKS;
use crate::content::chunk::CHUNK_BYTES;
use crate::content::digest::Digest;
use crate::content::index::{FAN_OUT, Node};
use crate::content::manifest::ManifestDisk;
use crate::content::record::{RecordRef, StoredRecord};
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::host::sync::Mutex;
use crate::replica::index_walk::node_of;
use crate::replica::records::{Records, Rejected};

/// The number of index nodes that are cached, a few MiB: at least eight gigabytes of disk.
const MAX_NODES: usize = 512;

const CHUNK: u64 = CHUNK_BYTES as u64;

/// Chunks of a set that are fetched at a time: at first few, since a boot waits for them.
const FIRST_WAVE: usize = 64;
const WAVE: usize = 1024;

/// Chunks of a set are fetched in groups of so many that lie beside one another: boots differ in what they read ahead.
const GROUP: u64 = 4;

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes of one chunk, which are shared with the cache.
    Data(Bytes),
    /// So many zeros: chunks that are not stored.
    Zeros(u64),
}

/// Random access to a disk of a version.
#[derive(Debug)]
pub(crate) struct RandomAccess {
    fetch: ChunkFetch,
    disk: ManifestDisk,
    nodes: Mutex<HashMap<Digest, Arc<Node>>>,
    recorded: Mutex<Option<Recorded>>,
}

/// The chunks that were read, each once, in the order of the first reads.
#[derive(Debug, Default)]
struct Recorded {
    order: Vec<u32>,
    seen: HashSet<u32>,
}

impl Recorded {
    fn add(&mut self, position: u64) {
        if let Ok(chunk) = u32::try_from(position)
            && self.order.len() < MAX_CHUNKS
            && self.seen.insert(chunk)
        {
            self.order.push(chunk);
        }
    }
}

impl RandomAccess {
    pub(crate) fn new(content: Records, disk: ManifestDisk, workers: Workers, chunks: Arc<ChunkCache>) -> Self {
        let fetch = ChunkFetch::new(content, workers, chunks);
        Self { fetch, disk, nodes: Mutex::default(), recorded: Mutex::default() }
    }

    pub(crate) fn disk(&self) -> &ManifestDisk {
        &self.disk
    }

    /// Notes from now on which chunks are read, as many as a boot set has.
    pub(crate) fn record(self) -> Self {
        *self.recorded.lock() = Some(Recorded::default());
        self
    }

    /// Returns the chunks that were read.
    pub(crate) fn recorded(&self) -> Vec<u32> {
        self.recorded.lock().as_ref().map(|recorded| recorded.order.clone()).unwrap_or_default()
    }

    /// Whether it notes what is read.
    #[cfg(feature = "nbd")]
    pub(crate) fn is_recording(&self) -> bool {
        self.recorded.lock().is_some()
    }

    #[cfg(feature = "nbd")]
    pub(crate) fn stop_recording(&self) {
        *self.recorded.lock() = None;
    }

    /// Reads a range of the disk.
    pub(crate) async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = BytesMut::with_capacity(range.end.saturating_sub(range.start) as usize);
        for part in self.parts(range).await? {
            match part {
                Part::Data(data) => bytes.extend_from_slice(&data),
                Part::Zeros(length) => bytes.resize(bytes.len() + length as usize, 0),
            }
        }
        Ok(bytes.freeze())
    }

    /// Reads a range of the disk as the parts of its chunks, one behind the other. No byte is copied.
    pub(crate) async fn parts(&self, range: Range<u64>) -> Result<Vec<Part>> {
        if range.start > range.end || range.end > self.disk.size {
            let what = format!("`{}..{}` is not within the disk of {} bytes", range.start, range.end, self.disk.size);
            return Err(Error::invalid("range", what));
        }
        let positions: Vec<u64> = (range.start / CHUNK..range.end.div_ceil(CHUNK)).collect();
        let records = self.records_at(&positions).await?;
        if let Some(recorded) = &mut *self.recorded.lock() {
            let read = positions.iter().zip(&records).filter(|(_, record)| record.is_some());
            read.for_each(|(position, _)| recorded.add(*position));
        }
        let cached = records.iter().map(|record| self.fetch.chunks.get(&record.as_ref()?.digest));
        let cached: Vec<Option<Bytes>> = cached.collect();
        let missing = records.iter().zip(&cached).filter(|(_, cached)| cached.is_none());
        let missing: Vec<RecordRef> = missing.filter_map(|(record, _)| *record).collect();
        let fetched = self.fetch.fetch(&missing).await?;
        let mut parts = Vec::with_capacity(positions.len());
        for (position, (record, cached)) in positions.into_iter().zip(records.into_iter().zip(cached)) {
            let start = position * CHUNK;
            let (from, to) = (range.start.max(start) - start, range.end.min(start + CHUNK) - start);
            let Some(record) = record else {
                match parts.last_mut() {
                    Some(Part::Zeros(length)) => *length += to - from,
                    _ => parts.push(Part::Zeros(to - from)),
                }
                continue;
            };
            let chunk = cached.or_else(|| fetched.get(&record.digest).cloned());
            let Some(chunk) = chunk.filter(|chunk| chunk.len() as u64 >= to) else {
                return Err(Error::corrupt(self.fetch.content.label(), "a chunk is shorter than 64 KiB"));
            };
            parts.push(Part::Data(chunk.slice(from as usize..to as usize)));
        }
        Ok(parts)
    }

    /// Reads the chunks of a range that are not in the cache yet.
    #[cfg(feature = "nbd")]
    pub(crate) async fn fetch_ahead(&self, range: Range<u64>) -> Result<()> {
        let positions: Vec<u64> = (range.start / CHUNK..range.end.min(self.disk.size).div_ceil(CHUNK)).collect();
        let records = self.records_at(&positions).await?;
        self.fetch.fetch(&self.not_cached(records)).await.map(drop)
    }

    /// Reads the first of `chunks` that are not in the cache yet, at most half of what the cache holds, and in waves: those that come
    /// first are there first.
    pub(crate) async fn fetch_chunks(&self, chunks: &[u32]) -> Result<()> {
        let (end, most) = (self.disk.size.div_ceil(CHUNK), self.fetch.chunks.capacity() / 2 / CHUNK);
        let (most, mut seen) = (usize::try_from(most).unwrap_or(usize::MAX), HashSet::new());
        // Neighbours come only where there is room for all.
        let size = if chunks.len() as u64 * GROUP <= most as u64 { GROUP } else { 1 };
        let groups = chunks.iter().map(|chunk| u64::from(*chunk) / size).filter(|group| seen.insert(*group));
        let positions = groups.flat_map(|group| group * size..((group + 1) * size).min(end));
        let positions: Vec<u64> = positions.take(most).collect();
        let records = self.records_at(&positions).await?;
        let fetch = self.fetch.widely();
        let (first, rest) = records.split_at(FIRST_WAVE.min(records.len()));
        for wave in std::iter::once(first).chain(rest.chunks(WAVE)) {
            fetch.fetch(&self.not_cached(wave.iter().copied())).await?;
        }
        Ok(())
    }

    fn not_cached(&self, records: impl IntoIterator<Item = Option<RecordRef>>) -> Vec<RecordRef> {
        records.into_iter().flatten().filter(|record| self.fetch.chunks.get(&record.digest).is_none()).collect()
    }

    /// Returns the parts of a range inside of the disk, in order, and of each whether it may hold data; the others are zero.
    #[cfg(feature = "nbd")]
    pub(crate) async fn extents(&self, range: Range<u64>) -> Result<Vec<(Range<u64>, bool)>> {
        let positions: Vec<u64> = (range.start / CHUNK..range.end.div_ceil(CHUNK)).collect();
        let records = self.records_at(&positions).await?;
        let mut extents: Vec<(Range<u64>, bool)> = Vec::new();
        for (position, record) in positions.into_iter().zip(records) {
            let is_data = record.is_some();
            let part = range.start.max(position * CHUNK)..range.end.min((position + 1) * CHUNK);
            match extents.last_mut().filter(|(_, before)| *before == is_data) {
                Some((last, _)) => last.end = part.end,
                None => extents.push((part, is_data)),
            }
        }
        Ok(extents)
    }

    /// Returns the records of the chunks at positions; `None` for a chunk that is all zero. The nodes of a level are read together.
    async fn records_at(&self, positions: &[u64]) -> Result<Vec<Option<RecordRef>>> {
        let mut nodes: Vec<Option<Arc<Node>>> = vec![self.disk.root.clone(); positions.len()];
        let Some(root) = &self.disk.root else { return Ok(vec![None; positions.len()]) };
        let mut level = root.level;
        loop {
            let below = positions.iter().zip(&nodes).map(|(position, node)| child_of(node.as_ref()?, *position));
            let below: Vec<Option<RecordRef>> = below.collect();
            let Some(next) = level.checked_sub(1) else { return Ok(below) };
            let found = self.nodes(next, &below).await?;
            nodes = below.iter().map(|record| found.get(&record.as_ref()?.digest).cloned()).collect();
            level = next;
        }
    }

    /// Returns the nodes of a level.
    async fn nodes(&self, level: u8, records: &[Option<RecordRef>]) -> Result<HashMap<Digest, Arc<Node>>> {
        let (mut found, mut missing) = (HashMap::new(), BTreeMap::new());
        {
            let known = self.nodes.lock();
            for record in records.iter().flatten() {
                match known.get(&record.digest) {
                    Some(node) => drop(found.insert(record.digest, node.clone())),
                    None => drop(missing.insert(record.digest, *record)),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let naming = self.fetch.content.naming();
        let missing: Vec<RecordRef> = missing.into_values().collect();
        let verified = |stored: Vec<StoredRecord>| {
            let nodes = missing.iter().zip(&stored).map(|(record, stored)| {
                let node = node_of(level, record, stored, naming)?;
                Ok((record.digest, Arc::new(node)))
            });
            std::future::ready(nodes.collect::<Result<Vec<_>, Rejected>>())
        };
        let read = self.fetch.content.read(&missing, verified).await?;
        let mut kept = self.nodes.lock();
        if kept.len() + read.len() > MAX_NODES {
            // Eviction order does not matter much: a miss is served by the store's own cache.
            kept.clear();
        }
        kept.extend(read.iter().take(MAX_NODES).cloned());
        found.extend(read);
        Ok(found)
    }
}

/// Returns what a node has for the chunk at a position.
fn child_of(node: &Node, position: u64) -> Option<RecordRef> {
    let number = position / FAN_OUT.saturating_pow(u32::from(node.level)) % FAN_OUT;
    let child = node.children.binary_search_by_key(&number, |(child, _)| u64::from(*child));
    child.ok().and_then(|at| node.children.get(at)).map(|(_, below)| *below)
}
