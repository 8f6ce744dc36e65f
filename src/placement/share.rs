//! The parts of a request, each on its replica.

use super::replicas::ReplicaId;

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
