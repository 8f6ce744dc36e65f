//! How much is allowed.

/// The limits that a service holds. The defaults are those of the original Shared Image Gallery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    galleries: usize,
    image_definitions: usize,
    image_versions: usize,
    max_disk_bytes: u64,
    replicas_per_region: u32,
    scale_set_instances_from_gallery: u32,
    scale_set_instances_from_managed_image: u32,
    shared_subscriptions: usize,
    shared_tenants: usize,
}

impl Default for Limits {
    /// 100 galleries, 1,000 definitions and 10,000 versions per subscription per region, disks of up to 1 TiB (the
    /// service's overview, "Limits"), scale sets of up to 1,000 instances from a gallery and 600 from a managed image ("Scaling"), direct sharing with 30
    /// subscriptions and 5 tenants, and
    /// up to 100 replicas per region (its API reference).
    fn default() -> Self {
        Self {
            galleries: 100,
            image_definitions: 1_000,
            image_versions: 10_000,
            max_disk_bytes: 1 << 40,
            replicas_per_region: 100,
            scale_set_instances_from_gallery: 1_000,
            scale_set_instances_from_managed_image: 600,
            shared_subscriptions: 30,
            shared_tenants: 5,
        }
    }
}

impl Limits {
    /// Today's numbers of Azure Compute Gallery: as the default, but disks of up to 2 TiB.
    pub fn azure_2026() -> Self {
        Self::default().with_max_disk_bytes(2 << 40)
    }

    /// Galleries per subscription per region.
    pub fn galleries(&self) -> usize {
        self.galleries
    }

    /// Image definitions per subscription per region.
    pub fn image_definitions(&self) -> usize {
        self.image_definitions
    }

    /// Image versions per subscription per region.
    pub fn image_versions(&self) -> usize {
        self.image_versions
    }

    /// The size of a disk in bytes.
    pub fn max_disk_bytes(&self) -> u64 {
        self.max_disk_bytes
    }

    /// Replicas of a version in a region.
    pub fn replicas_per_region(&self) -> u32 {
        self.replicas_per_region
    }

    /// Instances of a scale set that is made from a gallery image.
    pub fn scale_set_instances_from_gallery(&self) -> u32 {
        self.scale_set_instances_from_gallery
    }

    /// Instances of a scale set that is made from a managed image.
    pub fn scale_set_instances_from_managed_image(&self) -> u32 {
        self.scale_set_instances_from_managed_image
    }

    /// Sets the instances of a scale set, from a gallery image and from a managed image.
    #[must_use]
    pub fn with_scale_set_instances(mut self, from_gallery: u32, from_managed_image: u32) -> Self {
        self.scale_set_instances_from_gallery = from_gallery;
        self.scale_set_instances_from_managed_image = from_managed_image;
        self
    }

    /// Subscriptions that a gallery can be shared with.
    pub fn shared_subscriptions(&self) -> usize {
        self.shared_subscriptions
    }

    /// Tenants that a gallery can be shared with.
    pub fn shared_tenants(&self) -> usize {
        self.shared_tenants
    }

    /// Sets the number of galleries.
    #[must_use]
    pub fn with_galleries(mut self, galleries: usize) -> Self {
        self.galleries = galleries;
        self
    }

    /// Sets the number of image definitions.
    #[must_use]
    pub fn with_image_definitions(mut self, image_definitions: usize) -> Self {
        self.image_definitions = image_definitions;
        self
    }

    /// Sets the number of image versions.
    #[must_use]
    pub fn with_image_versions(mut self, image_versions: usize) -> Self {
        self.image_versions = image_versions;
        self
    }

    /// Sets the size of a disk in bytes.
    #[must_use]
    pub fn with_max_disk_bytes(mut self, max_disk_bytes: u64) -> Self {
        self.max_disk_bytes = max_disk_bytes;
        self
    }

    /// Sets the replicas of a version in a region.
    #[must_use]
    pub fn with_replicas_per_region(mut self, replicas_per_region: u32) -> Self {
        self.replicas_per_region = replicas_per_region;
        self
    }
}
