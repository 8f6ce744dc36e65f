//! Virtual Hard Disk files, after Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.
//!
//! A VHD ends in a footer that says how large the disk is and how the bytes before it are laid out: one after the other
//! (`fixed`), or in blocks at the offsets of a table (`dynamic`). A dynamic one begins with a copy of its footer
//! (`footers` chooses between the two). A file may be hostile: every claim of its headers is checked on opening, and a
//! later read is bounded by its buffer.

pub(super) mod dynamic;
mod fields;
mod fixed;
pub(super) mod footer;
mod footers;
pub(super) mod open;
#[cfg(test)]
mod tests;
