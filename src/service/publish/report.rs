//! The results of a publish.

use crate::catalog::ImageContent;
use crate::disk::note::DiskNote;
use crate::image::import::{ImportStats, Noted};

/// The result of a publish: a version, a managed image or a snapshot.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
///
/// let published = session.publish(sandbox.new_version("1.0.0", "westeurope", raw(vec![7; 4096]))).await?;
/// assert_eq!(published.import.read_bytes, 4096);
/// assert_eq!(session.view().image_content(published.resource.id())?, published.content);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Published<T> {
    /// The created resource.
    pub resource: T,
    /// The digests and the stored size of its disks.
    pub content: ImageContent,
    /// All zero if the disks were stored already.
    pub import: ImportReport,
    /// True if a zone failed during the operation and is missing content. Run `scrub` on the region once the zone is back.
    pub degraded: bool,
}

/// The work of an import, over all disks.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
///
/// let publish = |number| session.publish(sandbox.new_version(number, "westeurope", raw(vec![7; 4096])));
/// assert_eq!(publish("1.0.0").await?.import.new_chunks, 1);
/// // The second version has the same disk: nothing is stored again.
/// assert_eq!(publish("1.0.1").await?.import.new_chunks, 0);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Bytes read from the disks, without holes.
    pub read_bytes: u64,
    /// Chunks that were not stored before.
    pub new_chunks: u64,
    /// Bytes of the new chunks, compressed.
    pub new_bytes: u64,
    /// Bytes of the new part of the index.
    pub new_index_bytes: u64,
    /// Bytes of packs sent to the store: fewer than the new ones if an interrupted import was resumed.
    pub sent_bytes: u64,
    /// Findings that the owners of the disks should know.
    pub notes: Vec<ImportNote>,
}

/// A finding about an imported disk. `Display` names the disk.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
///
/// // Azure takes VHDs of whole MiB only.
/// let published = session.publish(sandbox.new_version("1.0.0", "westeurope", raw(vec![7; 4096]))).await?;
/// assert!(published.import.notes.iter().all(|note| note.to_string().starts_with("`disk`: ")));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportNote {
    /// The path of the disk; `disk` for bytes and readers.
    pub disk: String,
    /// The finding itself.
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
