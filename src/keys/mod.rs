//! The keys of a catalog: the secret of its names, and data keys of its regions, each wrapped by the host.

mod key_blob;
pub(crate) mod keyring;
#[cfg(feature = "encryption")]
mod local_keys;

pub use keyring::UnrotatedKey;
#[cfg(feature = "encryption")]
pub use local_keys::LocalKeys;

/// Reads bytes as a key of a catalog, for the fuzzer.
#[cfg(feature = "testkit")]
pub(crate) fn fuzz(data: &[u8]) {
    key_blob::fuzz(data);
}
