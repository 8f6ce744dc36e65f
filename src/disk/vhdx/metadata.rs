//! The items of the metadata that say how the disk is laid out.

use super::header::{Guid, Regions};
use crate::disk::fields::{check_inside, field, read_vec, unsupported};
use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result};

/// CAA16737-FA36-4D43-B3B6-33F0AA44E76B
pub(in crate::disk) const FILE_PARAMETERS: Guid = *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8
pub(in crate::disk) const DISK_SIZE: Guid = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
/// BECA12AB-B2E6-4523-93EF-C309E000C746
pub(in crate::disk) const DISK_ID: Guid = *b"\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46";
/// 8141BF1D-A96F-4709-BA47-F233A8FAAB5F
pub(in crate::disk) const LOGICAL_SECTOR: Guid = *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
/// CDA348C7-445D-4471-9CC9-E9885251C556
pub(in crate::disk) const PHYSICAL_SECTOR: Guid = *b"\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56";
/// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C
const PARENT_LOCATOR: Guid = *b"\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c";

const TABLE_BYTES: u64 = 64 << 10;
const MAX_DISK_BYTES: u64 = 64 << 40;
/// The most of the table of blocks that is held in memory: 8 TiB in blocks of 1 MiB.
const MAX_ENTRIES: u64 = 8 << 20;

/// The disk's layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metadata {
    pub(super) size: u64,
    pub(super) block_bytes: u64,
    /// After so many entries of blocks comes one of a bitmap.
    pub(super) chunk_ratio: u64,
}

impl Metadata {
    pub(super) fn read(file: &dyn ReadAt, regions: &Regions, target: &str) -> Result<Self> {
        let region = &regions.metadata;
        let length = region.end - region.start;
        if length < TABLE_BYTES {
            return Err(Error::corrupt(target, format!("the metadata have `{length}` bytes, below {TABLE_BYTES}")));
        }
        let table = read_vec(file, region.start, TABLE_BYTES, target, "reading the metadata")?;
        if !table.starts_with(b"metadata") {
            let what = format!("the metadata at byte `{}` do not begin with `metadata`", region.start);
            return Err(Error::corrupt(target, what));
        }
        let count = u16::from_le_bytes(field(&table, 10));
        let (mut parameters, mut size, mut logical) = (None, None, None);
        for entry in table.get(32..).unwrap_or_default().as_chunks::<32>().0.iter().take(count.into()) {
            let id: Guid = field(entry, 0);
            let (at, flags) = (u64::from(u32::from_le_bytes(field(entry, 16))), u32::from_le_bytes(field(entry, 24)));
            let value = |place: &mut Option<[u8; 8]>, bytes: u64| {
                check_inside(file, "item of the metadata", region.start.saturating_add(at), bytes, target)?;
                if at < TABLE_BYTES || at + bytes > length || place.is_some() {
                    let what = format!(
                        "an item of the metadata at byte `{at}` of them is there twice or lies outside of them"
                    );
                    return Err(Error::corrupt(target, what));
                }
                let read = read_vec(file, region.start + at, bytes, target, "reading the metadata")?;
                *place = Some(field(&[read, vec![0; 8]].concat(), 0));
                Ok(())
            };
            match id {
                FILE_PARAMETERS => value(&mut parameters, 8)?,
                DISK_SIZE => value(&mut size, 8)?,
                LOGICAL_SECTOR => value(&mut logical, 4)?,
                DISK_ID | PHYSICAL_SECTOR | PARENT_LOCATOR => {}
                // Not a user's, and required.
                _ if flags & 0b101 == 0b100 => {
                    let what = format!(
                        "the metadata have a required item of an unknown kind, `{:x}`",
                        u128::from_le_bytes(id)
                    );
                    return Err(unsupported(target, what));
                }
                _ => {}
            }
        }
        let missing = |name: &str| Error::corrupt(target, format!("the metadata lack the {name}"));
        let parameters = parameters.ok_or_else(|| missing("file parameters"))?;
        let size = u64::from_le_bytes(size.ok_or_else(|| missing("size of the disk"))?);
        let logical = u64::from_le_bytes(logical.ok_or_else(|| missing("size of a sector"))?);
        let (block, flags) = (u32::from_le_bytes(field(&parameters, 0)), u32::from_le_bytes(field(&parameters, 4)));
        Self::checked(size, block.into(), flags, logical, regions, target)
    }

    fn checked(size: u64, block: u64, flags: u32, logical: u64, regions: &Regions, target: &str) -> Result<Self> {
        if flags & 0b10 != 0 {
            let what = "it is a differencing disk, and parents are never followed; merge it: `Merge-VHD`, or \
                        `Convert-VHD -VHDType Dynamic`";
            return Err(unsupported(target, what.into()));
        }
        if logical != 512 {
            let what = format!(
                "the disk has sectors of `{logical}` bytes, and its partition table counts in them: only disks with sectors of 512 \
                 bytes are read; make one with `New-VHD -LogicalSectorSizeBytes 512` and copy the partitions"
            );
            return Err(unsupported(target, what));
        }
        if !block.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block) {
            return Err(Error::corrupt(
                target,
                format!("the block size is `{block}` bytes, not a power of two from 1 to 256 MiB"),
            ));
        }
        if size > MAX_DISK_BYTES {
            return Err(Error::corrupt(
                target,
                format!("the disk's size is `{size}` bytes, above the format's 64 TiB"),
            ));
        }
        let chunk_ratio = ((1 << 23) * logical) / block;
        let blocks = size.div_ceil(block);
        let entries = blocks + blocks.saturating_sub(1) / chunk_ratio;
        let has = (regions.table.end - regions.table.start) / 8;
        if entries > has {
            let what =
                format!("the table of blocks has room for `{has}` entries, and a disk of {size} bytes needs {entries}");
            return Err(Error::corrupt(target, what));
        }
        if entries > MAX_ENTRIES {
            let what = format!(
                "a disk of {size} bytes in blocks of `{block}` has {entries} entries, above the limit of {MAX_ENTRIES}; convert it to \
                 larger blocks: `Convert-VHD -BlockSizeBytes 32MB`"
            );
            return Err(unsupported(target, what));
        }
        Ok(Self { size, block_bytes: block, chunk_ratio })
    }

    pub(super) fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block_bytes)
    }
}
