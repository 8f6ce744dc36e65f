//! Encodes records that are stored already in another way: chunks in groups, which take less space than each by itself.

use bytes::Bytes;

use super::chunk::{BLOCK_BYTES, CHUNK_BYTES, occupied_blocks};
use super::codec::{Unpacker, encode, worthwhile};
use super::compression::{CROSSING_LEVEL, Compressor, RESTED_LEVEL};
use super::naming::Naming;
use super::record::{Encoding, GROUP_CHUNKS, Line};
use crate::error::{Error, Result};

/// How records are encoded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recoding {
    /// In groups, as small as is worth the time: content that has rested.
    Rested,
    /// In groups, faster than a border is: content that crosses one.
    Crossing,
}

impl Recoding {
    fn level(self) -> i32 {
        match self {
            Self::Rested => RESTED_LEVEL,
            Self::Crossing => CROSSING_LEVEL,
        }
    }
}

/// Encodes good records of one pack anew, in the order of their ordinals. What comes back was decoded and compared with the digest
/// of its content, also where it is as it was.
///
/// # Errors
///
/// `Corrupt` if a record is sealed and decodes to other content than its line names.
pub(crate) fn recode(mut records: Vec<(Line, Bytes)>, how: Recoding, naming: Naming) -> Result<Vec<(Line, Bytes)>> {
    records.sort_unstable_by_key(|(line, _)| line.ordinal);
    let (mut recoder, mut unpacker) = (Recoder::new(how, records.len(), naming), Unpacker::new(naming));
    for (line, stored) in records {
        let Some(content) = unpacker.content_of(&line, &stored) else {
            let what = format!("record `{}` is sealed, and decodes to other content", line.ordinal);
            return Err(Error::corrupt("record", what));
        };
        // Nodes of an index, which are hashes for the most part, are shorter than a chunk.
        match content.len() == CHUNK_BYTES {
            true => recoder.add(line, content)?,
            false => {
                // The lines of a group follow one another.
                recoder.close()?;
                recoder.done.push((line, stored));
            }
        }
    }
    recoder.finish()
}

struct Recoder {
    compressor: Compressor,
    /// Of the group that is being filled.
    lines: Vec<Line>,
    chunks: Vec<u8>,
    done: Vec<(Line, Bytes)>,
    unpacked: Unpacker,
}

impl Recoder {
    fn new(how: Recoding, records: usize, naming: Naming) -> Self {
        Self {
            compressor: Compressor::of_groups(how.level()),
            lines: Vec::with_capacity(GROUP_CHUNKS),
            chunks: Vec::with_capacity(GROUP_CHUNKS * CHUNK_BYTES),
            done: Vec::with_capacity(records),
            unpacked: Unpacker::new(naming),
        }
    }

    fn add(&mut self, line: Line, chunk: &[u8]) -> Result<()> {
        self.lines.push(line);
        self.chunks.extend_from_slice(chunk);
        if self.lines.len() == GROUP_CHUNKS { self.close() } else { Ok(()) }
    }

    /// Encodes the group: as one frame if that saves enough, and otherwise each chunk by itself.
    fn close(&mut self) -> Result<()> {
        let occupied: Vec<u16> = self.chunks.chunks_exact(CHUNK_BYTES).map(occupied_blocks).collect();
        let blocks: usize = occupied.iter().map(|mask| mask.count_ones() as usize * BLOCK_BYTES).sum();
        let frame = match self.lines.len() {
            0 | 1 => None,
            _ => self.compressor.compress(&self.chunks, worthwhile(blocks)).map(Bytes::copy_from_slice),
        };
        let (lines, of) = (std::mem::take(&mut self.lines), occupied.len());
        let mut chunks = std::mem::take(&mut self.chunks);
        for ((number, line), (chunk, occupied)) in
            lines.iter().enumerate().zip(chunks.chunks_exact(CHUNK_BYTES).zip(occupied))
        {
            let (encoding, stored) = match &frame {
                // At most eight.
                Some(frame) => (Encoding::Group { place: number as u8, of: of as u8 }, frame.clone()),
                None => self.encoded_alone(chunk, occupied),
            };
            let length = stored.len() as u32;
            let line = line.checked_as(encoding, length, &self.unpacked.hash_of(&stored));
            // What is written is read as it will be: a frame that went wrong never replaces a record.
            if self.unpacked.content_of(&line, &stored).is_none() {
                return Err(Error::corrupt("record", format!("record `{}` was encoded wrongly", line.ordinal)));
            }
            self.done.push((line, stored));
        }
        chunks.clear();
        self.chunks = chunks;
        Ok(())
    }

