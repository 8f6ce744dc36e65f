//! Keys of the host, which encrypt the keys of a catalog.

use std::fmt;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};

/// 32 secret bytes. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret that a key of the host encrypts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The id of the host's key, at most 1 KiB.
    pub key_id: String,
    /// The encrypted secret, at most 8 KiB.
    pub bytes: Vec<u8>,
}

/// Wraps and unwraps the keys of a catalog with keys of the host, such as those of a key management service.
///
/// A catalog that is created with a provider is encrypted. Only who has it can read the content. The gallery calls it when a catalog is
/// opened, when a region is first written or read, and when keys are rotated; never for each disk.
///
/// ```
/// use compute_gallery::ErrorKind;
/// use compute_gallery::host::{KeyProvider, Secret, Wrapped, key_missing};
///
/// /// For the example: one key that encrypts nothing.
/// #[derive(Debug)]
/// struct Open;
///
/// #[async_trait::async_trait]
/// impl KeyProvider for Open {
///     async fn current(&self) -> compute_gallery::Result<String> {
///         Ok("open-1".to_owned())
///     }
///
///     async fn wrap(&self, secret: &Secret, _context: &[u8]) -> compute_gallery::Result<Wrapped> {
///         Ok(Wrapped { key_id: self.current().await?, bytes: secret.0.to_vec() })
///     }
///
///     async fn unwrap(&self, wrapped: &Wrapped, _context: &[u8]) -> compute_gallery::Result<Secret> {
///         let bytes = wrapped.bytes.as_slice().try_into().ok().filter(|_| wrapped.key_id == "open-1");
///         bytes.map(Secret).ok_or_else(|| key_missing(&wrapped.key_id, "only `open-1` is here"))
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let wrapped = Open.wrap(&Secret([7; 32]), b"").await?;
/// assert_eq!(Open.unwrap(&wrapped, b"").await?, Secret([7; 32]));
/// let other = Wrapped { key_id: "gone".to_owned(), ..wrapped };
/// assert_eq!(Open.unwrap(&other, b"").await.unwrap_err().kind(), ErrorKind::KeyMissing);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait KeyProvider: fmt::Debug + Send + Sync + 'static {
    /// Returns the id of the key that [`wrap`](Self::wrap) uses now. Another id than before asks for a rotation.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the keys can't be reached, which is tried again.
    async fn current(&self) -> Result<String>;

    /// Encrypts a secret with the current key. `context` says what the secret is of; it is to be authenticated with it.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the keys can't be reached, [`key_missing`] if there is none.
    async fn wrap(&self, secret: &Secret, context: &[u8]) -> Result<Wrapped>;

    /// Decrypts a secret with the key of that id, which may be an old one.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the keys can't be reached, [`key_missing`] if the key is not there or is another one.
    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Secret>;
}

/// Returns the error of a key that is not there, or is another one than it was.
///
/// ```
/// use compute_gallery::ErrorKind;
/// use compute_gallery::host::key_missing;
///
/// let error = key_missing("2026-01", "it was destroyed");
/// assert_eq!(error.kind(), ErrorKind::KeyMissing);
/// assert!(error.to_string().contains("2026-01"));
/// ```
pub fn key_missing(key_id: &str, why: &str) -> Error {
    let what = format!("key `{key_id}` can't be used: {why}. Give the key provider this key; nothing was changed");
    Error::of(ErrorKind::KeyMissing, "KeyVaultKeyNotFound", format!("key {key_id}"), what)
}

/// Returns the error of keys that can't be reached now.
///
/// ```
/// use compute_gallery::ErrorKind;
/// use compute_gallery::host::keys_unavailable;
///
/// assert_eq!(keys_unavailable("the service does not answer").kind(), ErrorKind::Unavailable);
/// ```
pub fn keys_unavailable(why: &str) -> Error {
    let what = format!("the keys of the catalog can't be reached: {why}. Call again; nothing was changed");
    Error::of(ErrorKind::Unavailable, "KeyVaultUnreachable", "key provider", what)
}
