//! The 512 bytes at the end of every VHD.

use super::fields::{SECTOR_BYTES, checksum};
use crate::disk::fields::{field, unsupported};
use crate::error::{Error, Result};

pub(super) const FOOTER_BYTES: u64 = 512;
/// 2040 GiB: what the 32-bit sector numbers of a block table can reach, less some room; Hyper-V and QEMU agree on it. A fixed
/// VHD has no table: its size is bounded by the gallery's own limit.
pub(super) const MAX_DYNAMIC_BYTES: u64 = 2040 << 30;
/// "No such offset": a fixed VHD has no header.
pub(super) const NO_OFFSET: u64 = u64::MAX;
pub(super) const VERSION_1: u32 = 0x0001_0000;

/// 2000-01-01T00:00:00Z, where a VHD's time stamps begin, in seconds since the Unix epoch.
pub(crate) const TIME_ZERO_SECONDS: i64 = 946_684_800;

const COOKIE: [u8; 8] = *b"conectix";
const CHECKSUM_AT: usize = 64;
/// The bit of the features that the specification requires to be set.
const FEATURES_RESERVED: u32 = 2;

/// How the bytes before the footer are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskType {
    Fixed = 2,
    Dynamic = 3,
}

/// Cylinders, heads and sectors per track, for BIOSes that ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) cylinders: u16,
    pub(super) heads: u8,
    pub(super) sectors_per_track: u8,
}

impl Geometry {
    /// QEMU's value for a disk whose size is the footer's and not the geometry's.
    const LARGEST: Self = Self { cylinders: 65535, heads: 16, sectors_per_track: 255 };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) features: u32,
    /// The file offset of the header of a dynamic VHD.
    pub(super) data_offset: u64,
    /// Seconds since 2000-01-01T00:00:00Z.
    pub(super) time_stamp: u32,
    pub(super) creator_application: [u8; 4],
    pub(super) creator_version: u32,
    pub(super) creator_host_os: [u8; 4],
    pub(super) original_size: u64,
    pub(super) current_size: u64,
    pub(super) geometry: Geometry,
    pub(super) disk_type: DiskType,
    pub(super) unique_id: [u8; 16],
    pub(super) saved_state: u8,
}

impl Footer {
    /// Reads a footer whose cookie and checksum are right.
    pub(super) fn parse(bytes: &[u8; 512], target: &str) -> Result<Self> {
        let version = u32::from_be_bytes(field(bytes, 12));
        if version != VERSION_1 {
            return Err(unsupported(
                target,
                format!("the footer's version is `{version:#010x}`, not {VERSION_1:#010x}"),
            ));
        }
        let disk_type = match u32::from_be_bytes(field(bytes, 60)) {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => {
                return Err(unsupported(
                    target,
                    "the disk type is `4`, differencing: backing files are never followed; merge the disk with its \
                     parent into a fixed (2) or dynamic (3) VHD"
                        .to_owned(),
                ));
            }
            other => {
                return Err(unsupported(
                    target,
                    format!(
                        "the disk type is `{other}`, neither fixed (2) nor dynamic (3); convert the disk to one of them"
                    ),
                ));
            }
        };
        let current_size = u64::from_be_bytes(field(bytes, 48));
        check_size(current_size, target)?;
        if disk_type == DiskType::Dynamic && current_size > MAX_DYNAMIC_BYTES {
            let what = "but a dynamic VHD has at most 2040 GiB, 2190433320960 bytes; convert it to a fixed one";
            return Err(Error::invalid(target, format!("the disk's size is `{current_size}` bytes, {what}")));
        }
        let [cylinders_high, cylinders_low, heads, sectors_per_track] = field(bytes, 56);
        let [saved_state] = field(bytes, 84);
        Ok(Self {
            features: u32::from_be_bytes(field(bytes, 8)),
            data_offset: u64::from_be_bytes(field(bytes, 16)),
            time_stamp: u32::from_be_bytes(field(bytes, 24)),
            creator_application: field(bytes, 28),
            creator_version: u32::from_be_bytes(field(bytes, 32)),
            creator_host_os: field(bytes, 36),
            original_size: u64::from_be_bytes(field(bytes, 40)),
            current_size,
            geometry: Geometry {
                cylinders: u16::from_be_bytes([cylinders_high, cylinders_low]),
                heads,
                sectors_per_track,
            },
            disk_type,
            unique_id: field(bytes, 68),
            saved_state,
        })
    }

