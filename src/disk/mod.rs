//! Disks as guests see them: sources, file formats, and what is written around a disk's bytes.

mod detect;
pub(crate) mod device;
mod fields;
pub(crate) mod file;
pub(crate) mod format;
#[cfg(feature = "testkit")]
pub(crate) mod fuzz;
pub(crate) mod layout;
pub(crate) mod lookalike;
mod mapped;
pub(crate) mod note;
mod overlay;
pub(crate) mod partial_file;
mod qcow2;
pub(crate) mod read_at;
pub(crate) mod source;
mod spool;
mod unpack;
mod unwrap;
pub(crate) mod vhd;
mod vhdx;
mod vmdk;
mod zeros;

pub use detect::Detected;
pub use format::{DiskFormat, VhdFooter, WrittenFormat};
pub use note::DiskNote;
pub use overlay::create_overlay;
pub use source::DiskSource;
pub use unwrap::Wrapping;
