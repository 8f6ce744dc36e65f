//! The content of a slot, read by `docs/format.md` alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use compute_gallery::store::{BlobKey, BlobStoreExt, MemoryStore};
use futures::executor::block_on;

/// The name of a pack within a slot: its upload and its number.
pub type Pack = String;

/// The ordinal of a record in its pack.
type Ordinal = u16;

/// Every record that something needs of each pack.
pub type Records = BTreeMap<Pack, BTreeSet<Ordinal>>;

/// Whether a blob of a store was condemned: nothing may rely on it any more.
pub type IsDead<'a> = &'a dyn Fn(&BlobKey) -> bool;

/// Whether all of some records of a pack are in a slot: in the whole pack, or in parts of it.
pub fn has(store: &MemoryStore, slot: u32, pack: &str, records: &BTreeSet<Ordinal>, is_dead: IsDead<'_>) -> bool {
    if whole(store, slot, pack).into_iter().any(|key| !is_dead(&key)) {
        return true;
    }
    let parts = block_on(store.list_all(Some(&key(&format!("slots/{slot}/parts/{pack}"))))).unwrap();
    let mut there = BTreeSet::new();
    for part in parts.into_iter().filter(|part| !is_dead(&part.key)) {
        there.extend(lines(&read(store, &part.key)).into_iter().map(|line| line.ordinal));
    }
    records.is_subset(&there)
}

/// Every life of a manifest in a slot.
pub fn manifests(store: &MemoryStore, slot: u32, upload: &str, digest: &str) -> Vec<BlobKey> {
    lives(store, &format!("slots/{slot}/manifests/{upload}"), digest)
}

/// Every life of a whole pack in a slot.
fn whole(store: &MemoryStore, slot: u32, pack: &str) -> Vec<BlobKey> {
    let (upload, number) = pack.split_once('/').unwrap();
    lives(store, &format!("slots/{slot}/packs/{upload}"), number)
}

/// A blob has a name, or that and the number of the commit that condemned the one before.
fn lives(store: &MemoryStore, under: &str, name: &str) -> Vec<BlobKey> {
    let blobs = block_on(store.list_all(Some(&key(under)))).unwrap();
    let is_one = |key: &BlobKey| {
        let last = key.as_str().rsplit('/').next().unwrap();
        last == name || last.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    blobs.into_iter().map(|blob| blob.key).filter(is_one).collect()
}

/// Every record that a manifest leads to, read from slot 0 of its home.
pub fn reach(home: &MemoryStore, root: &[u8]) -> Records {
    let (mut records, mut nodes) = (Records::new(), Vec::new());
    assert!(root.starts_with(b"cgmani01") && root[32] == 1, "a root");
    let mut at = 36;
    for _ in 0..u16::from_le_bytes([root[34], root[35]]) {
        let node = at + 1 + 4 + 8 + 32 + 4;
        at = node + u32_at(root, node - 4) as usize;
        nodes.extend((at > node).then(|| Bytes::copy_from_slice(&root[node..at])));
    }
    while let Some(node) = nodes.pop() {
        assert_eq!(&node[..4], b"cgn2");
        let packs: Vec<Pack> = (0..usize::from(u16::from_le_bytes([node[6], node[7]])))
            .map(|number| {
                let at = 40 + number * 20;
                let upload: String = node[at..at + 16].iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{upload}/{:010}", u32_at(&node, at + 16))
            })
            .collect();
        for line in node[40 + packs.len() * 20..].chunks_exact(36) {
            let pack = &packs[usize::from(u16_at(line, 32))];
            records.entry(pack.clone()).or_default().insert(u16_at(line, 34));
            if node[4] > 0 {
                nodes.push(record(home, pack, u16_at(line, 34)));
            }
        }
    }
    records
}

/// The bytes of a record in slot 0.
fn record(store: &MemoryStore, pack: &str, ordinal: Ordinal) -> Bytes {
    let parts = block_on(store.list_all(Some(&key(&format!("slots/0/parts/{pack}"))))).unwrap();
    for key in whole(store, 0, pack).into_iter().chain(parts.into_iter().map(|part| part.key)) {
        let blob = read(store, &key);
        if let Some(line) = lines(&blob).into_iter().find(|line| line.ordinal == ordinal) {
            return blob.slice(line.offset..line.offset + line.length);
        }
    }
    panic!("record {ordinal} of {pack} was never there")
}

fn read(store: &MemoryStore, key: &BlobKey) -> Bytes {
    block_on(store.find(key)).unwrap().unwrap()
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
