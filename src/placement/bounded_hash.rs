//! Affinity: requests of one name go to one replica, unless that overloads it.

use super::random::mix;
use super::replica::ReplicaId;
use super::replica_table::Candidates;
use super::request::PlacementRequest;
use super::strategy::{Explanation, Strategy};

/// Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016; HAProxy's `hash-balance-factor`).
///
/// The [name](PlacementRequest::with_affinity) of a request is a point on a ring. The first replica behind it takes the
/// request, unless its load would exceed 1 + slack times the average, or its capacity. A host thus meets the replica
/// whose chunks it has cached, few hosts change when replicas come or go, and no replica is overloaded. A request without
/// a name goes to the least loaded replica.
///
/// ```
/// use compute_gallery::model::StorageAccountType;
/// use compute_gallery::placement::{BoundedHash, PlacementPolicy, Pool, PlacementRequest};
///
/// let strategy = BoundedHash::default();
/// let pool = Pool::default().with_strategy(strategy);
/// pool.resize(6);
/// let request = PlacementRequest::vm().with_affinity("host-17");
/// let first = pool.place(request)?.replica();
/// assert_eq!(pool.place(request)?.replica(), first);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BoundedHash {
    slack_percent: u32,
    /// Points on the ring, each with its replica.
    ring: Vec<(u64, ReplicaId)>,
    generation: Option<u64>,
}

/// Points per replica on the ring. With 100, arcs differ by about a tenth.
const POINTS: u64 = 100;

impl Default for BoundedHash {
    /// A slack of 25 %: HAProxy's manual recommends a factor of 125 to start with.
    fn default() -> Self {
        Self::new(25)
    }
}

impl BoundedHash {
    /// Creates the strategy with a slack above the average load, in percent. Less slack gives better balance and less
    /// affinity.
    pub fn new(slack_percent: u32) -> Self {
        Self { slack_percent, ring: Vec::new(), generation: None }
    }

    fn refresh(&mut self, candidates: &Candidates<'_>) {
        if self.generation == Some(candidates.generation()) {
            return;
        }
        self.generation = Some(candidates.generation());
        self.ring.clear();
        for id in candidates.in_all_zones().iter() {
            let number = u64::from(id.number());
            self.ring.extend((0..POINTS).map(|point| (mix(mix(number + 1) ^ point), id)));
        }
        self.ring.sort_unstable();
    }

    /// The largest load that a replica may have with the request, in units. It is a multiple of the request, so that a
    /// replica with at most the average load always has room.
    fn bound(&self, candidates: &Candidates<'_>) -> u64 {
        let (units, count) = (u128::from(candidates.units().max(1)), candidates.len().max(1) as u128);
        let total = u128::from(candidates.total_load()) + units;
        let requests = (total * u128::from(100 + self.slack_percent)).div_ceil(100 * count * units);
        u64::try_from(requests * units).unwrap_or(u64::MAX).min(candidates.capacity())
    }
}

impl Strategy for BoundedHash {
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        request: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId> {
        let Some(hash) = request.affinity() else {
            why.because(|| "the request has no affinity name".into());
            return None;
        };
        self.refresh(candidates);
        let bound = self.bound(candidates);
        let start = self.ring.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.ring.split_at_checked(start)?;
        let mut refused = None;
        for (_, id) in after.iter().chain(before) {
            if refused == Some(*id) || !candidates.contains(*id) {
                continue;
            }
            if candidates.load(*id).saturating_add(candidates.units()) <= bound {
                why.because(|| format!("{id} is the next on the ring whose load stays within {bound} units"));
                return Some(*id);
            }
            why.because(|| format!("{id} is the next on the ring, but its load would exceed {bound} units"));
            refused = Some(*id);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::placement::lease::Lease;
    use crate::placement::pool::Pool;

    fn pool(replicas: u32) -> Pool {
        let pool = Pool::default();
        let pool = pool.with_strategy(BoundedHash::default());
        pool.resize(replicas);
        pool
    }

    fn homes(pool: &Pool) -> HashMap<u32, ReplicaId> {
        let home =
            |host: u32| pool.place(PlacementRequest::vm().with_affinity(&format!("host-{host}"))).unwrap().replica();
        (0..1_000).map(|host| (host, home(host))).collect()
    }

    #[test]
    fn few_hosts_change_when_a_replica_joins() {
        let pool = pool(10);
        let before = homes(&pool);
        pool.add_replica(None);
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
            leases.push(pool.place(PlacementRequest::vm().with_affinity("host")).unwrap());
            let most = pool.replicas().iter().map(|replica| replica.load / 30).max().unwrap();
            assert!(most <= (placed * 125).div_ceil(1_000), "{most} of {placed}");
        }
        leases.extend((160..200).map(|_| pool.place(PlacementRequest::vm().with_affinity("host")).unwrap()));
        assert!(pool.place(PlacementRequest::vm().with_affinity("host")).is_err());
    }
}
