//! Boot sets: which chunks of a disk a boot reads, in the order in which it reads them.
//!
//! A boot set is advice. It names positions on a disk and holds no content; what is read by it is verified as anything else is. One
//! that is lost or damaged costs a slow boot.

use std::collections::HashSet;
use std::ops::Range;

use super::chunk::CHUNK_BYTES;
use super::digest::Digest;
use super::names::{CatalogId, ManifestId};
use crate::error::{Error, ErrorKind, Result};
use crate::store::BlobKey;

/// The folder of a slot that has them.
pub(crate) const FOLDER: &str = "boots";

/// Returns the key of the boot set of a manifest, within a slot.
pub(crate) fn key_of(manifest: &ManifestId) -> Result<BlobKey> {
    format!("{FOLDER}/{}/{}", manifest.upload, manifest.digest).parse()
}

/// Returns the manifest whose boot set has that key.
pub(crate) fn manifest_of(key: &BlobKey) -> Option<ManifestId> {
    let segments: Vec<&str> = key.segments().collect();
    let [FOLDER, upload, digest] = segments.as_slice() else { return None };
    let id = ManifestId { upload: upload.parse().ok()?, digest: digest.parse().ok()? };
    // One name has one form.
    (key_of(&id).ok()? == *key).then_some(id)
}

/// The most chunks of a boot set: 256 MiB of disk.
pub(crate) const MAX_CHUNKS: usize = (256 << 20) / CHUNK_BYTES;

const MAGIC: [u8; 8] = *b"cgboot01";
const VERSION: u16 = 1;

/// magic 8 | header length u16 | version u16 | flags u32 | catalog 16 | hash of the manifest 32 | runs u32 | 0 u32.
const HEADER_BYTES: usize = 72;

/// First chunk u32 | chunks u32.
const RUN_BYTES: usize = 8;

/// The hash of all before it.
const HASH_BYTES: usize = 32;

/// The longest boot set in bytes: each chunk is a run.
pub(crate) const MAX_BYTES: u64 = (HEADER_BYTES + MAX_CHUNKS * RUN_BYTES + HASH_BYTES) as u64;

/// Chunks of the OS disk of a manifest, by their numbers, in the order in which a boot read them. INVARIANT: each once, at most
/// [`MAX_CHUNKS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BootSet {
    order: Vec<u32>,
    /// The same.
    chunks: HashSet<u32>,
}

impl BootSet {
    /// Returns the set of the first chunks of `order`.
    pub(crate) fn of(order: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::default();
        for chunk in order {
            if set.order.len() == MAX_CHUNKS {
                break;
            }
            if set.chunks.insert(chunk) {
                set.order.push(chunk);
            }
        }
        set
    }

    pub(crate) fn chunks(&self) -> &[u32] {
        &self.order
    }

    pub(crate) fn has(&self, chunk: u32) -> bool {
        self.chunks.contains(&chunk)
    }

    /// Returns its stored form, for the disk of a manifest.
    pub(crate) fn encode(&self, catalog: CatalogId, manifest: &ManifestId) -> Vec<u8> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for chunk in &self.order {
            match runs.last_mut() {
                Some((first, count)) if first.checked_add(*count) == Some(*chunk) => *count += 1,
                _ => runs.push((*chunk, 1)),
            }
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + runs.len() * RUN_BYTES + HASH_BYTES);
        bytes.extend(MAGIC);
        bytes.extend((HEADER_BYTES as u16).to_le_bytes());
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(catalog.0.as_bytes());
        bytes.extend(manifest.digest.as_bytes());
        bytes.extend((runs.len() as u32).to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        for (first, count) in runs {
            bytes.extend(first.to_le_bytes());
            bytes.extend(count.to_le_bytes());
        }
        bytes.extend(Digest::of(&bytes).as_bytes());
        bytes
    }

