//! Virtual Hard Disk files, after Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.
//!
//! A VHD ends in a [`footer`] that says how large the disk is and how the bytes before it are laid out: one
//! after the other ([`fixed`]), or in blocks of which a table tells the places ([`dynamic`]). A dynamic one begins with a
//! copy of its footer ([`footers`] tells which of the two holds). A file may be hostile: everything that it says about itself
//! is checked when it is opened, and a read afterwards is bounded by its buffer.

mod dynamic;
mod fixed;
mod footer;
mod footers;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use super::disk::{ReadAt, SharedDisk};
use super::note::DiskNote;
use super::source::VhdFooter;
use crate::error::{Error, ErrorKind, Problem, Result};
use dynamic::DynamicVhd;
use fixed::FixedVhd;
use footer::DiskType;
pub(crate) use footer::{fixed_footer, is_footer};
use footers::Footers;

const SECTOR_BYTES: u64 = 512;

/// 2000-01-01T00:00:00Z, where a VHD's time stamps begin, in seconds since the Unix epoch.
pub(crate) const EPOCH_SECONDS: i64 = 946_684_800;

/// The guest's view of the VHD in `file`; errors are about `target`.
pub(crate) fn open(file: SharedDisk, believed: VhdFooter, target: &str) -> Result<(SharedDisk, Option<DiskNote>)> {
    let footers = Footers::read(&*file, target)?;
    let chosen = footers.choose(believed, target)?;
    let disk: SharedDisk = match chosen.footer.disk_type {
        DiskType::Fixed => Arc::new(FixedVhd::open(file, &chosen.footer, target)?),
        DiskType::Dynamic => Arc::new(DynamicVhd::open(file, &chosen.footer, chosen.blocks_end, target)?),
    };
    Ok((disk, chosen.note))
}

fn read<const N: usize>(file: &dyn ReadAt, offset: u64, target: &str, doing: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset).map_err(|source| Error::from_io(target, doing, source))?;
    Ok(bytes)
}

fn unsupported(target: &str, message: String) -> Error {
    Error::new(Problem::new(ErrorKind::Unsupported, "OperationNotAllowed", target, message))
}

/// Refuses a read that leaves a disk of `size` bytes.
fn check_read(size: u64, offset: u64, length: usize) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{length} bytes from {offset} on are not inside the disk of {size} bytes"),
        )),
    }
}

/// The `N` bytes at `at`. INVARIANT: callers name fields that lie inside of `bytes`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// The ones' complement of the sum of all bytes but the four of the checksum itself.
fn checksum(bytes: &[u8], checksum_at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    !(sum(bytes) - sum(&field::<4>(bytes, checksum_at)))
}

/// Refuses `bytes` of which the `part`'s checksum does not tell the truth.
fn verify_checksum(bytes: &[u8], checksum_at: usize, part: &str, target: &str) -> Result<()> {
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

/// Takes any bytes for a VHD and reads of it what a guest might; a panic is a bug.
#[cfg(feature = "testkit")]
pub(crate) fn fuzz(data: &[u8]) {
    for believed in [VhdFooter::Both, VhdFooter::End, VhdFooter::Copy] {
        if let Ok((disk, _)) = open(Arc::new(bytes::Bytes::copy_from_slice(data)), believed, "disk") {
            read_some(&*disk);
        }
    }
}

#[cfg(feature = "testkit")]
fn read_some(disk: &dyn ReadAt) {
    const WINDOW_BYTES: u64 = 64 << 10;
    let size = disk.size();
    let mut window = vec![0; size.min(WINDOW_BYTES) as usize];
    for offset in [0, size - window.len() as u64] {
        assert!(disk.read_exact_at(&mut window, offset).is_ok(), "an opened disk in memory is readable");
    }
    let mut from = 0;
    for _ in 0..1000 {
        let Ok(Some(range)) = disk.next_data(from) else { break };
        assert!(from <= range.start && range.start < range.end && range.end <= size, "{range:?} from {from} of {size}");
        from = range.end;
    }
}
