//! What a publish makes.

use super::source::ImageSource;
use crate::disk::source::DiskSource;
use crate::model::{
    CarriedIdentity, HyperVGeneration, ImageVersionId, ManagedImageId, OsType, PublishingProfile, Region,
    SafetyProfile, SnapshotId, Tags,
};

/// A version to publish: where it belongs, where it goes, and what it is made from.
#[derive(Debug)]
pub struct NewImageVersion {
    pub(crate) id: ImageVersionId,
    pub(crate) location: Region,
    pub(crate) publishing_profile: PublishingProfile,
    pub(crate) source: ImageSource,
    pub(crate) tags: Tags,
    pub(crate) safety_profile: Option<SafetyProfile>,
    pub(crate) carried: Option<CarriedIdentity>,
}

impl NewImageVersion {
    /// A version made from disks of your own, a managed image, snapshots, a VM, or another version. `location` is its
    /// source region: the source must be there, or is imported there, and it must be among the target regions.
    pub fn new(
        id: ImageVersionId,
        location: Region,
        publishing_profile: PublishingProfile,
        source: impl Into<ImageSource>,
    ) -> Self {
        let (tags, safety_profile, carried) = (Tags::default(), None, None);
        Self { id, location, publishing_profile, source: source.into(), tags, safety_profile, carried }
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Sets what of it must not be deleted too early.
    #[must_use]
    pub fn with_safety_profile(mut self, profile: SafetyProfile) -> Self {
        self.safety_profile = Some(profile);
        self
    }

    /// Sets what the VM that a specialized image was made from leaves in it: told to everybody who makes a VM of it. A
    /// version made from another one has what that has, where this says nothing.
    #[must_use]
    pub fn with_carried_identity(mut self, carried: CarriedIdentity) -> Self {
        self.carried = Some(carried);
        self
    }
}

/// A managed image to create, from disks of a generalized VM.
#[derive(Debug)]
pub struct NewManagedImage {
    pub(crate) id: ManagedImageId,
    pub(crate) location: Region,
    pub(crate) os_type: OsType,
    pub(crate) hyper_v_generation: HyperVGeneration,
    pub(crate) source: ImageSource,
    pub(crate) tags: Tags,
}

impl NewManagedImage {
    /// An image in a region, for firmware V1.
    pub fn new(id: ManagedImageId, location: Region, os_type: OsType, source: impl Into<ImageSource>) -> Self {
        let hyper_v_generation = HyperVGeneration::default();
        Self { id, location, os_type, hyper_v_generation, source: source.into(), tags: Tags::default() }
    }

    /// Sets the firmware.
    #[must_use]
    pub fn with_hyper_v_generation(mut self, generation: HyperVGeneration) -> Self {
        self.hyper_v_generation = generation;
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }
}

/// A snapshot to create, of one disk.
#[derive(Debug)]
pub struct NewSnapshot {
    pub(crate) id: SnapshotId,
    pub(crate) location: Region,
    pub(crate) disk: DiskSource,
    pub(crate) os: Option<(OsType, HyperVGeneration)>,
    pub(crate) tags: Tags,
}

impl NewSnapshot {
    /// A snapshot of a data disk.
    pub fn of_data_disk(id: SnapshotId, location: Region, disk: DiskSource) -> Self {
        Self { id, location, disk, os: None, tags: Tags::default() }
    }

    /// A snapshot of an OS disk.
    pub fn of_os_disk(
        id: SnapshotId,
        location: Region,
        disk: DiskSource,
        os_type: OsType,
        hyper_v_generation: HyperVGeneration,
    ) -> Self {
        Self { id, location, disk, os: Some((os_type, hyper_v_generation)), tags: Tags::default() }
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }
}
