//! Replication: brings the slots of a region from their holdings to what a version needs.
//!
//! `lacking` compares the needs of a version with the holdings of the slots, `spread` decides the next transfer; neither
//! knows stores. `engine` carries the transfers out, and `tracker` reports their progress. A record that no slot of a region
//! has crosses the region's border once and is verified on arrival; the other slots copy it from one that has it. Progress is
//! read from a listing of the slots, so an interrupted run resumes where it stopped, in any process.

mod control;
mod engine;
mod lacking;
mod spread;
mod status;
mod tracker;
mod under_way;

pub use control::ReplicationControl;
pub use status::{AggregatedState, RegionalReplicationStatus, ReplicationState, ReplicationStatus};

pub(crate) use engine::{
    ANOTHER_FAILED, CANCELLED, Engine, Listed, Moved, OUT_OF_TIME, RegionRun, stopped, time_is_up,
};
pub(crate) use tracker::Tracker;
pub(crate) use under_way::UnderWay;
