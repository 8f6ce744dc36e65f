//! Parts of packs: some of the records of a pack, for a slot that does not need it whole.
//!
//! A record has the same name everywhere: its pack and its offset in the pack. A slot that does not need most of a pack
//! holds parts of it: some of the records, with a table of their offsets in the pack. So versions share one index
//! whatever each slot holds, a region with only the newest of many versions holds only that version's records, and a
//! mostly dead pack is rewritten without changing an index.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::blob_name::BlobName;
use super::digest::Digest;
use super::extents::Extents;
use super::names::{PackId, PartId};
use super::record::TableLine;
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"cgpart01";
const LINE_BYTES: usize = 40;

impl PartId {
    /// Returns the length of the table at the blob's start.
    pub(crate) fn table_bytes(&self) -> u64 {
        MAGIC.len() as u64 + u64::from(self.records) * LINE_BYTES as u64
    }
}

/// A part, as described by its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    /// Its incarnation in the slot that it was found in.
    pub(crate) incarnation: u64,
    /// Ascending, with offsets in the pack.
    lines: Vec<TableLine>,
    /// The offset of each record in the part's blob, and the end of the last.
    starts: Vec<u64>,
}

impl Part {
    fn new(pack: PackId, lines: Vec<TableLine>) -> (Self, Vec<u8>) {
        let mut table = Vec::with_capacity(MAGIC.len() + lines.len() * LINE_BYTES);
        table.extend_from_slice(&MAGIC);
        for line in &lines {
            table.extend_from_slice(line.hash.as_bytes());
            table.extend_from_slice(&line.offset.to_le_bytes());
            table.extend_from_slice(&line.length.to_le_bytes());
        }
        let id = PartId { pack, records: lines.len() as u32, table: Digest::of(&table) };
        (Self { id, incarnation: 0, starts: starts(table.len(), &lines), lines }, table)
    }

    /// Builds a part of `records`, each of `pack` and given once. Returns it with the blob to store.
    pub(crate) fn build(pack: PackId, mut records: Vec<(TableLine, Bytes)>) -> (Self, Bytes) {
        records.sort_unstable_by_key(|(line, _)| line.offset);
        let (part, table) = Self::new(pack, records.iter().map(|(line, _)| *line).collect());
        let mut blob = BytesMut::with_capacity(part.length() as usize);
        blob.extend_from_slice(&table);
        records.iter().for_each(|(_, bytes)| blob.extend_from_slice(bytes));
        (part, blob.freeze())
    }

    /// Returns the good records in the part's blob.
    pub(crate) fn records_in(&self, blob: &Bytes) -> Vec<(TableLine, Bytes)> {
        let record =
            |(line, start): (&TableLine, &u64)| Some((*line, blob.slice(line.good_in(blob, *start as usize)?)));
        self.lines.iter().zip(&self.starts).filter_map(record).collect()
    }

    /// Reads a table back, and verifies it against the part's name.
    pub(crate) fn of_table(id: PartId, table: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt(format!("part of pack {}", id.pack), "its table is damaged");
        if Digest::of(table) != id.table {
            return Err(damaged());
        }
        let lines = table.strip_prefix(&MAGIC).ok_or_else(damaged)?.chunks_exact(LINE_BYTES);
        let (part, same) = Self::new(id.pack, lines.map_while(parse_line).collect());
        // Only the canonical form is accepted: ascending, without overlap.
        let apart = part.lines.windows(2).all(|pair| matches!(pair, [a, b] if a.range().end <= b.offset));
        if part.id == id && same == table && apart { Ok(part) } else { Err(damaged()) }
    }

    /// Returns the part under another incarnation.
    pub(crate) fn with_incarnation(self, incarnation: u64) -> Self {
        Self { incarnation, ..self }
    }

    /// Returns the name of its blob in that slot.
    pub(crate) fn name(&self) -> BlobName {
        BlobName::Part(self.id, self.incarnation)
    }

