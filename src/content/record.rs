//! Records: chunks and index nodes as they are stored.

use std::ops::Range;

use bytes::Bytes;

use super::cipher::Encrypted;
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
    /// A chunk in a zstd frame of `of` chunks, from 2 to [`GROUP_CHUNKS`]: number `place` of them. The lines of one group have one
    /// range, which is stored once.
    Group { place: u8, of: u8 },
}

/// The most chunks of a group: a reader of one of them fetches and unpacks them all, 512 KiB of disk.
pub(crate) const GROUP_CHUNKS: usize = 8;

impl Encoding {
    /// Returns the code and the detail that a line of a head has.
    pub(super) fn written(self) -> (u8, u16) {
        match self {
            Self::Plain => (0, 0),
            Self::Sparse { occupied } => (1, occupied),
            Self::Zstd => (2, 0),
            Self::Group { place, of } => (3, u16::from_le_bytes([place, of])),
        }
    }

    pub(super) fn read(code: u8, detail: u16) -> Option<Self> {
        match (code, detail) {
            (0, 0) => Some(Self::Plain),
            (1, occupied) => Some(Self::Sparse { occupied }),
            (2, 0) => Some(Self::Zstd),
            (3, detail) => {
                let [place, of] = detail.to_le_bytes();
                let is_group = (2..=GROUP_CHUNKS).contains(&usize::from(of)) && place < of;
                is_group.then_some(Self::Group { place, of })
            }
            _ => None,
        }
    }

    /// Returns whether the record is a part of a group.
    pub(crate) fn is_in_group(self) -> bool {
        matches!(self, Self::Group { .. })
    }

    /// Returns whether a record that follows one of `self` can be in the same group.
    fn is_before(self, next: Self) -> bool {
        match (self, next) {
            (Self::Group { place, of }, Self::Group { place: next, of: same }) => of == same && place < next,
            _ => false,
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
        Self { ordinal, content, seal, encoding, is_checked, offset, length }.sealed(stored)
    }

    /// Returns the line of the same content in another encoding, which was decoded and compared.
    pub(super) fn checked_as(self, encoding: Encoding, length: u32, stored: &Digest) -> Self {
        Self { encoding, length, is_checked: true, ..self }.sealed(stored)
    }

    pub(super) fn sealed(self, stored: &Digest) -> Self {
        Self { seal: self.seal_of(&self.content, stored), ..self }
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
    pub(crate) fn seals(&self, content: &Digest, stored: &Bytes, hashed: &mut Hashed) -> bool {
        self.seal_of(content, &hashed.hash_of(stored)) == self.seal
    }

    /// Returns whether the record has the same group as the one of the line before, and so the same stored bytes.
    pub(super) fn shares_with(&self, before: &Self) -> bool {
        before.encoding.is_before(self.encoding) && before.range() == self.range()
    }

    /// Returns its stored bytes in a blob, unverified.
    pub(crate) fn stored_in(&self, blob: &Bytes) -> Option<Bytes> {
        let range = self.offset as usize..(self.offset as usize).checked_add(self.length as usize)?;
        (range.end <= blob.len()).then(|| blob.slice(range))
    }

    /// Returns its stored bytes in a blob; `None` if they are not those that were sealed.
    pub(crate) fn good_in(&self, blob: &Bytes, hashed: &mut Hashed) -> Option<Bytes> {
        self.stored_in(blob).filter(|stored| self.seals(&self.content, stored, hashed))
    }
}

/// What the tag of an encrypted range is bound to besides its key and place: what the lines that share it say of its records.
pub(super) fn bound_to(lines: &[Line]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        let (code, detail) = line.encoding.written();
        hasher.update(line.content.as_bytes()).update(&line.ordinal.to_le_bytes());
        hasher.update(&[code, u8::from(line.is_checked)]).update(&detail.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The hash of the last stored bytes that were hashed: the records of a group have the same ones, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Hashed(Option<(Bytes, Digest)>);

impl Hashed {
    /// Returns the hash of `stored`.
    pub(super) fn hash_of(&mut self, stored: &Bytes) -> Digest {
        match &self.0 {
            // They are held, so no other bytes can have their place in memory.
            Some((held, hash)) if held.as_ptr() == stored.as_ptr() && held.len() == stored.len() => *hash,
            _ => {
                let hash = Digest::of(stored);
                self.0 = Some((stored.clone(), hash));
                hash
            }
        }
    }
}

/// The stored bytes of a record, with the line that describes them.
#[derive(Clone, Debug)]
pub(crate) struct StoredRecord {
    pub(crate) line: Line,
    pub(crate) bytes: Bytes,
    /// Whether this process has verified the record before, in the same blob.
    pub(crate) is_verified: bool,
    /// How the bytes are decrypted, if they are encrypted.
    pub(crate) encrypted: Option<Encrypted>,
}

impl StoredRecord {
    /// Returns the bytes that the encoding has given; `None` if they can't be decrypted.
    pub(crate) fn encoded(&self) -> Option<Bytes> {
        match &self.encrypted {
            None => Some(self.bytes.clone()),
            Some(encrypted) => encrypted.decrypted(&self.bytes),
        }
    }
}
