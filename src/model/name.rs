//! Names of resources: case is kept and does not count.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use super::text::serde_as_text;
use crate::error::{Error, ErrorKind, Problem, Result};

fn is_alphanumeric(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// Azure's sentence about a gallery's name.
fn not_a_gallery_name(_: &str) -> String {
    "Gallery name is invalid. Allowed characters are English alphanumeric characters, with underscores, and periods allowed \
     in the middle, up to 80 characters total. All other special characters, including dashes, are disallowed."
        .to_owned()
}

/// Azure's sentence about the name of what is in a gallery.
fn not_an_entity_name(name: &str) -> String {
    format!(
        r"The entity name '{}' is invalid according to its validation rule: ^[^_\W][\w-._]{{0,79}}(?<![-.])$.",
        name.escape_debug()
    )
}

/// What is wrong with a name that breaks `rule`, in Azure's words where it has some. Where the fault is how the name ends,
/// Azure's front door has a code of its own.
fn wrong(field: &str, name: &str, rule: &str, sentence: Option<fn(&str) -> String>) -> Error {
    let shown = name.escape_debug();
    let Some(sentence) = sentence else { return Error::invalid(field, format!("`{shown}` is not allowed: {rule}")) };
    let problem = match name.chars().next_back() {
        Some(last @ ('.' | '_' | '-')) => {
            let what = format!(
                "The provided resource name '{shown}' has these invalid trailing characters: '{last}'. The name can not end \
                 with characters: '.', '_', '-'."
            );
            Problem::new(ErrorKind::Invalid, "InvalidResourceName", field, what)
        }
        _ => Problem::invalid(field, sentence(name)),
    };
    Error::new(problem.with_advice(format!("It is `{shown}`: {rule}.")))
}

/// Defines a name: its length, its further characters, its rule for the ends, and how errors tell the rule.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:literal, $others:literal, $ends:expr, $sentence:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                let inside = |byte: u8| byte.is_ascii_alphanumeric() || $others.contains(&byte);
                let (first, last) = (name.bytes().next(), name.bytes().next_back());
                let ends: fn(Option<u8>, Option<u8>) -> bool = $ends;
                if name.is_empty() || name.len() > $max || !name.bytes().all(inside) || !ends(first, last) {
                    return Err(wrong($field, name, $rule, $sentence));
                }
                Ok(Self(name.into()))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $name {}

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                fn folded(name: &str) -> impl Iterator<Item = u8> + '_ {
                    name.bytes().map(|byte| byte.to_ascii_lowercase())
                }
                folded(&self.0).cmp(folded(&other.0))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                // In one piece, without an allocation: no name is longer.
                let mut folded = [0; $max];
                if let Some(place) = folded.get_mut(..self.0.len()) {
                    place.copy_from_slice(self.0.as_bytes());
                    place.make_ascii_lowercase();
                    place.hash(state);
                }
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{self}`")
            }
        }

        serde_as_text!($name);
    };
}

name! {
    /// A subscription: 1 to 64 letters, digits and `-`. Azure's are UUIDs; a host may use other ids.
    SubscriptionId, "subscriptionId", 64, b"-", |_, _| true, None,
    "a subscription id has 1 to 64 letters, digits and `-`"
}

name! {
    /// A resource group: 1 to 90 letters, digits and `_-.()`, not ending in a period.
    ResourceGroupName, "resourceGroupName", 90, b"_-.()", |_, last| last != Some(b'.'), None,
    "a resource group has 1 to 90 letters, digits and `_-.()`, and does not end in a period"
}

name! {
    /// A gallery's name: 1 to 80 letters, digits, `_` and `.`, a letter or digit at both ends.
    ///
    /// The service's own rule; its published pattern would allow a hyphen too.
    ///
    /// ```
    /// use compute_gallery::model::GalleryName;
    ///
    /// assert_eq!("Contoso".parse::<GalleryName>()?, "CONTOSO".parse()?);
    /// assert!("my-gallery".parse::<GalleryName>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    GalleryName, "gallery.name", 80, b"_.", |first, last| is_alphanumeric(first) && is_alphanumeric(last), Some(not_a_gallery_name),
    "a gallery name has 1 to 80 letters, digits, `_` and `.` (no `-`), and a letter or digit at both ends"
}

name! {
    /// An image definition's name: 1 to 80 letters, digits, `_`, `-` and `.`, a letter or digit at both ends.
    ImageName, "galleryImage.name", 80, b"_-.", |first, last| is_alphanumeric(first) && is_alphanumeric(last), Some(not_an_entity_name),
    "an image definition name has 1 to 80 letters, digits, `_`, `-` and `.`, and a letter or digit at both ends"
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn lengths_and_ends_are_checked() {
        assert!("a".repeat(80).parse::<GalleryName>().is_ok());
        assert!("a".repeat(81).parse::<GalleryName>().is_err());
        for wrong in ["", ".a", "a_", "a b", "a-b", "ä", "a/b", "a\0"] {
            assert!(wrong.parse::<GalleryName>().is_err(), "{wrong:?}");
        }
        assert!("a-b".parse::<ImageName>().is_ok());
        assert!("group.".parse::<ResourceGroupName>().is_err());
        assert!("(group)".parse::<ResourceGroupName>().is_ok());
    }

    #[test]
    fn case_is_kept_and_does_not_count() {
        let (upper, lower): (ImageName, ImageName) = ("Web".parse().unwrap(), "web".parse().unwrap());
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), Ordering::Equal);
        assert_eq!(HashSet::from([upper.clone(), lower]).len(), 1);
        assert_eq!(upper.to_string(), "Web");
    }
}
