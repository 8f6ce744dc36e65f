//! The settings of the face.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::authenticator::{AnyToken, Authenticator};
use super::driven::Drive;
use super::face::Arm;
use super::inner::{Inner, Settings};
use super::operations::Operations;
use super::template::Deployments;
use super::test_endpoints::{TestEndpoints, Tests};
use crate::access::Caller;
use crate::host::sync::RwLock;
use crate::host::{Clock, SystemClock};
use crate::model::RegionCatalog;
use crate::service::session::GalleryService;

/// Builds an [`Arm`].
///
/// ```
/// # #[cfg(feature = "arm")] {
/// use compute_gallery::GalleryService;
/// use compute_gallery::arm::{ArmBuilder, OneToken};
/// use compute_gallery::store::MemoryStore;
///
/// # futures::executor::block_on(async {
/// let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
/// let arm = ArmBuilder::new(service)
///     .authenticator(OneToken::new("s3cret", "admin".parse()?))
///     .instant()
///     .build();
/// # let _ = arm;
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct ArmBuilder {
    service: GalleryService,
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    regions: RegionCatalog,
    settings: Settings,
    driver: Option<Caller>,
    tests: Option<TestEndpoints>,
}

impl ArmBuilder {
    /// Begins with the defaults: any token is the caller `admin`'s, operations are polled each second.
    pub fn new(service: GalleryService) -> Self {
        let retry_after = Some(NonZeroU32::MIN);
        let (strict_versions, named_sources, body_bytes, page) = (false, None, 4 << 20, 100);
        Self {
            service,
            authenticator: Arc::new(AnyToken::default()),
            clock: Arc::new(SystemClock),
            regions: RegionCatalog::azure_2026(),
            settings: Settings { retry_after, strict_versions, named_sources, body_bytes, page },
            driver: None,
            tests: None,
        }
    }

    /// Makes callers of bearer tokens; [`AnyToken`] by default.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Arc::new(authenticator);
        self
    }

    /// Tells the time of operations and headers; [`SystemClock`] by default. Give the service's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The regions with their display names; [`RegionCatalog::azure_2026`] by default. Give the service's catalog.
    #[must_use]
    pub fn region_catalog(mut self, regions: RegionCatalog) -> Self {
        self.regions = regions;
        self
    }

    /// Operations are done when they are answered, and clients poll nothing.
    #[must_use]
    pub fn instant(mut self) -> Self {
        self.settings.retry_after = None;
        self
    }

    /// The `Retry-After` of operations in seconds; 1 by default. An operation is in progress at its first poll, and done at the
    /// next one or after this time.
    #[must_use]
    pub fn retry_after(mut self, seconds: NonZeroU32) -> Self {
        self.settings.retry_after = Some(seconds);
        self
    }

    /// Refuses api-versions that Azure does not have, for reads as well.
    #[must_use]
    pub fn strict_versions(mut self) -> Self {
        self.settings.strict_versions = true;
        self
    }

    /// Any source that is not there stands for a disk of `bytes` zeros, which cost no storage: a managed image, a VM, a disk, a
    /// snapshot, a VHD.
    #[must_use]
    pub fn named_sources(mut self, bytes: u64) -> Self {
        self.settings.named_sources = Some(bytes);
        self
    }

    /// The largest body that is read, in bytes; 4 MiB by default, as in Azure.
    #[must_use]
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.settings.body_bytes = bytes;
        self
    }

    /// Leaves the work to a driver with the rights of `caller`, an administrator: a PUT of a version announces it, and a DELETE of a
    /// gallery, a definition or a version marks it. Spawn [`Arm::drive`], in this process or in another one of the same catalog; without, nothing is done.
    ///
    /// By default a request does what it asks for before it is answered. Deployments of templates do so in any case, and so does an
    /// [`instant`](Self::instant) face with deletions. The driver asks the service's [`sources`](crate::GalleryServiceBuilder::sources) for what it has no bytes of, and not
    /// [`named_sources`](Self::named_sources).
    #[must_use]
    pub fn driven(mut self, caller: Caller) -> Self {
        self.driver = Some(caller);
        self
    }

    /// The resources on a page of a list; 100 by default.
    #[must_use]
    pub fn page(mut self, items: usize) -> Self {
        self.settings.page = items.max(1);
        self
    }

    /// Answers `/_test/` as well, without a token: for tests alone.
    #[must_use]
    pub fn test_endpoints(mut self, tests: TestEndpoints) -> Self {
        self.tests = Some(tests);
        self
    }

    /// Returns the face.
    pub fn build(self) -> Arm {
        let Self { service, authenticator, clock, regions, settings, driver, tests } = self;
        let clock = tests.as_ref().map_or(clock, |tests| Arc::new(tests.clock().clone()));
        let operations = Operations::new(settings.retry_after);
        let (service, tests) = (RwLock::new(service), tests.map(Tests::new).map(Arc::new));
        let inner = Arc::new(Inner {
            service,
            authenticator,
            clock,
            regions,
            settings,
            operations,
            deployments: Deployments::default(),
            drive: Drive::new(driver),
        });
        Arm { inner, tests }
    }
}

impl Arm {
    /// Returns a face with the [default settings](ArmBuilder::new): any token is the caller `admin`'s.
    pub fn new(service: GalleryService) -> Self {
        ArmBuilder::new(service).build()
    }
}
