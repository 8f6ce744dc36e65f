//! Copying a file's bytes: shared where the file system can, else moved inside the kernel, else read and written.
//!
//! Whichever way it goes, holes of the source are holes of the copy.

#[cfg(all(any(target_os = "linux", target_os = "android"), not(portable_fs)))]
#[path = "linux.rs"]
mod kernel;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(portable_fs))))]
#[path = "portable.rs"]
mod kernel;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// Copies the first `size` bytes of `from`, which are all it had when it was opened, into the empty file `to`.
pub(super) fn copy_bytes(from: &mut File, to: &mut File, size: u64) -> io::Result<()> {
    if kernel::share_blocks(from, to) {
        return Ok(());
    }
    let mut at = 0;
    while let Some(data) = kernel::next_data(from, at..size)? {
        let done = kernel::copy_range(from, to, data.clone())?;
        read_and_write(from, to, done..data.end)?;
        at = data.end;
    }
    if at < size {
        // Nothing but a hole is left, or nothing at all.
        if from.metadata()?.len() < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.set_len(size)?;
    }
    Ok(())
}

fn read_and_write(from: &mut File, to: &mut File, range: Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    from.seek(SeekFrom::Start(range.start))?;
    to.seek(SeekFrom::Start(range.start))?;
    // The standard library's `io::copy` may go back to the way that has just failed.
    let mut buffer = vec![0; 256 << 10];
    let mut rest = from.take(range.end - range.start);
    loop {
        let got = match rest.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..got).unwrap_or_default())?;
    }
    if rest.limit() == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn content(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_copy_is_whole_with_and_without_help_of_the_kernel() {
        let bytes: Vec<u8> = (0..700_001_u32).map(|number| (number / 3) as u8).collect();
        for size in [0, 1, 700_001] {
            let (mut from, mut to) = (file_of(&bytes[..size]), file_of(b""));
            copy_bytes(&mut from, &mut to, size as u64).unwrap();
            assert!(content(to) == bytes[..size], "{size}");
            let mut to = file_of(b"");
            read_and_write(&mut from, &mut to, 0..size as u64).unwrap();
            assert!(content(to) == bytes[..size], "{size}");
        }
    }

    #[test]
    fn the_rest_of_a_range_is_read_and_written_in_its_place() {
        let (mut from, mut to) = (file_of(b"0123456789"), file_of(b"0123"));
        read_and_write(&mut from, &mut to, 4..7).unwrap();
        assert_eq!(content(to), b"0123456");
    }

    /// A source that somebody cuts off while it is copied must not become a copy with zeros at its end.
    #[test]
    fn a_source_that_ends_early_is_an_error() {
        for length in [0, 5_000, 700_000] {
            let (mut from, mut to) = (file_of(&vec![1; length]), file_of(b""));
            if kernel::share_blocks(&from, &to) {
                eprintln!("skipped: this file system shares blocks, and a copy is of the source as it is now");
                return;
            }
            let ended = copy_bytes(&mut from, &mut to, 700_001).unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof, "{length}");
            assert!(read_and_write(&mut from, &mut to, 0..700_001).is_err());
        }
    }

    #[cfg(all(any(target_os = "linux", target_os = "android"), not(portable_fs)))]
    #[test]
    fn holes_stay_holes() {
        use std::os::unix::fs::MetadataExt;

        const MIB: u64 = 1 << 20;
        // What is at the front, in the middle and at the end differs: data, a hole, or a hole alone.
        for (data, size) in [(&[0, 5][..], 8 * MIB), (&[3, 7], 8 * MIB), (&[], 8 * MIB), (&[0], MIB + 1)] {
            let mut from = file_of(b"");
            from.set_len(size).unwrap();
            for place in data {
                from.seek(SeekFrom::Start(place * MIB)).unwrap();
                from.write_all(&vec![7; 1 << 20]).unwrap();
            }
            if from.metadata().unwrap().blocks() * 512 >= size {
                eprintln!("skipped: this file system has no holes");
                return;
            }
            let mut to = file_of(b"");
            copy_bytes(&mut from, &mut to, size).unwrap();
            assert!(to.metadata().unwrap().blocks() * 512 <= (data.len() as u64 * MIB) + (64 << 10), "{data:?}");
            assert!(content(to) == content(from), "{data:?}");
        }
    }
}
