//! A mixed batch: the largest first.

use super::place::{Missing, State};
use super::request::{Request, What};
use super::share::{Share, Shares};
use super::strategy::Explanation;

/// VMs of one request, or one part of a scale set.
#[derive(Clone, Copy, Debug)]
struct Item {
    request: usize,
    what: What,
    /// Of one VM, or of the part.
    units: u64,
}

/// How items find their replicas.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// By the strategy. With the least loaded that is LPT (longest processing time first, Graham 1969): no replica has
    /// more to do than 4/3 - 1/(3R) times the least that is possible.
    Spread,
    /// Into the fullest replica that has room: best fit decreasing, which needs at most 11/9 of the fewest replicas
    /// possible, plus some. It fits batches that spreading does not.
    Pack,
    /// As `Spread`, and where that fails the requests that allow it are throttled.
    Throttle,
}

impl State {
    /// Places all requests or none.
    pub(super) fn place_batch(&mut self, requests: &[Request]) -> Result<Vec<Shares>, Missing> {
        let mut items = Vec::with_capacity(requests.len());
        for (request, what) in requests.iter().map(|request| request.what).enumerate() {
            match what {
                What::Vms(_) => items.push(Item { request, what, units: self.units.vm }),
                What::ScaleSet(instances) => items.extend(self.parts(instances).into_iter().map(|part| Item {
                    request,
                    what: What::ScaleSet(part),
                    units: self.units.scale_set(part),
                })),
            }
        }
        items.sort_by_key(|item| std::cmp::Reverse(item.units));
        let attempt = self.try_batch(requests, &items, Rule::Spread);
        let attempt = attempt.or_else(|_| self.try_batch(requests, &items, Rule::Pack));
        let shares = match attempt {
            Err(_) if requests.iter().any(|request| request.throttle) => {
                self.try_batch(requests, &items, Rule::Throttle)?
            }
            attempt => attempt?,
        };
        // Every request has an item, and every item a share.
        Ok(shares.into_iter().filter_map(Shares::of).collect())
    }

    /// The shares of each request; nothing is placed where one has no room.
    fn try_batch(&mut self, requests: &[Request], items: &[Item], rule: Rule) -> Result<Vec<Vec<Share>>, Missing> {
        let mut shares = vec![Vec::new(); requests.len()];
        let mut missing = 0_u64;
        for item in items {
            let (Some(request), Some(shares)) = (requests.get(item.request), shares.get_mut(item.request)) else {
                continue;
            };
            missing = missing.saturating_add(self.place_item(item, request, rule, shares));
        }
        if missing == 0 {
            return Ok(shares);
        }
        self.give_back(shares.iter().flatten());
        Err(Missing(missing.div_ceil(self.units.capacity)))
    }

    /// Places an item and returns the units that there is no room for.
    fn place_item(&mut self, item: &Item, request: &Request, rule: Rule, shares: &mut Vec<Share>) -> u64 {
        let why = &mut Explanation::unasked();
        let throttle = matches!(rule, Rule::Throttle) && request.throttle;
        match (rule, item.what) {
            (Rule::Pack, What::Vms(count)) => self.pack(count, true, item.units, shares),
            (Rule::Pack, What::ScaleSet(part)) => self.pack(part, false, item.units, shares),
            (_, What::Vms(count)) => match self.place_vms(count, request, throttle, why) {
                Ok(placed) => {
                    shares.extend_from_slice(placed.as_slice());
                    0
                }
                Err(missing) => u64::from(missing) * item.units,
            },
            (_, What::ScaleSet(part)) => match self.place_part(part, item.units, request, throttle, why) {
                Some(share) => {
                    shares.push(share);
                    0
                }
                None => item.units,
            },
        }
    }

    /// Places VMs one after the other, or a part whole, on the fullest replica with room; returns the units without room.
    fn pack(&mut self, count: u32, divisible: bool, units: u64, shares: &mut Vec<Share>) -> u64 {
        let mut left = count;
        while left > 0 {
            let Some(most) = self.units.capacity.checked_sub(units) else { break };
            let Some(replica) = self.table.most_within(most) else { break };
            // The next VM would go to the same replica as long as it has room.
            let room = (self.units.capacity - self.table.load(replica).unwrap_or(most)) / units;
            let (count, units) = match divisible {
                true => {
                    let count = u32::try_from(room).unwrap_or(u32::MAX).min(left);
                    (count, u64::from(count) * units)
                }
                false => (left, units),
            };
            self.table.add(replica, units);
            shares.push(Share { replica, count, throttled: false, units });
            left -= count;
        }
        match left {
            0 => 0,
            left if divisible => u64::from(left) * units,
            _ => units,
        }
    }
}
