//! The framing of the catalog's blobs: one line of JSON, one line with its BLAKE3 hash.
//!
//! Readable by operators, and every flipped bit is detected. A line has one form: what a reader would write otherwise has
//! something that it does not know, and is refused. So nothing of a newer build is dropped in silence.

use std::io;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::features::newer;
use crate::content::digest::Digest;
use crate::error::{Error, Result};
use crate::store::{BlobKey, StoreError};

/// Turns an error of the catalog's store into one of the catalog.
pub(super) fn failed(error: StoreError) -> Error {
    error.at("catalog")
}

/// Encodes `value`, and returns the hash of its line too.
pub(super) fn encode(value: &impl Serialize) -> Result<(Digest, Bytes)> {
    let failed = |error: serde_json::Error| Error::corrupt("catalog", "an entry cannot be written").with_source(error);
    // Most entries fit, so that the buffer need not grow.
    let mut bytes = Vec::with_capacity(4 << 10);
    serde_json::to_writer(&mut bytes, value).map_err(failed)?;
    let digest = Digest::of(&bytes);
    bytes.extend_from_slice(format!("\n{digest}\n").as_bytes());
    bytes.shrink_to_fit();
    Ok((digest, bytes.into()))
}

/// The format that this build writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 2;

/// What every format says first.
#[derive(Deserialize)]
struct Header {
    format: u32,
    /// The first build that reads it.
    #[serde(default)]
    needs: Option<String>,
}

/// A line whose hash is right, of the format that this build reads.
pub(super) struct Line<'a> {
    line: &'a [u8],
    pub(super) digest: Digest,
    target: String,
    needs: String,
}

impl Line<'_> {
    /// Parses the line, as this build would write it.
    pub(super) fn parse<T: Serialize + DeserializeOwned>(&self) -> std::result::Result<T, Unknown> {
        known(self.line)
    }

    /// Returns the error of a line that is as it was written, and that this build does not know.
    pub(super) fn refused(&self, unknown: Unknown) -> Error {
        unknown.refused(self.target.clone(), &self.needs)
    }
}

/// Decodes and verifies a blob, and returns the hash of its line too.
///
/// # Errors
///
/// `Corrupt` if it is damaged; `Unsupported` if it is as it was written, and another build wrote it.
pub(super) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], key: &BlobKey) -> Result<(Digest, T)> {
    let line = verified(bytes, key)?;
    Ok((line.digest, line.parse().map_err(|unknown| line.refused(unknown))?))
}

/// Verifies a blob.
///
/// # Errors
///
/// `Corrupt` if it is damaged; `Unsupported` if it is as it was written, in another format.
pub(super) fn verified<'a>(bytes: &'a [u8], key: &BlobKey) -> Result<Line<'a>> {
    let target = || format!("catalog blob {key}");
    let damaged = |what: &str| Error::corrupt(target(), format!("it is damaged: {what}: restore it from a copy"));
    let body = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("its last line is incomplete"))?;
    let end = body.iter().rposition(|byte| *byte == b'\n').ok_or_else(|| damaged("it does not have two lines"))?;
    let (line, hash) = body.split_at(end);
    let expected = hash.get(1..).and_then(|hash| std::str::from_utf8(hash).ok()).and_then(|hash| hash.parse().ok());
    let digest = Digest::of(line);
    if expected != Some(digest) {
        return Err(damaged("its hash differs"));
    }
    let header: Header =
        serde_json::from_slice(line).map_err(|error| damaged("its line names no format").with_source(error))?;
    let needs = newer(header.needs.as_deref());
    match header.format {
        FORMAT => Ok(Line { line, digest, target: target(), needs }),
        older if older < FORMAT => {
            let what = format!(
                "it has format `{older}`, of a build before 0.1.0, and this build reads `{FORMAT}`: create a new catalog, and \
                 publish the images again"
            );
            Err(Error::unsupported(target(), what))
        }
        other => {
            let what = format!("it has format `{other}`, and this build reads `{FORMAT}`: {needs}");
            Err(Error::unsupported(target(), what))
        }
    }
}

/// Why a line is not one that this build would write.
#[derive(Debug)]
pub(super) enum Unknown {
    /// It cannot be read.
    Unreadable(serde_json::Error),
    /// It has more than was read, or is written in another way.
    HasMore,
    /// It has something that no build up to this one writes.
    Foreign(&'static str),
}

impl Unknown {
    /// Returns the error of a blob that has such a line and is not damaged.
    pub(super) fn refused(self, target: String, needs: &str) -> Error {
        let what = "it has something that this build does not know";
        match self {
            Self::Unreadable(error) => {
                Error::unsupported(target, format!("{what} ({error}): {needs}")).with_source(error)
            }
            Self::Foreign(it) => Error::unsupported(target, format!("{what}, {it}: {needs}")),
            Self::HasMore => Error::unsupported(target, format!("{what}, a field or a form of one: {needs}")),
        }
    }
}

/// Reads a line that this build would write so, byte for byte.
pub(super) fn known<T: Serialize + DeserializeOwned>(line: &[u8]) -> std::result::Result<T, Unknown> {
    let value: T = serde_json::from_slice(line).map_err(Unknown::Unreadable)?;
    let mut rest = Rest(line);
    match serde_json::to_writer(&mut rest, &value) {
        Ok(()) if rest.0.is_empty() => Ok(value),
        _ => Err(Unknown::HasMore),
    }
}

/// What is left of a line that is written again.
struct Rest<'a>(&'a [u8]);

impl io::Write for Rest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
