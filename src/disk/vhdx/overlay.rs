//! A file with changes in memory on top of it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::fields::check_read;
use crate::disk::read_at::{ReadAt, SharedDisk};

/// What a range of the file becomes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Zeros,
    /// These bytes; the range begins with the one of this number.
    Bytes(Arc<[u8]>, usize),
}

impl Change {
    /// The change without its first `skipped` bytes.
    fn from(&self, skipped: u64) -> Self {
        match self {
            Self::Zeros => Self::Zeros,
            Self::Bytes(bytes, from) => Self::Bytes(bytes.clone(), from + skipped as usize),
        }
    }
}

pub(super) struct Overlay {
    file: SharedDisk,
    size: u64,
    /// By the start of the range, with its end; no two overlap.
    changes: BTreeMap<u64, (u64, Change)>,
}

impl Overlay {
    /// A file of `size` bytes, at least the file's own; what lies behind that is zero.
    pub(super) fn new(file: SharedDisk, size: u64) -> Self {
        Self { size: size.max(file.size()), file, changes: BTreeMap::new() }
    }

    /// Makes a change on top of those before it.
    pub(super) fn change(&mut self, range: Range<u64>, change: Change) {
        if range.is_empty() {
            return;
        }
        self.size = self.size.max(range.end);
        if let Some((&start, (end, before))) = self.changes.range(..range.start).next_back()
            && *end > range.start
        {
            let (end, before) = (*end, before.clone());
            self.changes.insert(start, (range.start, before.clone()));
            if end > range.end {
                self.changes.insert(range.end, (end, before.from(range.end - start)));
            }
        }
        while let Some((&start, (end, before))) = self.changes.range(range.clone()).next() {
            let (end, rest) = (*end, (*end > range.end).then(|| before.from(range.end - start)));
            self.changes.remove(&start);
            if let Some(rest) = rest {
                self.changes.insert(range.end, (end, rest));
            }
        }
        self.changes.insert(range.start, (range.end, change));
    }

    /// The first change that ends after `from`.
    fn next(&self, from: u64) -> Option<(Range<u64>, &Change)> {
        let before = self.changes.range(..=from).next_back().filter(|(_, (end, _))| *end > from);
        let (start, (end, change)) = before.or_else(|| self.changes.range(from..).next())?;
        Some((*start..*end, change))
    }

    fn read_file(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let there = self.file.size().saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (inside, behind) = buffer.split_at_mut(there);
        behind.fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        self.file.read_exact_at(inside, offset)
    }
}

impl ReadAt for Overlay {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        check_read(self.size, offset, buffer.len())?;
        while !buffer.is_empty() {
            let next = self.next(offset).filter(|(range, _)| range.start < offset + buffer.len() as u64);
            let length = match &next {
                None => buffer.len() as u64,
                Some((range, _)) if range.start > offset => range.start - offset,
                Some((range, _)) => (range.end - offset).min(buffer.len() as u64),
            };
            let (part, rest) = buffer.split_at_mut(length as usize);
            match next.filter(|(range, _)| range.start <= offset) {
                None => self.read_file(part, offset)?,
                Some((_, Change::Zeros)) => part.fill(0),
                Some((range, Change::Bytes(bytes, from))) => {
                    let bytes =
                        bytes.get(from + (offset - range.start) as usize..).and_then(|rest| rest.get(..part.len()));
                    part.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                }
            }
            (buffer, offset) = (rest, offset + length);
        }
        Ok(())
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let changed = self.next(from).map(|(range, _)| range.start.max(from)..range.end);
        let data = self.file.next_data(from)?;
        Ok(match (data, changed) {
            (Some(data), Some(changed)) if data.start < changed.start => Some(data.start..data.end.min(changed.start)),
            (_, Some(changed)) => Some(changed),
            (data, None) => data,
        })
    }
}
