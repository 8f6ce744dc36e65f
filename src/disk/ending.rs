//! The end of a disk file: nothing, or a VHD footer.

use super::format::DiskFormat;
use super::vhd::footer::{TIME_ZERO_SECONDS, fixed_footer};
use crate::content::digest::Digest;
use crate::error::Result;

/// The bytes that follow the guest's in the file.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Nothing,
    VhdFooter(Box<[u8; 512]>),
}

impl Ending {
    /// Returns the ending of a file in `format`. `created` is in seconds since the Unix epoch.
    pub(crate) fn of(format: DiskFormat, disk_size: u64, created: i64, uuid: [u8; 16]) -> Result<Self> {
        match format {
            DiskFormat::Raw => Ok(Self::Nothing),
            DiskFormat::Vhd => {
                let since_2000 = u32::try_from(created.saturating_sub(TIME_ZERO_SECONDS)).unwrap_or(0);
                fixed_footer(disk_size, since_2000, uuid).map(Box::new).map(Self::VhdFooter)
            }
        }
    }

    /// Returns the digest of a file's content: the disk, and the kind of its ending.
    pub(crate) fn content(&self, disk: &Digest) -> Digest {
        match self {
            Self::Nothing => *disk,
            // Not the footer itself, which has a time and a random number in it.
            Self::VhdFooter(_) => Digest::of(&[disk.as_bytes(), &b"vhd"[..]].concat()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::VhdFooter(footer) => footer.as_slice(),
        }
    }
}
