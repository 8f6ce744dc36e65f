//! The digest of a disk's content.

use super::scan::Scan;
use crate::content::chunk::occupied_blocks;
use crate::content::digest::Digest;
use crate::disk::source::{DiskSource, reading_failed};
use crate::error::Result;

/// Computes the digest of a disk's content.
///
/// The digest depends only on the guest's view: not on the file format, on holes, or on how the chunks are stored. Two
/// disks have the same digest if and only if they have the same size and the same bytes.
///
/// It is the BLAKE3 hash (derive-key mode) of the size and, for each 64 KiB chunk that is not all zero, in disk order,
/// its position and its own BLAKE3 hash; so a sparse disk is digested in the time of its data.
///
/// ```
/// use compute_gallery::disk::{DiskFormat, DiskSource};
/// use compute_gallery::image::ImageDigest;
///
/// // One more sector of zeros is another disk.
/// let zeros = |length| DiskSource::bytes(vec![0; length], DiskFormat::Raw);
/// assert_ne!(ImageDigest::of(zeros(4096))?, ImageDigest::of(zeros(4608))?);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Debug)]
pub struct ImageDigest(blake3::Hasher);

impl ImageDigest {
    pub(crate) fn new(size: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("compute-gallery 2026 disk content v1");
        hasher.update(&size.to_le_bytes());
        Self(hasher)
    }

    /// Adds the chunk at `position`, in ascending order and without zero chunks.
    pub(crate) fn add(&mut self, position: u64, chunk: &Digest) {
        self.0.update(&position.to_le_bytes());
        self.0.update(chunk.as_bytes());
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest::from_bytes(*self.0.finalize().as_bytes())
    }

    /// Computes the digest of a disk, without a gallery. Blocks while it reads.
    ///
    /// ```
    /// use compute_gallery::disk::{DiskFormat, DiskSource};
    /// use compute_gallery::image::ImageDigest;
    ///
    /// let disk = |byte| DiskSource::bytes(vec![byte; 1 << 20], DiskFormat::Raw);
    /// assert_eq!(ImageDigest::of(disk(1))?, ImageDigest::of(disk(1))?);
    /// assert_ne!(ImageDigest::of(disk(1))?, ImageDigest::of(disk(2))?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of publishing the disk: [`Corrupt`](crate::ErrorKind::Corrupt) or
    /// [`Invalid`](crate::ErrorKind::Invalid) if it does not have the stated format,
    /// [`Conflict`](crate::ErrorKind::Conflict) if it changes while it is read,
    /// [`NotFound`](crate::ErrorKind::NotFound) or [`Unavailable`](crate::ErrorKind::Unavailable) if it cannot be read,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a kind of VHD that is never read.
    pub fn of(source: DiskSource) -> Result<Digest> {
        let source = source.open()?;
        let failed = |error| reading_failed(&source.target, error);
        let mut digest = Self::new(source.disk.size());
        let (mut scan, mut buffer) = (Scan::new(source.disk.clone()), Vec::new());
        while let Some(group) = scan.next_group().map_err(failed)? {
            for (position, chunk) in group.read(scan.disk(), &mut buffer).map_err(failed)? {
                if occupied_blocks(chunk) != 0 {
                    digest.add(position, &Digest::of(chunk));
                }
            }
        }
        source.notes_at_the_end(0)?;
        Ok(digest.finish())
    }
}
