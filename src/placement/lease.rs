//! What was placed where, and that it is given back.

use std::sync::Arc;

use super::ReplicaId;
use super::pool::Shared;

/// The part of a request that one replica serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub(super) replica: ReplicaId,
    pub(super) count: u32,
    pub(super) throttled: bool,
    pub(super) units: u64,
}

impl Share {
    /// The replica.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The VMs, or the instances of the scale set, that it serves.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What that is of the replica's [capacity](super::Pool::capacity), in units.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Whether it was placed on a replica without room for it.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }
}

/// At least one share. One alone, which is the usual, needs no allocation.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    first: Share,
    more: Vec<Share>,
}

impl From<Share> for Shares {
    fn from(first: Share) -> Self {
        Self { first, more: Vec::new() }
    }
}

impl Shares {
    /// None where there is no share.
    pub(super) fn of(shares: Vec<Share>) -> Option<Self> {
        let mut shares = shares.into_iter();
        Some(Self { first: shares.next()?, more: shares.collect() })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Share> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// A part of the replicas, held for a creation. It is given back when this is dropped, on whatever thread, and whoever is first in
/// the queue may take it.
#[derive(Debug)]
#[must_use = "what is placed is given back when its lease is dropped"]
pub struct Lease {
    shared: Arc<Shared>,
    shares: Shares,
    /// Of each VM; `None` for a scale set, which is not split.
    vm_units: Option<u64>,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, shares: Shares, vm_units: Option<u64>) -> Self {
        Self { shared, shares, vm_units }
    }

    /// The replica; the first of several.
    pub fn replica(&self) -> ReplicaId {
        self.shares.first.replica
    }

    /// Which replica serves how many; a replica may stand here twice, with what fitted and what is throttled.
    pub fn shares(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter()
    }

    /// Whether some of it was placed on a replica without room for it.
    pub fn is_throttled(&self) -> bool {
        self.shares().any(Share::is_throttled)
    }

    /// Splits one VM off, so that it can be given back before the others; `None` where it is the last, or a scale set.
    ///
    /// ```
    /// use compute_gallery::model::StorageAccountType;
    /// use compute_gallery::placement::{PlacementPolicy, Pool, Request};
    ///
    /// let pool = Pool::new(&PlacementPolicy::default(), StorageAccountType::StandardLrs);
    /// pool.resize(1);
    /// let mut twenty = pool.place(Request::vms(20))?;
    /// let one = twenty.split_vm().ok_or("it holds twenty")?;
    /// drop(one);
    /// assert_eq!(twenty.shares().map(|share| share.count()).sum::<u32>(), 19);
    /// let _another = pool.place(Request::vm())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn split_vm(&mut self) -> Option<Lease> {
        let vm = self.vm_units?;
        let last = match self.shares.more.last_mut() {
            Some(share) => share,
            None if self.shares.first.count > 1 => &mut self.shares.first,
            None => return None,
        };
        last.count -= 1;
        last.units -= vm;
        let one = Share { count: 1, units: vm, ..*last };
        self.shares.more.pop_if(|share| share.count == 0);
        Some(Self::new(self.shared.clone(), one.into(), Some(vm)))
    }

    /// Gives it back, as dropping it does.
    pub fn finish(self) {}
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.release(&self.shares);
    }
}
