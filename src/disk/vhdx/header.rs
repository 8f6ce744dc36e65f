//! The headers and the tables of regions.

use std::ops::Range;

use super::checksum::crc32c;
use crate::disk::fields::{check_inside, field, read, read_vec, unsupported};
use crate::disk::read_at::ReadAt;
use crate::error::{Error, Result};

pub(in crate::disk) const MAGIC: [u8; 8] = *b"vhdxfile";
const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];
const REGIONS_AT: [u64; 2] = [192 << 10, 256 << 10];
const REGIONS_BYTES: u64 = 64 << 10;
pub(super) const MIB: u64 = 1 << 20;

pub(in crate::disk) type Guid = [u8; 16];
/// 2DC27766-F623-4200-9D64-115E9BFD4A08
pub(in crate::disk) const TABLE: Guid = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
/// 8B7CA206-4790-4B9A-B8FE-575F050F886E
pub(in crate::disk) const METADATA: Guid = *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";

/// The current header.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) log_guid: Guid,
    pub(super) log: Range<u64>,
}

impl Header {
    pub(super) fn read(file: &dyn ReadAt, target: &str) -> Result<Self> {
        check_inside(file, "headers and tables of regions", 0, MIB, target)?;
        let start: [u8; 8] = read(file, 0, target, "reading the start of the file")?;
        if start != MAGIC {
            let what = format!(
                "the file begins with `{}` and not with `vhdxfile`: it is no VHDX; state its true format",
                start.escape_ascii()
            );
            return Err(Error::corrupt(target, what));
        }
        let mut current: Option<(u64, [u8; 4096])> = None;
        for at in HEADERS_AT {
            let bytes: [u8; 4096] = read(file, at, target, "reading a header")?;
            let sequence = u64::from_le_bytes(field(&bytes, 8));
            let whole = bytes.starts_with(b"head") && u32::from_le_bytes(field(&bytes, 4)) == crc32c(&bytes);
            if whole && current.as_ref().is_none_or(|(newest, _)| sequence > *newest) {
                current = Some((sequence, bytes));
            }
        }
        let Some((_, bytes)) = current else {
            let what =
                "neither header, at byte 65536 and 131072, has a right checksum; the file is damaged: copy it again";
            return Err(Error::corrupt(target, what));
        };
        let (log_version, version) = (u16::from_le_bytes(field(&bytes, 64)), u16::from_le_bytes(field(&bytes, 66)));
        if (log_version, version) != (0, 1) {
            let what = format!("the version is `{version}` and that of the log `{log_version}`, not 1 and 0");
            return Err(unsupported(target, what));
        }
        let length = u64::from(u32::from_le_bytes(field(&bytes, 68)));
        let start = u64::from_le_bytes(field(&bytes, 72));
        check_inside(file, "log", start, length, target)?;
        if !start.is_multiple_of(MIB) || !length.is_multiple_of(MIB) || start < MIB {
            let what = format!("the log of {length} bytes at byte `{start}` does not lie at whole MiB after the first");
            return Err(Error::corrupt(target, what));
        }
        Ok(Self { log_guid: field(&bytes, 48), log: start..start + length })
    }
}

/// The two regions of every VHDX.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    pub(super) table: Range<u64>,
    pub(super) metadata: Range<u64>,
}

impl Regions {
    pub(super) fn read(file: &dyn ReadAt, target: &str) -> Result<Self> {
        for at in REGIONS_AT {
            let bytes = read_vec(file, at, REGIONS_BYTES, target, "reading the table of regions")?;
            if bytes.starts_with(b"regi") && u32::from_le_bytes(field(&bytes, 4)) == crc32c(&bytes) {
                return Self::parse(file, &bytes, target);
            }
        }
        let what = "neither table of regions, at byte 196608 and 262144, has a right checksum; the file is damaged: copy it again";
        Err(Error::corrupt(target, what))
    }

    fn parse(file: &dyn ReadAt, bytes: &[u8], target: &str) -> Result<Self> {
        let count = u32::from_le_bytes(field(bytes, 8));
        let entries = bytes.get(16..).unwrap_or_default().as_chunks::<32>().0;
        if count as usize > entries.len() {
            let what = format!("the table of regions claims `{count}` entries, more than {}", entries.len());
            return Err(Error::corrupt(target, what));
        }
        let (mut table, mut metadata) = (None, None);
        for entry in entries.iter().take(count as usize) {
            let id: Guid = field(entry, 0);
            let (start, length) =
                (u64::from_le_bytes(field(entry, 16)), u64::from(u32::from_le_bytes(field(entry, 24))));
            let (name, place) = match id {
                TABLE => ("table of blocks", &mut table),
                METADATA => ("metadata", &mut metadata),
                _ if u32::from_le_bytes(field(entry, 28)) & 1 == 1 => {
                    let what = format!("it has a required region of an unknown kind, `{:x}`", u128::from_le_bytes(id));
                    return Err(unsupported(target, what));
                }
                _ => continue,
            };
            check_inside(file, name, start, length, target)?;
            if !start.is_multiple_of(MIB) || start < MIB || place.is_some() {
                let what = format!("the {name} at byte `{start}` is there twice or not at a whole MiB after the first");
                return Err(Error::corrupt(target, what));
            }
            *place = Some(start..start + length);
        }
        let missing = |name: &str| Error::corrupt(target, format!("the table of regions names no {name}"));
        Ok(Self {
            table: table.ok_or_else(|| missing("table of blocks"))?,
            metadata: metadata.ok_or_else(|| missing("metadata"))?,
        })
    }
}
