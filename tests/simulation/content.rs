//! The content of a slot, read by `docs/format.md` alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use compute_gallery::store::{BlobKey, BlobMeta, BlobStoreExt, MemoryStore};

use crate::executor::at_once;

/// The name of a pack within a slot: its upload and its number.
pub type Pack = String;

/// The ordinal of a record in its pack.
pub type Ordinal = u16;

/// Every record that something needs of each pack.
pub type Records = BTreeMap<Pack, BTreeSet<Ordinal>>;

/// Whether a blob of a store was condemned: nothing may rely on it any more.
pub type IsDead<'a> = &'a dyn Fn(&BlobKey) -> bool;

/// What a slot has of a pack.
pub enum Holding {
    Whole,
    Some(BTreeSet<Ordinal>),
}

impl Holding {
    pub fn has(&self, record: &Ordinal) -> bool {
        match self {
            Self::Whole => true,
            Self::Some(records) => records.contains(record),
        }
    }
}

/// What is in a slot of a pack: the whole pack, or what parts of it have.
pub fn holding(store: &MemoryStore, slot: u32, pack: &str, length: u64, is_dead: IsDead<'_>) -> Holding {
    if whole(store, slot, pack, length).into_iter().any(|key| !is_dead(&key)) {
        return Holding::Whole;
    }
    let parts = at_once(store.list_all(Some(&key(&format!("slots/{slot}/parts/{pack}"))))).unwrap();
    let mut there = BTreeSet::new();
    for part in parts.into_iter().filter(|part| !is_dead(&part.key)) {
        let Some(blob) = part_of(store, slot, &part.key, is_dead) else { continue };
        there.extend(lines(&blob).into_iter().map(|line| line.ordinal));
    }
    Holding::Some(there)
}

/// The blob of a part: of a member, its bytes of the merged blob, unless that is dead or gone.
fn part_of(store: &MemoryStore, slot: u32, part: &BlobKey, is_dead: IsDead<'_>) -> Option<Bytes> {
    let segments: Vec<&str> = part.as_str().split('/').collect();
    let [_, _, "parts", _, _, place, _] = segments.as_slice() else { return Some(read(store, part)) };
    let fields: Vec<&str> = place.split('-').collect();
    let number = |at: usize| fields[at].parse::<u64>().unwrap();
    let newest_first = u64::MAX - number(1);
    let merged = key(&format!("slots/{slot}/merged/{}/{newest_first:020}-{}-{}", fields[0], fields[2], fields[3]));
    if is_dead(&merged) {
        return None;
    }
    let blob = at_once(store.find(&merged)).unwrap()?;
    Some(blob.slice(number(4) as usize..(number(4) + number(5)) as usize))
}

/// Every life of a manifest in a slot.
pub fn manifests(store: &MemoryStore, slot: u32, upload: &str, digest: &str) -> Vec<BlobKey> {
    let lives = lives(store, &format!("slots/{slot}/manifests/{upload}"), digest);
    lives.into_iter().map(|blob| blob.key).collect()
}

/// Every life of a whole pack in a slot. A blob of another length is none: two publishers of one version may put different disks
/// into the zones of one upload, and the one who is late in a zone goes on without it.
fn whole(store: &MemoryStore, slot: u32, pack: &str, length: u64) -> Vec<BlobKey> {
    let (upload, number) = pack.split_once('/').unwrap();
    let lives = lives(store, &format!("slots/{slot}/packs/{upload}"), number);
    lives.into_iter().filter(|blob| blob.size == length).map(|blob| blob.key).collect()
}

