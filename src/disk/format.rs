//! Disk formats.

/// The format of a disk file. The caller always states it: a guest can write a header of any format into its own disk,
/// so guessing would let it choose how its bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskFormat {
    /// The guest's bytes and nothing else. A file that looks like another format, or is compressed, is refused by default:
    /// [`DiskSource::with_any_raw_content`](crate::disk::DiskSource::with_any_raw_content).
    Raw,
    /// A Virtual Hard Disk: fixed or dynamic when read, fixed when written. Differencing disks are refused: backing
    /// files are never followed.
    Vhd,
}

/// Which footer of a dynamic VHD to believe: the file ends with one, and begins with a copy of it. A fixed VHD has no copy, so
/// its one footer is believed always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VhdFooter {
    /// Both, which must be whole and say the same.
    #[default]
    Both,
    /// The one at the end, whatever the copy says.
    End,
    /// The copy at the start, whatever the footer says: of a file that lost its end while a block was added to it.
    Copy,
}
