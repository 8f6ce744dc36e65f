//! Sources by name that are outside of the catalog: the host says what they are.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::disk::DiskSource;
use crate::error::Result;
use crate::model::{
    Architecture, DiskReference, HyperVGeneration, OsState, OsType, PurchasePlan, Region, VersionSource,
};

/// Says what a source is that the catalog only knows by name: a VM, a managed image, a disk, a snapshot, a VHD at a URI, a community image.
///
/// [`complete_version`](crate::Session::complete_version), and with it a [`Driver`](crate::drive::Driver), asks it for the source of an announced
/// version that is not stored here: once for a VM or an image, and once for each disk of a list, which may be of different kinds. Of a list
/// that has one disk which is not stored here, it is asked for all.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// use async_trait::async_trait;
/// use compute_gallery::disk::{DiskFormat, DiskSource};
/// use compute_gallery::publish::{ResolvedSource, SourceName, SourceResolver};
/// use serde_json::json;
///
/// /// A host that keeps each managed disk in memory.
/// #[derive(Debug)]
/// struct Disks;
///
/// #[async_trait]
/// impl SourceResolver for Disks {
///     async fn resolve(&self, source: SourceName<'_>) -> compute_gallery::Result<Option<ResolvedSource>> {
///         let SourceName::Disk(id) = source else { return Ok(None) };
///         let disk = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
///         let mut resolved = ResolvedSource::new(disk);
///         resolved.location = Some("westeurope".parse()?);
///         Ok(id.to_string().ends_with("/web-os").then_some(resolved))
///     }
/// }
///
/// let sandbox = Sandbox::builder().service(|builder| builder.sources(Disks)).build().await?;
/// let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
/// let disk = "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/disks/web-os";
/// let storage = json!({"osDiskImage": {"source": {"id": disk}}});
/// session.put_image_version(&id, json!({"location": "westeurope", "properties": {"storageProfile": storage}})).await?;
/// session.complete_version(&id).await?;
/// assert_eq!(sandbox.deployed("1.0.0", "westeurope").await?, [7; 4096]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait SourceResolver: Debug + Send + Sync + 'static {
    /// Returns what a source is; `None` if there is none of this name: then the version is `Failed`.
    ///
    /// # Errors
    ///
    /// Any: the version is still `Creating`, and a driver tries again.
    async fn resolve(&self, source: SourceName<'_>) -> Result<Option<ResolvedSource>>;
}

/// The name of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SourceName<'a> {
    /// A VM, an image, another version or a community image, with all its disks.
    Whole(&'a VersionSource),
    /// A snapshot, a managed disk or a VHD: one disk.
    Disk(&'a DiskReference),
}

/// What a source is. Each fact that is known is compared with the definition, as Azure does.
#[derive(Debug)]
#[non_exhaustive]
pub struct ResolvedSource {
    /// The region that it is in.
    pub location: Option<Region>,
    /// Its operating system.
    pub os_type: Option<OsType>,
    /// Whether it was generalized.
    pub os_state: Option<OsState>,
    /// Its firmware.
    pub hyper_v_generation: Option<HyperVGeneration>,
    /// Its processor.
    pub architecture: Option<Architecture>,
    /// The plan under which its image was bought, or that it was not.
    pub purchase_plan: Option<Option<PurchasePlan>>,
    /// Its OS disk, or the one disk that it is: bytes, or a size alone, as [`DiskSource::zeros`].
    pub disk: DiskSource,
    /// The data disks of a VM or an image, with their logical unit numbers.
    pub data_disks: Vec<(u32, DiskSource)>,
}

impl ResolvedSource {
    /// A source of one disk, of which nothing else is known.
    pub fn new(disk: DiskSource) -> Self {
        Self {
            location: None,
            os_type: None,
            os_state: None,
            hyper_v_generation: None,
            architecture: None,
            purchase_plan: None,
            disk,
            data_disks: Vec::new(),
        }
    }
}

/// Resolves every name to one disk of zeros: for emulators and tests, which have no bytes.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// use compute_gallery::publish::AnySource;
/// use serde_json::json;
///
/// let sandbox = Sandbox::builder().service(|builder| builder.sources(AnySource::of_zeros(30 << 30).unwrap())).build().await?;
/// let (session, id) = (sandbox.session(), sandbox.version("1.0.0"));
/// let vm = "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/web";
/// let storage = json!({"source": {"virtualMachineId": vm}});
/// session.put_image_version(&id, json!({"location": "westeurope", "properties": {"storageProfile": storage}})).await?;
/// while !session.driver().step().await?.is_idle() {}
/// // 30 GiB that cost nothing.
/// assert!(session.view().image_content(&id)?.is_zeros());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AnySource {
    bytes: u64,
}

impl AnySource {
    /// Each source has one disk of so many zeros.
    ///
    /// # Errors
    ///
    /// Those of [`DiskSource::zeros`].
    pub fn of_zeros(bytes: u64) -> Result<Self> {
        DiskSource::zeros(bytes).map(|_| Self { bytes })
    }
}

#[async_trait]
impl SourceResolver for AnySource {
    async fn resolve(&self, _source: SourceName<'_>) -> Result<Option<ResolvedSource>> {
        DiskSource::zeros(self.bytes).map(|disk| Some(ResolvedSource::new(disk)))
    }
}
