//! VMware's VMDK files, after "Virtual Disk Format 5.0": one sparse file with its descriptor in it (`monolithicSparse`,
//! `streamOptimized`), or a descriptor with one flat file beside it.
//!
//! A file may be hostile: every claim of its header is checked on opening, entries of tables when they are met, and a read is
//! bounded by its buffer and a grain. The one other file that is opened is the flat one, under the name that the descriptor's
//! own name gives it.

mod descriptor;
mod header;
mod map;
pub(super) mod open;
