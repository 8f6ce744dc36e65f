//! The replicas of a pool with their loads, and a strategy's view of them.

use super::buckets::Buckets;
use super::replica::{ReplicaId, ReplicaState, ReplicaStatus, Zone};

#[derive(Debug)]
pub(super) struct ReplicaTable {
    replicas: Vec<Replica>,
    members: Vec<Member>,
    zones: Vec<ZoneLoads>,
    generation: u64,
}

/// The part of a replica that every placement reads and writes.
#[derive(Clone, Copy, Debug)]
struct Replica {
    load: u64,
    /// Its index in its bucket.
    position: u32,
    /// Its index in `ReplicaTable::zones`.
    zone: u16,
    serving: bool,
}

/// The rest of a replica.
#[derive(Clone, Copy, Debug)]
struct Member {
    state: ReplicaState,
    /// Its index in `ZoneLoads::serving`.
    position: usize,
}

/// The serving replicas of one zone.
#[derive(Debug)]
struct ZoneLoads {
    zone: Option<Zone>,
    buckets: Buckets,
    serving: Vec<u32>,
    load: u64,
}

impl ReplicaTable {
    pub(super) fn new() -> Self {
        Self { replicas: Vec::new(), members: Vec::new(), zones: Vec::new(), generation: 0 }
    }

    pub(super) fn add_replica(&mut self, zone: Option<Zone>) -> ReplicaId {
        let id = ReplicaId(self.replicas.len() as u32);
        let index = self.zones.iter().position(|loads| loads.zone == zone).unwrap_or_else(|| {
            self.zones.push(ZoneLoads { zone, buckets: Buckets::new(), serving: Vec::new(), load: 0 });
            self.zones.len() - 1
        });
        self.replicas.push(Replica { load: 0, position: 0, zone: index as u16, serving: false });
        self.members.push(Member { state: ReplicaState::Draining, position: 0 });
        self.set_state(id, ReplicaState::Serving);
        id
    }

    /// Returns whether the replica exists.
    pub(super) fn set_state(&mut self, id: ReplicaId, state: ReplicaState) -> bool {
        let index = id.0 as usize;
        let (Some(replica), Some(member)) = (self.replicas.get_mut(index), self.members.get_mut(index)) else {
            return false;
        };
        let Some(zone) = self.zones.get_mut(replica.zone as usize) else { return false };
        member.state = state;
        let serves = state == ReplicaState::Serving;
        if serves == replica.serving {
            return true;
        }
        self.generation += 1;
        replica.serving = serves;
        if serves {
            replica.position = zone.buckets.insert(id.0, replica.load);
            zone.load += replica.load;
            member.position = zone.serving.len();
            zone.serving.push(id.0);
            return true;
        }
        zone.load -= replica.load;
        let moved = zone.buckets.remove(replica.load, replica.position);
        let (bucket_position, position) = (replica.position, member.position);
        zone.serving.swap_remove(position);
        let swapped = zone.serving.get(position).copied();
        if let Some(moved) = moved.and_then(|moved| self.replicas.get_mut(moved as usize)) {
            moved.position = bucket_position;
        }
        if let Some(swapped) = swapped.and_then(|swapped| self.members.get_mut(swapped as usize)) {
            swapped.position = position;
        }
        true
    }

    pub(super) fn state(&self, id: ReplicaId) -> Option<ReplicaState> {
        self.members.get(id.0 as usize).map(|member| member.state)
    }

    pub(super) fn len(&self) -> usize {
        self.replicas.len()
    }

    pub(super) fn serving(&self) -> usize {
        self.zones.iter().map(|zone| zone.serving.len()).sum()
    }

    #[inline]
    pub(super) fn load(&self, id: ReplicaId) -> Option<u64> {
        self.replicas.get(id.0 as usize).map(|replica| replica.load)
    }

    /// The load of a replica that serves.
    #[inline]
    pub(super) fn serving_load(&self, id: ReplicaId) -> Option<u64> {
        self.replicas.get(id.0 as usize).filter(|replica| replica.serving).map(|replica| replica.load)
    }

    /// Adds to a replica's load.
    #[inline]
    pub(super) fn add(&mut self, id: ReplicaId, units: u64) {
        self.change(id, |load| load.saturating_add(units));
    }

    /// Takes from a replica's load.
    #[inline]
    pub(super) fn take(&mut self, id: ReplicaId, units: u64) {
        self.change(id, |load| load.saturating_sub(units));
    }

    #[inline]
    fn change(&mut self, id: ReplicaId, to: impl FnOnce(u64) -> u64) {
        let Some(replica) = self.replicas.get_mut(id.0 as usize) else { return };
        let (old, position) = (replica.load, replica.position);
        replica.load = to(old);
        let new = replica.load;
        if !replica.serving {
            return;
        }
        let Some(zone) = self.zones.get_mut(replica.zone as usize) else { return };
        zone.load = zone.load - old + new;
        let moved = zone.buckets.remove(old, position);
        replica.position = zone.buckets.insert(id.0, new);
        if let Some(moved) = moved.and_then(|moved| self.replicas.get_mut(moved as usize)) {
            moved.position = position;
        }
    }

    /// The serving replica with the most load that is at most `load`.
    pub(super) fn most_within(&self, load: u64) -> Option<ReplicaId> {
        let best = self.zones.iter().filter_map(|zone| zone.buckets.most_within(load)).max_by_key(|(load, _)| *load);
        best.map(|(_, replica)| ReplicaId(replica))
    }

