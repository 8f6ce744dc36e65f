//! Desired to actual: what each slot lacks, and bringing it there.
//!
//! `plan` compares what a version needs with what the slots of a region have, `spread` decides who sends what to whom next;
//! neither knows of stores. `engine` does it, and `tracker` tells how far it is. What no slot of a region has crosses its border once, and is verified as it
//! does; the other slots get it from one that has it. What has arrived is seen by listing the slots, so an interrupted run
//! goes on where it was, in whichever process.

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
    ANOTHER_FAILED, CANCELLED, Engine, Moved, OUT_OF_TIME, RegionRun, inspect, stopped, time_is_up,
};
pub(crate) use tracker::Tracker;
pub(crate) use under_way::UnderWay;
