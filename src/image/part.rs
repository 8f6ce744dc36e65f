//! Parts of packs: what a slot holds of a pack that it does not need whole.
//!
//! A record keeps its name everywhere: the pack and the place in it. Where a slot has no use for most of a pack, it holds
//! parts of it instead: some of the records, with a table that says at which places of the pack they lie. So versions
//! share one index whatever each slot holds, a region that gets only the newest of many versions gets only what that
//! needs, and a pack that is mostly dead is rewritten without a change of any index.

use bytes::{Bytes, BytesMut};

use super::chunk::{Encoding, Unpacker};
use super::digest::Digest;
use super::extents::Extents;
use super::pack::{PackId, RecordRef};
use crate::error::{Error, Result};
use crate::store::BlobKey;

const MAGIC: [u8; 8] = *b"cgpart01";
const LINE_BYTES: usize = 44;

/// More records than any pack has: one for each byte of the smallest that a record can be.
const MAX_RECORDS: u32 = 1 << 20;

/// The name of a part: its pack, and the hash of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartId {
    pub(crate) pack: PackId,
    records: u32,
    table: Digest,
}

impl PartId {
    /// Where it lies within a slot.
    pub(crate) fn key(&self) -> Result<BlobKey> {
        format!("parts/{}/{:010}/{:010}-{}", self.pack.upload, self.pack.number, self.records, self.table).parse()
    }

    /// The part that lies under a key of a slot, if one does.
    pub(crate) fn of_key(key: &BlobKey) -> Option<Self> {
        let mut segments = key.segments().rev();
        let (records, table) = segments.next()?.split_once('-')?;
        let (number, upload) = (segments.next()?.parse().ok()?, segments.next()?.parse().ok()?);
        let (records, table) = (records.parse().ok().filter(|count| *count <= MAX_RECORDS)?, table.parse().ok()?);
        Some(Self { pack: PackId { upload, number }, records, table })
    }

    /// How much of the blob's start is its table.
    pub(crate) fn table_bytes(&self) -> u64 {
        MAGIC.len() as u64 + u64::from(self.records) * LINE_BYTES as u64
    }
}

/// A part, as its table tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    /// Ascending, with places in the pack.
    records: Vec<RecordRef>,
    /// Where each record starts in the part's blob, and where the last one ends.
    starts: Vec<u64>,
}

impl Part {
    fn new(pack: PackId, mut records: Vec<RecordRef>) -> (Self, Vec<u8>) {
        records.sort_unstable_by_key(|record| record.offset);
        let mut table = Vec::with_capacity(MAGIC.len() + records.len() * LINE_BYTES);
        table.extend_from_slice(&MAGIC);
        for record in &records {
            table.extend_from_slice(record.digest.as_bytes());
            table.extend_from_slice(&record.offset.to_le_bytes());
            table.extend_from_slice(&record.length.to_le_bytes());
            table.extend_from_slice(&[record.encoding.code(), 0, 0, 0]);
        }
        let id = PartId { pack, records: records.len() as u32, table: Digest::of(&table) };
        (Self { id, starts: starts(table.len(), &records), records }, table)
    }

    /// A part of the given records of one pack, with the blob to store; `bytes` in the same order.
    pub(crate) fn build(pack: PackId, records: &[RecordRef], bytes: &[Bytes]) -> (Self, Bytes) {
        let (part, table) = Self::new(pack, records.to_vec());
        let mut order: Vec<(&RecordRef, &Bytes)> = records.iter().zip(bytes).collect();
        order.sort_unstable_by_key(|(record, _)| record.offset);
        let mut blob = BytesMut::with_capacity(part.length() as usize);
        blob.extend_from_slice(&table);
        order.iter().for_each(|(_, bytes)| blob.extend_from_slice(bytes));
        (part, blob.freeze())
    }

    /// Reads a table back, and verifies it against the part's name.
    pub(crate) fn of_table(id: PartId, table: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt(format!("part of pack {}", id.pack), "its table is damaged");
        if Digest::of(table) != id.table {
            return Err(damaged());
        }
        let lines = table.strip_prefix(&MAGIC).ok_or_else(damaged)?.chunks_exact(LINE_BYTES);
        let records: Vec<RecordRef> = lines.map_while(|line| parse_line(id.pack, line)).collect();
        let (part, same) = Self::new(id.pack, records);
        // In one form only: in order, each once.
        let apart = part.records.windows(2).all(|pair| matches!(pair, [a, b] if a.range().end <= b.offset));
        if part.id == id && same == table && apart { Ok(part) } else { Err(damaged()) }
    }

