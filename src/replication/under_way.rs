//! The replications that this process carries out now.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use super::status::{RegionalReplicationStatus, ReplicationState};
use super::tracker::Tracker;
use crate::host::sync::Mutex;
use crate::model::{ImageVersionId, Region};

/// The trackers of the replications that this process carries out now, by version and by a number of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay(Arc<Mutex<BTreeMap<(ImageVersionId, u64), Tracker>>>);

/// As long as it lives, its replication is under way.
#[derive(Debug)]
pub(crate) struct Attempt {
    under_way: UnderWay,
    key: (ImageVersionId, u64),
}

impl UnderWay {
    /// A replication begins.
    pub(crate) fn enter(&self, version: &ImageVersionId, tracker: &Tracker) -> Attempt {
        let mut trackers = self.lock();
        let last = trackers.range(..=(version.clone(), u64::MAX)).next_back();
        let number = last.filter(|((of, _), _)| of == version).map_or(0, |((_, last), _)| last + 1);
        let key = (version.clone(), number);
        trackers.insert(key.clone(), tracker.clone());
        Attempt { under_way: self.clone(), key }
    }

    /// How a region that is being worked on stands; `None` where no replication works on it.
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
