//! The copies of one replica: one, or one in each zone of its region.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::holders::Holders;
use super::slot::Slot;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::sync::Mutex;
use crate::host::{Clock, within};
use crate::keys::keyring::RegionKeys;

/// The copies of one replica. A write goes to every copy and succeeds when a majority has it. A copy that fails once,
/// or is late after the majority is done, is left out from then on; a scrub completes it.
#[derive(Clone, Debug)]
pub(crate) struct ZoneCopies {
    slots: Arc<[Slot]>,
    lost: Arc<Mutex<BTreeMap<usize, Error>>>,
    clock: Arc<dyn Clock>,
    grace: Option<Duration>,
}

impl ZoneCopies {
    /// `grace` is the time that the other copies have after the majority is done; `None` is unlimited.
    pub(crate) fn new(slots: Vec<Slot>, clock: Arc<dyn Clock>, grace: Option<Duration>) -> Self {
        Self { slots: slots.into(), lost: Arc::default(), clock, grace }
    }

    /// Returns whether there is more than one copy.
    pub(crate) fn are_several(&self) -> bool {
        self.slots.len() > 1
    }

    /// Returns whether a copy failed and was left out.
    pub(crate) fn have_lost_one(&self) -> bool {
        !self.lost().is_empty()
    }

    /// Returns the copies as holders to read from.
    pub(crate) fn readers(&self) -> Holders {
        Holders::new(self.slots.to_vec())
    }

    /// Returns the keys of the region.
    pub(crate) fn keys(&self) -> RegionKeys {
        self.slots.first().map(|slot| slot.keys().clone()).unwrap_or_default()
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Does `work` in every copy that is not lost, concurrently, and returns the answers of those that succeeded.
    ///
    /// # Errors
    ///
    /// The first failure, if at most half of the copies are left.
    pub(crate) async fn in_each<T, F: Future<Output = Result<T>>>(&self, work: impl Fn(Slot) -> F) -> Result<Vec<T>> {
        let standing = (0..self.slots.len()).filter(|number| !self.lost().contains_key(number));
        let standing: Vec<(usize, Slot)> =
            standing.filter_map(|number| Some((number, self.slots.get(number)?.clone()))).collect();
        let working = standing.iter().map(|(number, slot)| (*number, work(slot.clone()))).collect();
        let mut answers = answers_of_most(working, self.slots.len(), &*self.clock, self.grace).await;
        let mut done = Vec::new();
        for (number, slot) in standing {
            match answers.remove(&number).unwrap_or_else(|| Err(too_late(slot.label()))) {
                Ok(answer) => done.push(answer),
                Err(error) => drop(self.lost().entry(number).or_insert(error)),
            }
        }
        let first = self.lost().values().next().cloned();
        match first {
            Some(error) if done.len() * 2 <= self.slots.len() => Err(error),
            _ => Ok(done),
        }
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Error>> {
        self.lost.lock()
    }
}

/// Runs `working` concurrently and returns the answers by number. After more than half of `all` have succeeded, the
/// others have `grace` left; those that have not answered by then are missing from the result.
pub(crate) async fn answers_of_most<T, F: Future<Output = Result<T>>>(
    working: Vec<(usize, F)>,
    all: usize,
    clock: &dyn Clock,
    grace: Option<Duration>,
) -> BTreeMap<usize, Result<T>> {
    // In boxes: a set keeps room for one more future than it has.
    let numbered = working.into_iter().map(|(number, work)| Box::pin(async move { (number, work.await) }));
    let (mut working, mut answers) = (numbered.collect::<FuturesUnordered<_>>(), BTreeMap::new());
    let mut succeeded = 0;
    while let Some((number, answer)) = working.next().await {
        succeeded += usize::from(answer.is_ok());
        answers.insert(number, answer);
        if succeeded * 2 > all {
            break;
        }
    }
    let others = async {
        while let Some((number, answer)) = working.next().await {
            answers.insert(number, answer);
        }
    };
    within(clock, grace, others).await;
    answers
}

pub(crate) fn too_late(label: &str) -> Error {
    let what = "it did not answer in time after most zones of its region had: scrub the region once it answers";
    Error::new(Problem::new(ErrorKind::Unavailable, "StorageOperationFailed", label, what))
}
