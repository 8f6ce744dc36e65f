//! How far a version's replication is, in Azure's terms.

use serde::{Deserialize, Serialize};

use crate::model::Region;

/// The state of a version over all its target regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AggregatedState {
    /// Nothing is known.
    Unknown,
    /// At least one region is not complete, and none has failed.
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
    /// Nothing is known.
    Unknown,
    /// Not all replicas are whole.
    Replicating,
    /// All replicas are whole: the version can be deployed there.
    Completed,
    /// The last attempt failed; replicating again takes it up where it stopped.
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
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// Percent of the bytes of all its replicas that are there; 100 exactly when it is complete.
    pub progress: u8,
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
            () => AggregatedState::InProgress,
        };
        Self { aggregated_state, summary }
    }

    /// Percent over all regions: 100 exactly when all are complete.
    pub fn progress(&self) -> u8 {
        let sum: u32 = self.summary.iter().map(|region| u32::from(region.progress)).sum();
        u8::try_from(sum / (self.summary.len().max(1) as u32)).unwrap_or(100)
    }
}

impl RegionalReplicationStatus {
    /// A region that has `present` of `total` bytes.
    pub(crate) fn new(region: Region, state: ReplicationState, present: u64, total: u64) -> Self {
        let percent = (u128::from(present) * 100).checked_div(u128::from(total)).unwrap_or(0).min(99) as u8;
        let progress = if state == ReplicationState::Completed { 100 } else { percent };
        Self { region, state, details: String::new(), progress }
    }
}