    /// The loads of the serving replicas, ascending in each zone, each with its replicas.
    pub(super) fn levels(&self) -> impl Iterator<Item = (u64, &[u32])> {
        self.zones.iter().flat_map(|zone| zone.buckets.levels())
    }

    pub(super) fn status(&self) -> Vec<ReplicaStatus> {
        let both = self.replicas.iter().zip(&self.members).enumerate();
        both.map(|(number, (replica, member))| ReplicaStatus {
            id: ReplicaId(number as u32),
            zone: self.zones.get(replica.zone as usize).and_then(|zone| zone.zone),
            state: member.state,
            load: replica.load,
        })
        .collect()
    }

    /// The view for a strategy that places `units`.
    #[inline]
    pub(super) fn view(&self, units: u64, capacity: u64) -> Candidates<'_> {
        Candidates { table: self, zones: &self.zones, units, capacity }
    }
}

/// The replicas that a [`Strategy`](super::Strategy) chooses between: those that serve, in all zones or in one.
///
/// ```
/// use compute_gallery::placement::{Candidates, Explanation, PlacementRequest, Pool, ReplicaId, Strategy, Zone};
///
/// /// Avoids zone 1 while another zone has room.
/// #[derive(Debug)]
/// struct AvoidZone1;
///
/// impl Strategy for AvoidZone1 {
///     fn choose(&mut self, all: &Candidates<'_>, _: &PlacementRequest, _: &mut Explanation) -> Option<ReplicaId> {
///         let others = all.zones().filter(|zone| *zone != Zone::new(1));
///         others.filter_map(|zone| all.in_zone(zone).least_loaded()).find(|id| all.fits(*id))
///     }
/// }
///
/// let pool = Pool::default().with_strategy(AvoidZone1);
/// let [_, second] = [1, 2].map(|zone| pool.add_replica(Some(Zone::new(zone))));
/// assert_eq!(pool.place(PlacementRequest::vm())?.replica(), second);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    table: &'a ReplicaTable,
    zones: &'a [ZoneLoads],
    units: u64,
    capacity: u64,
}

impl<'a> Candidates<'a> {
    /// Returns the number of candidates.
    pub fn len(&self) -> usize {
        self.zones.iter().map(|zone| zone.serving.len()).sum()
    }

    /// Whether no replica serves here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the candidate at `index`, from 0 to below [`len`](Self::len). The order changes only when replicas come or go.
    pub fn nth(&self, mut index: usize) -> Option<ReplicaId> {
        for zone in self.zones {
            match zone.serving.get(index) {
                Some(replica) => return Some(ReplicaId(*replica)),
                None => index -= zone.serving.len(),
            }
        }
        None
    }

    /// Iterates over the candidates in the order of [`nth`](Self::nth).
    pub fn iter(&self) -> impl Iterator<Item = ReplicaId> + use<'a> {
        self.zones.iter().flat_map(|zone| zone.serving.iter().map(|replica| ReplicaId(*replica)))
    }

    /// Whether the replica is a candidate.
    pub fn contains(&self, id: ReplicaId) -> bool {
        let Some(replica) = self.table.replicas.get(id.0 as usize) else { return false };
        let Some(zone) = self.table.zones.get(replica.zone as usize) else { return false };
        replica.serving && self.zones.iter().any(|other| other.zone == zone.zone)
    }

    /// Returns the load of a replica in units.
    pub fn load(&self, id: ReplicaId) -> u64 {
        self.table.load(id).unwrap_or(u64::MAX)
    }

    /// Returns the load of all candidates in units.
    pub fn total_load(&self) -> u64 {
        self.zones.iter().map(|zone| zone.load).sum()
    }

    /// Returns the size of the part to place, in units.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Returns the capacity of one replica in units.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether a replica has room for the part to place.
    #[inline]
    pub fn fits(&self, id: ReplicaId) -> bool {
        self.load(id).saturating_add(self.units) <= self.capacity
    }

    /// Returns a candidate with the least load, in constant time.
    #[inline]
    pub fn least_loaded(&self) -> Option<ReplicaId> {
        let least = match self.zones {
            [zone] => zone.buckets.least(),
            zones => zones.iter().filter_map(|zone| zone.buckets.least()).min_by_key(|(load, _)| *load),
        };
        least.map(|(_, replica)| ReplicaId(replica))
    }

    /// Iterates over the zones with candidates.
    pub fn zones(&self) -> impl Iterator<Item = Zone> + use<'a> {
        self.zones.iter().filter(|zone| !zone.serving.is_empty()).filter_map(|zone| zone.zone)
    }

    /// Returns the candidates in `zone`.
    pub fn in_zone(&self, zone: Zone) -> Self {
        let zones = self.zones.iter().position(|loads| loads.zone == Some(zone));
        let zones = zones.and_then(|index| self.zones.get(index..=index)).unwrap_or_default();
        Self { zones, ..*self }
    }

    /// Returns the serving replicas of all zones.
    pub fn in_all_zones(&self) -> Self {
        Self { zones: &self.table.zones, ..*self }
    }

    /// Returns a number that changes when replicas come or go: a strategy's cache is valid as long as it is equal.
    pub fn generation(&self) -> u64 {
        self.table.generation
    }
}
