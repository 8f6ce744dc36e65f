//! The results of a replication.

use crate::model::Region;

/// The bytes that a replication moved.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
///
/// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus=2", raw(vec![7; 4096]))).await?;
/// let report = session.replicate(&sandbox.version("1.0.0")).await?;
/// let eastus = &report.regions[1];
/// assert_eq!((eastus.region.as_str(), eastus.replicas), ("eastus", 2));
/// // One copy crossed the border; the second replica was filled from the first.
/// assert_eq!(eastus.cross_region_bytes, eastus.local_bytes);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicationReport {
    /// Every target region, in the order of the publishing profile.
    pub regions: Vec<RegionReport>,
}

/// The bytes that a replication moved for one region: an item of [`ReplicationReport::regions`].
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// // A version that is complete moves nothing.
/// let report = session.replicate(&version).await?;
/// assert_eq!((report.regions[0].cross_region_bytes, report.regions[0].degraded), (0, false));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionReport {
    /// A target region.
    pub region: Region,
    /// The target number of replicas.
    pub replicas: u32,
    /// Bytes that this replication sent over the region's border: none if a driver completed the region.
    pub cross_region_bytes: u64,
    /// Bytes copied between replicas of the region.
    pub local_bytes: u64,
    /// True if a zone failed during the operation and is missing content. Run `scrub` on the region once the zone is back.
    pub degraded: bool,
}

impl RegionReport {
    /// Nothing was moved so far.
    pub(super) fn of_nothing((region, replicas): &(Region, u32)) -> Self {
        Self { region: region.clone(), replicas: *replicas, cross_region_bytes: 0, local_bytes: 0, degraded: false }
    }
}
