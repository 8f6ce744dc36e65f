//! A dynamic VHD: the copy of the footer, the header, the table, blocks with a bitmap before each, the footer.

use super::blocks::Blocks;
use super::occupied::Occupied;
use super::piece::{Piece, put};
use crate::disk::vhd::dynamic::header_of_table;
use crate::disk::vhd::footer::dynamic_footer;
use crate::error::Result;

pub(super) const BLOCK_BYTES: u64 = 2 << 20;
const TABLE_AT: u64 = 1536;
/// The table is written in pieces of this length.
const STEP_BYTES: u64 = 64 << 10;
/// Marks all sectors of a block as written.
const BITMAP_BYTES: u64 = 512;
/// The data of blocks begin at multiples of this: an unaligned block would cost a guest's host two reads for one.
const ALIGNMENT: u64 = 4096;

#[derive(Debug)]
pub(super) struct DynamicVhd {
    footer: [u8; 512],
    pub(super) blocks: Blocks,
}

impl DynamicVhd {
    pub(super) fn new(disk_bytes: u64, created: u32, uuid: [u8; 16], occupied: Occupied) -> Result<Self> {
        let footer = dynamic_footer(disk_bytes, created, uuid)?;
        let table_end = TABLE_AT + Self::table_bytes(&occupied);
        let first = (table_end + BITMAP_BYTES).next_multiple_of(ALIGNMENT);
        Ok(Self { footer, blocks: Blocks { occupied, first, stride: BLOCK_BYTES + ALIGNMENT } })
    }

    fn table_bytes(occupied: &Occupied) -> u64 {
        (occupied.blocks() * 4).next_multiple_of(512)
    }

    /// The footer is where the bitmap of one more block would be.
    fn footer_at(&self) -> u64 {
        self.blocks.end() - BITMAP_BYTES
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.footer_at() + self.footer.len() as u64
    }

    pub(super) fn piece(&self, number: u64) -> Option<Piece> {
        let occupied = &self.blocks.occupied;
        let steps = Self::table_bytes(occupied).div_ceil(STEP_BYTES);
        let bitmap_at = |rank: u64| self.blocks.first + rank * self.blocks.stride - BITMAP_BYTES;
        match number {
            0 => {
                let mut start = self.footer.to_vec();
                start.extend(header_of_table(TABLE_AT, occupied.blocks(), BLOCK_BYTES));
                Some((0, start))
            }
            step if step <= steps => {
                let from = (step - 1) * STEP_BYTES;
                let length = (Self::table_bytes(occupied) - from).min(STEP_BYTES);
                let mut bytes = vec![0xff; length as usize];
                for (entry, block) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(from / 4..) {
                    if occupied.contains(block) {
                        *entry = ((bitmap_at(occupied.rank(block)) / 512) as u32).to_be_bytes();
                    }
                }
                Some((TABLE_AT + from, bytes))
            }
            block if block - steps <= occupied.count() => {
                let mut bitmap = vec![0; BITMAP_BYTES as usize];
                put(&mut bitmap, 0, &[0xff; BITMAP_BYTES as usize]);
                Some((bitmap_at(block - steps - 1), bitmap))
            }
            last if last == steps + occupied.count() + 1 => Some((self.footer_at(), self.footer.to_vec())),
            _ => None,
        }
    }
}
