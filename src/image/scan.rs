//! Scans a disk for its data: finds the chunks to read, and skips holes.

use std::io;
use std::ops::Range;

use crate::content::chunk::CHUNK_BYTES;
use crate::disk::read_at::{ReadAt, SharedDisk};

const CHUNK: u64 = CHUNK_BYTES as u64;

/// The most chunks of one [`Group`]: 1 MiB, large enough to make one read and one hand-over between threads cheap,
/// small enough to stay in a core's cache while it is read, searched for zeros and hashed.
const GROUP_CHUNKS: usize = 16;

/// Walks over a disk's data in ascending order.
pub(crate) struct Scan {
    disk: SharedDisk,
    /// The data that was found and not yet returned.
    ahead: Range<u64>,
    done: bool,
}

/// Up to [`GROUP_CHUNKS`] chunks that may hold data, and the byte ranges of them that do.
#[derive(Debug, Default)]
pub(crate) struct Group {
    positions: Vec<u64>,
    ranges: Vec<Range<u64>>,
}

impl Scan {
    pub(crate) fn new(disk: SharedDisk) -> Self {
        Self { disk, ahead: 0..0, done: false }
    }

    pub(crate) fn disk(&self) -> &dyn ReadAt {
        &*self.disk
    }

    /// Returns the next chunks to read; `None` at the end. Blocks.
    pub(crate) fn next_group(&mut self) -> io::Result<Option<Group>> {
        let mut group = Group::default();
        while !self.done {
            if self.ahead.is_empty() {
                match self.disk.next_data(self.ahead.end)? {
                    Some(data) => self.ahead = data,
                    None => {
                        self.done = true;
                        break;
                    }
                }
            }
            if !group.take_from(&mut self.ahead) {
                break;
            }
        }
        Ok((!group.positions.is_empty()).then_some(group))
    }
}

impl Scan {
    /// Returns the bytes of all chunks that may hold data: the most that storing the disk takes. Blocks.
    pub(crate) fn chunk_bytes(mut self) -> io::Result<u64> {
        let mut bytes = 0;
        while let Some(group) = self.next_group()? {
            bytes += group.positions.len() as u64 * CHUNK;
        }
        Ok(bytes)
    }
}

impl Group {
    /// Moves as much as fits from the front of `ahead` into the group; false when nothing more fits.
    fn take_from(&mut self, ahead: &mut Range<u64>) -> bool {
        let first = ahead.start / CHUNK;
        let shares_chunk = self.positions.last() == Some(&first);
        let room = (GROUP_CHUNKS - self.positions.len()) as u64 + u64::from(shares_chunk);
        let end = ahead.end.min((first + room) * CHUNK);
        if end <= ahead.start {
            return false;
        }
        self.positions.extend((first + u64::from(shares_chunk))..end.div_ceil(CHUNK));
        self.ranges.push(ahead.start..end);
        ahead.start = end;
        true
    }

    /// Returns the positions of the chunks on the disk, ascending.
    pub(crate) fn positions(&self) -> &[u64] {
        &self.positions
    }

    /// Returns the number of bytes to read.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns the disk offset at which the group ends.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.end)
    }

    /// Reads the chunks into `buffer` and returns each with its position. Holes and bytes past the disk's end are zero.
    /// Blocks.
    pub(crate) fn read<'b>(
        &self,
        disk: &dyn ReadAt,
        buffer: &'b mut Vec<u8>,
    ) -> io::Result<impl Iterator<Item = (u64, &'b [u8])> + use<'b>> {
        let length = self.positions.len() * CHUNK_BYTES;
        if self.data_bytes() < length as u64 {
            buffer.clear();
        }
        buffer.resize(length, 0);
        for range in &self.ranges {
            // Neighbouring chunks lie side by side in the buffer, so that each range is one read.
            let index = self.positions.partition_point(|position| *position < range.start / CHUNK);
            let start = index * CHUNK_BYTES + (range.start % CHUNK) as usize;
            let end = start + (range.end - range.start) as usize;
            disk.read_exact_at(buffer.get_mut(start..end).unwrap_or_default(), range.start)?;
        }
        Ok(self.positions.clone().into_iter().zip(buffer.chunks_exact(CHUNK_BYTES)))
    }
}

#[cfg(test)]
#[cfg(feature = "_properties")]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// A disk of `bytes` that reports its data ranges.
    struct Holey {
        bytes: Vec<u8>,
        data: Vec<Range<u64>>,
    }

    impl ReadAt for Holey {
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let start = offset as usize;
            buffer.copy_from_slice(&self.bytes[start..start + buffer.len()]);
            Ok(())
        }

        fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
            Ok(self.data.iter().find(|range| range.end > from).map(|range| range.start.max(from)..range.end))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Putting the chunks of all groups back in place gives the disk, whatever its extents.
        #[test]
        fn groups_cover_the_data_once_and_in_order(
            size in 1_usize..3_000_000,
            extents in prop::collection::vec((0_usize..3_000_000, 1_usize..200_000), 0..40),
        ) {
            let mut bytes = vec![0; size];
            for (start, length) in extents {
                let (start, end) = (start.min(size), (start + length).min(size));
                bytes[start..end].fill(1);
            }
            let mut data: Vec<Range<u64>> = Vec::new();
            let mut at = 0;
            while let Some(start) = (at..size).find(|at| bytes[*at] != 0) {
                let end = (start..size).find(|at| bytes[*at] == 0).unwrap_or(size);
                data.push(start as u64..end as u64);
                at = end;
            }
            let mut scan = Scan::new(Arc::new(Holey { bytes: bytes.clone(), data }));
            let (mut back, mut buffer, mut last) = (vec![0; size.next_multiple_of(CHUNK_BYTES)], vec![9; 77], None);
            while let Some(group) = scan.next_group().unwrap() {
                for (position, chunk) in group.read(scan.disk(), &mut buffer).unwrap() {
                    // Two groups never share a chunk: each is read whole, once.
                    prop_assert!(last < Some(position), "{:?} then {}", last, position);
                    last = Some(position);
                    let start = position as usize * CHUNK_BYTES;
                    back[start..start + CHUNK_BYTES].copy_from_slice(chunk);
                }
            }
            back.truncate(size);
            prop_assert!(back == bytes);
        }
    }
}
