//! Bytes of a wrapped file, one after the other, with their offset.

use std::io::{self, BufRead, BufReader, Read};

use crate::disk::fields::damaged;

const BUFFER: usize = 256 << 10;

/// A buffered reader that counts what was taken.
pub(super) struct Input {
    reader: BufReader<Box<dyn Read + Send>>,
    offset: u64,
}

impl Input {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), offset: 0 }
    }

    /// Returns the bytes that come next; none at the end.
    pub(super) fn next(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    pub(super) fn pass(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.offset += bytes as u64;
    }

    /// Takes exactly so many bytes.
    pub(super) fn exactly<const N: usize>(&mut self, what: &str) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 => return Err(self.wrong(&format!("the file ends inside of {what}: it was cut short"))),
                read => filled += read,
            }
        }
        Ok(bytes)
    }

    /// Returns the error of bytes that are wrong where the input is.
    pub(super) fn wrong(&self, what: &str) -> io::Error {
        damaged(format!("at byte `{}` of the wrapped file: {what}", self.offset))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}
