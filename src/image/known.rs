//! Which chunks are stored already.

use std::collections::HashMap;

use super::chunk::Encoding;
use super::digest::Digest;
use super::pack::{PackId, RecordRef};

/// The most chunks that the set keeps: the first 28 GiB of distinct data, in at most 32 MiB of memory.
///
/// A chunk beyond it is still recognised at its own place in the base version; only one that has moved, or occurs
/// twice, is then stored again. (The number is 7/8 of a power of two, where the table would grow.)
const CAPACITY: usize = 458_752;

/// A bounded set of stored chunks, found by their whole hash: a guest chooses its disk's bytes, so a shorter key would
/// let it construct chunks that are taken for each other.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks {
    places: HashMap<Digest, Place>,
    packs: Vec<PackId>,
}

#[derive(Debug)]
struct Place {
    pack: u32,
    offset: u32,
    length: u32,
    encoding: Encoding,
}

impl KnownChunks {
    pub(crate) fn is_full(&self) -> bool {
        self.places.len() >= CAPACITY
    }

    pub(crate) fn insert(&mut self, record: &RecordRef) {
        if self.is_full() {
            return;
        }
        let pack = self.packs.iter().rposition(|pack| *pack == record.pack).unwrap_or_else(|| {
            self.packs.push(record.pack);
            self.packs.len() - 1
        });
        let place =
            Place { pack: pack as u32, offset: record.offset, length: record.length, encoding: record.encoding };
        // The first place stays, so that two versions agree on it and share their index nodes.
        self.places.entry(record.digest).or_insert(place);
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<RecordRef> {
        let place = self.places.get(digest)?;
        let pack = *self.packs.get(place.pack as usize)?;
        Some(RecordRef { digest: *digest, pack, offset: place.offset, length: place.length, encoding: place.encoding })
    }
}
