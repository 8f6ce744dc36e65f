//! From bearer tokens to callers.

use std::fmt::Debug;

use serde_json::Value;

use super::text::base64_url_decoded;
use crate::access::{Caller, TenantId};

/// Makes a caller of a bearer token. What the caller may do is the service's decision.
///
/// ```
/// # #[cfg(feature = "arm")] {
/// use compute_gallery::Caller;
/// use compute_gallery::arm::Authenticator;
///
/// /// Knows two tokens.
/// #[derive(Debug)]
/// struct Table;
///
/// impl Authenticator for Table {
///     fn caller(&self, token: &str) -> Option<Caller> {
///         match token {
///             "s3cret" => "ann".parse().ok(),
///             "0ther" => "robot".parse().ok(),
///             _ => None,
///         }
///     }
/// }
///
/// assert_eq!(Table.caller("s3cret"), "ann".parse().ok());
/// # }
/// ```
pub trait Authenticator: Debug + Send + Sync + 'static {
    /// Returns the caller that the token is for; `None` if the token is not accepted, which is answered with 401.
    fn caller(&self, token: &str) -> Option<Caller>;

    /// Returns the tenant that an accepted token is of: of the caller's accounts, those count that a token is of, this one or one beside it
    /// in `x-ms-authorization-auxiliary`. `None`, the default, counts all of them.
    fn tenant(&self, token: &str) -> Option<TenantId> {
        let _ = token;
        None
    }
}

/// Takes any token as one caller's: by default as `admin`'s.
///
/// ```
/// # #[cfg(feature = "arm")] {
/// use compute_gallery::arm::{AnyToken, Authenticator};
///
/// let any = AnyToken::new("admin".parse()?);
/// assert_eq!(any.caller("whatever"), Some("admin".parse()?));
/// # }
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AnyToken(Option<Caller>);

impl AnyToken {
    /// Takes any token as `caller`'s.
    pub fn new(caller: Caller) -> Self {
        Self(Some(caller))
    }
}

impl Authenticator for AnyToken {
    fn caller(&self, token: &str) -> Option<Caller> {
        if token.is_empty() { None } else { self.0.clone().or_else(|| "admin".parse().ok()) }
    }
}

/// Takes one token as one caller's, and no other.
///
/// ```
/// # #[cfg(feature = "arm")] {
/// use compute_gallery::arm::{Authenticator, OneToken};
///
/// let one = OneToken::new("s3cret", "admin".parse()?);
/// assert_eq!(one.caller("s3cret"), Some("admin".parse()?));
/// assert_eq!(one.caller("S3CRET"), None);
/// # }
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone)]
pub struct OneToken {
    token: String,
    caller: Caller,
}

impl Debug for OneToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneToken").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl OneToken {
    /// Takes `token` as `caller`'s.
    pub fn new(token: impl Into<String>, caller: Caller) -> Self {
        Self { token: token.into(), caller }
    }
}

impl Authenticator for OneToken {
    fn caller(&self, token: &str) -> Option<Caller> {
        // All bytes are compared, so that the time does not tell how many agree.
        let differs = |(a, b): (u8, u8)| a ^ b;
        let same = token.len() == self.token.len();
        let differences = token.bytes().zip(self.token.bytes()).map(differs).fold(0, |all, one| all | one);
        (same && differences == 0).then(|| self.caller.clone())
    }
}

/// Reads the claims of a JWT, and believes them: **for tests alone**. The caller is its `oid`, or its `appid`, `azp`, `upn` or
/// `sub`; the tenant its `tid`.
///
/// ```
/// # #[cfg(feature = "arm")] {
/// use compute_gallery::arm::{Authenticator, UntrustedClaims};
///
/// // {"alg":"none"}.{"oid":"ann"}.
/// let token = "eyJhbGciOiJub25lIn0.eyJvaWQiOiJhbm4ifQ.eA";
/// assert_eq!(UntrustedClaims.caller(token), Some("ann".parse()?));
/// assert_eq!(UntrustedClaims.caller("not-a-jwt"), None);
/// # }
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct UntrustedClaims;

impl Authenticator for UntrustedClaims {
    fn caller(&self, token: &str) -> Option<Caller> {
        claim(token, &["oid", "appid", "azp", "upn", "sub"])?.parse().ok()
    }

    fn tenant(&self, token: &str) -> Option<TenantId> {
        claim(token, &["tid"])?.parse().ok()
    }
}

/// Returns the first of these claims that a JWT has.
fn claim(token: &str, names: &[&str]) -> Option<String> {
    let claims = token.split('.').nth(1).and_then(base64_url_decoded)?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let claim = |name: &&str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    names.iter().find_map(claim).map(str::to_owned)
}
