//! A key as it is stored: wrapped.

use crate::content::digest::Digest;
use crate::content::names::{CatalogId, UploadId};
use crate::error::{Error, Result};
use crate::host::{Secret, Wrapped};
use crate::store::BlobKey;

const MAGIC: [u8; 8] = *b"cgkey001";
const HEADER_BYTES: u16 = 32;
const VERSION: u16 = 1;

/// The most bytes of the scope, of a key's id and of a wrapped secret.
const MOST: [usize; 3] = [256, 1 << 10, 8 << 10];

/// A wrapped key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyBlob {
    pub(super) number: u32,
    /// The region, or nothing for the secret of names.
    pub(super) scope: String,
    /// A hash under the secret: another one is found out whatever the provider says.
    check: [u8; 32],
    pub(super) wrapped: Wrapped,
}

/// Returns what a wrap is bound to.
pub(super) fn context(catalog: CatalogId, number: u32, scope: &str) -> Vec<u8> {
    format!("compute-gallery catalog {catalog} key {number} of {scope}").into_bytes()
}

fn check_of(catalog: CatalogId, number: u32, scope: &str, secret: &Secret) -> [u8; 32] {
    let key = blake3::derive_key("compute-gallery 2026 check of keys v1", &secret.0);
    *blake3::keyed_hash(&key, &context(catalog, number, scope)).as_bytes()
}

impl KeyBlob {
    pub(super) fn new(catalog: CatalogId, number: u32, scope: &str, secret: &Secret, wrapped: Wrapped) -> Result<Self> {
        let lengths = [scope.len(), wrapped.key_id.len(), wrapped.bytes.len()];
        if lengths.iter().zip(MOST).any(|(length, most)| *length > most) {
            let what =
                format!("key `{}` wraps a secret in more than 8 KiB, or has an id of more than 1 KiB", wrapped.key_id);
            return Err(Error::unsupported("key provider", what));
        }
        Ok(Self { number, scope: scope.to_owned(), check: check_of(catalog, number, scope, secret), wrapped })
    }

    /// Returns whether `secret` is the one that was wrapped.
    pub(super) fn is_of(&self, catalog: CatalogId, secret: &Secret) -> bool {
        self.check == check_of(catalog, self.number, &self.scope, secret)
    }

    /// Returns its key below `keys`: the first wrap of a number has the number alone.
    pub(super) fn key(number: u32, wrapped_by: Option<&str>) -> Result<BlobKey> {
        match wrapped_by {
            None => format!("keys/{number:010}").parse(),
            Some(id) => {
                let id = Digest::of(id.as_bytes()).to_string();
                format!("keys/{number:010}-{}", id.get(..16).unwrap_or_default()).parse()
            }
        }
    }

    /// Returns the number in a key below `keys`.
    pub(super) fn number_of(key: &BlobKey) -> Option<u32> {
        key.segments().last()?.get(..10)?.parse().ok()
    }

