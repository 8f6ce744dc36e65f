//! Parts of packs: some of the records of a pack, for a slot that does not need it whole, or all of them in another form.
//!
//! A record has the same name everywhere: its pack and its ordinal in the pack. So versions share one index whatever each
//! slot holds, a region with only the newest of many versions holds only that version's records, and a mostly dead pack is
//! rewritten without changing an index.

use std::sync::Arc;

use bytes::Bytes;

use super::blob::assembled;
use super::blob_name::BlobName;
use super::cipher::DataKey;
use super::digest::Digest;
use super::extents::Extents;
use super::head::{Described, Head, head_bytes};
use super::names::{CatalogId, MemberPlace, PartId};
use super::pack::PackInfo;
use super::record::Line;
use crate::error::{Error, Result};

impl PartId {
    /// Returns the length of the head of its blob.
    pub(crate) fn head_bytes(&self) -> u64 {
        head_bytes(self.records)
    }

    /// Returns what is left of a damaged head.
    pub(crate) fn salvage(&self, catalog: CatalogId, blob: &[u8]) -> Head {
        Head::salvage(Described { catalog, pack: self.pack }, self.records, blob)
    }

    /// Returns whether it has all records of its pack.
    pub(crate) fn is_complete(&self) -> bool {
        self.records == self.of
    }
}

fn start_of(content: &Digest) -> [u8; 8] {
    content.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// A part, as described by its name and, unless it has all records of its pack, by its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    /// Its incarnation in the slot that it was found in.
    pub(crate) incarnation: u64,
    /// Of its blob.
    length: u64,
    head: Option<Arc<Head>>,
}

impl Part {
    /// Builds a part of `records`, each of `pack` and given once, as they are: to be put into a slot, which encrypts it if it must. Returns
    /// it with the blob.
    pub(crate) fn build(catalog: CatalogId, pack: &PackInfo, records: Vec<(Line, Bytes)>) -> Result<(Self, Bytes)> {
        Self::build_with(catalog, pack, records, None)
    }

    /// As [`build`](Self::build), encrypted with `key`, if it is given.
    pub(crate) fn build_with(
        catalog: CatalogId,
        pack: &PackInfo,
        records: Vec<(Line, Bytes)>,
        key: Option<&DataKey>,
    ) -> Result<(Self, Bytes)> {
        let (head, blob) = assembled(Described { catalog, pack: pack.id }, pack.content, records, key)?;
        let (records, of, content) = (head.lines().len() as u32, pack.records, start_of(&pack.content));
        let id = PartId { pack: pack.id, records, of, content, head: head.digest(), place: None };
        Ok((Self { id, incarnation: 0, length: head.length(), head: Some(Arc::new(head)) }, blob))
    }

    /// Returns a part that has all records of its pack, which its name tells, without its head. `length` is that of its blob.
    pub(crate) fn named(id: PartId, incarnation: u64, length: u64) -> Option<Self> {
        id.is_complete().then_some(Self { id, incarnation, length, head: None })
    }

    /// Reads a head back, and verifies it against the part's name. `blob` is the part's blob, or at least its head.
    pub(crate) fn of_head(catalog: CatalogId, id: PartId, blob: &[u8]) -> Result<Self> {
        let head = head_in(catalog, id, blob)?;
        Ok(Self { id, incarnation: 0, length: head.length(), head: Some(Arc::new(head)) })
    }

    /// Returns the part under another incarnation.
    pub(crate) fn with_incarnation(self, incarnation: u64) -> Self {
        Self { incarnation, ..self }
    }

    /// Returns the part as a member of a merged blob, or as a blob of its own.
    pub(crate) fn placed(self, place: Option<MemberPlace>) -> Self {
        Self { id: self.id.placed(place), ..self }
    }

    /// Returns the name of its blob in that slot.
    pub(crate) fn name(&self) -> BlobName {
        BlobName::Part(self.id, self.incarnation)
    }

    /// Returns its head, if it was read.
    pub(crate) fn head(&self) -> Option<&Arc<Head>> {
        self.head.as_ref()
    }

    /// Returns the length of the blob.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Returns whether it was made of that pack, and not of another one of its name.
    pub(crate) fn is_of(&self, pack: &PackInfo) -> bool {
        (self.id.of, self.id.content) == (pack.records, start_of(&pack.content))
    }

