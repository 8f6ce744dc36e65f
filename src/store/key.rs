//! The name of a blob.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The name of a blob: segments joined by `/`, such as `log/00000000000000000001`.
///
/// A segment has 1 to 128 characters of `a-z 0-9 . _ -` and starts with a letter or digit; a key has at most 512 bytes. So a key
/// means the same on every file system and bucket, also those that fold case, and no key can leave a store's root or meet a name
/// that a store reserves (those start with a dot).
///
/// Keys are ordered by their bytes.
///
/// ```
/// use compute_gallery::store::BlobKey;
///
/// let key: BlobKey = "slots/0/manifest".parse()?;
/// assert_eq!(key.join("part")?.as_str(), "slots/0/manifest/part");
/// assert!(key.is_under(&"slots".parse()?));
/// for outside in ["../etc/passwd", "/etc/passwd", "a//b", "a/", "a\0b", ".hidden", "A", ""] {
///     assert!(outside.parse::<BlobKey>().is_err(), "{outside}");
/// }
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(Arc<str>);

impl BlobKey {
    /// The maximum length of a key in bytes.
    pub const MAX_BYTES: usize = 512;
    /// The maximum length of one segment in bytes.
    pub const MAX_SEGMENT_BYTES: usize = 128;

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the parts between the slashes; at least one.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the key `rest` under this one.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the result is not a key.
    pub fn join(&self, rest: &str) -> Result<Self> {
        format!("{self}/{rest}").parse()
    }

    /// Returns the key before the last slash; `None` if the key has one segment.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// Returns whether this key is under `parent`: `a/b` is under `a`; `a` and `ab` are not.
    pub fn is_under(&self, parent: &BlobKey) -> bool {
        self.0.strip_prefix(parent.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl FromStr for BlobKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |rule: String| Err(Error::invalid("key", format!("`{}` is not a blob key: {rule}", text.escape_debug())));
        if text.len() > Self::MAX_BYTES {
            return wrong(format!("it has {} bytes, at most {} are allowed", text.len(), Self::MAX_BYTES));
        }
        for segment in text.split('/') {
            if segment.is_empty() || segment.len() > Self::MAX_SEGMENT_BYTES {
                return wrong(format!("each segment has 1 to {} bytes", Self::MAX_SEGMENT_BYTES));
            }
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let inside = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
            if !segment.bytes().all(inside) || !segment.bytes().next().is_some_and(plain) {
                return wrong("a segment consists of a-z, 0-9, `.`, `_`, `-` and starts with a letter or digit".into());
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BlobKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BlobKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}
