//! A pool of buffers, reused across pieces of work.

use std::sync::Arc;

use crate::host::sync::Mutex;

/// A shared pool of buffers: fresh memory would cost a page fault for each 4 KiB.
pub(crate) struct BufferPool<T>(Arc<Mutex<Vec<T>>>);

impl<T> BufferPool<T> {
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().pop()
    }

    pub(crate) fn give(&self, used: T) {
        self.0.lock().push(used);
    }
}

impl<T> Clone for BufferPool<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for BufferPool<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> std::fmt::Debug for BufferPool<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BufferPool").finish_non_exhaustive()
    }
}
