//! A snapshot of a pool's load.

/// A snapshot of a pool's load, for an [`Autoscaler`](super::Autoscaler). Made by [`Pool::observe`](super::Pool::observe).
///
/// ```
/// use compute_gallery::placement::{PlacementRequest, Pool};
///
/// let pool = Pool::default();
/// pool.resize(1);
/// let _full = pool.place_vms(20)?;
/// let _waits = pool.acquire(PlacementRequest::vm());
/// let observation = pool.observe();
/// assert_eq!((observation.load, observation.capacity, observation.waiting), (600, 600, 30));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// The number of replicas that serve.
    pub serving: u32,
    /// Their total load, in units.
    pub load: u64,
    /// The size of all queued requests, in units.
    pub waiting: u64,
    /// The capacity of one replica, in units.
    pub capacity: u64,
}
