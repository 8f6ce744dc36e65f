//! Publishing disks as image versions, managed images and snapshots.

pub(crate) mod announce;
pub(crate) mod completion;
pub(crate) mod new;
pub(crate) mod next;
pub(crate) mod publication;
pub(crate) mod report;
pub(crate) mod resolver;
pub(crate) mod source;
pub(crate) mod target;

pub use completion::Completion;
pub use new::{NewImageVersion, NewManagedImage, NewSnapshot};
pub use publication::Publication;
pub use report::{ImportNote, ImportReport, Published};
pub use source::{ImageSource, LocalDisks, SnapshotDisks, SourceMachine, VhdBlob};

pub use super::session::sources::{AnySource, ResolvedSource, SourceName, SourceResolver};
