//! Strategies that choose a zone first, and let another strategy choose in it.

use super::replica::{ReplicaId, Zone};
use super::replica_table::Candidates;
use super::request::PlacementRequest;
use super::strategy::{Explanation, Strategy};

/// Chooses the zone with the least load per replica, and there by the inner strategy. A lost zone then takes only its share
/// of the creations with it.
///
/// ```
/// use compute_gallery::placement::{LeastLoaded, PlacementRequest, Pool, SpreadZones, Zone};
///
/// let pool = Pool::default().with_strategy(SpreadZones(LeastLoaded));
/// for zone in [1, 1, 2] {
///     pool.add_replica(Some(Zone::new(zone)));
/// }
/// let _leases: Vec<_> = (0..30).map(|_| pool.place(PlacementRequest::vm())).collect::<Result<_, _>>()?;
/// assert_eq!(pool.replicas()[2].load, 300);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SpreadZones<S>(pub S);

/// Chooses by the inner strategy in the request's [zone](PlacementRequest::with_zone) if it has room, else in all zones.
/// Reads within a zone are faster, and free if traffic between zones is billed.
///
/// ```
/// use compute_gallery::placement::{LeastLoaded, PlacementRequest, Pool, PreferZone, Zone};
///
/// let pool = Pool::default().with_strategy(PreferZone(LeastLoaded));
/// let [_, second] = [1, 2].map(|zone| pool.add_replica(Some(Zone::new(zone))));
/// assert_eq!(pool.place(PlacementRequest::vm().with_zone(Zone::new(2)))?.replica(), second);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PreferZone<S>(pub S);

impl<S: Strategy> Strategy for SpreadZones<S> {
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        request: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId> {
        let zones = candidates.zones().filter(|zone| has_room(&candidates.in_zone(*zone)));
        // Compared as fractions, by cross-multiplication.
        let Some(zone) = zones.min_by(|a, b| {
            let [(a_load, a_count), (b_load, b_count)] = [*a, *b].map(|zone| {
                let zone = candidates.in_zone(zone);
                (u128::from(zone.total_load()), zone.len() as u128)
            });
            (a_load * b_count).cmp(&(b_load * a_count))
        }) else {
            why.because(|| "no zone has room".into());
            return self.0.choose(candidates, request, why);
        };
        why.because(|| format!("{zone} has the least load per replica"));
        chosen_in(&mut self.0, candidates, zone, request, why)
    }
}

impl<S: Strategy> Strategy for PreferZone<S> {
    fn choose(
        &mut self,
        candidates: &Candidates<'_>,
        request: &PlacementRequest,
        why: &mut Explanation,
    ) -> Option<ReplicaId> {
        match request.zone() {
            Some(zone) if has_room(&candidates.in_zone(zone)) => {
                why.because(|| format!("{zone} is the request's zone and has room"));
                chosen_in(&mut self.0, candidates, zone, request, why)
            }
            Some(zone) => {
                why.because(|| format!("{zone} is the request's zone, but has no room"));
                self.0.choose(candidates, request, why)
            }
            None => self.0.choose(candidates, request, why),
        }
    }
}

fn has_room(candidates: &Candidates<'_>) -> bool {
    candidates.least_loaded().is_some_and(|least| candidates.fits(least))
}

/// Returns the strategy's choice in a zone that has room, or the least loaded replica there if that choice has none.
fn chosen_in(
    strategy: &mut impl Strategy,
    candidates: &Candidates<'_>,
    zone: Zone,
    request: &PlacementRequest,
    why: &mut Explanation,
) -> Option<ReplicaId> {
    let there = candidates.in_zone(zone);
    let chosen = strategy.choose(&there, request, why).filter(|chosen| there.contains(*chosen) && there.fits(*chosen));
    chosen.or_else(|| there.least_loaded())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::lease::Lease;
    use crate::placement::pool::Pool;
    use crate::placement::strategy::{LeastLoaded, TwoChoices};

    /// Two replicas in zone 1, one in zone 2.
    fn pool(strategy: impl Strategy + 'static) -> Pool {
        let pool = Pool::default().with_strategy(strategy);
        for zone in [1, 1, 2] {
            pool.add_replica(Some(Zone::new(zone)));
        }
        pool
    }

    fn in_zone(pool: &Pool, leases: &[Lease], zone: u16) -> usize {
        let replicas = pool.replicas();
        let there = |lease: &&Lease| replicas[lease.replica().number() as usize].zone == Some(Zone::new(zone));
        leases.iter().filter(there).count()
    }

    #[test]
    fn zones_get_their_share_and_every_vm_fits() {
        let pool = pool(SpreadZones(TwoChoices::new(1)));
        let mut leases: Vec<Lease> = (0..30).map(|_| pool.place(PlacementRequest::vm()).unwrap()).collect();
        assert_eq!((in_zone(&pool, &leases, 1), in_zone(&pool, &leases, 2)), (20, 10));
        leases.extend((30..60).map(|_| pool.place(PlacementRequest::vm()).unwrap()));
        assert!(pool.place(PlacementRequest::vm()).is_err());
    }

    #[test]
    fn the_requests_zone_comes_first_and_then_the_others() {
        let pool = pool(PreferZone(LeastLoaded));
        let request = PlacementRequest::vm().with_zone(Zone::new(2));
        let leases: Vec<Lease> = (0..25).map(|_| pool.place(request).unwrap()).collect();
        assert_eq!((in_zone(&pool, &leases, 1), in_zone(&pool, &leases, 2)), (5, 20));
        let (_, why) = pool.place_explained(request);
        assert!(why.to_string().starts_with("zone 2 is the request's zone, but has no room; replica"), "{why}");
    }
}