    pub(super) fn to_bytes(&self) -> [u8; 512] {
        let mut bytes = [0; 512];
        let mut put = |at: usize, value: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(value) {
                *to = *from;
            }
        };
        put(0, &COOKIE);
        put(8, &self.features.to_be_bytes());
        put(12, &VERSION_1.to_be_bytes());
        put(16, &self.data_offset.to_be_bytes());
        put(24, &self.time_stamp.to_be_bytes());
        put(28, &self.creator_application);
        put(32, &self.creator_version.to_be_bytes());
        put(36, &self.creator_host_os);
        put(40, &self.original_size.to_be_bytes());
        put(48, &self.current_size.to_be_bytes());
        put(56, &self.geometry.cylinders.to_be_bytes());
        put(58, &[self.geometry.heads, self.geometry.sectors_per_track]);
        put(60, &(self.disk_type as u32).to_be_bytes());
        put(68, &self.unique_id);
        put(84, &[self.saved_state]);
        let checksum = checksum(&bytes, CHECKSUM_AT).to_be_bytes();
        for (to, from) in bytes.iter_mut().skip(CHECKSUM_AT).zip(checksum) {
            *to = from;
        }
        bytes
    }
}

/// The 512 bytes where a footer belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its cookie and its checksum are right.
    Whole(Box<[u8; 512]>),
    /// A footer with the wrong checksum `stored` in place of `computed`.
    Damaged { stored: u32, computed: u32 },
    /// Something that begins with these bytes.
    Else([u8; 8]),
}

impl Found {
    pub(super) fn at(bytes: [u8; 512]) -> Self {
        let (stored, computed) = (u32::from_be_bytes(field(&bytes, CHECKSUM_AT)), checksum(&bytes, CHECKSUM_AT));
        match bytes.starts_with(&COOKIE) {
            false => Self::Else(field(&bytes, 0)),
            true if stored != computed => Self::Damaged { stored, computed },
            true => Self::Whole(Box::new(bytes)),
        }
    }
}

/// Returns whether 512 bytes are a footer with the right checksum.
pub(crate) fn is_footer(bytes: &[u8; 512]) -> bool {
    matches!(Found::at(*bytes), Found::Whole(_))
}

/// The footer that makes a fixed VHD of `size` raw bytes before it; `created` is in seconds since
/// 2000-01-01T00:00:00Z.
///
/// Creator application, time stamp, UUID and checksum apart, it is what `qemu-img` writes with
/// `subformat=fixed,force_size=on`, which is what Azure's documentation has its users upload.
pub(crate) fn fixed_footer(size: u64, created: u32, uuid: [u8; 16]) -> Result<[u8; 512]> {
    check_size(size, "disk")?;
    Ok(new_footer(size, created, uuid, DiskType::Fixed, NO_OFFSET).to_bytes())
}

/// As [`fixed_footer`], of a dynamic VHD whose header follows the copy of the footer.
pub(crate) fn dynamic_footer(size: u64, created: u32, uuid: [u8; 16]) -> Result<[u8; 512]> {
    check_size(size, "disk")?;
    if size > MAX_DYNAMIC_BYTES {
        let what = format!(
            "the disk's size is `{size}` bytes, but a dynamic VHD has at most 2040 GiB; write a fixed one, or a VHDX"
        );
        return Err(Error::invalid("disk", what));
    }
    Ok(new_footer(size, created, uuid, DiskType::Dynamic, FOOTER_BYTES).to_bytes())
}

fn new_footer(size: u64, created: u32, uuid: [u8; 16], disk_type: DiskType, data_offset: u64) -> Footer {
    Footer {
        features: FEATURES_RESERVED,
        data_offset,
        time_stamp: created,
        creator_application: *b"cgal",
        creator_version: 0x0005_0003,
        creator_host_os: *b"Wi2k",
        original_size: size,
        current_size: size,
        geometry: Geometry::LARGEST,
        disk_type,
        unique_id: uuid,
        saved_state: 0,
    }
}

