//! What an operation would do.

use super::inner::Inner;
use crate::billing::{Cost, Item, Prices};
use crate::catalog::Event;
use crate::error::{Error, Problem, Result};
use crate::model::{PublishingProfile, Region, ResourceId, StorageAccountType};
use crate::regions::collection_report::CollectionReport;

/// What an operation would do, found out without doing it: everything that is wrong with it, or what would change.
///
/// Running the operation makes the same checks again, on the state that there is then.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Everything that stands against it; empty where nothing does.
    pub problems: Vec<Problem>,
    /// What would be written into the catalog; empty where nothing would change.
    pub(crate) events: Vec<Event>,
    /// What would be moved, for each region that is concerned.
    pub regions: Vec<RegionPlan>,
    /// What would be deleted.
    pub deletes: Vec<ResourceId>,
    /// What a [`Collection`](crate::upkeep::Collection) would free; `None` for other work.
    pub collection: Option<CollectionReport>,
}

/// What would be moved for one region.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionPlan {
    /// The region.
    pub region: Region,
    /// Where its first replica comes from.
    pub from: Region,
    /// What its replicas are stored on; `Standard_LRS` where one store stands for all zones.
    pub storage_account_type: StorageAccountType,
    /// How many replicas it would have.
    pub replicas: u32,
    /// At most so many bytes would cross its border; less where it has a part already.
    pub cross_region_bytes: u64,
    /// The most bytes that would be stored in it, over all replicas.
    pub stored_bytes: u64,
    /// The most bytes that a deployment or a scrub would read in it; 0 for other work.
    pub read_bytes: u64,
}

impl RegionPlan {
    /// `sizes` are replicas, bytes over the border, and bytes over all replicas.
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
    /// Whether nothing stands against it.
    pub fn is_possible(&self) -> bool {
        self.problems.is_empty()
    }

    /// The error that running it would end with.
    ///
    /// # Errors
    ///
    /// All problems in one.
    pub fn check(&self) -> Result<()> {
        Error::from_problems(self.problems.clone())
    }

    /// What it would cost at most.
    pub fn cost(&self, prices: &Prices) -> Cost {
        let items = self.regions.iter().map(|plan| Item {
            region: plan.region.clone(),
            account: plan.storage_account_type,
            from: plan.from.clone(),
            replicas: plan.replicas,
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
