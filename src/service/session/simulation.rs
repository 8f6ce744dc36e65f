//! The seams of the double for tests: what a simulation decides. A service in production has none.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::inner::Inner;
use crate::catalog::State;
use crate::error::{Error, Result};
use crate::model::{Region, ResourceId, StorageProfile};

/// What a simulation decides.
pub(crate) trait Simulation: Debug + Send + Sync {
    /// Returns the error that work fails with before it begins. `verb` is the name of the method, and `resource` is what it works on.
    fn refuse(&self, verb: &'static str, resource: &str) -> Option<Error>;

    /// Takes the time that `bytes` of disks need to arrive in a region, and tells how many are there; an error is the region's failure.
    fn travel<'a>(
        &'a self,
        image: &'a ResourceId,
        region: &'a Region,
        bytes: u64,
        tell: &'a (dyn Fn(u64) + Send + Sync),
    ) -> BoxFuture<'a, Result<()>>;

    /// Returns the state that reads see.
    fn seen(&self, newest: Arc<State>) -> Arc<State>;
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
