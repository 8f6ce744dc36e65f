//! Records: chunks and index nodes as they are stored.

use std::ops::Range;

use super::digest::Digest;
use super::names::PackId;

/// How a stored record holds its content.
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

/// Where a record lies, and the hash of its content: all that a reader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordRef {
    pub(crate) digest: Digest,
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) encoding: Encoding,
}

impl RecordRef {
    /// Its bytes in the pack.
    pub(crate) fn range(&self) -> Range<u32> {
        self.offset..self.offset.saturating_add(self.length)
    }
}

/// A record as its pack's table tells of it: by the bytes that are stored, which any reader can verify without unpacking them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// Of the bytes as they are stored; of a plain record that is the hash of its content too.
    pub(crate) hash: Digest,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

impl TableLine {
    /// Its bytes in the pack.
    pub(crate) fn range(&self) -> Range<u32> {
        self.offset..self.offset.saturating_add(self.length)
    }

    /// Its bytes in a blob, where they start at `start`; `None` if they are not what the table says.
    pub(crate) fn good_in(&self, blob: &[u8], start: usize) -> Option<Range<usize>> {
        let range = start..start.checked_add(self.length as usize)?;
        (Digest::of(blob.get(range.clone())?) == self.hash).then_some(range)
    }
}
