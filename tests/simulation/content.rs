//! The content of a slot, read by `docs/format.md` alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use compute_gallery::store::{BlobKey, BlobMeta, BlobStoreExt, MemoryStore};

use crate::executor::at_once;

/// The name of a pack within a slot: its upload and its number.
pub type Pack = String;

/// Where a record lies in its pack, and how long it is.
pub type Place = (u32, u32);

/// Every record that something needs of each pack.
pub type Records = BTreeMap<Pack, BTreeSet<Place>>;

/// Whether a blob of a store was condemned: nothing may rely on it any more.
pub type IsDead<'a> = &'a dyn Fn(&BlobKey) -> bool;

/// What a slot has of a pack.
pub enum Holding {
    Whole,
    Some(BTreeSet<Place>),
}

impl Holding {
    pub fn has(&self, record: &Place) -> bool {
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
        let (lines, part) = read_part(store, &part.key);
        there.extend((0..lines).map(|line| place(&part, line)));
    }
    Holding::Some(there)
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

fn pack_of(value: &serde_json::Value) -> Pack {
    format!("{}/{:010}", value["upload"].as_str().unwrap(), value["number"].as_u64().unwrap())
}

/// The packs that a manifest names, with their lengths.
pub fn lengths(manifest: &serde_json::Value) -> BTreeMap<Pack, u64> {
    let packs = manifest["packs"].as_array().unwrap().iter();
    packs.map(|pack| (pack_of(pack), pack["length"].as_u64().unwrap())).collect()
}

/// Every record that a manifest leads to, read from slot 0 of its home, in any zone.
pub fn reach(home: &[&MemoryStore], manifest: &serde_json::Value) -> Records {
    let (mut records, lengths) = (Records::new(), lengths(manifest));
    let mut nodes = Vec::new();
    for disk in manifest["disks"].as_array().unwrap() {
        let root = &disk["root"];
        if !root.is_null() {
            let number = |name: &str| root[name].as_u64().unwrap() as u32;
            nodes.push((pack_of(&root["pack"]), (number("offset"), number("length"))));
        }
    }
    while let Some((pack, place)) = nodes.pop() {
        let node = home.iter().find_map(|zone| record(zone, &pack, lengths[&pack], place));
        let node = node.unwrap_or_else(|| panic!("record {place:?} of {pack} was never there"));
        records.entry(pack).or_default().insert(place);
        assert_eq!(&node[..4], b"cgn1");
        let packs: Vec<Pack> = (0..usize::from(u16::from_le_bytes([node[6], node[7]])))
            .map(|number| {
                let at = 40 + number * 20;
                let upload: String = node[at..at + 16].iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{upload}/{:010}", u32_at(&node, at + 16))
            })
            .collect();
        for line in node[40 + packs.len() * 20..].chunks_exact(44) {
            let child = (packs[usize::from(line[40])].clone(), (u32_at(line, 32), u32_at(line, 36)));
            match node[4] {
                0 => drop(records.entry(child.0).or_default().insert(child.1)),
                _ => nodes.push(child),
            }
        }
    }
    records
}

/// The bytes of a record in slot 0.
fn record(store: &MemoryStore, pack: &str, whole_length: u64, (offset, length): Place) -> Option<Bytes> {
    if let Some(whole) = whole(store, 0, pack, whole_length).first() {
        let whole = at_once(store.find(whole)).unwrap().unwrap();
        return Some(whole.slice(offset as usize..(offset + length) as usize));
    }
    for part in at_once(store.list_all(Some(&key(&format!("slots/0/parts/{pack}"))))).unwrap() {
        let (lines, part) = read_part(store, &part.key);
        let mut at = 8 + lines * 40;
        for there in (0..lines).map(|line| place(&part, line)) {
            if there == (offset, length) {
                return Some(part.slice(at..at + length as usize));
            }
            at += there.1 as usize;
        }
    }
    None
}

/// A part, and how many lines its table has.
fn read_part(store: &MemoryStore, key: &BlobKey) -> (usize, Bytes) {
    let name = key.as_str().rsplit('/').next().unwrap();
    (name.split('-').next().unwrap().parse().unwrap(), at_once(store.find(key)).unwrap().unwrap())
}

fn place(part: &[u8], line: usize) -> Place {
    (u32_at(part, 8 + line * 40 + 32), u32_at(part, 8 + line * 40 + 36))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn key(text: &str) -> BlobKey {
    text.parse().unwrap()
}
