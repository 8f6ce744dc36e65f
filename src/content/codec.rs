//! Encodes chunks as records, and back.

use bytes::Bytes;

use super::chunk::{BLOCK_BYTES, CHUNK_BYTES};
use super::cipher::{Encrypted, plain_length};
use super::compression::{Compressor, Decompressor};
use super::digest::Digest;
use super::naming::Naming;
use super::record::{Encoding, Hashed, Line, StoredRecord};
use crate::error::{Error, Result};

/// Compression must save at least one byte of this number; a chunk that saves less reads faster plain.
const LEAST_SAVING: usize = 8;

/// Appends the record of a chunk that is not all zero to `records`; `occupied` is its [`occupied_blocks`]. The record of
/// a plain one is the chunk, and is not copied.
///
/// Deterministic: a resumed import finds its packs because equal chunks give equal records.
pub(crate) fn encode(chunk: &[u8], occupied: u16, compressor: &mut Compressor, records: &mut Vec<u8>) -> Encoding {
    if let Some(frame) = compressor.compress(chunk, worthwhile(occupied.count_ones() as usize * BLOCK_BYTES)) {
        records.extend_from_slice(frame);
        return Encoding::Zstd;
    }
    if occupied == u16::MAX {
        return Encoding::Plain;
    }
    for (number, block) in chunk.chunks(BLOCK_BYTES).enumerate() {
        if occupied & (1 << number) != 0 {
            records.extend_from_slice(block);
        }
    }
    Encoding::Sparse { occupied }
}

/// Returns the most bytes of a frame that is written in place of `bytes`.
pub(super) fn worthwhile(bytes: usize) -> usize {
    bytes - bytes / LEAST_SAVING
}

/// Decodes records. It keeps the decoded chunks, by a number that the caller assigns. Reused, so that its memory is set
/// up once.
#[derive(Default)]
pub(crate) struct Unpacker {
    naming: Naming,
    zstd: Decompressor,
    unpacked: Vec<u8>,
    hashed: Hashed,
    group: Group,
    /// The bytes of the last encrypted record.
    decrypted: Vec<u8>,
}

/// The chunks of the last group that was decoded: its records mostly come one after the other.
#[derive(Default)]
struct Group {
    /// The frame, if there is a well-formed one. It is held, so no other one can have its place in memory.
    frame: Option<Bytes>,
    chunks: Vec<u8>,
}

impl Unpacker {
    /// Returns one for the content of a catalog that names it so.
    pub(crate) fn new(naming: Naming) -> Self {
        Self { naming, ..Self::default() }
    }

    /// Verifies the record of a chunk by its seal, and decodes it; [`chunk`](Self::chunk) then returns it.
    ///
    /// The seal is of the stored bytes and of the digest that the index names. If the line says that they were compared
    /// before, that is enough; otherwise the decoded content is hashed, too. A record that this process has verified before is only
    /// decoded.
    pub(crate) fn unpack(&mut self, number: usize, record: &StoredRecord, expected: &Digest) -> Result<()> {
        let is_named = record.line.content == *expected;
        let is_verified = record.is_verified && is_named;
        if !is_verified && !record.line.seals(expected, &record.bytes, &mut self.hashed) {
            return Err(damaged(expected, "its seal differs"));
        }
        let (is_checked, naming) = (is_verified || record.line.is_checked, self.naming);
        let content = self.content(number, &record.bytes, record.line.encoding, record.encrypted.as_ref());
        let Some(content) = content.filter(|content| content.len() == CHUNK_BYTES) else {
            return Err(damaged(expected, "it is malformed"));
        };
        match is_checked || naming.name(content) == *expected {
            true => Ok(()),
            false => Err(damaged(expected, "its content is another")),
        }
    }

    /// Returns whether a stored record is sealed and decodes to the content that its line names.
    pub(crate) fn is_good_stored(&mut self, record: &StoredRecord) -> bool {
        let StoredRecord { line, bytes, encrypted, .. } = record;
        let naming = self.naming;
        line.seals(&line.content, bytes, &mut self.hashed)
            && self
                .content(0, bytes, line.encoding, encrypted.as_ref())
                .is_some_and(|content| naming.name(content) == line.content)
    }

    /// Returns whether a record, of a chunk or an index node, is sealed and decodes to the content that its line names. It is not
    /// encrypted, or not any more.
    pub(crate) fn is_good(&mut self, line: &Line, bytes: &Bytes) -> bool {
        line.seals(&line.content, bytes, &mut self.hashed) && self.decodes(line, bytes)
    }

