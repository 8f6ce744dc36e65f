//! Replication of versions to their target regions.

mod attempt;
pub(crate) mod every;
pub(crate) mod failures;
pub(crate) mod replication;
pub(crate) mod report;

pub use attempt::OnFailure;
pub use every::Replicated;
pub use replication::{Replication, Statuses};
pub use report::{RegionReport, ReplicationReport};

pub use crate::replication::{
    AggregatedState, RegionalReplicationStatus, ReplicationControl, ReplicationState, ReplicationStatus,
};
