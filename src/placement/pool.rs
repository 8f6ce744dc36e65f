//! The replicas of one version in one region, and what each is doing.

use std::sync::{Arc, Mutex, PoisonError};

/// The replicas and their loads.
#[derive(Debug)]
pub(crate) struct Pool {
    loads: Mutex<Vec<u32>>,
}

/// A share of a replica; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    replica: usize,
}

impl Pool {
    pub(crate) fn new(replicas: u32) -> Arc<Self> {
        Arc::new(Self { loads: Mutex::new(vec![0; replicas as usize]) })
    }

    /// Takes a share of the replica with the least to do, the first of several; `None` where there is no replica.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Lease> {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        let (replica, load) = loads.iter_mut().enumerate().min_by_key(|(_, load)| **load)?;
        *load += 1;
        Some(Lease { pool: self.clone(), replica })
    }
}

impl Lease {
    /// The number of the replica's slot.
    pub(crate) fn replica(&self) -> u32 {
        self.replica as u32
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut loads = self.pool.loads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(load) = loads.get_mut(self.replica) {
            *load = load.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// After any placements and releases, a placement takes a replica with the least load.
        #[test]
        fn the_least_loaded_is_taken(replicas in 1_u32..9, steps in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 0..200)) {
            let pool = Pool::new(replicas);
            let mut leases: Vec<Lease> = Vec::new();
            for (release, which) in steps {
                if release && !leases.is_empty() {
                    leases.swap_remove(which.index(leases.len()));
                    continue;
                }
                let load = |replica| leases.iter().filter(|lease| lease.replica() == replica).count();
                let least = (0..replicas).map(load).min();
                let lease = pool.place().unwrap();
                prop_assert_eq!(Some(load(lease.replica())), least);
                leases.push(lease);
            }
        }
    }

    #[test]
    fn no_replica_no_lease() {
        assert!(Pool::new(0).place().is_none());
    }
}
