//! The head of a pack or part: a line for each of its records, before the records.
//!
//! Both have one form. A pack is all records of one import's pack, as that import wrote them; a part is some of them, or all
//! in another encoding. So an index can name a record by its ordinal in the pack alone, and each slot may store it otherwise.

use std::sync::Arc;

use bytes::Bytes;

use super::chunk::BLOCK_BYTES;
use super::cipher::{BlobCipher, DataKey, Encrypted, Salt};
use super::digest::Digest;
use super::extents::Extents;
use super::names::{CatalogId, MAX_RECORDS, PackId, UploadId};
use super::record::{Encoding, Hashed, Line, bound_to};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::store::MAX_BLOB_BYTES;

const MAGIC: [u8; 8] = *b"cgblob01";
const VERSION: u16 = 1;

/// The header: magic 8 | header length u16 | version u16 | flags u32 | catalog 16 | salt 16 | key u32 | packs u16 | 0 u16 |
/// records u32 | length of the blob u64 | length of the head u32 | 0 .. 80 | hash of these bytes 16 | hash of the head without this
/// field 32. Every version has the first field and the two hashes in their places.
const HEADER_BYTES: usize = 128;
const HEADER_HASH_AT: usize = 80;
const HASH_AT: usize = 96;
/// Of a pack: upload 16 | number u32 | hash of the digests of all its records 32.
const PACK_BYTES: usize = 52;
/// Of a record: digest of the content 32 | seal 32 | offset u32 | length u32 | ordinal u16 | pack u16 | encoding u8 | 1 if it is
/// checked | detail of the encoding u16.
const LINE_BYTES: usize = 80;

/// The catalog and the pack that a head is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) catalog: CatalogId,
    pub(crate) pack: PackId,
}

impl Described {
    /// Returns the catalog's id, and the pack's upload and number.
    pub(super) fn bytes(&self) -> Vec<u8> {
        [&self.catalog.0.as_bytes()[..], self.pack.upload.as_bytes(), &self.pack.number.to_le_bytes()].concat()
    }
}

/// The head of a blob. Its lines are in the order of their ordinals, and of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    of: Described,
    /// The number of the data key that its records are encrypted with, and the salt of the blob's own.
    encryption: Option<(u32, Salt)>,
    /// The hash of the digests of all records of the pack.
    content: Digest,
    lines: Vec<Line>,
    digest: Digest,
    /// Of the blob.
    length: u64,
}

/// Returns the length of the head of a blob with `records` records.
pub(crate) fn head_bytes(records: u32) -> u64 {
    (HEADER_BYTES + PACK_BYTES) as u64 + u64::from(records.min(MAX_RECORDS)) * LINE_BYTES as u64
}

/// Returns the offset at which the records of a blob begin.
pub(super) fn records_at(records: usize) -> u64 {
    head_bytes(records as u32).next_multiple_of(BLOCK_BYTES as u64)
}

/// Returns the place of a record of `length` bytes that comes after `end`: a multiple of 4 KiB where its length is one, so that it can be
/// shared by reflinks, mapped, and read past the page cache.
pub(super) fn place_after(end: u64, length: u64) -> u64 {
    if length.is_multiple_of(BLOCK_BYTES as u64) { end.next_multiple_of(BLOCK_BYTES as u64) } else { end }
}

