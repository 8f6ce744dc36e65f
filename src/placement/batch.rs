//! Places a mixed batch, the largest item first.

use super::pool_state::{MissingReplicas, PoolState};
use super::portion::{Portion, Portions};
use super::request::{Machines, PlacementRequest};
use super::strategy::Explanation;

/// VMs of one request, or one part of a scale set.
#[derive(Clone, Copy, Debug)]
struct Item {
    request: usize,
    machines: Machines,
    /// Of one VM, or of the scale set's part.
    units: u64,
}

/// How a replica is chosen for an item.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// By the strategy. With the least loaded that is LPT (longest processing time first, Graham 1969): the busiest
    /// replica has at most 4/3 - 1/(3R) times the optimum.
    Spread,
    /// Into the fullest replica with room: best fit decreasing, which needs at most 11/9 of the fewest possible replicas,
    /// plus a constant. It fits batches that spreading does not.
    Pack,
    /// As `Spread`, but throttles requests that allow it.
    Throttle,
}

impl PoolState {
    /// Places all requests or none.
    pub(super) fn place_batch(&mut self, requests: &[PlacementRequest]) -> Result<Vec<Portions>, MissingReplicas> {
        let mut items = Vec::with_capacity(requests.len());
        for (request, machines) in requests.iter().map(|request| request.machines).enumerate() {
            match machines {
                Machines::Vms(_) => items.push(Item { request, machines, units: self.units.vm }),
                Machines::ScaleSet(instances) => items.extend(self.parts(instances).into_iter().map(|part| Item {
                    request,
                    machines: Machines::ScaleSet(part),
                    units: self.units.scale_set(part),
                })),
            }
        }
        items.sort_by_key(|item| std::cmp::Reverse(item.units));
        let attempt = self.try_batch(requests, &items, Rule::Spread);
        let attempt = attempt.or_else(|_| self.try_batch(requests, &items, Rule::Pack));
        let portions = match attempt {
            Err(_) if requests.iter().any(|request| request.throttle) => {
                self.try_batch(requests, &items, Rule::Throttle)?
            }
            attempt => attempt?,
        };
        // Every request has an item, and every item a portion.
        Ok(portions.into_iter().filter_map(Portions::of).collect())
    }

    /// Returns the portions of each request. If one has no room, nothing stays placed.
    fn try_batch(
        &mut self,
        requests: &[PlacementRequest],
        items: &[Item],
        rule: Rule,
    ) -> Result<Vec<Vec<Portion>>, MissingReplicas> {
        let mut portions = vec![Vec::new(); requests.len()];
        let mut missing = 0_u64;
        for item in items {
            let (Some(request), Some(portions)) = (requests.get(item.request), portions.get_mut(item.request)) else {
                continue;
            };
            missing = missing.saturating_add(self.place_item(item, request, rule, portions));
        }
        if missing == 0 {
            return Ok(portions);
        }
        self.give_back(portions.iter().flatten());
        Err(MissingReplicas(missing.div_ceil(self.units.capacity)))
    }

    /// Places an item and returns the units without room.
    fn place_item(&mut self, item: &Item, request: &PlacementRequest, rule: Rule, portions: &mut Vec<Portion>) -> u64 {
        let why = &mut Explanation::unrecorded();
        let throttle = matches!(rule, Rule::Throttle) && request.throttle;
        match (rule, item.machines) {
            (Rule::Pack, Machines::Vms(count)) => self.pack(count, true, item.units, portions),
            (Rule::Pack, Machines::ScaleSet(part)) => self.pack(part, false, item.units, portions),
            (_, Machines::Vms(count)) => match self.place_vms(count, request, throttle, why) {
                Ok(placed) => {
                    portions.extend_from_slice(placed.as_slice());
                    0
                }
                Err(missing) => u64::from(missing) * item.units,
            },
            (_, Machines::ScaleSet(part)) => match self.place_part(part, item.units, request, throttle, why) {
                Some(portion) => {
                    portions.push(portion);
                    0
                }
                None => item.units,
            },
        }
    }

    /// Places VMs one by one, or an indivisible part, on the fullest replica with room; returns the units without room.
    fn pack(&mut self, count: u32, divisible: bool, units: u64, portions: &mut Vec<Portion>) -> u64 {
        let mut left = count;
        while left > 0 {
            let Some(most) = self.units.capacity.checked_sub(units) else { break };
            let Some(replica) = self.table.most_within(most) else { break };
            // The next VMs would go to the same replica while it has room.
            let room = (self.units.capacity - self.table.load(replica).unwrap_or(most)) / units;
            let (count, units) = match divisible {
                true => {
                    let count = u32::try_from(room).unwrap_or(u32::MAX).min(left);
                    (count, u64::from(count) * units)
                }
                false => (left, units),
            };
            self.table.add(replica, units);
            portions.push(Portion { replica, count, throttled: false, units });
            left -= count;
        }
        match left {
            0 => 0,
            left if divisible => u64::from(left) * units,
            _ => units,
        }
    }
}