    /// Returns whether a record whose seal was verified decodes to the content that its line names.
    pub(crate) fn decodes(&mut self, line: &Line, bytes: &Bytes) -> bool {
        self.content_of(line, bytes).is_some()
    }

    /// Returns the hash of stored bytes.
    pub(super) fn hash_of(&mut self, stored: &Bytes) -> Digest {
        self.hashed.hash_of(stored)
    }

    /// Returns the content of a record whose seal was verified; `None` if it is not what its line names.
    pub(super) fn content_of<'a>(&'a mut self, line: &Line, bytes: &'a Bytes) -> Option<&'a [u8]> {
        let naming = self.naming;
        self.content(0, bytes, line.encoding, None).filter(|content| naming.name(content) == line.content)
    }

    /// Returns a decoded chunk.
    pub(crate) fn chunk<'a>(&'a self, number: usize, record: &'a StoredRecord) -> &'a [u8] {
        match record.line.encoding {
            Encoding::Plain if record.encrypted.is_none() => &record.bytes,
            Encoding::Plain | Encoding::Sparse { .. } | Encoding::Zstd | Encoding::Group { .. } => {
                self.unpacked.chunks_exact(CHUNK_BYTES).nth(number).unwrap_or_default()
            }
        }
    }

    /// Returns the content of a record, unverified, for a fuzzer.
    #[cfg(feature = "testkit")]
    pub(super) fn decode<'a>(&'a mut self, stored: &'a Bytes, encoding: Encoding) -> Option<&'a [u8]> {
        self.content(0, stored, encoding, None)
    }

    /// Returns the content of a record, unverified but for what decryption verifies; `None` if it is malformed.
    fn content<'a>(
        &'a mut self,
        number: usize,
        record: &'a Bytes,
        encoding: Encoding,
        encrypted: Option<&Encrypted>,
    ) -> Option<&'a [u8]> {
        if encoding == Encoding::Plain && encrypted.is_none() {
            return Some(record);
        }
        let range = number * CHUNK_BYTES..(number + 1) * CHUNK_BYTES;
        if self.unpacked.len() < range.end {
            self.unpacked.resize(range.end, 0);
        }
        let chunk = self.unpacked.get_mut(range)?;
        if let Encoding::Group { place, of } = encoding {
            let (zstd, decrypted) = (&mut self.zstd, &mut self.decrypted);
            let chunks = self.group.decoded(record, of.into(), |group| {
                zstd.decompress(plain(record, encrypted, decrypted)?, group).then_some(())
            });
            let found = chunks?.chunks_exact(CHUNK_BYTES).nth(place.into())?;
            chunk.copy_from_slice(found);
            return Some(chunk);
        }
        if let (Encoding::Plain, Some(encrypted)) = (encoding, encrypted)
            && plain_length(record) == Some(CHUNK_BYTES)
        {
            return encrypted.decrypt(record, chunk).then_some(chunk);
        }
        let record = plain(record, encrypted, &mut self.decrypted)?;
        let whole = match encoding {
            Encoding::Sparse { occupied } => spread(record, occupied, chunk),
            Encoding::Zstd => self.zstd.decompress(record, chunk),
            // An index node.
            Encoding::Plain | Encoding::Group { .. } => return Some(record),
        };
        whole.then_some(chunk)
    }
}

/// Returns the bytes that the encoding has given, in `decrypted` if they are encrypted.
fn plain<'a>(record: &'a [u8], encrypted: Option<&Encrypted>, decrypted: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let Some(encrypted) = encrypted else { return Some(record) };
    decrypted.resize(plain_length(record)?, 0);
    encrypted.decrypt(record, decrypted).then_some(decrypted)
}

impl Group {
    /// Returns the chunks of a frame of `of` chunks, which `decode` fills; `None` if it is malformed.
    fn decoded(&mut self, frame: &Bytes, of: usize, decode: impl FnOnce(&mut [u8]) -> Option<()>) -> Option<&[u8]> {
        let is_this = |held: &Bytes| held.as_ptr() == frame.as_ptr() && held.len() == frame.len();
        if !self.frame.as_ref().is_some_and(is_this) || self.chunks.len() != of * CHUNK_BYTES {
            self.frame = None;
            self.chunks.resize(of * CHUNK_BYTES, 0);
            decode(&mut self.chunks)?;
            self.frame = Some(frame.clone());
        }
        Some(&self.chunks)
    }
}

fn damaged(expected: &Digest, what: &str) -> Error {
    Error::corrupt("record", format!("record `{expected}` is damaged: {what}"))
}

