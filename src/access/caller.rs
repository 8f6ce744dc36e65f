//! On whose behalf a session works.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::text_newtype;

text_newtype! {
    /// The user or application on whose behalf a session works, by the name that the directory knows: 1 to 256 characters, none
    /// of them a control character. The history keeps it.
    ///
    /// ```
    /// use compute_gallery::Caller;
    ///
    /// assert_eq!("nightly build".parse::<Caller>()?.as_str(), "nightly build");
    /// assert!("".parse::<Caller>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    Caller, read
}

fn read(name: &str) -> Result<Arc<str>> {
    if name.is_empty() || name.chars().count() > 256 || name.chars().any(char::is_control) {
        let rule = "a caller's name has 1 to 256 characters, none of them a control character";
        return Err(Error::invalid("caller", format!("`{}`: {rule}", name.escape_debug())));
    }
    Ok(name.into())
}
