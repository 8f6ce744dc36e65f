//! Tombstones: what is left of an entry that was truncated.
//!
//! A number of the log is never free again. So a writer that was suspended for a year loses its race as ever, an unclear answer is
//! resolved by the nonce, and a store's witness is checked by the hash.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Nonce};
use super::frame::{self, FORMAT};
use crate::content::digest::Digest;
use crate::error::{Error, Result};
use crate::store::BlobKey;

/// What is left of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tombstone {
    format: u32,
    pub(super) number: u64,
    nonce: Nonce,
    /// The hash of the entry.
    hash: Digest,
}

/// An entry, as it was read.
#[derive(Debug)]
pub(super) struct ReadEntry {
    pub(super) digest: Digest,
    pub(super) entry: Entry,
    /// The length of its blob.
    pub(super) bytes: u64,
}

impl ReadEntry {
    /// Encodes what is left of it once it is truncated: the same bytes, whoever truncates.
    pub(super) fn tombstone(&self) -> Result<Bytes> {
        let Entry { number, nonce, .. } = &self.entry;
        let left = Tombstone { format: FORMAT, number: *number, nonce: *nonce, hash: self.digest };
        Ok(frame::encode(&left)?.1)
    }
}

/// What lies at a number of the log.
#[derive(Debug)]
pub(super) enum LogBlob {
    Entry(ReadEntry),
    Tombstone(Tombstone),
}

impl LogBlob {
    pub(super) fn decode(blob: &[u8], key: &BlobKey) -> Result<Self> {
        let line = frame::verified(blob, key)?;
        match line.parse() {
            Ok(tombstone) => Ok(Self::Tombstone(tombstone)),
            Err(_no_tombstone) => {
                let entry = line.parse().map_err(|unknown| line.refused(unknown))?;
                Ok(Self::Entry(ReadEntry { digest: line.digest, entry, bytes: blob.len() as u64 }))
            }
        }
    }

    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Entry(read) => read.entry.number,
            Self::Tombstone(tombstone) => tombstone.number,
        }
    }

    /// What its writer drew.
    pub(super) fn nonce(&self) -> Nonce {
        match self {
            Self::Entry(read) => read.entry.nonce,
            Self::Tombstone(tombstone) => tombstone.nonce,
        }
    }

    /// The hash of the entry.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Entry(read) => read.digest,
            Self::Tombstone(tombstone) => tombstone.hash,
        }
    }

    pub(super) fn is_tombstone(&self) -> bool {
        matches!(self, Self::Tombstone(_))
    }
}

/// Returns the error of a log whose beginning is gone, without a checkpoint that has what it said.
pub(super) fn without_checkpoint(truncated: u64) -> Error {
    let what = format!(
        "entry `{truncated}` was truncated, and no checkpoint from there on is whole: restore one, a blob below `checkpoints/` \
         and those below `segments/` that it names, from a copy; nothing was changed"
    );
    Error::corrupt("catalog log", what)
}
