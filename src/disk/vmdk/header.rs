//! The header of a sparse extent.

use super::descriptor::{Descriptor, MAX_BYTES};
use crate::disk::fields::{check_inside, field, read, read_vec, unsupported};
use crate::disk::note::DiskNote;
use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result};

pub(super) const MAGIC: [u8; 4] = *b"KDMV";
pub(super) const SECTOR: u64 = 512;
/// The directory's place is in the footer.
const AT_THE_END: u64 = u64::MAX;
/// The most of the directory that is held in memory: 128 TiB in grains of 64 KiB.
const MAX_DIRECTORY_BYTES: u64 = 16 << 20;

const ZEROED_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;

/// What the header says of a disk that can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) size: u64,
    pub(super) grain: u64,
    pub(super) entries_of_table: u64,
    pub(super) directory_at: u64,
    pub(super) directory_entries: u64,
    pub(super) zeroed_grains: bool,
    pub(super) compressed: bool,
}

impl Header {
    pub(super) fn read(file: &dyn ReadAt, unclean: bool, target: &str) -> Result<(Self, Option<DiskNote>)> {
        check_inside(file, "header", 0, SECTOR, target)?;
        let mut bytes: [u8; 512] = read(file, 0, target, "reading the header")?;
        if !bytes.starts_with(&MAGIC) {
            let what = format!(
                "the file begins with `{}` and not with `KDMV` or `# Disk DescriptorFile`: it is no VMDK that can be read; state its \
                 true format",
                field::<4>(&bytes, 0).escape_ascii()
            );
            return Err(Error::corrupt(target, what));
        }
        check_descriptor(file, &bytes, target)?;
        if u64::from_le_bytes(field(&bytes, 56)) == AT_THE_END {
            check_inside(file, "footer", file.size().saturating_sub(2 * SECTOR), 2 * SECTOR, target)?;
            bytes = read(file, file.size() - 2 * SECTOR, target, "reading the footer")?;
            if !bytes.starts_with(&MAGIC) {
                let what = "the footer, 1024 bytes before the end of the file, does not begin with `KDMV`: the file is truncated";
                return Err(Error::corrupt(target, what));
            }
        }
        let u32_at = |at| u32::from_le_bytes(field(&bytes, at));
        let u64_at = |at| u64::from_le_bytes(field(&bytes, at));
        let (version, flags) = (u32_at(4), u32_at(8));
        if !(1..=3).contains(&version) {
            return Err(unsupported(target, format!("the version at byte 4 is `{version}`, not 1 to 3")));
        }
        let note = check_clean(&bytes, unclean, target)?;
        let compressed = flags & COMPRESSED != 0;
        let algorithm = u16::from_le_bytes(field(&bytes, 77));
        if compressed && algorithm != 1 {
            return Err(unsupported(target, format!("the compression at byte 77 is `{algorithm}`, not 1 (deflate)")));
        }
        let (capacity, grain, entries) = (u64_at(12), u64_at(20), u64::from(u32_at(44)));
        if !grain.is_power_of_two() || !(8..=4096).contains(&grain) {
            let what = format!("a grain has `{grain}` sectors (byte 20), not a power of two from 8 to 4096");
            return Err(Error::corrupt(target, what));
        }
        if !(1..=512).contains(&entries) {
            return Err(Error::corrupt(target, format!("a table has `{entries}` entries (byte 44), not 1 to 512")));
        }
        let size = capacity.checked_mul(SECTOR).ok_or_else(|| {
            Error::corrupt(target, format!("the capacity at byte 12 is `{capacity}` sectors, more than 2^64 bytes"))
        })?;
        let directory_entries = capacity.div_ceil(grain * entries);
        if directory_entries * 4 > MAX_DIRECTORY_BYTES {
            let what = format!(
                "a disk of `{size}` bytes in grains of {grain} sectors has a directory of {} bytes, above the limit of \
                 {MAX_DIRECTORY_BYTES}",
                directory_entries * 4
            );
            return Err(unsupported(target, what));
        }
        let directory_at = u64_at(56).saturating_mul(SECTOR);
        check_inside(file, "directory", directory_at, directory_entries * 4, target)?;
        let zeroed_grains = flags & ZEROED_GRAINS != 0;
        let grain = grain * SECTOR;
        let header =
            Self { size, grain, entries_of_table: entries, directory_at, directory_entries, zeroed_grains, compressed };
        Ok((header, note))
    }
}

/// Refuses a delta, and one extent of many.
fn check_descriptor(file: &dyn ReadAt, header: &[u8; 512], target: &str) -> Result<()> {
    let [at, length] = [28, 36].map(|at| u64::from_le_bytes(field(header, at)).saturating_mul(SECTOR));
    if at == 0 || length == 0 {
        let what = "the file has no descriptor in it: it is an extent of a disk with a descriptor of its own; make one file of it: \
                    `vmware-vdiskmanager -r … -t 0`, or `qemu-img convert`";
        return Err(unsupported(target, what.into()));
    }
    check_inside(file, "descriptor", at, length, target)?;
    let bytes = read_vec(file, at, length.min(MAX_BYTES), target, "reading the descriptor")?;
    let descriptor = Descriptor::parse(&bytes, target)?;
    if descriptor.kind != "SPARSE" {
        let what = format!("the extent's kind is `{}`, and the file is a sparse one", descriptor.kind);
        return Err(Error::corrupt(target, what));
    }
    Ok(())
}

fn check_clean(header: &[u8; 512], unclean: bool, target: &str) -> Result<Option<DiskNote>> {
    if field::<1>(header, 72) == [0] {
        return Ok(None);
    }
    if !unclean {
        let what = "the disk is marked in use (byte 72): a VM has it open, or did not close it; stop the VM, or accept it as it is by \
                    `DiskSource::with_unclean_close`";
        return Err(Error::conflict(target, what));
    }
    Ok(Some(DiskNote::Unclean { marked: "in use" }))
}
