//! Copies of files: inside the kernel if it can, else by reading and writing; blocks are shared only on request.
//!
//! On each way, holes of the source are holes of the copy, and a short copy is an error.

#[cfg(all(any(target_os = "linux", target_os = "android"), not(portable_fs)))]
#[path = "linux.rs"]
mod kernel;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(portable_fs))))]
#[path = "portable.rs"]
mod kernel;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use crate::holes::Map;

/// Whether a copy may share the blocks of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    OfItsOwn,
    Shared,
}

/// Copies the first `size` bytes of `from`, its length when it was opened, into the empty file `to`.
pub(super) fn copy_bytes(from: &mut File, to: &mut File, size: u64, blocks: Blocks) -> io::Result<()> {
    copy_with(from, to, size, |from, to| blocks == Blocks::Shared && kernel::share_blocks(from, to))
}

fn copy_with(from: &mut File, to: &mut File, size: u64, share: impl FnOnce(&File, &File) -> bool) -> io::Result<()> {
    if share(from, to) {
        if to.metadata()?.len() == size {
            return Ok(());
        }
        // The file system claims success, and the copy is short: start again.
        to.set_len(0)?;
    }
    let (map, mut at) = (Map::of_file(from, size)?, 0);
    while let Some(data) = map.next_data(at) {
        let done = kernel::copy_range(from, to, data.clone())?;
        read_and_write(from, to, done..data.end)?;
        at = data.end;
    }
    if at < size {
        // The rest is a hole, or the source is shorter now.
        if from.metadata()?.len() < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.set_len(size)?;
    }
    match to.metadata()?.len() == size {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_and_write(from: &mut File, to: &mut File, range: Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    from.seek(SeekFrom::Start(range.start))?;
    to.seek(SeekFrom::Start(range.start))?;
    // The standard library's `io::copy` may try again what has just failed.
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
            copy_bytes(&mut from, &mut to, size as u64, Blocks::OfItsOwn).unwrap();
            assert!(content(to) == bytes[..size], "{size}");
            let mut to = file_of(b"");
            copy_bytes(&mut from, &mut to, size as u64, Blocks::Shared).unwrap();
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

    /// A source that is truncated while it is copied must not become a copy with zeros at its end.
    #[test]
    fn a_source_that_ends_early_is_an_error() {
        for length in [0, 5_000, 700_000] {
            let (mut from, mut to) = (file_of(&vec![1; length]), file_of(b""));
            for blocks in [Blocks::OfItsOwn, Blocks::Shared] {
                let ended = copy_bytes(&mut from, &mut to, 700_001, blocks).unwrap_err();
                assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof, "{length}");
            }
            assert!(read_and_write(&mut from, &mut to, 0..700_001).is_err());
        }
    }

    /// A file system that says that it has shared the blocks, and has not.
    #[test]
    fn a_clone_that_is_short_is_made_again_as_a_copy() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| (number / 3) as u8).collect();
        for has in [0, 5, 4096, 199_999, 200_001] {
            let (mut from, mut to) = (file_of(&bytes), file_of(b""));
            copy_with(&mut from, &mut to, 200_000, |_, to| to.set_len(has).is_ok()).unwrap();
            assert!(content(to) == bytes, "{has}");
        }
        let (mut from, mut to) = (file_of(&bytes), file_of(b""));
        let cloned = |_: &File, mut to: &File| to.write_all(&bytes).is_ok();
        copy_with(&mut from, &mut to, 200_000, cloned).unwrap();
        assert!(content(to) == bytes, "a whole clone is a copy");
    }

    #[cfg(all(any(target_os = "linux", target_os = "android"), not(portable_fs)))]
    #[test]
    fn holes_stay_holes() {
        use std::os::unix::fs::MetadataExt;

        const MIB: u64 = 1 << 20;
        // The front, the middle and the end differ: data, a hole, or a hole alone.
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
            copy_bytes(&mut from, &mut to, size, Blocks::OfItsOwn).unwrap();
            assert!(to.metadata().unwrap().blocks() * 512 <= (data.len() as u64 * MIB) + (64 << 10), "{data:?}");
            assert!(content(to) == content(from), "{data:?}");
        }
    }
}
