//! The parts of a request, each on its replica.

use super::replica::ReplicaId;

/// The part of a request that one replica serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    pub(super) replica: ReplicaId,
    pub(super) count: u32,
    pub(super) throttled: bool,
    pub(super) units: u64,
}

impl Portion {
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

/// At least one portion. One alone, which is the usual, needs no allocation.
#[derive(Clone, Debug)]
pub(super) enum Portions {
    One(Portion),
    Many(Vec<Portion>),
}

impl Portions {
    /// None where there is no portion.
    pub(super) fn of(portions: Vec<Portion>) -> Option<Self> {
        match portions.as_slice() {
            [] => None,
            [one] => Some(Self::One(*one)),
            _ => Some(Self::Many(portions)),
        }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Portion] {
        match self {
            Self::One(portion) => std::slice::from_ref(portion),
            Self::Many(portions) => portions,
        }
    }
}
