//! What the works of a driver tell each other: what is done, what is at work, and what is tried again when.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::AbortHandle;

use crate::catalog::Duty;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::sync::Mutex;
use crate::model::ImageVersionId;

/// The time until a failure is tried again for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// The longest time until a failure is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// One thing that a driver has done, or could not do.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::drive::Duty;
/// use compute_gallery::testkit::raw;
///
/// session.publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
/// let step = session.driver().collect_every(None).step().await?;
/// assert_eq!(step.done[0].duty, Duty::Replicate("eastus".parse()?));
/// assert_eq!(step.done[0].version, Some(sandbox.version("1.0.0")));
/// assert!(step.done[0].outcome.is_ok());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Done {
    /// The duty that it belongs to.
    pub duty: Duty,
    /// The version; `None` for a collection or a scrub.
    pub version: Option<ImageVersionId>,
    /// The failure, which is tried again, unless it was the source's.
    pub outcome: Result<()>,
}

/// A version at a revision: one that was put again is tried at once.
pub(super) type AtRevision = (ImageVersionId, u64);

/// A thing of a duty: a version, or all of it.
type Thing = (Duty, Option<AtRevision>);

/// What is tried again.
#[derive(Debug)]
struct Again {
    failures: u32,
    /// By the monotonic clock.
    at: Duration,
}

/// What is worked on.
#[derive(Debug)]
struct Doing {
    version: ImageVersionId,
    percent: u8,
    abort: AbortHandle,
}

#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    again: BTreeMap<Thing, Again>,
    doing: BTreeMap<Duty, Doing>,
    done: Vec<Done>,
}

impl Board {
    /// Returns whether a thing may be tried now.
    pub(super) fn is_due(&self, duty: &Duty, version: Option<&AtRevision>, now: Duration) -> bool {
        self.0.lock().again.get(&(duty.clone(), version.cloned())).is_none_or(|again| again.at <= now)
    }

    /// Forgets what is tried again of things that are not to be done any more.
    pub(super) fn forget(&self, is_to_be_done: impl Fn(&Duty, Option<&AtRevision>) -> bool) {
        self.0.lock().again.retain(|(duty, version), _| is_to_be_done(duty, version.as_ref()));
    }

    pub(super) fn begin(&self, duty: &Duty, version: &ImageVersionId, abort: AbortHandle) {
        self.0.lock().doing.insert(duty.clone(), Doing { version: version.clone(), percent: 0, abort });
    }

    pub(super) fn progress(&self, duty: &Duty, percent: u8) {
        if let Some(doing) = self.0.lock().doing.get_mut(duty) {
            doing.percent = percent;
        }
    }

    /// Returns the version that a duty is at, and its percent.
    pub(super) fn at(&self, duty: &Duty) -> Option<(ImageVersionId, u8)> {
        self.0.lock().doing.get(duty).map(|doing| (doing.version.clone(), doing.percent))
    }

    /// Stops the work on versions.
    pub(super) fn stop(&self, is_meant: impl Fn(&ImageVersionId) -> bool) {
        self.0.lock().doing.values().filter(|doing| is_meant(&doing.version)).for_each(|doing| doing.abort.abort());
    }

    /// Notes that nothing is worked on in a duty.
    pub(super) fn rest(&self, duty: &Duty) {
        self.0.lock().doing.remove(duty);
    }

    /// Notes an outcome. Returns how often in a row it has failed.
    pub(super) fn end(&self, duty: &Duty, version: Option<&AtRevision>, outcome: Result<()>, now: Duration) -> u32 {
        let mut inner = self.0.lock();
        let thing = (duty.clone(), version.cloned());
        let failures = match &outcome {
            Ok(()) => {
                inner.again.remove(&thing);
                0
            }
            Err(_) => {
                let failures = inner.again.get(&thing).map_or(0, |again| again.failures).saturating_add(1);
                let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_PAUSE);
                inner.again.insert(thing, Again { failures, at: now + pause });
                failures
            }
        };
        inner.doing.remove(duty);
        inner.done.push(Done { duty: duty.clone(), version: version.map(|(id, _)| id.clone()), outcome });
        failures
    }

    /// Lets a duty rest for a while, whatever came of it.
    pub(super) fn rest_for(&self, duty: &Duty, until: Duration) {
        self.0.lock().again.insert((duty.clone(), None), Again { failures: 0, at: until });
    }

    /// Takes what is done since it was last taken.
    pub(super) fn take(&self) -> Vec<Done> {
        std::mem::take(&mut self.0.lock().done)
    }
}

/// The error of work that was stopped because its operation was cancelled.
pub(super) fn cancelled(version: &ImageVersionId) -> Error {
    let what = "its operation was cancelled, or it was put again or deleted";
    Error::new(Problem::new(ErrorKind::Cancelled, "OperationCanceled", version.to_string(), what))
}
