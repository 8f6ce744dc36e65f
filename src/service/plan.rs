//! What an operation would do.

use std::future::IntoFuture;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::authorize::Need;
use super::parts::Parts;
use super::session::Session;
use crate::billing::{Cost, Item, Prices};
use crate::catalog::{Changes, Event, State};
use crate::error::{Error, Problem, Result};
use crate::model::{PublishingProfile, Region, ResourceId, StorageAccountType};

/// What an operation would do, found out without doing it: everything that is wrong with it, or what would change.
///
/// Running the operation makes the same checks again, on the state that there is then.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Everything that stands against it; empty where nothing does.
    pub problems: Vec<Problem>,
    /// What would be written into the catalog; empty where nothing would change.
    pub events: Vec<Event>,
    /// What would be moved, for each region that is concerned.
    pub regions: Vec<RegionPlan>,
    /// What would be deleted.
    pub deletes: Vec<ResourceId>,
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
    /// At most so many bytes would be stored in it, over all replicas.
    pub stored_bytes: u64,
}

impl RegionPlan {
    /// `sizes` are replicas, bytes over the border, and bytes over all replicas.
    pub(super) fn new(
        parts: &Parts,
        home: &Region,
        profile: &PublishingProfile,
        region: &Region,
        sizes: (u32, u64, u64),
    ) -> Self {
        let (replicas, cross_region_bytes, stored_bytes) = sizes;
        let storage_account_type = parts.regions.kept_on(region, profile.storage_account_type_in(region));
        let (region, from) = (region.clone(), home.clone());
        Self { region, from, storage_account_type, replicas, cross_region_bytes, stored_bytes }
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

    pub(super) fn refused(problems: Vec<Problem>) -> Self {
        Self { problems, ..Self::default() }
    }

    pub(super) fn of_event(problems: Vec<Problem>, event: Event) -> Self {
        match problems.is_empty() {
            true => Self { events: vec![event], ..Self::default() },
            false => Self::refused(problems),
        }
    }
}

type Judge = dyn Fn(&State, &Parts) -> Plan + Send + Sync;

/// A change of the catalog to be made: await it, or [`plan`](Self::plan) it first.
#[must_use = "nothing changes before it is awaited"]
pub struct Operation<T> {
    session: Session,
    needs: Vec<Need>,
    judge: Arc<Judge>,
    outcome: Box<dyn FnOnce(Plan) -> T + Send>,
}

impl<T> std::fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Operation")
    }
}

impl<T> Operation<T> {
    /// `needs` is what the caller must be allowed to do; `judge` says what the operation comes to in a state, and
    /// `outcome` makes its answer of that.
    pub(super) fn new(
        session: &Session,
        needs: Vec<Need>,
        judge: impl Fn(&State, &Parts) -> Plan + Send + Sync + 'static,
        outcome: impl FnOnce(Plan) -> T + Send + 'static,
    ) -> Self {
        Self { session: session.clone(), needs, judge: Arc::new(judge), outcome: Box::new(outcome) }
    }

    /// What it would do now.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog can't be read; what stands against the operation is in the plan.
    pub async fn plan(&self) -> Result<Plan> {
        let state = self.session.state().await?;
        Ok(match self.session.rights().require(&state, &self.needs) {
            Ok(_) => (self.judge)(&state, &self.session.parts),
            Err(problems) => Plan::refused(problems),
        })
    }
}

impl<T: Send + 'static> IntoFuture for Operation<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { session, needs, judge, outcome } = self;
        Box::pin(async move {
            let of_caller = session.clone();
            let check = move |state: &State| {
                let authorization = of_caller.authorize(state, &needs)?;
                let plan = judge(state, &of_caller.parts);
                plan.check()?;
                let events = plan.events.clone();
                Ok((Changes { events, authorization }, plan))
            };
            let (_, plan) = session.parts.catalog.commit_found(&session.caller, check).await?;
            Ok(outcome(plan))
        })
    }
}
