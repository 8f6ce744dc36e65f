//! Disks whose file says where each range of the guest's bytes lies: in the file, packed in the file, or nowhere.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::fields::check_read;
use super::read_at::{ReadAt, SharedDisk};
use crate::host::sync::Mutex;

/// The map of a format.
pub(super) trait Map: Send + Sync {
    /// Returns the size of the guest's disk.
    fn size(&self) -> u64;

    /// Returns the place of the bytes from `at` on, at most `most` of them and at least one; both are inside of the disk.
    fn extent(&self, at: u64, most: u64) -> io::Result<Extent>;

    /// Fills `block` from its packed bytes.
    fn unpack(&self, packed: &[u8], block: &mut [u8]) -> io::Result<()> {
        let _ = (packed, block);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A range of the guest's bytes that lie in one place.
#[derive(Debug)]
pub(super) struct Extent {
    pub(super) length: u64,
    pub(super) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Zeros,
    /// At this offset of the file.
    File(u64),
    /// In a block that is unpacked whole.
    Packed(Packed),
}

/// A packed block. INVARIANT: the format's reader has bounded both lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    /// Its place in the file.
    pub(super) source: Range<u64>,
    /// Its first byte on the disk.
    pub(super) at: u64,
    /// Its length when unpacked.
    pub(super) length: u64,
}

/// Data is looked for in so much of the disk at a time: of a long extent in a file with many holes, each hole would cost a walk over
/// the whole extent.
const LOOKED_AT_BYTES: u64 = 64 << 20;

/// Unpacked blocks that are kept: neighbouring reads share a block at their border.
const KEPT_BLOCKS: usize = 4;

/// A disk read through a map.
pub(super) struct Mapped<M> {
    file: SharedDisk,
    map: M,
    unpacked: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

impl<M: Map> Mapped<M> {
    pub(super) fn new(file: SharedDisk, map: M) -> Self {
        Self { file, map, unpacked: Mutex::default() }
    }

    /// Fills `buffer` from the byte `inside` a packed block.
    fn read_packed(&self, packed: &Packed, inside: u64, buffer: &mut [u8]) -> io::Result<()> {
        if buffer.len() as u64 == packed.length {
            return self.unpack(packed, buffer);
        }
        let kept = self.unpacked.lock().iter().find(|(at, _)| *at == packed.at).map(|(_, block)| block.clone());
        let block = match kept {
            Some(block) => block,
            None => {
                let mut block = vec![0; packed.length as usize];
                self.unpack(packed, &mut block)?;
                let block: Arc<[u8]> = block.into();
                let mut kept = self.unpacked.lock();
                kept.push_back((packed.at, block.clone()));
                if kept.len() > KEPT_BLOCKS {
                    kept.pop_front();
                }
                block
            }
        };
        let part = block.get(inside as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn unpack(&self, packed: &Packed, block: &mut [u8]) -> io::Result<()> {
        let mut source = vec![0; (packed.source.end - packed.source.start) as usize];
        self.file.read_exact_at(&mut source, packed.source.start)?;
        self.map.unpack(&source, block)
    }
}

impl<M: Map> ReadAt for Mapped<M> {
    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        check_read(self.size(), offset, buffer.len())?;
        while !buffer.is_empty() {
            let most = buffer.len() as u64;
            let Extent { length, place } = self.map.extent(offset, most)?;
            let (part, rest) = buffer.split_at_mut(length.clamp(1, most) as usize);
            offset += part.len() as u64;
            match place {
                Place::Zeros => part.fill(0),
                Place::File(at) => self.file.read_exact_at(part, at)?,
                Place::Packed(packed) => {
                    let inside = offset - part.len() as u64 - packed.at;
                    self.read_packed(&packed, inside, part)?;
                }
            }
            buffer = rest;
        }
        Ok(())
    }

    fn next_data(&self, mut from: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size();
        while from < size {
            let most = (size - from).min(LOOKED_AT_BYTES);
            let Extent { length, place } = self.map.extent(from, most)?;
            let end = from + length.clamp(1, size - from);
            match place {
                Place::Zeros => {}
                Place::Packed(_) => return Ok(Some(from..end)),
                // The file may have holes where it has reserved space.
                Place::File(at) => {
                    let on_disk = |in_file: u64| from.saturating_add(in_file.saturating_sub(at)).min(end);
                    let found = self.file.next_data(at)?.map(|data| on_disk(data.start)..on_disk(data.end));
                    if let Some(found) = found.filter(|found| !found.is_empty()) {
                        return Ok(Some(found));
                    }
                }
            }
            from = end;
        }
        Ok(None)
    }
}

/// The bytes of tables that a disk keeps in memory, at most about.
const TABLE_BYTES: usize = 16 << 20;

/// Tables of one length, read when they are needed.
#[derive(Debug)]
pub(super) struct Tables {
    length: usize,
    kept: Mutex<HashMap<u64, Arc<[u8]>>>,
}

impl Tables {
    /// INVARIANT: the caller has bounded the length.
    pub(super) fn of_length(length: usize) -> Self {
        Self { length, kept: Mutex::default() }
    }

    /// Returns the table at an offset of the file.
    pub(super) fn at(&self, file: &dyn ReadAt, offset: u64) -> io::Result<Arc<[u8]>> {
        if let Some(table) = self.kept.lock().get(&offset) {
            return Ok(table.clone());
        }
        let mut table = vec![0; self.length];
        file.read_exact_at(&mut table, offset)?;
        let table: Arc<[u8]> = table.into();
        let mut kept = self.kept.lock();
        // A disk is read from its start to its end: what is evicted is hardly asked for again.
        if (kept.len() + 1) * self.length > TABLE_BYTES {
            kept.clear();
        }
        kept.insert(offset, table.clone());
        Ok(table)
    }
}
