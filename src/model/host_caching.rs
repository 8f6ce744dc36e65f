//! How a host caches a disk.

use serde::{Deserialize, Serialize};

use super::body::from_body_by;

/// How a host caches a disk.
///
/// Exhaustive: a cache serves nothing, reads, or reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostCaching {
    /// Not.
    #[default]
    None,
    /// Reads.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

from_body_by!(plain: HostCaching);
