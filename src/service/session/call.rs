//! Work as those are told of it who watch it: metrics, traces, and a simulation.

use std::pin::Pin;
use std::sync::Arc;

use super::inner::Inner;
use super::session::Session;
use crate::catalog::State;
use crate::error::Result;
use crate::host::Worked;
use crate::model::{Region, ResourceId, StorageProfile};

/// Work that is told of.
pub(crate) struct Call {
    session: Session,
    verb: &'static str,
    resource: String,
}

/// These ask a simulation by themselves, when they know the region and the image.
const ASK_LATER: [&str; 2] = ["replicate", "deploy"];

impl Session {
    /// Returns the call of a verb on a resource, if there is anybody to be told of it.
    pub(crate) fn call(&self, verb: &'static str, resource: impl FnOnce() -> String) -> Option<Call> {
        let is_told = cfg!(feature = "tracing") || self.inner.metrics.is_some() || self.inner.simulation.is_some();
        is_told.then(|| Call { session: self.clone(), verb, resource: resource() })
    }
}

impl Call {
    /// Does the work, and tells of it. The work is in a box: the futures around it would have room for it several times.
    pub(crate) async fn around<T>(self, work: Pin<Box<impl Future<Output = Result<T>>>>) -> Result<T> {
        let Self { session, verb, resource } = self;
        let clock = &session.inner.clock;
        let began = clock.monotonic();
        let work = async {
            if !ASK_LATER.contains(&verb) {
                session.inner.refused(verb, || resource.clone())?;
            }
            work.await
        };
        #[cfg(feature = "tracing")]
        let work = traced(verb, &resource, &session, work);
        let outcome = work.await;
        if let Some(metrics) = &session.inner.metrics {
            let took = clock.monotonic().saturating_sub(began);
            let caller = session.caller.as_str();
            metrics.worked(&Worked { verb, resource: &resource, caller, took, error: outcome.as_ref().err() });
        }
        outcome
    }
}

/// Does the work in a span, which tells of a failure.
#[cfg(feature = "tracing")]
async fn traced<T>(
    verb: &'static str,
    resource: &str,
    session: &Session,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    use tracing::Instrument;

    let span = tracing::info_span!("gallery", verb, resource, caller = session.caller.as_str());
    async {
        let outcome = work.await;
        match &outcome {
            Ok(_) => tracing::debug!("done"),
            Err(error) => tracing::warn!(code = error.code(), error = format!("{error:#}"), "failed"),
        }
        outcome
    }
    .instrument(span)
    .await
}

impl Inner {
    /// Refuses work that a simulation wants to fail.
    pub(crate) fn refused(&self, verb: &'static str, resource: impl FnOnce() -> String) -> Result<()> {
        let refused = self.simulation.as_ref().and_then(|simulation| simulation.refuse(verb, &resource()));
        refused.map_or(Ok(()), Err)
    }

    /// Takes the time of disks on their way to a region, in a simulation.
    pub(crate) async fn travel(
        &self,
        image: ResourceId,
        region: &Region,
        disks: &StorageProfile,
        tell: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<()> {
        let Some(simulation) = &self.simulation else { return Ok(()) };
        let data = disks.data_disk_images().iter().map(|disk| disk.size_in_bytes());
        let bytes = disks.os_disk_image().size_in_bytes() + data.sum::<u64>();
        simulation.travel(&image, region, bytes, &|done| tell(done, bytes)).await
    }

    /// Returns the state that reads see: the newest, but for a simulation.
    pub(crate) fn seen(&self, newest: Arc<State>) -> Arc<State> {
        match &self.simulation {
            Some(simulation) => simulation.seen(newest),
            None => newest,
        }
    }
}