    pub(super) fn encode(&self, catalog: CatalogId) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&HEADER_BYTES.to_le_bytes());
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(catalog.0.as_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.check);
        for field in [self.scope.as_bytes(), self.wrapped.key_id.as_bytes(), &self.wrapped.bytes] {
            bytes.extend_from_slice(&(field.len() as u16).to_le_bytes());
            bytes.extend_from_slice(field);
        }
        let hash = Digest::of(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// Reads a key back.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is damaged or of another catalog; `Unsupported` if a newer build has written it.
    pub(super) fn parse(catalog: CatalogId, key: &BlobKey, bytes: &[u8]) -> Result<Self> {
        let damaged = || {
            let what = format!("blob `{key}` is damaged, or of another catalog: restore it");
            Error::corrupt("catalog keys", what)
        };
        let (rest, hash) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        if Digest::of(rest).as_bytes() != hash {
            return Err(damaged());
        }
        let rest = rest.strip_prefix(&MAGIC).ok_or_else(damaged)?;
        let (form, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let [header, version] = [HEADER_BYTES, VERSION].map(u16::to_le_bytes);
        if form.strip_prefix(&header).and_then(|form| form.strip_prefix(&version)) != Some(&[0; 4]) {
            let what = format!("blob `{key}` has a form that this build does not know: use a newer build");
            return Err(Error::unsupported("catalog keys", what));
        }
        let (of, rest) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
        let (number, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (check, mut rest) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        let mut fields = Vec::new();
        for most in MOST {
            let (length, more) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
            let length = usize::from(u16::from_le_bytes(*length));
            let (field, more) = more.split_at_checked(length).filter(|_| length <= most).ok_or_else(damaged)?;
            fields.push(field.to_vec());
            rest = more;
        }
        let Ok([scope, key_id, wrapped]) = <[Vec<u8>; 3]>::try_from(fields) else { return Err(damaged()) };
        let text = |bytes| String::from_utf8(bytes).map_err(|error| damaged().with_source(error));
        if !rest.is_empty() || CatalogId(UploadId::from_bytes(*of)) != catalog {
            return Err(damaged());
        }
        let wrapped = Wrapped { key_id: text(key_id)?, bytes: wrapped };
        Ok(Self { number: u32::from_le_bytes(*number), scope: text(scope)?, check: *check, wrapped })
    }
}

/// Reads any bytes as a key: for a fuzzer. No hash stands between it and the parser.
#[cfg(any(test, feature = "testkit"))]
pub(super) fn fuzz(data: &[u8]) {
    let Ok(key) = KeyBlob::key(0, None) else { return };
    let sealed = [data, Digest::of(data).as_bytes()].concat();
    // The catalog that it says to be of.
    let of = data.get(16..32).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    let catalog = CatalogId(UploadId::from_bytes(of));
    if let Ok(blob) = KeyBlob::parse(catalog, &key, &sealed) {
        assert_eq!(blob.encode(catalog), sealed, "a key has one form");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds() -> Vec<(&'static str, Vec<u8>)> {
        let catalog = CatalogId(UploadId::from_bytes([5; 16]));
        let encoded = |number, scope: &str, id: &str, bytes: usize| {
            let wrapped = Wrapped { key_id: id.to_owned(), bytes: vec![7; bytes] };
            let bytes = KeyBlob::new(catalog, number, scope, &Secret([9; 32]), wrapped).unwrap().encode(catalog);
            bytes[..bytes.len() - 32].to_vec()
        };
        let valid = encoded(3, "westeurope", "one", 64);
        let changed = |at: usize, to: &[u8]| {
            let mut changed = valid.clone();
            changed[at..at + to.len()].copy_from_slice(to);
            changed
        };
        vec![
            ("of-names", encoded(0, "", "one", 64)),
            ("of-a-region", valid.clone()),
            ("empty-fields", encoded(1, "", "", 0)),
            ("longest-fields", encoded(u32::MAX, "x", &"k".repeat(1024), 8192)),
            ("newer-version", changed(10, &[9])),
            ("scope-past-the-end", changed(68, &[0xff, 0xff])),
            ("scope-is-no-text", changed(70, &[0xff])),
            ("cut", valid[..valid.len() - 5].to_vec()),
            ("more", [&valid[..], b"more"].concat()),
        ]
    }

    /// Writes the seeds of the corpus anew, after a change of the format.
    #[test]
    #[ignore = "writes into the tree"]
    fn the_corpus_is_written() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/catalog_key");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds() {
            super::fuzz(&bytes);
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    #[test]
    fn no_bit_of_a_key_can_change() {
        let catalog = CatalogId(UploadId::from_bytes([5; 16]));
        let wrapped = Wrapped { key_id: "one".to_owned(), bytes: vec![7; 60] };
        let blob = KeyBlob::new(catalog, 3, "westeurope", &Secret([9; 32]), wrapped).unwrap();
        let (key, bytes) = (KeyBlob::key(3, None).unwrap(), blob.encode(catalog));
        assert_eq!(KeyBlob::parse(catalog, &key, &bytes).unwrap(), blob);
        assert!(blob.is_of(catalog, &Secret([9; 32])) && !blob.is_of(catalog, &Secret([8; 32])));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(KeyBlob::parse(catalog, &key, &flipped).is_err(), "byte {at}");
            assert!(KeyBlob::parse(catalog, &key, &bytes[..at]).is_err(), "cut to {at}");
        }
        assert!(KeyBlob::parse(CatalogId(UploadId::from_bytes([6; 16])), &key, &bytes).is_err());
    }
}
