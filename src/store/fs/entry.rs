//! Names in the directory of a store.

/// The directory of files that have no blob's name yet. A directory that has it is a store.
pub(super) const STAGING: &str = ".staging";

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file and its length in bytes.
    File(u64),
    Directory,
    /// A symbolic link, a pipe, a device.
    Other,
}
