//! On whose behalf something is done.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// On whose behalf something is done: the name of a user or application that the directory knows. A name of 1 to 256 printable characters, kept in the history.
///
/// ```
/// use compute_gallery::Caller;
///
/// assert_eq!("nightly build".parse::<Caller>()?.as_str(), "nightly build");
/// assert!("".parse::<Caller>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Caller(Arc<str>);

impl Caller {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Caller {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if name.is_empty() || name.chars().count() > 256 || name.chars().any(char::is_control) {
            let rule = "a caller's name has 1 to 256 characters, none of them a control character";
            return Err(Error::invalid("caller", format!("`{}`: {rule}", name.escape_debug())));
        }
        Ok(Self(name.into()))
    }
}

impl TryFrom<String> for Caller {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Caller> for String {
    fn from(caller: Caller) -> Self {
        caller.as_str().to_owned()
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
