//! Fields, bounds and errors that the readers of disk files share.

use std::fmt;
use std::io;

use super::read_at::ReadAt;
use crate::error::{Error, Result};

/// Reads `N` bytes of a header.
pub(super) fn read<const N: usize>(file: &dyn ReadAt, offset: u64, target: &str, doing: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).map_err(|source| Error::from_io(target, doing, source))?;
    Ok(bytes)
}

/// Reads `length` bytes of a table. INVARIANT: the caller has bounded the length.
pub(super) fn read_vec(file: &dyn ReadAt, offset: u64, length: u64, target: &str, doing: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).map_err(|source| Error::from_io(target, doing, source))?;
    Ok(bytes)
}

/// Returns the `N` bytes at `at`. INVARIANT: callers name fields that lie inside of `bytes`.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Refuses a read past the end of a disk of `size` bytes.
pub(super) fn check_read(size: u64, offset: u64, length: usize) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{length} bytes from {offset} on are not inside the disk of {size} bytes"),
        )),
    }
}

/// Refuses a part of a file that does not lie inside of it.
pub(super) fn check_inside(file: &dyn ReadAt, name: &str, offset: u64, length: u64, target: &str) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if end <= file.size() => Ok(()),
        _ => Err(Error::corrupt(
            target,
            format!(
                "the {name} of {length} bytes at byte `{offset}` is not inside the file of {} bytes; the file is damaged or \
                 truncated: copy it again",
                file.size()
            ),
        )),
    }
}

pub(super) fn unsupported(target: &str, message: String) -> Error {
    Error::unsupported(target, message)
}

/// A table of the file, read after it was opened, contradicts the file.
#[derive(Debug)]
pub(super) struct Damaged(String);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

/// The error of a read that meets damage: it becomes [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt).
pub(super) fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damaged(what))
}
