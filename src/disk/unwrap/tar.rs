//! A tar archive of one file: ustar, with the sizes and names of GNU and pax.

use std::io::{self, Read};

use super::input::Input;
use crate::disk::fields::field;

const BLOCK: u64 = 512;

/// A pax header, or a long name.
const MAX_HEADER: u64 = 1 << 20;

/// Reads the one file.
pub(super) struct Tar {
    input: Input,
    /// What is left of the file; `None` before it.
    left: Option<u64>,
    /// After its last byte.
    padding: u64,
    is_done: bool,
}

impl Tar {
    pub(super) fn new(input: Input) -> Self {
        Self { input, left: None, padding: 0, is_done: false }
    }

    /// Finds the next file, and returns its length; `None` at the end of the archive.
    fn next_file(&mut self) -> io::Result<Option<u64>> {
        let mut stated_size = None;
        loop {
            let header: [u8; BLOCK as usize] = self.input.exactly("a tar header")?;
            if header.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let stated = number(&field::<8>(&header, 148)).ok_or_else(|| self.input.wrong("no tar header"))?;
            let sum = header.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            let of_sum = field::<8>(&header, 148).iter().map(|byte| u64::from(*byte)).sum::<u64>();
            if sum - of_sum + 8 * u64::from(b' ') != stated {
                return Err(self.input.wrong("no tar header, or its checksum is wrong"));
            }
            let size =
                number(&field::<12>(&header, 124)).ok_or_else(|| self.input.wrong("a size that is no number"))?;
            match field::<1>(&header, 156) {
                [b'0' | b'7' | 0] => return Ok(Some(stated_size.unwrap_or(size))),
                [b'x'] => {
                    let records = self.short(size)?;
                    stated_size = pax_size(&records).map_err(|what| self.input.wrong(what))?.or(stated_size);
                }
                // A long name, and what is said of all files.
                [b'L' | b'K' | b'g'] => drop(self.short(size)?),
                [b'5'] => self.skip(size)?,
                [kind] => {
                    let what = format!(
                        "an entry of the kind `{}`, and not a plain file: unpack the archive, and publish the file",
                        char::from(kind).escape_default()
                    );
                    return Err(self.input.wrong(&what));
                }
            }
        }
    }

    /// The content of a short entry.
    fn short(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_HEADER {
            return Err(self.input.wrong(&format!("a header of `{size}` bytes, above {MAX_HEADER}")));
        }
        let mut bytes = Vec::new();
        (&mut self.input).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(self.input.wrong("the file ends inside of a header: it was cut short"));
        }
        self.skip(size.next_multiple_of(BLOCK) - size)?;
        Ok(bytes)
    }

    fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            let here = self.input.next()?.len() as u64;
            if here == 0 {
                return Err(self.input.wrong("the file ends inside of an entry: it was cut short"));
            }
            self.input.pass(here.min(bytes) as usize);
            bytes -= here.min(bytes);
        }
        Ok(())
    }

    /// After the file: nothing but folders, and zeros.
    fn finish(&mut self) -> io::Result<()> {
        self.skip(self.padding)?;
        if self.next_file()?.is_some() {
            let what = "a second file: unpack the archive, and publish the one that is the disk";
            return Err(self.input.wrong(what));
        }
        loop {
            let rest = self.input.next()?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Err(self.input.wrong("something follows the end of the archive: cut it off"));
            }
            let rest = rest.len();
            self.input.pass(rest);
        }
    }
}

impl Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_done || buffer.is_empty() {
            return Ok(0);
        }
        let left = match self.left {
            Some(left) => left,
            None => {
                let size = self.next_file()?.ok_or_else(|| self.input.wrong("the archive has no file"))?;
                self.padding = size.checked_next_multiple_of(BLOCK).unwrap_or(size) - size;
                size
            }
        };
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = match most {
            0 => 0,
            most => self.input.read(buffer.get_mut(..most).unwrap_or_default())?,
        };
        if read == 0 && left > 0 {
            return Err(self
                .input
                .wrong(&format!("the archive ends `{left}` bytes before its file: it was cut short")));
        }
        self.left = Some(left - read as u64);
        if read == 0 {
            self.finish()?;
            self.is_done = true;
        }
        Ok(read)
    }
}

/// A number in octal digits, or, with the highest bit, in bytes.
fn number(bytes: &[u8]) -> Option<u64> {
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        let (high, low) = bytes.split_at(bytes.len() - 8);
        let is_small = high.iter().enumerate().all(|(at, byte)| *byte == if at == 0 { 0x80 } else { 0 });
        return low.first_chunk().filter(|_| is_small && !high.is_empty()).map(|low| u64::from_be_bytes(*low));
    }
    let text = std::str::from_utf8(bytes).ok()?.trim_matches([' ', '\0']);
    u64::from_str_radix(text, 8).ok()
}

/// The size in a pax header, if it has one.
fn pax_size(mut records: &[u8]) -> Result<Option<u64>, &'static str> {
    const WRONG: &str = "a pax header whose records don't add up";
    let mut size = None;
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ').ok_or(WRONG)?;
        let digits = records.get(..space).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(WRONG)?;
        let length: usize = digits.parse().map_err(|_not_told| WRONG)?;
        let record = records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or(WRONG)?;
        if record.starts_with(b"GNU.sparse") {
            return Err("a sparse file of GNU tar: unpack the archive, and publish the file");
        }
        if let Some(text) = record.strip_prefix(b"size=") {
            let text = std::str::from_utf8(text).map_err(|_not_told| WRONG)?;
            size = Some(text.parse().map_err(|_not_told| WRONG)?);
        }
        records = records.get(length..).ok_or(WRONG)?;
    }
    Ok(size)
}
