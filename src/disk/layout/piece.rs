//! Pieces: what a format writes around a disk's bytes.

/// A part of the file that is not the disk's: its offset and its bytes.
pub(crate) type Piece = (u64, Vec<u8>);

/// Writes a field of a piece.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes.iter_mut().skip(at).zip(value).for_each(|(to, from)| *to = *from);
}
