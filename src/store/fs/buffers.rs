//! The buffers of reads, used again.

use std::sync::Arc;

use bytes::Bytes;

use crate::host::sync::Mutex;

/// A smaller read costs the allocator nothing.
const LEAST_BYTES: usize = 64 << 10;

/// A larger buffer is not kept.
const MOST_BYTES: usize = 4 << 20;

/// The bytes of the buffers that are kept.
const ALL_BYTES: usize = 16 << 20;

/// A pool of the buffers that reads fill: fresh memory would cost a page fault for each 4 KiB, a fifth of the time of a read from the page
/// cache. A buffer is initialized once, so that a read fills it with one call. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// What was read, in a buffer that goes back to its pool.
struct Pooled {
    buffer: Vec<u8>,
    length: usize,
    of: Buffers,
}

impl Buffers {
    /// Returns `length` bytes that `fill` has overwritten.
    pub(super) fn filled(
        &self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> std::io::Result<()>,
    ) -> std::io::Result<Bytes> {
        let is_kept = (LEAST_BYTES..=MOST_BYTES).contains(&length);
        let used = is_kept.then(|| self.fitting(length)).flatten();
        let buffer = match used {
            Some(used) => used,
            None => {
                // All that are kept have one of a few sizes, so that most fit.
                let capacity = if is_kept { length.next_power_of_two() } else { length };
                let mut fresh = Vec::new();
                fresh.try_reserve_exact(capacity).map_err(std::io::Error::other)?;
                fresh.resize(capacity, 0);
                fresh
            }
        };
        let mut read = Pooled { buffer, length, of: self.clone() };
        fill(read.buffer.get_mut(..length).unwrap_or_default())?;
        Ok(if is_kept { Bytes::from_owner(read) } else { std::mem::take(&mut read.buffer).into() })
    }

    fn fitting(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut kept = self.0.lock();
        let at = kept.iter().rposition(|buffer| buffer.len() >= bytes)?;
        Some(kept.swap_remove(at))
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if !(LEAST_BYTES..=MOST_BYTES).contains(&buffer.len()) {
            return;
        }
        let mut kept = self.of.0.lock();
        if kept.iter().map(Vec::len).sum::<usize>() + buffer.len() <= ALL_BYTES {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffers: &Buffers, length: usize) -> Bytes {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok(())
        };
        buffers.filled(length, fill).unwrap()
    }

    #[test]
    fn a_buffer_comes_back_when_its_last_bytes_are_dropped() {
        let buffers = Buffers::default();
        let first = read(&buffers, 100_000);
        let place = first.as_ptr();
        let part = first.slice(5..10);
        drop(first);
        assert!(buffers.0.lock().is_empty());
        assert_eq!(part, [7; 5].as_slice());
        drop(part);
        let again = read(&buffers, 120_000);
        assert_eq!((again.as_ptr(), again.len()), (place, 120_000));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Buffers::default();
        let all: Vec<Bytes> = (0..40).map(|_| read(&buffers, 1 << 20)).collect();
        drop(all);
        assert_eq!(buffers.0.lock().len(), ALL_BYTES >> 20);
        // Too large or too small to be kept.
        drop(read(&buffers, MOST_BYTES + 1));
        drop(read(&buffers, 100));
        assert_eq!(buffers.0.lock().len(), ALL_BYTES >> 20);
    }

    #[test]
    fn a_read_that_fails_gives_its_buffer_back() {
        let buffers = Buffers::default();
        let failed = buffers.filled(100_000, |_| Err(std::io::ErrorKind::UnexpectedEof.into()));
        assert_eq!(failed.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(buffers.0.lock().len(), 1);
    }
}
