//! The file of a cached blob: blocks of 64 KiB, each behind a checksum of its own.
//!
//! | at | what |
//! |---|---|
//! | 0 | an entry with the length of the whole blob, if that is known |
//! | 32 x (n + 1) | an entry with the length of what is there of block `n`, from the block's start |
//! | 36,864 | the blob's bytes, each at its place |
//!
//! An entry is a length (8 bytes, little-endian) and the first 24 bytes of a BLAKE3 hash of block number, length and bytes. A block
//! whose hash differs is not there: one that was never written, one that a crash cut off, one that two processes write at once, one
//! with a bad sector. So nothing is synced, and no order of writes matters.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use crate::store::MAX_BLOB_BYTES;

/// The length of a block.
pub(super) const BLOCK: u64 = 64 << 10;
const ENTRY: u64 = 32;
const CHECKSUM: usize = 24;
/// Where the blob's bytes start: after the entries of the largest blob, at a page.
const BYTES: u64 = 36 << 10;
/// The number of the entry that has the length of the blob.
const WHOLE: u64 = u64::MAX;
/// A byte that says nothing: writing it makes the file the one that was used last, by the file system's own clock.
const TOUCH: u64 = BYTES - 1;

/// What a file has of a blob.
#[derive(Debug)]
pub(super) enum Found {
    Bytes(Bytes),
    Nothing,
    /// It is there and not as it was written.
    Damaged,
}

/// Reads a range of a blob, or all of it, and checks every block that it needs of it.
pub(super) fn read(path: &Path, range: Option<Range<u64>>) -> io::Result<Found> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        opened => opened?,
    };
    match read_file(&mut file, range) {
        // It is shorter than its entries say.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Found::Damaged),
        read => read,
    }
}

fn read_file(file: &mut File, range: Option<Range<u64>>) -> io::Result<Found> {
    let range = match range {
        Some(range) => range,
        None => match entries_of(file, None)?.first() {
            Some(entry) if entry.checks(WHOLE, &[]) => 0..entry.length,
            _ => return Ok(Found::Nothing),
        },
    };
    let Range { start, end } = range;
    if start >= end {
        return Ok(Found::Bytes(Bytes::new()));
    }
    if end > MAX_BLOB_BYTES {
        return Ok(Found::Nothing);
    }
    let (first, last) = (start / BLOCK, (end - 1) / BLOCK);
    let entries = entries_of(file, Some(first..last + 1))?;
    let needed = |number: u64| if number == last { end - last * BLOCK } else { BLOCK };
    if (first..).zip(&entries).any(|(number, entry)| entry.length < needed(number) || entry.length > BLOCK) {
        return Ok(Found::Nothing);
    }
    let length = (last - first) * BLOCK + entries.last().map_or(0, |entry| entry.length);
    let bytes = read_at(file, BYTES + first * BLOCK, length)?;
    for ((number, entry), block) in (first..).zip(&entries).zip(bytes.chunks(BLOCK as usize)) {
        if !entry.checks(number, block) {
            return Ok(Found::Damaged);
        }
    }
    let from = |at: u64| usize::try_from(at - first * BLOCK).unwrap_or(usize::MAX);
    let bytes = Bytes::from(bytes);
    Ok(match from(end) <= bytes.len() {
        true => Found::Bytes(bytes.slice(from(start)..from(end))),
        false => Found::Damaged,
    })
}

/// Writes bytes of a blob from a block's start on. They are all that it has if `is_whole`.
pub(super) fn write(path: &Path, start: u64, bytes: &[u8], is_whole: bool) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    let first = start / BLOCK;
    // Whoever has read further into the last block may have written it just before.
    let last = bytes.len() as u64 / BLOCK * BLOCK;
    let end = start + bytes.len() as u64;
    let bytes = match bytes.split_at_checked(usize::try_from(last).unwrap_or(usize::MAX)) {
        Some((blocks, rest)) if !rest.is_empty() && !is_whole && has_more(&mut file, start + last, end) => blocks,
        _ => bytes,
    };
    let entries =
        (first..).zip(bytes.chunks(BLOCK as usize)).flat_map(|(number, block)| Entry::of(number, block).encoded());
    let entries: Vec<u8> = entries.collect();
    write_at(&mut file, BYTES + start, bytes)?;
    write_at(&mut file, ENTRY * (first + 1), &entries)?;
    if is_whole {
        let length = bytes.len() as u64;
        let whole = Entry { length, checksum: checksum(WHOLE, length, &[]) };
        write_at(&mut file, 0, &whole.encoded())?;
    }
    Ok(())
}

