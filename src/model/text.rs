//! Texts that follow a rule, such as ids and names: checked when they are parsed, and valid ever after.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::hash::Hasher;

use crate::error::{Error, Result};

/// Defines a type for a text that follows a rule.
///
/// `$read` makes the text that is kept from the text that is given, or returns an error. Texts are compared as they
/// are kept; a `caseless` one without regard to ASCII case.
macro_rules! text_newtype {
    (@type $(#[$meta:meta])* $name:ident, $read:expr) => {
        $(#[$meta])*
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Returns the text, as `Display` writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<Self> {
                let read: fn(&str) -> $crate::error::Result<std::sync::Arc<str>> = $read;
                read(text).map(Self)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.as_str().to_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "`{self}`")
            }
        }

        $crate::model::serde_as_text!($name);
        $crate::model::from_text!($name);
    };
    ($(#[$doc:meta])* $name:ident, caseless, $read:expr) => {
        $crate::model::text_newtype!(@type $(#[$doc])* #[derive(Clone)] $name, $read);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                $crate::model::cmp_ignoring_case(&self.0, &other.0)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                $crate::model::hash_ignoring_case(&self.0, state);
            }
        }
    };
    ($(#[$doc:meta])* $name:ident, $read:expr) => {
        $crate::model::text_newtype!(
            @type $(#[$doc])* #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)] $name, $read
        );
    };
}
pub(crate) use text_newtype;

/// Serde as text, through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text: String = serde::Deserialize::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

/// The conversions that let a function take `impl TryInto<$type>`: from text, and from a reference to the value.
macro_rules! from_text {
    ($type:ty) => {
        impl TryFrom<&str> for $type {
            type Error = $crate::error::Error;

            fn try_from(text: &str) -> $crate::error::Result<Self> {
                text.parse()
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::error::Error;

            fn try_from(text: String) -> $crate::error::Result<Self> {
                text.parse()
            }
        }

        impl From<&$type> for $type {
            fn from(value: &$type) -> Self {
                Clone::clone(value)
            }
        }
    };
}
pub(crate) use from_text;

/// The error of converting a value into its own type, for functions that take `impl TryInto<Id>` and are given an `Id`.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Reads an argument that may be a value, a reference to one, or text.
pub(crate) fn given<T, E: Into<Error>>(value: impl TryInto<T, Error = E>) -> Result<T> {
    value.try_into().map_err(Into::into)
}

/// Compares two texts without regard to ASCII case.
pub(crate) fn cmp_ignoring_case(one: &str, other: &str) -> Ordering {
    fn folded(text: &str) -> impl Iterator<Item = u8> + '_ {
        text.bytes().map(|byte| byte.to_ascii_lowercase())
    }
    folded(one).cmp(folded(other))
}

/// Hashes a text without regard to ASCII case and without an allocation.
pub(crate) fn hash_ignoring_case(text: &str, state: &mut impl Hasher) {
    let mut folded = [0; 64];
    for part in text.as_bytes().chunks(folded.len()) {
        if let Some(place) = folded.get_mut(..part.len()) {
            place.copy_from_slice(part);
            place.make_ascii_lowercase();
            state.write(place);
        }
    }
    // As `str` does: no text is the start of another's bytes.
    state.write_u8(0xff);
}
