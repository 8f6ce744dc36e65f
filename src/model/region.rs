//! Regions.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::body::from_body_by;
use super::shared::{Shared, Spelled};
use super::text::from_text;
use crate::error::{Error, Result};

/// A region: up to 64 letters, digits and spaces. "South Central US" and "southcentralus" are one region.
///
/// Its name is in lower case and without spaces; JSON keeps the text that was parsed (Azure: responses use the display name). A
/// region of this type may be unknown to a service: its [`RegionCatalog`](crate::model::RegionCatalog) lists those that
/// it has.
///
/// ```
/// use compute_gallery::model::Region;
///
/// let region: Region = "South Central US".parse()?;
/// assert_eq!(region, "southcentralus".parse()?);
/// assert_eq!(region.as_str(), "southcentralus");
/// assert!("west/europe".parse::<Region>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Shared<RegionName>);

struct RegionName {
    name: Box<str>,
    /// The text that was parsed, where it is not the name.
    given: Option<Box<str>>,
}

impl Region {
    /// Returns the name, such as `southcentralus`.
    pub fn as_str(&self) -> &str {
        &self.0.name
    }

    fn given(&self) -> &str {
        self.0.given.as_deref().unwrap_or(&self.0.name)
    }
}

impl Spelled for Region {
    fn is_spelled_as(&self, other: &Self) -> bool {
        self.0.is_same(&other.0) || self.given() == other.given()
    }
}

from_body_by!(text: Region);
from_text!(Region);

impl PartialEq for RegionName {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for RegionName {}

impl Ord for RegionName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl PartialOrd for RegionName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for RegionName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl FromStr for Region {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name: String = text.chars().filter(|char| *char != ' ').collect::<String>().to_ascii_lowercase();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || text.len() > 64 || !name.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            let rule = "a region has up to 64 letters, digits and spaces, such as `West Europe` or `westeurope`";
            return Err(Error::invalid("location", format!("`{}` is not a region: {rule}", text.escape_debug())));
        }
        let given = (name != text).then(|| text.into());
        Ok(Self(Shared::new(RegionName { name: name.into(), given })))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.given())
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