    fn encoded_alone(&mut self, chunk: &[u8], occupied: u16) -> (Encoding, Bytes) {
        let mut record = Vec::new();
        match encode(chunk, occupied, &mut self.compressor, &mut record) {
            Encoding::Plain => (Encoding::Plain, Bytes::copy_from_slice(chunk)),
            encoding => (encoding, record.into()),
        }
    }

    fn finish(mut self) -> Result<Vec<(Line, Bytes)>> {
        self.close()?;
        Ok(self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::digest::Digest;
    use crate::content::head::Described;
    use crate::content::pack::PackBuilder;
    use crate::content::pack::tests::{CATALOG, ID};
    use crate::content::pack::{FinishedPack, PackInfo};
    use crate::content::part::Part;
    use crate::content::record::{Hashed, StoredRecord};

    /// Text shrinks, noise does not, and half of a sparse chunk is zero.
    fn chunk(kind: u8, seed: u8) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(seed) << 8;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        match kind {
            0 => (0..CHUNK_BYTES).map(|at| if at % 3 == 0 { noise() & 15 } else { seed }).collect(),
            1 => (0..CHUNK_BYTES).map(|_| noise()).collect(),
            _ => (0..CHUNK_BYTES).map(|at| if at < CHUNK_BYTES / 2 { noise() & 15 } else { 0 }).collect(),
        }
    }

    fn pack_of(kinds: &[u8]) -> (FinishedPack, Bytes, Vec<Vec<u8>>) {
        let mut builder = PackBuilder::new(Described { catalog: CATALOG, pack: ID }, None);
        let (mut contents, mut records) = (Vec::new(), Vec::new());
        let mut plain = Compressor::new(crate::content::Compression::Later);
        for (kind, seed) in kinds.iter().zip(1..) {
            let content = if *kind == 9 { vec![seed; 300] } else { chunk(*kind, seed) };
            records.clear();
            let (encoding, record) = match *kind {
                9 => (Encoding::Plain, &content),
                _ => match encode(&content, occupied_blocks(&content), &mut plain, &mut records) {
                    Encoding::Plain => (Encoding::Plain, &content),
                    encoding => (encoding, &records),
                },
            };
            builder.append(Digest::of(&content), encoding, record, &Digest::of(record));
            contents.push(content);
        }
        let pack = builder.finish();
        let blob = [&pack.head[..], &pack.records[..]].concat().into();
        (pack, blob, contents)
    }

    fn recoded(info: &PackInfo, blob: &Bytes, how: Recoding) -> (Part, Bytes, Vec<(Line, Bytes)>) {
        let head = info.head(CATALOG, blob).unwrap();
        let records = recode(head.records_in(blob), how, Naming::Plain).unwrap();
        let (part, bytes) = Part::build(CATALOG, info, records.clone()).unwrap();
        (part, bytes, records)
    }

    #[test]
    fn every_record_comes_back_from_its_group() {
        let kinds = [0, 0, 2, 1, 0, 0, 2, 0, 1, 1, 1, 1, 1, 1, 1, 2, 9, 0, 9, 0, 0, 2];
        let (pack, blob, contents) = pack_of(&kinds);
        for how in [Recoding::Rested, Recoding::Crossing] {
            let (part, bytes, records) = recoded(&pack.info, &blob, how);
            assert!(part.id.is_complete() && part.is_of(&pack.info));
            assert_eq!(recoded(&pack.info, &blob, how).1, bytes, "the same records give the same part");
            let head = part.verify(CATALOG, &bytes).unwrap();
            let groups =
                |lines: &[Line]| lines.iter().filter(|line| matches!(line.encoding, Encoding::Group { .. })).count();
            // Eight, none of the noise, and those after the nodes but for one alone between two of them.
            assert_eq!(groups(head.lines()), 8 + 3);
            let mut unpacker = Unpacker::default();
            // Forwards, backwards, and one by one.
            for numbers in [(0..contents.len()).collect::<Vec<_>>(), (0..contents.len()).rev().collect()] {
                for number in numbers {
                    let line = *head.line(number as u16).unwrap();
                    let stored = StoredRecord {
                        line,
                        bytes: line.stored_in(&bytes).unwrap(),
                        is_verified: false,
                        encrypted: None,
                    };
                    if contents[number].len() == CHUNK_BYTES {
                        unpacker.unpack(0, &stored, &Digest::of(&contents[number])).unwrap();
                        assert!(unpacker.chunk(0, &stored) == contents[number]);
                        let other = Digest::of(b"another");
                        assert!(unpacker.unpack(0, &stored, &other).is_err());
                    }
                }
            }
            assert!((bytes.len() as u64) < blob.len() as u64 * 3 / 4, "{} of {}", bytes.len(), blob.len());
            // Encoded once more, by what is in the part.
            let again = recode(head.records_in(&bytes), how, Naming::Plain).unwrap();
            assert_eq!(again.len(), records.len());
            assert_eq!(Part::build(CATALOG, &pack.info, again).unwrap().1, bytes);
        }
    }

    #[test]
    fn what_is_left_of_a_group_is_read_and_encoded_anew() {
        let (pack, blob, contents) = pack_of(&[0; 16]);
        let (_, _, mut records) = recoded(&pack.info, &blob, Recoding::Rested);
        records.retain(|(line, _)| [1, 2, 9, 15].contains(&line.ordinal));
        let (left, bytes) = Part::build(CATALOG, &pack.info, records.clone()).unwrap();
        let head = left.verify(CATALOG, &bytes).unwrap();
        let anew = recode(head.records_in(&bytes), Recoding::Rested, Naming::Plain).unwrap();
        let (anew, smaller) = Part::build(CATALOG, &pack.info, anew).unwrap();
        assert!(smaller.len() < bytes.len(), "{} of {}", smaller.len(), bytes.len());
        for (part, bytes) in [(left, bytes), (anew, smaller)] {
            assert_eq!(part.extents().count(), 4);
            let head = part.verify(CATALOG, &bytes).unwrap();
            let mut unpacker = Unpacker::default();
            for line in head.lines() {
                let stored = line.good_in(&bytes, &mut Hashed::default()).unwrap();
                assert!(unpacker.content_of(line, &stored).unwrap() == contents[usize::from(line.ordinal)]);
            }
        }
    }

    #[test]
    fn a_record_that_decodes_to_other_content_is_not_encoded_anew() {
        let (pack, blob, _) = pack_of(&[0, 0]);
        let mut records = pack.info.head(CATALOG, &blob).unwrap().records_in(&blob);
        let wrong = Digest::of(b"other content");
        records[1].0.content = wrong;
        assert_eq!(recode(records, Recoding::Rested, Naming::Plain).unwrap_err().kind(), crate::ErrorKind::Corrupt);
    }

    #[test]
    fn no_bit_of_a_group_can_change() {
        let (pack, blob, _) = pack_of(&[0, 2, 0]);
        let (part, bytes, _) = recoded(&pack.info, &blob, Recoding::Rested);
        for at in (0..bytes.len()).step_by(37) {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 0x04;
            assert!(part.verify(CATALOG, &flipped.into()).is_err(), "byte {at}");
        }
    }
}
