//! The entries that no checkpoint has yet: when the next one is due.

use std::collections::BTreeMap;

use super::checkpoint::Root;
use crate::content::digest::Digest;

/// A checkpoint is due after so many entries,
const ENTRIES: usize = 64;

/// or so many bytes of log.
const BYTES: u64 = 1 << 20;

/// The entries after which a checkpoint that failed is tried again.
const AGAIN: u64 = 8;

/// A backlog of so many times as much makes opening slow.
const LONG: u64 = 4;

/// The newest checkpoint that this process knows, and the entries since then.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) root: Option<Root>,
    entries: BTreeMap<u64, Entry>,
    /// The sum of their lengths.
    bytes: u64,
    /// After a failure, the next attempt is not before this commit.
    not_before: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: u64,
    digest: Digest,
    /// Whether this process has put it.
    is_own: bool,
}

impl Backlog {
    pub(super) fn new(root: Option<Root>) -> Self {
        Self { root, ..Self::default() }
    }

    /// Notes an entry that was read.
    pub(super) fn read(&mut self, number: u64, bytes: u64, digest: Digest) {
        self.add(number, Entry { bytes, digest, is_own: false });
    }

    /// Notes an entry of this process.
    pub(super) fn put(&mut self, number: u64, bytes: u64, digest: Digest) {
        self.add(number, Entry { bytes, digest, is_own: true });
    }

    /// Returns each entry's hash.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, Digest)> {
        self.entries.iter().map(|(number, entry)| (*number, entry.digest))
    }

    fn add(&mut self, number: u64, entry: Entry) {
        if self.since() < number {
            // A process may read its own entry before its put is answered.
            let there = self.entries.insert(number, entry);
            self.bytes = self.bytes + entry.bytes - there.map_or(0, |there| there.bytes);
        }
    }

    /// Notes a checkpoint.
    pub(super) fn has(&mut self, root: Option<Root>) {
        self.root = root;
        self.entries = self.entries.split_off(&(self.since() + 1));
        self.bytes = self.entries.values().map(|entry| entry.bytes).sum();
    }

    /// Notes that the checkpoint of commit `number` failed.
    pub(super) fn failed(&mut self, number: u64) {
        self.not_before = number + AGAIN;
    }

    fn since(&self) -> u64 {
        self.root.as_ref().map_or(0, |root| root.number)
    }

    /// Returns whether a checkpoint is due that this process writes: its own entry made it due, or it is overdue by as much
    /// again, since the process whose entry made it due may be gone.
    pub(super) fn is_due(&self) -> bool {
        let is_late = self.entries.last_key_value().is_some_and(|(newest, _)| *newest >= self.not_before);
        let is_own = || self.made_due().is_some_and(|entry| entry.is_own);
        is_late && (self.is_over(2) || is_own())
    }

    /// Returns whether so much of the log has no checkpoint that opening is slow.
    pub(super) fn is_long(&self) -> bool {
        self.is_over(LONG)
    }

    fn is_over(&self, times: u64) -> bool {
        self.entries.len() as u64 >= times * ENTRIES as u64 || self.bytes >= times * BYTES
    }

    /// Returns the entry that made a checkpoint due.
    fn made_due(&self) -> Option<Entry> {
        let mut bytes = 0;
        let by_bytes = |entry: &&Entry| {
            bytes += entry.bytes;
            bytes >= BYTES
        };
        let nth = self.entries.values().nth(ENTRIES - 1);
        let first_over = self.entries.values().take(ENTRIES).find(by_bytes);
        first_over.or(nth).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::of(b"")
    }

    #[test]
    fn a_checkpoint_is_due_by_number_and_by_bytes() {
        let mut backlog = Backlog::default();
        (1..64).for_each(|number| backlog.put(number, 100, digest()));
        assert!(!backlog.is_due());
        backlog.put(64, 100, digest());
        assert!(backlog.is_due());
        let mut backlog = Backlog::default();
        (1..4).for_each(|number| backlog.put(number, BYTES / 4, digest()));
        assert!(!backlog.is_due());
        backlog.put(4, BYTES / 4, digest());
        assert!(backlog.is_due());
    }

    #[test]
    fn it_is_written_by_the_process_whose_entry_made_it_due_and_by_others_when_it_is_overdue() {
        let mut backlog = Backlog::default();
        (1..64).for_each(|number| backlog.put(number, 100, digest()));
        backlog.read(64, 100, digest());
        (65..128).for_each(|number| backlog.put(number, 100, digest()));
        assert!(!backlog.is_due());
        backlog.put(128, 100, digest());
        assert!(backlog.is_due());
        backlog.failed(128);
        assert!(!backlog.is_due());
        (129..=136).for_each(|number| backlog.put(number, 100, digest()));
        assert!(backlog.is_due() && !backlog.is_long());
        (137..=256).for_each(|number| backlog.read(number, 100, digest()));
        assert!(backlog.is_long());
    }
}
