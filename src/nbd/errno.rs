//! Errors of requests, as numbers of Linux.

pub(super) const PERMISSION: u32 = 1;
pub(super) const IO: u32 = 5;
pub(super) const INVALID: u32 = 22;
pub(super) const OVERFLOW: u32 = 75;
