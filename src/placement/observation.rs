//! A look at a pool.

/// What a pool is doing: see [`Pool::observe`](super::Pool::observe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// Replicas that serve.
    pub serving: u32,
    /// What these have to do, in units.
    pub load: u64,
    /// What waits in the queue, in units.
    pub waiting: u64,
    /// What a replica can do at once, in units.
    pub capacity: u64,
}
