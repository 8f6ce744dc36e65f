//! A replica: its number, its zone, its state.

use std::fmt;

/// A replica's number in its pool: from 0, in the order of addition, never reused.
///
/// ```
/// use compute_gallery::placement::Pool;
///
/// let replica = Pool::default().add_replica(None);
/// assert_eq!((replica.number(), replica.to_string().as_str()), (0, "replica 0"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub(super) u32);

impl ReplicaId {
    /// Returns the number.
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
///
/// ```
/// use compute_gallery::placement::Zone;
///
/// assert_eq!(Zone::new(2).to_string(), "zone 2");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(u16);

impl Zone {
    /// Creates a zone from its number.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number.
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
///
/// Exhaustive: a host decides what to do in each state, and a new one should break its match.
///
/// ```
/// use compute_gallery::placement::{Pool, ReplicaState};
///
/// let pool = Pool::default();
/// let replica = pool.add_replica(None);
/// pool.fail(replica)?;
/// assert_eq!(pool.replicas()[0].state, ReplicaState::Failed);
/// assert_eq!(ReplicaState::Failed.to_string(), "failed");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It takes new creations.
    Serving,
    /// It finishes its creations and takes no new ones.
    Draining,
    /// It is lost, with its creations.
    Failed,
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Failed => "failed",
        })
    }
}

/// A snapshot of one replica, from [`Pool::replicas`](super::Pool::replicas).
///
/// ```
/// use compute_gallery::placement::{Pool, Zone};
///
/// let pool = Pool::default();
/// pool.add_replica(Some(Zone::new(2)));
/// let _vms = pool.place_vms(10)?;
/// assert_eq!(pool.replicas()[0].to_string(), "replica 0 in zone 2: serving, 300 units");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its number in the pool.
    pub id: ReplicaId,
    /// `None` if the zone is not known.
    pub zone: Option<Zone>,
    /// Whether it takes new creations.
    pub state: ReplicaState,
    /// The leased units. A full replica has [`Pool::capacity`](super::Pool::capacity), a throttled one more.
    pub load: u64,
}

impl fmt::Display for ReplicaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if let Some(zone) = self.zone {
            write!(f, " in {zone}")?;
        }
        write!(f, ": {}, {} units", self.state, self.load)
    }
}
