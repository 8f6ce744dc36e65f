//! Disks as guests see them: sources, file formats, and what is written around a disk's bytes.

pub(crate) mod ending;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod lookalike;
pub(crate) mod note;
pub(crate) mod partial_file;
pub(crate) mod read_at;
pub(crate) mod source;
pub(crate) mod vhd;

pub use format::{DiskFormat, VhdFooter};
pub use note::DiskNote;
pub use source::DiskSource;
