//! Replication statuses, with Azure's states and JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Region;

/// The state of a version over all its target regions.
///
/// ```
/// use compute_gallery::replicate::{AggregatedState, ReplicationStatus};
///
/// // One failed region makes the whole version failed. In JSON, the names are Azure's.
/// let status: ReplicationStatus = serde_json::from_str(
///     r#"{"aggregatedState": "Failed", "summary": [
///         {"region": "westeurope", "state": "Completed", "progress": 100},
///         {"region": "eastus", "state": "Failed", "details": "the store is full", "progress": 40}
///     ]}"#,
/// )?;
/// assert_eq!(status.aggregated_state, AggregatedState::Failed);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AggregatedState {
    /// At least one region is incomplete, none has failed, and this process works on none.
    Unknown,
    /// This process works on at least one region, and none has failed.
    InProgress,
    /// Every region is complete.
    Completed,
    /// At least one region has failed.
    Failed,
}

/// The state of a version in one region.
///
/// ```
/// use compute_gallery::replicate::ReplicationState;
///
/// assert_eq!(serde_json::to_string(&ReplicationState::Replicating)?, r#""Replicating""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReplicationState {
    /// Incomplete, and this process does not work on it: the replication was not started, was cancelled or killed, or
    /// runs in another process. [`progress`](RegionalReplicationStatus::progress) shows how much is there.
    Unknown,
    /// This process works on it, or has paused it.
    Replicating,
    /// All replicas are complete: the version can be deployed there.
    Completed,
    /// The last attempt failed, for the reason in [`details`](RegionalReplicationStatus::details); the next replication
    /// resumes where it stopped. The catalog records the failure: every process reports it, also after a restart, until
    /// the next attempt. A replication that was cancelled or passed its deadline has not failed.
    Failed,
}

/// The replication status of a version in one region.
///
/// ```
/// use compute_gallery::replicate::{RegionalReplicationStatus, ReplicationState};
///
/// let region: RegionalReplicationStatus =
///     serde_json::from_str(r#"{"region": "eastus", "state": "Replicating", "progress": 40}"#)?;
/// assert_eq!((region.state, region.progress), (ReplicationState::Replicating, 40));
/// assert!(!region.degraded && region.details.is_empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RegionalReplicationStatus {
    /// The target region.
    pub region: Region,
    /// The state of the version there.
    pub state: ReplicationState,
    /// The reason of a failure, a cancellation, or a region that does not answer; empty by default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// Percent of the bytes of all its replicas that are there; 100 if and only if it is complete.
    pub progress: u8,
    /// Complete, but content was lost since: a zone, a disk, a pack. It can be deployed while one good copy of
    /// everything exists in any region; a [scrub](crate::Session::scrub) mends it. Azure has no such property.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub degraded: bool,
    /// The mean rate of this replication in bytes per second; `None` unless the replication is watched.
    #[serde(skip)]
    pub bytes_per_second: Option<u64>,
    /// The time until it is complete, at that rate.
    #[serde(skip)]
    pub time_left: Option<Duration>,
}

/// The replication status of a version, per region and overall.
///
/// In JSON it is the `replicationStatus` of Azure's image version.
///
/// ```
/// use compute_gallery::replicate::ReplicationStatus;
///
/// let status: ReplicationStatus = serde_json::from_str(
///     r#"{"aggregatedState": "InProgress", "summary": [
///         {"region": "westeurope", "state": "Completed", "progress": 100},
///         {"region": "eastus", "state": "Replicating", "progress": 40}
///     ]}"#,
/// )?;
/// assert_eq!(status.progress(), 70);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReplicationStatus {
    /// Over all regions.
    pub aggregated_state: AggregatedState,
    /// Each target region, in the order of the publishing profile.
    pub summary: Vec<RegionalReplicationStatus>,
}

impl ReplicationStatus {
    pub(crate) fn new(summary: Vec<RegionalReplicationStatus>) -> Self {
        let any = |state| summary.iter().any(|region| region.state == state);
        let aggregated_state = match () {
            () if any(ReplicationState::Failed) => AggregatedState::Failed,
            () if summary.iter().all(|region| region.state == ReplicationState::Completed) => {
                AggregatedState::Completed
            }
            () if any(ReplicationState::Replicating) => AggregatedState::InProgress,
            () => AggregatedState::Unknown,
        };
        Self { aggregated_state, summary }
    }

    /// Returns whether every region is complete or has failed: nothing changes until the next replication.
    pub(crate) fn is_settled(&self) -> bool {
        let settled = [ReplicationState::Completed, ReplicationState::Failed];
        self.summary.iter().all(|region| settled.contains(&region.state))
    }

    /// Returns the mean progress of all regions in percent; 100 if and only if all are complete.
    pub fn progress(&self) -> u8 {
        let sum: u32 = self.summary.iter().map(|region| u32::from(region.progress)).sum();
        u8::try_from(sum / (self.summary.len().max(1) as u32)).unwrap_or(100)
    }
}

impl RegionalReplicationStatus {
    pub(crate) fn new(region: Region, state: ReplicationState) -> Self {
        let progress = if state == ReplicationState::Completed { 100 } else { 0 };
        let (degraded, details, bytes_per_second, time_left) = Default::default();
        Self { region, state, details, progress, degraded, bytes_per_second, time_left }
    }

    /// Sets the progress to `present` of `needed` bytes.
    pub(crate) fn has(&mut self, present: u64, needed: u64) {
        let percent = (u128::from(present) * 100).checked_div(u128::from(needed)).unwrap_or(0).min(99) as u8;
        self.progress = if self.state == ReplicationState::Completed { 100 } else { percent };
    }
}
