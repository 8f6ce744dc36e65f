//! The number of an image version.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::text::{from_text, serde_as_text};
use crate::error::{Error, Problem, Result};

/// The number of an image version, `Major.Minor.Patch`: ordered numerically, each part from 0 to 2147483647, without a
/// pre-release or build part (Azure: its parts are 32-bit signed).
///
/// Leading zeros do not count, and are kept as written: `2022.01.08` equals `2022.1.8`.
///
/// ```
/// use compute_gallery::model::VersionNumber;
///
/// let version: VersionNumber = "1.0.12".parse()?;
/// assert!(version > "1.0.9".parse()?);
/// assert_eq!(semver::Version::from(version), semver::Version::new(1, 0, 12));
/// assert!(VersionNumber::try_from("1.0.0-rc.1".parse::<semver::Version>().unwrap()).is_err());
///
/// let dated: VersionNumber = "2022.01.08".parse()?;
/// assert_eq!(dated, "2022.1.8".parse()?);
/// assert_eq!(dated.to_string(), "2022.01.08");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct VersionNumber {
    parts: [u32; 3],
    /// The least number of digits that each part is written with.
    digits: [u8; 3],
}

/// The largest value of a part: Azure's are 32-bit signed.
const MAX: u32 = i32::MAX as u32;

/// The most digits of a part: those of the largest value.
const MAX_DIGITS: u8 = 10;

impl VersionNumber {
    /// The least number: `0.0.0`.
    pub(crate) const LEAST: Self = Self { parts: [0; 3], digits: [1; 3] };

    /// The greatest number.
    pub(crate) const GREATEST: Self = Self { parts: [MAX; 3], digits: [1; 3] };

    /// Returns a number of three parts.
    ///
    /// ```
    /// use compute_gallery::model::VersionNumber;
    ///
    /// assert_eq!(VersionNumber::new(1, 0, 12)?, "1.0.12".parse()?);
    /// assert!(VersionNumber::new(1, 0, u32::MAX).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` where a part is above 2147483647.
    pub fn new(major: u32, minor: u32, patch: u32) -> Result<Self> {
        Self::of([major, minor, patch], [1; 3]).ok_or_else(|| wrong(&format!("{major}.{minor}.{patch}")))
    }

    fn of(parts: [u32; 3], digits: [u8; 3]) -> Option<Self> {
        parts.iter().all(|part| *part <= MAX).then_some(Self { parts, digits })
    }

    /// Returns the first part.
    pub fn major(&self) -> u32 {
        let [major, ..] = self.parts;
        major
    }

    /// Returns the second part.
    pub fn minor(&self) -> u32 {
        let [_, minor, _] = self.parts;
        minor
    }

    /// Returns the third part.
    pub fn patch(&self) -> u32 {
        let [.., patch] = self.parts;
        patch
    }

    /// Returns the number with the next patch, written with as many digits; `None` after the largest.
    ///
    /// ```
    /// use compute_gallery::model::VersionNumber;
    ///
    /// let nightly: VersionNumber = "2022.01.08".parse()?;
    /// assert_eq!(nightly.next_patch().unwrap().to_string(), "2022.01.09");
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn next_patch(&self) -> Option<Self> {
        Self::of([self.major(), self.minor(), self.patch() + 1], self.digits)
    }

    /// Returns the number with the next minor part and patch 0; `None` after the largest.
    pub fn next_minor(&self) -> Option<Self> {
        Self::of([self.major(), self.minor() + 1, 0], self.digits)
    }

    /// Returns the number with the next major part, minor part 0 and patch 0; `None` after the largest.
    pub fn next_major(&self) -> Option<Self> {
        Self::of([self.major() + 1, 0, 0], self.digits)
    }
}

fn wrong(value: &str) -> Error {
    let sentence = "The image version name is invalid. The image version name should follow Major(int).Minor(int).Patch(int) \
                    format, for e.g: 1.0.0, 2018.12.1 etc.";
    let advice = format!(
        "`{}` is not three whole numbers from 0 to 2147483647, of at most {MAX_DIGITS} digits",
        value.escape_debug()
    );
    Error::new(Problem::invalid("galleryImageVersion.name", sentence).with_advice(advice))
}

impl PartialEq for VersionNumber {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for VersionNumber {}

impl Ord for VersionNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl PartialOrd for VersionNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for VersionNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts.hash(state);
    }
}

impl FromStr for VersionNumber {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let part = |part: &str| {
            let digits = u8::try_from(part.len()).ok().filter(|digits| *digits <= MAX_DIGITS)?;
            let number = part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))?;
            // Without a zero at the front a number is written with as many digits as it needs.
            Some((number, if part.starts_with('0') { digits } else { 1 }))
        };
        let parts = text.split('.').map(part).collect::<Option<Vec<(u32, u8)>>>();
        let number = match parts.as_deref() {
            Some(&[(major, a), (minor, b), (patch, c)]) => Self::of([major, minor, patch], [a, b, c]),
            _ => None,
        };
        number.ok_or_else(|| wrong(text))
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([major, minor, patch], [a, b, c]) = (self.parts, self.digits.map(usize::from));
        write!(f, "{major:0a$}.{minor:0b$}.{patch:0c$}")
    }
}

serde_as_text!(VersionNumber);
from_text!(VersionNumber);

impl From<VersionNumber> for semver::Version {
    fn from(number: VersionNumber) -> Self {
        let [major, minor, patch] = number.parts.map(u64::from);
        Self::new(major, minor, patch)
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
    #[cfg(feature = "_properties")]
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
            "1..0",
            "1.0.2147483648",
            "1.0.x",
            " 1.0.0",
            "1.0.99999999999",
            "1.0.00000000001",
        ] {
            let error = wrong.parse::<VersionNumber>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
        assert_eq!("1.0.2147483647".parse::<VersionNumber>().unwrap().next_patch(), None);
    }

    #[test]
    fn leading_zeros_do_not_count_and_are_kept() {
        let read = |text: &str| text.parse::<VersionNumber>().unwrap();
        for text in ["202511.07.0", "2022.01.08", "00.0.000", "0.0.0", "2147483647.0000000001.10"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("2022.01.08"), read("2022.1.8"));
        assert!(read("2022.01.08") < read("2022.1.10") && read("2022.01.08") < read("2022.010.1"));
        assert_eq!(read("2022.01.08").next_patch().unwrap().to_string(), "2022.01.09");
        assert_eq!(read("2022.01.09").next_patch().unwrap().to_string(), "2022.01.10");
        let same = std::collections::HashSet::from([read("1.0.0"), read("01.0.00")]);
        assert_eq!(same.len(), 1);
    }

    #[cfg(feature = "_properties")]
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
