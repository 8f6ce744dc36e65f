//! Hyper-V's VHDX files, after Microsoft's [MS-VHDX].
//!
//! Two headers and two tables of regions, each with a checksum, lead to the metadata and to a table of blocks. A log holds
//! changes of these tables that were not yet made: it is replayed in memory, and the file is never written to. A file may be
//! hostile: every claim is checked on opening, and a read is bounded by its buffer.

pub(super) mod checksum;
pub(super) mod header;
mod log;
mod map;
pub(super) mod metadata;
pub(super) mod open;
mod overlay;
#[cfg(test)]
mod tests;

/// Sets the checksums of headers, tables of regions and the first entry of the log right.
#[cfg(feature = "testkit")]
pub(super) fn repaired(mut file: Vec<u8>) -> Vec<u8> {
    for (at, length) in
        [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 64 << 10), (256 << 10, 64 << 10), (1 << 20, 8192)]
    {
        if let Some(part) = file.get_mut(at..at + length) {
            let sum = checksum::crc32c(part).to_le_bytes();
            part.iter_mut().skip(4).zip(sum).for_each(|(to, from)| *to = from);
        }
    }
    file
}
