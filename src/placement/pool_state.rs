//! The part of a pool that changes, under one lock.

use super::portion::Portion;
use super::queue::Queue;
use super::replica_table::ReplicaTable;
use super::request::{Machines, PlacementRequest};
use super::strategy::{LeastLoaded, Strategy};
use super::units::Units;

/// Everything that a pool's lock guards.
#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) table: ReplicaTable,
    pub(super) units: Units,
    pub(super) strategy: Box<dyn Strategy>,
    pub(super) queue: Queue,
}

/// The number of replicas to add for a request to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MissingReplicas(pub(super) u64);

impl PoolState {
    /// Creates a state without replicas that chooses the least loaded.
    pub(super) fn new(units: Units) -> Self {
        Self { table: ReplicaTable::new(), units, strategy: Box::new(LeastLoaded), queue: Queue::default() }
    }

    #[inline]
    pub(super) fn give_back<'a>(&mut self, portions: impl IntoIterator<Item = &'a Portion>) {
        for portion in portions {
            self.table.take(portion.replica, portion.units);
        }
    }

    /// Whether the request would fit if all serving replicas were idle.
    pub(super) fn is_feasible(&self, request: &PlacementRequest) -> bool {
        let replicas = self.table.serving() as u64;
        match request.machines {
            Machines::Vms(count) => u64::from(count) <= replicas * (self.units.capacity / self.units.vm),
            Machines::ScaleSet(instances) => {
                u64::from(instances.div_ceil(self.units.instances_per_replica)) <= replicas
            }
        }
    }
}
