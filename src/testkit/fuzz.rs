//! The parsers of bytes that may be hostile, each as one function of any bytes: for the targets in `fuzz/`, and for the
//! test that replays their corpus. They must return, whatever they are given; a panic is a bug.

use crate::model::ResourceId;

/// A VHD file, opened and read from.
pub fn vhd(data: &[u8]) {
    crate::disk::fuzz::vhd(data);
}

/// A qcow2 file, opened and read from.
pub fn qcow2(data: &[u8]) {
    crate::disk::fuzz::qcow2(data);
}

/// The parts of a VHDX file, put in their places, opened and read from.
pub fn vhdx(data: &[u8]) {
    crate::disk::fuzz::vhdx(data);
}

/// A VMDK file, opened and read from.
pub fn vmdk(data: &[u8]) {
    crate::disk::fuzz::vmdk(data);
}

/// A resource id; what parses must be written as it was read, but for the case of its literals.
pub fn resource_id(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(id) = text.parse::<ResourceId>()
    {
        assert!(id.to_string().eq_ignore_ascii_case(text), "`{text}` was read as `{id}`");
    }
}

/// A catalog entry, and a checkpoint.
pub fn catalog_entry(data: &[u8]) {
    crate::catalog::fuzz(data);
}

/// The rows of a segment; what is read must be written and read again as it was.
pub fn catalog_segment(data: &[u8]) {
    crate::catalog::fuzz_rows(data);
}

/// An index node, a manifest, and the table of a pack.
pub fn content_index(data: &[u8]) {
    crate::content::fuzz::fuzz(data);
}