    /// Parses the boot set of a manifest.
    ///
    /// # Errors
    ///
    /// `Unsupported` if a newer build has written it, and `Corrupt`.
    pub(crate) fn parse(catalog: CatalogId, manifest: &ManifestId, bytes: &[u8]) -> Result<Self> {
        let wrong = |what: &str| Error::corrupt("boot set", what);
        if bytes.len() as u64 > MAX_BYTES {
            return Err(wrong("it is longer than any"));
        }
        let (all, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or_else(|| wrong("it is too short"))?;
        if !all.starts_with(&MAGIC) || Digest::of(all).as_bytes() != hash {
            return Err(wrong("it is no boot set, or its hash is wrong"));
        }
        let (header, runs) = all.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| wrong("it is too short"))?;
        let expected = Self::default().encode(catalog, manifest);
        let is_as_expected = |range: Range<usize>| header.get(range.clone()) == expected.get(range);
        if !is_as_expected(8..16) || !is_as_expected(68..72) {
            let what = "another header length, version or flag: a newer build has written it";
            return Err(Error::of(ErrorKind::Unsupported, "UnsupportedFormat", "boot set", what));
        }
        let (runs, rest) = runs.as_chunks::<RUN_BYTES>();
        let count = header.get(64..68).and_then(<[u8]>::first_chunk).copied().map(u32::from_le_bytes);
        if !is_as_expected(16..64) || !rest.is_empty() || count != Some(runs.len() as u32) {
            return Err(wrong("it is another disk's, or of another length than it says"));
        }
        let u32_at = |run: &[u8], at: usize| {
            run.get(at..).and_then(<[u8]>::first_chunk).copied().map(u32::from_le_bytes).unwrap_or_default()
        };
        let mut set = Self::default();
        for run in runs {
            let (first, count) = (u32_at(run, 0), u32_at(run, 4));
            let end = first.checked_add(count).filter(|_| count > 0 && count as usize <= MAX_CHUNKS - set.order.len());
            let end = end.ok_or_else(|| wrong("a run is empty, or there are too many chunks"))?;
            for chunk in first..end {
                if !set.chunks.insert(chunk) {
                    return Err(wrong("a chunk is there twice"));
                }
                set.order.push(chunk);
            }
        }
        // The hash is right: a newer build has written another form.
        match set.encode(catalog, manifest) == bytes {
            true => Ok(set),
            false => Err(Error::of(ErrorKind::Unsupported, "UnsupportedFormat", "boot set", "another form of it")),
        }
    }
}

/// Reads any bytes as a boot set: for a fuzzer. No hash stands between it and the parser.
#[cfg(feature = "testkit")]
pub(super) fn fuzz(catalog: CatalogId, manifest: &ManifestId, data: &[u8]) {
    let sealed = [data, Digest::of(data).as_bytes()].concat();
    if let Ok(set) = BootSet::parse(catalog, manifest, &sealed) {
        assert_eq!(set.encode(catalog, manifest), sealed, "a boot set has one form");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::names::UploadId;

    const CATALOG: CatalogId = CatalogId(UploadId::from_bytes([5; 16]));

    fn manifest() -> ManifestId {
        ManifestId { upload: UploadId::from_bytes([7; 16]), digest: Digest::of(b"manifest") }
    }

    fn set() -> BootSet {
        BootSet::of([0, 1, 2, 70_000, 9, 10, 1, 3, u32::MAX - 1])
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for set in [set(), BootSet::default(), BootSet::of(0..9000), BootSet::of((0..9000).map(|at| at * 2))] {
            let bytes = set.encode(CATALOG, &manifest());
            assert!(set.chunks().len() <= MAX_CHUNKS && bytes.len() as u64 <= MAX_BYTES);
            assert_eq!(BootSet::parse(CATALOG, &manifest(), &bytes).unwrap(), set);
        }
        assert_eq!(set().chunks(), [0, 1, 2, 70_000, 9, 10, 3, u32::MAX - 1]);
    }

    #[test]
    fn the_golden_file_is_read_and_written() {
        let golden = include_bytes!("../../tests/format/boot-set-1");
        assert_eq!(BootSet::parse(CATALOG, &manifest(), golden).unwrap(), set());
        assert_eq!(set().encode(CATALOG, &manifest()), golden);
    }

    #[test]
    #[ignore = "writes into the tree"]
    fn the_golden_file_is_made() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/boot-set-1");
        std::fs::write(path, set().encode(CATALOG, &manifest())).unwrap();
    }

    #[test]
    fn no_flipped_bit_and_no_lost_or_added_byte_goes_unnoticed() {
        let bytes = set().encode(CATALOG, &manifest());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(BootSet::parse(CATALOG, &manifest(), &flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(BootSet::parse(CATALOG, &manifest(), &bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(BootSet::parse(CATALOG, &manifest(), &[&bytes[..], &[0]].concat()).is_err());
        let other = ManifestId { digest: Digest::of(b"other"), ..manifest() };
        assert_eq!(BootSet::parse(CATALOG, &other, &bytes).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn what_is_sealed_and_still_wrong_is_refused_and_a_newer_builds_is_told() {
        let sealed = |at: usize, to: &[u8]| {
            let mut bytes = set().encode(CATALOG, &manifest());
            bytes.truncate(bytes.len() - HASH_BYTES);
            bytes[at..at + to.len()].copy_from_slice(to);
            bytes.extend(Digest::of(&bytes.clone()).as_bytes());
            BootSet::parse(CATALOG, &manifest(), &bytes).unwrap_err().kind()
        };
        for at in [8, 10, 12, 68] {
            assert_eq!(sealed(at, &[9]), ErrorKind::Unsupported, "byte {at}");
        }
        // Counts: of runs, of no chunks, of more than all; a chunk twice; past the last number.
        for (at, to) in [(64, 9), (76, 0), (76, u32::MAX), (80, 1), (72, u32::MAX)] {
            assert_eq!(sealed(at, &to.to_le_bytes()), ErrorKind::Corrupt, "{to} at byte {at}");
        }
    }
}
