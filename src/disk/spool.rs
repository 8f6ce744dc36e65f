//! Files without a name, for disks that come as a stream: a digest begins with a disk's size, and formats are read back and forth.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::file::read_exact_at;
use super::read_at::{ReadAt, SharedDisk};

/// What is written at a time; a hole is at least so long.
pub(super) const BLOCK: usize = 1 << 20;

/// A file that is written from its start to its end, with holes where it is zero.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    size: u64,
    /// Ascending; no two touch.
    data: Vec<Range<u64>>,
}

impl Spool {
    /// Creates a file in `folder` that is gone with the process, or earlier.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".compute-gallery-{}-{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    std::fs::remove_file(&path)?;
                    return Ok(Self { file, size: 0, data: Vec::new() });
                }
                // Of a process that had the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn written(&self) -> u64 {
        self.size
    }

    pub(super) fn append(&mut self, block: &[u8]) -> io::Result<()> {
        let start = self.size;
        self.size += block.len() as u64;
        let (words, rest) = block.as_chunks::<16>();
        if words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.file.seek(SeekFrom::Start(start))?;
        self.file.write_all(block)?;
        match self.data.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = self.size,
            None => self.data.push(start..self.size),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<SharedDisk> {
        self.file.set_len(self.size)?;
        Ok(Arc::new(self))
    }
}

impl ReadAt for Spool {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.file, buffer, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let at = self.data.partition_point(|range| range.end <= from);
        Ok(self.data.get(at).map(|range| range.start.max(from)..range.end))
    }
}
