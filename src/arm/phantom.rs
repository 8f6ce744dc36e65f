//! A disk of zeros that costs nothing.

use crate::disk::DiskSource;

/// Returns a disk of about `bytes` zeros.
pub(super) fn disk(bytes: u64) -> DiskSource {
    DiskSource::about_zeros(bytes)
}
