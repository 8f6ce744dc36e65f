//! Water-filling: places many VMs as if one after the other on the least loaded replica, at a cost that does not depend
//! on their number.

use super::pool_state::PoolState;
use super::portion::Portion;
use super::replica::ReplicaId;

impl PoolState {
    /// The number of VMs that the replicas have room for.
    pub(super) fn room_for_vms(&self) -> u64 {
        let (capacity, vm) = (self.units.capacity, self.units.vm);
        self.table.levels().map(|(load, bucket)| bucket.len() as u64 * (capacity.saturating_sub(load) / vm)).sum()
    }

    /// Places `count` VMs, for which there must be room within `capacity`. Without a capacity, it marks them as throttled.
    pub(super) fn fill(&mut self, count: u32, capacity: Option<u64>, portions: &mut Vec<Portion>) {
        if count == 0 {
            return;
        }
        let (vm, count) = (self.units.vm, u64::from(count));
        let levels: Vec<(u64, u64)> = self.table.levels().map(|(load, bucket)| (load, bucket.len() as u64)).collect();
        let Some(least) = levels.iter().map(|(load, _)| *load).min() else { return };
        // The VMs that it takes to raise all replicas to `level`.
        let below = |level: u64| {
            let each =
                |(load, replicas): &(u64, u64)| level.saturating_sub(*load).div_ceil(vm).saturating_mul(*replicas);
            levels.iter().map(each).fold(0, u64::saturating_add)
        };
        // The water level: the highest with at most `count` VMs below it. A replica above `capacity` - `vm` is full.
        let (mut level, mut above) = match capacity {
            Some(capacity) => (least, capacity.saturating_sub(vm).saturating_add(2)),
            None => (least, least.saturating_add(vm.saturating_mul(count)).saturating_add(1)),
        };
        while above.saturating_sub(level) > 1 {
            let middle = level + (above - level) / 2;
            if below(middle) <= count { level = middle } else { above = middle }
        }
        // The rest goes to replicas that are exactly at the water level, one VM each.
        let mut left = count.saturating_sub(below(level));
        let start = portions.len();
        for (load, bucket) in self.table.levels().filter(|(load, _)| *load <= level) {
            let (each, is_level) = ((level - load).div_ceil(vm), (level - load) % vm == 0);
            for replica in bucket {
                let one_more = u64::from(is_level && left > 0);
                left -= one_more;
                let vms = each + one_more;
                if vms > 0 {
                    let (replica, throttled) = (ReplicaId(*replica), capacity.is_none());
                    // At most `count`, which is a u32.
                    portions.push(Portion { replica, count: vms as u32, throttled, units: vms * vm });
                }
            }
        }
        for portion in portions.iter().skip(start) {
            self.table.add(portion.replica, portion.units);
        }
    }
}
