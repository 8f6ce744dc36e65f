//! How much one replica does at once.

use std::collections::HashMap;

use crate::model::StorageAccountType;

/// What one replica serves at once: a number of VM creations, or one scale-set deployment of a number of instances.
///
/// ```
/// use compute_gallery::placement::Capacity;
///
/// let capacity = Capacity::new(20, 600);
/// assert_eq!((capacity.vms(), capacity.scale_set_instances()), (20, 600));
/// assert_eq!(Capacity::new(0, 600).vms(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    vms: u32,
    scale_set_instances: u32,
}

impl Capacity {
    /// Creates a capacity of `vms` concurrent VMs or one scale set of `scale_set_instances`. Zero counts as one.
    pub fn new(vms: u32, scale_set_instances: u32) -> Self {
        Self { vms: vms.max(1), scale_set_instances: scale_set_instances.max(1) }
    }

    /// Returns the VMs that are created at the same time.
    pub fn vms(&self) -> u32 {
        self.vms
    }

    /// Returns the instances of one scale-set deployment.
    pub fn scale_set_instances(&self) -> u32 {
        self.scale_set_instances
    }
}

/// Whether a replica serves VMs and a scale set at the same time.
///
/// ```
/// use compute_gallery::model::{Limits, StorageAccountType};
/// use compute_gallery::placement::{PlacementPolicy, PlacementRequest, Pool, ReplicaSharing};
///
/// for (sharing, fits) in [(ReplicaSharing::Shared, true), (ReplicaSharing::Exclusive, false)] {
///     let policy = PlacementPolicy::default().with_replica_sharing(sharing);
///     let pool = Pool::new(&policy, &Limits::default(), StorageAccountType::StandardLrs);
///     pool.resize(1);
///     let _vm = pool.place(PlacementRequest::vm())?;
///     assert_eq!(pool.place(PlacementRequest::scale_set(300)).is_ok(), fits);
/// }
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplicaSharing {
    /// It does, counted in a common unit: with a capacity of 20 VMs or 600 instances, a VM counts as 30 instances.
    #[default]
    Shared,
    /// A scale set of any size needs an idle replica, and keeps others out of it.
    Exclusive,
}

/// How much one replica serves, and how few replicas sizing recommends. The numbers are a documentation's advice: replace
/// them by your own measurements. [`Limits`](crate::model::Limits) hold the maxima: scale-set sizes and replicas per region.
///
/// ```
/// use compute_gallery::model::StorageAccountType;
/// use compute_gallery::placement::{Capacity, PlacementPolicy};
///
/// // One user measured 25 hosts per replica on premium storage, and 2 on standard storage.
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
    /// The original Shared Image Gallery's numbers (its overview, "Scaling"): one replica for 20 concurrent VMs or a scale-set
    /// deployment of up to 600 instances, shared by both, and at least 1 replica per region.
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
    /// Azure Compute Gallery's numbers as of 2026: 50 VMs or 1,000 instances (its overview, "Scaling"), and at least 3 replicas
    /// for production ("Best practices"). [`GalleryServiceBuilder::azure_2026`](crate::GalleryServiceBuilder::azure_2026) sets it
    /// together with the limits.
    pub fn azure_2026() -> Self {
        Self { capacity: Capacity::new(50, 1_000), min_replicas: 3, ..Self::default() }
    }

    /// Returns the capacity of a replica on `storage`.
    pub fn capacity_on(&self, storage: StorageAccountType) -> Capacity {
        self.by_storage.get(&storage).copied().unwrap_or(self.capacity)
    }

    /// Returns whether VMs and scale sets share a replica.
    pub fn replica_sharing(&self) -> ReplicaSharing {
        self.replica_sharing
    }

    /// Returns the fewest replicas that sizing and autoscaling recommend for a region.
    pub fn min_replicas(&self) -> u32 {
        self.min_replicas
    }

    /// Sets the capacity of a replica on all storage without a [capacity of its own](Self::with_capacity_on).
    #[must_use]
    pub fn with_capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets the capacity of a replica on one kind of storage.
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

    /// Sets the fewest replicas that are recommended for a region. A lower
    /// [limit](crate::model::Limits::replicas_per_region) takes precedence.
    #[must_use]
    pub fn with_min_replicas(mut self, min_replicas: u32) -> Self {
        self.min_replicas = min_replicas;
        self
    }
}
