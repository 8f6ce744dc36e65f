//! Kinds of answers to options.

pub(super) const ACK: u32 = 1;
pub(super) const SERVER: u32 = 2;
pub(super) const INFO: u32 = 3;
pub(super) const META_CONTEXT: u32 = 4;
pub(super) const UNSUPPORTED: u32 = (1 << 31) + 1;
pub(super) const INVALID: u32 = (1 << 31) + 3;
pub(super) const UNKNOWN: u32 = (1 << 31) + 6;
pub(super) const TOO_BIG: u32 = (1 << 31) + 9;
