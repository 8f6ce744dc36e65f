//! The number of an image version.

use std::fmt;
use std::str::FromStr;

use super::serde_as_text;
use crate::error::{Error, Result};

/// `Major.Minor.Patch`, each from 0 to 2147483647; no pre-release, no build. Ordered numerically.
///
/// ```
/// use compute_gallery::model::VersionNumber;
///
/// let version: VersionNumber = "1.0.12".parse()?;
/// assert!(version > "1.0.9".parse()?);
/// assert_eq!(semver::Version::from(version), semver::Version::new(1, 0, 12));
/// assert!(VersionNumber::try_from("1.0.0-rc.1".parse::<semver::Version>().unwrap()).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionNumber {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The largest that each part can be: Azure's are 32-bit signed.
const MAX: u32 = i32::MAX as u32;

impl VersionNumber {
    /// A version number of three parts.
    ///
    /// # Errors
    ///
    /// `Invalid` where a part is above 2147483647.
    pub fn new(major: u32, minor: u32, patch: u32) -> Result<Self> {
        if [major, minor, patch].iter().any(|part| *part > MAX) {
            return Err(wrong(&format!("{major}.{minor}.{patch}")));
        }
        Ok(Self { major, minor, patch })
    }

    /// The first part.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The second part.
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// The third part.
    pub fn patch(&self) -> u32 {
        self.patch
    }

    /// The number with the next patch; `None` after the last.
    pub fn next_patch(&self) -> Option<Self> {
        Self::new(self.major, self.minor, self.patch + 1).ok()
    }

    /// The number with the next minor part and patch 0; `None` after the last.
    pub fn next_minor(&self) -> Option<Self> {
        Self::new(self.major, self.minor + 1, 0).ok()
    }

    /// The number with the next major part, minor part and patch 0; `None` after the last.
    pub fn next_major(&self) -> Option<Self> {
        Self::new(self.major + 1, 0, 0).ok()
    }
}

fn wrong(value: &str) -> Error {
    let rule = "an image version is named Major.Minor.Patch, three whole numbers from 0 to 2147483647 without leading \
                zeros, such as 1.0.0";
    Error::invalid("galleryImageVersion.name", format!("`{}` is not allowed: {rule}", value.escape_debug()))
}

impl FromStr for VersionNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let part = |part: &str| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            if plain { part.parse().ok() } else { None }
        };
        let parts = text.split('.').map(part).collect::<Option<Vec<u32>>>();
        match parts.as_deref() {
            Some(&[major, minor, patch]) => Self::new(major, minor, patch),
            _ => Err(wrong(text)),
        }
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

serde_as_text!(VersionNumber);

impl From<VersionNumber> for semver::Version {
    fn from(number: VersionNumber) -> Self {
        Self::new(number.major.into(), number.minor.into(), number.patch.into())
    }
}

impl TryFrom<semver::Version> for VersionNumber {
    type Error = Error;

    fn try_from(version: semver::Version) -> Result<Self> {
        version.to_string().parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_three_plain_numbers_are_taken() {
        for wrong in [
            "",
            "1.0",
            "1.0.0.0",
            "1.0.0-pre",
            "+1.0.0",
            "01.0.0",
            "1..0",
            "1.0.2147483648",
            "1.0.x",
            " 1.0.0",
            "1.0.99999999999",
        ] {
            let error = wrong.parse::<VersionNumber>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
        assert_eq!("1.0.2147483647".parse::<VersionNumber>().unwrap().next_patch(), None);
    }

    proptest! {
        #[test]
        fn order_is_that_of_semver(a in any::<[u16; 3]>(), b in any::<[u16; 3]>()) {
            let number = |[x, y, z]: [u16; 3]| VersionNumber::new(x.into(), y.into(), z.into()).unwrap();
            let (a, b) = (number(a), number(b));
            prop_assert_eq!(a.cmp(&b), semver::Version::from(a).cmp(&b.into()));
            prop_assert_eq!(a.to_string().parse::<VersionNumber>().unwrap(), a);
            prop_assert_eq!(VersionNumber::try_from(semver::Version::from(a)).unwrap(), a);
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            if let Ok(number) = text.parse::<VersionNumber>() {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
