//! The runtime that the clients of services need.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Encryption and checksums of what is sent: a thread does some hundreds of megabytes a second.
const MOST_THREADS: usize = 4;

/// One for the process. It is never shut down: a store may be dropped anywhere, also where a runtime must not be.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// Returns the runtime of all buckets of this process, which starts with the first.
pub(super) fn handle() -> io::Result<Handle> {
    let mut started = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*started {
        return Ok(runtime.handle().clone());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name("buckets").enable_all().build()?;
    let handle = runtime.handle().clone();
    *started = Some(runtime);
    Ok(handle)
}

/// Does `work` on the runtime, polled from any thread; `None` if it panicked. It ends when it is dropped.
pub(super) async fn on<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    Running(handle.spawn(work)).await
}

struct Running<T>(JoinHandle<T>);

impl<T> Future for Running<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
