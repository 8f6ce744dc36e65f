//! Packs: records appended one after the other, with a table of their hashes at the end.
//!
//! One blob for each chunk would be too slow: writing a thousand files takes several times as long as writing one of
//! their total size.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::extents::Extents;
use super::names::PackId;
use super::record::{Encoding, RecordRef, TableLine};
use crate::error::{Error, Result};
use crate::store::MAX_BLOB_BYTES;

/// A pack is closed before it grows beyond this: small enough that several on their way bound the memory of an import
/// and that the last one is not long in the making, large enough that a store is asked for few (`docs/decisions/0004`).
pub(crate) const PACK_BYTES: usize = 16 << 20;

/// A part with at least this share of a pack's records is sent as the whole pack.
const WHOLE_PERCENT: u64 = 95;

const MAGIC: [u8; 8] = *b"cgpack01";
const END_MAGIC: [u8; 4] = *b"cgpe";
const TABLE_ENTRY_BYTES: usize = 36;
/// Magic and the number of table entries.
const TRAILER_BYTES: usize = 8;

/// A pack that is being filled.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    id: PackId,
    bytes: Vec<u8>,
    table: Vec<u8>,
}

/// A finished pack, with its line for the manifest.
#[derive(Clone, Debug)]
pub(crate) struct FinishedPack {
    pub(crate) info: PackInfo,
    pub(crate) bytes: Bytes,
}

/// A pack's line in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackInfo {
    #[serde(flatten)]
    pub(crate) id: PackId,
    /// In bytes.
    pub(crate) length: u64,
    /// The number of records.
    pub(crate) records: u32,
    /// The hash of the table, and so of everything in the pack.
    pub(crate) table: Digest,
}

impl PackBuilder {
    /// Reuses `spare`, the buffer of an earlier pack: fresh memory would cost a page fault for each 4 KiB.
    pub(crate) fn new(id: PackId, spare: Option<Vec<u8>>) -> Self {
        let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(PACK_BYTES));
        bytes.clear();
        bytes.extend_from_slice(&MAGIC);
        Self { id, bytes, table: Vec::new() }
    }

    /// Returns whether a record of `length` bytes still fits.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.bytes.len() + length + self.table.len() + TABLE_ENTRY_BYTES + TRAILER_BYTES <= PACK_BYTES
    }

    /// Appends a record, for which there must be room. `hash` is that of the stored bytes.
    pub(crate) fn append(&mut self, digest: Digest, encoding: Encoding, record: &[u8], hash: Digest) -> RecordRef {
        // A builder is closed before it passes 16 MiB, so both fit.
        let (offset, length) = (self.bytes.len() as u32, record.len() as u32);
        self.bytes.extend_from_slice(record);
        self.table.extend_from_slice(hash.as_bytes());
        self.table.extend_from_slice(&length.to_le_bytes());
        RecordRef { digest, pack: self.id, offset, length, encoding }
    }

    pub(crate) fn finish(mut self) -> FinishedPack {
        let table = Digest::of(&self.table);
        self.bytes.extend_from_slice(&self.table);
        let records = (self.table.len() / TABLE_ENTRY_BYTES) as u32;
        self.bytes.extend_from_slice(&records.to_le_bytes());
        self.bytes.extend_from_slice(&END_MAGIC);
        let info = PackInfo { id: self.id, length: self.bytes.len() as u64, records, table };
        FinishedPack { info, bytes: self.bytes.into() }
    }
}

impl FinishedPack {
    /// Returns the end of the blob: table, count and magic, which identify everything in it.
    pub(crate) fn tail(&self) -> Bytes {
        let table_bytes = table_of(&self.bytes).map_or(0, <[u8]>::len);
        self.bytes.slice(self.bytes.len().saturating_sub(table_bytes + TRAILER_BYTES)..)
    }
}

impl PackInfo {
    /// Verifies a whole pack: its table against the manifest, and every record against the table.
    pub(crate) fn verify(&self, pack: &[u8]) -> Result<()> {
        if pack.len() as u64 != self.length || self.length > MAX_BLOB_BYTES {
            return Err(self.damaged(&format!("it has {} bytes, the manifest says {}", pack.len(), self.length)));
        }
        if !pack.starts_with(&MAGIC) {
            return Err(self.damaged("it does not start as a pack"));
        }
        for line in self.table(pack)? {
            if line.good_in(pack, line.offset as usize).is_none() {
                return Err(self.damaged(&format!("the hash of the record at `{}` differs", line.offset)));
            }
        }
        Ok(())
    }

    /// Returns the lines of the table. `tail` is the pack, or at least its last `tail_bytes`.
    pub(crate) fn table(&self, tail: &[u8]) -> Result<Vec<TableLine>> {
        let table = table_of(tail).ok_or_else(|| self.damaged("it does not end as a pack"))?;
        if Digest::of(table) != self.table {
            return Err(self.damaged("the hash of its table differs"));
        }
        let mut offset = MAGIC.len() as u64;
        let mut lines = Vec::with_capacity(table.len() / TABLE_ENTRY_BYTES);
        for line in table.chunks_exact(TABLE_ENTRY_BYTES) {
            let (hash, rest) = line.split_first_chunk().ok_or_else(|| self.damaged("its table is cut short"))?;
            let length = rest.first_chunk().ok_or_else(|| self.damaged("its table is cut short"))?;
            let (hash, length) = (Digest::from_bytes(*hash), u32::from_le_bytes(*length));
            // A pack is at most as long as a blob may be; the check below compares the end of the last record with its
            // length.
            lines.push(TableLine { hash, offset: offset as u32, length });
            offset += u64::from(length);
        }
        if offset + (table.len() + TRAILER_BYTES) as u64 != self.length || self.length > MAX_BLOB_BYTES {
            return Err(self.damaged("its table does not add up to its length"));
        }
        Ok(lines)
    }