impl Head {
    /// Builds the head of a blob of records that are placed relative to the first. Returns it with its bytes, up to the first record.
    /// If the records are encrypted, `encryption` has the number of the data key, and the salt.
    pub(super) fn build(
        of: Described,
        content: Digest,
        mut lines: Vec<Line>,
        encryption: Option<(u32, Salt)>,
    ) -> (Self, Bytes) {
        let (key, salt) = encryption.unwrap_or_default();
        let start = records_at(lines.len());
        // A blob is shorter than 4 GiB by far.
        lines.iter_mut().for_each(|line| line.offset += start as u32);
        let length = lines.last().map_or(start, |last| last.range().end);
        let mut bytes = Vec::with_capacity(start as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(of.catalog.0.as_bytes());
        bytes.extend_from_slice(&salt);
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&(lines.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(head_bytes(lines.len() as u32) as u32).to_le_bytes());
        bytes.resize(HEADER_HASH_AT, 0);
        let header_hash = header_hash_of(&bytes);
        bytes.extend_from_slice(&header_hash);
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(of.pack.upload.as_bytes());
        bytes.extend_from_slice(&of.pack.number.to_le_bytes());
        bytes.extend_from_slice(content.as_bytes());
        for line in &lines {
            let (code, detail) = line.encoding.written();
            bytes.extend_from_slice(line.content.as_bytes());
            bytes.extend_from_slice(line.seal.as_bytes());
            bytes.extend_from_slice(&line.offset.to_le_bytes());
            bytes.extend_from_slice(&line.length.to_le_bytes());
            bytes.extend_from_slice(&line.ordinal.to_le_bytes());
            // Of the pack in the list of packs, of which there is one.
            bytes.extend_from_slice(&0_u16.to_le_bytes());
            bytes.extend_from_slice(&[code, u8::from(line.is_checked)]);
            bytes.extend_from_slice(&detail.to_le_bytes());
        }
        let digest = digest_of(&bytes);
        if let Some(place) = bytes.get_mut(HASH_AT..HEADER_BYTES) {
            place.copy_from_slice(digest.as_bytes());
        }
        bytes.resize(start as usize, 0);
        (Self { of, encryption, content, lines, digest, length }, bytes.into())
    }

    /// Reads a head back. `blob` is the blob, or at least its head.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is damaged, or the head of another blob; `Unsupported` if a newer build has written it.
    pub(crate) fn parse(of: Described, records: u32, blob: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::corrupt(format!("pack {}", of.pack), format!("the blob is damaged: {what}"));
        let fields = Fields::of(blob).ok_or_else(|| damaged("it does not start as a pack or part"))?;
        let newer = |what: String| {
            let what = format!("{what}: use the build that wrote it, or a newer one");
            Error::new(Problem::new(ErrorKind::Unsupported, "NotSupported", format!("pack {}", of.pack), what))
        };
        if !fields.is_known {
            return Err(newer("its header has a version or flag that this build does not know".to_owned()));
        }
        if (fields.records, u64::from(fields.head)) != (records, head_bytes(records)) {
            return Err(damaged(&format!("it has {} records, and {records} are expected", fields.records)));
        }
        let bytes = blob.get(..fields.head as usize).ok_or_else(|| damaged("its head is cut short"))?;
        if fields.digest != digest_of(bytes) {
            return Err(damaged("the hash of its head differs"));
        }
        let (pack, content) = pack_of(bytes).ok_or_else(|| damaged("its head is cut short"))?;
        if (fields.catalog, pack) != (of.catalog, of.pack) {
            let what = format!("it is pack {pack} of catalog {}, and lies under another name", fields.catalog);
            return Err(damaged(&what));
        }
        let (mut lines, mut end) = (Vec::with_capacity(records as usize), records_at(records as usize));
        for line in bytes.get(HEADER_BYTES + PACK_BYTES..).unwrap_or_default().chunks_exact(LINE_BYTES) {
            let line = parse_line(line)
                .ok_or_else(|| newer("a record has an encoding that this build does not know".to_owned()))?;
            // One blob has one form: ascending, each record in its place.
            let follows = lines.last().is_none_or(|last: &Line| last.ordinal < line.ordinal);
            let is_there = u64::from(line.offset) == place_after(end, line.length.into())
                || lines.last().is_some_and(|last| line.shares_with(last));
            if !follows || !is_there || line.length == 0 {
                return Err(damaged("its records do not follow one another"));
            }
            end = line.range().end;
            lines.push(line);
        }
        if end != fields.length || end > MAX_BLOB_BYTES {
            return Err(damaged("its records do not add up to its length"));
        }
        let encryption = fields.encryption;
        Ok(Self { of, encryption, content, lines, digest: fields.digest, length: fields.length })
    }

    /// Reads what is left of a damaged head: the lines that can be read. A record of one is what it seems only if its seal says
    /// so, and an encrypted one can be read only if the header is whole.
    pub(crate) fn salvage(of: Described, records: u32, blob: &[u8]) -> Self {
        let bytes =
            blob.get(HEADER_BYTES + PACK_BYTES..(head_bytes(records) as usize).min(blob.len())).unwrap_or_default();
        let mut lines: Vec<Line> = bytes.chunks_exact(LINE_BYTES).filter_map(parse_line).collect();
        lines.sort_unstable_by_key(|line| line.ordinal);
        lines.dedup_by_key(|line| line.ordinal);
        let nothing = Digest::from_bytes([0; 32]);
        let encryption = Fields::of(blob).and_then(|fields| fields.encryption);
        Self { of, encryption, content: nothing, lines, digest: nothing, length: blob.len() as u64 }
    }

    /// Returns whether it is what is left of a damaged one: where its records lie may be wrong.
    pub(crate) fn is_salvaged(&self) -> bool {
        self.digest == Digest::from_bytes([0; 32])
    }

    /// Returns the hash of the digests of all records of its pack.
    pub(crate) fn content(&self) -> Digest {
        self.content
    }

    /// Returns the number of the data key that the records are encrypted with, if they are.
    pub(crate) fn key(&self) -> Option<u32> {
        self.encryption.map(|(key, _)| key)
    }

    /// Returns what decrypts the records, if they are encrypted. `key` is the data key of that number.
    pub(crate) fn cipher(&self, key: Option<&DataKey>) -> Result<Option<Arc<BlobCipher>>> {
        match (self.encryption, key) {
            (Some((number, salt)), Some(key)) if key.number() == number => {
                key.cipher(&self.of.bytes(), &salt).map(|cipher| Some(Arc::new(cipher)))
            }
            (None, None) => Ok(None),
            _ => Err(Error::corrupt(format!("pack {}", self.of.pack), "its records are encrypted with another key")),
        }
    }

    /// Returns how the record of a line is decrypted.
    pub(crate) fn encrypted(&self, line: &Line, cipher: &Arc<BlobCipher>) -> Encrypted {
        let first = self.lines.partition_point(|other| other.offset < line.offset);
        let from = self.lines.get(first..).unwrap_or_default();
        let count = from.iter().take_while(|other| other.offset == line.offset).count();
        Encrypted::new(cipher, line.offset.into(), bound_to(from.get(..count).unwrap_or_default()))
    }

    /// Returns records of the blob as they were before they were encrypted, without those that are not what was encrypted. Their lines are
    /// sealed anew.
    pub(crate) fn decrypted(
        &self,
        records: Vec<(Line, Bytes)>,
        cipher: Option<&Arc<BlobCipher>>,
    ) -> Vec<(Line, Bytes)> {
        let Some(cipher) = cipher else { return records };
        // The records of a group have the same bytes.
        let mut last: Option<(u32, Option<(Bytes, Digest)>)> = None;
        let decrypted = records.into_iter().filter_map(|(line, stored)| {
            let plain = match last.take().filter(|(offset, _)| *offset == line.offset) {
                Some((_, plain)) => plain,
                None => {
                    let plain = self.encrypted(&line, cipher).decrypted(&stored);
                    plain.map(|plain| (plain.clone(), Digest::of(&plain)))
                }
            };
            last = Some((line.offset, plain.clone()));
            let (plain, hash) = plain?;
            Some((Line { length: plain.len() as u32, ..line }.sealed(&hash), plain))
        });
        decrypted.collect()
    }

    /// Returns the hash of the head, and so of everything in the blob.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Returns the length of the blob.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the line of a record.
    pub(crate) fn line(&self, ordinal: u16) -> Option<&Line> {
        let at = self.lines.binary_search_by_key(&ordinal, |line| line.ordinal).ok()?;
        self.lines.get(at)
    }

    /// Returns the records of the pack that the blob has.
    pub(crate) fn extents(&self) -> Extents {
        self.lines.iter().map(Line::ordinals).collect()
    }

    /// Returns the good records in the blob.
    pub(crate) fn records_in(&self, blob: &Bytes) -> Vec<(Line, Bytes)> {
        let mut hashed = Hashed::default();
        self.lines.iter().filter_map(|line| Some((*line, line.good_in(blob, &mut hashed)?))).collect()
    }

    /// Returns what is wrong with a blob whose head this is, as it was read from the blob: with its length, a record, or what lies
    /// between the records.
    pub(super) fn fault_in(&self, blob: &Bytes) -> Option<String> {
        if blob.len() as u64 != self.length {
            return Some(format!("it has {} bytes, and its head says {}", blob.len(), self.length));
        }
        let (mut end, mut hashed) = (head_bytes(self.lines.len() as u32), Hashed::default());
        for line in &self.lines {
            let between = blob.get(end as usize..line.offset as usize).unwrap_or_default();
            if between.iter().any(|byte| *byte != 0) {
                return Some(format!("the bytes before `{}` are not zero", line.offset));
            }
            if line.good_in(blob, &mut hashed).is_none() {
                return Some(format!("the seal of the record at `{}` differs", line.offset));
            }
            end = line.range().end;
        }
        // A blob without records ends where they would begin.
        let rest = blob.get(end as usize..).unwrap_or_default();
        rest.iter().any(|byte| *byte != 0).then(|| "the bytes at its end are not zero".to_owned())
    }
}

/// Returns the hash of a head, which leaves out the hash itself.
fn digest_of(head: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head.get(..HASH_AT).unwrap_or_default());
    hasher.update(head.get(HEADER_BYTES..).unwrap_or_default());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Puts the hashes into a blob whose head has so many bytes: for a fuzzer.
#[cfg(feature = "testkit")]
pub(super) fn sealed(mut blob: Vec<u8>, head: usize) -> Vec<u8> {
    let header_hash = header_hash_of(&blob);
    blob.iter_mut().skip(HEADER_HASH_AT).zip(header_hash).for_each(|(place, byte)| *place = byte);
    let digest = digest_of(blob.get(..head).unwrap_or(&blob));
    blob.iter_mut().skip(HASH_AT).zip(digest.as_bytes()).for_each(|(place, byte)| *place = *byte);
    blob
}

fn header_hash_of(header: &[u8]) -> [u8; 16] {
    let hash = Digest::of(header.get(..HEADER_HASH_AT).unwrap_or_default());
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Returns the pack in the list of packs, and the hash of the digests of its records.
fn pack_of(head: &[u8]) -> Option<(PackId, Digest)> {
    let (upload, rest) = head.get(HEADER_BYTES..)?.split_first_chunk::<16>()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let content = rest.first_chunk::<32>()?;
    let pack = PackId { upload: UploadId::from_bytes(*upload), number: u32::from_le_bytes(*number) };
    Some((pack, Digest::from_bytes(*content)))
}

/// Returns what a blob's head says of it: its pack, the number of its records and the length of the blob; `None` if the header is damaged.
pub(super) fn described_in(blob: &[u8]) -> Option<(PackId, u32, u64)> {
    let fields = Fields::of(blob).filter(|fields| fields.is_known)?;
    let (pack, _) = pack_of(blob)?;
    let (head, all) = (head_bytes(fields.records), fields.length);
    if u64::from(fields.head) != head || all < head {
        return None;
    }
    Some((pack, fields.records, fields.length))
}

/// The fields of a header.
struct Fields {
    catalog: CatalogId,
    records: u32,
    /// Of the blob.
    length: u64,
    /// The length of the head.
    head: u32,
    digest: Digest,
    encryption: Option<(u32, Salt)>,
    /// Whether this build knows the version and the flags.
    is_known: bool,
}

impl Fields {
    /// Reads a header; `None` if it is damaged.
    fn of(blob: &[u8]) -> Option<Self> {
        let rest = blob.strip_prefix(&MAGIC)?;
        let (header, rest) = rest.split_first_chunk::<2>()?;
        let (version, rest) = rest.split_first_chunk::<2>()?;
        let (flags, rest) = rest.split_first_chunk::<4>()?;
        let (catalog, rest) = rest.split_first_chunk::<16>()?;
        let (salt, rest) = rest.split_first_chunk::<16>()?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (packs, rest) = rest.split_first_chunk::<2>()?;
        let (zero, rest) = rest.split_first_chunk::<2>()?;
        let (records, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (head, rest) = rest.split_first_chunk::<4>()?;
        let (more, rest) = rest.split_first_chunk::<{ HEADER_HASH_AT - 72 }>()?;
        let (hash, rest) = rest.split_first_chunk::<16>()?;
        let digest = rest.first_chunk::<32>()?;
        if *hash != header_hash_of(blob) {
            return None;
        }
        let encryption = Some((u32::from_le_bytes(*key), *salt)).filter(|(key, _)| *key != 0);
        // What is not encrypted has no salt.
        let zeros: [&[u8]; 4] = [flags, zero, more, if encryption.is_none() { salt } else { &[] }];
        let is_known = usize::from(u16::from_le_bytes(*header)) == HEADER_BYTES
            && u16::from_le_bytes(*version) == VERSION
            && u16::from_le_bytes(*packs) == 1
            && zeros.iter().all(|field| field.iter().all(|byte| *byte == 0));
        Some(Self {
            catalog: CatalogId(UploadId::from_bytes(*catalog)),
            records: u32::from_le_bytes(*records),
            length: u64::from_le_bytes(*length),
            head: u32::from_le_bytes(*head),
            digest: Digest::from_bytes(*digest),
            encryption,
            is_known,
        })
    }
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let (content, rest) = line.split_first_chunk::<32>()?;
    let (seal, rest) = rest.split_first_chunk::<32>()?;
    let (offset, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let &[low, high, 0, 0, code, is_checked @ (0 | 1), detail_low, detail_high] = rest.first_chunk::<8>()? else {
        return None;
    };
    let encoding = Encoding::read(code, u16::from_le_bytes([detail_low, detail_high]))?;
    if encoding == Encoding::Plain && is_checked == 0 {
        return None;
    }
    Some(Line {
        ordinal: u16::from_le_bytes([low, high]),
        content: Digest::from_bytes(*content),
        seal: Digest::from_bytes(*seal),
        encoding,
        is_checked: is_checked == 1,
        offset: u32::from_le_bytes(*offset),
        length: u32::from_le_bytes(*length),
    })
}
