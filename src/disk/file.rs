//! A disk in a file or on a block device.

use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::read_at::{ReadAt, Stamp};
use crate::error::{Error, ErrorKind, Result};
use crate::holes::{Doubt, Map};

/// An open file, with its size, holes and stamp from when it was opened.
pub(super) struct FileDisk {
    file: File,
    size: u64,
    data: Map,
    /// From before the size and the holes were read, so that every later write is noticed.
    first: Stamp,
}

impl FileDisk {
    /// Opens a regular file or a block device, which can be read in any order and more than once. Never waits for a
    /// pipe.
    pub(super) fn open(path: &Path, holes_too: bool) -> Result<Self> {
        let failed = |error| opening_failed(path, error);
        // Opening a socket fails, and opening a device may have effects: so the type is checked first.
        readable(path, &std::fs::metadata(path).map_err(failed)?)?;
        let mut file = open_at_once(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        readable(path, &metadata)?;
        // ORDER: the stamp, then size and map. The other way round, map read -> write into a hole -> stamp taken: the
        // stamp matches at the end, and the write is skipped as a hole.
        let first = stamp_of(&file).map_err(failed)?;
        // Not the length in the metadata: a block device has none there.
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let data = match holes_too || !metadata.is_file() {
            true => Map::everything(size),
            false => Map::of_file(&file, size).map_err(failed)?,
        };
        Ok(Self { file, size, data, first })
    }

    /// Returns why the file system's report of holes was not used.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        self.data.doubt()
    }
}

/// Refuses what is neither a regular file nor a block device.
fn readable(path: &Path, metadata: &Metadata) -> Result<()> {
    let is = match metadata.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        #[cfg(unix)]
        kind => {
            use std::os::unix::fs::FileTypeExt;
            match () {
                () if kind.is_block_device() => return Ok(()),
                () if kind.is_fifo() => "a pipe",
                () if kind.is_socket() => "a socket",
                () => "a character device",
            }
        }
        #[cfg(not(unix))]
        _ => "not a file",
    };
    let mut what =
        format!("it is {is}, and a disk is read from a regular file or a block device: give the path of one");
    if is == "a pipe" {
        // A disk is read in any order, its end first.
        what += "; write its output to a file first, or pass it as bytes or as anything that can seek \
                 (`DiskSource::bytes`, `DiskSource::reader`)";
    }
    Err(Error::invalid(path.display().to_string(), what))
}

/// Opens without waiting: a pipe that replaced the file after the type check may have no writer.
#[cfg(unix)]
fn open_at_once(path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};

    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::io::retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?))
}

#[cfg(not(unix))]
fn open_at_once(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn opening_failed(path: &Path, error: io::Error) -> Error {
    let (kind, code, fix) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "NotFound", "correct the path, or create the file"),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidFilename => {
            (ErrorKind::Invalid, "InvalidParameter", "correct the path")
        }
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Unavailable,
            "OperationNotAllowed",
            "let this process read the file, and the directories above it",
        ),
        _ => (ErrorKind::Unavailable, "OperationNotAllowed", "see that it can be read"),
    };
    let what = format!("the disk can't be opened ({fix})");
    Error::of(kind, code, path.display().to_string(), what).with_source(error)
}

impl ReadAt for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.file, buffer, offset).map_err(|error| match (error.kind(), self.stamp()) {
            (io::ErrorKind::UnexpectedEof, Ok(now)) => now.ended_early(self.size),
            _ => error,
        })
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        Ok(self.data.next_data(from))
    }

    fn stamp(&self) -> io::Result<Stamp> {
        stamp_of(&self.file)
    }

    fn first_stamp(&self) -> io::Result<Stamp> {
        Ok(self.first)
    }
}

fn stamp_of(mut file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        // The times of a device belong to its node, not to its bytes.
        return Ok(Stamp::of_size(file.seek(SeekFrom::End(0))?));
    }
    let modified = metadata.modified().ok().map(DateTime::<Utc>::from);
    Ok(Stamp { size: metadata.len(), modified, changed: changed(&metadata) })
}

/// When anything about the file last changed. Unlike the modification time, a program cannot set it back.
#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<DateTime<Utc>> {
    use std::os::unix::fs::MetadataExt;
    DateTime::from_timestamp(metadata.ctime(), u32::try_from(metadata.ctime_nsec()).unwrap_or(0))
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<DateTime<Utc>> {
    None
}

#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                buffer = buffer.get_mut(read..).unwrap_or_default();
                offset += read as u64;
            }
        }
    }
    Ok(())
}
