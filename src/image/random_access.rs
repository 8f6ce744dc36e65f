//! Reads any part of a disk from its replicas, without writing it out.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::buffers::BufferPool;
use crate::content::chunk::CHUNK_BYTES;
use crate::content::codec::Unpacker;
use crate::content::digest::Digest;
use crate::content::index::{FAN_OUT, Node};
use crate::content::manifest::ManifestDisk;
use crate::content::record::{RecordRef, StoredRecord};
use crate::error::{Error, Result};
use crate::host::Workers;
use crate::host::sync::Mutex;
use crate::replica::index_walk::node_of;
use crate::replica::records::{Records, Rejected};

/// A cache of verified chunks, by digest: versions often share chunks. Evicts the least recently used first.
#[derive(Debug)]
pub(crate) struct ChunkCache {
    capacity: u64,
    inner: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    chunks: HashMap<Digest, (Bytes, u64)>,
    /// By the tick of the last use.
    order: BTreeMap<u64, Digest>,
    used: u64,
    tick: u64,
}

impl ChunkCache {
    /// Returns a cache of at most `capacity` bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    fn get(&self, digest: &Digest) -> Option<Bytes> {
        let mut cached = self.inner.lock();
        cached.tick += 1;
        let tick = cached.tick;
        let (bytes, last) = cached.chunks.get_mut(digest)?;
        let (bytes, last) = (bytes.clone(), std::mem::replace(last, tick));
        cached.order.remove(&last);
        cached.order.insert(tick, *digest);
        Some(bytes)
    }

    fn put(&self, digest: Digest, bytes: Bytes) {
        let mut cached = self.inner.lock();
        cached.tick += 1;
        let tick = cached.tick;
        cached.used += bytes.len() as u64;
        if let Some((old, last)) = cached.chunks.insert(digest, (bytes, tick)) {
            cached.used -= old.len() as u64;
            cached.order.remove(&last);
        }
        cached.order.insert(tick, digest);
        while cached.used > self.capacity {
            let Some((_, oldest)) = cached.order.pop_first() else { break };
            if let Some((gone, _)) = cached.chunks.remove(&oldest) {
                cached.used -= gone.len() as u64;
            }
        }
    }
}

/// The number of index nodes that are cached: at least a gigabyte of disk.
const MAX_NODES: usize = 128;

/// Random access to a disk of a version.
#[derive(Debug)]
pub(crate) struct RandomAccess {
    content: Records,
    disk: ManifestDisk,
    workers: Workers,
    chunks: Arc<ChunkCache>,
    nodes: Mutex<HashMap<Digest, Arc<Node>>>,
    unpackers: BufferPool<Unpacker>,
}

impl RandomAccess {
    pub(crate) fn new(content: Records, disk: ManifestDisk, workers: Workers, chunks: Arc<ChunkCache>) -> Self {
        Self { content, disk, workers, chunks, nodes: Mutex::default(), unpackers: BufferPool::default() }
    }

    pub(crate) fn disk(&self) -> &ManifestDisk {
        &self.disk
    }

