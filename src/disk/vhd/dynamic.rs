//! Dynamic VHDs: a copy of the footer, a header, a table of blocks, and in any order the blocks that were written.
//!
//! A block is a bitmap, padded to whole sectors, and the data. The bitmap's bits, the highest of a byte first, say
//! which sectors of the data were written; the others are zero, whatever the file has there.

use std::io;
use std::iter;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fields::{SECTOR_BYTES, checksum, verify_checksum};
use super::footer::{FOOTER_BYTES, Footer, NO_OFFSET, VERSION_1};
use crate::disk::fields::{check_read, field, read, unsupported};
use crate::disk::read_at::{ReadAt, SharedDisk};
use crate::error::{Error, Result};

const COOKIE: [u8; 8] = *b"cxsparse";
const HEADER_BYTES: u64 = 1024;
const CHECKSUM_AT: usize = 36;
const ENTRY_BYTES: u64 = 4;
const UNALLOCATED: u32 = u32::MAX;
/// Bounds the bitmap that a read holds to 64 KiB; writers use 2 MiB and 512 KiB.
const MAX_BLOCK_BYTES: u64 = 256 << 20;
/// Enough for the largest disk in blocks of 512 KiB.
const MAX_TABLE_BYTES: u64 = 16 << 20;
/// How much of the table is read at once.
const TABLE_STEP_BYTES: u64 = 64 << 10;

/// The header's description of the blocks.
struct Header {
    table_offset: u64,
    table_entries: u32,
    block_bytes: u64,
}

impl Header {
    fn parse(bytes: &[u8; 1024], target: &str) -> Result<Self> {
        if !bytes.starts_with(&COOKIE) {
            return Err(Error::corrupt(
                target,
                format!("the header begins with `{}` and not with `cxsparse`", field::<8>(bytes, 0).escape_ascii()),
            ));
        }
        verify_checksum(bytes, CHECKSUM_AT, "header", target)?;
        let version = u32::from_be_bytes(field(bytes, 24));
        if version != VERSION_1 {
            return Err(unsupported(
                target,
                format!("the header's version is `{version:#010x}`, not {VERSION_1:#010x}"),
            ));
        }
        let block_bytes = u64::from(u32::from_be_bytes(field(bytes, 32)));
        if !block_bytes.is_power_of_two() || !(SECTOR_BYTES..=MAX_BLOCK_BYTES).contains(&block_bytes) {
            return Err(unsupported(
                target,
                format!("the block size is `{block_bytes}` bytes, not a power of two from 512 bytes to 256 MiB"),
            ));
        }
        Ok(Self {
            table_offset: u64::from_be_bytes(field(bytes, 16)),
            table_entries: u32::from_be_bytes(field(bytes, 28)),
            block_bytes,
        })
    }

    /// The bytes of a block's bitmap.
    fn bitmap_bytes(&self) -> u64 {
        (self.block_bytes / SECTOR_BYTES).div_ceil(8).next_multiple_of(SECTOR_BYTES)
    }

    /// Returns the number of blocks of a disk of `size` bytes. Refuses a table with fewer entries, or one too large for
    /// memory.
    fn blocks(&self, size: u64, target: &str) -> Result<u64> {
        let (entries, block_bytes) = (self.table_entries, self.block_bytes);
        let blocks = size.div_ceil(block_bytes);
        if blocks > u64::from(entries) {
            return Err(Error::corrupt(
                target,
                format!(
                    "the block table has `{entries}` entries, but a disk of {size} bytes in blocks of {block_bytes} \
                     has {blocks} blocks"
                ),
            ));
        }
        if blocks > MAX_TABLE_BYTES / ENTRY_BYTES {
            return Err(unsupported(
                target,
                format!(
                    "a disk of {size} bytes in blocks of `{block_bytes}` has a block table of {} bytes, above the \
                     limit of {MAX_TABLE_BYTES}; convert it to blocks of 2 MiB",
                    blocks * ENTRY_BYTES
                ),
            ));
        }
        Ok(blocks)
    }
}

