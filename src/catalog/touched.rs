//! The records that changed since a checkpoint: what the next one has to write.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record_key::RecordKey;

/// The records that changed or went after a commit, the last change first. A clone shares the list.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    since: u64,
    last: Option<Arc<Touch>>,
}

#[derive(Debug)]
struct Touch {
    key: RecordKey,
    number: u64,
    before: Option<Arc<Touch>>,
}

impl Drop for Touch {
    /// One after the other: a long list would overflow the stack.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some(mut touch) = next.and_then(Arc::into_inner) {
            next = touch.before.take();
        }
    }
}

impl Touched {
    /// Returns an empty list of what changes after commit `number`.
    pub(super) fn since(number: u64) -> Self {
        Self { since: number, last: None }
    }

    /// Notes that commit `number` changes a record.
    pub(super) fn push(&mut self, key: RecordKey, number: u64) {
        let before = self.last.take();
        self.last = Some(Arc::new(Touch { key, number, before }));
    }

    fn all_after(&self, number: u64) -> impl Iterator<Item = &Touch> {
        let touches = std::iter::successors(self.last.as_deref(), |touch| touch.before.as_deref());
        touches.take_while(move |touch| touch.number > number)
    }

    /// Returns what changed after commit `number`; `None` if the list begins later.
    pub(super) fn after(&self, number: u64) -> Option<BTreeSet<&RecordKey>> {
        (self.since <= number).then(|| self.all_after(number).map(|touch| &touch.key).collect())
    }

    /// Forgets what changed up to commit `number`.
    pub(super) fn forget(&mut self, number: u64) {
        if number <= self.since {
            return;
        }
        let mut later = Self::since(number);
        let touches: Vec<&Touch> = self.all_after(number).collect();
        touches.iter().rev().for_each(|touch| later.push(touch.key.clone(), touch.number));
        *self = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> RecordKey {
        RecordKey::Version(number, "1.0.0".parse().unwrap())
    }

    #[test]
    fn it_has_what_changed_after_a_commit_and_says_when_it_does_not_know() {
        let mut touched = Touched::since(5);
        (6..10).for_each(|number| touched.push(key(number % 2), number));
        let before = touched.clone();
        assert_eq!(touched.after(4), None);
        assert_eq!(touched.after(5), Some([key(0), key(1)].iter().collect()));
        assert_eq!(touched.after(8), Some([key(1)].iter().collect()));
        touched.forget(8);
        assert_eq!((touched.after(7), touched.after(8).map(|keys| keys.len())), (None, Some(1)));
        assert_eq!(before.after(5).map(|keys| keys.len()), Some(2));
    }

    #[test]
    fn a_long_list_is_dropped_on_a_small_stack() {
        let mut touched = Touched::default();
        (0..500_000).for_each(|number| touched.push(key(number), number + 1));
        assert_eq!(touched.after(499_999).map(|keys| keys.len()), Some(1));
    }
}
