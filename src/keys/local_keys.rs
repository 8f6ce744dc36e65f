//! Keys that the host gives as bytes.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::content::cipher::{unwrap_secret, wrap_secret};
use crate::error::Result;
use crate::host::{KeyProvider, Secret, Wrapped, key_missing};

/// Keys that the host has read from a file or its environment. AES-256-GCM wraps secrets with them.
///
/// ```
/// use compute_gallery::GalleryService;
/// use compute_gallery::host::Secret;
/// use compute_gallery::keys::LocalKeys;
/// use compute_gallery::store::MemoryStore;
///
/// # futures::executor::block_on(async {
/// let store = MemoryStore::new();
/// let builder = || GalleryService::builder().allow_all().store(store.clone());
/// builder().encryption(LocalKeys::new("2026", Secret([7; 32]))).create().await?;
/// // Without the key, and with another one, nothing opens.
/// assert!(builder().open().await.is_err());
/// assert!(builder().encryption(LocalKeys::new("2026", Secret([8; 32]))).open().await.is_err());
/// // A new key, while the old one is still there.
/// let both = LocalKeys::new("2027", Secret([9; 32])).with_old("2026", Secret([7; 32]));
/// assert!(builder().encryption(both).open().await.is_ok());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct LocalKeys {
    current: String,
    keys: BTreeMap<String, Secret>,
}

impl LocalKeys {
    /// Returns one key, which is the current one. `id` is stored beside what it wraps; the key is not. It must be random.
    pub fn new(id: &str, key: Secret) -> Self {
        Self { current: id.to_owned(), keys: [(id.to_owned(), key)].into() }
    }

    /// Adds a key that unwraps what it has wrapped.
    #[must_use]
    pub fn with_old(mut self, id: &str, key: Secret) -> Self {
        self.keys.entry(id.to_owned()).or_insert(key);
        self
    }
}

#[async_trait]
impl KeyProvider for LocalKeys {
    async fn current(&self) -> Result<String> {
        Ok(self.current.clone())
    }

    async fn wrap(&self, secret: &Secret, context: &[u8]) -> Result<Wrapped> {
        let key = self.keys.get(&self.current).ok_or_else(|| key_missing(&self.current, "it is not here"))?;
        Ok(Wrapped { key_id: self.current.clone(), bytes: wrap_secret(&key.0, &secret.0, context)? })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Secret> {
        let id = &wrapped.key_id;
        let key = self.keys.get(id).ok_or_else(|| key_missing(id, "it is not here"))?;
        let secret = unwrap_secret(&key.0, &wrapped.bytes, context)?;
        secret.map(Secret).ok_or_else(|| key_missing(id, "it is another key than the one of this id was"))
    }
}
