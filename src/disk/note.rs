//! Notes on disks: what is doubtful about a disk and did not stop its import or deployment.

use std::fmt;

use crate::disk::format::{VhdFooter, WrittenFormat};

/// A fact about a disk that stopped neither its import nor its deployment, and that its owner wants to know.
///
/// ```
/// use compute_gallery::disk::DiskNote;
///
/// let note = DiskNote::NotWholeMebibytes { size: (1 << 20) + 512 };
/// assert!(note.to_string().contains("pad the disk with zeros to 2097152 bytes"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskNote {
    /// The file system contradicts itself about the file's holes, so every byte was read.
    HolesContradict {
        /// The offset in the file, in bytes.
        at: u64,
    },
    /// The file system has allocated more than it reports as data, so every byte was read.
    MoreAllocatedThanData {
        /// The bytes that the file system has allocated.
        allocated: u64,
        /// The bytes that the file system reports as data.
        data: u64,
    },
    /// The size is not a whole number of MiB, which Azure requires of an uploaded VHD.
    NotWholeMebibytes {
        /// In bytes.
        size: u64,
    },
    /// A dynamic VHD has data in sectors that it marks as never written: zeros, by the format's specification.
    HiddenBytes {
        /// The size of these sectors.
        bytes: u64,
    },
    /// The two footers of a dynamic VHD disagree, or one is missing, and
    /// [`DiskSource::with_vhd_footer`](crate::disk::DiskSource::with_vhd_footer) selected this one.
    OneFooterBelieved(VhdFooter),
    /// The bytes look like another format and were taken as a raw disk, by
    /// [`DiskSource::with_any_raw_content`](crate::disk::DiskSource::with_any_raw_content).
    TakenAsRaw {
        /// The name of that format.
        looks_like: &'static str,
    },
    /// The file is marked as not closed, or as damaged, and was accepted, by
    /// [`DiskSource::with_unclean_close`](crate::disk::DiskSource::with_unclean_close).
    Unclean {
        /// The mark: `dirty`, `corrupt` or `in use`.
        marked: &'static str,
    },
    /// The disk changed while it was read and was accepted, by
    /// [`DiskSource::with_changes_while_read`](crate::disk::DiskSource::with_changes_while_read).
    ChangedWhileRead {
        /// Its size and times when it was opened.
        before: String,
        /// Its size and times after the last read.
        after: String,
    },
}

impl fmt::Display for DiskNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HolesContradict { at } => {
                write!(f, "its file system contradicts itself about the holes at byte {at}: every byte was read")
            }
            Self::MoreAllocatedThanData { allocated, data } => write!(
                f,
                "it takes {allocated} bytes of space and its file system calls {data} of them data (a false hole, or space that \
                 was reserved): every byte was read"
            ),
            Self::NotWholeMebibytes { size } => write!(
                f,
                "its size of {size} bytes is not a whole number of MiB: Azure refuses a VHD of that size; pad the disk with zeros to \
                 {} bytes",
                size.next_multiple_of(1 << 20)
            ),
            Self::HiddenBytes { bytes } => write!(
                f,
                "{bytes} bytes of the file lie in sectors that the VHD marks as never written: they are zeros on the disk, as the \
                 format's specification says"
            ),
            Self::OneFooterBelieved(VhdFooter::Copy) => {
                f.write_str("the copy of its footer, at the file's start, was believed and not the footer")
            }
            Self::OneFooterBelieved(_) => f.write_str("its footer was believed and not the copy at the file's start"),
            Self::TakenAsRaw { looks_like } => write!(f, "it looks like {looks_like} and was taken as a raw disk"),
            Self::Unclean { marked } => write!(f, "it is marked {marked} and was taken as it is"),
            Self::ChangedWhileRead { before, after } => {
                write!(f, "it changed while it was read: it had {before}, and has {after} now")
            }
        }
    }
}

/// Returns the notes on a disk of `size` bytes that is written in `format`.
pub(crate) fn notes_when_written(format: WrittenFormat, size: u64) -> Vec<DiskNote> {
    match format {
        WrittenFormat::Raw | WrittenFormat::Qcow2 | WrittenFormat::Vhdx => Vec::new(),
        WrittenFormat::Vhd | WrittenFormat::VhdDynamic => of_size(size).into_iter().collect(),
    }
}

/// Returns a note if `size` is not a whole number of MiB.
pub(super) fn of_size(size: u64) -> Option<DiskNote> {
    (!size.is_multiple_of(1 << 20)).then_some(DiskNote::NotWholeMebibytes { size })
}
