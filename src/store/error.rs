//! What can go wrong in a store.

use std::fmt;
use std::time::Duration;

use super::key::BlobKey;
use crate::error::{Error, ErrorKind, Problem, write_causes};

/// The result of a store's work.
pub type StoreResult<T> = Result<T, StoreError>;

/// What the caller of a store can do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The blob is not there.
    NotFound,
    /// The blob is there, and the mode was `Create`; nothing was changed.
    AlreadyExists,
    /// The range does not lie within the blob.
    InvalidRange,
    /// The blob is larger than [`MAX_BLOB_BYTES`](super::MAX_BLOB_BYTES).
    TooLarge,
    /// The store refuses this user, or can only be read.
    PermissionDenied,
    /// What is there is not what should be: a file where a directory belongs, a symbolic link, a blob of a key that the
    /// new one lies below. Nothing was changed: move it away, or choose another place.
    Obstructed,
    /// No space is left; nothing was changed.
    Full,
    /// The store did not do it: try again when it is back.
    Unavailable,
    /// The store did not do it, because it is asked for too much: try again later.
    Throttled {
        /// How long it wants to be left alone, if it said so.
        after: Option<Duration>,
    },
    /// The store may or may not have done it: read back before you decide, and clean nothing up meanwhile. Also where it says
    /// that another change of the same key is in progress and does not say how that ends.
    Unknown,
    /// This store cannot do that.
    Unsupported,
    /// This is not the store that it should be: it belongs to another catalog, region or zone, or is not mounted. Nothing was
    /// done.
    WrongStore,
}

/// A store's failure: what was tried, on which key, and the [kind](StoreErrorKind) to act on.
///
/// `{}` is its own words; `{:#}` and `{:?}` tell the causes too.
pub struct StoreError {
    kind: StoreErrorKind,
    operation: &'static str,
    key: Option<BlobKey>,
    /// How often the store was asked.
    times: u32,
    detail: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `operation` (the name of the trait's method), for the implementor of a store.
    pub fn new(kind: StoreErrorKind, operation: &'static str, key: Option<&BlobKey>) -> Self {
        Self { kind, operation, key: key.cloned(), times: 1, detail: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds in words where it failed, such as the path, and how to mend it. What the cause says is left to the cause.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error of another key, for a store that renames keys.
    pub(super) fn about(mut self, key: Option<BlobKey>) -> Self {
        self.key = key;
        self
    }

    /// The same error as the last of so many answers.
    pub(super) fn after(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// The error of a change that was asked for again after an answer that left it open whether it had happened.
    pub(super) fn after_an_unclear_one(self, times: u32) -> Self {
        Self::new(StoreErrorKind::Unknown, self.operation, self.key.as_ref()).after(times).with_source(self)
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The key that it is about, if it is about one.
    pub fn key(&self) -> Option<&BlobKey> {
        self.key.as_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::NotFound => "it does not exist",
            StoreErrorKind::AlreadyExists => "it exists already",
            StoreErrorKind::InvalidRange => "the range does not lie within the blob",
            StoreErrorKind::TooLarge => "the blob is larger than 64 MiB",
            StoreErrorKind::PermissionDenied => "permission denied",
            StoreErrorKind::Obstructed => "something else is there",
            StoreErrorKind::Full => "no space is left",
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::Throttled { .. } => "the store is asked for too much",
            StoreErrorKind::Unknown => "it may or may not have happened",
            StoreErrorKind::Unsupported => "not supported by this store",
            StoreErrorKind::WrongStore => "it is not the right store",
        };
        write!(f, "{}", self.operation)?;
        if let Some(key) = &self.key {
            write!(f, " of `{key}`")?;
        }
        write!(f, ": {what}")?;
        if self.times > 1 {
            write!(f, " (asked {} times)", self.times)?;
        }
        let detail = self.detail.as_deref().unwrap_or_default();
        if !detail.is_empty() {
            write!(f, ": {detail}")?;
        }
        if f.alternate() { write_causes(f, detail, std::error::Error::source(self)) } else { Ok(()) }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.kind)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl StoreError {
    /// The error as users of the gallery see it; `place` names the store, such as `region westeurope`.
    pub(crate) fn at(mut self, place: &str) -> Error {
        if self.kind == StoreErrorKind::WrongStore
            && let Some(source) = self.source.take()
        {
            // Which store it is and which it should be is what there is to say.
            let problem = Problem::new(ErrorKind::Unavailable, "StorageOperationFailed", place, source.to_string());
            return Error::new(problem).with_source(self);
        }
        let (kind, what) = match self.kind {
            StoreErrorKind::Full => (ErrorKind::StorageFull, "its store is full: free space, then call again"),
            StoreErrorKind::Unknown => {
                (ErrorKind::Unknown, "whether its store did it is not known: read the state before you decide")
            }
            // The gallery only reads blobs that were recorded as stored: one that is gone is damage.
            StoreErrorKind::NotFound | StoreErrorKind::InvalidRange => {
                (ErrorKind::Corrupt, "its store has lost something: restore it, or scrub the region")
            }
            StoreErrorKind::Unsupported | StoreErrorKind::TooLarge => {
                (ErrorKind::Unsupported, "its store cannot do that: use another store")
            }
            StoreErrorKind::AlreadyExists => {
                (ErrorKind::Conflict, "its store has another blob of that name: look at the state, then call again")
            }
            StoreErrorKind::PermissionDenied => {
                (ErrorKind::Unavailable, "its store refuses this process's user: give it the right, then call again")
            }
            StoreErrorKind::Obstructed => {
                (ErrorKind::Unavailable, "something is in its store's way: move it away, then call again")
            }
            StoreErrorKind::WrongStore => (ErrorKind::Unavailable, "its store is another one: mount the right one"),
            StoreErrorKind::Unavailable => (ErrorKind::Unavailable, "its store failed: mend it, then call again"),
            StoreErrorKind::Throttled { after } => {
                (ErrorKind::Throttled { after }, "its store is asked for too much: call again later")
            }
        };
        let code = match kind {
            ErrorKind::Throttled { .. } => "TooManyRequests",
            _ => "StorageOperationFailed",
        };
        Error::new(Problem::new(kind, code, place, what)).with_source(self)
    }
}
