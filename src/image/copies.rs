//! The copies of one replica: one, or one in every zone of its region.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;

use super::replicas::Replicas;
use super::slot::Slot;
use crate::error::{Error, Result};

/// Where one replica is kept: what is written is written to every copy, and counts when most of them have it. A copy that
/// fails once is left out from there on; a scrub brings it what it lacks.
#[derive(Clone, Debug)]
pub(crate) struct Copies {
    slots: Arc<[Slot]>,
    lost: Arc<Mutex<BTreeMap<usize, Error>>>,
}

impl Copies {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self { slots: slots.into(), lost: Arc::default() }
    }

    /// Whether there is more than one.
    pub(crate) fn are_several(&self) -> bool {
        self.slots.len() > 1
    }

    /// Whether one has failed and was left out.
    pub(crate) fn have_lost_one(&self) -> bool {
        !self.lost().is_empty()
    }

    /// To read from whichever has it.
    pub(crate) fn readers(&self) -> Replicas {
        Replicas::new(self.slots.to_vec())
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Does the same in every copy that is not lost, at once, and gives the answers of those that could.
    ///
    /// # Errors
    ///
    /// The first failure, where no more than half of the copies are left.
    pub(crate) async fn in_each<T, F: Future<Output = Result<T>>>(&self, work: impl Fn(Slot) -> F) -> Result<Vec<T>> {
        let standing: Vec<usize> = (0..self.slots.len()).filter(|number| !self.lost().contains_key(number)).collect();
        let working = standing.iter().filter_map(|number| Some((*number, self.slots.get(*number)?.clone())));
        let answers = join_all(working.map(|(number, slot)| {
            let answer = work(slot);
            async move { (number, answer.await) }
        }));
        let mut done = Vec::new();
        for (number, answer) in answers.await {
            match answer {
                Ok(answer) => done.push(answer),
                Err(error) => {
                    self.lost().entry(number).or_insert(error);
                }
            }
        }
        let first = self.lost().values().next().cloned();
        match first {
            Some(error) if done.len() * 2 <= self.slots.len() => Err(error),
            _ => Ok(done),
        }
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Error>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
