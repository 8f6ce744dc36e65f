//! What a face keeps of its driver.

use futures::future::AbortHandle;

use crate::access::Caller;
use crate::host::sync::Mutex;

/// Who drives, and what stops the driver of a service that is replaced.
#[derive(Debug)]
pub(super) struct Drive {
    pub(super) caller: Option<Caller>,
    pub(super) running: Mutex<Vec<AbortHandle>>,
}

impl Drive {
    pub(super) fn new(caller: Option<Caller>) -> Self {
        Self { caller, running: Mutex::default() }
    }

    /// Stops the drivers of the service that was.
    pub(super) fn restart(&self) {
        self.running.lock().drain(..).for_each(|driver| driver.abort());
    }
}
