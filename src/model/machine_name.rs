//! The names of machines.

use std::sync::Arc;

use super::text::text_newtype;
use crate::error::{Error, Result};

text_newtype! {
    /// The name of a VM or scale set, and its computer name: 1 to 64 letters, digits and `-`, not only digits, no `-` at
    /// either end. (A Windows VM's computer name has at most 15: its OS cuts it.)
    ///
    /// ```
    /// use compute_gallery::model::MachineName;
    ///
    /// assert_eq!("web-01".parse::<MachineName>()?.as_str(), "web-01");
    /// assert!("web_01".parse::<MachineName>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    MachineName, read_machine_name
}

fn read_machine_name(name: &str) -> Result<Arc<str>> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=64).contains(&name.len()) || !plain || digits || name.starts_with('-') || name.ends_with('-') {
        let rule = "a machine's name has 1 to 64 letters, digits and `-`, not only digits, no `-` at either end";
        return Err(Error::invalid("osProfile.computerName", format!("`{}`: {rule}", name.escape_debug())));
    }
    Ok(name.into())
}
