//! Blocks in their places.

use super::occupied::Occupied;

/// The places of blocks that are not all zero: one behind the other.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) occupied: Occupied,
    /// The offset of the first one's data.
    pub(super) first: u64,
    /// From the data of one to that of the next.
    pub(super) stride: u64,
}

impl Blocks {
    pub(super) fn place(&self, offset: u64) -> u64 {
        let length = self.occupied.block_bytes();
        self.first + self.occupied.rank(offset / length) * self.stride + offset % length
    }

    /// The offset behind the last one, stride included.
    pub(super) fn end(&self) -> u64 {
        self.first + self.occupied.count() * self.stride
    }
}
