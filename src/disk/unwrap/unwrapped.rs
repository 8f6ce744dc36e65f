//! A file without its wrappings, as a disk's file.

use std::io::{self, Read};
use std::path::Path;

use super::gzip::Gzip;
use super::input::Input;
use super::tar::Tar;
use super::wrapping::Wrapping;
#[cfg(feature = "xz")]
use super::xz::Xz;
use super::zstd::Zstd;
use crate::disk::fields::damaged;
use crate::disk::read_at::SharedDisk;
use crate::disk::spool::{BLOCK, Spool};

/// Unwraps a file, the outermost wrapping first, into a file without a name in `folder`. Never writes more than `most` bytes.
pub(in crate::disk) fn unwrapped(
    file: SharedDisk,
    wrappings: &[Wrapping],
    folder: &Path,
    most: u64,
) -> io::Result<SharedDisk> {
    let mut reader = unwrapping(file, wrappings);
    let mut spool = Spool::create(folder)?;
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        block.clear();
        (&mut reader).take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return spool.finish();
        }
        if spool.written() + block.len() as u64 > most {
            let what = format!(
                "it unwraps to more than `{most}` bytes: if it is no bomb, raise `DiskSource::with_unwrapped_limit`"
            );
            return Err(damaged(what));
        }
        spool.append(&block)?;
    }
}

/// Reads a file without its wrappings, the outermost first.
pub(in crate::disk) fn unwrapping(file: SharedDisk, wrappings: &[Wrapping]) -> Box<dyn Read + Send> {
    let mut reader: Box<dyn Read + Send> = Box::new(FromStart { file, at: 0 });
    for wrapping in wrappings {
        let input = Input::new(reader);
        reader = match wrapping {
            Wrapping::Gzip => Box::new(Gzip::new(input)),
            Wrapping::Zstd => Box::new(Zstd::new(input)),
            #[cfg(feature = "xz")]
            Wrapping::Xz => Box::new(Xz::new(input)),
            Wrapping::Tar => Box::new(Tar::new(input)),
        };
    }
    reader
}

/// Reads a disk's file from its start to its end.
struct FromStart {
    file: SharedDisk,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.size().saturating_sub(self.at);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        self.file.read_exact_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
