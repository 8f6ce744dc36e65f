//! The framing of the catalog's blobs: one line of JSON, one line with its BLAKE3 hash.
//!
//! Readable by operators, and every flipped bit is detected.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    let mut bytes = serde_json::to_vec(value).map_err(failed)?;
    let digest = Digest::of(&bytes);
    bytes.extend_from_slice(format!("\n{digest}\n").as_bytes());
    Ok((digest, bytes.into()))
}

/// Decodes and verifies a blob, and returns the hash of its line too.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], key: &BlobKey) -> Result<(Digest, T)> {
    let damaged = |what: &str| {
        Error::corrupt(format!("catalog blob {key}"), format!("it is damaged: {what}: restore it from a copy"))
    };
    let body = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("its last line is incomplete"))?;
    let end = body.iter().rposition(|byte| *byte == b'\n').ok_or_else(|| damaged("it does not have two lines"))?;
    let (line, hash) = body.split_at(end);
    let expected = hash.get(1..).and_then(|hash| std::str::from_utf8(hash).ok()).and_then(|hash| hash.parse().ok());
    let digest = Digest::of(line);
    if expected != Some(digest) {
        return Err(damaged("its hash differs"));
    }
    let value = serde_json::from_slice(line).map_err(|error| damaged("its line is malformed").with_source(error))?;
    Ok((digest, value))
}
