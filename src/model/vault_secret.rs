//! References to secrets in key vaults.

use std::sync::Arc;

use super::text::text_newtype;
use crate::error::{Error, Result};

text_newtype! {
    /// A secret or certificate in a key vault, by its URI and never by its value:
    /// `https://{vault}/secrets/{name}`, with a version at the end or none. It has no user, query or fragment, which could hold a value.
    ///
    /// ```
    /// use compute_gallery::model::VaultSecretUri;
    ///
    /// let uri: VaultSecretUri = "https://contoso.vault.azure.net/secrets/winrm/4f0c".parse()?;
    /// assert_eq!(uri.as_str(), "https://contoso.vault.azure.net/secrets/winrm/4f0c");
    /// assert!("P@ssw0rd".parse::<VaultSecretUri>().is_err());
    /// assert!("https://contoso.vault.azure.net/secrets/winrm?value=P@ssw0rd".parse::<VaultSecretUri>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    VaultSecretUri, read_uri
}

fn read_uri(text: &str) -> Result<Arc<str>> {
    let inside = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte);
        !part.is_empty() && part.bytes().all(plain)
    };
    let parts: Vec<&str> = text.strip_prefix("https://").unwrap_or_default().split('/').collect();
    let is_one = match parts.as_slice() {
        [vault, "secrets", name] => inside(vault) && inside(name),
        [vault, "secrets", name, version] => inside(vault) && inside(name) && inside(version),
        _ => false,
    };
    if !is_one {
        // What is wrong may be a secret.
        let what = "a secret is named by its URI in a key vault, `https://{vault}/secrets/{name}/{version}`, and never given by value";
        return Err(Error::invalid("osProfile.secrets", what));
    }
    Ok(text.into())
}
