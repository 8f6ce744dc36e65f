//! Descriptions of the images and snapshots to publish.

use super::source::ImageSource;
use crate::disk::source::DiskSource;
use crate::model::{
    CarriedIdentity, HyperVGeneration, ImageVersionId, ManagedImageId, OsType, PublishingProfile, Region,
    SafetyProfile, SnapshotId, Tags,
};

/// A version to [publish](crate::Session::publish): its id, its regions and its source.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::NewImageVersion;
/// use compute_gallery::disk::{DiskFormat, DiskSource};
/// use compute_gallery::model::PublishingProfile;
///
/// let profile = PublishingProfile::new("westeurope=2,eastus".parse()?);
/// let disk = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
/// let new = NewImageVersion::new(sandbox.version("1.0.0"), "westeurope".parse()?, profile, disk);
/// let published = session.publish(new).await?;
/// assert_eq!(published.resource.id(), &sandbox.version("1.0.0"));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
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
    /// Returns a version to be made from `source`: local disks, a managed image, snapshots, a VM, a VHD blob, or another
    /// version. `location` is the source region: a stored source must be in it, other disks are imported into it, and it
    /// must be a target region.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::NewImageVersion;
    /// use compute_gallery::model::PublishingProfile;
    /// use compute_gallery::testkit::raw;
    ///
    /// let profile = PublishingProfile::new("eastus".parse()?);
    /// let new = NewImageVersion::new(sandbox.version("1.0.0"), "westeurope".parse()?, profile, raw(vec![7; 4096]));
    /// // West Europe, where it would be made, is not a target region.
    /// assert!(!session.publish(new).plan().await?.is_possible());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(
        id: ImageVersionId,
        location: Region,
        publishing_profile: PublishingProfile,
        source: impl Into<ImageSource>,
    ) -> Self {
        let (tags, safety_profile, carried) = (Tags::default(), None, None);
        Self { id, location, publishing_profile, source: source.into(), tags, safety_profile, carried }
    }

    /// Sets the tags. None by default.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Sets the protection against early deletion. By default the version can be deleted at any time.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::ErrorKind;
    /// use compute_gallery::model::SafetyProfile;
    /// use compute_gallery::testkit::raw;
    ///
    /// let protected = SafetyProfile::default().with_block_deletion_before_end_of_life(true);
    /// let new = sandbox.new_version("1.0.0", "westeurope", raw(vec![7; 4096])).with_safety_profile(protected);
    /// session.publish(new).await?;
    /// assert_eq!(session.delete(&sandbox.version("1.0.0")).await.unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn with_safety_profile(mut self, profile: SafetyProfile) -> Self {
        self.safety_profile = Some(profile);
        self
    }

    /// Sets the accounts and the computer name that the source VM left in a specialized image. Every VM made from the
    /// version is told of them. By default a version has those of the version it is made from, if any.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::CarriedIdentity;
    /// use compute_gallery::testkit::raw;
    ///
    /// let carried = CarriedIdentity::new("golden").with_accounts(["admin".to_owned()]);
    /// let new = sandbox.new_version("1.0.0", "westeurope", raw(vec![7; 4096])).with_carried_identity(carried);
    /// // The sandbox's image is generalized: it has neither.
    /// let plan = session.publish(new).plan().await?;
    /// assert_eq!(plan.problems[0].target(), "carriedIdentity");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn with_carried_identity(mut self, carried: CarriedIdentity) -> Self {
        self.carried = Some(carried);
        self
    }
}

/// A managed image to [create](crate::Session::create_managed_image) from the disks of a generalized VM.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::model::{ManagedImageId, OsType};
/// use compute_gallery::publish::NewManagedImage;
/// use compute_gallery::testkit::raw;
///
/// let id: ManagedImageId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse()?;
/// let new = NewManagedImage::new(id.clone(), "westeurope".parse()?, OsType::Linux, raw(vec![7; 4096]));
/// session.create_managed_image(new).await?;
/// assert_eq!(session.view().managed_image(&id)?.os_type(), OsType::Linux);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
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
    /// Returns a managed image in `location`, of firmware V1.
    pub fn new(id: ManagedImageId, location: Region, os_type: OsType, source: impl Into<ImageSource>) -> Self {
        let hyper_v_generation = HyperVGeneration::default();
        Self { id, location, os_type, hyper_v_generation, source: source.into(), tags: Tags::default() }
    }

    /// Sets the firmware. V1 (BIOS) by default.
    #[must_use]
    pub fn with_hyper_v_generation(mut self, generation: HyperVGeneration) -> Self {
        self.hyper_v_generation = generation;
        self
    }

    /// Sets the tags. None by default.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }
}

/// A snapshot of one disk to [create](crate::Session::create_snapshot). Versions can be made from snapshots.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::disk::{DiskFormat, DiskSource};
/// use compute_gallery::model::SnapshotId;
/// use compute_gallery::publish::NewSnapshot;
///
/// let id: SnapshotId = "/subscriptions/dev/resourceGroups/vms/providers/Microsoft.Compute/snapshots/data".parse()?;
/// let disk = DiskSource::bytes(vec![7; 1 << 20], DiskFormat::Raw);
/// session.create_snapshot(NewSnapshot::of_data_disk(id.clone(), "westeurope".parse()?, disk)).await?;
/// assert_eq!(session.view().snapshot(&id)?.location().as_str(), "westeurope");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct NewSnapshot {
    pub(crate) id: SnapshotId,
    pub(crate) location: Region,
    pub(crate) disk: DiskSource,
    pub(crate) os: Option<(OsType, HyperVGeneration)>,
    pub(crate) tags: Tags,
}

impl NewSnapshot {
    /// Returns a snapshot of a data disk.
    pub fn of_data_disk(id: SnapshotId, location: Region, disk: DiskSource) -> Self {
        Self { id, location, disk, os: None, tags: Tags::default() }
    }

    /// Returns a snapshot of an OS disk. A version made from it must match `os_type` and `hyper_v_generation`.
    pub fn of_os_disk(
        id: SnapshotId,
        location: Region,
        disk: DiskSource,
        os_type: OsType,
        hyper_v_generation: HyperVGeneration,
    ) -> Self {
        Self { id, location, disk, os: Some((os_type, hyper_v_generation)), tags: Tags::default() }
    }

    /// Sets the tags. None by default.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }
}
