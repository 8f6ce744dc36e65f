//! Where the grains of a sparse VMDK lie.

use std::io;

use super::header::{Header, SECTOR};
use crate::disk::fields::{damaged, field, read_vec};
use crate::disk::mapped::{Extent, Map, Packed, Place, Tables};
use crate::disk::read_at::SharedDisk;
use crate::disk::unpack::inflate;
use crate::error::{Error, Result};

/// Before a compressed grain: its first sector on the disk, and its length.
const MARKER_BYTES: usize = 12;

pub(super) struct Sparse {
    file: SharedDisk,
    header: Header,
    /// The file offset of each table; 0 without one.
    directory: Vec<u64>,
    tables: Tables,
}

impl Sparse {
    pub(super) fn open(file: SharedDisk, header: Header, target: &str) -> Result<Self> {
        let (at, length) = (header.directory_at, header.directory_entries * 4);
        let bytes = read_vec(&*file, at, length, target, "reading the directory")?;
        let table_bytes = header.entries_of_table * 4;
        let mut directory = Vec::with_capacity(header.directory_entries as usize);
        for (number, sector) in bytes.as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes).enumerate() {
            let table = u64::from(sector) * SECTOR;
            if table + table_bytes > file.size() {
                let what = format!(
                    "entry `{number}` of the directory leads to sector `{sector}`, past the end of the file of {} bytes; it is \
                     damaged or truncated",
                    file.size()
                );
                return Err(Error::corrupt(target, what));
            }
            directory.push(table);
        }
        let mut tables: Vec<u64> = directory.iter().copied().filter(|&at| at != 0).collect();
        tables.sort_unstable();
        if let Some((one, next)) =
            tables.iter().zip(tables.iter().skip(1)).find(|(one, next)| **next - **one < table_bytes)
        {
            return Err(Error::corrupt(target, format!("the tables at bytes `{one}` and `{next}` overlap")));
        }
        Ok(Self { file, header, directory, tables: Tables::of_length(table_bytes as usize) })
    }

    /// Returns the place of the grain that begins at byte `at` of the disk.
    fn place(&self, sector: u32, at: u64) -> io::Result<Place> {
        let (grain, offset) = (self.header.grain, u64::from(sector) * SECTOR);
        let wrong =
            |what: String| damaged(format!("the table's entry for byte `{at}` of the disk, sector `{sector}`, {what}"));
        if sector == 0 || (sector == 1 && self.header.zeroed_grains) {
            return Ok(Place::Zeros);
        }
        let past = || wrong("leads past the end of the file: it is damaged or truncated".into());
        if !self.header.compressed {
            // What lies behind the disk's end need not be there.
            let inside = grain.min(self.header.size - at);
            return if offset + inside <= self.file.size() { Ok(Place::File(offset)) } else { Err(past()) };
        }
        let start = offset + MARKER_BYTES as u64;
        if start > self.file.size() {
            return Err(past());
        }
        let mut marker = [0; MARKER_BYTES];
        self.file.read_exact_at(&mut marker, offset)?;
        let (first, length) = (u64::from_le_bytes(field(&marker, 0)), u64::from(u32::from_le_bytes(field(&marker, 8))));
        match () {
            () if first != at / SECTOR => {
                Err(wrong(format!("leads to a grain that says that it begins at sector `{first}`")))
            }
            // Deflate adds a thousandth at most.
            () if length == 0 || length > 2 * grain => {
                Err(wrong(format!("leads to a grain of `{length}` compressed bytes")))
            }
            () if start + length > self.file.size() => Err(past()),
            () => Ok(Place::Packed(Packed {
                source: start..start + length,
                at,
                length: grain.min(self.header.size - at),
            })),
        }
    }
}

impl Map for Sparse {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn extent(&self, at: u64, most: u64) -> io::Result<Extent> {
        let (grain, entries) = (self.header.grain, self.header.entries_of_table);
        let span = grain * entries;
        let table = usize::try_from(at / span).ok().and_then(|number| self.directory.get(number)).copied().unwrap_or(0);
        if table == 0 {
            return Ok(Extent { length: span - at % span, place: Place::Zeros });
        }
        let table = self.tables.at(&*self.file, table)?;
        let entry = |number: u64| u32::from_le_bytes(field(&table, number as usize * 4));
        let (first, inside) = (at % span / grain, at % grain);
        let place = self.place(entry(first), at - inside)?;
        let mut next = first + 1;
        // Grains that follow one another in the file are one read.
        let follows = |next: u64| match &place {
            Place::Zeros => entry(next) == 0,
            Place::File(offset) => u64::from(entry(next)) * SECTOR == offset + (next - first) * grain,
            Place::Packed(_) => false,
        };
        while next < entries && (next - first) * grain < most && at - inside + (next - first) * grain < self.header.size
        {
            if !follows(next) {
                break;
            }
            if place != Place::Zeros {
                self.place(entry(next), at - inside + (next - first) * grain)?;
            }
            next += 1;
        }
        let length = (next - first) * grain - inside;
        let place = match place {
            Place::File(offset) => Place::File(offset + inside),
            other => other,
        };
        Ok(Extent { length, place })
    }

    fn unpack(&self, packed: &[u8], block: &mut [u8]) -> io::Result<()> {
        inflate(packed, true, block)
    }
}
