//! What a caller holds of a pool, and gives back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pool_state::PoolState;
use super::portion::{Portion, Portions};
use super::queue::Grant;
use super::replica::ReplicaId;
use super::request::{Machines, PlacementRequest};
use super::units::Units;
use crate::error::{Error, Result};

/// A pool's state behind its lock, beside what never changes. Pools, leases and waiters share it.
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
        // Only a caller's strategy can panic here, and each of its calls finds and leaves consistent loads.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lease(self: &Arc<Self>, request: &PlacementRequest, portions: Portions) -> Lease {
        Lease::new(self.clone(), portions, matches!(request.machines, Machines::ScaleSet(_)))
    }

    /// Makes a change that may free room, and serves the queue.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut PoolState) -> T) -> T {
        let mut state = self.lock();
        let done = change(&mut state);
        let grants = state.grant();
        drop(state);
        self.send(grants);
        done
    }

    /// Sends granted portions to their waiters. Portions whose receiver has gone are given back and granted to the next.
    ///
    /// ORDER: never while the pool is locked. Sending wakes a task, and a waker may run anything.
    pub(super) fn send(&self, grants: VecDeque<Grant>) {
        let mut unsent = Unsent { pool: self, grants };
        while let Some(grant) = unsent.grants.pop_front() {
            if let Err(portions) = grant.send() {
                let mut state = self.lock();
                state.give_back(portions.as_slice());
                unsent.grants.extend(state.grant());
            }
        }
    }

    /// Refuses a request that is wrong at any load.
    pub(super) fn check(&self, request: &PlacementRequest) -> Result<()> {
        match request.machines {
            Machines::Vms(0) => Err(Error::invalid("vms", "`0` VMs were requested: request at least 1")),
            Machines::ScaleSet(0) => {
                Err(Error::invalid("instances", "a scale set of `0` instances was requested: request at least 1"))
            }
            Machines::ScaleSet(instances) if instances > self.max_scale_set_instances => {
                let what = format!(
                    "a scale set has at most {} instances, not `{instances}`: make several, or raise the limit",
                    self.max_scale_set_instances
                );
                Err(Error::limit_reached("instances", what))
            }
            _ => Ok(()),
        }
    }
}

/// Grants on their way. If a waker panics, the rest is given back: a pool must not lose capacity to a caller's fault.
struct Unsent<'a> {
    pool: &'a SharedPool,
    grants: VecDeque<Grant>,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if !self.grants.is_empty() {
            self.pool.lock().give_back(self.grants.iter().flat_map(Grant::portions));
        }
    }
}

/// The share of a pool that a creation holds: one or more [`Portion`]s. Dropping it, on any thread, gives them back and
/// serves the queue.
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Pool};
///
/// let pool = Pool::default();
/// pool.resize(2);
/// // A replica serves 600 instances.
/// let lease = pool.place(PlacementRequest::scale_set(1_000))?;
/// let counts: Vec<u32> = lease.portions().map(|portion| portion.count()).collect();
/// assert_eq!(counts, [500, 500]);
///
/// lease.finish();
/// assert!(pool.replicas().iter().all(|replica| replica.load == 0));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a lease gives its portions back"]
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

    /// Returns the replica, or the first of several.
    pub fn replica(&self) -> ReplicaId {
        // INVARIANT: a lease has a portion.
        self.portions.as_slice().first().map_or(ReplicaId(0), Portion::replica)
    }

    /// Returns the portions. A replica may occur twice: with a portion that fitted and a throttled one.
    pub fn portions(&self) -> impl Iterator<Item = &Portion> {
        self.portions.as_slice().iter()
    }

    /// Whether any portion is [throttled](Portion::is_throttled).
    pub fn is_throttled(&self) -> bool {
        self.portions().any(Portion::is_throttled)
    }

    /// Splits one VM off, to give it back before the others. `None` for the last VM and for a scale set.
    ///
    /// ```
    /// use compute_gallery::model::StorageAccountType;
    /// use compute_gallery::placement::{PlacementPolicy, Pool, PlacementRequest};
    ///
    /// let pool = Pool::default();
    /// pool.resize(1);
    /// let mut twenty = pool.place(PlacementRequest::vms(20))?;
    /// let one = twenty.split_vm().ok_or("the lease holds 20 VMs")?;
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

    /// Gives the portions back, as dropping does.
    pub fn finish(self) {}
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.change(|state| state.give_back(self.portions.as_slice()));
    }
}
