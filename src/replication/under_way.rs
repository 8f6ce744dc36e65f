//! The running replications of this process.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use super::status::{RegionalReplicationStatus, ReplicationState};
use super::tracker::Tracker;
use crate::host::sync::Mutex;
use crate::model::{ImageVersionId, Region};

/// The trackers of the running replications of this process, by version and a sequence number.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<Mutex<BTreeMap<(ImageVersionId, u64), Tracker>>>);

/// Registers a replication as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    under_way: UnderWay,
    key: (ImageVersionId, u64),
}

impl UnderWay {
    /// Registers a replication as running.
    pub(crate) fn enter(&self, version: &ImageVersionId, tracker: &Tracker) -> Attempt {
        let mut trackers = self.lock();
        let last = trackers.range(..=(version.clone(), u64::MAX)).next_back();
        let number = last.filter(|((of, _), _)| of == version).map_or(0, |((_, last), _)| last + 1);
        let key = (version.clone(), number);
        trackers.insert(key.clone(), tracker.clone());
        Attempt { under_way: self.clone(), key }
    }

    /// Returns the status of a region that a running replication works on; `None` if there is none.
    pub(crate) fn status(&self, version: &ImageVersionId, region: &Region) -> Option<RegionalReplicationStatus> {
        let trackers = self.lock();
        let of_version = trackers.range((version.clone(), 0)..=(version.clone(), u64::MAX));
        let mut lines = of_version.flat_map(|(_, tracker)| tracker.status().summary);
        lines.find(|line| line.region == *region && line.state == ReplicationState::Replicating)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(ImageVersionId, u64), Tracker>> {
        self.0.lock()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.key);
    }
}
