//! The content parsers' entry points for a fuzzer.

use bytes::Bytes;

use super::boot_set;
use super::cipher::DataKey;
use super::codec::Unpacker;
use super::digest::Digest;
use super::head::{Described, Head, head_bytes, sealed};
use super::index::Node;
use super::manifest::parse;
use super::names::{CatalogId, ManifestId, PackId, UploadId};

const CATALOG: CatalogId = CatalogId(UploadId::from_bytes([5; 16]));
const PACK: PackId = PackId { upload: UploadId::from_bytes([7; 16]), number: 3 };

/// The most records of a blob that is read.
const RECORDS: u32 = 64;

/// Reads `data` as the front of a merged blob.
pub(crate) fn merged(data: &[u8]) {
    super::merged::fuzz(data);
}

/// Reads `data` as a boot set.
pub(crate) fn boot_set(data: &[u8]) {
    boot_set::fuzz(CATALOG, &boot_manifest(), data);
}

fn boot_manifest() -> ManifestId {
    ManifestId { upload: PACK.upload, digest: Digest::of(b"manifest") }
}

/// Reads `data` as an index node, as a root and a page of a manifest, and as a pack.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(node) = Node::parse(data) {
        assert_eq!(node.encode(), data, "a node has one form");
    }
    let _ = (parse(CATALOG, true, data), parse(CATALOG, false, data));
    // Neither a hash nor a seal is what stands between a fuzzer and the parsers behind it.
    let count = data.get(56..60).and_then(|count| count.first_chunk());
    let records = count.map_or(0, |count| u32::from_le_bytes(*count)).min(RECORDS);
    let blob = Bytes::from(sealed(data.to_vec(), head_bytes(records) as usize));
    let of = Described { catalog: CATALOG, pack: PACK };
    let head = match Head::parse(of, records, &blob) {
        Ok(head) => head,
        Err(_) => Head::salvage(of, records, &blob),
    };
    let _ = (head.fault_in(&blob), head.records_in(&blob));
    // Also where nothing has authenticated what is decrypted.
    let key = head.key().map(|number| DataKey::new(number, &[7; 32]));
    if let Ok(cipher) = head.cipher(key.as_ref()) {
        let stored = head.lines().iter().filter_map(|line| Some((*line, line.stored_in(&blob)?)));
        let _ = head.decrypted(stored.collect(), cipher.as_ref());
    }
    let mut unpacker = Unpacker::default();
    for line in head.lines() {
        let stored = line.stored_in(&blob).unwrap_or_default();
        let _ = unpacker.decode(&stored, line.encoding).map(Digest::of);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::content::chunk::{CHUNK_BYTES, occupied_blocks};
    use crate::content::codec::encode;
    use crate::content::compression::{Compression, Compressor};
    use crate::content::manifest::{Manifest, ManifestDisk};
    use crate::content::naming::Naming;
    use crate::content::pack::{FinishedPack, PackBuilder, PackInfo};
    use crate::content::part::Part;
    use crate::content::recode::{Recoding, recode};
    use crate::content::record::{Encoding, RecordRef};

    fn pack(records: &[(Encoding, &[u8])]) -> FinishedPack {
        let mut builder = PackBuilder::new(Described { catalog: CATALOG, pack: PACK }, None);
        for (encoding, record) in records {
            builder.append(Digest::of(record), *encoding, record, &Digest::of(record));
        }
        builder.finish()
    }

    fn blob(pack: &FinishedPack) -> Vec<u8> {
        [&pack.head[..], &pack.records[..]].concat()
    }

    /// Writes the seeds of the corpus anew, after a change of the format.
    #[test]
    #[ignore = "writes into the tree"]
    fn the_corpus_is_written() {
        let record = |ordinal| RecordRef { digest: Digest::of(b"x"), pack: PACK, ordinal };
        let node = Node { level: 1, children: vec![(0, record(3)), (9, record(4))] };
        let disk =
            |lun| ManifestDisk { lun, size: 1 << 30, digest: Digest::of(b"disk"), root: Some(Arc::new(node.clone())) };
        let line = |number| {
            let id = PackId { number, ..PACK };
            let needed = [0..number % 7, 20..21, 22..23, 24..25].into_iter().collect();
            (
                PackInfo {
                    id,
                    length: 1 << 20,
                    records: if number % 2 == 0 { 30 } else { 3000 },
                    content: Digest::of(b"all"),
                },
                needed,
            )
        };
        let few = Manifest::new(
            CATALOG,
            PACK.upload,
            vec![disk(None), disk(Some(3))],
            (0..3).map(line).collect(),
            &BTreeMap::new(),
        );
        let many =
            Manifest::new(CATALOG, PACK.upload, vec![disk(None)], (0..300).map(line).collect(), &BTreeMap::new());
        let (mut chunk, mut frame) = (vec![0; CHUNK_BYTES], Vec::new());
        chunk[..9000].fill(7);
        encode(&chunk, occupied_blocks(&chunk), &mut Compressor::new(Compression::Zstd), &mut frame);
        let zstd = blob(&pack(&[(Encoding::Zstd, &frame), (Encoding::Plain, b"node")]));
        let plain = pack(&[
            (Encoding::Plain, &chunk),
            (Encoding::Plain, &chunk.iter().map(|byte| byte * 2).collect::<Vec<_>>()),
        ]);
        let head = plain.info.head(CATALOG, &plain.head).unwrap();
        let grouped = recode(head.records_in(&blob(&plain).into()), Recoding::Rested, Naming::Plain).unwrap();
        let group = Part::build(CATALOG, &plain.info, grouped).unwrap().1.to_vec();
        let boots = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/content_boot_set");
        std::fs::create_dir_all(&boots).unwrap();
        let encoded = |chunks: Vec<u32>| {
            let set = boot_set::BootSet::of(chunks).encode(CATALOG, &boot_manifest());
            set[..set.len() - 32].to_vec()
        };
        let run = |at: usize, to: &[u8]| {
            let mut set = encoded(vec![0, 1, 2, 70_000, 9]);
            set[at..at + to.len()].copy_from_slice(to);
            set
        };
        for (name, bytes) in [
            ("valid", encoded(vec![0, 1, 2, 70_000, 9, 10, 3, u32::MAX - 1])),
            ("none", encoded(Vec::new())),
            ("twice", run(80, &[0; 4])),
            ("huge-run", run(76, &[0xff; 4])),
            ("huge-count", run(64, &[0xff; 4])),
            ("newer-flag", run(12, &[1])),
        ] {
            super::boot_set(&bytes);
            std::fs::write(boots.join(name), bytes).unwrap();
        }
        let twice = [&frame[..], &frame[..]].concat();
        let huge = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1_u64 << 62).to_le_bytes(), &frame[9..]].concat();
        let changed = |bytes: &[u8], at: usize, to: &[u8]| {
            let mut changed = bytes.to_vec();
            changed[at..at + to.len()].copy_from_slice(to);
            changed
        };
        let bytes = node.encode();
        // With the feature `encryption`.
        let (key, records) = (DataKey::new(2, &[7; 32]), head.records_in(&blob(&plain).into()));
        let encrypted = Part::build_with(CATALOG, &plain.info, records, Some(&key)).unwrap().1.to_vec();
        let seeds: Vec<(&str, Vec<u8>)> = vec![
            ("pack-encrypted", encrypted.clone()),
            ("pack-encrypted-with-the-key-of-another", changed(&encrypted, 48, &[3])),
            ("pack-encrypted-with-a-short-record", changed(&encrypted, 180 + 68, &[3, 0, 0, 0])),
            ("pack-salted-without-a-key", changed(&encrypted, 48, &[0; 4])),
            ("node", bytes.clone()),
            ("node-too-many-children", changed(&bytes, 12, &[0xff; 8])),
            ("node-pack-out-of-range", changed(&bytes, 60 + 32, &[9, 0])),
            ("node-ordinal-out-of-range", changed(&bytes, 60 + 34, &[0xff, 0xff])),
            ("manifest", few.root().to_vec()),
            ("manifest-with-pages", many.root().to_vec()),
            ("manifest-page", many.pages()[0].1.to_vec()),
            ("manifest-huge-count", changed(&many.pages()[0].1, 34, &[0xff; 4])),
            (
                "pack-sparse",
                blob(&pack(&[(Encoding::Sparse { occupied: 0b101 }, &[1; 8192]), (Encoding::Plain, &[2; 4096])])),
            ),
            ("pack-zstd", zstd.clone()),
            ("pack-zstd-cut", zstd[..zstd.len() - 9].to_vec()),
            ("pack-zstd-two-chunks", blob(&pack(&[(Encoding::Zstd, &twice)]))),
            ("pack-zstd-huge-size", blob(&pack(&[(Encoding::Zstd, &huge)]))),
            ("part-group", group.clone()),
            ("part-group-cut", group[..group.len() - 9].to_vec()),
            // The second line's place is the first one's, and beyond the group.
            ("part-group-one-place", changed(&group, 180 + 80 + 78, &[0])),
            ("part-group-place-out-of-range", changed(&group, 180 + 80 + 78, &[7])),
            ("part-group-of-nine", changed(&group, 180 + 79, &[9])),
            ("pack-huge-count", changed(&zstd, 56, &[0xff; 4])),
            ("pack-places-overlap", changed(&zstd, 180 + 80 + 64, &[0; 4])),
            ("pack-unknown-encoding", changed(&zstd, 180 + 76, &[9])),
        ];
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/content_index");
        for old in std::fs::read_dir(&folder).unwrap() {
            std::fs::remove_file(old.unwrap().path()).unwrap();
        }
        for (name, bytes) in seeds {
            fuzz(&bytes);
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
