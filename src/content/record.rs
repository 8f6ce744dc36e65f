//! Records: chunks and index nodes as they are stored.

use std::ops::Range;

use bytes::Bytes;

use super::digest::Digest;
use super::names::PackId;

/// The encoding of a record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// The bytes themselves.
    Plain,
    /// The blocks of a chunk that are not all zero: block i if bit i of `occupied` is set.
    Sparse { occupied: u16 },
    /// A chunk as one zstd frame. Its zero blocks are in it: they cost a few bytes.
    Zstd,
}

impl Encoding {
    /// Returns the code and the detail that a line of a head has.
    pub(super) fn written(self) -> (u8, u16) {
        match self {
            Self::Plain => (0, 0),
            Self::Sparse { occupied } => (1, occupied),
            Self::Zstd => (2, 0),
        }
    }

    pub(super) fn read(code: u8, detail: u16) -> Option<Self> {
        match (code, detail) {
            (0, 0) => Some(Self::Plain),
            (1, occupied) => Some(Self::Sparse { occupied }),
            (2, 0) => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A reference to a record: its content, its pack, and its ordinal in the pack. Where it lies, and how it is encoded, is
/// in the head of the blob that a slot has it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordRef {
    /// Of the content.
    pub(crate) digest: Digest,
    pub(crate) pack: PackId,
    pub(crate) ordinal: u16,
}

impl RecordRef {
    /// Returns its ordinal as a range.
    pub(crate) fn ordinals(&self) -> Range<u32> {
        let ordinal = u32::from(self.ordinal);
        ordinal..ordinal + 1
    }
}

/// A record's line in the head of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// In the pack.
    pub(crate) ordinal: u16,
    /// Of the content.
    pub(crate) content: Digest,
    /// See [`seal_of`](Self::seal_of).
    pub(super) seal: Digest,
    pub(crate) encoding: Encoding,
    /// Whether the record was decoded, and compared with the digest, before this line was written. Always so for a plain one, whose
    /// bytes are the content.
    pub(super) is_checked: bool,
    /// In the blob.
    pub(crate) offset: u32,
    /// Of the stored bytes.
    pub(crate) length: u32,
}

impl Line {
    /// Returns the line of a record whose stored bytes have the hash `stored`. A chunk that was encoded just now is not checked.
    pub(super) fn new(
        ordinal: u16,
        content: Digest,
        encoding: Encoding,
        (offset, length): (u32, u32),
        stored: &Digest,
    ) -> Self {
        let (seal, is_checked) = (content, encoding == Encoding::Plain);
        let line = Self { ordinal, content, seal, encoding, is_checked, offset, length };
        Self { seal: line.seal_of(&content, stored), ..line }
    }

    /// Returns the seal: a hash of the digest of the content, the rest of the line but for its place, and the hash of the stored
    /// bytes.
    ///
    /// A reader forms it with the digest that the index names and with the bytes that it has read. So it hashes what is stored,
    /// not what it unpacks, and finds out a line that describes another record. Each line proves itself, also where
    /// another line of its head is damaged.
    fn seal_of(&self, content: &Digest, stored: &Digest) -> Digest {
        let (code, detail) = self.encoding.written();
        let mut hasher = blake3::Hasher::new();
        hasher.update(content.as_bytes()).update(&[code, u8::from(self.is_checked)]);
        hasher.update(&detail.to_le_bytes()).update(&self.ordinal.to_le_bytes()).update(stored.as_bytes());
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Returns its ordinal as a range.
    pub(crate) fn ordinals(&self) -> Range<u32> {
        let ordinal = u32::from(self.ordinal);
        ordinal..ordinal + 1
    }

    /// Returns the range of its bytes in the blob.
    pub(crate) fn range(&self) -> Range<u64> {
        u64::from(self.offset)..u64::from(self.offset) + u64::from(self.length)
    }

    /// Returns whether `stored` are the stored bytes of `content`.
    pub(crate) fn seals(&self, content: &Digest, stored: &[u8]) -> bool {
        self.seal_of(content, &Digest::of(stored)) == self.seal
    }

    /// Returns its stored bytes in a blob; `None` if they are not those that were sealed.
    pub(crate) fn good_in(&self, blob: &Bytes) -> Option<Bytes> {
        let range = self.offset as usize..(self.offset as usize).checked_add(self.length as usize)?;
        self.seals(&self.content, blob.get(range.clone())?).then(|| blob.slice(range))
    }
}

/// The stored bytes of a record, unverified, with the line that describes them.
#[derive(Clone, Debug)]
pub(crate) struct StoredRecord {
    pub(crate) line: Line,
    pub(crate) bytes: Bytes,
}
