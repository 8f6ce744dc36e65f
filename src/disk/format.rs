//! The formats of disk files.

use std::str::FromStr;

use crate::error::Error;

/// The format of a disk file. The caller always states it: a guest can write a header of any format into its own disk,
/// so a guess would let the guest choose how its bytes are read.
///
/// ```
/// use compute_gallery::disk::{DiskFormat, DiskSource};
/// use compute_gallery::image::ImageDigest;
///
/// // The same bytes are a valid raw disk, and no VHD.
/// let bytes = vec![7; 4096];
/// assert!(ImageDigest::of(DiskSource::bytes(bytes.clone(), DiskFormat::Raw)).is_ok());
/// let error = ImageDigest::of(DiskSource::bytes(bytes, DiskFormat::Vhd)).unwrap_err();
/// assert_eq!(error.kind(), compute_gallery::ErrorKind::Corrupt);
///
/// assert_eq!("qcow2".parse::<DiskFormat>()?, DiskFormat::Qcow2);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskFormat {
    /// The guest's bytes and nothing else. A file that looks like another format, or is compressed, is refused by
    /// default: [`DiskSource::with_any_raw_content`](crate::disk::DiskSource::with_any_raw_content).
    Raw,
    /// A Virtual Hard Disk: fixed or dynamic when read, fixed when written. Differencing disks are refused: backing
    /// files are never followed.
    Vhd,
    /// Hyper-V's VHDX, fixed or dynamic. Its log is replayed in memory. Differencing disks and disks with sectors of 4 KiB are
    /// refused.
    Vhdx,
    /// QEMU's qcow2, version 2 or 3, with clusters that are compressed or not. Backing files, external data files, encrypted
    /// disks and extended L2 entries are refused; one that is marked dirty or corrupt is, unless
    /// [`DiskSource::with_unclean_close`](crate::disk::DiskSource::with_unclean_close) accepts it.
    Qcow2,
    /// VMware's VMDK: one sparse file (`monolithicSparse`, `streamOptimized`), or the descriptor of a flat one beside it. Deltas and
    /// disks of several extents are refused. Only read.
    Vmdk,
}

impl FromStr for DiskFormat {
    type Err = Error;

    /// Reads `raw`, `vhd`, `vhdx`, `qcow2` or `vmdk`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "raw" => Ok(Self::Raw),
            "vhd" => Ok(Self::Vhd),
            "vhdx" => Ok(Self::Vhdx),
            "qcow2" => Ok(Self::Qcow2),
            "vmdk" => Ok(Self::Vmdk),
            other => {
                let known = "`raw`, `vhd`, `vhdx`, `qcow2` or `vmdk`";
                Err(Error::invalid("format", format!("`{}` is not a disk format: write {known}", other.escape_debug())))
            }
        }
    }
}

/// The format of a disk file that a deployment writes. A [`DiskFormat`] converts into it, but for VMDK, which is only read.
///
/// ```
/// use compute_gallery::disk::{DiskFormat, WrittenFormat};
///
/// assert_eq!(WrittenFormat::try_from(DiskFormat::Vhd)?, WrittenFormat::Vhd);
/// assert!(WrittenFormat::try_from(DiskFormat::Vmdk).is_err());
/// assert_eq!("vhd-dynamic".parse::<WrittenFormat>()?, WrittenFormat::VhdDynamic);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WrittenFormat {
    /// The guest's bytes and nothing else; a file has holes in place of zeros.
    Raw,
    /// A fixed VHD, which Azure takes.
    Vhd,
    /// A dynamic VHD, of at most 2,040 GiB: blocks of 2 MiB that are all zero are left out.
    VhdDynamic,
    /// A dynamic VHDX, with sectors of 512 bytes: blocks of 1 MiB (of 32 MiB above 4 TiB) that are all zero are left out.
    Vhdx,
    /// A qcow2 of version 3: clusters of 64 KiB that are all zero are left out.
    Qcow2,
}

impl FromStr for WrittenFormat {
    type Err = Error;

    /// Reads `raw`, `vhd`, `vhd-dynamic`, `vhdx` or `qcow2`.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "raw" => Ok(Self::Raw),
            "vhd" => Ok(Self::Vhd),
            "vhd-dynamic" => Ok(Self::VhdDynamic),
            "vhdx" => Ok(Self::Vhdx),
            "qcow2" => Ok(Self::Qcow2),
            other => {
                let known = "`raw`, `vhd`, `vhd-dynamic`, `vhdx` or `qcow2`";
                Err(Error::invalid("to", format!("`{}` is not a format to write: write {known}", other.escape_debug())))
            }
        }
    }
}

impl TryFrom<DiskFormat> for WrittenFormat {
    type Error = Error;

    fn try_from(format: DiskFormat) -> Result<Self, Error> {
        match format {
            DiskFormat::Raw => Ok(Self::Raw),
            DiskFormat::Vhd => Ok(Self::Vhd),
            DiskFormat::Vhdx => Ok(Self::Vhdx),
            DiskFormat::Qcow2 => Ok(Self::Qcow2),
            DiskFormat::Vmdk => {
                let what = "VMDK is read and not written: write a raw file, then `qemu-img convert -f raw -O vmdk`";
                Err(Error::unsupported("format", what))
            }
        }
    }
}

/// Selects the footer of a dynamic VHD: the file ends with one and begins with a copy of it. A fixed VHD has only the
/// footer at the end, which is always used.
///
/// ```
/// use compute_gallery::disk::{DiskFormat, DiskSource, VhdFooter};
///
/// assert_eq!(VhdFooter::default(), VhdFooter::Both);
/// let repaired = DiskSource::path("web.vhd", DiskFormat::Vhd).with_vhd_footer(VhdFooter::Copy);
/// assert_eq!(format!("{repaired:?}"), "DiskSource(web.vhd, Vhd)");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VhdFooter {
    /// Both must be intact and agree. The default.
    #[default]
    Both,
    /// The footer at the end; the copy is ignored.
    End,
    /// The copy at the start; the footer is ignored. For a file that lost its end while a block was added.
    Copy,
}
