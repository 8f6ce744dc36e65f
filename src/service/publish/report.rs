//! What a publish did.

use crate::catalog::ImageContent;
use crate::disk::note::DiskNote;
use crate::image::import::{ImportStats, Noted};

/// What was published: a version, a managed image or a snapshot.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Published<T> {
    /// The resource.
    pub resource: T,
    /// What its disks hold.
    pub content: ImageContent,
    /// What importing them took; nothing where they were stored before.
    pub import: ImportReport,
    /// One of the region's zones was lost on the way and has not all of it: scrub the region when the zone is back.
    pub degraded: bool,
}

/// What an import read and stored, over all disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Bytes read from the disks; holes are not read.
    pub read_bytes: u64,
    /// Chunks that were not stored before.
    pub new_chunks: u64,
    /// The bytes that these take, compressed.
    pub new_bytes: u64,
    /// The bytes that the new part of the index takes.
    pub new_index_bytes: u64,
    /// The bytes of the packs that were sent to the store; less than the new ones when an interrupted import was taken
    /// up again.
    pub sent_bytes: u64,
    /// What the owner of a disk will want to know of it.
    pub notes: Vec<ImportNote>,
}

/// What is to be known of one of the disks that were imported. Its text names the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportNote {
    /// The disk's path, or `disk` for one that was given as bytes or as a reader.
    pub disk: String,
    /// What is to be known.
    pub note: DiskNote,
}

impl std::fmt::Display for ImportNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.disk, self.note)
    }
}

impl ImportReport {
    pub(crate) fn new(stats: ImportStats, notes: Vec<Noted>) -> Self {
        Self {
            notes: notes.into_iter().map(|(disk, note)| ImportNote { disk, note }).collect(),
            read_bytes: stats.read_bytes,
            new_chunks: stats.new_chunks,
            new_bytes: stats.new_chunk_bytes,
            new_index_bytes: stats.new_index_bytes,
            sent_bytes: stats.sent_bytes,
        }
    }
}
