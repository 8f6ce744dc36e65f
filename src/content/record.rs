//! Records: chunks and index nodes as they are stored.

use std::ops::Range;

use super::digest::Digest;
use super::names::PackId;

/// The encoding of a record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// The bytes themselves.
    Plain,
    /// A chunk without its zero blocks: a 16-bit mask of the blocks that follow, then those blocks.
    Sparse,
    /// A chunk as one zstd frame. Its zero blocks are in it: they cost a few bytes.
    Zstd,
}

impl Encoding {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Sparse => 1,
            Self::Zstd => 2,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Plain),
            1 => Some(Self::Sparse),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A reference to a record: its pack, its bytes in the pack, and the digest of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordRef {
    pub(crate) digest: Digest,
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) encoding: Encoding,
}

impl RecordRef {
    /// Returns the range of its bytes in the pack.
    pub(crate) fn range(&self) -> Range<u32> {
        self.offset..self.offset.saturating_add(self.length)
    }
}

/// A record's line in the table of its pack: the hash of the stored bytes, so a reader verifies them without
/// decompressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// Of the stored bytes; for a plain record, equal to the digest of its content.
    pub(crate) hash: Digest,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl TableLine {
    /// Returns the range of its bytes in the pack.
    pub(crate) fn range(&self) -> Range<u32> {
        self.offset..self.offset.saturating_add(self.length)
    }

    /// Returns the range of its bytes in `blob`, from `start` on; `None` if their hash differs.
    pub(crate) fn good_in(&self, blob: &[u8], start: usize) -> Option<Range<usize>> {
        let range = start..start.checked_add(self.length as usize)?;
        (Digest::of(blob.get(range.clone())?) == self.hash).then_some(range)
    }
}
