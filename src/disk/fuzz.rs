//! Any bytes, opened as a disk file of a format and read as a guest might read them: a panic, an endless loop or an unbounded
//! allocation is a bug.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;

use super::read_at::{ReadAt, SharedDisk};
use super::unwrap::{Wrapping, unwrapping};
use super::vhdx::repaired;
use super::{qcow2, vhd, vhdx, vmdk};
use crate::disk::format::VhdFooter;

const WINDOW_BYTES: u64 = 64 << 10;

pub(crate) fn vhd(data: &[u8]) {
    for believed in [VhdFooter::Both, VhdFooter::End, VhdFooter::Copy] {
        if let Ok((disk, _)) = vhd::open::open(file(data), believed, "disk") {
            // All claims of a VHD are checked on opening.
            assert!(read_some(&*disk), "an opened disk in memory is readable");
        }
    }
}

pub(crate) fn qcow2(data: &[u8]) {
    if let Ok((disk, _)) = qcow2::open::open(file(data), true, "disk") {
        read_some(&*disk);
    }
}

/// The first byte says whether checksums are set right; then follow parts of the file, each with its length in two bytes, that lie where
/// QEMU places them: headers, tables of regions, log, metadata, their items, the table of blocks.
pub(crate) fn vhdx(data: &[u8]) {
    let Some((repair, mut rest)) = data.split_first() else { return };
    let mut bytes = vec![0; 8 << 20];
    for at in PARTS_OF_VHDX {
        let Some((length, after)) = rest.split_first_chunk::<2>() else { break };
        let (part, after) = after.split_at(usize::from(u16::from_le_bytes(*length)).min(after.len()));
        bytes.iter_mut().skip(at).zip(part).for_each(|(to, from)| *to = *from);
        rest = after;
    }
    let bytes = if repair & 1 == 1 { repaired(bytes) } else { bytes };
    if let Ok(disk) = vhdx::open::open(Arc::new(Bytes::from(bytes)), "disk") {
        read_some(&*disk);
    }
}

const PARTS_OF_VHDX: [usize; 9] =
    [0, 64 << 10, 128 << 10, 192 << 10, 256 << 10, 1 << 20, 3 << 20, (3 << 20) + (64 << 10), 2 << 20];

pub(crate) fn vmdk(data: &[u8]) {
    let _ = vmdk::open::flat(&Bytes::copy_from_slice(data), Some("disk.vmdk".as_ref()), "disk");
    if let Ok((disk, _)) = vmdk::open::open(file(data), true, "disk") {
        read_some(&*disk);
    }
}

/// A wrapped file. It must unwrap to the same bytes, or fail, whatever buffers it is read into.
pub(crate) fn wrapped(data: &[u8], wrapping: Wrapping) {
    let large = unwrapped(data, wrapping, WINDOW_BYTES as usize);
    let small = unwrapped(data, wrapping, 7);
    assert!(large == small, "{wrapping}: {:?} in large reads, {:?} in small ones", large.len(), small.len());
}

/// Returns what comes out in the first reads, before the end or the error.
fn unwrapped(data: &[u8], wrapping: Wrapping, buffer: usize) -> Vec<u8> {
    let mut reader = unwrapping(file(data), &[wrapping]).take(4 * WINDOW_BYTES);
    let (mut buffer, mut all) = (vec![0; buffer], Vec::new());
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return all,
            Ok(read) => all.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Vec::new(),
        }
    }
}

fn file(data: &[u8]) -> SharedDisk {
    Arc::new(Bytes::copy_from_slice(data))
}

/// Reads the start, the end and some ranges of data; false if a read fails.
fn read_some(disk: &dyn ReadAt) -> bool {
    let size = disk.size();
    let mut window = vec![0; size.min(WINDOW_BYTES) as usize];
    let mut readable = true;
    for offset in [0, size - window.len() as u64, (size - window.len() as u64) / 2] {
        readable &= disk.read_exact_at(&mut window, offset).is_ok();
    }
    let mut from = 0;
    for _ in 0..1000 {
        let Ok(Some(range)) = disk.next_data(from) else { break };
        assert!(from <= range.start && range.start < range.end && range.end <= size, "{range:?} from {from} of {size}");
        let length = (range.end - range.start).min(window.len() as u64) as usize;
        readable &= disk.read_exact_at(window.get_mut(..length).unwrap_or_default(), range.start).is_ok();
        from = range.end;
    }
    readable
}
