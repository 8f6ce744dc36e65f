//! Encryption of the records of a blob.
//!
//! A blob has a key of its own, derived from a data key and the salt in its head; the nonce of a record is its offset. The salt is
//! a keyed hash of what is encrypted, so a nonce is used again only for the same bytes (`docs/decisions/0027`).

use std::sync::Arc;

use bytes::Bytes;

use super::aead::{Aead, TAG_BYTES};
#[cfg(feature = "encryption")]
use crate::error::Error;
use crate::error::Result;

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

    /// Returns what hashes a blob to its salt.
    pub(super) fn salt_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.salts)
    }

    /// Returns what encrypts the blob of that description and salt.
    pub(super) fn cipher(&self, described: &[u8], salt: &Salt) -> Result<BlobCipher> {
        let mut hasher = blake3::Hasher::new_keyed(&self.blobs);
        hasher.update(described).update(salt);
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

impl BlobCipher {
    /// Encrypts the record at an offset in place, and returns what authenticates it.
    pub(super) fn seal(&self, offset: u64, bound: &[u8; 32], record: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        self.0.seal(offset, bound, record)
    }
}

/// How the stored bytes of one record are decrypted.
#[derive(Clone, Debug)]
pub(crate) struct Encrypted {
    cipher: Arc<BlobCipher>,
    offset: u64,
    bound: [u8; 32],
}

impl Encrypted {
    pub(super) fn new(cipher: &Arc<BlobCipher>, offset: u64, bound: [u8; 32]) -> Self {
        Self { cipher: cipher.clone(), offset, bound }
    }

    /// Fills `plain`, which has the length of [`plain_length`], from stored bytes; false if they are not what was encrypted.
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
