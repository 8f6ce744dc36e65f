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

    /// Returns the greatest key under this one; `None` if this one is too long to have any.
    pub(crate) fn last_under(&self) -> Option<Self> {
        let mut last = self.0.to_string();
        // One more segment takes a slash and a character.
        while last.len() + 2 <= Self::MAX_BYTES {
            let room = (Self::MAX_BYTES - last.len() - 1).min(Self::MAX_SEGMENT_BYTES);
            last.push('/');
            last.extend(std::iter::repeat_n('z', room));
        }
        (last.len() > self.0.len()).then(|| Self(last.into()))
    }

    /// Returns the key directly under `under` that this key is under, if any: for `a/b/c`, `a/b` under `a`, and `a` under `None`.
    pub(crate) fn folder(&self, under: Option<&BlobKey>) -> Option<Self> {
        let start = under.map_or(0, |under| under.0.len() + 1);
        if under.is_some_and(|under| !self.is_under(under)) {
            return None;
        }
        let length = self.0.get(start..)?.find('/')?;
        Some(Self(self.0.get(..start + length)?.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> BlobKey {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_key_under_another_is_a_key_and_greater_than_every_other_one_under_it() {
        for length in [1, 2, 127, 128] {
            for above in [key(&"a".repeat(length)), key(&format!("b/{}", "-".repeat(length).replacen('-', "0", 1)))] {
                let last = above.last_under().unwrap();
                assert_eq!(last.as_str().parse::<BlobKey>().unwrap(), last);
                assert!(last.is_under(&above));
                for below in ["0", "z", "z0", "zz/z", &"z".repeat(128), &format!("{0}/{0}/{0}", "z".repeat(127))] {
                    // Some of them are too long to be keys.
                    assert!(
                        above.join(below).is_ok_and(|below| below <= last) || above.join(below).is_err(),
                        "{below}"
                    );
                }
                assert!(last.as_str() < format!("{above}0").as_str());
            }
        }
        let segment = "z".repeat(127);
        let longest = key(&format!("{segment}/{segment}/{segment}/{segment}z"));
        assert_eq!(longest.last_under(), None);
        let one_less = key(&format!("{segment}/{segment}/{segment}/{segment}"));
        assert_eq!(one_less.last_under(), None);
        let two_less = key(&format!("{segment}/{segment}/{segment}/{}", "z".repeat(126)));
        assert_eq!(two_less.last_under().map(|last| last.as_str().len()), Some(512));
    }

    #[test]
    fn a_folder_is_the_next_segment_with_something_below() {
        assert_eq!(key("a/b/c").folder(Some(&key("a"))), Some(key("a/b")));
        assert_eq!(key("a/b/c").folder(None), Some(key("a")));
        for (at, under) in [("a", None), ("a/b", Some("a")), ("a/b", Some("a/b")), ("ab/c/d", Some("a"))] {
            assert_eq!(key(at).folder(under.map(key).as_ref()), None, "{at} under {under:?}");
        }
    }
}
