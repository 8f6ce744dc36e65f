//! How a host caches a disk.

use serde::{Deserialize, Serialize};

use super::body::from_body_by;

/// How a host caches a disk.
///
/// Exhaustive: a cache serves nothing, reads, or reads and writes.
///
/// ```
/// use compute_gallery::model::{DiskImage, HostCaching};
///
/// assert_eq!(DiskImage::new(4 << 30).host_caching(), HostCaching::None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostCaching {
    /// No cache.
    #[default]
    None,
    /// Reads are cached.
    ReadOnly,
    /// Reads and writes are cached.
    ReadWrite,
}

from_body_by!(plain: HostCaching);
