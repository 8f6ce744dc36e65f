//! QEMU's qcow2 files, versions 2 and 3, after `docs/interop/qcow2.rst` of QEMU.
//!
//! A table of two levels says for each cluster of the disk where it lies in the file, or that it is zero. A file may be
//! hostile: every claim of its header is checked on opening, entries of tables when they are met, and a read is bounded by its
//! buffer and a cluster. Nothing that a file names is ever opened.

mod header;
mod map;
pub(super) mod open;
