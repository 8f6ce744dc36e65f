//! Entries of the operations that wait.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::value::RawValue;

use super::entry::{Entry, EntryChange, Nonce};
use super::frame::FORMAT;
use super::log::Catalog;
use super::pending::{Batch, Changes, Draft, Pending};
use super::state::State;
use crate::content::names::UploadId;
use crate::error::{Error, Result};
use crate::host::draw;
use crate::store::MAX_BLOB_BYTES;

/// An entry takes no further operation that makes it longer than so many bytes,
const BYTES: u64 = 4 << 20;

/// and at most so many operations.
const OPERATIONS: usize = 10_000;

/// The longest change of one operation: an entry is one blob, and there is a little around the change.
const LONGEST: u64 = MAX_BLOB_BYTES - (4 << 10);

/// What becomes of waiting operations on a state.
pub(super) enum Prepared {
    /// An entry of the first of them. The others are for the next entry.
    Entry(Batch, Vec<Pending>),
    /// None of the first changes anything: each is refused, or has nothing to do. The others are still to be checked.
    Nothing(Vec<(Pending, Result<()>)>, Vec<Pending>),
}

impl Catalog {
    /// Makes one entry of the first of `waiting`. After an error, they have been answered.
    pub(super) fn prepare(&self, state: &Arc<State>, mut waiting: Vec<Pending>) -> Option<Prepared> {
        loop {
            // Later than the previous entry, whatever this machine's clock shows.
            let time = self.clock.now().trunc_subsecs(6).max(state.time() + TimeDelta::microseconds(1));
            let Filled { next, changes, members, changing, later } = fill(state, waiting, time);
            if changes.is_empty() {
                return Some(Prepared::Nothing(members, later));
            }
            let (nonce, bytes, next) = match self.entry_after(state, changes, next, time) {
                Ok(entry) => entry,
                Err(error) => {
                    members.into_iter().for_each(|(pending, _)| pending.answer(Err(error.clone())));
                    later.into_iter().for_each(|pending| pending.answer(Err(error.clone())));
                    return None;
                }
            };
            let is_sent = |at: &usize| members.get(*at).is_some_and(|(pending, _)| pending.stage.send());
            // Each of them, so that all of the entry's operations are known as sent.
            if changing.iter().filter(|at| is_sent(at)).count() == changing.len() {
                let draft = Draft { number: next.number(), nonce, bytes };
                return Some(Prepared::Entry(Batch { draft, next: Arc::new(next), is_sent: false, members }, later));
            }
            // The time of one was up meanwhile.
            let wanted = members.into_iter().map(|(pending, _)| pending).chain(later);
            waiting = wanted.filter(Pending::is_wanted).collect();
        }
    }

    /// Encodes the entry whose changes lead from `state` to `next`.
    fn entry_after(
        &self,
        state: &State,
        changes: Vec<Box<RawValue>>,
        next: State,
        time: DateTime<Utc>,
    ) -> Result<(Nonce, Bytes, State)> {
        let nonce = Nonce(UploadId::from_bytes(draw(&*self.entropy, "drawing a nonce")?));
        let (number, previous) = (state.number() + 1, state.head());
        let (digest, bytes) = Entry { format: FORMAT, number, nonce, previous, time, changes }.encode()?;
        Ok((nonce, bytes, next.committed(digest, time)))
    }
}

/// An entry that is being filled.
struct Filled {
    next: State,
    /// Encoded.
    changes: Vec<Box<RawValue>>,
    /// The operations, each with the result of its check.
    members: Vec<(Pending, Result<()>)>,
    /// The positions of those that change something.
    changing: Vec<usize>,
    /// Those that did not fit.
    later: Vec<Pending>,
}

/// Checks the operations one after the other, each on the state after the one before, until an entry is full.
fn fill(state: &State, waiting: Vec<Pending>, time: DateTime<Utc>) -> Filled {
    let mut filled = Filled {
        next: state.clone(),
        changes: Vec::new(),
        members: Vec::with_capacity(waiting.len()),
        changing: Vec::new(),
        later: Vec::new(),
    };
    let (mut waiting, mut bytes) = (waiting.into_iter(), 0);
    for mut pending in waiting.by_ref() {
        if filled.members.len() == OPERATIONS {
            filled.later.push(pending);
            break;
        }
        let verdict = match change_of(&mut pending, &filled.next, time) {
            Ok(Some(change)) if bytes > 0 && bytes + change.bytes() > BYTES => {
                filled.later.push(pending);
                break;
            }
            Ok(Some(change)) => {
                bytes += change.bytes();
                filled.next = change.after;
                filled.changes.push(change.encoded);
                filled.changing.push(filled.members.len());
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        filled.members.push((pending, verdict));
    }
    filled.later.extend(waiting);
    filled
}

/// What an operation changes.
struct Change {
    encoded: Box<RawValue>,
    after: State,
}

impl Change {
    fn bytes(&self) -> u64 {
        self.encoded.get().len() as u64
    }
}

/// Returns what an operation changes, if anything.
fn change_of(pending: &mut Pending, state: &State, time: DateTime<Utc>) -> Result<Option<Change>> {
    let Changes { events, authorization } = (pending.check)(state)?;
    if events.is_empty() {
        return Ok(None);
    }
    // On a copy: if one of the events does not apply, none does.
    let mut after = state.clone();
    events.iter().try_for_each(|event| after.apply(event, time))?;
    let change = EntryChange { caller: pending.caller.clone(), authorization, events };
    let encoded = serde_json::value::to_raw_value(&change)
        .map_err(|error| Error::corrupt("catalog", "an entry cannot be written").with_source(error))?;
    let change = Change { encoded, after };
    match change.bytes() > LONGEST {
        true => {
            let bytes = change.bytes();
            let what = format!("the operation changes {bytes} bytes at once, and a commit holds {LONGEST}: divide it");
            Err(Error::limit_reached("catalog", what))
        }
        false => Ok(Some(change)),
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::super::event::Event;
    use super::*;
    use crate::ErrorKind;
    use crate::host::{SystemClock, SystemEntropy, Workers};
    use crate::model::Gallery;
    use crate::store::MemoryStore;

    fn create(number: usize, description: String) -> impl FnMut(&State) -> Result<Changes> {
        let id = format!("/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g{number}");
        let gallery = Gallery::new(id.parse().unwrap(), "westeurope".parse().unwrap()).with_description(description);
        let event = Event::GalleryCreated { gallery };
        move |_| Ok(Changes { events: vec![event.clone()], authorization: None })
    }

    #[test]
    fn an_operation_that_is_too_large_fails_alone_and_those_of_a_large_entry_follow_each_other() {
        block_on(async {
            let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
            let catalog = Catalog::create(Arc::new(MemoryStore::new()), clock, entropy, Workers::inline(), false).await;
            let (catalog, caller) = (Arc::new(catalog.unwrap()), "test".parse().unwrap());
            let commit = |number, bytes| catalog.commit(&caller, create(number, "x".repeat(bytes)));
            let large = 3 << 20;
            let (too_large, small, first, second) =
                futures::join!(commit(1, 65 << 20), commit(2, 1), commit(3, large), commit(4, large));
            let error = too_large.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitReached);
            assert!(error.to_string().contains("divide it"), "{error}");
            assert_eq!(
                [small, first, second].map(|state| state.unwrap().galleries(None).count()).iter().max(),
                Some(&3)
            );
            // One that no other fits beside has an entry of its own.
            assert_eq!(commit(5, 9 << 20).await.unwrap().galleries(None).count(), 4);
        });
    }
}
