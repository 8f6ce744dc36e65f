//! The version of a blob.

use std::fmt;
use std::sync::Arc;

/// Which of the blobs that a key has had over time is meant: an opaque text of the store, such as an ETag or a generation.
///
/// Blobs of one key that differ have different versions. (The same bytes, put again, may have the same version again.)
///
/// ```
/// use bytes::Bytes;
/// use compute_gallery::store::{BlobStore, BlobVersion, MemoryStore, PutMode};
///
/// # futures::executor::block_on(async {
/// let (store, key) = (MemoryStore::new(), "a".parse()?);
/// store.put(&key, Bytes::from_static(b"1"), PutMode::Create).await?;
/// let first = store.head(&key).await?.version;
/// store.put(&key, Bytes::from_static(b"2"), PutMode::Overwrite).await?;
/// assert!(first.is_some() && first != store.head(&key).await?.version);
///
/// // In a store of your own:
/// assert_eq!(BlobVersion::new("\"0x8D4BCC2E4835CD0\"").as_str(), "\"0x8D4BCC2E4835CD0\"");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlobVersion(Arc<str>);

impl BlobVersion {
    /// Takes the store's own text, for the implementor of a store.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the store's own text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
