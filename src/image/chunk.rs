//! Chunks: 64 KiB of a disk, named by their hash, stored without their zero blocks.

use super::digest::Digest;
use crate::error::{Error, Result};

/// The length of a chunk. VM disks are block-addressed, so fixed and aligned chunks find more in common between
/// versions than content-defined ones: over four Debian builds 449 + 229 + 150 + 0.8 MiB, against 472 + 254 + 173 + 2.2
/// with FastCDC of the same size, at a third of the cost (`docs/decisions/0001`).
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// Zero runs are left out of a stored chunk in blocks of this size, the block size of most guests' file systems: a
/// deployed disk is then as sparse as `cp --sparse=always` makes it, and scattered small writes stay small.
pub(crate) const BLOCK_BYTES: usize = 4 << 10;

const ZERO_BLOCK: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Which blocks of a chunk hold anything but zeros: bit i for block i.
pub(crate) fn occupied_blocks(chunk: &[u8]) -> u16 {
    let mut mask = 0;
    for (number, block) in chunk.chunks(BLOCK_BYTES).enumerate() {
        // A slice comparison is a `memcmp`: it stops at the first byte that differs and uses the widest registers.
        if ZERO_BLOCK.get(..block.len()) != Some(block) {
            mask |= 1 << number;
        }
    }
    mask
}

/// How a stored record holds its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// The bytes themselves.
    Plain,
    /// A chunk without its zero blocks: a 16-bit mask of the blocks that follow, then those blocks.
    Sparse,
}

impl Encoding {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Sparse => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Plain),
            1 => Some(Self::Sparse),
            _ => None,
        }
    }
}

/// Appends the record of a chunk that is not all zero; `occupied` is its [`occupied_blocks`].
pub(crate) fn encode(chunk: &[u8], occupied: u16, record: &mut Vec<u8>) -> Encoding {
    if occupied == u16::MAX {
        record.extend_from_slice(chunk);
        return Encoding::Plain;
    }
    record.extend_from_slice(&occupied.to_le_bytes());
    for (number, block) in chunk.chunks(BLOCK_BYTES).enumerate() {
        if occupied & (1 << number) != 0 {
            record.extend_from_slice(block);
        }
    }
    Encoding::Sparse
}

/// Verifies a record of any kind: a chunk, or an index node stored as it is.
pub(crate) fn verify_record(record: &[u8], encoding: Encoding, expected: &Digest, scratch: &mut Vec<u8>) -> Result<()> {
    match encoding {
        Encoding::Plain if Digest::of(record) == *expected => Ok(()),
        Encoding::Plain => Err(Error::corrupt("record", format!("record `{expected}` is damaged: its hash differs"))),
        Encoding::Sparse => Chunk::decode(record, encoding, expected, scratch).map(drop),
    }
}

