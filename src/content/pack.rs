//! Packs: up to 16 MiB of records of one import, in one blob.
//!
//! One blob for each chunk would be too slow: writing a thousand files takes several times as long as writing one of
//! their total size.

use bytes::Bytes;

use super::aead::TAG_BYTES;
use super::blob::{assembled, encrypt};
use super::chunk::BLOCK_BYTES;
use super::cipher::DataKey;
use super::digest::Digest;
use super::extents::Extents;
use super::head::{Described, Head, place_after};
use super::names::{CatalogId, MAX_RECORDS, PackId};
use super::record::{Encoding, Line, RecordRef};
use crate::error::{Error, ErrorKind, Result};

/// A pack is closed before its records grow beyond this: small enough that several on their way bound the memory of an import
/// and that the last one is not long in the making, large enough that a store is asked for few (`docs/decisions/0004`).
pub(crate) const PACK_BYTES: usize = 16 << 20;

/// A part with at least this share of a pack's records is sent as the whole pack.
const WHOLE_PERCENT: u64 = 95;

/// A pack that is being filled.
#[derive(Debug)]
pub(crate) struct PackBuilder {
    of: Described,
    /// The records.
    bytes: Vec<u8>,
    /// With offsets from the first record.
    lines: Vec<Line>,
    /// The room behind each record for what authenticates it.
    tag_bytes: usize,
}

/// A pack whose records are complete and not encrypted yet.
#[derive(Debug)]
pub(crate) struct FilledPack(PackBuilder);

/// A finished pack, with its line for the manifest.
#[derive(Clone, Debug)]
pub(crate) struct FinishedPack {
    pub(crate) info: PackInfo,
    /// Up to the first record. It tells everything that is in the pack.
    pub(crate) head: Bytes,
    pub(crate) records: Bytes,
}

/// A pack's line in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackInfo {
    pub(crate) id: PackId,
    /// In bytes, as the import wrote it.
    pub(crate) length: u64,
    /// The number of records.
    pub(crate) records: u32,
    /// The hash of the digests of its records, in their order. It does not depend on how they are stored.
    pub(crate) content: Digest,
}

impl PackBuilder {
    /// Reuses `spare`, the buffer of an earlier pack: fresh memory would cost a page fault for each 4 KiB.
    pub(crate) fn new(of: Described, spare: Option<Vec<u8>>) -> Self {
        let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(PACK_BYTES));
        bytes.clear();
        Self { of, bytes, lines: Vec::new(), tag_bytes: 0 }
    }

    /// Leaves room to encrypt the records.
    pub(crate) fn with_room_for_tags(self) -> Self {
        Self { tag_bytes: TAG_BYTES, ..self }
    }

    /// Returns whether a record of `length` bytes still fits.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.lines.len() < MAX_RECORDS as usize
            && self.bytes.len().next_multiple_of(BLOCK_BYTES) + length + self.tag_bytes <= PACK_BYTES
    }

    /// Appends a record, for which there must be room. `hash` is that of the stored bytes.
    pub(crate) fn append(&mut self, content: Digest, encoding: Encoding, record: &[u8], hash: &Digest) -> RecordRef {
        let length = record.len() + self.tag_bytes;
        self.bytes.resize(place_after(self.bytes.len() as u64, length as u64) as usize, 0);
        // A builder is closed before it passes 16 MiB and 16,384 records, so all of them fit.
        let (ordinal, place) = (self.lines.len() as u16, (self.bytes.len() as u32, length as u32));
        self.bytes.extend_from_slice(record);
        self.bytes.resize(self.bytes.len() + self.tag_bytes, 0);
        self.lines.push(Line::new(ordinal, content, encoding, place, hash));
        RecordRef { digest: content, pack: self.of.pack, ordinal }
    }

    pub(crate) fn fill(self) -> FilledPack {
        FilledPack(self)
    }

    #[cfg(test)]
    pub(crate) fn finish(self) -> FinishedPack {
        self.fill().finish(None).unwrap()
    }
}

impl FilledPack {
    /// Returns the pack to store: encrypted with `key`, for which there must be room, if it is given.
    pub(crate) fn finish(self, key: Option<&DataKey>) -> Result<FinishedPack> {
        let Self(PackBuilder { of, mut bytes, mut lines, .. }) = self;
        let (records, content) = (lines.len() as u32, content_of(&lines));
        let encryption = match key {
            Some(key) => Some((key.number(), encrypt(of, key, &mut lines, &mut bytes)?)),
            None => None,
        };
        let (head, head_bytes) = Head::build(of, content, lines, encryption);
        let info = PackInfo { id: of.pack, length: head.length(), records, content };
        Ok(FinishedPack { info, head: head_bytes, records: bytes.into() })
    }
}

