//! Commands of requests, and their flags.

pub(super) const READ: u16 = 0;
pub(super) const WRITE: u16 = 1;
pub(super) const DISCONNECT: u16 = 2;
pub(super) const FLUSH: u16 = 3;
pub(super) const TRIM: u16 = 4;
pub(super) const CACHE: u16 = 5;
pub(super) const WRITE_ZEROES: u16 = 6;
pub(super) const BLOCK_STATUS: u16 = 7;
/// Flags: one piece of data only; one extent only.
pub(super) const DONT_FRAGMENT: u16 = 1 << 2;
pub(super) const ONE_EXTENT: u16 = 1 << 3;
