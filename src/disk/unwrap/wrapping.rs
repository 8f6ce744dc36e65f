//! The names of wrappings.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What a disk's file is wrapped in: [`DiskSource::with_wrapping`](crate::disk::DiskSource::with_wrapping).
///
/// ```
/// use compute_gallery::disk::Wrapping;
///
/// assert_eq!("gz".parse::<Wrapping>()?, Wrapping::Gzip);
/// assert_eq!(Wrapping::Zstd.to_string(), "zst");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wrapping {
    /// One or several gzip members (RFC 1952).
    Gzip,
    /// One or several zstd frames (RFC 8878) with windows of at most 128 MiB.
    Zstd,
    /// One or several xz streams, with dictionaries of at most 256 MiB.
    #[cfg(feature = "xz")]
    Xz,
    /// A tar archive of one file; folders in it are passed over.
    Tar,
}

impl Wrapping {
    /// All wrappings.
    pub const ALL: &[Self] = &[
        Self::Gzip,
        Self::Zstd,
        #[cfg(feature = "xz")]
        Self::Xz,
        Self::Tar,
    ];
}

impl fmt::Display for Wrapping {
    /// Writes the ending of such a file's name, without the dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            #[cfg(feature = "xz")]
            Self::Xz => "xz",
            Self::Tar => "tar",
        })
    }
}

impl FromStr for Wrapping {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let known = Self::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            // Where the feature is on, it is one of them.
            let fix = if text == "xz" { "build with the feature `xz`, or use" } else { "write" };
            let what =
                format!("`{}` is no wrapping that this build unwraps: {fix} one of {known}", text.escape_debug());
            Error::invalid("wrapping", what)
        };
        Self::ALL.iter().find(|wrapping| wrapping.to_string() == text).copied().ok_or_else(wrong)
    }
}
