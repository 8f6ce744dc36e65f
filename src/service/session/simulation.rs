//! The seams of the double for tests: what a simulation decides. A service in production has none.

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::catalog::State;
use crate::error::{Error, Result};
use crate::model::{Region, ResourceId};

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