    /// Reads a range of the disk.
    pub(crate) async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.disk.size {
            let what = format!("`{}..{}` is not within the disk of {} bytes", range.start, range.end, self.disk.size);
            return Err(Error::invalid("range", what));
        }
        const CHUNK: u64 = CHUNK_BYTES as u64;
        let positions: Vec<u64> = (range.start / CHUNK..range.end.div_ceil(CHUNK)).collect();
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        for position in &positions {
            if let Some(record) = self.record_at(*position).await? {
                match self.chunks.get(&record.digest) {
                    Some(bytes) => {
                        found.insert(*position, bytes);
                    }
                    None => missing.push((*position, record)),
                }
            }
        }
        found.extend(self.fetch(missing).await?);
        let mut bytes = BytesMut::zeroed((range.end - range.start) as usize);
        for position in positions {
            let (Some(chunk), start) = (found.get(&position), position * CHUNK) else { continue };
            let (from, to) = (range.start.max(start), range.end.min(start + CHUNK));
            let source = chunk.get((from - start) as usize..(to - start) as usize);
            let target = bytes.get_mut((from - range.start) as usize..(to - range.start) as usize);
            if let Some((source, target)) = source.zip(target) {
                target.copy_from_slice(source);
            }
        }
        Ok(bytes.freeze())
    }

    /// Reads the chunks of a range that are not in the cache yet.
    #[cfg(feature = "nbd")]
    pub(crate) async fn fetch_ahead(&self, range: Range<u64>) -> Result<()> {
        let positions = range.start / CHUNK_BYTES as u64..range.end.min(self.disk.size).div_ceil(CHUNK_BYTES as u64);
        let mut missing = Vec::new();
        for position in positions {
            let record = self.record_at(position).await?;
            missing.extend(
                record.filter(|record| self.chunks.get(&record.digest).is_none()).map(|record| (position, record)),
            );
        }
        self.fetch(missing).await.map(drop)
    }

    /// Returns the parts of a range inside of the disk, in order, and of each whether it may hold data; the others are zero.
    #[cfg(feature = "nbd")]
    pub(crate) async fn extents(&self, range: Range<u64>) -> Result<Vec<(Range<u64>, bool)>> {
        const CHUNK: u64 = CHUNK_BYTES as u64;
        let mut extents: Vec<(Range<u64>, bool)> = Vec::new();
        for position in range.start / CHUNK..range.end.div_ceil(CHUNK) {
            let is_data = self.record_at(position).await?.is_some();
            let part = range.start.max(position * CHUNK)..range.end.min((position + 1) * CHUNK);
            match extents.last_mut().filter(|(_, before)| *before == is_data) {
                Some((last, _)) => last.end = part.end,
                None => extents.push((part, is_data)),
            }
        }
        Ok(extents)
    }

    /// Reads chunks, verified, and caches them.
    async fn fetch(&self, wanted: Vec<(u64, RecordRef)>) -> Result<Vec<(u64, Bytes)>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (positions, records): (Vec<u64>, Vec<RecordRef>) = wanted.into_iter().unzip();
        let chunks = self
            .content
            .read(&records, |stored| {
                let (records, unpackers, naming) = (records.clone(), self.unpackers.clone(), self.content.naming());
                let unpack = move || {
                    let mut unpacker: Unpacker = unpackers.take().unwrap_or_else(|| Unpacker::new(naming));
                    let chunks = records.iter().zip(&stored).map(|(record, stored)| {
                        unpacker
                            .unpack(0, stored, &record.digest)
                            .map_err(|error| Rejected::Damaged(*record, error))?;
                        // A copy: a slice of a plain record would keep the whole read alive.
                        Ok(Bytes::copy_from_slice(unpacker.chunk(0, stored)))
                    });
                    let chunks = chunks.collect::<Result<Vec<_>, Rejected>>();
                    unpackers.give(unpacker);
                    chunks
                };
                self.workers.run(unpack)
            })
            .await?;
        records.iter().zip(&chunks).for_each(|(record, chunk)| self.chunks.put(record.digest, chunk.clone()));
        Ok(positions.into_iter().zip(chunks).collect())
    }

    /// Returns the record of the chunk at a position; `None` if the chunk is all zero.
    async fn record_at(&self, position: u64) -> Result<Option<RecordRef>> {
        let Some(mut node) = self.disk.root.clone() else { return Ok(None) };
        loop {
            let number = position / FAN_OUT.saturating_pow(u32::from(node.level)) % FAN_OUT;
            let child = node.children.binary_search_by_key(&number, |(child, _)| u64::from(*child));
            let Some((_, below)) = child.ok().and_then(|at| node.children.get(at)) else { return Ok(None) };
            match node.level.checked_sub(1) {
                None => return Ok(Some(*below)),
                Some(level) => node = self.node(level, below).await?,
            }
        }
    }

    async fn node(&self, level: u8, record: &RecordRef) -> Result<Arc<Node>> {
        let kept = |nodes: &HashMap<Digest, Arc<Node>>| nodes.get(&record.digest).cloned();
        if let Some(node) = kept(&self.nodes.lock()) {
            return Ok(node);
        }
        let naming = self.content.naming();
        let verified = |stored: Vec<StoredRecord>| {
            let missing = || Rejected::Failed(Error::corrupt("index", "no record was read"));
            let node = stored.first().ok_or_else(missing).and_then(|stored| node_of(level, record, stored, naming));
            std::future::ready(node.map(Arc::new))
        };
        let node = self.content.read(std::slice::from_ref(record), verified).await?;
        let mut nodes = self.nodes.lock();
        if nodes.len() >= MAX_NODES {
            // Eviction order does not matter much: a miss is served by the store's own cache.
            nodes.clear();
        }
        nodes.insert(record.digest, node.clone());
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = ChunkCache::new(3 * 10);
        let (digest, chunk) = (|byte: u8| Digest::of(&[byte]), |byte: u8| Bytes::from(vec![byte; 10]));
        (0..3).for_each(|byte| cache.put(digest(byte), chunk(byte)));
        assert!(cache.get(&digest(0)).is_some());
        cache.put(digest(3), chunk(3));
        cache.put(digest(3), chunk(3));
        let there = (0..4).map(|byte| cache.get(&digest(byte)).is_some()).collect::<Vec<_>>();
        assert_eq!(there, [true, false, true, true]);
        cache.put(digest(4), Bytes::from(vec![4; 31]));
        assert!(cache.get(&digest(4)).is_none(), "larger than the cache");
    }
}
