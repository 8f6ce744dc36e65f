//! Which replica: the one with the least to do. Pure, with exact counts.
//!
//! In one process every load is known, so N deployments over R replicas give each at most ceil(N/R).

mod pool;

pub(crate) use pool::{Lease, Pool};
