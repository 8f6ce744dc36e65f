//! A cache of verified chunks.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::content::digest::Digest;
use crate::host::sync::Mutex;

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

    /// Returns the most bytes that it holds.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let mut cached = self.inner.lock();
        cached.tick += 1;
        let tick = cached.tick;
        let (bytes, last) = cached.chunks.get_mut(digest)?;
        let (bytes, last) = (bytes.clone(), std::mem::replace(last, tick));
        cached.order.remove(&last);
        cached.order.insert(tick, *digest);
        Some(bytes)
    }

    pub(super) fn put(&self, digest: Digest, bytes: Bytes) {
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