/// Puts the blocks of a sparse record at their offsets, and zeros elsewhere; false if their number differs from the
/// mask's.
fn spread(blocks: &[u8], occupied: u16, chunk: &mut [u8]) -> bool {
    if blocks.len() != occupied.count_ones() as usize * BLOCK_BYTES {
        return false;
    }
    let mut blocks = blocks.chunks_exact(BLOCK_BYTES);
    for (number, target) in chunk.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        match if occupied & (1 << number) != 0 { blocks.next() } else { None } {
            Some(block) => target.copy_from_slice(block),
            None => target.fill(0),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::content::chunk::occupied_blocks;
    #[cfg(feature = "_properties")]
    use crate::content::chunk::occupied_runs;
    #[cfg(feature = "_properties")]
    use proptest::prelude::*;

    use super::*;
    use crate::content::compression::Compression;

    /// Its occupied blocks can be made smaller, or are noise.
    fn chunk_with(occupied: u16, noise: bool) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut byte = |at: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if noise { (state >> 32) as u8 | 1 } else { (at % 251) as u8 + 1 }
        };
        (0..CHUNK_BYTES).map(|at| if occupied & (1 << (at / BLOCK_BYTES)) != 0 { byte(at) } else { 0 }).collect()
    }

    fn record_of(chunk: &[u8], compression: Compression) -> (Encoding, Vec<u8>) {
        let mut record = Vec::new();
        let encoding = encode(chunk, occupied_blocks(chunk), &mut Compressor::new(compression), &mut record);
        (encoding, if encoding == Encoding::Plain { chunk.to_vec() } else { record })
    }

    /// A record as it is read, with the line of one whose content was checked, or was not.
    fn stored(record: &[u8], encoding: Encoding, content: &Digest) -> StoredRecord {
        let line = Line::new(3, *content, encoding, (0, record.len() as u32), &Digest::of(record));
        StoredRecord { line, bytes: Bytes::copy_from_slice(record), is_verified: false, encrypted: None }
    }

    #[test]
    fn a_full_chunk_is_stored_as_it_is_where_it_can_not_be_made_smaller() {
        let chunk = chunk_with(u16::MAX, true);
        assert_eq!(record_of(&chunk, Compression::Zstd).0, Encoding::Plain);
        let chunk = chunk_with(u16::MAX, false);
        assert_eq!(record_of(&chunk, Compression::None).0, Encoding::Plain);
        assert_eq!(record_of(&chunk, Compression::Zstd).0, Encoding::Zstd);
    }

    #[test]
    fn one_byte_keeps_its_block_at_the_most() {
        let mut chunk = vec![0; CHUNK_BYTES];
        chunk[CHUNK_BYTES - 1] = 1;
        assert_eq!(occupied_blocks(&chunk), 1 << 15);
        let (encoding, record) = record_of(&chunk, Compression::None);
        assert_eq!((encoding, record.len()), (Encoding::Sparse { occupied: 1 << 15 }, BLOCK_BYTES));
        let (encoding, record) = record_of(&chunk, Compression::Zstd);
        assert_eq!(encoding, Encoding::Zstd);
        assert!(record.len() < 64, "{}", record.len());
    }

    /// Noise, with so many blocks of one byte that zstd saves a little more or a little less than it must.
    #[test]
    fn a_small_saving_is_not_worth_a_frame() {
        let full = chunk_with(u16::MAX, true);
        for (repeated, encoding) in [(1, Encoding::Plain), (2, Encoding::Plain), (3, Encoding::Zstd)] {
            let mut chunk = full.clone();
            chunk[..repeated * BLOCK_BYTES].fill(7);
            assert_eq!(record_of(&chunk, Compression::Zstd).0, encoding, "{repeated} blocks");
        }
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        for compression in [Compression::None, Compression::Zstd] {
            let chunk = chunk_with(0b1010, false);
            let (digest, mut unpacker) = (Digest::of(&chunk), Unpacker::default());
            let (encoding, record) = record_of(&chunk, compression);
            let good = stored(&record, encoding, &digest);
            let mut refused = |bytes: &[u8]| {
                let bytes = Bytes::copy_from_slice(bytes);
                // As it was sealed, and as a writer would have sealed it that did not compare.
                let sealed = stored(&bytes, encoding, &digest);
                for damaged in [StoredRecord { bytes, ..good.clone() }, sealed] {
                    if let Ok(()) = unpacker.unpack(0, &damaged, &digest) {
                        assert_eq!(unpacker.chunk(0, &damaged), chunk, "good, but not the chunk");
                        assert!(damaged.line != good.line, "the seal differs");
                    }
                }
            };
            for (at, bit) in (0..record.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut flipped = record.clone();
                flipped[at] ^= 1 << bit;
                refused(&flipped);
            }
            (0..record.len()).for_each(|length| refused(&record[..length]));
            refused(&[&record[..], b"more"].concat());
            for other in [
                Encoding::Plain,
                Encoding::Sparse { occupied: 0b1010 },
                Encoding::Sparse { occupied: 0b0101 },
                Encoding::Zstd,
            ] {
                if other != encoding {
                    unpacker.unpack(0, &stored(&record, other, &digest), &digest).unwrap_err();
                    let unsealed = StoredRecord { line: Line { encoding: other, ..good.line }, ..good.clone() };
                    unpacker.unpack(0, &unsealed, &digest).unwrap_err();
                }
            }
            // What was damaged before does not matter to what is good.
            unpacker.unpack(0, &good, &digest).unwrap();
        }
    }

    /// A guest that could make a frame of gigabytes a record would otherwise choose how much memory we take.
    #[test]
    fn a_frame_of_more_or_less_than_a_chunk_is_refused() {
        let mut unpacker = Unpacker::default();
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES + 1, 64 << 20] {
            let content = vec![1; length];
            let mut frame = vec![0; zstd_safe::compress_bound(length)];
            let end = zstd_safe::compress(&mut frame[..], &content, 1).unwrap();
            let digest = Digest::of(&content);
            unpacker.unpack(0, &stored(&frame[..end], Encoding::Zstd, &digest), &digest).unwrap_err();
            assert_eq!(unpacker.unpacked.len(), CHUNK_BYTES, "{length}");
        }
        // Two frames that only together are a chunk, and one that says it has 2^62 bytes.
        let half = vec![1; CHUNK_BYTES / 2];
        let mut frame = vec![0; 1000];
        let end = zstd_safe::compress(&mut frame[..], &half, 1).unwrap();
        let digest = Digest::of(&[&half[..], &half[..]].concat());
        let twice = stored(&[&frame[..end], &frame[..end]].concat(), Encoding::Zstd, &digest);
        if unpacker.unpack(0, &twice, &digest).is_ok() {
            assert!(unpacker.chunk(0, &twice).iter().all(|byte| *byte == 1));
        }
        let huge = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1_u64 << 62).to_le_bytes(), &frame[9..end]].concat();
        unpacker.unpack(0, &stored(&huge, Encoding::Zstd, &digest), &digest).unwrap_err();
    }

    #[test]
    fn a_node_is_no_chunk() {
        let digest = Digest::of(b"a node");
        Unpacker::default().unpack(0, &stored(b"a node", Encoding::Plain, &digest), &digest).unwrap_err();
    }

    /// A record that a writer sealed without looking: a reader hashes what it decodes, and a scrub does.
    #[test]
    fn a_sealed_record_of_other_content_is_found() {
        let (one, other) = (chunk_with(0b1010, false), chunk_with(0b0101, false));
        let (digest, mut unpacker) = (Digest::of(&one), Unpacker::default());
        for compression in [Compression::None, Compression::Zstd] {
            let (encoding, record) = record_of(&other, compression);
            let wrong = stored(&record, encoding, &digest);
            assert!(wrong.line.seals(&digest, &wrong.bytes, &mut Hashed::default()));
            unpacker.unpack(0, &wrong, &digest).unwrap_err();
            assert!(!unpacker.is_good(&wrong.line, &wrong.bytes));
        }
    }

    #[cfg(feature = "_properties")]
    proptest! {
        #[test]
        fn any_chunk_comes_back(
            occupied in 1_u16.., noise in any::<bool>(), compressed in any::<bool>(), number in 0_usize..4,
        ) {
            let chunk = chunk_with(occupied, noise);
            let (encoding, record) = record_of(&chunk, if compressed { Compression::Zstd } else { Compression::None });
            prop_assert!(compressed || encoding != Encoding::Zstd);
            prop_assert!(record.len() <= occupied.count_ones() as usize * BLOCK_BYTES);
            let (mut unpacker, mut back) = (Unpacker::default(), vec![0; CHUNK_BYTES]);
            // Whatever lay in its place before.
            unpacker.unpacked.resize(4 * CHUNK_BYTES, 9);
            let stored = stored(&record, encoding, &Digest::of(&chunk));
            unpacker.unpack(number, &stored, &Digest::of(&chunk)).unwrap();
            let unpacked = unpacker.chunk(number, &stored);
            let mut last = None;
            for (offset, run) in occupied_runs(unpacked) {
                back[offset..offset + run.len()].copy_from_slice(run);
                prop_assert!(last.is_none_or(|last| last < offset), "runs are maximal and ascend");
                last = Some(offset + run.len());
            }
            prop_assert!(back == chunk);
            prop_assert!(unpacked == chunk);
        }
    }
}
