//! Machines was placed where, and that it is given back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pool_state::PoolState;
use super::portion::{Portion, Portions};
use super::queue::Grant;
use super::replica::ReplicaId;
use super::request::{Machines, PlacementRequest};
use super::units::Units;
use crate::error::{Error, ErrorKind, Problem, Result};

/// A pool's state behind its lock, with what never changes beside it. Pools, leases and waiters portion it.
#[derive(Debug)]
pub(super) struct SharedPool {
    state: Mutex<PoolState>,
    units: Units,
    max_scale_set_instances: u32,
}

impl SharedPool {
    pub(super) fn new(state: PoolState, max_scale_set_instances: u32) -> Self {
        Self { units: state.units, state: Mutex::new(state), max_scale_set_instances }
    }

    pub(super) fn units(&self) -> &Units {
        &self.units
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Nothing but a strategy of the caller's could panic here, and each of its calls finds and leaves whole loads.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lease(self: &Arc<Self>, request: &PlacementRequest, portions: Portions) -> Lease {
        Lease::new(self.clone(), portions, matches!(request.machines, Machines::ScaleSet(_)))
    }

    /// Changes something that may make room, and serves those who wait for it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut PoolState) -> T) -> T {
        let mut state = self.lock();
        let done = change(&mut state);
        let grants = state.grant();
        drop(state);
        self.send(grants);
        done
    }

    /// Sends portions to those who waited for them. The portions of a receiver that has gone are given back, and may be what
    /// the next one waits for.
    ///
    /// ORDER: never while the pool is locked. Sending wakes a task, and a waker may run anything.
    pub(super) fn send(&self, mut grants: Vec<Grant>) {
        while !grants.is_empty() {
            let returned: Vec<Portions> = grants.into_iter().filter_map(|grant| grant.send().err()).collect();
            if returned.is_empty() {
                return;
            }
            let mut state = self.lock();
            state.give_back(returned.iter().flat_map(Portions::as_slice));
            grants = state.grant();
        }
    }

    /// Machines is wrong with a request in itself.
    pub(super) fn check(&self, request: &PlacementRequest) -> Result<()> {
        match request.machines {
            Machines::Vms(0) => Err(Error::invalid("vms", "the number of VMs must be at least 1, but it is 0")),
            Machines::ScaleSet(0) => {
                Err(Error::invalid("instances", "a scale set must have at least 1 instance here, but it has 0"))
            }
            Machines::ScaleSet(instances) if instances > self.max_scale_set_instances => {
                let what = format!(
                    "a scale set can have up to {} instances, but this one has {instances}; make several",
                    self.max_scale_set_instances
                );
                Err(Error::new(Problem::new(ErrorKind::LimitReached, "OperationNotAllowed", "instances", what)))
            }
            _ => Ok(()),
        }
    }
}

/// A part of the replicas, held for a creation. It is given back when this is dropped, on whatever thread, and whoever
/// is first in the queue may take it.
#[derive(Debug)]
#[must_use = "what is placed is given back when its lease is dropped"]
pub struct Lease {
    shared: Arc<SharedPool>,
    portions: Portions,
    is_scale_set: bool,
}

impl Lease {
    #[inline]
    pub(super) fn new(shared: Arc<SharedPool>, portions: Portions, is_scale_set: bool) -> Self {
        Self { shared, portions, is_scale_set }
    }

    /// The replica; the first of several.
    pub fn replica(&self) -> ReplicaId {
        // A lease has a portion.
        self.portions.as_slice().first().map_or(ReplicaId(0), Portion::replica)
    }

    /// Which replica serves how many; a replica may stand here twice, with what fitted and what is throttled.
    pub fn portions(&self) -> impl Iterator<Item = &Portion> {
        self.portions.as_slice().iter()
    }

    /// Whether some of it was placed on a replica without room for it.
    pub fn is_throttled(&self) -> bool {
        self.portions().any(Portion::is_throttled)
    }

    /// Splits one VM off, so that it can be given back before the others; `None` where it is the last, or a scale set.
    ///
    /// ```
    /// use compute_gallery::model::StorageAccountType;
    /// use compute_gallery::placement::{PlacementPolicy, Pool, PlacementRequest};
    ///
    /// let pool = Pool::default();
    /// pool.resize(1);
    /// let mut twenty = pool.place(PlacementRequest::vms(20))?;
    /// let one = twenty.split_vm().ok_or("it holds twenty")?;
    /// drop(one);
    /// assert_eq!(twenty.portions().map(|portion| portion.count()).sum::<u32>(), 19);
    /// let _another = pool.place(PlacementRequest::vm())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split_vm(&mut self) -> Option<Lease> {
        if self.is_scale_set {
            return None;
        }
        let portion = match &mut self.portions {
            Portions::One(portion) if portion.count == 1 => return None,
            Portions::One(portion) => portion,
            Portions::Many(portions) => portions.last_mut()?,
        };
        let units = portion.units / u64::from(portion.count);
        portion.count -= 1;
        portion.units -= units;
        let one = Portion { count: 1, units, ..*portion };
        if let Portions::Many(portions) = &mut self.portions {
            portions.pop_if(|portion| portion.count == 0);
            if let [last] = portions.as_slice() {
                self.portions = Portions::One(*last);
            }
        }
        Some(Self::new(self.shared.clone(), Portions::One(one), false))
    }

    /// Gives it back, as dropping it does.
    pub fn finish(self) {}
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.change(|state| state.give_back(self.portions.as_slice()));
    }
}
