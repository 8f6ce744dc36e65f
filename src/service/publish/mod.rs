//! Publishing disks as versions, managed images and snapshots.

pub(crate) mod new;
pub(crate) mod publishing;
pub(crate) mod report;
pub(crate) mod source;

pub use new::{NewImageVersion, NewManagedImage, NewSnapshot};
pub use publishing::Publishing;
pub use report::{ImportNote, ImportReport, Published};
pub use source::{ImageSource, LocalDisks, SnapshotDisks, SourceMachine, VhdBlob};
