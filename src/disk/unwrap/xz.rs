//! xz.

use std::io::{self, Read};

use lzma_rust2::XzReader;

use super::input::Input;
use crate::disk::fields::{Damaged, damaged};

/// What a dictionary may take: `xz -9` makes ones of 64 MiB.
const MAX_KIB: u32 = 256 << 10;

/// Reads streams, one after the other.
pub(super) struct Xz(XzReader<Input>);

impl Xz {
    pub(super) fn new(input: Input) -> Self {
        Self(XzReader::new_mem_limit(input, true, MAX_KIB))
    }
}

impl Read for Xz {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            _ if error.get_ref().is_some_and(|inner| inner.is::<Damaged>()) => error,
            io::ErrorKind::UnexpectedEof => {
                self.0.inner().wrong("the file ends inside of an xz stream: it was cut short")
            }
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Other
            | io::ErrorKind::OutOfMemory => {
                let what = format!(
                    "it is no xz stream, or can't be unpacked ({error}): copy the file again, or cut off what follows"
                );
                self.0.inner().wrong(&what)
            }
            _ if error.raw_os_error().is_some() => error,
            _ => damaged(error.to_string()),
        })
    }
}
