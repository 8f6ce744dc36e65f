//! Regions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::serde_as_text;
use crate::error::{Error, Result};

/// A region: "South Central US" and "southcentralus" are one. Written without spaces, in lower case.
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
pub struct Region(Arc<str>);

impl Region {
    /// The region's name, such as `southcentralus`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name: String = text.chars().filter(|char| *char != ' ').collect::<String>().to_ascii_lowercase();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || text.len() > 64 || !name.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            let rule = "a region has up to 64 letters, digits and spaces, such as `West Europe` or `westeurope`";
            return Err(Error::invalid("location", format!("`{}` is no region: {rule}", text.escape_debug())));
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

serde_as_text!(Region);
