//! The file or device that a disk is written to.

use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

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

/// Whether the system copies from a file to a file without moving the bytes through this process.
pub(super) const COPIES_INSIDE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Copies ranges of files to offsets of `file`, those that follow each other with one call. The system shares their blocks where the
/// file system can. Nobody else may move the offset of `file` meanwhile.
pub(super) fn copy_runs(file: &File, runs: impl Iterator<Item = (Arc<File>, Range<u64>, u64)>) -> io::Result<()> {
    let mut before: Option<(Arc<File>, Range<u64>, u64)> = None;
    for (from, range, at) in runs {
        match &mut before {
            Some((open, copied, to))
                if Arc::ptr_eq(open, &from) && copied.end == range.start && *to + (copied.end - copied.start) == at =>
            {
                copied.end = range.end;
            }
            before => copy_run(file, before.replace((from, range, at)))?,
        }
    }
    copy_run(file, before)
}

fn copy_run(mut file: &File, run: Option<(Arc<File>, Range<u64>, u64)>) -> io::Result<()> {
    let Some((from, range, at)) = run else { return Ok(()) };
    let (mut from, length) = (&*from, range.end.saturating_sub(range.start));
    from.seek(SeekFrom::Start(range.start))?;
    file.seek(SeekFrom::Start(at))?;
    match io::copy(&mut from.take(length), &mut file)? == length {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The most pieces of one write: the kernel takes no more.
const MOST_PIECES: usize = 1024;

/// Writes runs of bytes at their offsets, those that follow each other with one call: a file system then takes larger pages.
pub(super) fn write_runs<'a>(file: &File, runs: impl Iterator<Item = (u64, &'a [u8])>) -> io::Result<()> {
    let (mut start, mut end, mut pieces) = (0, 0, Vec::new());
    for (at, bytes) in runs {
        if at != end || pieces.len() == MOST_PIECES {
            write_pieces(file, &mut pieces, start)?;
            pieces.clear();
            start = at;
        }
        pieces.push(IoSlice::new(bytes));
        end = at + bytes.len() as u64;
    }
    write_pieces(file, &mut pieces, start)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn write_pieces(file: &File, mut pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    while !pieces.is_empty() {
        match rustix::io::pwritev(file, pieces, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut pieces, written);
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn write_pieces(file: &File, pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    for piece in pieces {
        write_all_at(file, piece, offset)?;
        offset += piece.len() as u64;
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
    fn runs_are_written_where_they_belong_however_many_follow_each_other() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at % 251) as u8 + 1).collect();
        // 2,000 pieces of 10 bytes, all but one in a row.
        let place = |number: usize| number as u64 * 10 + if number < 1500 { 0 } else { 4096 };
        write_runs(&file, bytes.chunks(10).enumerate().map(|(number, run)| (place(number), run))).unwrap();
        let mut written = vec![0; 24_096];
        read_exact_at(&file, &mut written, 0).unwrap();
        assert_eq!(written, [&bytes[..15_000], &[0; 4096], &bytes[15_000..]].concat());
        write_runs(&file, std::iter::empty()).unwrap();
    }

    #[test]
    fn runs_are_copied_where_they_belong_and_a_run_past_the_end_is_an_error() {
        let (one, two) = (Arc::new(tempfile::tempfile().unwrap()), Arc::new(tempfile::tempfile().unwrap()));
        let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at % 251) as u8 + 1).collect();
        write_all_at(&one, &bytes, 0).unwrap();
        write_all_at(&two, &bytes, 0).unwrap();
        let file = tempfile::tempfile().unwrap();
        // The first two follow each other in both files; the next in one only; the last is of another file.
        let runs = [
            (&one, 4_096..8_192, 0),
            (&one, 8_192..9_000, 4_096),
            (&one, 9_000..9_100, 8_192),
            (&two, 9_100..9_101, 8_292),
        ];
        copy_runs(&file, runs.into_iter().map(|(from, range, at)| (from.clone(), range, at))).unwrap();
        let mut copied = vec![0; 8_293];
        read_exact_at(&file, &mut copied, 0).unwrap();
        let hole = vec![0; 8_192 - 4_904];
        assert!(copied == [&bytes[4_096..9_000], &hole, &bytes[9_000..9_101]].concat());
        assert_eq!(file.metadata().unwrap().len(), 8_293);
        copy_runs(&file, [(one, 19_999..20_001, 0)].into_iter()).unwrap_err();
        copy_runs(&file, std::iter::empty()).unwrap();
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
