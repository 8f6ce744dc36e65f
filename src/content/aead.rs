//! AES-256-GCM, with the feature `encryption`. Without it there are no keys.

#[cfg(feature = "encryption")]
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};

use crate::error::{Error, Result};

/// The bytes that authenticate a record.
pub(crate) const TAG_BYTES: usize = 16;

/// A key that encrypts with nonces that its caller chooses, each for one plaintext.
#[cfg(feature = "encryption")]
pub(super) struct Aead(LessSafeKey);

/// There is none.
#[cfg(not(feature = "encryption"))]
pub(super) struct Aead(std::convert::Infallible);

#[cfg(feature = "encryption")]
impl Aead {
    pub(super) fn new(key: &[u8; 32]) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|error| Error::corrupt("key", error.to_string()))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    fn nonce(number: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(number.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `bytes` in place; `None` if they are longer than the cipher takes, some 64 GiB.
    pub(super) fn seal(&self, nonce: u64, bound: &[u8], bytes: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        let tag = self.0.seal_in_place_separate_tag(Self::nonce(nonce), Aad::from(bound), bytes).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts `bytes` in place; false if they, the tag or what they are bound to are not those that were encrypted.
    pub(super) fn open(&self, nonce: u64, bound: &[u8], tag: [u8; TAG_BYTES], bytes: &mut [u8]) -> bool {
        self.0.open_in_place_separate_tag(Self::nonce(nonce), Aad::from(bound), Tag::from(tag), bytes, 0..).is_ok()
    }
}

#[cfg(not(feature = "encryption"))]
impl Aead {
    pub(super) fn new(_: &[u8; 32]) -> Result<Self> {
        Err(Error::unsupported("encryption", "this build lacks the feature `encryption` of the crate: build with it"))
    }

    pub(super) fn seal(&self, _: u64, _: &[u8], _: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        match self.0 {}
    }

    pub(super) fn open(&self, _: u64, _: &[u8], _: [u8; TAG_BYTES], _: &mut [u8]) -> bool {
        match self.0 {}
    }
}
