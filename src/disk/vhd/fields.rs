//! Checksums of the parts of a VHD.

use crate::disk::fields::field;
use crate::error::{Error, Result};

pub(super) const SECTOR_BYTES: u64 = 512;

/// Returns the ones' complement of the sum of all bytes except the four of the checksum.
pub(super) fn checksum(bytes: &[u8], checksum_at: usize) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    !(sum(bytes) - sum(&field::<4>(bytes, checksum_at)))
}

/// Refuses `bytes` whose checksum is wrong.
pub(super) fn verify_checksum(bytes: &[u8], checksum_at: usize, part: &str, target: &str) -> Result<()> {
    let (stored, computed) = (u32::from_be_bytes(field(bytes, checksum_at)), checksum(bytes, checksum_at));
    if stored == computed {
        return Ok(());
    }
    Err(Error::corrupt(
        target,
        format!(
            "the checksum of the {part} is `{stored:#010x}`, but its bytes sum to {computed:#010x}; copy the VHD again"
        ),
    ))
}
