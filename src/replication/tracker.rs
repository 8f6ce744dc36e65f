//! Tracks the status of a running replication: progress, rate and time left for each region.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::engine::RegionRun;
use super::status::{RegionalReplicationStatus, ReplicationState, ReplicationStatus};
use crate::error::{Error, ErrorKind};
use crate::host::Clock;
use crate::host::sync::Mutex;

/// The status of a running replication; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    regions: Arc<Mutex<Vec<Line>>>,
    clock: Arc<dyn Clock>,
    began: DateTime<Utc>,
}

/// One region's line on the tracker.
#[derive(Debug)]
struct Line {
    status: RegionalReplicationStatus,
    /// Bytes over all its replicas: needed, and present at the start.
    needed: u64,
    at_first: u64,
}

impl Tracker {
    /// Starts with the given status of each region.
    pub(crate) fn new(regions: impl Iterator<Item = RegionalReplicationStatus>, clock: &Arc<dyn Clock>) -> Self {
        let line = |status| Line { status, needed: 0, at_first: 0 };
        let regions = Arc::new(Mutex::new(regions.map(line).collect()));
        Self { regions, clock: clock.clone(), began: clock.now() }
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Line)) {
        let mut regions = self.regions.lock();
        if let Some(line) = regions.get_mut(index) {
            change(line);
        }
    }

    /// Sets a region's progress from a fresh listing of its slots.
    pub(crate) fn observe(&self, index: usize, run: &RegionRun) {
        self.change(index, |line| {
            (line.at_first, line.needed) = run.present_bytes();
            line.status.has(line.at_first, line.needed);
            if line.status.state == ReplicationState::Completed && line.at_first < line.needed {
                line.status.degraded = true;
                let lost = run.away.first().map(|(_, error)| format!("{error:#}; "));
                let percent = line.at_first * 100 / line.needed.max(1);
                let what =
                    format!("{}{percent} % of the needed content is there: scrub the region", lost.unwrap_or_default());
                line.status.details = what;
            }
        });
    }

    /// Notes that a region does not answer: a complete one is degraded. The reason of an earlier failure is kept.
    pub(crate) fn unreachable(&self, index: usize, error: &Error) {
        self.change(index, |line| {
            line.status.degraded = line.status.state == ReplicationState::Completed;
            if line.status.state != ReplicationState::Failed {
                line.status.details = format!("{error:#}");
            }
        });
    }

    pub(crate) fn present(&self, index: usize, bytes: u64) {
        let passed = self.clock.now().signed_duration_since(self.began).to_std().unwrap_or_default().as_secs_f64();
        self.change(index, |line| {
            line.status.has(bytes, line.needed);
            let moved = bytes.saturating_sub(line.at_first);
            // The rate is meaningful after a hundredth of the missing bytes, not after the first index node.
            if passed > 0.0 && moved * 100 > line.needed.saturating_sub(line.at_first) {
                let rate = moved as f64 / passed;
                let left = line.needed.saturating_sub(bytes) as f64 / rate;
                line.status.bytes_per_second = Some(rate as u64);
                line.status.time_left = Duration::try_from_secs_f64(left).ok();
            }
        });
    }

    pub(crate) fn complete(&self, index: usize) {
        self.change(index, |line| {
            line.status.state = ReplicationState::Completed;
            line.status.has(line.needed, line.needed);
            line.status.time_left = None;
        });
    }

    /// Notes that a region ended incomplete: failed, or cancelled. Returns true for its first failure.
    pub(crate) fn fail(&self, index: usize, error: &Error) -> bool {
        let given_up = error.kind() == ErrorKind::Cancelled;
        let state = if given_up { ReplicationState::Unknown } else { ReplicationState::Failed };
        let mut first = false;
        self.change(index, |line| {
            first = !given_up && line.status.state != state;
            line.status.state = state;
            line.status.details = format!("{error:#}");
            line.status.time_left = None;
        });
        first
    }

    pub(crate) fn status(&self) -> ReplicationStatus {
        let regions = self.regions.lock();
        ReplicationStatus::new(regions.iter().map(|line| line.status.clone()).collect())
    }
}
