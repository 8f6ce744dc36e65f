//! The number of replicas of a version that each region must have, and that the catalog reports as whole.

use crate::catalog::VersionRecord;
use crate::model::Region;

/// Returns how many replicas of a version `region` must have: as many as its profile asks for, and at least one at its home,
/// which has it whole from the moment that it is published.
pub(crate) fn replicas_in(record: &VersionRecord, region: &Region) -> u32 {
    let asked = record.version.publishing_profile().replicas_in(region).unwrap_or(0);
    if record.version.location() == region { asked.max(1) } else { asked }
}

/// Returns how many replicas of a version are whole in `region`, by the catalog.
pub(crate) fn ready_in(record: &VersionRecord, region: &Region) -> u32 {
    let ready = record.replicas_ready(region);
    if record.version.location() == region { ready.max(1) } else { ready }
}

/// Returns the target regions of a version, each with the number of its replicas.
pub(crate) fn targets(record: &VersionRecord) -> Vec<(Region, u32)> {
    let targets = record.version.publishing_profile().target_regions().iter();
    targets.map(|target| (target.region().clone(), replicas_in(record, target.region()))).collect()
}
