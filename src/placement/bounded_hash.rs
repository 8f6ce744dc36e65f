//! Affinity: requests of the same name go to the same replica, as long as that does not overload it.

use super::random::mix;
use super::replicas::{ReplicaId, Replicas};
use super::request::Request;
use super::strategy::{Explanation, Strategy};

/// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016; HAProxy's `hash-balance-factor`).
///
/// The [name](Request::with_affinity) of a request is a place on a ring; the first replica after it takes the request,
/// unless that would give it more than 1 + slack times the average, or more than it can do. So a host meets the replica
/// whose chunks it has cached, when replicas come or go few hosts change, and none is overloaded. A request
/// without a name goes to the least loaded replica.
///
/// ```
/// use compute_gallery::model::StorageAccountType;
/// use compute_gallery::placement::{BoundedHash, PlacementPolicy, Pool, Request};
///
/// let strategy = BoundedHash::default();
/// let pool = Pool::new(&PlacementPolicy::default(), StorageAccountType::StandardLrs).with_strategy(strategy);
/// pool.resize(6);
/// let request = Request::vm().with_affinity("host-17");
/// let first = pool.place(request)?.replica();
/// assert_eq!(pool.place(request)?.replica(), first);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BoundedHash {
    slack_percent: u32,
    /// Places on the ring, with the replicas that stand there.
    ring: Vec<(u64, ReplicaId)>,
    generation: Option<u64>,
}

/// Places of one replica on the ring. With 100, arcs differ by about a tenth.
const PLACES: u64 = 100;

impl Default for BoundedHash {
    /// With a slack of 25 %, which is what HAProxy's manual calls a good starting point (a factor of 125).
    fn default() -> Self {
        Self::new(25)
    }
}

impl BoundedHash {
    /// With a slack above the average load, in percent. Less slack is a better balance and less affinity.
    pub fn new(slack_percent: u32) -> Self {
        Self { slack_percent, ring: Vec::new(), generation: None }
    }

    fn refresh(&mut self, replicas: &Replicas<'_>) {
        if self.generation == Some(replicas.generation()) {
            return;
        }
        self.generation = Some(replicas.generation());
        self.ring.clear();
        for id in replicas.everywhere().iter() {
            let number = u64::from(id.number());
            self.ring.extend((0..PLACES).map(|place| (mix(mix(number + 1) ^ place), id)));
        }
        self.ring.sort_unstable();
    }

    /// The most that a replica may have to do, with the request, in units: whole requests, so that a replica with no more
    /// than the average always has room.
    fn bound(&self, replicas: &Replicas<'_>) -> u64 {
        let (units, count) = (u128::from(replicas.units().max(1)), replicas.len().max(1) as u128);
        let total = u128::from(replicas.total_load()) + units;
        let requests = (total * u128::from(100 + self.slack_percent)).div_ceil(100 * count * units);
        u64::try_from(requests * units).unwrap_or(u64::MAX).min(replicas.capacity())
    }
}

impl Strategy for BoundedHash {
    fn choose(&mut self, replicas: &Replicas<'_>, request: &Request, why: &mut Explanation) -> Option<ReplicaId> {
        let Some(hash) = request.affinity() else {
            why.because(|| "the request has no affinity".into());
            return None;
        };
        self.refresh(replicas);
        let bound = self.bound(replicas);
        let start = self.ring.partition_point(|(place, _)| *place < hash);
        let (before, after) = self.ring.split_at_checked(start)?;
        let mut refused = None;
        for (_, id) in after.iter().chain(before) {
            if refused == Some(*id) || !replicas.contains(*id) {
                continue;
            }
            if replicas.load(*id).saturating_add(replicas.units()) <= bound {
                why.because(|| format!("{id} is the next on the ring with at most {bound} units to do"));
                return Some(*id);
            }
            why.because(|| format!("{id} is the next on the ring, but it would have more than {bound} units to do"));
            refused = Some(*id);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::model::StorageAccountType;
    use crate::placement::lease::Lease;
    use crate::placement::policy::PlacementPolicy;
    use crate::placement::pool::Pool;

    fn pool(replicas: u32) -> Pool {
        let pool = Pool::new(&PlacementPolicy::default(), StorageAccountType::StandardLrs);
        let pool = pool.with_strategy(BoundedHash::default());
        pool.resize(replicas);
        pool
    }

    fn homes(pool: &Pool) -> HashMap<u32, ReplicaId> {
        let home = |host: u32| pool.place(Request::vm().with_affinity(&format!("host-{host}"))).unwrap().replica();
        (0..1_000).map(|host| (host, home(host))).collect()
    }

    #[test]
    fn few_hosts_change_when_a_replica_joins() {
        let pool = pool(10);
        let before = homes(&pool);
        pool.join(None);
        let changed = homes(&pool).iter().filter(|(host, home)| before[*host] != **home).count();
        // One in 11 is the least that can change; the ring's arcs differ.
        assert!((50..150).contains(&changed), "{changed}");
    }

    #[test]
    fn no_replica_has_more_than_the_slack_allows() {
        let pool = pool(10);
        let mut leases: Vec<Lease> = Vec::new();
        for placed in 1_u64..=160 {
            // All from one host: without the bound, all would be on one replica.
            leases.push(pool.place(Request::vm().with_affinity("host")).unwrap());
            let most = pool.replicas().iter().map(|replica| replica.load / 30).max().unwrap();
            assert!(most <= (placed * 125).div_ceil(1_000), "{most} of {placed}");
        }
        leases.extend((160..200).map(|_| pool.place(Request::vm().with_affinity("host")).unwrap()));
        assert!(pool.place(Request::vm().with_affinity("host")).is_err());
    }
}