/// Returns whether the block at `start` is there further than to `end`, and good.
fn has_more(file: &mut File, start: u64, end: u64) -> bool {
    let number = start / BLOCK;
    let Ok(entries) = entries_of(file, Some(number..number + 1)) else { return false };
    let more = entries.first().filter(|entry| (end - start + 1..=BLOCK).contains(&entry.length));
    more.is_some_and(|more| read_at(file, BYTES + start, more.length).is_ok_and(|bytes| more.checks(number, &bytes)))
}

/// Makes a file the one that was used last.
pub(super) fn touch(path: &Path) -> io::Result<()> {
    write_at(&mut File::options().write(true).open(path)?, TOUCH, &[0])
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    length: u64,
    checksum: [u8; CHECKSUM],
}

impl Entry {
    fn of(number: u64, block: &[u8]) -> Self {
        let length = block.len() as u64;
        Self { length, checksum: checksum(number, length, block) }
    }

    fn checks(&self, number: u64, block: &[u8]) -> bool {
        self.checksum == checksum(number, self.length, block)
    }

    fn encoded(self) -> [u8; ENTRY as usize] {
        let mut bytes = [0; ENTRY as usize];
        let (length, rest) = bytes.split_at_mut(ENTRY as usize - CHECKSUM);
        length.copy_from_slice(&self.length.to_le_bytes());
        rest.copy_from_slice(&self.checksum);
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Self> {
        let (length, checksum) = bytes.split_first_chunk::<8>()?;
        Some(Self { length: u64::from_le_bytes(*length), checksum: checksum.try_into().ok()? })
    }
}

fn checksum(number: u64, length: u64, bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(&length.to_le_bytes()).update(bytes);
    let mut checksum = [0; CHECKSUM];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// Reads the entries of blocks, or that of the whole blob.
fn entries_of(file: &mut File, blocks: Option<Range<u64>>) -> io::Result<Vec<Entry>> {
    let numbers = blocks.map_or(0..1, |blocks| blocks.start + 1..blocks.end + 1);
    let bytes = read_at(file, ENTRY * numbers.start, ENTRY * (numbers.end - numbers.start))?;
    Ok(bytes.chunks(ENTRY as usize).filter_map(Entry::decoded).collect())
}

fn read_at(file: &mut File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_at(file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(path: &Path, range: Option<Range<u64>>) -> Option<Vec<u8>> {
        match read(path, range).unwrap() {
            Found::Bytes(bytes) => Some(bytes.to_vec()),
            Found::Nothing | Found::Damaged => None,
        }
    }

    #[test]
    fn what_was_written_is_there_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        assert_eq!(bytes_of(&path, None), None);
        let blob: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        write(&path, BLOCK, blob.get(BLOCK as usize..150_000).unwrap(), false).unwrap();
        assert_eq!(bytes_of(&path, Some(70_000..150_000)).as_deref(), blob.get(70_000..150_000));
        for absent in [None, Some(0..10), Some(0..100_000), Some(140_000..150_001), Some(190_000..200_000)] {
            assert_eq!(bytes_of(&path, absent.clone()), None, "{absent:?}");
        }
        // Who reads less of a block later leaves what is there.
        write(&path, 2 * BLOCK, blob.get(131_072..140_000).unwrap(), false).unwrap();
        assert_eq!(bytes_of(&path, Some(70_000..150_000)).as_deref(), blob.get(70_000..150_000));
        write(&path, 0, &blob, true).unwrap();
        touch(&path).unwrap();
        assert_eq!(bytes_of(&path, None), Some(blob.clone()));
        assert_eq!(bytes_of(&path, Some(199_999..200_000)).as_deref(), blob.get(199_999..));
        write(&path, 0, &[], true).unwrap();
        assert_eq!(bytes_of(&path, None), Some(Vec::new()));
    }

    #[test]
    fn a_file_with_any_bit_flipped_or_any_end_cut_off_says_the_truth_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let blob: Vec<u8> = (0..100_000_u32).map(|at| (at % 249) as u8).collect();
        write(&path, 0, &blob, true).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let places = (0..128).chain((BYTES as usize..whole.len()).step_by(4_999)).chain([whole.len() - 1]);
        for at in places {
            let mut other = whole.clone();
            other[at] ^= 1;
            std::fs::write(&path, &other).unwrap();
            assert!(bytes_of(&path, None).is_none_or(|read| read == blob), "a bit at {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(bytes_of(&path, None), None, "cut off at {at}");
        }
    }
}
