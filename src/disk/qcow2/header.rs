//! The header of a qcow2.

use crate::disk::fields::{check_inside, field, read, unsupported};
use crate::disk::note::DiskNote;
use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result};

pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Clusters of 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// The most of the first level that is held in memory: QEMU's limit.
const MAX_L1_BYTES: u64 = 32 << 20;

// Incompatible features.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Zlib,
    Zstd,
}

/// What the header says of a disk that can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bits: u32,
    pub(super) size: u64,
    pub(super) l1_offset: u64,
    /// The entries that the disk needs.
    pub(super) l1_entries: u64,
    pub(super) compression: Compression,
}

impl Header {
    pub(super) fn read(file: &dyn ReadAt, unclean: bool, target: &str) -> Result<(Self, Option<DiskNote>)> {
        check_inside(file, "header", 0, 72, target)?;
        let mut bytes = [0; 112];
        let start: [u8; 72] = read(file, 0, target, "reading the header")?;
        bytes.iter_mut().zip(start).for_each(|(to, from)| *to = from);
        if !start.starts_with(&MAGIC) {
            let begin = field::<4>(&start, 0);
            let what = format!(
                "the file begins with `{}` and not with `QFI\\xfb`: it is no qcow2; state its true format",
                begin.escape_ascii()
            );
            return Err(Error::corrupt(target, what));
        }
        let u32_at = |bytes: &[u8], at| u32::from_be_bytes(field(bytes, at));
        let u64_at = |bytes: &[u8], at| u64::from_be_bytes(field(bytes, at));
        let version = u32_at(&start, 4);
        let (mut features, mut compression) = (0, Compression::Zlib);
        match version {
            2 => {}
            3 => {
                check_inside(file, "header", 0, 104, target)?;
                let more = file.size().min(112) as usize;
                let all = bytes.get_mut(..more).unwrap_or_default();
                file.read_exact_at(all, 0).map_err(|error| Error::from_io(target, "reading the header", error))?;
                features = u64_at(&bytes, 72);
                let length = u32_at(&bytes, 100);
                if length < 104 {
                    return Err(Error::corrupt(
                        target,
                        format!("the header's length at byte 100 is `{length}`, below 104"),
                    ));
                }
                let kind = field::<1>(&bytes, 104);
                if features & COMPRESSION != 0 && length > 104 {
                    compression = match kind {
                        [0] => Compression::Zlib,
                        [1] => Compression::Zstd,
                        [other] => {
                            let what =
                                format!("the compression type at byte 104 is `{other}`, not 0 (zlib) or 1 (zstd)");
                            return Err(unsupported(target, what));
                        }
                    };
                }
            }
            other => return Err(unsupported(target, format!("the version at byte 4 is `{other}`, not 2 or 3"))),
        }
        let note = check_features(features, unclean, target)?;
        let flat = format!(
            "`qemu-img convert -f qcow2 -O qcow2 {target} flat.qcow2` makes one file of it, and reads the file that it names: \
             only for one that you trust"
        );
        if u64_at(&start, 8) != 0 {
            let what = format!(
                "the disk has a backing file (byte 8 of the header), and backing files are never followed; {flat}"
            );
            return Err(unsupported(target, what));
        }
        match u32_at(&start, 32) {
            0 => {}
            method => {
                let what = format!(
                    "the disk is encrypted (method `{method}` at byte 32); decrypt it with `qemu-img convert` first"
                );
                return Err(unsupported(target, what));
            }
        }
        let cluster_bits = u32_at(&start, 20);
        if !CLUSTER_BITS.contains(&cluster_bits) {
            let what = format!("the cluster bits at byte 20 are `{cluster_bits}`, not 9 to 21 (512 bytes to 2 MiB)");
            return Err(Error::corrupt(target, what));
        }
        let (size, l1_has, l1_offset) = (u64_at(&start, 24), u64::from(u32_at(&start, 36)), u64_at(&start, 40));
        let l1_entries = size.div_ceil(1 << (2 * cluster_bits - 3));
        if l1_entries * 8 > MAX_L1_BYTES {
            let what = format!(
                "a disk of `{size}` bytes (byte 24) in clusters of {} has a first level of {} bytes, above the limit of \
                 {MAX_L1_BYTES}",
                1_u64 << cluster_bits,
                l1_entries * 8
            );
            return Err(unsupported(target, what));
        }
        if l1_has < l1_entries {
            let what = format!(
                "the first level has `{l1_has}` entries (byte 36), and a disk of {size} bytes needs {l1_entries}"
            );
            return Err(Error::corrupt(target, what));
        }
        check_inside(file, "first level of the table", l1_offset, l1_entries * 8, target)?;
        if !l1_offset.is_multiple_of(1 << cluster_bits) || (l1_offset == 0 && l1_entries > 0) {
            let what = format!("the first level at byte `{l1_offset}` does not begin with a cluster after the header");
            return Err(Error::corrupt(target, what));
        }
        Ok((Self { version, cluster_bits, size, l1_offset, l1_entries, compression }, note))
    }
}

fn check_features(features: u64, unclean: bool, target: &str) -> Result<Option<DiskNote>> {
    let known = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2;
    if features & DATA_FILE != 0 {
        let what = "the guest's bytes are in an external data file (bit 2 of byte 72 ff.), and named files are never followed; \
                    convert it with `qemu-img convert` where you trust it";
        return Err(unsupported(target, what.into()));
    }
    if features & EXTENDED_L2 != 0 {
        let what = "the disk has extended L2 entries (bit 4 of byte 72 ff.), which are not read; convert it: `qemu-img convert -O \
                    qcow2 -o extended_l2=off`";
        return Err(unsupported(target, what.into()));
    }
    if features & !known != 0 {
        let what = format!("the header names unknown incompatible features: `{:#x}` at byte 72", features & !known);
        return Err(unsupported(target, what));
    }
    let marked = features & (DIRTY | CORRUPT);
    if marked == 0 {
        return Ok(None);
    }
    let marked = if marked & CORRUPT != 0 { "corrupt" } else { "dirty" };
    if !unclean {
        let what = format!(
            "the disk is marked {marked} (byte 72 ff.): a VM has it open, or did not close it; stop the VM, then `qemu-img check -r \
             all {target}`, or accept it as it is by `DiskSource::with_unclean_close`"
        );
        return Err(Error::conflict(target, what));
    }
    Ok(Some(DiskNote::Unclean { marked }))
}
