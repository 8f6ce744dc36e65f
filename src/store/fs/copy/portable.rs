//! Where nothing is quicker than reading and writing, and holes can't be seen.

use std::fs::File;
use std::io;
use std::ops::Range;

pub(super) fn share_blocks(_from: &File, _to: &File) -> bool {
    false
}

pub(super) fn next_data(_file: &File, within: Range<u64>) -> io::Result<Option<Range<u64>>> {
    Ok(Some(within).filter(|within| !within.is_empty()))
}

pub(super) fn copy_range(_from: &File, _to: &File, range: Range<u64>) -> io::Result<u64> {
    Ok(range.start)
}
