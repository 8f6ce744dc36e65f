//! How much a replica can do at once, and how many replicas there may be.

use std::collections::HashMap;

use crate::model::StorageAccountType;

/// What one replica can do at once: so many VM creations, or one scale-set deployment of so many instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    vms: u32,
    scale_set_instances: u32,
}

impl Capacity {
    /// So many VMs, or so many instances of one scale set; at least one of each.
    pub fn new(vms: u32, scale_set_instances: u32) -> Self {
        Self { vms: vms.max(1), scale_set_instances: scale_set_instances.max(1) }
    }

    /// VMs that are created at the same time.
    pub fn vms(&self) -> u32 {
        self.vms
    }

    /// Instances of one scale-set deployment.
    pub fn scale_set_instances(&self) -> u32 {
        self.scale_set_instances
    }
}

/// Whether a replica may serve VMs and a scale set at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplicaSharing {
    /// They share it by a common unit: with 20 VMs and 600 instances, a VM takes as much of it as 30 instances.
    #[default]
    Shared,
    /// A scale set, of whatever size, has its replica to itself. It waits for one that is idle.
    Exclusive,
}

/// The numbers that placement and sizing go by. They are advice from a service's documentation, not laws of nature:
/// change them when you have measured your own.
///
/// ```
/// use compute_gallery::model::StorageAccountType;
/// use compute_gallery::placement::{Capacity, PlacementPolicy};
///
/// // One user saw a replica on premium storage serve 25 hosts where a standard one gave up above 2.
/// let policy = PlacementPolicy::default().with_capacity_on(StorageAccountType::PremiumLrs, Capacity::new(25, 600));
/// assert_eq!(policy.capacity_on(StorageAccountType::StandardLrs).vms(), 20);
/// assert_eq!(policy.capacity_on(StorageAccountType::PremiumLrs).vms(), 25);
/// assert_eq!(PlacementPolicy::azure_2026().min_replicas(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementPolicy {
    capacity: Capacity,
    by_storage: HashMap<StorageAccountType, Capacity>,
    replica_sharing: ReplicaSharing,
    min_replicas: u32,
}

impl Default for PlacementPolicy {
    /// The original Shared Image Gallery's numbers: a replica for each 20 VMs that are created concurrently, one for each
    /// scale-set deployment of up to 600 instances, scale sets of up to 1,000 instances (600 from a managed image;
    /// all of its overview, "Scaling"), and 1 to 100 replicas in a region (its API reference).
    fn default() -> Self {
        Self {
            capacity: Capacity::new(20, 600),
            by_storage: HashMap::new(),
            replica_sharing: ReplicaSharing::Shared,
            min_replicas: 1,
        }
    }
}

impl PlacementPolicy {
    /// Today's numbers of Azure Compute Gallery: 50 VMs and 1,000 instances ("Scaling" in its overview), and at least 3
    /// replicas for production ("Best practices").
    pub fn azure_2026() -> Self {
        Self { capacity: Capacity::new(50, 1_000), min_replicas: 3, ..Self::default() }
    }

    /// What a replica can do at once on that kind of storage.
    pub fn capacity_on(&self, storage: StorageAccountType) -> Capacity {
        self.by_storage.get(&storage).copied().unwrap_or(self.capacity)
    }

    /// Whether VMs and scale sets share a replica.
    pub fn replica_sharing(&self) -> ReplicaSharing {
        self.replica_sharing
    }

    /// Replicas in a region, at least.
    pub fn min_replicas(&self) -> u32 {
        self.min_replicas
    }

    /// Sets what a replica can do at once, on all storage that has no number of its own.
    #[must_use]
    pub fn with_capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets what a replica can do at once on one kind of storage.
    #[must_use]
    pub fn with_capacity_on(mut self, storage: StorageAccountType, capacity: Capacity) -> Self {
        self.by_storage.insert(storage, capacity);
        self
    }

    /// Sets whether VMs and scale sets share a replica.
    #[must_use]
    pub fn with_replica_sharing(mut self, replica_sharing: ReplicaSharing) -> Self {
        self.replica_sharing = replica_sharing;
        self
    }

    /// Sets the fewest replicas in a region. [`Limits::replicas_per_region`](crate::model::Limits::replicas_per_region) takes precedence where it is lower.
    #[must_use]
    pub fn with_min_replicas(mut self, min_replicas: u32) -> Self {
        self.min_replicas = min_replicas;
        self
    }
}
