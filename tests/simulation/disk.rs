//! What a power cut may take from a store, by the contract of the trait and nothing more.

use std::collections::BTreeMap;

use bytes::Bytes;
use compute_gallery::store::BlobKey;

/// The changes of a store that are visible and not yet durable.
///
/// After a power cut each key has, independently of all others, any of the states that it had since it was durable last: so changes
/// are lost in any order. An acknowledged put or copy is durable, and so is each blob that was there when a `persist` of it took
/// effect. A deletion promises nothing: even an acknowledged one may be undone.
#[derive(Default)]
pub struct Disk {
    /// For each key that a cut may change, its states and the changes that made them; the last is what is visible.
    unsynced: BTreeMap<BlobKey, Vec<(u64, Option<Bytes>)>>,
    changes: u64,
}

impl Disk {
    /// A change took effect; returns its number.
    pub fn changed(&mut self, key: &BlobKey, before: Option<Bytes>, after: Option<Bytes>) -> u64 {
        self.changes += 1;
        let states = self.unsynced.entry(key.clone()).or_insert_with(|| vec![(0, before)]);
        states.push((self.changes, after));
        self.changes
    }

    /// The caller of a put or a copy was told that it is done.
    pub fn acknowledged(&mut self, key: &BlobKey, change: u64) {
        if let Some(states) = self.unsynced.get_mut(key) {
            states.retain(|(number, _)| *number >= change);
            if states.len() < 2 {
                self.unsynced.remove(key);
            }
        }
    }

    /// What is there at `under` and below is durable.
    pub fn persisted(&mut self, under: &BlobKey) {
        let is_gone = |states: &[(u64, Option<Bytes>)]| states.last().is_some_and(|(_, last)| last.is_none());
        self.unsynced.retain(|key, states| !(key == under || key.is_under(under)) || is_gone(states));
    }

    /// Whether a blob is there that a power cut may take.
    pub fn may_lose(&self, key: &BlobKey) -> bool {
        self.unsynced.get(key).is_some_and(|states| {
            let is_there = states.last().is_some_and(|(_, last)| last.is_some());
            is_there && states.iter().any(|(_, state)| state.is_none())
        })
    }

    /// The power fails: returns each key that may be another from here on, with a state that `choose` picks of as many.
    pub fn cut(&mut self, mut choose: impl FnMut(usize) -> usize) -> Vec<(BlobKey, Option<Bytes>)> {
        let lost = std::mem::take(&mut self.unsynced).into_iter();
        lost.map(|(key, mut states)| (key, states.swap_remove(choose(states.len())).1)).collect()
    }
}

#[test]
fn a_cut_takes_any_of_what_is_neither_acknowledged_nor_persisted() {
    let key = |name: &str| -> BlobKey { name.parse().unwrap() };
    let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let mut disk = Disk::default();
    let acknowledged = disk.changed(&key("a/1"), None, bytes("1"));
    disk.acknowledged(&key("a/1"), acknowledged);
    let first = disk.changed(&key("a/2"), bytes("0"), bytes("1"));
    disk.changed(&key("a/2"), bytes("1"), bytes("2"));
    disk.acknowledged(&key("a/2"), first);
    disk.changed(&key("a/3"), None, bytes("3"));
    disk.changed(&key("b/1"), None, bytes("4"));
    disk.persisted(&key("b"));
    // A deletion may be undone, whatever is persisted.
    disk.changed(&key("b/2"), bytes("5"), None);
    disk.persisted(&key("b"));
    assert!(disk.may_lose(&key("a/3")) && !disk.may_lose(&key("a/1")) && !disk.may_lose(&key("a/2")));
    let oldest = disk.cut(|_| 0);
    assert_eq!(oldest, [(key("a/2"), bytes("1")), (key("a/3"), None), (key("b/2"), bytes("5"))]);
    assert!(disk.cut(|_| 0).is_empty(), "what was lost is lost");
}
