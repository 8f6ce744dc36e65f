//! Places one request: a VM, several, or a scale set.

use std::collections::VecDeque;

use super::pool_state::{MissingReplicas, PoolState};
use super::portion::{Portion, Portions};
use super::queue::Grant;
use super::replica::ReplicaId;
use super::request::{Machines, PlacementRequest};
use super::strategy::Explanation;

impl PoolState {
    /// Places the queued requests in order, up to the first without room.
    #[must_use]
    pub(super) fn grant(&mut self) -> VecDeque<Grant> {
        let mut granted = VecDeque::new();
        while let Some(request) = self.queue.first() {
            let Ok(portions) = self.place(&request, &mut Explanation::unrecorded()) else { break };
            granted.extend(self.queue.grant_first(portions));
        }
        granted
    }

    pub(super) fn place(
        &mut self,
        request: &PlacementRequest,
        why: &mut Explanation,
    ) -> Result<Portions, MissingReplicas> {
        match request.machines {
            Machines::Vms(1) => {
                let portion = self.place_part(1, self.units.vm, request, request.throttle, why);
                portion.map(Portions::One).ok_or(MissingReplicas(1))
            }
            Machines::Vms(count) => self.place_vms(count, request, request.throttle, why).map_err(|missing| {
                let per_replica = (self.units.capacity / self.units.vm).max(1);
                MissingReplicas(u64::from(missing).div_ceil(per_replica))
            }),
            Machines::ScaleSet(instances) => self.place_scale_set(instances, request, why),
        }
    }

    /// Places a part on one replica. With `throttle`, it is placed even if all replicas are full.
    pub(super) fn place_part(
        &mut self,
        count: u32,
        units: u64,
        request: &PlacementRequest,
        throttle: bool,
        why: &mut Explanation,
    ) -> Option<Portion> {
        let (replica, throttled) = self.take(units, request, throttle, why)?;
        Some(Portion { replica, count, throttled, units })
    }

    /// Takes units of a replica, and returns whether it had no room for them.
    #[inline]
    pub(super) fn take(
        &mut self,
        units: u64,
        request: &PlacementRequest,
        throttle: bool,
        why: &mut Explanation,
    ) -> Option<(ReplicaId, bool)> {
        let replicas = self.table.view(units, self.units.capacity);
        let chosen = self.strategy.choose(&replicas, request, why);
        let fits = |id: &ReplicaId| {
            let load = self.table.serving_load(*id);
            load.is_some_and(|load| load.saturating_add(units) <= self.units.capacity)
        };
        let (replica, throttled) = match chosen.filter(fits) {
            Some(chosen) => (chosen, false),
            None => {
                let least = replicas.least_loaded()?;
                let full = !fits(&least);
                if full && !throttle {
                    why.because(|| format!("even {least}, the least loaded, is full"));
                    return None;
                }
                let load = replicas.load(least);
                why.because(|| format!("so the least loaded, {least} with {load} units, takes it"));
                (least, full)
            }
        };
        self.table.add(replica, units);
        Some((replica, throttled))
    }

    /// Places VMs, or returns how many have no room.
    pub(super) fn place_vms(
        &mut self,
        count: u32,
        request: &PlacementRequest,
        throttle: bool,
        why: &mut Explanation,
    ) -> Result<Portions, u32> {
        let room = u32::try_from(self.room_for_vms()).unwrap_or(u32::MAX);
        let missing = count.saturating_sub(room);
        if missing > 0 && !throttle || self.table.serving() == 0 {
            why.because(|| format!("the replicas have room for {room} of {count} VMs"));
            return Err(missing.max(1));
        }
        let mut portions = Vec::new();
        if self.strategy.is_least_loaded() {
            why.because(|| format!("{count} VMs go to the least loaded, one after the other"));
            self.fill(count - missing, Some(self.units.capacity), &mut portions);
            self.fill(missing, None, &mut portions);
        } else {
            // INVARIANT: none fails, because all have room or may be throttled.
            portions.extend((0..count).filter_map(|_| self.place_part(1, self.units.vm, request, throttle, why)));
        }
        Portions::of(portions).ok_or(count)
    }

    fn place_scale_set(
        &mut self,
        instances: u32,
        request: &PlacementRequest,
        why: &mut Explanation,
    ) -> Result<Portions, MissingReplicas> {
        let parts = self.parts(instances);
        let even = self.place_parts(&parts, request, false, why);
        let missing = match even {
            Ok(portions) => return Ok(portions),
            Err(missing) if parts.len() == 1 => missing,
            Err(_) => match self.place_by_room(instances, parts.len()) {
                Ok(portions) => {
                    why.because(|| {
                        "equal parts do not fit, so each of the emptiest replicas takes as much as it has room for"
                            .into()
                    });
                    return Ok(portions);
                }
                Err(missing) => missing,
            },
        };
        if request.throttle { self.place_parts(&parts, request, true, why) } else { Err(missing) }
    }

    /// Splits a scale set into the fewest parts of equal size.
    pub(super) fn parts(&self, instances: u32) -> Vec<u32> {
        let count = instances.div_ceil(self.units.instances_per_replica).max(1);
        let larger = instances % count;
        (0..count).map(|part| instances / count + u32::from(part < larger)).collect()
    }

    fn place_parts(
        &mut self,
        parts: &[u32],
        request: &PlacementRequest,
        throttle: bool,
        why: &mut Explanation,
    ) -> Result<Portions, MissingReplicas> {
        let mut portions = Vec::with_capacity(parts.len());
        for part in parts {
            match self.place_part(*part, self.units.scale_set(*part), request, throttle, why) {
                Some(portion) => portions.push(portion),
                None => {
                    self.give_back(&portions);
                    return Err(MissingReplicas((parts.len() - portions.len()) as u64));
                }
            }
        }
        Portions::of(portions).ok_or(MissingReplicas(1))
    }

    /// Splits a scale set over the replicas with the most room, each to its capacity.
    fn place_by_room(&mut self, instances: u32, parts: usize) -> Result<Portions, MissingReplicas> {
        let mut rest = instances;
        let mut portions = Vec::with_capacity(parts);
        for _ in 0..parts {
            let Some(replica) = self.table.view(0, self.units.capacity).least_loaded() else { break };
            let room = self.units.capacity.saturating_sub(self.table.load(replica).unwrap_or(u64::MAX));
            let count = self.units.instances_within(room).min(rest);
            if count == 0 {
                break;
            }
            let units = self.units.scale_set(count);
            self.table.add(replica, units);
            portions.push(Portion { replica, count, throttled: false, units });
            rest -= count;
        }
        if rest > 0 {
            self.give_back(&portions);
            return Err(MissingReplicas(u64::from(rest.div_ceil(self.units.instances_per_replica))));
        }
        Portions::of(portions).ok_or(MissingReplicas(1))
    }
}
