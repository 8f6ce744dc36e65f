//! The formats of disk files.

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
