//! Random access to a disk's bytes, with ranges that are known to be zero without reading.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};

/// Bytes at offsets: a file, a buffer, or the guest's view of a disk image.
pub(crate) trait ReadAt: Send + Sync {
    /// Returns the number of bytes; constant.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on. Fails with [`io::ErrorKind::UnexpectedEof`] past the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Returns the first range at or after `from` that may hold data, never empty and never past the end. All bytes
    /// outside of the ranges are zero.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size();
        Ok((from < size).then_some(from..size))
    }

    /// Returns the stamp of now: equal stamps mean an unchanged disk.
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::of_size(self.size()))
    }

    /// Returns the stamp from before the first read.
    fn first_stamp(&self) -> io::Result<Stamp> {
        self.stamp()
    }

    /// Returns how many nonzero bytes were read so far from sectors that the format marks as never written.
    fn hidden_bytes(&self) -> u64 {
        0
    }
}

/// A [`ReadAt`] shared between threads.
pub(crate) type SharedDisk = Arc<dyn ReadAt>;

/// The size and times of a disk's file. Two equal stamps mean that the file was not written to in between, within the
/// resolution of the file system's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    /// When its bytes last changed.
    pub(crate) modified: Option<DateTime<Utc>>,
    /// When anything about it last changed.
    pub(crate) changed: Option<DateTime<Utc>>,
}

impl Stamp {
    /// Returns the stamp of a disk without times.
    pub(crate) fn of_size(size: u64) -> Self {
        Self { size, modified: None, changed: None }
    }

    /// Returns the error of a read past the end of a file that had `size` bytes.
    pub(crate) fn ended_early(&self, size: u64) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, EndedEarly { size, now: self.size })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` bytes", self.size)?;
        let mut time = |what: &str, time: Option<DateTime<Utc>>| match time {
            Some(time) => write!(f, ", {what} `{}`", time.to_rfc3339_opts(SecondsFormat::Nanos, true)),
            None => Ok(()),
        };
        time("modified", self.modified)?;
        time("changed", self.changed)
    }
}

/// The file is shorter than when it was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedEarly {
    size: u64,
    now: u64,
}

impl fmt::Display for EndedEarly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it had `{}` bytes when it was opened and has `{}` now", self.size, self.now)
    }
}

impl std::error::Error for EndedEarly {}

impl ReadAt for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|error| io::Error::new(io::ErrorKind::UnexpectedEof, error))?;
        let end = start.saturating_add(buffer.len());
        buffer.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
