//! The set of chunks that are stored already, found by their digest.

use std::collections::HashMap;

use crate::content::digest::Digest;
use crate::content::names::PackId;
use crate::content::record::RecordRef;

/// The capacity of the set: the first 28 GiB of distinct data, in at most 32 MiB of memory.
///
/// A chunk beyond the capacity is still recognized at its own position in the base version; it is stored again only if
/// it has moved or occurs twice. (The number is 7/8 of a power of two, the load at which the table grows.)
const CAPACITY: usize = 458_752;

/// A bounded set of stored chunks, by their whole digest: a guest chooses its disk's bytes, and could construct chunks
/// that collide in a shorter key.
#[derive(Debug, Default)]
pub(crate) struct KnownChunks {
    records: HashMap<Digest, Place>,
    packs: Vec<PackId>,
    /// The places of the packs in `packs`.
    numbers: HashMap<PackId, u32>,
}

/// The place of a record: its pack, by number, and its ordinal.
#[derive(Debug)]
struct Place {
    pack: u32,
    ordinal: u16,
}

impl KnownChunks {
    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= CAPACITY
    }

    pub(crate) fn insert(&mut self, record: &RecordRef) {
        if self.is_full() {
            return;
        }
        let pack = *self.numbers.entry(record.pack).or_insert_with(|| {
            self.packs.push(record.pack);
            (self.packs.len() - 1) as u32
        });
        // The first record stays, so that two versions refer to the same one and share their index nodes.
        self.records.entry(record.digest).or_insert(Place { pack, ordinal: record.ordinal });
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<RecordRef> {
        let Place { pack, ordinal } = self.records.get(digest)?;
        Some(RecordRef { digest: *digest, pack: *self.packs.get(*pack as usize)?, ordinal: *ordinal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::names::UploadId;

    /// 1 TiB of chunks that all differ, in packs of 16 MiB.
    #[test]
    fn the_set_of_a_disk_of_a_tebibyte_stays_within_its_bound() {
        let upload = UploadId::from_bytes([7; 16]);
        let mut known = KnownChunks::default();
        for chunk in 0..16_u32 << 20 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&chunk.to_le_bytes());
            known.insert(&RecordRef {
                digest: Digest::from_bytes(digest),
                pack: PackId { upload, number: chunk / 256 },
                ordinal: (chunk % 256) as u16,
            });
        }
        assert_eq!((known.records.len(), known.packs.len()), (CAPACITY, CAPACITY / 256));
        // A table has a byte of its own for each record, and an eighth of the records stay free.
        let table = known.records.capacity().div_ceil(7) * 8 * (size_of::<(Digest, Place)>() + 1);
        let packs = known.packs.capacity() * (2 * size_of::<PackId>() + size_of::<u32>() + 1) * 8 / 7;
        assert!(table + packs <= 32 << 20, "{table} and {packs}");
    }
}
