//! zstd, RFC 8878.

use std::io::{self, Read};

use zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::input::Input;

/// Reads frames, one after the other. Windows of more than 128 MiB are refused by the library.
pub(super) struct Zstd {
    input: Input,
    context: DCtx<'static>,
    /// Between frames, or before the first.
    is_between: bool,
    frames: u64,
}

impl Zstd {
    pub(super) fn new(input: Input) -> Self {
        Self { input, context: DCtx::create(), is_between: true, frames: 0 }
    }
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let packed = self.input.next()?;
            let is_end = packed.is_empty();
            if is_end && self.is_between && self.frames > 0 {
                return Ok(0);
            }
            let mut source = InBuffer::around(packed);
            let mut target = OutBuffer::around(&mut *buffer);
            let outcome = self.context.decompress_stream(&mut target, &mut source);
            let (taken, given) = (source.pos(), target.pos());
            self.input.pass(taken);
            let hint = outcome.map_err(|code| {
                let name = zstd_safe::get_error_name(code);
                self.input.wrong(&match self.is_between && self.frames > 0 {
                    true => format!("something that is no zstd frame follows ({name}): cut it off"),
                    false => format!("the zstd frame can't be unpacked ({name}): copy the file again"),
                })
            })?;
            self.is_between = hint == 0;
            self.frames += u64::from(hint == 0);
            if given > 0 {
                return Ok(given);
            }
            if is_end && !self.is_between {
                return Err(self.input.wrong("the file ends inside of a zstd frame: it was cut short"));
            }
        }
    }
}
