//! The api-versions of the gallery's types.

use std::fmt;

/// Declares the versions from one list, the oldest first.
macro_rules! api_versions {
    ($(#[$doc:meta])* $($variant:ident $text:literal,)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "a name says which it is")]
        pub enum ApiVersion {
            $($variant,)+
        }

        impl ApiVersion {
            /// All of them, the oldest first.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns it as it stands in a query.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

api_versions! {
    /// An api-version of `Microsoft.Compute/galleries` and the types below it, in the order of time.
    ///
    /// ```
    /// # #[cfg(feature = "arm")] {
    /// use compute_gallery::arm::ApiVersion;
    ///
    /// assert_eq!(ApiVersion::of("2023-07-03"), Some(ApiVersion::V2023_07_03));
    /// // Another one is read as the nearest older.
    /// assert_eq!(ApiVersion::of("2024-01-01"), None);
    /// assert_eq!(ApiVersion::nearest("2024-01-01"), Some(ApiVersion::V2023_07_03));
    /// # }
    /// ```
    V2018_06_01 "2018-06-01",
    V2019_03_01 "2019-03-01",
    V2019_07_01 "2019-07-01",
    V2019_12_01 "2019-12-01",
    V2020_09_30 "2020-09-30",
    V2021_03_01 "2021-03-01",
    V2021_07_01 "2021-07-01",
    V2021_10_01 "2021-10-01",
    V2022_01_03 "2022-01-03",
    V2022_03_03 "2022-03-03",
    V2022_08_03 "2022-08-03",
    V2023_07_03 "2023-07-03",
    V2024_03_03 "2024-03-03",
    V2025_03_03 "2025-03-03",
    V2025_12_03 "2025-12-03",
    V2026_03_03 "2026-03-03",
}

impl ApiVersion {
    /// The newest.
    pub const LATEST: Self = Self::V2026_03_03;

    /// Returns the version with this name. `-preview` makes no difference.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|version| version.as_str() == date(text))
    }

    /// Returns the newest version that is not newer than `text`; `None` if it is older than all, or no date.
    pub fn nearest(text: &str) -> Option<Self> {
        let date = Some(date(text)).filter(|_| is_well_formed(text))?;
        Self::ALL.iter().copied().rfind(|version| version.as_str() <= date)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn date(text: &str) -> &str {
    text.get(..10).unwrap_or(text)
}

/// Whether it is a date, alone or followed by `-preview` or the like.
pub(super) fn is_well_formed(text: &str) -> bool {
    let (date, rest) = text.split_at_checked(10).unwrap_or((text, ""));
    let digits = |char: (usize, u8)| if matches!(char.0, 4 | 7) { char.1 == b'-' } else { char.1.is_ascii_digit() };
    let rest_is =
        |rest: &str| rest.strip_prefix('-').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    date.len() == 10 && date.bytes().enumerate().all(digits) && (rest.is_empty() || rest_is(rest))
}
