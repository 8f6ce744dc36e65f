//! Fixed VHDs: the raw disk, then the footer.

use std::io;
use std::ops::Range;

use super::footer::{FOOTER_BYTES, Footer};
use crate::disk::fields::check_read;
use crate::disk::read_at::{ReadAt, SharedDisk};
use crate::error::{Error, Result};

/// All bytes of a file but the footer.
pub(super) struct FixedVhd {
    file: SharedDisk,
    size: u64,
}

impl FixedVhd {
    pub(super) fn open(file: SharedDisk, footer: &Footer, target: &str) -> Result<Self> {
        let (has, size) = (file.size(), footer.current_size);
        let needs = size.saturating_add(FOOTER_BYTES);
        if has == needs {
            return Ok(Self { file, size });
        }
        let fault = if has < needs { "is truncated" } else { "is too long" };
        Err(Error::corrupt(
            target,
            format!(
                "the file {fault}: it has `{has}` bytes, but the footer says `{needs}`, {size} of the disk and \
                 {FOOTER_BYTES} of its own; copy the VHD again"
            ),
        ))
    }
}

impl ReadAt for FixedVhd {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check_read(self.size, offset, buffer.len())?;
        self.file.read_exact_at(buffer, offset)
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        let range = self.file.next_data(from)?;
        Ok(range.map(|range| range.start..range.end.min(self.size)).filter(|range| !range.is_empty()))
    }
}
