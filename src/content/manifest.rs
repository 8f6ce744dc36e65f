//! The manifest of a version: its disks, and every pack that a slot needs to serve them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::names::PackId;
use super::pack::PackInfo;
use super::record::RecordRef;
use crate::content::index;
use crate::error::{Error, Result};

const FORMAT: u32 = 1;

/// The manifest of a version, stored as JSON under its own hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    format: u32,
    /// The OS disk first, then the data disks in the order of their LUNs.
    pub(crate) disks: Vec<ManifestDisk>,
    /// Every pack that an index or a chunk of the disks lies in, in ascending order.
    pub(crate) packs: Vec<PackInfo>,
}

/// One disk of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManifestDisk {
    /// `None` is the OS disk.
    pub(crate) lun: Option<u32>,
    /// In bytes.
    pub(crate) size: u64,
    /// Of the content, as `ImageDigest` computes it.
    pub(crate) digest: Digest,
    /// The root of its index; `None` for a disk of zeros.
    pub(crate) root: Option<Root>,
}

/// The reference to the root node, as JSON; always plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Root {
    digest: Digest,
    pack: PackId,
    offset: u32,
    length: u32,
}

impl From<RecordRef> for Root {
    fn from(record: RecordRef) -> Self {
        Self { digest: record.digest, pack: record.pack, offset: record.offset, length: record.length }
    }
}

impl From<Root> for RecordRef {
    fn from(root: Root) -> Self {
        Self {
            digest: root.digest,
            pack: root.pack,
            offset: root.offset,
            length: root.length,
            encoding: super::record::Encoding::Plain,
        }
    }
}

impl ManifestDisk {
    /// Returns the level of [`root`](Self::root).
    pub(crate) fn root_level(&self) -> u8 {
        index::root_level(self.size)
    }
}

impl Manifest {
    pub(crate) fn new(disks: Vec<ManifestDisk>, packs: Vec<PackInfo>) -> Self {
        Self { format: FORMAT, disks, packs }
    }

    /// Returns the bytes to store, and their hash.
    pub(crate) fn encode(&self) -> Result<(Digest, Bytes)> {
        let failed =
            |error: serde_json::Error| Error::corrupt("manifest", "the manifest cannot be written").with_source(error);
        let bytes = serde_json::to_vec(self).map_err(failed)?;
        Ok((Digest::of(&bytes), bytes.into()))
    }

    /// Reads a manifest back and verifies it.
    pub(crate) fn decode(bytes: &[u8], expected: &Digest) -> Result<Self> {
        if Digest::of(bytes) != *expected {
            return Err(Error::corrupt(format!("manifest {expected}"), "the manifest is damaged: its hash differs"));
        }
        Self::parse(bytes)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let failed =
            |error: serde_json::Error| Error::corrupt("manifest", "the manifest is malformed").with_source(error);
        let manifest: Self = serde_json::from_slice(bytes).map_err(failed)?;
        if manifest.format != FORMAT {
            let what = format!("the manifest has format `{}`, this build reads `{FORMAT}`", manifest.format);
            return Err(Error::corrupt("manifest", what));
        }
        Ok(manifest)
    }

    /// Returns the bytes of all packs: the size of a replica in a slot of its own.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.length).sum()
    }
}
