//! A disk as its guest sees it: so many bytes, some of them known to be zero without reading.

use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Bytes at places: a file, a buffer, or the guest's view of a disk image.
pub(crate) trait ReadAt: Send + Sync {
    /// How many bytes there are; constant.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on; an end before that is an [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The first range at or after `from` that may hold data, never empty and never past the end. All bytes outside
    /// of the ranges are zero.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size();
        Ok((from < size).then_some(from..size))
    }
}

/// A [`ReadAt`] shared between threads.
pub(crate) type SharedDisk = Arc<dyn ReadAt>;
