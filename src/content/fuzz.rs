//! The content parsers' entry points for a fuzzer.

use bytes::Bytes;

use super::codec::Unpacker;
use super::digest::Digest;
use super::head::{Described, Head};
use super::index::Node;
use super::manifest::parse;
use super::names::{CatalogId, PackId, UploadId};

/// Reads `data` as an index node, as a root and a page of a manifest, and as a pack.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(node) = Node::parse(data) {
        assert_eq!(node.encode(), data, "a node has one form");
    }
    let catalog = CatalogId(UploadId::from_bytes([5; 16]));
    let _ = (parse(catalog, true, data), parse(catalog, false, data));
    // Neither a hash nor a seal is what stands between a fuzzer and the parsers behind it.
    let mut blob = data.to_vec();
    let mut hasher = blake3::Hasher::new();
    let records =
        blob.get(56..60).and_then(|count| count.first_chunk()).map_or(0, |count| u32::from_le_bytes(*count)).min(64);
    let head = 148 + 80 * records as usize;
    if let (Some(start), Some(lines)) = (data.get(..96), data.get(128..head)) {
        hasher.update(start).update(lines);
        blob.iter_mut().skip(96).zip(hasher.finalize().as_bytes()).for_each(|(place, byte)| *place = *byte);
    }
    let pack = PackId { upload: UploadId::from_bytes([7; 16]), number: 3 };
    if let Ok(head) = Head::parse(Described { catalog, pack }, records, &blob) {
        let blob = Bytes::from(blob);
        let _ = head.fault_in(&blob);
        for line in head.lines() {
            let stored = blob.get(line.range().start as usize..line.range().end as usize).unwrap_or_default();
            let _ = Unpacker::default().decode(stored, line.encoding).map(Digest::of);
        }
    }
}
