//! Operations as callers see them.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::resource::ProvisioningError;
use super::view::CatalogView;
use crate::access::Action;
use crate::catalog::{Duty, OperationId, OperationKind, OperationRecord, OperationStatus, OperationTarget, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{ImageVersionId, given};

/// What becomes of a version that was put, or of a resource that is to be deleted. It is kept in the catalog: for all processes, and for 7 days after its end, but not more than
/// the last 1,000.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::read::{OperationKind, OperationStatus};
/// use serde_json::json;
///
/// sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let body = json!({"location": "westeurope", "tags": {"team": "web"}});
/// let put = session.put_image_version(sandbox.version("1.0.0"), body).await?;
/// let operation = session.view().operation(put.operation.unwrap())?;
/// // It has all its replicas already.
/// assert_eq!((operation.kind, operation.status), (OperationKind::Update, OperationStatus::Succeeded));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// What it is on.
    pub resource: OperationTarget,
    /// How far it is.
    pub status: OperationStatus,
    /// The time of the commit that began it.
    pub start_time: DateTime<Utc>,
    /// The time of its end.
    pub end_time: Option<DateTime<Utc>>,
    /// Why it has failed or was cancelled.
    pub error: Option<ProvisioningError>,
    /// The percent of its work that is done: of each target region, as drivers last recorded it, which they do about twice a minute.
    pub percent: u8,
}

impl Operation {
    pub(crate) fn of(record: &OperationRecord, state: &State) -> Self {
        let bad = record.ended.as_ref().and_then(|ended| ended.bad.as_ref());
        let error = bad.map(|(_, why)| ProvisioningError { code: why.code.clone(), message: why.reason.clone() });
        Self {
            id: record.id,
            kind: record.kind,
            resource: record.resource.clone(),
            status: record.status(),
            start_time: record.began,
            end_time: record.ended.as_ref().map(|ended| ended.at),
            error,
            percent: match (record.status(), record.resource.version()) {
                (OperationStatus::Succeeded, _) => 100,
                (_, Some(version)) if record.kind != OperationKind::Delete => percent(version, state),
                _ => 0,
            },
        }
    }
}

/// Each target region counts the same; a version without content has one more thing to get.
fn percent(version: &ImageVersionId, state: &State) -> u8 {
    let at = |duty: Duty| {
        let at = state.duty(&duty).and_then(|record| record.at.as_ref()).filter(|(at, _)| at == version);
        at.map_or(0, |(_, percent)| u64::from(*percent))
    };
    let (home, regions) = match (state.incomplete(version), state.version(version)) {
        (Some(record), _) => {
            let regions = record.version.publishing_profile().target_regions().iter().count();
            (at(Duty::Complete(record.version.location().clone())), vec![0; regions])
        }
        (None, Some(record)) => {
            let targets = record.version.publishing_profile().target_regions().iter();
            let of_region = targets.map(|target| match record.is_complete_in(target.region()) {
                true => 100,
                false => at(Duty::Replicate(target.region().clone())),
            });
            (100, of_region.collect())
        }
        (None, None) => return 0,
    };
    let (parts, done) = (regions.len() as u64 + 1, regions.iter().sum::<u64>() + home);
    u8::try_from(done / parts).unwrap_or(100)
}

/// # Operations
impl CatalogView {
    /// Returns an operation by its id. The caller needs `Microsoft.Compute/locations/capsOperations/read` at what it is on, or
    /// above it: above it, once that is deleted.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, it ended long ago, or the caller may not see it; `Invalid` for a malformed id.
    pub fn operation(&self, id: impl TryInto<OperationId, Error: Into<Error>>) -> Result<Operation> {
        let id = given(id)?;
        let seen = |record: &&Arc<OperationRecord>| self.may(Action::ReadOperation, record.resource.scope());
        let record = self.state().operation(id).filter(seen);
        record.map(|record| Operation::of(record, self.state())).ok_or_else(|| no_operation(id))
    }

    /// Returns the operations that the caller may see, the latest first.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// // A publish is done when it is awaited.
    /// assert!(sandbox.session().view().operations().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn operations(&self) -> Vec<Operation> {
        let seen = self.state().operations().filter(|record| self.may(Action::ReadOperation, record.resource.scope()));
        let mut operations: Vec<Operation> = seen.map(|record| Operation::of(record, self.state())).collect();
        operations.sort_by_key(|operation| std::cmp::Reverse((operation.start_time, operation.id)));
        operations
    }
}

pub(crate) fn no_operation(id: OperationId) -> Error {
    let what = "there is no such operation, it ended long ago, or it may not be seen";
    Error::new(Problem::new(ErrorKind::NotFound, "NotFound", id.to_string(), what))
}