/// Returns the header of a table of `entries` at an offset of the file.
pub(in crate::disk) fn header_of_table(table_offset: u64, entries: u64, block_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES as usize];
    let mut put = |at: usize, value: &[u8]| bytes.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = *from);
    put(0, &COOKIE);
    put(8, &NO_OFFSET.to_be_bytes());
    put(16, &table_offset.to_be_bytes());
    put(24, &VERSION_1.to_be_bytes());
    put(28, &(entries as u32).to_be_bytes());
    put(32, &(block_bytes as u32).to_be_bytes());
    let sum = checksum(&bytes, CHECKSUM_AT).to_be_bytes();
    bytes.iter_mut().skip(CHECKSUM_AT).zip(sum).for_each(|(to, from)| *to = from);
    bytes
}

/// A part of the file outside of the blocks.
struct Part {
    name: &'static str,
    range: Range<u64>,
}

impl Part {
    /// Returns the part of `length` bytes from `start` on. Refuses one that does not lie before `end`.
    fn before(end: u64, name: &'static str, start: u64, length: u64, target: &str) -> Result<Self> {
        match start.checked_add(length) {
            Some(stop) if stop <= end => Ok(Self { name, range: start..stop }),
            _ => Err(Error::corrupt(
                target,
                format!(
                    "the {name} of {length} bytes at byte `{start}` is not inside the {end} bytes before the footer; \
                     the file is damaged or truncated"
                ),
            )),
        }
    }

    fn overlaps(&self, range: &Range<u64>) -> bool {
        self.range.start < range.end && range.start < self.range.end
    }
}

/// The blocks of a file, and zeros where it has none.
pub(super) struct DynamicVhd {
    file: SharedDisk,
    size: u64,
    block_bytes: u64,
    bitmap_bytes: u64,
    /// The sector of the file where each block begins. INVARIANT: all blocks lie inside the file, and none overlaps.
    table: Vec<u32>,
    /// Nonzero bytes read from sectors that the bitmap marks as never written.
    hidden_bytes: AtomicU64,
}

impl DynamicVhd {
    /// Opens a dynamic VHD whose blocks end at or before byte `end` of the file.
    pub(super) fn open(file: SharedDisk, footer: &Footer, end: u64, target: &str) -> Result<Self> {
        let size = footer.current_size;
        let copy = Part::before(end, "copy of the footer", 0, FOOTER_BYTES, target)?;
        let at_header = Part::before(end, "header", footer.data_offset, HEADER_BYTES, target)?;
        let header = Header::parse(&read(&*file, footer.data_offset, target, "reading the header")?, target)?;
        let blocks = header.blocks(size, target)?;
        let table_bytes = u64::from(header.table_entries) * ENTRY_BYTES;
        let at_table = Part::before(end, "block table", header.table_offset, table_bytes, target)?;
        for (one, other) in [(&copy, &at_header), (&copy, &at_table), (&at_header, &at_table)] {
            if one.overlaps(&other.range) {
                return Err(Error::corrupt(
                    target,
                    format!("the {} at byte `{}` overlaps the {}", other.name, other.range.start, one.name),
                ));
            }
        }
        let table = read_table(&*file, header.table_offset, blocks)
            .map_err(|source| Error::from_io(target, "reading the block table", source))?;
        let (block_bytes, bitmap_bytes) = (header.block_bytes, header.bitmap_bytes());
        let disk = Self { file, size, block_bytes, bitmap_bytes, table, hidden_bytes: AtomicU64::default() };
        disk.check_blocks(end, &[copy, at_header, at_table], target)?;
        Ok(disk)
    }

    fn check_blocks(&self, end: u64, parts: &[Part], target: &str) -> Result<()> {
        let length = self.bitmap_bytes + self.block_bytes;
        for (number, &sector) in self.table.iter().enumerate().filter(|&(_, &sector)| sector != UNALLOCATED) {
            let start = u64::from(sector) * SECTOR_BYTES;
            let range = start..start + length;
            if range.end > end {
                return Err(Error::corrupt(
                    target,
                    format!(
                        "block `{number}` at sector `{sector}` ends at byte {}, but the blocks end at byte {end}, where \
                         the footer begins; the file is damaged or truncated",
                        range.end
                    ),
                ));
            }
            if let Some(part) = parts.iter().find(|part| part.overlaps(&range)) {
                return Err(Error::corrupt(
                    target,
                    format!("block `{number}` at sector `{sector}` overlaps the {}", part.name),
                ));
            }
        }
        let mut sectors: Vec<u32> = self.table.iter().copied().filter(|&sector| sector != UNALLOCATED).collect();
        sectors.sort_unstable();
        for (&one, &next) in sectors.iter().zip(sectors.iter().skip(1)) {
            if u64::from(next - one) * SECTOR_BYTES < length {
                return Err(Error::corrupt(
                    target,
                    format!("the blocks at sectors `{one}` and `{next}` overlap: each has {length} bytes"),
                ));
            }
        }
        Ok(())
    }

