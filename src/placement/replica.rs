//! A replica: its number, its zone, whether it serves.

use std::fmt;

/// A replica's number in its pool, from 0 in the order in which they joined. It is never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub(super) u32);

impl ReplicaId {
    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {}", self.0)
    }
}

/// An availability zone of a region, by its number: 1, 2 or 3 in Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(u16);

impl Zone {
    /// The zone of that number.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {}", self.0)
    }
}

/// Whether a replica takes new creations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It does.
    Serving,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It is lost, and what it was doing with it.
    Failed,
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Which it is.
    pub id: ReplicaId,
    /// Where it is, where that is known.
    pub zone: Option<Zone>,
    /// Whether it takes new creations.
    pub state: ReplicaState,
    /// The units that are leased; a replica that is full has [`Pool::capacity`](super::Pool::capacity).
    pub load: u64,
}