/// Returns the hash of the digests of records.
fn content_of(lines: &[Line]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        hasher.update(line.content.as_bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

impl PackInfo {
    /// Reads the head of the pack. `blob` is the pack, or at least its head.
    pub(crate) fn head(&self, catalog: CatalogId, blob: &[u8]) -> Result<Head> {
        let head = Head::parse(Described { catalog, pack: self.id }, self.records, blob)?;
        if head.length() != self.length || head.content() != self.content || content_of(head.lines()) != self.content {
            return Err(self.damaged("its records are not those that the manifest names"));
        }
        Ok(head)
    }

    /// Returns whether `lines`, in the order of their ordinals, can be those of the pack: all of them have the hash that the manifest
    /// names. Some of them prove nothing.
    pub(crate) fn can_have(&self, lines: &[Line]) -> bool {
        (lines.len() as u64) < u64::from(self.records) || content_of(lines) == self.content
    }

    #[cfg(test)]
    pub(crate) fn good_records_in(&self, catalog: CatalogId, blob: &Bytes) -> Vec<(Line, Bytes)> {
        self.head_or_rest(catalog, blob).map(|head| head.records_in(blob)).unwrap_or_default()
    }

    /// Returns the pack of all its records, which are not encrypted, encrypted with `key`: of the same length and places as with any other.
    pub(crate) fn encrypted(&self, catalog: CatalogId, records: Vec<(Line, Bytes)>, key: &DataKey) -> Result<Bytes> {
        let (head, blob) = assembled(Described { catalog, pack: self.id }, self.content, records, Some(key))?;
        match head.length() == self.length && head.lines().len() as u64 == u64::from(self.records) {
            true => Ok(blob),
            false => Err(self.damaged("encrypted anew it has another length")),
        }
    }

    /// Reads the head of the pack, or what is left of it if it is damaged.
    pub(crate) fn head_or_rest(&self, catalog: CatalogId, blob: &[u8]) -> Result<Head> {
        match self.head(catalog, blob) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Ok(Head::salvage(Described { catalog, pack: self.id }, self.records, blob))
            }
            head => head,
        }
    }

    /// Verifies a whole pack: its head, which it returns, against the manifest, and every record against the head.
    pub(crate) fn verify(&self, catalog: CatalogId, pack: &Bytes) -> Result<Head> {
        let head = self.head(catalog, pack)?;
        match head.fault_in(pack) {
            None => Ok(head),
            Some(what) => Err(self.damaged(&what)),
        }
    }

    /// Returns the bytes that `extents` take, as a share of its length: what they really take is in the head of each blob.
    pub(crate) fn bytes_of(&self, extents: &Extents) -> u64 {
        let share = u128::from(self.length) * u128::from(extents.count()) / u128::from(self.records.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Returns whether `extents` are so much of the pack that it is sent whole: a part would save next to nothing.
    pub(crate) fn is_mostly(&self, extents: &Extents) -> bool {
        extents.count() * 100 >= u64::from(self.records) * WHOLE_PERCENT
    }

    fn damaged(&self, what: &str) -> Error {
        Error::corrupt(format!("pack {}", self.id), format!("the pack is damaged: {what}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::content::chunk::{CHUNK_BYTES, occupied_blocks};
    use crate::content::codec::encode;
    use crate::content::compression::{Compression, Compressor};
    use crate::content::names::UploadId;
    use crate::content::record::Hashed;

    pub(in crate::content) const CATALOG: CatalogId = CatalogId(UploadId::from_bytes([5; 16]));
    pub(in crate::content) const ID: PackId = PackId { upload: UploadId::from_bytes([7; 16]), number: 3 };
    const OF: Described = Described { catalog: CATALOG, pack: ID };

    fn whole(pack: &FinishedPack) -> Bytes {
        [&pack.head[..], &pack.records[..]].concat().into()
    }

    fn pack(compression: Compression) -> FinishedPack {
        let (mut builder, mut compressor) = (PackBuilder::new(OF, None), Compressor::new(compression));
        for seed in 1..4_u8 {
            let (mut chunk, mut record) = (vec![0; CHUNK_BYTES], Vec::new());
            chunk[..usize::from(seed) * 5000].fill(seed);
            let encoding = encode(&chunk, occupied_blocks(&chunk), &mut compressor, &mut record);
            builder.append(Digest::of(&chunk), encoding, &record, &Digest::of(&record));
        }
        builder.append(Digest::of(b"a node"), Encoding::Plain, b"a node", &Digest::of(b"a node"));
        builder.finish()
    }

    /// zstd does not notice every flipped bit of a frame; the seal does.
    #[test]
    fn a_pack_verifies_and_no_bit_of_it_can_change() {
        for (compression, step) in [(Compression::None, 97), (Compression::Zstd, 1)] {
            let pack = pack(compression);
            let (info, blob) = (pack.info, whole(&pack));
            info.verify(CATALOG, &blob).unwrap();
            let bits = (0..blob.len() * 8).filter(|bit| bit / 8 < 600 || bit % step == 0);
            for bit in bits {
                let mut flipped = blob.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(info.verify(CATALOG, &flipped.into()).is_err(), "bit {bit}");
            }
            for length in (0..blob.len()).step_by(step) {
                assert!(info.verify(CATALOG, &blob.slice(..length)).is_err(), "cut to {length}");
            }
        }
    }

    #[test]
    fn records_of_whole_blocks_begin_at_a_multiple_of_4_kib() {
        let pack = pack(Compression::None);
        let head = pack.info.head(CATALOG, &pack.head).unwrap();
        let places: Vec<(u32, u32)> = head.lines().iter().map(|line| (line.offset, line.length)).collect();
        assert_eq!(places, [(4096, 8192), (12288, 12288), (24576, 16384), (40960, 6)]);
        assert_eq!(pack.head.len(), 4096);
    }

    #[test]
    fn a_blob_under_another_name_is_found_at_once() {
        let pack = pack(Compression::None);
        let elsewhere = PackInfo { id: PackId { number: 4, ..ID }, ..pack.info };
        let error = elsewhere.head(CATALOG, &pack.head).unwrap_err().to_string();
        assert!(error.contains("lies under another name"), "{error}");
        let other = CatalogId(UploadId::from_bytes([6; 16]));
        assert!(pack.info.head(other, &pack.head).is_err());
        // A pack of the same name and length with other content, as two imports might write it.
        let mut other = PackBuilder::new(OF, None);
        for seed in 0..4 {
            other.append(Digest::of(&[seed]), Encoding::Plain, &[seed], &Digest::of(&[seed]));
        }
        let other = other.finish();
        let claimed = PackInfo { length: other.info.length, ..pack.info };
        let error = claimed.head(CATALOG, &other.head).unwrap_err().to_string();
        assert!(error.contains("not those that the manifest names"), "{error}");
    }

    /// The head is whole, but two of its lines were exchanged before it was written.
    #[test]
    fn a_line_that_describes_another_record_is_found() {
        let pack = pack(Compression::Zstd);
        let blob = whole(&pack);
        let lines = pack.info.head(CATALOG, &pack.head).unwrap().lines().to_vec();
        let (one, two) = (lines[0], lines[1]);
        let good = |line: &Line| line.good_in(&blob, &mut Hashed::default());
        // The contents exchanged, as a reader meets it, who compares with the index.
        assert!(!two.seals(&one.content, &two.stored_in(&blob).unwrap(), &mut Hashed::default()));
        // The places exchanged, as a copy meets it, which has no index.
        let moved = Line { offset: two.offset, length: two.length, ..one };
        assert!(good(&one).is_some() && good(&moved).is_none());
        // The encodings exchanged.
        assert!(good(&Line { encoding: Encoding::Plain, ..one }).is_none());
    }

    /// The seal of each line proves it, so the damage of a head costs the lines that it hits.
    #[test]
    fn a_damaged_head_loses_only_the_records_of_its_damaged_lines() {
        let pack = pack(Compression::Zstd);
        let blob = whole(&pack);
        let all = pack.info.good_records_in(CATALOG, &blob);
        assert_eq!(all.len(), 4);
        for at in (0..HEADER + 52 + 4 * 80).step_by(3) {
            let mut damaged = blob.to_vec();
            damaged[at] ^= 0x11;
            let left = pack.info.good_records_in(CATALOG, &damaged.into());
            let hit = at.checked_sub(HEADER + 52).map(|at| at / 80);
            let expected: Vec<_> =
                all.iter().enumerate().filter(|(number, _)| Some(*number) != hit).map(|(_, record)| record).collect();
            // A flipped bit of an unused field hits none of what a line means.
            assert!(left.iter().collect::<Vec<_>>() == expected, "byte {at}");
        }
    }

    /// With a right hash, what this build does not know is of a newer one: a mend must not replace it.
    #[test]
    fn a_newer_head_is_unsupported_and_not_damaged() {
        let pack = pack(Compression::None);
        for at in [8, 10, 12, 32, 52, 54, 72] {
            let mut newer = pack.head.to_vec();
            newer[at] ^= 2;
            assert_eq!(pack.info.head(CATALOG, &newer).unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
            let hash = Digest::of(&newer[..80]);
            newer[80..96].copy_from_slice(&hash.as_bytes()[..16]);
            // The rest may have any form.
            newer[96..200].fill(7);
            assert_eq!(pack.info.head(CATALOG, &newer).unwrap_err().kind(), ErrorKind::Unsupported, "byte {at}");
        }
        for at in [76, 77] {
            let mut newer = pack.head.to_vec();
            newer[HEADER + 52 + at] = 9;
            let mut hasher = blake3::Hasher::new();
            hasher.update(&newer[..96]).update(&newer[HEADER..HEADER + 52 + 4 * 80]);
            newer[96..HEADER].copy_from_slice(hasher.finalize().as_bytes());
            assert_eq!(
                pack.info.head(CATALOG, &newer).unwrap_err().kind(),
                ErrorKind::Unsupported,
                "byte {at} of a line"
            );
        }
    }

    const HEADER: usize = 128;
}
