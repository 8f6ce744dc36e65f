//! Fields, checksums and errors that the parts of a VHD share.

use std::io;

use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result};

pub(super) const SECTOR_BYTES: u64 = 512;

pub(super) fn read<const N: usize>(file: &dyn ReadAt, offset: u64, target: &str, doing: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).map_err(|source| Error::from_io(target, doing, source))?;
    Ok(bytes)
}

pub(super) fn unsupported(target: &str, message: String) -> Error {
    Error::unsupported(target, message)
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

/// Returns the `N` bytes at `at`. INVARIANT: callers name fields that lie inside of `bytes`.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Returns the ones' complement of the sum of all bytes except the four of the checksum.
pub(super) fn checksum(bytes: &[u8], checksum_at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    !(sum(bytes) - sum(&field::<4>(bytes, checksum_at)))
}

/// Refuses `bytes` whose checksum is wrong.
pub(super) fn verify_checksum(bytes: &[u8], checksum_at: usize, part: &str, target: &str) -> Result<()> {
    let (stored, computed) = (u32::from_be_bytes(field(bytes, checksum_at)), checksum(bytes, checksum_at));
    if stored == computed {
        return Ok(());
    }
    Err(Error::corrupt(
        target,
        format!(
            "the checksum of the {part} is `{stored:#010x}`, but its bytes sum to {computed:#010x}; copy the VHD again"
        ),
    ))
}
