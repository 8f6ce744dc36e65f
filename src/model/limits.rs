//! The limits of a service.

/// How many resources, bytes, replicas and instances a service allows at most. The defaults are those of the original Shared
/// Image Gallery. How much one replica serves is the [`PlacementPolicy`](crate::placement::PlacementPolicy)'s.
///
/// ```
/// use compute_gallery::model::Limits;
///
/// let limits = Limits::default().with_replicas_per_region(20).with_scale_set_instances(1_200, 600);
/// assert_eq!(limits.replicas_per_region(), 20);
/// assert_eq!(limits.scale_set_instances_from_gallery(), 1_200);
/// assert_eq!(limits.galleries(), 100);
/// assert_eq!(Limits::azure_2026().max_disk_bytes(), 2 << 40);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    galleries: usize,
    image_definitions: usize,
    image_versions: usize,
    max_disk_bytes: u64,
    max_shallow_disk_bytes: u64,
    replicas_per_region: u32,
    scale_set_instances_from_gallery: u32,
    scale_set_instances_from_managed_image: u32,
    shared_subscriptions: usize,
    shared_tenants: usize,
}

impl Default for Limits {
    /// The original service's overview, "Limits": 100 galleries, 1,000 definitions and 10,000 versions per subscription per
    /// region, and disks of up to 1 TiB. "Scaling": scale sets of up to 1,000 instances from a gallery and 600 from a managed
    /// image. Its API reference: up to 100 replicas per region, and direct sharing with 30 subscriptions and 5 tenants.
    fn default() -> Self {
        Self {
            galleries: 100,
            image_definitions: 1_000,
            image_versions: 10_000,
            max_disk_bytes: 1 << 40,
            max_shallow_disk_bytes: 32 << 40,
            replicas_per_region: 100,
            scale_set_instances_from_gallery: 1_000,
            scale_set_instances_from_managed_image: 600,
            shared_subscriptions: 30,
            shared_tenants: 5,
        }
    }
}

impl Limits {
    /// Azure Compute Gallery's limits as of 2026: the defaults with disks of up to 2 TiB.
    /// [`GalleryServiceBuilder::azure_2026`](crate::GalleryServiceBuilder::azure_2026) sets them together with the placement policy.
    pub fn azure_2026() -> Self {
        Self::default().with_max_disk_bytes(2 << 40)
    }

    /// Returns the most galleries per subscription per region.
    pub fn galleries(&self) -> usize {
        self.galleries
    }

    /// Returns the most image definitions per subscription per region.
    pub fn image_definitions(&self) -> usize {
        self.image_definitions
    }

    /// Returns the most image versions per subscription per region.
    pub fn image_versions(&self) -> usize {
        self.image_versions
    }

    /// Returns the largest virtual size of a disk, in bytes.
    pub fn max_disk_bytes(&self) -> u64 {
        self.max_disk_bytes
    }

    /// Returns the largest virtual size of a disk of a version in replication mode `Shallow`, in bytes: 32 TiB by default.
    pub fn max_shallow_disk_bytes(&self) -> u64 {
        self.max_shallow_disk_bytes
    }

    /// Returns the most replicas of a version in a region, which autoscaling and sizing respect, too.
    pub fn replicas_per_region(&self) -> u32 {
        self.replicas_per_region
    }

    /// Returns the most instances of a scale set from a gallery image, for scale sets and for placement.
    pub fn scale_set_instances_from_gallery(&self) -> u32 {
        self.scale_set_instances_from_gallery
    }

    /// Returns the most instances of a scale set from a managed image, for scale sets and for placement.
    pub fn scale_set_instances_from_managed_image(&self) -> u32 {
        self.scale_set_instances_from_managed_image
    }

    /// Sets the most instances of a scale set, from a gallery image and from a managed image.
    #[must_use]
    pub fn with_scale_set_instances(mut self, from_gallery: u32, from_managed_image: u32) -> Self {
        self.scale_set_instances_from_gallery = from_gallery;
        self.scale_set_instances_from_managed_image = from_managed_image;
        self
    }

    /// Returns the most subscriptions that a gallery is shared with directly.
    pub fn shared_subscriptions(&self) -> usize {
        self.shared_subscriptions
    }

    /// Returns the most tenants that a gallery is shared with directly.
    pub fn shared_tenants(&self) -> usize {
        self.shared_tenants
    }

    /// Sets the most galleries per subscription per region.
    #[must_use]
    pub fn with_galleries(mut self, galleries: usize) -> Self {
        self.galleries = galleries;
        self
    }

    /// Sets the most image definitions per subscription per region.
    #[must_use]
    pub fn with_image_definitions(mut self, image_definitions: usize) -> Self {
        self.image_definitions = image_definitions;
        self
    }

    /// Sets the most image versions per subscription per region.
    #[must_use]
    pub fn with_image_versions(mut self, image_versions: usize) -> Self {
        self.image_versions = image_versions;
        self
    }

    /// Sets the largest virtual size of a disk, in bytes.
    #[must_use]
    pub fn with_max_disk_bytes(mut self, max_disk_bytes: u64) -> Self {
        self.max_disk_bytes = max_disk_bytes;
        self
    }

    /// Sets the largest virtual size of a disk of a version in replication mode `Shallow`, in bytes.
    #[must_use]
    pub fn with_max_shallow_disk_bytes(mut self, max_disk_bytes: u64) -> Self {
        self.max_shallow_disk_bytes = max_disk_bytes;
        self
    }

    /// Sets the most replicas of a version in a region.
    #[must_use]
    pub fn with_replicas_per_region(mut self, replicas_per_region: u32) -> Self {
        self.replicas_per_region = replicas_per_region;
        self
    }
}
