//! The replicas of a pool with their loads, and the view of them that a strategy gets.

use super::buckets::Buckets;
use super::replica::{ReplicaId, ReplicaState, ReplicaStatus, Zone};

#[derive(Debug)]
pub(super) struct ReplicaTable {
    replicas: Vec<Replica>,
    members: Vec<Member>,
    zones: Vec<ZoneLoads>,
    generation: u64,
}

/// What every placement reads and writes of a replica.
#[derive(Clone, Copy, Debug)]
struct Replica {
    load: u64,
    /// In its bucket.
    position: u32,
    /// Of `ReplicaTable::zones`.
    zone: u16,
    serving: bool,
}

/// The rest of a replica.
#[derive(Clone, Copy, Debug)]
struct Member {
    state: ReplicaState,
    /// In `ZoneLoads::serving`.
    position: usize,
}

/// The replicas of one zone that serve.
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

    /// Whether there is such a replica.
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

    /// The loads of the serving replicas, rising in each zone, with the replicas that have them.
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

    /// The replicas as a strategy sees them.
    #[inline]
    pub(super) fn view(&self, units: u64, capacity: u64) -> Candidates<'_> {
        Candidates { table: self, zones: &self.zones, units, capacity }
    }
}

/// The replicas that a [`Strategy`](super::Strategy) chooses between: those that serve, in all zones or in one.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    table: &'a ReplicaTable,
    zones: &'a [ZoneLoads],
    units: u64,
    capacity: u64,
}

impl<'a> Candidates<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.zones.iter().map(|zone| zone.serving.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them, by its place from 0 to [`len`](Self::len); the order changes only when replicas come or go.
    pub fn nth(&self, mut index: usize) -> Option<ReplicaId> {
        for zone in self.zones {
            match zone.serving.get(index) {
                Some(replica) => return Some(ReplicaId(*replica)),
                None => index -= zone.serving.len(),
            }
        }
        None
    }

    /// All of them, in the order of [`nth`](Self::nth).
    pub fn iter(&self) -> impl Iterator<Item = ReplicaId> + use<'a> {
        self.zones.iter().flat_map(|zone| zone.serving.iter().map(|replica| ReplicaId(*replica)))
    }

    /// Whether that replica is one of them.
    pub fn contains(&self, id: ReplicaId) -> bool {
        let Some(replica) = self.table.replicas.get(id.0 as usize) else { return false };
        let Some(zone) = self.table.zones.get(replica.zone as usize) else { return false };
        replica.serving && self.zones.iter().any(|other| other.zone == zone.zone)
    }

    /// What a replica has to do, in units.
    pub fn load(&self, id: ReplicaId) -> u64 {
        self.table.load(id).unwrap_or(u64::MAX)
    }

    /// What all of them have to do, in units.
    pub fn total_load(&self) -> u64 {
        self.zones.iter().map(|zone| zone.load).sum()
    }

    /// What is to be placed, in units.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// What a replica can do at once, in units.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether a replica has room for what is to be placed.
    #[inline]
    pub fn fits(&self, id: ReplicaId) -> bool {
        self.load(id).saturating_add(self.units) <= self.capacity
    }

    /// A replica with the least load, found in constant time.
    #[inline]
    pub fn least_loaded(&self) -> Option<ReplicaId> {
        let least = match self.zones {
            [zone] => zone.buckets.least(),
            zones => zones.iter().filter_map(|zone| zone.buckets.least()).min_by_key(|(load, _)| *load),
        };
        least.map(|(_, replica)| ReplicaId(replica))
    }

    /// The zones that have replicas here.
    pub fn zones(&self) -> impl Iterator<Item = Zone> + use<'a> {
        self.zones.iter().filter(|zone| !zone.serving.is_empty()).filter_map(|zone| zone.zone)
    }

    /// Those in one zone.
    pub fn in_zone(&self, zone: Zone) -> Self {
        let zones = self.zones.iter().position(|loads| loads.zone == Some(zone));
        let zones = zones.and_then(|index| self.zones.get(index..=index)).unwrap_or_default();
        Self { zones, ..*self }
    }

    /// Those in all zones.
    pub fn in_all_zones(&self) -> Self {
        Self { zones: &self.table.zones, ..*self }
    }

    /// A number that changes when replicas come or go, for what a strategy derives from them.
    pub fn generation(&self) -> u64 {
        self.table.generation
    }
}
