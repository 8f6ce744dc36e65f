//! How far a version's replication is, in Azure's terms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Region;

/// The state of a version over all its target regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AggregatedState {
    /// At least one region is not complete, none has failed, and this process works on none.
    Unknown,
    /// This process works on at least one region, and none has failed.
    InProgress,
    /// Every region is complete.
    Completed,
    /// At least one region has failed.
    Failed,
}

/// The state of a version in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ReplicationState {
    /// Not all replicas are whole, no attempt has failed since the last was begun, and this process does not work on it.
    /// Whether another does is not known: nobody has begun, or it is at work elsewhere, or it was cancelled or killed.
    /// [`progress`](RegionalReplicationStatus::progress) tells what is there.
    Unknown,
    /// This process works on it, or holds it paused.
    Replicating,
    /// All replicas are whole: the version can be deployed there.
    Completed,
    /// The last attempt that came to an end failed, as [`details`](RegionalReplicationStatus::details) say; replicating again
    /// takes it up where it stopped. It is in the catalog: every process says so, also after a restart, until it is tried
    /// again. What was cancelled, or had no time left, has not failed.
    Failed,
}

/// How far a version is in one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RegionalReplicationStatus {
    /// The region.
    pub region: Region,
    /// Its state.
    pub state: ReplicationState,
    /// Why it failed, was given up, or does not answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// Percent of the bytes of all its replicas that are there; 100 exactly when it is complete.
    pub progress: u8,
    /// It is complete, and something of it has been lost since: a zone, a disk, a pack. It can be deployed as long as one
    /// good copy of everything is left anywhere; a [scrub](crate::Session::scrub) mends it. Azure knows no such word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub degraded: bool,
    /// How many bytes a second have come to its replicas since this replication began; while one is watched.
    #[serde(skip)]
    pub bytes_per_second: Option<u64>,
    /// When it will be complete, at that rate.
    #[serde(skip)]
    pub time_left: Option<Duration>,
}

/// How far a version is, per region and overall.
///
/// In JSON it is the `replicationStatus` of Azure's image version.
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

    /// Whether every region is complete or has failed: nothing changes until it is replicated again.
    pub(crate) fn is_settled(&self) -> bool {
        let settled = [ReplicationState::Completed, ReplicationState::Failed];
        self.summary.iter().all(|region| settled.contains(&region.state))
    }

    /// Percent over all regions: 100 exactly when all are complete.
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

    /// It has `present` of the `needed` bytes.
    pub(crate) fn has(&mut self, present: u64, needed: u64) {
        let percent = (u128::from(present) * 100).checked_div(u128::from(needed)).unwrap_or(0).min(99) as u8;
        self.progress = if self.state == ReplicationState::Completed { 100 } else { percent };
    }
}
