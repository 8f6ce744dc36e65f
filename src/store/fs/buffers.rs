//! The buffers of reads, used again.

use std::sync::Arc;

use bytes::Bytes;

use crate::host::sync::Mutex;

/// A smaller read costs the allocator nothing.
const LEAST_BYTES: usize = 64 << 10;

/// A larger buffer is not kept.
const MOST_BYTES: usize = 2 << 20;

/// The bytes of the buffers that are kept.
const ALL_BYTES: usize = 16 << 20;

/// A pool of the buffers that reads fill: fresh memory would cost a page fault for each 4 KiB, a fifth of the time of a read from the page
/// cache. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// What was read, in a buffer that goes back to its pool.
struct Pooled {
    bytes: Vec<u8>,
    of: Buffers,
}

impl Buffers {
    /// Returns an empty buffer with room for `bytes`.
    pub(super) fn take(&self, bytes: usize) -> std::io::Result<Vec<u8>> {
        if let Some(used) = self.fitting(bytes) {
            return Ok(used);
        }
        // All that are kept have one of a few sizes, so that most fit.
        let capacity = if Self::is_kept(bytes) { bytes.next_power_of_two() } else { bytes };
        let mut fresh = Vec::new();
        fresh.try_reserve_exact(capacity).map_err(std::io::Error::other)?;
        Ok(fresh)
    }

    fn fitting(&self, bytes: usize) -> Option<Vec<u8>> {
        if !Self::is_kept(bytes) {
            return None;
        }
        let mut kept = self.0.lock();
        let at = kept.iter().rposition(|buffer| buffer.capacity() >= bytes)?;
        Some(kept.swap_remove(at))
    }

    fn is_kept(bytes: usize) -> bool {
        (LEAST_BYTES..=MOST_BYTES).contains(&bytes)
    }

    /// Returns what was read into a buffer. The buffer comes back when the last of its bytes is dropped.
    pub(super) fn bytes(&self, read: Vec<u8>) -> Bytes {
        if Self::is_kept(read.capacity()) {
            Bytes::from_owner(Pooled { bytes: read, of: self.clone() })
        } else {
            read.into()
        }
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.clear();
        let mut kept = self.of.0.lock();
        if kept.iter().map(Vec::capacity).sum::<usize>() + buffer.capacity() <= ALL_BYTES {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_bytes_are_dropped() {
        let buffers = Buffers::default();
        let mut first = buffers.take(100_000).unwrap();
        first.extend_from_slice(&[7; 100_000]);
        let place = first.as_ptr();
        let read = buffers.bytes(first);
        let part = read.slice(5..10);
        drop(read);
        assert!(buffers.0.lock().is_empty());
        assert_eq!(part, [7; 5].as_slice());
        drop(part);
        let again = buffers.take(120_000).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::default();
        let read: Vec<Bytes> = (0..40).map(|_| buffers.bytes(buffers.take(1 << 20).unwrap())).collect();
        drop(read);
        assert_eq!(buffers.0.lock().len(), ALL_BYTES >> 20);
        // Too large or too small to be kept.
        drop(buffers.bytes(buffers.take(MOST_BYTES + 1).unwrap()));
        drop(buffers.bytes(buffers.take(100).unwrap()));
        assert_eq!(buffers.0.lock().len(), ALL_BYTES >> 20);
    }
}
