//! How far a long operation is.

/// How far a long operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of disk done.
    pub done: u64,
    /// Bytes of disk in all.
    pub total: u64,
}

/// Told how far an operation is, often and from any thread.
pub(crate) type OnProgress = Box<dyn Fn(Progress) + Send + Sync>;