/// A chunk read back and verified, still without its zero blocks.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    occupied: u16,
    blocks: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes a record apart that was verified before.
    pub(crate) fn of_verified(record: &'a [u8], encoding: Encoding) -> Option<Self> {
        Some(match encoding {
            Encoding::Plain => Self { occupied: u16::MAX, blocks: record },
            Encoding::Sparse => {
                let (mask, blocks) = record.split_first_chunk()?;
                Self { occupied: u16::from_le_bytes(*mask), blocks }
            }
        })
    }

    /// Takes a record apart and verifies its hash. `scratch` is a buffer to reuse between calls.
    pub(crate) fn decode(
        record: &'a [u8],
        encoding: Encoding,
        expected: &Digest,
        scratch: &mut Vec<u8>,
    ) -> Result<Self> {
        let damaged = |what: &str| Error::corrupt("chunk", format!("chunk `{expected}` is damaged: {what}"));
        let chunk = Self::of_verified(record, encoding).ok_or_else(|| damaged("its record is cut short"))?;
        if chunk.blocks.len() != chunk.occupied.count_ones() as usize * BLOCK_BYTES {
            return Err(damaged("its record has the wrong length"));
        }
        let actual = match encoding {
            Encoding::Plain => Digest::of(record),
            Encoding::Sparse => {
                scratch.clear();
                scratch.resize(CHUNK_BYTES, 0);
                for (offset, block) in chunk.blocks() {
                    if let Some(place) = scratch.get_mut(offset..offset + BLOCK_BYTES) {
                        place.copy_from_slice(block);
                    }
                }
                Digest::of(scratch)
            }
        };
        if actual == *expected { Ok(chunk) } else { Err(damaged("its hash differs")) }
    }

    /// The blocks that are not all zero, with their offset in the chunk.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let occupied = self.occupied;
        let numbers = (0..CHUNK_BYTES / BLOCK_BYTES).filter(move |number| occupied & (1 << number) != 0);
        numbers.map(|number| number * BLOCK_BYTES).zip(self.blocks.chunks_exact(BLOCK_BYTES))
    }

    /// Maximal runs of blocks that are not all zero, with their offset in the chunk: what has to be written.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let (mut number, mut rest, occupied) = (0_u32, self.blocks, self.occupied);
        std::iter::from_fn(move || {
            let ahead = u32::from(occupied).checked_shr(number).unwrap_or(0);
            if ahead == 0 {
                return None;
            }
            let start = number + ahead.trailing_zeros();
            let length = (u32::from(occupied) >> start).trailing_ones();
            number = start + length;
            let (run, after) = rest.split_at_checked(length as usize * BLOCK_BYTES)?;
            rest = after;
            Some((start as usize * BLOCK_BYTES, run))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk_with(occupied: u16) -> Vec<u8> {
        (0..CHUNK_BYTES)
            .map(|at| if occupied & (1 << (at / BLOCK_BYTES)) != 0 { (at % 251) as u8 + 1 } else { 0 })
            .collect()
    }

    #[test]
    fn a_full_chunk_is_stored_as_it_is() {
        let (chunk, mut record) = (chunk_with(u16::MAX), Vec::new());
        assert_eq!(encode(&chunk, occupied_blocks(&chunk), &mut record), Encoding::Plain);
        assert_eq!(record, chunk);
    }

    #[test]
    fn one_byte_keeps_only_its_block() {
        let mut chunk = vec![0; CHUNK_BYTES];
        chunk[CHUNK_BYTES - 1] = 1;
        let mut record = Vec::new();
        assert_eq!(occupied_blocks(&chunk), 1 << 15);
        assert_eq!(encode(&chunk, 1 << 15, &mut record), Encoding::Sparse);
        assert_eq!(record.len(), 2 + BLOCK_BYTES);
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        let chunk = chunk_with(0b1010);
        let (digest, mut record, mut scratch) = (Digest::of(&chunk), Vec::new(), Vec::new());
        let encoding = encode(&chunk, occupied_blocks(&chunk), &mut record);
        assert!(Chunk::decode(&record, encoding, &digest, &mut scratch).is_ok());
        for at in [0, 1, 2, record.len() - 1] {
            let mut flipped = record.clone();
            flipped[at] ^= 1;
            assert!(Chunk::decode(&flipped, encoding, &digest, &mut scratch).is_err(), "byte {at}");
        }
        for length in [0, 1, 2, record.len() - 1] {
            assert!(Chunk::decode(&record[..length], encoding, &digest, &mut scratch).is_err(), "length {length}");
        }
        assert!(Chunk::decode(&record, Encoding::Plain, &digest, &mut scratch).is_err());
    }

    proptest! {
        #[test]
        fn any_chunk_comes_back(occupied in 1_u16..) {
            let chunk = chunk_with(occupied);
            let (mut record, mut scratch, mut back) = (Vec::new(), Vec::new(), vec![0; CHUNK_BYTES]);
            let encoding = encode(&chunk, occupied_blocks(&chunk), &mut record);
            let decoded = Chunk::decode(&record, encoding, &Digest::of(&chunk), &mut scratch).unwrap();
            for (offset, run) in decoded.runs() {
                back[offset..offset + run.len()].copy_from_slice(run);
            }
            prop_assert_eq!(back, chunk);
        }
    }
}
