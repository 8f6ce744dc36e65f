//! Where the clusters of a qcow2 lie.

use std::io;

use super::header::{Compression, Header};
use crate::disk::fields::{damaged, field, read_vec};
use crate::disk::mapped::{Extent, Map, Packed, Place, Tables};
use crate::disk::read_at::SharedDisk;
use crate::disk::unpack::{inflate, unzstd};
use crate::error::{Error, Result};

/// The offset in an entry of either level.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The reference count is one: of no interest to a reader.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

pub(super) struct Qcow2 {
    file: SharedDisk,
    header: Header,
    /// The file offset of each table of the second level; 0 without one.
    l1: Vec<u64>,
    /// These offsets, ascending.
    tables_at: Vec<u64>,
    tables: Tables,
}

impl Qcow2 {
    pub(super) fn open(file: SharedDisk, header: Header, target: &str) -> Result<Self> {
        let bytes = read_vec(&*file, header.l1_offset, header.l1_entries * 8, target, "reading the first level")?;
        let cluster = 1_u64 << header.cluster_bits;
        let l1_end = header.l1_offset + header.l1_entries * 8;
        let mut l1 = Vec::with_capacity(header.l1_entries as usize);
        for (number, entry) in bytes.as_chunks::<8>().0.iter().copied().map(u64::from_be_bytes).enumerate() {
            let at = entry & OFFSET;
            let wrong = match () {
                () if entry & !(OFFSET | COPIED) != 0 => "has reserved bits set",
                () if at == 0 => {
                    l1.push(0);
                    continue;
                }
                () if !at.is_multiple_of(cluster) => "is no multiple of the cluster size",
                () if at.saturating_add(cluster) > file.size() => "leads past the end of the file",
                () if at < l1_end && at.saturating_add(cluster) > header.l1_offset => "leads into the first level",
                () => {
                    l1.push(at);
                    continue;
                }
            };
            let what =
                format!("entry `{number}` of the first level, `{entry:#x}`, {wrong}; the file is damaged or truncated");
            return Err(Error::corrupt(target, what));
        }
        let mut tables_at: Vec<u64> = l1.iter().copied().filter(|&at| at != 0).collect();
        tables_at.sort_unstable();
        if let Some((twice, _)) = tables_at.iter().zip(tables_at.iter().skip(1)).find(|(one, next)| one == next) {
            let what = format!("two entries of the first level lead to the same table at byte `{twice}`");
            return Err(Error::corrupt(target, what));
        }
        let tables = Tables::of_length(cluster as usize);
        Ok(Self { file, header, l1, tables_at, tables })
    }

    fn cluster(&self) -> u64 {
        1 << self.header.cluster_bits
    }

    /// Returns the place of the cluster that begins at byte `at` of the disk, by its entry, and how much of it is there.
    fn place(&self, entry: u64, at: u64) -> io::Result<(Place, u64)> {
        let cluster = self.cluster();
        let wrong =
            |what: &str| damaged(format!("the table's entry for byte `{at}` of the disk, `{entry:#x}`, {what}"));
        if entry & COMPRESSED != 0 {
            let bits = 62 - (self.header.cluster_bits - 8);
            let (start, sectors) = (entry & ((1 << bits) - 1), (entry & !(COMPRESSED | COPIED)) >> bits);
            let end = (start - start % 512 + (sectors + 1) * 512).min(self.file.size());
            if start >= end {
                return Err(wrong("leads past the end of the file"));
            }
            return Ok((Place::Packed(Packed { source: start..end, at, length: cluster }), cluster));
        }
        if entry & !(OFFSET | COPIED | ZERO) != 0 || (entry & ZERO != 0 && self.header.version < 3) {
            return Err(wrong("has reserved bits set"));
        }
        let offset = entry & OFFSET;
        if entry & ZERO != 0 || offset == 0 {
            return Ok((Place::Zeros, cluster));
        }
        let l1_end = self.header.l1_offset + self.header.l1_entries * 8;
        match () {
            () if !offset.is_multiple_of(cluster) => Err(wrong("is no multiple of the cluster size")),
            () if offset < l1_end && offset + cluster > self.header.l1_offset => {
                Err(wrong("leads into the first level"))
            }
            () if self.tables_at.binary_search(&offset).is_ok() => Err(wrong("leads into a table")),
            // The last cluster of a file may be short: the rest was never written.
            () => match self.file.size().checked_sub(offset) {
                None | Some(0) => Err(wrong("leads past the end of the file: it is truncated, copy it again")),
                Some(there) => Ok((Place::File(offset), there.min(cluster))),
            },
        }
    }
}

impl Map for Qcow2 {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn extent(&self, at: u64, most: u64) -> io::Result<Extent> {
        let cluster = self.cluster();
        let entries = cluster / 8;
        let span = cluster * entries;
        let table = usize::try_from(at / span).ok().and_then(|number| self.l1.get(number)).copied().unwrap_or(0);
        if table == 0 {
            return Ok(Extent { length: span - at % span, place: Place::Zeros });
        }
        let table = self.tables.at(&*self.file, table)?;
        let begin = at - at % span;
        let entry = |number: u64| u64::from_be_bytes(field(&table, number as usize * 8));
        let first = at % span / cluster;
        let (place, there) = self.place(entry(first), begin + first * cluster)?;
        let inside = at % cluster;
        match place {
            Place::File(_) if inside >= there => Ok(Extent { length: cluster - inside, place: Place::Zeros }),
            Place::File(offset) => {
                let mut length = there - inside;
                let mut next = first + 1;
                // Clusters that follow one another in the file are one read.
                while length < most && there == cluster && next < entries {
                    let (follows, there) = match entry(next) & !COPIED == offset + (next - first) * cluster {
                        true => self.place(entry(next), begin + next * cluster)?,
                        false => break,
                    };
                    if !matches!(follows, Place::File(_)) || there < cluster {
                        break;
                    }
                    length += cluster;
                    next += 1;
                }
                Ok(Extent { length, place: Place::File(offset + inside) })
            }
            Place::Zeros => {
                let mut next = first + 1;
                while next < entries && (next - first) * cluster < most && entry(next) & !COPIED == 0 {
                    next += 1;
                }
                Ok(Extent { length: (next - first) * cluster - inside, place: Place::Zeros })
            }
            packed => Ok(Extent { length: cluster - inside, place: packed }),
        }
    }

    fn unpack(&self, packed: &[u8], block: &mut [u8]) -> io::Result<()> {
        match self.header.compression {
            Compression::Zlib => inflate(packed, false, block),
            Compression::Zstd => unzstd(packed, block),
        }
    }
}
