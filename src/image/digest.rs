//! What content is called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chunk::occupied_blocks;
use super::scan::Scan;
use super::source::{DiskSource, reading_failed};
use crate::error::{Error, Result};

/// A BLAKE3 hash: the name of a chunk, an index node, a manifest or a disk. Written as 64 hexadecimal digits.
///
/// ```
/// use compute_gallery::image::Digest;
///
/// let digest = Digest::of(b"");
/// assert_eq!(digest.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
/// assert_eq!(digest.to_string().parse::<Digest>()?, digest);
/// assert!("af13".parse::<Digest>().is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("digest", format!("`{}` is not 64 hexadecimal digits", text.escape_debug()));
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|error| wrong().with_source(error))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes the digest of a disk's content.
///
/// It depends on the guest's view alone: not on the file format, not on which zeros are holes, not on where the
/// chunks are stored. Two disks have the same digest exactly when they have the same size and the same bytes.
///
/// It is the BLAKE3 hash (derive-key mode) of the size and, for each 64 KiB chunk that is not all zero, in disk order,
/// its position and its own BLAKE3 hash; so a sparse disk is digested in the time of its data.
#[derive(Debug)]
pub struct ImageDigest(blake3::Hasher);

impl ImageDigest {
    pub(crate) fn new(size: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("compute-gallery 2026 disk content v1");
        hasher.update(&size.to_le_bytes());
        Self(hasher)
    }

    /// The chunk at `position` (its number on the disk); in ascending order, zero chunks left out.
    pub(crate) fn add(&mut self, position: u64, chunk: &Digest) {
        self.0.update(&position.to_le_bytes());
        self.0.update(chunk.as_bytes());
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    /// The digest of a disk, computed without a gallery; it blocks while it reads.
    ///
    /// ```
    /// use compute_gallery::image::{DiskFormat, DiskSource, ImageDigest};
    ///
    /// let disk = |byte| DiskSource::bytes(vec![byte; 1 << 20], DiskFormat::Raw);
    /// assert_eq!(ImageDigest::of(disk(1))?, ImageDigest::of(disk(1))?);
    /// assert_ne!(ImageDigest::of(disk(1))?, ImageDigest::of(disk(2))?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As publishing the disk: [`Corrupt`](crate::ErrorKind::Corrupt), [`Invalid`](crate::ErrorKind::Invalid),
    /// [`Conflict`](crate::ErrorKind::Conflict) where it changes meanwhile, [`Unavailable`](crate::ErrorKind::Unavailable).
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