/// A blob has a name, or that and the number of the commit that condemned the one before.
fn lives(store: &MemoryStore, under: &str, name: &str) -> Vec<BlobMeta> {
    let blobs = at_once(store.list_all(Some(&key(under)))).unwrap();
    let is_one = |key: &BlobKey| {
        let last = key.as_str().rsplit('/').next().unwrap();
        last == name || last.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    blobs.into_iter().filter(|blob| is_one(&blob.key)).collect()
}

/// The root nodes of a manifest's disks, and where the packs begin.
fn roots(root: &[u8]) -> (Vec<Bytes>, usize) {
    assert!(root.starts_with(b"cgmani01") && root[32] == 1 && root[33] == 0, "a root without pages");
    let (mut nodes, mut at) = (Vec::new(), 36);
    for _ in 0..u16_at(root, 34) {
        let node = at + 1 + 4 + 8 + 32 + 4;
        at = node + u32_at(root, node - 4) as usize;
        nodes.extend((at > node).then(|| Bytes::copy_from_slice(&root[node..at])));
    }
    (nodes, at)
}

/// The packs that a manifest names, with their lengths.
pub fn lengths(root: &[u8]) -> BTreeMap<Pack, u64> {
    let (_, at) = roots(root);
    let (mut lengths, mut line) = (BTreeMap::new(), at + 4);
    for _ in 0..u32_at(root, at) {
        lengths.insert(pack_of(&root[line..]), u64::from_le_bytes(root[line + 24..line + 32].try_into().unwrap()));
        let needed = line + 65;
        line = needed
            + match root[needed - 1] {
                0 => 0,
                1 => 2 + 4 * usize::from(u16_at(root, needed)),
                _ => u32_at(root, line + 20).div_ceil(8) as usize,
            };
    }
    assert_eq!(line, root.len());
    lengths
}

/// A pack's id: its upload and its number.
fn pack_of(id: &[u8]) -> Pack {
    let upload: String = id[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{upload}/{:010}", u32_at(id, 16))
}

/// Every record that a manifest leads to, by its root, read from slot 0 of its home, in any zone.
pub fn reach(home: &[&MemoryStore], root: &[u8]) -> Records {
    let (mut records, lengths, (mut nodes, _)) = (Records::new(), lengths(root), roots(root));
    while let Some(node) = nodes.pop() {
        assert_eq!(&node[..4], b"cgn2");
        let packs: Vec<Pack> =
            (0..usize::from(u16_at(&node, 6))).map(|number| pack_of(&node[40 + number * 20..])).collect();
        for line in node[40 + packs.len() * 20..].chunks_exact(36) {
            let (pack, ordinal) = (&packs[usize::from(u16_at(line, 32))], u16_at(line, 34));
            records.entry(pack.clone()).or_default().insert(ordinal);
            if node[4] > 0 {
                let below = home.iter().find_map(|zone| record(zone, pack, lengths[pack], ordinal));
                nodes.push(below.unwrap_or_else(|| panic!("record {ordinal} of {pack} was never there")));
            }
        }
    }
    records
}

/// The bytes of a record in slot 0.
fn record(store: &MemoryStore, pack: &str, length: u64, ordinal: Ordinal) -> Option<Bytes> {
    let parts = at_once(store.list_all(Some(&key(&format!("slots/0/parts/{pack}"))))).unwrap();
    whole(store, 0, pack, length).into_iter().chain(parts.into_iter().map(|part| part.key)).find_map(|key| {
        let blob = part_of(store, 0, &key, &|_| false)?;
        let line = lines(&blob).into_iter().find(|line| line.ordinal == ordinal)?;
        Some(blob.slice(line.offset..line.offset + line.length))
    })
}

fn read(store: &MemoryStore, key: &BlobKey) -> Bytes {
    at_once(store.find(key)).unwrap().unwrap()
}

/// A record's line in the head of a pack or part.
struct Line {
    ordinal: Ordinal,
    offset: usize,
    length: usize,
}

fn lines(blob: &[u8]) -> Vec<Line> {
    assert!(blob.starts_with(b"cgblob01"));
    let lines = blob[128 + 52..].chunks(80).take(u32_at(blob, 56) as usize);
    let line = |line: &[u8]| Line {
        ordinal: u16_at(line, 72),
        offset: u32_at(line, 64) as usize,
        length: u32_at(line, 68) as usize,
    };
    lines.map(line).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}
