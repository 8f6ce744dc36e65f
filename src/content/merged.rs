//! Merged blobs: parts of several packs, one after the other, behind a front that tells where each of them is.
//!
//! A member is a part, byte for byte, with its own head. The front has a copy of each head, so that one read tells where all records
//! of the members lie. It is a hint: what it leads to is proved by seals, and the names of the members tell their places, too.

use std::sync::Arc;

use bytes::Bytes;

use super::chunk::BLOCK_BYTES;
use super::digest::Digest;
use super::head::{Described, Head, described_in, head_bytes};
use super::names::{CatalogId, FamilyId, MAX_RECORDS, MemberPlace, MergedId, PackId, UploadId};
use super::part::Part;
use crate::error::{Error, Result};
use crate::store::MAX_BLOB_BYTES;

const MAGIC: [u8; 8] = *b"cgmerg01";

/// Magic 8 | length of this u16 | version u16 | flags u32 | catalog 16 | members u32 | length of the front u32 | length of the blob u64 |
/// 0 up to 64 | hash of the front without this field 32.
const HEADER_BYTES: usize = 96;
const HASH_AT: usize = 64;
const VERSION: u16 = 1;

/// Of a member: upload 16 | number u32 | its records u32 | offset u32 | length u32.
pub(crate) const LINE_BYTES: usize = 32;

/// The most members of a merged blob.
pub(crate) const MAX_MEMBERS: usize = 1024;

/// A member of a merged blob, with its head.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) pack: PackId,
    pub(crate) place: MemberPlace,
    pub(crate) head: Arc<Head>,
}

/// A merged blob to be stored.
pub(crate) struct Merged {
    pub(crate) id: MergedId,
    /// The members in their places.
    pub(crate) parts: Vec<Part>,
    /// The pieces of the blob, in order.
    pub(crate) pieces: Vec<Bytes>,
}

/// Returns the offset of what comes after `end`.
fn aligned(end: u64) -> u64 {
    end.next_multiple_of(BLOCK_BYTES as u64)
}

/// Returns the length of a front up to the copies of heads.
fn lines_end(members: usize) -> u64 {
    (HEADER_BYTES + members * LINE_BYTES) as u64
}

impl Merged {
    /// Merges parts, each with its blob. `number` is the newest commit that the writer knows. Returns `None` if they are too many or
    /// too long, or their heads are not those of their names.
    pub(crate) fn build(
        catalog: CatalogId,
        family: FamilyId,
        number: u64,
        members: Vec<(Part, Bytes)>,
    ) -> Option<Self> {
        let heads = members.iter().map(|(part, _)| part.id.head_bytes()).sum::<u64>();
        let front_bytes = lines_end(members.len()) + heads;
        let mut places = Vec::with_capacity(members.len());
        let mut end = front_bytes;
        for (_, blob) in &members {
            let offset = aligned(end);
            end = offset + blob.len() as u64;
            places.push((offset, blob.len() as u64));
        }
        if members.is_empty() || members.len() > MAX_MEMBERS || end > MAX_BLOB_BYTES {
            return None;
        }
        let mut lines = Vec::with_capacity(members.len());
        for ((part, blob), (offset, length)) in members.iter().zip(&places) {
            let head = blob.get(..part.id.head_bytes() as usize)?;
            let (offset, length) = (*offset as u32, *length as u32);
            lines.push(Entry { pack: part.id.pack, records: part.id.records, offset, length, head });
        }
        let (front, hash) = front_of(catalog, &lines, end);
        let id = MergedId { family, number, front: front_bytes as u32, hash: start_of(&hash) };
        let (mut at, mut pieces, mut parts) = (front_bytes, vec![front], Vec::new());
        for ((part, blob), (offset, length)) in members.into_iter().zip(places) {
            pieces.push(vec![0; (offset - at) as usize].into());
            at = offset + blob.len() as u64;
            pieces.push(blob);
            let place = MemberPlace { merged: id, offset: offset as u32, length: length as u32 };
            parts.push(part.placed(Some(place)));
        }
        pieces.retain(|piece: &Bytes| !piece.is_empty());
        Some(Self { id, parts, pieces })
    }
}

/// What a front has of a member.
struct Entry<'a> {
    pack: PackId,
    records: u32,
    offset: u32,
    length: u32,
    head: &'a [u8],
}

