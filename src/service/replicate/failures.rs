//! Failures of replications, recorded in the catalog for every process and for restarts.
//!
//! A failure is recorded beside the work, as soon as a region has failed. Recording never changes the reported error, and delays
//! the report by at most [`PATIENCE`]; a failure to record is reported beside it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::{MaybeDone, select};
use futures::stream::StreamExt;

use crate::access::Action;
use crate::catalog::{Changes, Event, State, VersionRecord};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::Region;
use crate::service::rules::refusals::reason_of;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// How long the report of a failure waits for the catalog, by the service's clock.
const PATIENCE: Duration = Duration::from_secs(5);

/// Failed regions, and why.
pub(crate) type Failures = mpsc::UnboundedReceiver<(Region, Error)>;

impl Session {
    /// Records each failure until the channel closes, and returns the failures to record.
    pub(crate) async fn record_failures(&self, record: Arc<VersionRecord>, mut failures: Failures) -> Vec<Problem> {
        let mut untold = Vec::new();
        while let Some((region, error)) = failures.next().await {
            let written = self.commit_of(&record, &region, Some(&error)).await;
            let first = written.err().and_then(|why| why.into_problems().into_iter().next());
            untold.extend(first.map(|problem| problem.of_larger("ReplicationJobFailed", region.to_string(), UNTOLD)));
        }
        untold
    }

    /// Waits for the end of [`record_failures`](Self::record_failures), but at most [`PATIENCE`].
    pub(crate) async fn with_patience<F>(&self, mut recording: Pin<Box<MaybeDone<F>>>) -> Vec<Problem>
    where
        F: Future<Output = Vec<Problem>>,
    {
        select(&mut recording, self.inner.clock.sleep(PATIENCE)).await;
        recording.as_mut().take_output().unwrap_or_else(|| {
            let what = format!("{UNTOLD}: it has not answered for {} seconds", PATIENCE.as_secs());
            vec![Problem::new(ErrorKind::Unknown, "ReplicationJobFailed", "catalog", what)]
        })
    }

    /// Clears the recorded failures of these regions, which are tried again.
    pub(crate) async fn retry(&self, record: &Arc<VersionRecord>, regions: impl Iterator<Item = Region>) {
        let taken_back = async {
            for region in regions.filter(|region| record.failure_in(region).is_some()) {
                // If this fails, the old failure is reported until the new attempt has ended: it stops nothing.
                let _ = self.commit_of(record, &region, None).await;
            }
        };
        select(pin!(taken_back), self.inner.clock.sleep(PATIENCE)).await;
    }

    /// Commits that a region has failed, or is tried again.
    async fn commit_of(&self, record: &Arc<VersionRecord>, region: &Region, failure: Option<&Error>) -> Result<()> {
        let failure = failure.map(|error| (error.code().to_owned(), reason_of(error)));
        let (session, region, content) = (self.clone(), region.clone(), record.content.clone());
        let version = record.version.id().clone();
        let check = move |state: &State| {
            let authorization = session.authorize(state, &[Need::new(Action::WriteVersion, &version)])?;
            // The version may have been deleted, removed from the region or completed by another process meanwhile.
            let Some(now) = state.version(&version).filter(|now| now.content == content) else {
                return Ok(Changes::default());
            };
            let is_target = now.version.publishing_profile().replicas_in(&region).is_some();
            if !is_target || now.is_complete_in(&region) {
                return Ok(Changes::default());
            }
            let (version, region) = (version.clone(), region.clone());
            let event = match failure.clone() {
                Some((code, reason)) => Event::RegionFailed { version, region, code, reason },
                None => Event::RegionRetried { version, region },
            };
            Ok(Changes { events: vec![event], authorization })
        };
        self.inner.catalog.commit(&self.caller, check).await.map(drop)
    }
}

const UNTOLD: &str = "the failure could not be recorded in the catalog, so the replication status does not show it";
