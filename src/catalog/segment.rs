//! Segments: records of a checkpoint in one blob, compressed.
//!
//! A header of 64 bytes, then one zstd frame of [rows](super::encoding) in the order of their keys.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::encoding::RowReader;
use super::frame::Unknown;
use super::identity::CatalogId;
use super::rows::Row;
use crate::content::digest::Digest;
use crate::content::names::UploadId;
use crate::error::{Error, Result};
use crate::model::serde_as_text;
use crate::store::{BlobKey, MAX_BLOB_BYTES};

const MAGIC: &[u8; 8] = b"cgseg001";

const HEADER_BYTES: usize = 64;

/// The level that packs are compressed at, too.
const ZSTD_LEVEL: i32 = -1;

/// The name of a segment: the commit of the root that it was written for, and a random number. No name is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) number: u64,
    pub(super) random: UploadId,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{}", self.number, self.random)
    }
}

impl FromStr for SegmentName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('-').and_then(|(number, random)| {
            let name = Self { number: number.parse().ok()?, random: random.parse().ok()? };
            (name.to_string() == text).then_some(name)
        });
        parts.ok_or_else(|| Error::invalid("segment", format!("`{}` is not a segment's name", text.escape_debug())))
    }
}

serde_as_text!(SegmentName);

impl SegmentName {
    pub(super) fn key(&self) -> Result<BlobKey> {
        format!("segments/{self}").parse()
    }
}

/// A segment, as a root names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) bytes: u64,
    /// The hash of the blob.
    pub(super) digest: Digest,
}

/// Writes rows into a segment.
pub(super) fn encode(catalog: CatalogId, name: SegmentName, rows: &[u8]) -> Result<(Segment, Bytes)> {
    let failed = |what: &str| Error::corrupt("catalog checkpoint", format!("a segment cannot be written: {what}"));
    let raw = u32::try_from(rows.len()).map_err(|_large| failed("it is larger than 4 GiB"))?;
    let mut blob = Vec::with_capacity(HEADER_BYTES + zstd_safe::compress_bound(rows.len()));
    blob.extend_from_slice(MAGIC);
    blob.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    // Version, and flags of which none is known.
    blob.extend_from_slice(&1_u16.to_le_bytes());
    blob.extend_from_slice(&0_u32.to_le_bytes());
    blob.extend_from_slice(catalog.0.as_bytes());
    blob.extend_from_slice(&name.number.to_le_bytes());
    blob.extend_from_slice(name.random.as_bytes());
    blob.extend_from_slice(&raw.to_le_bytes());
    // The key that it is encrypted with: none.
    blob.extend_from_slice(&0_u32.to_le_bytes());
    let mut frame = vec![0; zstd_safe::compress_bound(rows.len())];
    let length = zstd_safe::compress(frame.as_mut_slice(), rows, ZSTD_LEVEL);
    frame.truncate(length.map_err(|code| failed(zstd_safe::get_error_name(code)))?);
    blob.extend_from_slice(&frame);
    if blob.len() as u64 > MAX_BLOB_BYTES {
        return Err(failed("one record is larger than a blob"));
    }
    let segment = Segment { name, bytes: blob.len() as u64, digest: Digest::of(&blob) };
    Ok((segment, blob.into()))
}

/// Reads the rows of a segment, and collects them.
///
/// # Errors
///
/// `Corrupt` if it is damaged or another segment; `Unsupported` if it is whole and a newer build wrote it.
pub(super) fn decode<C>(catalog: CatalogId, segment: &Segment, blob: &[u8]) -> Result<C>
where
    C: FromIterator<Row>,
{
    let target = || format!("catalog blob segments/{}", segment.name);
    let damaged = |what: &str| Error::corrupt(target(), format!("it is damaged, {what}: restore it from a copy"));
    if blob.len() as u64 != segment.bytes || Digest::of(blob) != segment.digest {
        return Err(damaged("its hash differs"));
    }
    let newer = |what: String| Error::unsupported(target(), format!("{what}: use a newer build"));
    let field = |at: usize, length: usize| blob.get(at..at + length).ok_or_else(|| damaged("its header is incomplete"));
    let number = |at: usize, length: usize| {
        let bytes = field(at, length)?;
        Ok::<_, Error>(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (header, version, flags, key) = (number(8, 2)?, number(10, 2)?, number(12, 4)?, number(60, 4)?);
    if field(0, 8)? != MAGIC || header < HEADER_BYTES as u64 {
        return Err(damaged("its header is none"));
    }
    if (version, flags, key) != (1, 0, 0) {
        return Err(newer(format!("it has version {version}, flags {flags:#x} and key {key}")));
    }
    let is_named = field(16, 16)? == catalog.0.as_bytes() && number(32, 8)? == segment.name.number;
    if !is_named || field(40, 16)? != segment.name.random.as_bytes() {
        return Err(damaged("it has another segment's name"));
    }
    let frame = usize::try_from(header).ok().and_then(|header| blob.get(header..)).unwrap_or_default();
    let mut rows = vec![0; number(56, 4)? as usize];
    let length = zstd_safe::decompress(rows.as_mut_slice(), frame);
    let length = length.map_err(|code| damaged(zstd_safe::get_error_name(code)))?;
    if length != rows.len() {
        return Err(damaged("its rows are incomplete"));
    }
    // Its hash is right, so it is as it was written.
    let known = |row: std::result::Result<Row, Unknown>| row.map_err(|row| row.refused(target(), "use a newer build"));
    RowReader::new(&rows).map(known).collect()
}
