//! Where the blocks of a VHDX lie.

use std::io;
use std::ops::Range;

use super::header::{MIB, Regions};
use super::metadata::Metadata;
use crate::disk::fields::read_vec;
use crate::disk::mapped::{Extent, Map, Place};
use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result};

const STATE: u64 = 7;
/// A block of which every byte is in the file. The other states but one are zeros.
const PRESENT: u64 = 6;
const PARTIAL: u64 = 7;

pub(super) struct Vhdx {
    metadata: Metadata,
    /// Each block's file offset; 0 without one.
    blocks: Vec<u64>,
}

impl Vhdx {
    /// `parts` are the parts of the file that no block may overlap.
    pub(super) fn open(
        file: &dyn ReadAt,
        metadata: Metadata,
        regions: &Regions,
        log: Range<u64>,
        target: &str,
    ) -> Result<Self> {
        let Metadata { size, block_bytes, chunk_ratio } = metadata;
        let count = metadata.blocks();
        let entries = count + count.saturating_sub(1) / chunk_ratio;
        let table = read_vec(file, regions.table.start, entries * 8, target, "reading the table of blocks")?;
        let mut blocks = Vec::with_capacity(count as usize);
        for (number, entry) in table.as_chunks::<8>().0.iter().copied().map(u64::from_le_bytes).enumerate() {
            // Between the entries of blocks are those of bitmaps, which only differencing disks have.
            if number as u64 % (chunk_ratio + 1) == chunk_ratio {
                continue;
            }
            let block = blocks.len() as u64;
            let at = entry & !(MIB - 1);
            let inside = block_bytes.min(size - block * block_bytes);
            let wrong = match entry & STATE {
                PRESENT if at < MIB => "leads into the headers",
                PRESENT if at.checked_add(inside).is_none_or(|end| end > file.size()) => {
                    "leads past the end of the file"
                }
                PRESENT => {
                    blocks.push(at);
                    continue;
                }
                PARTIAL => "is in part in a parent, and the disk has none",
                4 | 5 => "has a state that the format does not know",
                _ => {
                    blocks.push(0);
                    continue;
                }
            };
            return Err(Error::corrupt(
                target,
                format!("block `{block}`, `{entry:#x}`, {wrong}; the file is damaged or truncated"),
            ));
        }
        let disk = Self { metadata, blocks };
        disk.check_overlaps(&[regions.table.clone(), regions.metadata.clone(), log], target)?;
        Ok(disk)
    }

    fn check_overlaps(&self, parts: &[Range<u64>], target: &str) -> Result<()> {
        let length = self.metadata.block_bytes;
        let mut offsets: Vec<u64> = self.blocks.iter().copied().filter(|&at| at != 0).collect();
        offsets.sort_unstable();
        let two = offsets.iter().zip(offsets.iter().skip(1)).find(|(one, next)| **next - **one < length);
        if let Some((one, next)) = two {
            return Err(Error::corrupt(
                target,
                format!("the blocks at bytes `{one}` and `{next}` overlap: each has {length} bytes"),
            ));
        }
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let first = offsets.partition_point(|&at| at.saturating_add(length) <= part.start);
            if let Some(at) = offsets.get(first).filter(|&&at| at < part.end) {
                let what =
                    format!("the block at byte `{at}` overlaps the tables at bytes {} to {}", part.start, part.end);
                return Err(Error::corrupt(target, what));
            }
        }
        Ok(())
    }
}

impl Map for Vhdx {
    fn size(&self) -> u64 {
        self.metadata.size
    }

    fn extent(&self, at: u64, most: u64) -> io::Result<Extent> {
        let block = self.metadata.block_bytes;
        let inside = at % block;
        let blocks = usize::try_from(at / block).ok().and_then(|number| self.blocks.get(number..)).unwrap_or_default();
        let first = blocks.first().copied().unwrap_or(0);
        // Blocks that follow one another in the file are one read.
        let follows = |number: u64, start: u64| start == if first == 0 { 0 } else { first + number * block };
        let wanted = (0..most.saturating_add(inside).div_ceil(block)).zip(blocks);
        let count = wanted.take_while(|(number, start)| follows(*number, **start)).count().max(1) as u64;
        let place = if first == 0 { Place::Zeros } else { Place::File(first + inside) };
        Ok(Extent { length: count * block - inside, place })
    }
}
