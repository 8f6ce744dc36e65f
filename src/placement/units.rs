//! The unit of loads.

use super::policy::{PlacementPolicy, ReplicaSharing};
use super::request::{Machines, PlacementRequest};
use crate::model::StorageAccountType;

/// Sizes in the common unit: the largest of which a VM and an instance are both whole multiples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// Of a replica, in units.
    pub(super) capacity: u64,
    /// Of a VM.
    pub(super) vm: u64,
    /// Of a scale set's instance; `None` if a scale set takes a whole replica.
    instance: Option<u64>,
    /// The instances of a scale set that one replica serves.
    pub(super) instances_per_replica: u32,
}

impl Units {
    pub(super) fn new(policy: &PlacementPolicy, storage: StorageAccountType) -> Self {
        let capacity = policy.capacity_on(storage);
        let (vms, scale_set_instances) = (capacity.vms(), capacity.scale_set_instances());
        let (vms, instances) = (u64::from(vms), u64::from(scale_set_instances));
        match policy.replica_sharing() {
            ReplicaSharing::Exclusive => {
                Self { capacity: vms, vm: 1, instance: None, instances_per_replica: scale_set_instances }
            }
            ReplicaSharing::Shared => {
                let capacity = vms / gcd(vms, instances) * instances;
                Self {
                    capacity,
                    vm: capacity / vms,
                    instance: Some(capacity / instances),
                    instances_per_replica: scale_set_instances,
                }
            }
        }
    }

    /// Returns the size of a scale set or of a part of one.
    pub(super) fn scale_set(&self, instances: u32) -> u64 {
        self.instance.map_or(self.capacity, |instance| instance * u64::from(instances))
    }

    /// Returns the size of a request.
    pub(super) fn of(&self, request: &PlacementRequest) -> u64 {
        match (request.machines, self.instance) {
            (Machines::Vms(count), _) => self.vm * u64::from(count),
            (Machines::ScaleSet(instances), Some(instance)) => instance * u64::from(instances),
            (Machines::ScaleSet(instances), None) => {
                self.capacity * u64::from(instances.div_ceil(self.instances_per_replica))
            }
        }
    }

    /// Returns the instances that fit into `room` units, at most a replica's capacity.
    pub(super) fn instances_within(&self, room: u64) -> u32 {
        match self.instance {
            None if room >= self.capacity => self.instances_per_replica,
            None => 0,
            Some(instance) => u32::try_from(room / instance).unwrap_or(u32::MAX).min(self.instances_per_replica),
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_vms_or_six_hundred_instances_fill_a_replica() {
        for (policy, vm) in [(PlacementPolicy::default(), 30), (PlacementPolicy::azure_2026(), 20)] {
            let units = Units::new(&policy, StorageAccountType::StandardLrs);
            let capacity = policy.capacity_on(StorageAccountType::StandardLrs);
            assert_eq!(units.vm, vm);
            assert_eq!(units.vm * u64::from(capacity.vms()), units.capacity);
            assert_eq!(units.scale_set(capacity.scale_set_instances()), units.capacity);
        }
    }

    #[test]
    fn an_exclusive_scale_set_of_one_takes_a_whole_replica() {
        let policy = PlacementPolicy::default().with_replica_sharing(ReplicaSharing::Exclusive);
        let units = Units::new(&policy, StorageAccountType::StandardLrs);
        assert_eq!((units.capacity, units.scale_set(1)), (20, 20));
        assert_eq!((units.instances_within(19), units.instances_within(20)), (0, 600));
    }
}
