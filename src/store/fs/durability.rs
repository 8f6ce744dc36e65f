//! Durability of a file store.

/// Whether acknowledged blobs of an [`FsStore`](super::FsStore) survive a power cut.
///
/// ```
/// use compute_gallery::store::{Durability, FsStore};
///
/// assert_eq!(Durability::default(), Durability::Full);
/// let directory = tempfile::tempdir()?;
/// FsStore::create_with(directory.path(), Durability::LostOnPowerCut)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Every acknowledged blob survives it.
    #[default]
    Full,
    /// Blobs that were acknowledged in the last seconds may be lost, or exist without their bytes. Only for stores that are
    /// discarded after a power cut, such as those of tests: about seven times as fast for small blobs. A crash of the process
    /// alone loses nothing.
    LostOnPowerCut,
}