    /// Returns the file offset of the block with the disk's byte `offset`.
    fn block_of(&self, offset: u64) -> Option<u64> {
        let number = usize::try_from(offset / self.block_bytes).ok()?;
        let sector = self.table.get(number).copied().filter(|&sector| sector != UNALLOCATED)?;
        Some(u64::from(sector) * SECTOR_BYTES)
    }

    /// Fills `buffer` from the byte `inside` the block that begins at `block` in the file.
    ///
    /// Two reads, however fragmented the bitmap: sectors that were never written are read too, and then zeroed.
    fn read_block(&self, buffer: &mut [u8], block: u64, inside: u64) -> io::Result<()> {
        let first = inside / SECTOR_BYTES;
        let end = (inside + buffer.len() as u64).div_ceil(SECTOR_BYTES);
        let mut bitmap = vec![0; (end.div_ceil(8) - first / 8) as usize];
        self.file.read_exact_at(&mut bitmap, block + first / 8)?;
        self.file.read_exact_at(buffer, block + self.bitmap_bytes + inside)?;
        let until_sector = ((first + 1) * SECTOR_BYTES - inside) as usize;
        let (head, tail) = buffer.split_at_mut(until_sector.min(buffer.len()));
        let sectors = iter::once(head).chain(tail.chunks_mut(SECTOR_BYTES as usize));
        let bits = bitmap.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0));
        for (sector, _) in sectors.zip(bits.skip((first % 8) as usize)).filter(|(_, written)| !written) {
            if sector.iter().any(|byte| *byte != 0) {
                self.hidden_bytes.fetch_add(sector.len() as u64, Ordering::Relaxed);
                sector.fill(0);
            }
        }
        Ok(())
    }
}

/// The first `blocks` entries of the table at `offset`. INVARIANT: the caller has bounded `blocks`.
fn read_table(file: &dyn ReadAt, offset: u64, blocks: u64) -> io::Result<Vec<u32>> {
    let mut table = Vec::with_capacity(blocks as usize);
    let (mut at, end) = (offset, offset + blocks * ENTRY_BYTES);
    while at < end {
        let mut step = vec![0; (end - at).min(TABLE_STEP_BYTES) as usize];
        file.read_exact_at(&mut step, at)?;
        at += step.len() as u64;
        table.extend(step.as_chunks::<4>().0.iter().copied().map(u32::from_be_bytes));
    }
    Ok(table)
}

impl ReadAt for DynamicVhd {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        check_read(self.size, offset, buffer.len())?;
        while !buffer.is_empty() {
            let inside = offset % self.block_bytes;
            let length = (self.block_bytes - inside).min(buffer.len() as u64);
            let (part, rest) = buffer.split_at_mut(length as usize);
            match self.block_of(offset) {
                Some(block) => self.read_block(part, block, inside)?,
                None => part.fill(0),
            }
            buffer = rest;
            offset += length;
        }
        Ok(())
    }

    fn hidden_bytes(&self) -> u64 {
        self.hidden_bytes.load(Ordering::Relaxed)
    }

    /// Returns a range inside one block that may hold data in the file. The bitmaps are applied on reading.
    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let first = usize::try_from(from / self.block_bytes).unwrap_or(usize::MAX);
        for (number, &sector) in self.table.iter().enumerate().skip(first) {
            if sector == UNALLOCATED {
                continue;
            }
            let begin = number as u64 * self.block_bytes;
            let start = begin.max(from);
            let end = (begin + self.block_bytes).min(self.size);
            let at = u64::from(sector) * SECTOR_BYTES + self.bitmap_bytes + (start - begin);
            if let Some(data) = self.file.next_data(at)? {
                let on_disk = |in_file: u64| start.saturating_add(in_file.saturating_sub(at)).min(end);
                let found = on_disk(data.start)..on_disk(data.end);
                if !found.is_empty() {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}