    /// Returns the records of the pack that the part holds.
    pub(crate) fn extents(&self) -> Extents {
        match &self.head {
            Some(head) => head.extents(),
            None => std::iter::once(0..self.id.of).collect(),
        }
    }

    /// Verifies a whole blob: its head, which it returns, against its name, and every record against the head.
    pub(crate) fn verify(&self, catalog: CatalogId, blob: &Bytes) -> Result<Head> {
        let head = head_in(catalog, self.id, blob)?;
        match head.fault_in(blob) {
            None => Ok(head),
            Some(what) => Err(damaged(&self.id, &what)),
        }
    }

    /// Reads the head of its blob.
    pub(crate) fn head_in(&self, catalog: CatalogId, blob: &[u8]) -> Result<Head> {
        head_in(catalog, self.id, blob)
    }

    /// Returns what its name and its head tell of its pack; not the length, which no part depends on.
    pub(crate) fn pack_info(&self, head: &Head) -> PackInfo {
        PackInfo { id: self.id.pack, length: 0, records: self.id.of, content: head.content() }
    }

    /// Returns the head in a blob, or what is left of it.
    pub(crate) fn head_or_rest(&self, catalog: CatalogId, blob: &[u8]) -> Head {
        head_in(catalog, self.id, blob).unwrap_or_else(|_| self.id.salvage(catalog, blob))
    }
}

/// Reads the head of a part, and compares it with the part's name.
fn head_in(catalog: CatalogId, id: PartId, blob: &[u8]) -> Result<Head> {
    let head = Head::parse(Described { catalog, pack: id.pack }, id.records, blob)?;
    let is_of_pack = head.lines().last().is_none_or(|line| u32::from(line.ordinal) < id.of);
    match is_of_pack && head.digest() == id.head && start_of(&head.content()) == id.content {
        true => Ok(head),
        false => Err(damaged(&id, "its head is not the one that its name has")),
    }
}

fn damaged(id: &PartId, what: &str) -> Error {
    Error::corrupt(format!("part of pack {}", id.pack), format!("the part is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::pack::tests::{CATALOG, ID};
    use crate::content::record::{Encoding, Hashed};

    fn part() -> (Part, Bytes) {
        let contents: Vec<Bytes> =
            [5, 4096, 300, 1].iter().zip(1_u8..).map(|(length, seed)| vec![seed; *length].into()).collect();
        let lines = contents.iter().zip(0..).map(|(bytes, number)| {
            let digest = Digest::of(bytes);
            Line::new(1000 - 31 * number, digest, Encoding::Plain, (0, bytes.len() as u32), &digest)
        });
        let lines: Vec<Line> = lines.collect();
        let info = PackInfo { id: ID, length: 9000, records: 2000, content: Digest::of(b"all") };
        Part::build(CATALOG, &info, lines.into_iter().zip(contents).collect()).unwrap()
    }

    #[test]
    fn a_part_is_found_by_its_name_and_its_records_by_their_ordinal() {
        let (part, blob) = part();
        let Some(BlobName::Part(id, 0)) = BlobName::of_key(&part.id.key().unwrap()) else { panic!("a part") };
        assert_eq!(id, part.id);
        let read = Part::of_head(CATALOG, id, &blob[..id.head_bytes() as usize]).unwrap();
        assert_eq!(read, part);
        assert_eq!(read.length(), blob.len() as u64);
        for line in read.head().unwrap().lines() {
            assert_eq!(Digest::of(&line.good_in(&blob, &mut Hashed::default()).unwrap()), line.content);
            assert!(read.extents().covers(&line.ordinals()));
        }
        assert_eq!(read.head().unwrap().line(999), None);
        assert_eq!(read.head().unwrap().records_in(&blob).len(), 4);
    }

    #[test]
    fn no_byte_of_it_can_change() {
        let (part, blob) = part();
        part.verify(CATALOG, &blob).unwrap();
        for at in 0..blob.len() {
            let mut flipped = blob.to_vec();
            flipped[at] ^= 0x10;
            assert!(part.verify(CATALOG, &flipped.into()).is_err(), "byte {at}");
            assert!(part.verify(CATALOG, &blob.slice(..at)).is_err(), "cut to {at}");
        }
    }
}
