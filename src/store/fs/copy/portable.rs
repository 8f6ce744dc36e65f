//! Systems without copies inside the kernel.

use std::fs::File;
use std::io;
use std::ops::Range;

pub(super) fn share_blocks(_from: &File, _to: &File) -> bool {
    false
}

pub(super) fn copy_range(_from: &File, _to: &File, range: Range<u64>) -> io::Result<u64> {
    Ok(range.start)
}