    /// The length of the blob.
    pub(crate) fn length(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    pub(crate) fn records(&self) -> &[RecordRef] {
        &self.records
    }

    /// What of the pack is here.
    pub(crate) fn extents(&self) -> Extents {
        self.records.iter().map(RecordRef::range).collect()
    }

    /// Where a record of the pack starts in the part's blob.
    pub(crate) fn place_of(&self, record: &RecordRef) -> Option<u64> {
        let at = self.records.binary_search_by_key(&record.offset, |one| one.offset).ok()?;
        self.records.get(at).filter(|one| one.length == record.length)?;
        self.starts.get(at).copied()
    }

    /// Verifies a whole blob: its table against its name, and every record against the table.
    pub(crate) fn verify(&self, blob: &[u8]) -> Result<()> {
        let damaged = || Error::corrupt(format!("part of pack {}", self.id.pack), "the part is damaged");
        let table = blob.get(..self.id.table_bytes() as usize).ok_or_else(damaged)?;
        if blob.len() as u64 != self.length() || Self::of_table(self.id, table)? != *self {
            return Err(damaged());
        }
        let mut unpacker = Unpacker::default();
        for (record, start) in self.records.iter().zip(&self.starts) {
            let start = *start as usize;
            let bytes = blob.get(start..start + record.length as usize).ok_or_else(damaged)?;
            unpacker.verify(bytes, record.encoding, &record.digest)?;
        }
        Ok(())
    }
}

fn starts(table_bytes: usize, records: &[RecordRef]) -> Vec<u64> {
    let mut at = table_bytes as u64;
    let ends = records.iter().map(|record| {
        at += u64::from(record.length);
        at
    });
    std::iter::once(table_bytes as u64).chain(ends).collect()
}

fn parse_line(pack: PackId, line: &[u8]) -> Option<RecordRef> {
    let (digest, rest) = line.split_first_chunk::<32>()?;
    let (offset, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let [encoding, 0, 0, 0] = *rest else { return None };
    let (offset, length) = (u32::from_le_bytes(*offset), u32::from_le_bytes(*length));
    offset.checked_add(length)?;
    let (digest, encoding) = (Digest::from_bytes(*digest), Encoding::from_code(encoding)?);
    Some(RecordRef { digest, pack, offset, length, encoding })
}

#[cfg(test)]
mod tests {
    use super::super::pack::UploadId;
    use super::*;

    const PACK: PackId = PackId { upload: UploadId::from_bytes([7; 16]), number: 3 };

    fn part() -> (Part, Bytes) {
        let contents: Vec<Bytes> =
            [5, 300, 1].iter().zip(1_u8..).map(|(length, seed)| vec![seed; *length].into()).collect();
        let mut offset = 1000;
        let records: Vec<RecordRef> = contents
            .iter()
            .map(|bytes| {
                offset -= 310;
                let (digest, length) = (Digest::of(bytes), bytes.len() as u32);
                RecordRef { digest, pack: PACK, offset, length, encoding: Encoding::Plain }
            })
            .collect();
        Part::build(PACK, &records, &contents)
    }

    #[test]
    fn a_part_is_found_by_its_name_and_its_records_by_their_place_in_the_pack() {
        let (part, blob) = part();
        let id = PartId::of_key(&part.id.key().unwrap()).unwrap();
        assert_eq!(id, part.id);
        let read = Part::of_table(id, &blob[..id.table_bytes() as usize]).unwrap();
        assert_eq!(read, part);
        assert_eq!(read.length(), blob.len() as u64);
        for record in read.records() {
            let start = read.place_of(record).unwrap() as usize;
            assert_eq!(Digest::of(&blob[start..start + record.length as usize]), record.digest);
            assert!(read.extents().covers(&record.range()));
        }
        assert_eq!(read.place_of(&RecordRef { offset: 71, ..read.records()[0] }), None);
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