    /// Returns the length of the blob.
    pub(crate) fn length(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    pub(crate) fn lines(&self) -> &[TableLine] {
        &self.lines
    }

    /// Returns the extents of the pack that the part holds.
    pub(crate) fn extents(&self) -> Extents {
        self.lines.iter().map(TableLine::range).collect()
    }

    /// Returns the offset in the part's blob of a record of the pack.
    pub(crate) fn start_of(&self, record: &Range<u32>) -> Option<u64> {
        let at = self.lines.binary_search_by_key(&record.start, |line| line.offset).ok()?;
        self.lines.get(at).filter(|line| line.range() == *record)?;
        self.starts.get(at).copied()
    }

    /// Verifies a whole blob: its table against its name, and every record against the table.
    pub(crate) fn verify(&self, blob: &[u8]) -> Result<()> {
        let damaged = || Error::corrupt(format!("part of pack {}", self.id.pack), "the part is damaged");
        let table = blob.get(..self.id.table_bytes() as usize).ok_or_else(damaged)?;
        if blob.len() as u64 != self.length()
            || Self::of_table(self.id, table)?.with_incarnation(self.incarnation) != *self
        {
            return Err(damaged());
        }
        let good = |(line, start): (&TableLine, &u64)| line.good_in(blob, *start as usize).is_some();
        if self.lines.iter().zip(&self.starts).all(good) { Ok(()) } else { Err(damaged()) }
    }
}

fn starts(table_bytes: usize, lines: &[TableLine]) -> Vec<u64> {
    let mut at = table_bytes as u64;
    let ends = lines.iter().map(|line| {
        at += u64::from(line.length);
        at
    });
    std::iter::once(table_bytes as u64).chain(ends).collect()
}

fn parse_line(line: &[u8]) -> Option<TableLine> {
    let (hash, rest) = line.split_first_chunk::<32>()?;
    let (offset, rest) = rest.split_first_chunk::<4>()?;
    let (offset, length) = (u32::from_le_bytes(*offset), u32::from_le_bytes(*rest.first_chunk()?));
    offset.checked_add(length)?;
    Some(TableLine { hash: Digest::from_bytes(*hash), offset, length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::names::UploadId;

    const PACK: PackId = PackId { upload: UploadId::from_bytes([7; 16]), number: 3 };

    fn part() -> (Part, Bytes) {
        let contents: Vec<Bytes> =
            [5, 300, 1].iter().zip(1_u8..).map(|(length, seed)| vec![seed; *length].into()).collect();
        let mut offset = 1000;
        let lines: Vec<TableLine> = contents
            .iter()
            .map(|bytes| {
                offset -= 310;
                TableLine { hash: Digest::of(bytes), offset, length: bytes.len() as u32 }
            })
            .collect();
        Part::build(PACK, lines.into_iter().zip(contents).collect())
    }

    #[test]
    fn a_part_is_found_by_its_name_and_its_records_by_their_place_in_the_pack() {
        let (part, blob) = part();
        let Some(BlobName::Part(id, 0)) = BlobName::of_key(&part.id.key().unwrap()) else { panic!("a part") };
        assert_eq!(id, part.id);
        let read = Part::of_table(id, &blob[..id.table_bytes() as usize]).unwrap();
        assert_eq!(read, part);
        assert_eq!(read.length(), blob.len() as u64);
        for line in read.lines() {
            let start = read.start_of(&line.range()).unwrap() as usize;
            assert_eq!(Digest::of(&blob[start..start + line.length as usize]), line.hash);
            assert!(read.extents().covers(&line.range()));
        }
        assert_eq!(read.start_of(&(71..76)), None);
    }

    #[test]
    fn no_byte_of_it_can_change() {
        let (part, blob) = part();
        part.verify(&blob).unwrap();
        for at in 0..blob.len() {
            let mut flipped = blob.to_vec();
            flipped[at] ^= 0x10;
            assert!(part.verify(&flipped).is_err(), "byte {at}");
            assert!(part.verify(&blob[..at]).is_err(), "cut to {at}");
        }
    }
}
