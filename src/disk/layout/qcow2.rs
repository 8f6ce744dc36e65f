//! A qcow2 of version 3: the header, the reference counts, the two levels of the table, and the clusters that are not all zero.

use super::blocks::Blocks;
use super::occupied::Occupied;
use super::piece::{Piece, put};
use crate::error::{Error, Result};

/// A chunk's size: a cluster is written when a chunk is.
pub(super) const CLUSTER_BYTES: u64 = 64 << 10;
/// Entries of a table of the second level.
const ENTRIES: u64 = CLUSTER_BYTES / 8;
/// Reference counts, of 16 bits, in a cluster.
const COUNTS: u64 = CLUSTER_BYTES / 2;
const COPIED: u64 = 1 << 63;
const MAX_L1_BYTES: u64 = 32 << 20;
const HEADER_BYTES: usize = 104;

#[derive(Debug)]
pub(super) struct Qcow2 {
    disk_bytes: u64,
    pub(super) blocks: Blocks,
    backing: Option<String>,
    /// Which entries of the first level have a table: their numbers, ascending.
    tables: Vec<u64>,
    /// In clusters.
    count_table: u64,
    count_blocks: u64,
    l1: u64,
}

/// Returns the bytes of a qcow2 in which nothing is written, on top of `backing`, a raw disk.
pub(crate) fn overlay(disk_bytes: u64, backing: &str) -> Result<Vec<u8>> {
    let occupied = Occupied::new(disk_bytes, CLUSTER_BYTES).counted();
    let disk = Qcow2::new(disk_bytes, occupied, Some(backing.to_owned()))?;
    let mut file = vec![0; disk.blocks.end() as usize];
    for (at, bytes) in (0..).map_while(|number| disk.piece(number)) {
        put(&mut file, at as usize, &bytes);
    }
    Ok(file)
}

impl Qcow2 {
    pub(super) fn new(disk_bytes: u64, occupied: Occupied, backing: Option<String>) -> Result<Self> {
        let l1_bytes = disk_bytes.div_ceil(CLUSTER_BYTES * ENTRIES) * 8;
        if l1_bytes > MAX_L1_BYTES {
            let what = format!(
                "the disk has `{disk_bytes}` bytes, more than a qcow2 with clusters of 64 KiB can have; write it as raw"
            );
            return Err(Error::invalid("format", what));
        }
        let has_table = |range: u64| occupied.rank((range + 1) * ENTRIES) > occupied.rank(range * ENTRIES);
        let tables: Vec<u64> = (0..l1_bytes / 8).filter(|&range| has_table(range)).collect();
        let l1 = l1_bytes.div_ceil(CLUSTER_BYTES).max(1);
        let others = 1 + l1 + tables.len() as u64 + occupied.count();
        // The counts count themselves.
        let (mut count_blocks, mut count_table) = (1, 1);
        loop {
            let needed = (others + count_blocks + count_table).div_ceil(COUNTS);
            let table = (needed * 8).div_ceil(CLUSTER_BYTES);
            if needed <= count_blocks && table <= count_table {
                break;
            }
            (count_blocks, count_table) = (needed.max(count_blocks), table.max(count_table));
        }
        let first = (1 + count_table + count_blocks + l1 + tables.len() as u64) * CLUSTER_BYTES;
        let blocks = Blocks { occupied, first, stride: CLUSTER_BYTES };
        Ok(Self { disk_bytes, blocks, backing, tables, count_table, count_blocks, l1 })
    }

    fn counts_at(&self) -> u64 {
        1 + self.count_table
    }

    fn l1_at(&self) -> u64 {
        self.counts_at() + self.count_blocks
    }

    fn tables_at(&self) -> u64 {
        self.l1_at() + self.l1
    }

    /// A piece is a cluster: all of them up to the first one of the disk.
    pub(super) fn piece(&self, number: u64) -> Option<Piece> {
        let mut bytes = vec![0; CLUSTER_BYTES as usize];
        let entries = |bytes: &mut Vec<u8>, value: &dyn Fn(u64) -> Option<u64>| {
            for (entry, at) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(0..) {
                *entry = value(at).unwrap_or(0).to_be_bytes();
            }
        };
        if number == 0 {
            self.header(&mut bytes);
        } else if number < self.counts_at() {
            let from = (number - 1) * ENTRIES;
            entries(&mut bytes, &|at| {
                (from + at < self.count_blocks).then_some((self.counts_at() + from + at) * CLUSTER_BYTES)
            });
        } else if number < self.l1_at() {
            let (from, all) = ((number - self.counts_at()) * COUNTS, self.blocks.end() / CLUSTER_BYTES);
            for (count, cluster) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(from..) {
                *count = u16::from(cluster < all).to_be_bytes();
            }
        } else if number < self.tables_at() {
            let from = (number - self.l1_at()) * ENTRIES;
            let table =
                |range: u64| self.tables.binary_search(&range).ok().map(|number| self.tables_at() + number as u64);
            entries(&mut bytes, &|at| table(from + at).map(|cluster| (cluster * CLUSTER_BYTES) | COPIED));
        } else {
            let from = self.tables.get((number - self.tables_at()) as usize)? * ENTRIES;
            let occupied = &self.blocks.occupied;
            let place = |block: u64| (self.blocks.first + occupied.rank(block) * CLUSTER_BYTES) | COPIED;
            entries(&mut bytes, &|at| occupied.contains(from + at).then(|| place(from + at)));
        }
        Some((number * CLUSTER_BYTES, bytes))
    }

    fn header(&self, bytes: &mut [u8]) {
        put(bytes, 0, b"QFI\xfb");
        put(bytes, 4, &3_u32.to_be_bytes());
        put(bytes, 20, &CLUSTER_BYTES.trailing_zeros().to_be_bytes());
        put(bytes, 24, &self.disk_bytes.to_be_bytes());
        put(bytes, 36, &(self.disk_bytes.div_ceil(CLUSTER_BYTES * ENTRIES) as u32).to_be_bytes());
        put(bytes, 40, &(self.l1_at() * CLUSTER_BYTES).to_be_bytes());
        put(bytes, 48, &CLUSTER_BYTES.to_be_bytes());
        put(bytes, 56, &(self.count_table as u32).to_be_bytes());
        // Counts of 16 bits.
        put(bytes, 96, &4_u32.to_be_bytes());
        put(bytes, 100, &(HEADER_BYTES as u32).to_be_bytes());
        if let Some(backing) = &self.backing {
            // An extension says that the backing disk is raw: it is never guessed.
            put(bytes, HEADER_BYTES, &0xe279_2aca_u32.to_be_bytes());
            put(bytes, HEADER_BYTES + 4, &3_u32.to_be_bytes());
            put(bytes, HEADER_BYTES + 8, b"raw");
            // Behind the end of the extensions.
            let at = HEADER_BYTES + 24;
            put(bytes, 8, &(at as u64).to_be_bytes());
            put(bytes, 16, &(backing.len() as u32).to_be_bytes());
            put(bytes, at, backing.as_bytes());
        }
    }
}
