//! The plan of an operation.

use super::inner::Inner;
use crate::access::AccessScope;
use crate::billing::{Cost, Item, Prices};
use crate::catalog::{Event, OperationId, OperationKind, OperationTarget, State};
use crate::error::{Error, Problem, Result};
use crate::model::{ImageVersionId, PublishingProfile, Region, ResourceId, StorageAccountType};
use crate::regions::collection_report::CollectionReport;

/// The plan of an operation: every problem with it, or its effects. Running the operation repeats the checks on the state
/// of then.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let plan = session.delete(image).plan().await?;
/// // The definition has a version.
/// assert_eq!(plan.problems[0].code(), "CannotDeleteResource");
/// let plan = session.delete(image).cascade().plan().await?;
/// assert_eq!(plan.deletes, [version.into(), image.into()]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Every reason why the operation would fail; empty if it would succeed.
    pub problems: Vec<Problem>,
    /// What would be written into the catalog; empty where nothing would change.
    pub(crate) events: Vec<Event>,
    /// The operation that tells what becomes of it.
    pub(crate) operation: Option<OperationId>,
    /// What would be moved, for each region that is concerned.
    pub regions: Vec<RegionPlan>,
    /// The resources to delete, children first.
    pub deletes: Vec<ResourceId>,
    /// What a [`Collection`](crate::upkeep::Collection) would free; `None` for other work.
    pub collection: Option<CollectionReport>,
}

/// The bytes that an operation would move for one region.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
///
/// let new = sandbox.new_version("1.0.0", "westeurope,eastus=2", raw(vec![7; 4096]));
/// let plan = session.publish(new).plan().await?;
/// let eastus = &plan.regions[1];
/// assert_eq!((eastus.region.as_str(), eastus.replicas), ("eastus", 2));
/// // One copy crosses the border; the second is made in the region.
/// assert_eq!(eastus.stored_bytes, 2 * eastus.cross_region_bytes);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionPlan {
    /// A target region.
    pub region: Region,
    /// The source of its first replica.
    pub from: Region,
    /// `Standard_LRS` if one store stands for all zones.
    pub storage_account_type: StorageAccountType,
    /// The number of replicas afterwards.
    pub replicas: u32,
    /// Upper bound of the bytes that cross the region's border: fewer if it has a part already.
    pub cross_region_bytes: u64,
    /// The most bytes that would be stored in it, over all replicas.
    pub stored_bytes: u64,
    /// The most bytes that a deployment or a scrub would read in it; 0 for other work.
    pub read_bytes: u64,
}

impl RegionPlan {
    /// `sizes` are the number of replicas, the bytes over the border, and the bytes over all replicas.
    pub(crate) fn new(
        inner: &Inner,
        home: &Region,
        profile: &PublishingProfile,
        region: &Region,
        sizes: (u32, u64, u64),
    ) -> Self {
        let (replicas, cross_region_bytes, stored_bytes) = sizes;
        let storage_account_type = inner.regions.kept_on(region, profile.storage_account_type_in(region));
        let (region, from) = (region.clone(), home.clone());
        Self { region, from, storage_account_type, replicas, cross_region_bytes, stored_bytes, read_bytes: 0 }
    }

    /// What is read in a region and not changed.
    pub(crate) fn read(region: &Region, account: StorageAccountType, replicas: u32, read_bytes: u64) -> Self {
        Self {
            region: region.clone(),
            from: region.clone(),
            storage_account_type: account,
            replicas,
            cross_region_bytes: 0,
            stored_bytes: 0,
            read_bytes,
        }
    }
}

impl Plan {
    /// Adds the beginning of an operation on a version.
    pub(crate) fn beginning(mut self, inner: &Inner, kind: OperationKind, version: &ImageVersionId) -> Result<Self> {
        if self.is_possible() {
            let (operation, resource) = (OperationId::from_bytes(inner.draw()?), version.into());
            self.events.push(Event::OperationBegun { operation, kind, resource, extent: None, done: false });
            self.operation = Some(operation);
        }
        Ok(self)
    }

    /// Adds the record of an operation that the commit does, unless nothing changes or the plan has an operation of its own.
    pub(crate) fn recording(
        mut self,
        state: &State,
        operation: Option<OperationId>,
        kind: OperationKind,
        scope: Option<&AccessScope>,
    ) -> Result<Self> {
        let resource =
            scope.and_then(OperationTarget::of).filter(|_| !self.events.is_empty() && self.operation.is_none());
        let Some((operation, resource)) = operation.zip(resource) else { return Ok(self) };
        if state.operation(operation).is_some() {
            let what = "there is an operation of this id: draw another";
            return Err(Error::new(Problem::conflict(operation.to_string(), what)));
        }
        self.events.push(Event::OperationBegun { operation, kind, resource, extent: None, done: true });
        self.operation = Some(operation);
        Ok(self)
    }

    /// Returns whether the plan has no problems.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// assert!(session.delete(&version).plan().await?.is_possible());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn is_possible(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the error that the operation would fail with.
    ///
    /// # Errors
    ///
    /// All problems in one error.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// assert!(session.delete(image).plan().await?.check().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn check(&self) -> Result<()> {
        Error::from_problems(self.problems.clone())
    }

    /// Returns an upper bound of the cost.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::billing::Prices;
    /// use compute_gallery::testkit::raw;
    ///
    /// let new = sandbox.new_version("1.0.0", "westeurope,eastus=2", raw(vec![7; 4096]));
    /// let cost = session.publish(new).plan().await?.cost(&Prices::new(50_000, 20_000));
    /// assert_eq!(cost.disks, 3);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn cost(&self, prices: &Prices) -> Cost {
        let items = self.regions.iter().map(|plan| Item {
            region: plan.region.clone(),
            account: plan.storage_account_type,
            from: plan.from.clone(),
            replicas: plan.replicas,
            // Not all disks are known yet: the most bytes are about the sizes of all.
            disks: 1,
            disk_bytes: plan.stored_bytes,
            stored_bytes: plan.stored_bytes,
            cross_region_bytes: plan.cross_region_bytes,
        });
        Cost::of(prices, items)
    }

    pub(crate) fn refused(problems: Vec<Problem>) -> Self {
        Self { problems, ..Self::default() }
    }

    pub(crate) fn of_event(problems: Vec<Problem>, event: Event) -> Self {
        match problems.is_empty() {
            true => Self { events: vec![event], ..Self::default() },
            false => Self::refused(problems),
        }
    }
}
