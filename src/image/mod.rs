//! Content: disk formats in, chunks and packs, the index, disks out.
//!
//! A disk is cut into chunks of 64 KiB (`chunk`); new ones are compressed (`compression`) and appended to packs (`pack`); an
//! index tree (`index`) says, in disk order, which chunk lies where; a manifest (`manifest`) ties the disks of a version to
//! their indexes and to the packs that they need. `import` goes from a disk to those, `export` and `random_access` back.
//!
//! A slot (`slot`) holds packs whole or in parts (`part`); `reach` tells what of each pack (`extents`) versions need. Several
//! slots that have the same are one replica in several zones (`copies`) or several replicas (`replicas`), which stand in for
//! each other; `mending` brings a slot what it has lost.
//!
//! The bytes are laid down in `docs/format.md`.

mod blob_name;
mod cargo;
pub(crate) mod chunk;
mod compression;
mod copies;
mod digest;
mod disk;
pub(crate) mod export;
pub(crate) mod extents;
mod file_disk;
pub(crate) mod import;
pub(crate) mod index;
mod index_walk;
mod known;
mod lookalike;
pub(crate) mod manifest;
pub(crate) mod mending;
mod note;
pub(crate) mod pack;
pub(crate) mod part;
mod partial_file;
pub(crate) mod random_access;
pub(crate) mod reach;
pub(crate) mod replicas;
mod scan;
mod slot;
mod source;
mod spare;
pub(crate) mod vhd;

pub use compression::Compression;
pub use digest::{Digest, ImageDigest};
pub use note::DiskNote;
pub use source::{DiskFormat, DiskSource, VhdFooter};

pub(crate) use blob_name::{BlobName, Lives, ManifestId, SlotId};
pub(crate) use cargo::{Cargo, Request};
pub(crate) use copies::{Copies, answers_of_most};
pub(crate) use pack::UploadId;
pub(crate) use scan::Scan;
pub(crate) use slot::{Holding, Slot};
pub(crate) use source::OpenSource;

/// Reads bytes as an index node, as a manifest and as a pack, for the fuzzer.
#[cfg(feature = "testkit")]
pub(crate) fn fuzz_index(data: &[u8]) {
    if let Ok(node) = index::Node::parse(data) {
        assert_eq!(node.encode(), data, "a node has one form");
    }
    let _ = manifest::Manifest::parse(data);
    let id = pack::PackId { upload: UploadId::from_bytes([0; 16]), number: 0 };
    // The table's hash is not what stands between a fuzzer and the parser behind it.
    let table = pack::table_of(data).unwrap_or_default();
    let info =
        pack::PackInfo { id, length: data.len() as u64, records: (table.len() / 36) as u32, table: Digest::of(table) };
    let _ = info.verify(data);
}
