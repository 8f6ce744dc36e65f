//! Deadlines.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::clock::Clock;

/// How long the service waits for an answer before it gives up.
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
    /// 60 seconds for a store call and 2 more per MiB that it moves, 5 minutes for a commit, 30 seconds for a zone.
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
    /// Sets no deadline: for hosts that limit the calls of their stores themselves.
    pub fn none() -> Self {
        Self { call: None, commit: None, zone: None, ..Self::default() }
    }

    /// Sets the time of a store call that moves no bytes: 60 seconds by default.
    #[must_use]
    pub fn with_call(self, time: Duration) -> Self {
        Self { call: Some(time), ..self }
    }

    /// Sets the additional time of a store call per MiB that it moves: 2 seconds by default. It should be the time of the slowest
    /// link, times the number of calls that share it.
    #[must_use]
    pub fn with_call_per_mebibyte(self, time: Duration) -> Self {
        Self { per_mebibyte: time, ..self }
    }

    /// Sets the time of a commit to the catalog, from the request to its answer: 5 minutes by default. A late one is
    /// [`Unknown`](crate::ErrorKind::Unknown) if it was ever sent to the store. Otherwise it is
    /// [`Unavailable`](crate::ErrorKind::Unavailable), and nothing of it will be sent.
    #[must_use]
    pub fn with_commit(self, time: Duration) -> Self {
        Self { commit: Some(time), ..self }
    }

    /// Sets the time that a zone has left once most of its region's zones are done: 30 seconds by default. A late zone counts as
    /// failed: it is left out, and reported as `degraded`.
    #[must_use]
    pub fn with_zone(self, time: Duration) -> Self {
        Self { zone: Some(time), ..self }
    }

    /// Returns the time of a store call that moves `bytes`; `None` is no deadline.
    pub fn for_call(&self, bytes: u64) -> Option<Duration> {
        let mebibytes = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        Some(self.call?.saturating_add(self.per_mebibyte.saturating_mul(mebibytes)))
    }

    /// Returns the time of a commit; `None` is no deadline.
    pub fn for_commit(&self) -> Option<Duration> {
        self.commit
    }

    /// Returns the time that a zone has left once most are done; `None` is no deadline.
    pub fn for_zone(&self) -> Option<Duration> {
        self.zone
    }
}

/// Returns the output of `work`, or `None` if `limit` is over before. Work that is ready at once starts no timer.
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
