//! A dynamic VHDX with an empty log.

use super::blocks::Blocks;
use super::occupied::Occupied;
use super::piece::{Piece, put};
use crate::disk::vhdx::checksum::crc32c;
use crate::disk::vhdx::header::{Guid, MAGIC, METADATA, TABLE};
use crate::disk::vhdx::metadata::{DISK_ID, DISK_SIZE, FILE_PARAMETERS, LOGICAL_SECTOR, PHYSICAL_SECTOR};
use crate::error::{Error, Result};

const MIB: u64 = 1 << 20;
const MAX_DISK_BYTES: u64 = 64 << 40;
const LOG_AT: u64 = MIB;
const METADATA_AT: u64 = 2 * MIB;
const TABLE_AT: u64 = 3 * MIB;
/// The table is written in pieces of this length.
const STEP_BYTES: u64 = 64 << 10;

/// Small blocks, as Microsoft advises for guests with ext4; larger ones where the table would take much memory.
pub(super) fn block_bytes(disk_bytes: u64) -> u64 {
    if disk_bytes <= 4 << 40 { MIB } else { 32 * MIB }
}

#[derive(Debug)]
pub(super) struct Vhdx {
    disk_bytes: u64,
    uuid: Guid,
    pub(super) blocks: Blocks,
}

impl Vhdx {
    pub(super) fn new(disk_bytes: u64, uuid: Guid, occupied: Occupied) -> Result<Self> {
        if disk_bytes > MAX_DISK_BYTES {
            let what =
                format!("the disk has `{disk_bytes}` bytes, and a VHDX has at most 64 TiB; write it as raw or qcow2");
            return Err(Error::invalid("format", what));
        }
        let stride = occupied.block_bytes();
        let first = TABLE_AT + Self::table_bytes(&occupied).next_multiple_of(MIB).max(MIB);
        Ok(Self { disk_bytes, uuid, blocks: Blocks { occupied, first, stride } })
    }

    /// After so many entries of blocks comes an unused one.
    fn chunk_ratio(block_bytes: u64) -> u64 {
        ((1 << 23) * 512) / block_bytes
    }

    fn table_bytes(occupied: &Occupied) -> u64 {
        let blocks = occupied.blocks();
        (blocks + blocks.saturating_sub(1) / Self::chunk_ratio(occupied.block_bytes())) * 8
    }

    pub(super) fn piece(&self, number: u64) -> Option<Piece> {
        let table_bytes = Self::table_bytes(&self.blocks.occupied);
        match number {
            0 => {
                let mut start = MAGIC.to_vec();
                start.extend("compute-gallery".encode_utf16().flat_map(u16::to_le_bytes));
                Some((0, start))
            }
            1 | 2 => Some((number * (64 << 10), self.header(number))),
            3 | 4 => Some((number * (64 << 10), self.regions())),
            5 => Some((METADATA_AT, self.metadata())),
            step if (step - 6) * STEP_BYTES < table_bytes => Some(self.table((step - 6) * STEP_BYTES, table_bytes)),
            _ => None,
        }
    }

    fn header(&self, sequence: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        put(&mut bytes, 0, b"head");
        put(&mut bytes, 8, &sequence.to_le_bytes());
        // The ids of the last writes, which only their own writer compares.
        put(&mut bytes, 16, &self.uuid);
        put(&mut bytes, 32, &self.uuid);
        put(&mut bytes, 66, &1_u16.to_le_bytes());
        put(&mut bytes, 68, &(MIB as u32).to_le_bytes());
        put(&mut bytes, 72, &LOG_AT.to_le_bytes());
        with_checksum(bytes)
    }

    fn regions(&self) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        put(&mut bytes, 0, b"regi");
        put(&mut bytes, 8, &2_u32.to_le_bytes());
        let table = (TABLE, TABLE_AT, self.blocks.first - TABLE_AT);
        for (number, (id, at, length)) in [table, (METADATA, METADATA_AT, MIB)].into_iter().enumerate() {
            let entry = 16 + 32 * number;
            put(&mut bytes, entry, &id);
            put(&mut bytes, entry + 16, &at.to_le_bytes());
            put(&mut bytes, entry + 24, &(length as u32).to_le_bytes());
            put(&mut bytes, entry + 28, &1_u32.to_le_bytes());
        }
        with_checksum(bytes)
    }

    fn metadata(&self) -> Vec<u8> {
        const REQUIRED: u32 = 0b100;
        const OF_THE_DISK: u32 = 0b110;
        let block = u64::from(self.blocks.occupied.block_bytes() as u32);
        let items: [(Guid, Vec<u8>, u32); 5] = [
            (FILE_PARAMETERS, block.to_le_bytes().to_vec(), REQUIRED),
            (DISK_SIZE, self.disk_bytes.to_le_bytes().to_vec(), OF_THE_DISK),
            (DISK_ID, self.uuid.to_vec(), OF_THE_DISK),
            (LOGICAL_SECTOR, 512_u32.to_le_bytes().to_vec(), OF_THE_DISK),
            (PHYSICAL_SECTOR, 4096_u32.to_le_bytes().to_vec(), OF_THE_DISK),
        ];
        let mut bytes = vec![0; 64 << 10];
        put(&mut bytes, 0, b"metadata");
        put(&mut bytes, 10, &(items.len() as u16).to_le_bytes());
        for (number, (id, value, flags)) in items.into_iter().enumerate() {
            let entry = 32 + 32 * number;
            let at = bytes.len() as u32;
            put(&mut bytes, entry, &id);
            put(&mut bytes, entry + 16, &at.to_le_bytes());
            put(&mut bytes, entry + 20, &(value.len() as u32).to_le_bytes());
            put(&mut bytes, entry + 24, &flags.to_le_bytes());
            bytes.extend(value);
        }
        bytes
    }

    /// The table's entries from a byte of it on.
    fn table(&self, from: u64, table_bytes: u64) -> Piece {
        const PRESENT: u64 = 6;
        let occupied = &self.blocks.occupied;
        let ratio = Self::chunk_ratio(occupied.block_bytes());
        let mut bytes = vec![0; (table_bytes - from).min(STEP_BYTES) as usize];
        for (entry, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(from / 8..) {
            let block = number - number / (ratio + 1);
            if number % (ratio + 1) != ratio && occupied.contains(block) {
                *entry = ((self.blocks.first + occupied.rank(block) * self.blocks.stride) | PRESENT).to_le_bytes();
            }
        }
        (TABLE_AT + from, bytes)
    }
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&bytes).to_le_bytes();
    put(&mut bytes, 4, &sum);
    bytes
}
