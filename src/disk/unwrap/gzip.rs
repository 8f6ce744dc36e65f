//! gzip, RFC 1952.

use std::io::{self, Read};

use zlib_rs::crc32::crc32;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::input::Input;

/// The window of a deflate stream, in bits.
const WINDOW_BITS: u8 = 15;

/// A name or a comment is at most this long.
const MAX_TEXT: usize = 64 << 10;

/// Reads members, one after the other.
pub(super) struct Gzip {
    input: Input,
    stream: Inflate,
    /// The check and the length of the member so far; `None` between members.
    member: Option<(u32, u32)>,
    members: u64,
}

impl Gzip {
    pub(super) fn new(input: Input) -> Self {
        Self { input, stream: Inflate::new(false, WINDOW_BITS), member: None, members: 0 }
    }

    /// Begins a member; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        if self.input.next()?.is_empty() && self.members > 0 {
            return Ok(false);
        }
        const HEADER: &str = "a gzip header";
        let [one, two, method, flags, ..] = self.input.exactly::<10>(HEADER)?;
        if [one, two, method] != [0x1f, 0x8b, 8] || flags & 0xe0 != 0 {
            return Err(self.input.wrong(if self.members == 0 {
                "it is no gzip file"
            } else {
                "something that is no gzip member follows: cut it off"
            }));
        }
        if flags & 4 != 0 {
            for _ in 0..u16::from_le_bytes(self.input.exactly(HEADER)?) {
                self.input.exactly::<1>(HEADER)?;
            }
        }
        for flag in [8, 16] {
            let mut left = if flags & flag != 0 { MAX_TEXT } else { 0 };
            while left > 0 && self.input.exactly::<1>(HEADER)? != [0] {
                left -= 1;
                if left == 0 {
                    return Err(self.input.wrong("a name of more than 64 KiB"));
                }
            }
        }
        if flags & 2 != 0 {
            self.input.exactly::<2>(HEADER)?;
        }
        self.stream.reset(false);
        self.member = Some((0, 0));
        self.members += 1;
        Ok(true)
    }

    fn end(&mut self, check: u32, length: u32) -> io::Result<()> {
        let [stated_check, stated_length] =
            [self.input.exactly("a gzip trailer")?, self.input.exactly("a gzip trailer")?].map(u32::from_le_bytes);
        if (stated_check, stated_length) != (check, length) {
            return Err(self.input.wrong("the check or the length of the content is wrong: copy the file again"));
        }
        self.member = None;
        Ok(())
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.member.is_none() && !self.begin()? {
                return Ok(0);
            }
            let (check, length) = self.member.unwrap_or_default();
            let (taken, given) = (self.stream.total_in(), self.stream.total_out());
            let packed = self.input.next()?;
            let is_end = packed.is_empty();
            let outcome = self.stream.decompress(packed, buffer, InflateFlush::NoFlush);
            let (taken, given) =
                ((self.stream.total_in() - taken) as usize, (self.stream.total_out() - given) as usize);
            self.input.pass(taken);
            let status = outcome.map_err(|error| self.input.wrong(error.as_str()))?;
            let (check, length) =
                (crc32(check, buffer.get(..given).unwrap_or_default()), length.wrapping_add(given as u32));
            self.member = Some((check, length));
            if status == Status::StreamEnd {
                self.end(check, length)?;
            } else if given == 0 && taken == 0 {
                return Err(self.input.wrong(match is_end {
                    true => "the file ends inside of a gzip member: it was cut short",
                    false => "the content can't be unpacked",
                }));
            }
            if given > 0 {
                return Ok(given);
            }
        }
    }
}
