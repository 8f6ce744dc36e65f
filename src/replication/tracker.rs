//! Tracks the status of a running replication: progress, rate and time left for each region.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::status::{RegionalReplicationStatus, ReplicationState, ReplicationStatus};
use crate::error::{Error, ErrorKind};
use crate::host::Clock;
use crate::host::sync::Mutex;
use crate::model::Region;
use crate::progress::Progress;

/// The status of a running replication; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    regions: Arc<Mutex<Vec<Line>>>,
    clock: Arc<dyn Clock>,
    began: DateTime<Utc>,
}

/// What is tracked of one region.
#[derive(Debug)]
struct Line {
    status: RegionalReplicationStatus,
    /// Bytes over all its replicas: needed, present at the start, and present now.
    needed: u64,
    at_first: u64,
    now: u64,
}

impl Tracker {
    /// Starts with the given status of each region.
    pub(crate) fn new(regions: impl Iterator<Item = RegionalReplicationStatus>, clock: &Arc<dyn Clock>) -> Self {
        let line = |status| Line { status, needed: 0, at_first: 0, now: 0 };
        let regions = Arc::new(Mutex::new(regions.map(line).collect()));
        Self { regions, clock: clock.clone(), began: clock.now() }
    }

    fn change(&self, region: &Region, change: impl FnOnce(&mut Line)) {
        let mut regions = self.regions.lock();
        if let Some(line) = regions.iter_mut().find(|line| line.status.region == *region) {
            change(line);
        }
    }

    /// Sets a region's progress from a fresh listing of its slots: the bytes that are there and those that are needed, and why
    /// a slot could not be listed.
    pub(crate) fn observe(&self, region: &Region, (present, needed): (u64, u64), away: Option<&Error>) {
        self.change(region, |line| {
            (line.at_first, line.now, line.needed) = (present, present, needed);
            line.status.has(line.at_first, line.needed);
            if line.status.state == ReplicationState::Completed && line.at_first < line.needed {
                line.status.degraded = true;
                let lost = away.map(|error| format!("{error:#}; "));
                let percent = line.at_first * 100 / line.needed.max(1);
                let what =
                    format!("{}{percent} % of the needed content is there: scrub the region", lost.unwrap_or_default());
                line.status.details = what;
            }
        });
    }

    /// Notes that a region does not answer: a complete one is degraded. The reason of an earlier failure is kept.
    pub(crate) fn unreachable(&self, region: &Region, error: &Error) {
        self.change(region, |line| {
            line.status.degraded = line.status.state == ReplicationState::Completed;
            if line.status.state != ReplicationState::Failed {
                line.status.details = format!("{error:#}");
            }
        });
    }

    pub(crate) fn present(&self, region: &Region, bytes: u64) {
        let passed = self.clock.now().signed_duration_since(self.began).to_std().unwrap_or_default().as_secs_f64();
        self.change(region, |line| {
            line.now = bytes;
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

    /// Sets a region's progress to bytes that only a simulation counts.
    pub(crate) fn travelled(&self, region: &Region, (done, total): (u64, u64)) {
        self.change(region, |line| (line.at_first, line.needed) = (line.at_first.min(done), total));
        self.present(region, done);
    }

    /// Returns whether this process is at work on a region.
    pub(crate) fn is_at_work(&self, region: &Region) -> bool {
        let regions = self.regions.lock();
        regions.iter().any(|line| line.status.region == *region && line.status.state == ReplicationState::Replicating)
    }

    pub(crate) fn complete(&self, region: &Region) {
        self.change(region, |line| {
            line.status.state = ReplicationState::Completed;
            line.now = line.needed;
            line.status.has(line.needed, line.needed);
            line.status.time_left = None;
        });
    }

    /// Notes that a region ended incomplete: failed, or cancelled. Returns true for its first failure.
    pub(crate) fn fail(&self, region: &Region, error: &Error) -> bool {
        let given_up = error.kind() == ErrorKind::Cancelled;
        let state = if given_up { ReplicationState::Unknown } else { ReplicationState::Failed };
        let mut first = false;
        self.change(region, |line| {
            first = !given_up && line.status.state != state;
            line.status.state = state;
            line.status.details = format!("{error:#}");
            line.status.time_left = None;
        });
        first
    }

    /// The bytes of all regions that were observed.
    pub(crate) fn progress(&self) -> Progress {
        let regions = self.regions.lock();
        let sum = |bytes: fn(&Line) -> u64| regions.iter().map(bytes).sum();
        Progress { done: sum(|line| line.now.min(line.needed)), total: sum(|line| line.needed) }
    }

    pub(crate) fn status(&self) -> ReplicationStatus {
        let regions = self.regions.lock();
        ReplicationStatus::new(regions.iter().map(|line| line.status.clone()).collect())
    }
}
