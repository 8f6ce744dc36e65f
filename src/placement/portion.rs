//! The parts of a request, each on its replica.

use super::replica::ReplicaId;

/// The part of a request that one replica serves. A [`Lease`](super::Lease) holds one or more.
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Pool};
///
/// let pool = Pool::default();
/// pool.resize(1);
/// let lease = pool.place(PlacementRequest::vms(25).with_throttling())?;
/// let portions: Vec<_> = lease.portions().map(|portion| (portion.count(), portion.is_throttled())).collect();
/// assert_eq!(portions, [(20, false), (5, true)]);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    pub(super) replica: ReplicaId,
    pub(super) count: u32,
    pub(super) throttled: bool,
    pub(super) units: u64,
}

impl Portion {
    /// Returns the replica that serves it.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Returns the number of VMs, or of the scale set's instances.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns its size in units of the replica's [capacity](super::Pool::capacity).
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Whether its replica had no room for it, so that its creations are slow.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }
}

/// At least one portion. The usual case of one needs no allocation.
#[derive(Clone, Debug)]
pub(super) enum Portions {
    One(Portion),
    Many(Vec<Portion>),
}

impl Portions {
    /// `None` without a portion.
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
