//! What a driver, or a call, has watched of the duties of others: whether they are abandoned.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::catalog::{Duty, DutyRecord};

/// How long the duties of others have not changed, as far as its owner has watched.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    quiet: BTreeMap<Duty, (u64, Duration)>,
    /// The monotonic time after the last look.
    looked: Option<Duration>,
}

impl Watch {
    /// Notes the duties of others in a state that was read between two moments. The time since the last look counts as watched, up to
    /// `most`: a process that slept has watched nothing.
    pub(crate) fn look<'a>(
        &mut self,
        others: impl Iterator<Item = &'a DutyRecord>,
        (before, after): (Duration, Duration),
        most: Duration,
    ) {
        let passed = self.looked.map_or(Duration::ZERO, |looked| before.saturating_sub(looked)).min(most);
        self.looked = Some(after);
        let seen = others.map(|record| {
            let known = self.quiet.get(&record.duty).filter(|(beat, _)| *beat == record.beat);
            (record.duty.clone(), (record.beat, known.map_or(Duration::ZERO, |(_, quiet)| *quiet + passed)))
        });
        self.quiet = seen.collect();
    }

    /// Returns how long a duty has not changed.
    pub(crate) fn quiet(&self, duty: &Duty) -> Duration {
        self.quiet.get(duty).map_or(Duration::ZERO, |(_, quiet)| *quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::DriverId;
    use crate::content::names::UploadId;

    fn at(seconds: u64) -> (Duration, Duration) {
        (Duration::from_secs(seconds), Duration::from_secs(seconds))
    }

    #[test]
    fn a_duty_is_quiet_for_the_time_that_was_watched_and_not_for_that_which_was_slept() {
        let driver = Some(DriverId(UploadId::from_bytes([7; 16])));
        let record = |beat| DutyRecord { duty: Duty::Collect, driver, by_call: false, beat, at: None, finished: None };
        let (mut watch, most) = (Watch::default(), Duration::from_secs(30));
        let mut look = |beat, seconds| {
            watch.look([record(beat)].iter(), at(seconds), most);
            watch.quiet(&Duty::Collect).as_secs()
        };
        assert_eq!([look(1, 100), look(1, 110), look(1, 3_600), look(2, 3_610), look(2, 3_620)], [0, 10, 40, 0, 10]);
        watch.look([].iter(), at(3_630), most);
        watch.look([record(2)].iter(), at(3_640), most);
        assert_eq!(watch.quiet(&Duty::Collect), Duration::ZERO);
    }
}
