//! What a replication did.

use crate::model::Region;

/// What a replication moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicationReport {
    /// Each target region, in the order of the publishing profile.
    pub regions: Vec<RegionReport>,
}

/// What a replication moved for one region.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionReport {
    /// The region.
    pub region: Region,
    /// How many replicas it has there.
    pub replicas: u32,
    /// Bytes that crossed the region's border.
    pub cross_region_bytes: u64,
    /// Bytes copied between the region's replicas.
    pub local_bytes: u64,
    /// One of the region's zones was lost on the way and has not all of it: scrub the region when the zone is back.
    pub degraded: bool,
}
