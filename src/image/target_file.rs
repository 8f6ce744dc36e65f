//! The file or device that a disk is written to.

use std::fs::File;
use std::io;
use std::ops::Range;

use crate::content::chunk::CHUNK_BYTES;
use crate::content::digest::Digest;
use crate::content::naming::Naming;

/// Zeros are written in steps of this, where they can't be made otherwise.
const STEP_BYTES: usize = 1 << 20;

/// Makes a range of a file or a device read as zeros: by a hole, or by writing them.
pub(super) fn zero(file: &File, range: Range<u64>) -> io::Result<()> {
    if punch(file, &range) {
        return Ok(());
    }
    let zeros = vec![0; STEP_BYTES.min((range.end - range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let length = (range.end - at).min(zeros.len() as u64) as usize;
        write_all_at(file, zeros.get(..length).unwrap_or_default(), at)?;
        at += length as u64;
    }
    Ok(())
}

/// On a device, the kernel answers with success only if it reads as zeros afterwards.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn punch(file: &File, range: &Range<u64>) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};

    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, flags, range.start, range.end - range.start).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn punch(_: &File, _: &Range<u64>) -> bool {
    false
}

/// Returns whether the file has the chunk of this digest at an offset. The last one of a disk is short.
pub(super) fn is_there(file: &File, at: u64, length: u64, digest: &Digest, naming: Naming) -> io::Result<bool> {
    let mut chunk = [0; CHUNK_BYTES];
    let Some(there) = chunk.get_mut(..length as usize) else { return Ok(false) };
    read_exact_at(file, there, at)?;
    Ok(naming.name(&chunk) == *digest)
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = bytes.get_mut(read..).unwrap_or_default();
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zeroed_range_reads_as_zeros_and_nothing_else_changes() {
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, &[7; 300_000], 0).unwrap();
        zero(&file, 512..4096).unwrap();
        zero(&file, 65_536..299_999).unwrap();
        let mut bytes = vec![0; 300_000];
        read_exact_at(&file, &mut bytes, 0).unwrap();
        let zeros = |at: usize| (512..4096).contains(&at) || (65_536..299_999).contains(&at);
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == if zeros(at) { 0 } else { 7 }));
        // Past the end, it is the file's size that says so.
        assert_eq!(file.metadata().unwrap().len(), 300_000);
    }

    #[test]
    fn a_chunk_is_there_if_its_bytes_are() {
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, &[7; 100], 50).unwrap();
        let digest = Digest::of(&[vec![7; 100], vec![0; CHUNK_BYTES - 100]].concat());
        assert!(is_there(&file, 50, 100, &digest, Naming::Plain).unwrap());
        assert!(!is_there(&file, 49, 100, &digest, Naming::Plain).unwrap());
    }
}