fn check_size(size: u64, target: &str) -> Result<()> {
    let rule = if size == 0 {
        "must not be empty"
    } else if !size.is_multiple_of(SECTOR_BYTES) {
        "has whole sectors of 512 bytes; pad it with zeros"
    } else {
        return Ok(());
    };
    Err(Error::invalid(target, format!("the disk's size is `{size}` bytes, but the disk of a VHD {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn sample() -> Footer {
        Footer {
            features: 3,
            data_offset: 512,
            time_stamp: 0x0102_0304,
            creator_application: *b"test",
            creator_version: 0x0006_0001,
            creator_host_os: *b"Mac ",
            original_size: 1024,
            current_size: 4096,
            geometry: Geometry { cylinders: 0x0506, heads: 7, sectors_per_track: 8 },
            disk_type: DiskType::Dynamic,
            unique_id: *b"0123456789abcdef",
            saved_state: 1,
        }
    }

    /// `bytes` with `value` at `at` and the checksum that belongs to it.
    fn patched(at: usize, value: &[u8]) -> [u8; 512] {
        let mut bytes = sample().to_bytes();
        bytes[at..at + value.len()].copy_from_slice(value);
        let sum = checksum(&bytes, CHECKSUM_AT);
        bytes[64..68].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn refused(bytes: &[u8; 512], kind: ErrorKind, says: &str) {
        assert!(is_footer(bytes), "what its checksum refuses does not come so far");
        let error = Footer::parse(bytes, "a.vhd").unwrap_err();
        assert_eq!((error.kind(), error.target()), (kind, "a.vhd"), "{error}");
        assert!(error.to_string().contains(says), "{error} does not say {says}");
    }

    #[test]
    fn a_footer_survives_the_round_trip() {
        assert_eq!(Footer::parse(&sample().to_bytes(), "a.vhd").unwrap(), sample());
        let fixed = fixed_footer(512, 7, [9; 16]).unwrap();
        assert_eq!(Footer::parse(&fixed, "a.vhd").unwrap().to_bytes(), fixed);
    }

    #[test]
    fn the_largest_dynamic_disk_has_2040_gib_and_a_fixed_one_may_have_more() {
        assert_eq!(MAX_DYNAMIC_BYTES, 2_190_433_320_960);
        let larger = MAX_DYNAMIC_BYTES + 512;
        refused(&patched(48, &larger.to_be_bytes()), ErrorKind::Invalid, "`2190433321472` bytes, but a dynamic VHD");
        let fixed = fixed_footer(larger, 0, [0; 16]).unwrap();
        assert_eq!(Footer::parse(&fixed, "a.vhd").unwrap().current_size, larger);
    }

    #[test]
    fn a_size_that_no_vhd_has_is_not_written() {
        for (size, rule) in [(0, "empty"), (511, "whole sectors"), (513, "whole sectors")] {
            let error = fixed_footer(size, 0, [0; 16]).unwrap_err();
            assert_eq!((error.kind(), error.target()), (ErrorKind::Invalid, "disk"));
            let message = error.to_string();
            assert!(message.contains(&format!("`{size}`")) && message.contains(rule), "{message}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        for at in 0..512 {
            let mut bytes = sample().to_bytes();
            bytes[at] ^= 0x10;
            assert!(!is_footer(&bytes), "byte {at}");
        }
    }

    #[test]
    fn each_check_names_the_value() {
        assert_eq!(Found::at(patched(0, b"connectx")), Found::Else(*b"connectx"));
        let mut bytes = sample().to_bytes();
        bytes[64..68].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
        let computed = checksum(&bytes, CHECKSUM_AT);
        assert_eq!(Found::at(bytes), Found::Damaged { stored: 0xdead_beef, computed });
        refused(&patched(12, &[0, 2, 0, 0]), ErrorKind::Unsupported, "`0x00020000`");
        refused(
            &patched(60, &[0, 0, 0, 4]),
            ErrorKind::Unsupported,
            "`4`, differencing: backing files are never followed",
        );
        refused(&patched(60, &[0, 0, 0, 5]), ErrorKind::Unsupported, "`5`");
        refused(&patched(48, &0_u64.to_be_bytes()), ErrorKind::Invalid, "`0` bytes");
        refused(&patched(48, &1000_u64.to_be_bytes()), ErrorKind::Invalid, "`1000` bytes");
        refused(&patched(48, &(1_u64 << 63).to_be_bytes()), ErrorKind::Invalid, "`9223372036854775808` bytes");
    }
}
