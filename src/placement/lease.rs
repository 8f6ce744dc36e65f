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
pub(super) enum Shares {
    One(Share),
    Many(Vec<Share>),
}

impl Shares {
    /// None where there is no share.
    pub(super) fn of(shares: Vec<Share>) -> Option<Self> {
        match shares.as_slice() {
            [] => None,
            [one] => Some(Self::One(*one)),
            _ => Some(Self::Many(shares)),
        }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Share] {
        match self {
            Self::One(share) => std::slice::from_ref(share),
            Self::Many(shares) => shares,
        }
    }
}

/// A part of the replicas, held for a creation. It is given back when this is dropped, on whatever thread, and whoever
/// is first in the queue may take it.
#[derive(Debug)]
#[must_use = "what is placed is given back when its lease is dropped"]
pub struct Lease {
    shared: Arc<Shared>,
    shares: Shares,
    is_scale_set: bool,
}

impl Lease {
    #[inline]
    pub(super) fn new(shared: Arc<Shared>, shares: Shares, is_scale_set: bool) -> Self {
        Self { shared, shares, is_scale_set }
    }

    /// The replica; the first of several.
    pub fn replica(&self) -> ReplicaId {
        // A lease has a share.
        self.shares.as_slice().first().map_or(ReplicaId(0), Share::replica)
    }

    /// Which replica serves how many; a replica may stand here twice, with what fitted and what is throttled.
    pub fn shares(&self) -> impl Iterator<Item = &Share> {
        self.shares.as_slice().iter()
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
        if self.is_scale_set {
            return None;
        }
        let share = match &mut self.shares {
            Shares::One(share) if share.count == 1 => return None,
            Shares::One(share) => share,
            Shares::Many(shares) => shares.last_mut()?,
        };
        let units = share.units / u64::from(share.count);
        share.count -= 1;
        share.units -= units;
        let one = Share { count: 1, units, ..*share };
        if let Shares::Many(shares) = &mut self.shares {
            shares.pop_if(|share| share.count == 0);
            if let [last] = shares.as_slice() {
                self.shares = Shares::One(*last);
            }
        }
        Some(Self::new(self.shared.clone(), Shares::One(one), false))
    }

    /// Gives it back, as dropping it does.
    pub fn finish(self) {}
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.release(self.shares.as_slice());
    }
}
