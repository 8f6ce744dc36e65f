//! How long to wait for an answer.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::clock::Clock;

/// How long the service waits for an answer before it takes it that none will come. Each can be turned off by itself.
///
/// ```
/// use compute_gallery::host::Deadlines;
/// use std::time::Duration;
///
/// // A link over which 16 MiB take five minutes.
/// let slow = Deadlines::default().with_call_per_mebibyte(Duration::from_secs(20));
/// assert_eq!(slow.for_call(16 << 20), Some(Duration::from_secs(60 + 16 * 20)));
/// assert_eq!(Deadlines::none().for_call(16 << 20), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    call: Option<Duration>,
    per_mebibyte: Duration,
    commit: Option<Duration>,
    zone: Option<Duration>,
}

impl Default for Deadlines {
    /// 60 seconds for a store call and 2 more for each MiB that it moves, 5 minutes for a commit, 30 seconds for a zone.
    fn default() -> Self {
        Self {
            call: Some(Duration::from_secs(60)),
            per_mebibyte: Duration::from_secs(2),
            commit: Some(Duration::from_secs(300)),
            zone: Some(Duration::from_secs(30)),
        }
    }
}

impl Deadlines {
    /// Waits for ever: for hosts that bound their stores' calls themselves.
    pub fn none() -> Self {
        Self { call: None, commit: None, zone: None, ..Self::default() }
    }

    /// The time of a store call that moves no bytes.
    #[must_use]
    pub fn with_call(self, time: Duration) -> Self {
        Self { call: Some(time), ..self }
    }

    /// The time that a store call has in addition for each MiB that it moves: what the slowest link takes, times the
    /// number of calls that share it.
    #[must_use]
    pub fn with_call_per_mebibyte(self, time: Duration) -> Self {
        Self { per_mebibyte: time, ..self }
    }

    /// The time of a change of the catalog, from when it is asked for to its answer. When it is over, the outcome is
    /// [`Unknown`](crate::ErrorKind::Unknown).
    #[must_use]
    pub fn with_commit(self, time: Duration) -> Self {
        Self { commit: Some(time), ..self }
    }

    /// The time that a zone has left when most of its region's zones are done. One that is not done then counts as one
    /// that failed: it is left out, and told as `degraded`.
    #[must_use]
    pub fn with_zone(self, time: Duration) -> Self {
        Self { zone: Some(time), ..self }
    }

    /// The time of a store call that moves so many bytes.
    pub fn for_call(&self, bytes: u64) -> Option<Duration> {
        let mebibytes = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        Some(self.call?.saturating_add(self.per_mebibyte.saturating_mul(mebibytes)))
    }

    /// The time of a commit.
    pub fn for_commit(&self) -> Option<Duration> {
        self.commit
    }

    /// The time that a zone has left when most are done.
    pub fn for_zone(&self) -> Option<Duration> {
        self.zone
    }
}

/// What `work` comes to, or `None` when `limit` is over before it is done. No timer is asked for where it is done at once.
pub(crate) async fn within<T>(clock: &dyn Clock, limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut timeout) = (pin!(work), None::<BoxFuture<'static, ()>>);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        let Some(limit) = limit else { return Poll::Pending };
        timeout.get_or_insert_with(|| clock.timeout(limit)).poll_unpin(context).map(|()| None)
    })
    .await
}
