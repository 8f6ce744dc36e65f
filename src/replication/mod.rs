//! Desired to actual: what each slot lacks, and bringing it there.
//!
//! [`plan`] says what to send from where, and knows nothing of stores; [`engine`] does it. A pack crosses a region's
//! border once, and is verified as it does; the other slots of the region get it from the one that has it. What has
//! arrived is seen by listing the slots, so an interrupted run goes on where it was, in whichever process.

mod engine;
mod plan;
mod status;

pub use status::{AggregatedState, RegionalReplicationStatus, ReplicationState, ReplicationStatus};

pub(crate) use engine::{Engine, Moved, RegionRun, look};