    /// Returns the length of the table and the trailer at the pack's end.
    pub(crate) fn tail_bytes(&self) -> u64 {
        (u64::from(self.records) * TABLE_ENTRY_BYTES as u64 + TRAILER_BYTES as u64).min(self.length)
    }

    /// Returns the range of all its records.
    pub(crate) fn record_range(&self) -> Range<u32> {
        let start = MAGIC.len() as u32;
        start..start + u32::try_from(self.record_bytes()).unwrap_or(0)
    }

    /// Returns the length of all its records.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.length.saturating_sub(self.tail_bytes() + MAGIC.len() as u64)
    }

    /// Returns whether `extents` are so much of the pack that it is sent whole: a part would save next to nothing.
    pub(crate) fn is_mostly(&self, extents: &Extents) -> bool {
        extents.bytes() * 100 >= self.record_bytes() * WHOLE_PERCENT
    }

    /// Returns the records of a damaged pack that are still good. Fails if its table is damaged.
    pub(crate) fn records_in(&self, blob: &Bytes) -> Result<Vec<(TableLine, Bytes)>> {
        let record = |line: TableLine| Some((line, blob.slice(line.good_in(blob, line.offset as usize)?)));
        Ok(self.table(blob)?.into_iter().filter_map(record).collect())
    }

    fn damaged(&self, what: &str) -> Error {
        Error::corrupt(format!("pack {}", self.id), format!("the pack is damaged: {what}"))
    }
}

/// Returns the table of a pack, found by its trailer; unverified.
pub(super) fn table_of(pack: &[u8]) -> Option<&[u8]> {
    let (body, count) = pack.strip_suffix(&END_MAGIC)?.split_last_chunk::<4>()?;
    let table_bytes = (u32::from_le_bytes(*count) as usize).checked_mul(TABLE_ENTRY_BYTES)?;
    body.get(body.len().checked_sub(table_bytes)?..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::chunk::{CHUNK_BYTES, occupied_blocks};
    use crate::content::codec::encode;
    use crate::content::compression::{Compression, Compressor};
    use crate::content::names::UploadId;

    const ID: PackId = PackId { upload: UploadId::from_bytes([7; 16]), number: 3 };

    fn pack(compression: Compression) -> FinishedPack {
        let (mut builder, mut compressor) = (PackBuilder::new(ID, None), Compressor::new(compression));
        for seed in 1..4_u8 {
            let (mut chunk, mut record) = (vec![0; CHUNK_BYTES], Vec::new());
            chunk[..usize::from(seed) * 5000].fill(seed);
            let encoding = encode(&chunk, occupied_blocks(&chunk), &mut compressor, &mut record);
            builder.append(Digest::of(&chunk), encoding, &record, Digest::of(&record));
        }
        builder.append(Digest::of(b"a node"), Encoding::Plain, b"a node", Digest::of(b"a node"));
        builder.finish()
    }

    #[test]
    fn a_pack_verifies_and_no_byte_of_it_can_change() {
        let pack = pack(Compression::None);
        pack.info.verify(&pack.bytes).unwrap();
        let step = 97;
        for at in (0..pack.bytes.len()).step_by(step).chain(pack.bytes.len() - pack.tail().len()..pack.bytes.len()) {
            let mut flipped = pack.bytes.to_vec();
            flipped[at] ^= 0x10;
            assert!(pack.info.verify(&flipped).is_err(), "byte {at}");
        }
        for length in (0..pack.bytes.len()).step_by(step) {
            assert!(pack.info.verify(&pack.bytes[..length]).is_err(), "cut to {length}");
        }
    }

    /// zstd does not notice every flipped bit of a frame; the table does.
    #[test]
    fn a_compressed_pack_verifies_and_no_bit_of_it_can_change() {
        let pack = pack(Compression::Zstd);
        pack.info.verify(&pack.bytes).unwrap();
        assert!(pack.bytes.len() < 500, "{}", pack.bytes.len());
        for bit in 0..pack.bytes.len() * 8 {
            let mut flipped = pack.bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(pack.info.verify(&flipped).is_err(), "bit {bit}");
        }
        assert!((0..pack.bytes.len()).all(|length| pack.info.verify(&pack.bytes[..length]).is_err()));
    }

    #[test]
    fn the_tail_tells_packs_apart() {
        let (pack, mut other) = (pack(Compression::None), PackBuilder::new(ID, None));
        other.append(Digest::of(b"a mode"), Encoding::Plain, b"a mode", Digest::of(b"a mode"));
        assert_eq!(pack.tail().len(), 4 * TABLE_ENTRY_BYTES + TRAILER_BYTES);
        assert!(pack.bytes.ends_with(&pack.tail()));
        assert_ne!(other.finish().tail(), pack.tail());
    }
}
