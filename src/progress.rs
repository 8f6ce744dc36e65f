//! Progress of a long operation.

/// The progress of a long operation, as `on_progress` of a publication or deployment reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the disk that are done.
    pub done: u64,
    /// Bytes of the disk in all.
    pub total: u64,
}

/// Called often, and from any thread.
pub(crate) type OnProgress = Box<dyn Fn(Progress) + Send + Sync>;
