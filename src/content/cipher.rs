//! Encryption of the records of a blob.
//!
//! A blob has a key of its own, derived from a data key and the salt in its head; the nonce of a record is its offset. The salt is
//! a keyed hash of what is encrypted, so a nonce is used again only for the same bytes (`docs/decisions/0027`).

use std::sync::Arc;

use bytes::Bytes;

use super::aead::{Aead, TAG_BYTES};
use super::digest::Digest;
use super::head::{Described, records_at};
use super::record::Line;
use crate::error::{Error, Result};

/// The salt of a blob.
pub(crate) type Salt = [u8; 16];

/// A key that blobs of a region are encrypted with. Its number is in their heads.
pub(crate) struct DataKey {
    number: u32,
    salts: [u8; 32],
    blobs: [u8; 32],
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey({})", self.number)
    }
}

impl DataKey {
    pub(crate) fn new(number: u32, secret: &[u8; 32]) -> Self {
        let derived = |context| blake3::derive_key(context, secret);
        let (salts, blobs) = ("compute-gallery 2026 salts of blobs v1", "compute-gallery 2026 keys of blobs v1");
        Self { number, salts: derived(salts), blobs: derived(blobs) }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns the salt of a blob of these lines, whose seals are those of the bytes before encryption: so the lines say all that is
    /// encrypted, and where.
    fn salt_of(&self, of: Described, lines: &[Line]) -> Salt {
        let mut hasher = blake3::Hasher::new_keyed(&self.salts);
        of.hash_into(&mut hasher);
        for line in lines {
            hasher.update(line.content.as_bytes()).update(line.seal.as_bytes());
            hasher.update(&line.offset.to_le_bytes()).update(&line.length.to_le_bytes());
            hasher.update(&line.ordinal.to_le_bytes());
        }
        hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// Returns what encrypts the blob of that salt.
    pub(crate) fn cipher(&self, of: Described, salt: &Salt) -> Result<BlobCipher> {
        let mut hasher = blake3::Hasher::new_keyed(&self.blobs);
        of.hash_into(&mut hasher);
        hasher.update(salt);
        Ok(BlobCipher(Aead::new(hasher.finalize().as_bytes())?))
    }
}

/// What encrypts and decrypts the records of one blob.
pub(crate) struct BlobCipher(Aead);

impl std::fmt::Debug for BlobCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobCipher")
    }
}

/// What the tag of a range is bound to besides its key and place: what the lines that share it say of its records.
fn bound_to(lines: &[Line]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        let (code, detail) = line.encoding.written();
        hasher.update(line.content.as_bytes()).update(&line.ordinal.to_le_bytes());
        hasher.update(&[code, u8::from(line.is_checked)]).update(&detail.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Encrypts records in place. `records` begin with the first one; behind each range is room for its tag, which its line counts. Seals the
/// lines anew, and returns the blob's salt.
pub(super) fn encrypt(of: Described, key: &DataKey, lines: &mut [Line], records: &mut [u8]) -> Result<Salt> {
    let salt = key.salt_of(of, lines);
    let (cipher, start) = (key.cipher(of, &salt)?, records_at(lines.len()));
    let broken = || Error::corrupt(format!("pack {}", of.pack), "a record has no room for what authenticates it");
    for sharing in lines.chunk_by_mut(|one, next| next.shares_with(one)) {
        let bound = bound_to(sharing);
        let Some(first) = sharing.first() else { continue };
        let range = first.offset as usize..first.range().end as usize;
        let stored = records.get_mut(range).ok_or_else(broken)?;
        let (record, place) = stored.split_last_chunk_mut::<TAG_BYTES>().ok_or_else(broken)?;
        *place = cipher.0.seal(start + u64::from(first.offset), &bound, record).ok_or_else(broken)?;
        let hash = Digest::of(stored);
        sharing.iter_mut().for_each(|line| *line = line.sealed(&hash));
    }
    Ok(salt)
}

/// How the stored bytes of one record are decrypted.
#[derive(Clone, Debug)]
pub(crate) struct Encrypted {
    cipher: Arc<BlobCipher>,
    offset: u64,
    bound: [u8; 32],
}

impl Encrypted {
    /// Of the record whose stored bytes `sharing` share.
    pub(super) fn new(cipher: &Arc<BlobCipher>, sharing: &[Line]) -> Self {
        let offset = sharing.first().map_or(0, |line| line.offset.into());
        Self { cipher: cipher.clone(), offset, bound: bound_to(sharing) }
    }

    /// Fills `plain`, which has [`plain_length`], from stored bytes; false if they are not what was encrypted.
    pub(super) fn decrypt(&self, stored: &[u8], plain: &mut [u8]) -> bool {
        let Some((record, tag)) = stored.split_last_chunk::<TAG_BYTES>() else { return false };
        if record.len() != plain.len() {
            return false;
        }
        plain.copy_from_slice(record);
        self.cipher.0.open(self.offset, &self.bound, *tag, plain)
    }

    /// Returns the bytes that were encrypted.
    pub(super) fn decrypted(&self, stored: &[u8]) -> Option<Bytes> {
        let mut plain = vec![0; plain_length(stored)?];
        self.decrypt(stored, &mut plain).then(|| plain.into())
    }
}

/// Returns the length that stored bytes have when they are decrypted.
pub(super) fn plain_length(stored: &[u8]) -> Option<usize> {
    stored.len().checked_sub(TAG_BYTES)
}

/// Returns what wraps secrets under the salt.
#[cfg(feature = "encryption")]
fn wrapping(key: &[u8; 32], salt: &Salt) -> Result<Aead> {
    let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key("compute-gallery 2026 wrapping keys v1", key));
    Aead::new(hasher.update(salt).finalize().as_bytes())
}

/// Encrypts a secret with a key of the host: salt 16 | secret 32 | tag 16. As for a blob, the salt is a keyed hash of what is encrypted.
#[cfg(feature = "encryption")]
pub(crate) fn wrap_secret(key: &[u8; 32], secret: &[u8; 32], context: &[u8]) -> Result<Vec<u8>> {
    let salts = blake3::derive_key("compute-gallery 2026 salts of wraps v1", key);
    let mut hasher = blake3::Hasher::new_keyed(&salts);
    let salt: Salt = *hasher.update(secret).update(context).finalize().as_bytes().first_chunk().unwrap_or(&[0; 16]);
    let mut bytes = *secret;
    let tag =
        wrapping(key, &salt)?.seal(0, context, &mut bytes).ok_or_else(|| Error::corrupt("key", "it is too long"))?;
    Ok([&salt[..], &bytes, &tag].concat())
}

/// Decrypts a secret; `None` if the key or the context is another one.
#[cfg(feature = "encryption")]
pub(crate) fn unwrap_secret(key: &[u8; 32], wrapped: &[u8], context: &[u8]) -> Result<Option<[u8; 32]>> {
    let parts = || {
        let (salt, rest) = wrapped.split_first_chunk::<16>()?;
        let (secret, tag) = rest.split_first_chunk::<32>()?;
        Some((salt, *secret, <[u8; TAG_BYTES]>::try_from(tag).ok()?))
    };
    let Some((salt, mut secret, tag)) = parts() else { return Ok(None) };
    Ok(wrapping(key, salt)?.open(0, context, tag, &mut secret).then_some(secret))
}
