//! Decompression of blocks whose length is known.

use std::io;

use zlib_rs::{Inflate, InflateFlush};

use super::fields::damaged;

/// The window of a deflate stream, in bits: the largest, which reads all.
const WINDOW_BITS: u8 = 15;

/// Fills `block` from a deflate stream, with zlib's header or without; whatever follows is not looked at. Never writes more
/// than the block, whatever the stream would unpack to.
pub(super) fn inflate(packed: &[u8], with_header: bool, block: &mut [u8]) -> io::Result<()> {
    let mut stream = Inflate::new(with_header, WINDOW_BITS);
    let outcome = stream.decompress(packed, block, InflateFlush::Finish);
    let (found, length) = (stream.total_out(), block.len());
    if found == length as u64 {
        return Ok(());
    }
    let why = outcome.err().map(|error| format!(" ({})", error.as_str())).unwrap_or_default();
    Err(damaged(format!("a compressed block has `{found}` bytes of {length}{why}: copy the file again")))
}

/// As [`inflate`], from zstd frames.
pub(super) fn unzstd(mut packed: &[u8], block: &mut [u8]) -> io::Result<()> {
    let length = block.len();
    let mut filled = 0;
    while filled < length {
        let wrong =
            |what: &str| damaged(format!("a block compressed with zstd is damaged ({what}): copy the file again"));
        let frame =
            zstd_safe::find_frame_compressed_size(packed).map_err(|code| wrong(zstd_safe::get_error_name(code)))?;
        let (Some(this), Some(rest)) = (packed.get(..frame), packed.get(frame..)) else {
            return Err(wrong("too short"));
        };
        let unpacked = zstd_safe::decompress(block.get_mut(filled..).unwrap_or_default(), this)
            .map_err(|code| wrong(zstd_safe::get_error_name(code)))?;
        if frame == 0 {
            return Err(wrong("an empty frame"));
        }
        filled += unpacked;
        packed = rest;
    }
    Ok(())
}
