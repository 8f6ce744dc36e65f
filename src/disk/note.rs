//! What is to be known of a disk that was read or written all the same.

use std::fmt;

use crate::disk::format::{DiskFormat, VhdFooter};

/// Something about a disk that stopped neither its import nor its deployment, and that its owner will want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskNote {
    /// The file system contradicted itself about the file's holes, so everything was read.
    HolesContradict {
        /// The place in the file.
        at: u64,
    },
    /// The file takes more space than the file system calls data, so everything was read.
    MoreAllocatedThanData {
        /// What the file takes, in bytes.
        allocated: u64,
        /// What the file system calls data, in bytes.
        data: u64,
    },
    /// The size is no whole number of MiB, as Azure asks of a VHD that is uploaded to it.
    NotWholeMebibytes {
        /// The disk's size in bytes.
        size: u64,
    },
    /// A dynamic VHD has data in sectors that it marks as never written: zeros, by the format's specification.
    HiddenBytes {
        /// The bytes of these sectors.
        bytes: u64,
    },
    /// The two footers of a dynamic VHD do not agree, or one of them is gone, and one was believed by choice.
    OneFooterBelieved(VhdFooter),
    /// The bytes were taken as a raw disk by choice.
    TakenAsRaw {
        /// The format that they look like.
        looks_like: &'static str,
    },
    /// The disk changed while it was read, and was taken by choice.
    ChangedWhileRead {
        /// What it was at the beginning.
        before: String,
        /// What it was at the end.
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
                "its size of {size} bytes is no whole number of MiB: Azure refuses a VHD of that size; pad the disk with zeros to \
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
            Self::ChangedWhileRead { before, after } => {
                write!(f, "it changed while it was read: it had {before}, and has {after} now")
            }
        }
    }
}

/// Notes on a disk of `size` bytes that is written in `format`.
pub(crate) fn notes_when_written(format: DiskFormat, size: u64) -> Vec<DiskNote> {
    match format {
        DiskFormat::Raw => Vec::new(),
        DiskFormat::Vhd => of_size(size).into_iter().collect(),
    }
}

/// A note on a disk whose size is no whole number of MiB.
pub(super) fn of_size(size: u64) -> Option<DiskNote> {
    (!size.is_multiple_of(1 << 20)).then_some(DiskNote::NotWholeMebibytes { size })
}
