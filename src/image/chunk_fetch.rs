//! Fetches chunks, each once for all who want it at the same time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture, Shared, WeakShared};

use super::buffers::BufferPool;
use super::chunk_cache::ChunkCache;
use crate::content::codec::Unpacker;
use crate::content::digest::Digest;
use crate::content::record::RecordRef;
use crate::error::Result;
use crate::host::Workers;
use crate::host::in_flight::together;
use crate::host::sync::Mutex;
use crate::replica::records::{Records, Rejected};

type Fetch = BoxFuture<'static, Result<Arc<HashMap<Digest, Bytes>>>>;

/// Chunks under way, from which on those are dropped that nobody waits for any more: 256 MiB.
const MAX_UNDER_WAY: usize = 4096;

/// Fetches the chunks of a version, verified, and caches them.
#[derive(Clone, Debug)]
pub(super) struct ChunkFetch {
    pub(super) content: Records,
    workers: Workers,
    pub(super) chunks: Arc<ChunkCache>,
    unpackers: BufferPool<Unpacker>,
    /// Weak, so that a fetch ends with the last who waits for it, and gives back what it holds.
    under_way: Arc<Mutex<HashMap<Digest, WeakShared<Fetch>>>>,
}

impl ChunkFetch {
    pub(super) fn new(content: Records, workers: Workers, chunks: Arc<ChunkCache>) -> Self {
        Self { content, workers, chunks, unpackers: BufferPool::default(), under_way: Arc::default() }
    }

    /// Returns the same, with fewer and larger requests; what is under way and cached is shared.
    pub(super) fn widely(&self) -> Self {
        Self { content: self.content.read_widely(), ..self.clone() }
    }

    /// Returns chunks that are not in the cache.
    pub(super) async fn fetch(&self, wanted: &[RecordRef]) -> Result<HashMap<Digest, Bytes>> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let (fetch, others, awaited) = self.begin(wanted);
        let (fetched, others) = futures::join!(OptionFuture::from(fetch), together(others));
        let mut found = HashMap::new();
        for fetched in fetched.into_iter().chain(others.into_iter().filter(Result::is_ok)) {
            found.extend(fetched?.iter().map(|(digest, chunk)| (*digest, chunk.clone())));
        }
        // Another's fetch has failed: this one fails with an error of its own.
        let missing: Vec<RecordRef> =
            awaited.into_iter().filter(|record| !found.contains_key(&record.digest)).collect();
        if !missing.is_empty() {
            let fetched = self.clone().fetch_now(missing).await?;
            found.extend(fetched.iter().map(|(digest, chunk)| (*digest, chunk.clone())));
        }
        Ok(found)
    }

    /// Begins to fetch what is not under way. Returns that, what is, and the records of the latter.
    fn begin(&self, wanted: &[RecordRef]) -> (Option<Shared<Fetch>>, Vec<Shared<Fetch>>, Vec<RecordRef>) {
        let (mut own, mut others, mut awaited) = (BTreeMap::new(), Vec::<Shared<Fetch>>::new(), Vec::new());
        let mut under_way = self.under_way.lock();
        for record in wanted {
            match under_way.get(&record.digest).and_then(WeakShared::upgrade) {
                Some(fetch) => {
                    awaited.push(*record);
                    if !others.iter().any(|other| other.ptr_eq(&fetch)) {
                        others.push(fetch);
                    }
                }
                None => drop(own.insert(record.digest, *record)),
            }
        }
        if own.is_empty() {
            return (None, others, awaited);
        }
        let fetch = self.clone().fetch_now(own.values().copied().collect()).boxed().shared();
        if under_way.len() >= MAX_UNDER_WAY {
            // Those that were abandoned before their end are still there.
            under_way.retain(|_, fetch| fetch.upgrade().is_some());
        }
        if let Some(weak) = fetch.downgrade() {
            under_way.extend(own.keys().map(|digest| (*digest, weak.clone())));
        }
        (Some(fetch), others, awaited)
    }

    async fn fetch_now(self, records: Vec<RecordRef>) -> Result<Arc<HashMap<Digest, Bytes>>> {
        let read = self.content.read(&records, |stored| {
            let (records, unpackers, naming) = (records.clone(), self.unpackers.clone(), self.content.naming());
            let unpack = move || {
                let mut unpacker: Unpacker = unpackers.take().unwrap_or_else(|| Unpacker::new(naming));
                let chunks = records.iter().zip(&stored).map(|(record, stored)| {
                    unpacker.unpack(0, stored, &record.digest).map_err(|error| Rejected::Damaged(*record, error))?;
                    // A copy: a slice of a plain record would keep the whole read alive.
                    Ok(Bytes::copy_from_slice(unpacker.chunk(0, stored)))
                });
                let chunks = chunks.collect::<Result<Vec<_>, Rejected>>();
                unpackers.give(unpacker);
                chunks
            };
            self.workers.run(unpack)
        });
        let read = read.await.map(|chunks| {
            let chunks = records.iter().map(|record| record.digest).zip(chunks);
            chunks.inspect(|(digest, chunk)| self.chunks.put(*digest, chunk.clone())).collect()
        });
        // ORDER: it is in the cache, then it is no longer under way: one who finds neither fetches it again.
        let mut under_way = self.under_way.lock();
        records.iter().for_each(|record| drop(under_way.remove(&record.digest)));
        read.map(Arc::new)
    }
}