/// Writes a front. `end` is the length of the blob.
fn front_of(catalog: CatalogId, members: &[Entry<'_>], end: u64) -> (Bytes, Digest) {
    let heads = members.iter().map(|member| member.head.len() as u64).sum::<u64>();
    let length = lines_end(members.len()) + heads;
    let mut front = Vec::with_capacity(length as usize);
    front.extend_from_slice(&MAGIC);
    front.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    front.extend_from_slice(&VERSION.to_le_bytes());
    front.extend_from_slice(&[0; 4]);
    front.extend_from_slice(catalog.0.as_bytes());
    front.extend_from_slice(&(members.len() as u32).to_le_bytes());
    front.extend_from_slice(&(length as u32).to_le_bytes());
    front.extend_from_slice(&end.to_le_bytes());
    front.resize(HEADER_BYTES, 0);
    for Entry { pack, records, offset, length, .. } in members {
        front.extend_from_slice(pack.upload.as_bytes());
        for field in [pack.number, *records, *offset, *length] {
            front.extend_from_slice(&field.to_le_bytes());
        }
    }
    members.iter().for_each(|member| front.extend_from_slice(member.head));
    let hash = hash_of(&front);
    front.iter_mut().skip(HASH_AT).zip(hash.as_bytes()).for_each(|(place, byte)| *place = *byte);
    (front.into(), hash)
}

/// Makes the front of a merged blob anew, from the heads of the members behind it. `None` if that gives another one than its name has: a
/// header of a member is damaged as well, or the blob was cut.
pub(crate) fn rebuilt_front(catalog: CatalogId, id: MergedId, blob: &[u8]) -> Option<Bytes> {
    let (mut members, mut end) = (Vec::new(), id.front_bytes());
    while end < blob.len() as u64 {
        let offset = aligned(end);
        let (pack, records, length) = described_in(blob.get(offset as usize..)?)?;
        end = offset.checked_add(length)?;
        let head = blob.get(offset as usize..(offset + head_bytes(records)) as usize)?;
        let (offset, length) = (u32::try_from(offset).ok()?, u32::try_from(length).ok()?);
        members.push(Entry { pack, records, offset, length, head });
    }
    if end != blob.len() as u64 {
        return None;
    }
    let (front, hash) = front_of(catalog, &members, end);
    (front.len() as u64 == id.front_bytes() && start_of(&hash) == id.hash).then_some(front)
}

/// Reads the front of a merged blob.
///
/// # Errors
///
/// `Corrupt` if it is not what its name says; `Unsupported` if it has a form that this build does not know.
pub(crate) fn members_of(catalog: CatalogId, id: MergedId, front: &[u8]) -> Result<Vec<Member>> {
    let target = || id.key().map_or_else(|_| "merged blob".to_owned(), |key| key.to_string());
    let wrong = || Error::corrupt(target(), "the front of the merged blob is not the one that its name has");
    let hash = front.get(HASH_AT..HEADER_BYTES).and_then(|hash| hash.first_chunk::<32>()).ok_or_else(wrong)?;
    if front.len() as u64 != id.front_bytes() || hash_of(front).as_bytes() != hash {
        return Err(wrong());
    }
    if start_of(&Digest::from_bytes(*hash)) != id.hash {
        return Err(wrong());
    }
    let newer =
        || Error::unsupported(target(), "the front of the merged blob has a form that this build does not know");
    parse(catalog, id, front).ok_or_else(newer)
}

/// Reads a front whose hash is right.
fn parse(catalog: CatalogId, id: MergedId, front: &[u8]) -> Option<Vec<Member>> {
    let rest = front.strip_prefix(&MAGIC)?;
    let (header, rest) = rest.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (flags, rest) = rest.split_first_chunk::<4>()?;
    let (of, rest) = rest.split_first_chunk::<16>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (of_blob, rest) = rest.split_first_chunk::<8>()?;
    let zeros = rest.first_chunk::<{ HASH_AT - 48 }>()?;
    let is_known = usize::from(u16::from_le_bytes(*header)) == HEADER_BYTES
        && u16::from_le_bytes(*version) == VERSION
        && *flags == [0; 4]
        && *zeros == [0; HASH_AT - 48]
        && u64::from(u32::from_le_bytes(*length)) == id.front_bytes();
    let count = u32::from_le_bytes(*count) as usize;
    if !is_known || *of != *catalog.0.as_bytes() || count > MAX_MEMBERS {
        return None;
    }
    let mut heads = lines_end(count) as usize;
    let lines = front.get(HEADER_BYTES..heads)?;
    let (mut members, mut end) = (Vec::with_capacity(count), id.front_bytes());
    for line in lines.chunks_exact(LINE_BYTES) {
        let (upload, rest) = line.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (records, rest) = rest.split_first_chunk::<4>()?;
        let (offset, rest) = rest.split_first_chunk::<4>()?;
        let length = rest.first_chunk::<4>()?;
        let pack = PackId { upload: UploadId::from_bytes(*upload), number: u32::from_le_bytes(*number) };
        let records = u32::from_le_bytes(*records);
        let place =
            MemberPlace { merged: id, offset: u32::from_le_bytes(*offset), length: u32::from_le_bytes(*length) };
        if records > MAX_RECORDS || u64::from(place.offset) != aligned(end) {
            return None;
        }
        end = place.range().end;
        let bytes = front.get(heads..heads.checked_add(head_bytes(records) as usize)?)?;
        heads += bytes.len();
        let head = Head::parse(Described { catalog, pack }, records, bytes).ok()?;
        if head.length() != u64::from(place.length) {
            return None;
        }
        members.push(Member { pack, place, head: Arc::new(head) });
    }
    (heads == front.len() && end == u64::from_le_bytes(*of_blob)).then_some(members)
}

/// Returns the hash of a front, which leaves out the hash itself.
fn hash_of(front: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(front.get(..HASH_AT).unwrap_or_default());
    hasher.update(front.get(HEADER_BYTES..).unwrap_or_default());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

fn start_of(hash: &Digest) -> u64 {
    u64::from_be_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// Reads any bytes as a front: for a fuzzer. No hash stands between it and the parser.
#[cfg(any(test, feature = "testkit"))]
pub(super) fn fuzz(data: &[u8]) {
    // The catalog that it says to be of.
    let of = data.get(16..32).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
    let (catalog, front) = (CatalogId(UploadId::from_bytes(of)), data.len() as u32);
    let id = MergedId { family: FamilyId::of(""), number: 1, front, hash: 0 };
    let Some(members) = parse(catalog, id, data) else { return };
    let mut end = id.front_bytes();
    for member in members {
        let range = member.place.range();
        assert!(
            member.head.length() == range.end - range.start && range.start >= end,
            "members lie one after the other"
        );
        end = range.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::pack::PackInfo;
    use crate::content::pack::tests::{CATALOG, ID};
    use crate::content::record::{Encoding, Line};

    fn part(number: u32, lengths: &[usize]) -> (Part, Bytes) {
        let contents: Vec<Bytes> = lengths.iter().map(|length| vec![number as u8; *length].into()).collect();
        let lines = contents.iter().zip(0..).map(|(bytes, ordinal)| {
            let digest = Digest::of(bytes);
            Line::new(ordinal, digest, Encoding::Plain, (0, bytes.len() as u32), &digest)
        });
        let lines: Vec<Line> = lines.collect();
        let id = PackId { number, ..ID };
        let info = PackInfo { id, length: 9000, records: 2000, content: Digest::of(b"all") };
        Part::build(CATALOG, &info, lines.into_iter().zip(contents).collect()).unwrap()
    }

    fn merged() -> (Merged, Bytes, Vec<(Part, Bytes)>) {
        let members = vec![part(1, &[5, 4096, 300]), part(2, &[1]), part(3, &[4096, 4096])];
        let merged = Merged::build(CATALOG, FamilyId::of("web"), 17, members.clone()).unwrap();
        let blob = merged.pieces.concat().into();
        (merged, blob, members)
    }

    /// The front that this build writes, which every later one must read. `number` and family are in the name.
    #[test]
    fn the_golden_front_is_read_and_written() {
        let (merged, blob, _) = merged();
        let golden = std::fs::read(golden()).unwrap();
        assert_eq!(blob[..merged.id.front_bytes() as usize], golden);
        assert_eq!(merged.id.key().unwrap().as_str(), GOLDEN_NAME);
        assert_eq!(members_of(CATALOG, merged.id, &golden).unwrap().len(), 3);
    }

    fn golden() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/merged-1")
    }

    const GOLDEN_NAME: &str = "merged/18555bd62397b553/18446744073709551598-00001212-0b8fa7c61bafc6c2";

    #[test]
    #[ignore = "writes into the tree"]
    fn the_golden_front_and_the_corpus_are_written() {
        let (merged, blob, _) = merged();
        let front = blob[..merged.id.front_bytes() as usize].to_vec();
        println!("{}", merged.id.key().unwrap());
        std::fs::write(golden(), &front).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/content_merged");
        std::fs::create_dir_all(&folder).unwrap();
        let changed = |at: usize, to: &[u8]| {
            let mut changed = front.clone();
            changed[at..at + to.len()].copy_from_slice(to);
            changed
        };
        let seeds = [
            ("valid", front.clone()),
            ("newer-version", changed(10, &[9])),
            ("more-members", changed(32, &[4])),
            ("huge-count", changed(32, &[0xff; 4])),
            ("huge-length", changed(40, &[0xff; 8])),
            ("records-of-another-head", changed(HEADER_BYTES + 20, &[2])),
            ("huge-records", changed(HEADER_BYTES + 20, &[0xff; 4])),
            ("offset-in-the-front", changed(HEADER_BYTES + 24, &[0; 4])),
            ("last-offset", changed(HEADER_BYTES + 24, &[0xff; 4])),
            ("huge-member", changed(HEADER_BYTES + 28, &[0xff; 4])),
            ("cut", front[..front.len() - 9].to_vec()),
        ];
        for (name, bytes) in seeds {
            super::fuzz(&bytes);
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    #[test]
    fn a_member_is_the_part_byte_for_byte_and_its_head_is_in_the_front() {
        let (merged, blob, members) = merged();
        let read = members_of(CATALOG, merged.id, &blob[..merged.id.front_bytes() as usize]).unwrap();
        assert_eq!((read.len(), merged.parts.len()), (3, 3));
        for ((member, placed), (part, bytes)) in read.iter().zip(&merged.parts).zip(&members) {
            let range = member.place.range();
            assert_eq!(blob.slice(range.start as usize..range.end as usize), bytes);
            assert_eq!((member.pack, Some(&member.place)), (part.id.pack, placed.id.place()));
            assert_eq!(Some(&member.head), part.head());
            assert_eq!(placed.clone().placed(None), *part);
            assert_eq!(range.start % 4096, 0);
        }
    }

    #[test]
    fn no_byte_of_a_front_can_change_and_none_can_lack() {
        let (merged, blob, _) = merged();
        let front = &blob[..merged.id.front_bytes() as usize];
        for at in 0..front.len() {
            let mut flipped = front.to_vec();
            flipped[at] ^= 0x10;
            assert!(members_of(CATALOG, merged.id, &flipped).is_err(), "byte {at}");
            assert!(members_of(CATALOG, merged.id, &front[..at]).is_err(), "cut to {at}");
            let damaged = [&flipped, &blob[front.len()..]].concat();
            assert_eq!(rebuilt_front(CATALOG, merged.id, &damaged).as_deref(), Some(front), "byte {at}");
        }
        for at in 0..blob.len() {
            let mut flipped = blob.to_vec();
            flipped[at] ^= 0x10;
            let rebuilt = rebuilt_front(CATALOG, merged.id, &flipped);
            assert!(rebuilt.is_none_or(|rebuilt| rebuilt == front), "byte {at} of the blob");
            assert_eq!(rebuilt_front(CATALOG, merged.id, &blob[..at]), None, "cut to {at}");
        }
        let other = MergedId { hash: merged.id.hash + 1, ..merged.id };
        assert!(members_of(CATALOG, other, front).is_err());
    }

    #[test]
    fn what_is_too_much_for_one_blob_is_not_merged() {
        let members = (0..1025).map(|number| part(number, &[1])).collect();
        assert!(Merged::build(CATALOG, FamilyId::of("web"), 17, members).is_none());
        assert!(Merged::build(CATALOG, FamilyId::of("web"), 17, Vec::new()).is_none());
    }
}
