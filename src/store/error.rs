//! The error of a store.

use std::fmt;
use std::time::Duration;

use super::key::BlobKey;
use crate::error::{Error, ErrorKind, Problem, write_causes};

/// The result of a store's call.
pub type StoreResult<T> = Result<T, StoreError>;

/// What the caller of a store can do about a [`StoreError`].
///
/// A kind is added when a caller can act in a new way: a match on it needs a wildcard arm.
///
/// ```
/// use compute_gallery::store::StoreErrorKind;
///
/// /// Whether the change of a failed call has certainly not happened.
/// fn is_undone(kind: StoreErrorKind) -> bool {
///     kind != StoreErrorKind::Unknown
/// }
///
/// assert!(is_undone(StoreErrorKind::Throttled { after: None }));
/// assert!(!is_undone(StoreErrorKind::Unknown));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The blob does not exist.
    NotFound,
    /// The blob exists, and the mode is `Create`; nothing was changed.
    AlreadyExists,
    /// The change was for another version of the blob than the one that is there, or no blob is there; nothing was changed: read
    /// the blob, and decide anew.
    Changed,
    /// The range does not lie within the blob.
    InvalidRange,
    /// The blob is larger than [`MAX_BLOB_BYTES`](super::MAX_BLOB_BYTES).
    TooLarge,
    /// The store refuses this user, or is read-only: give the right, or mount it writable.
    PermissionDenied,
    /// Something else has the blob's place: a file where a directory belongs, a symbolic link, a blob whose key the new one is
    /// under. Nothing was changed: move it away, or choose another place.
    Obstructed,
    /// No space is left; nothing was changed: free space.
    Full,
    /// The store failed, and nothing was changed: retry.
    Unavailable,
    /// The store gets more requests than it accepts, and nothing was changed: retry after a delay.
    Throttled {
        /// The delay that the store asks for, if it names one.
        after: Option<Duration>,
    },
    /// The change may or may not have happened, or may happen yet: read the blob before you decide, and clean nothing up
    /// meanwhile. Also the answer that another change of the same key is in progress.
    Unknown,
    /// This store cannot do it: use another store.
    Unsupported,
    /// The store is not the expected one: it belongs to another catalog, region or zone, or is not mounted. Nothing was changed.
    WrongStore,
}

/// A failure of a store: the operation, the key, and the [kind](StoreErrorKind) to act on.
///
/// `{}` writes its own message; `{:#}` and `{:?}` write the causes too.
///
/// ```
/// use compute_gallery::store::{StoreError, StoreErrorKind};
///
/// let key = "a/b".parse()?;
/// let error = StoreError::new(StoreErrorKind::Unavailable, "get", Some(&key)).with_source("connection reset");
/// assert_eq!(error.to_string(), "get of `a/b`: the store is unavailable");
/// assert_eq!(format!("{error:#}"), "get of `a/b`: the store is unavailable: connection reset");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
pub struct StoreError {
    kind: StoreErrorKind,
    operation: &'static str,
    key: Option<BlobKey>,
    /// The number of attempts.
    times: u32,
    detail: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// Makes an error of `operation`, the name of the trait's method, for the implementor of a store.
    pub fn new(kind: StoreErrorKind, operation: &'static str, key: Option<&BlobKey>) -> Self {
        Self { kind, operation, key: key.cloned(), times: 1, detail: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds where it failed, such as the path, and how to fix it, in words. The cause's message is not repeated here.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Sets the key, for a store that renames keys.
    pub(super) fn about(mut self, key: Option<BlobKey>) -> Self {
        self.key = key;
        self
    }

    /// Makes it an error of the call that made the failed one.
    pub(super) fn during(self, operation: &'static str) -> Self {
        Self { operation, ..self }
    }

    /// Makes it an error of a copy from another store, with the keys that its caller gave.
    pub(in crate::store) fn of_copy(self, from: &BlobKey, to: &BlobKey) -> Self {
        let key = if self.kind == StoreErrorKind::NotFound { from } else { to }.clone();
        self.about(Some(key)).during("copy_from")
    }

    /// Makes it the last of `times` answers.
    pub(super) fn after(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Makes it the cause of an `Unknown`: the error of a change that was repeated after an `Unknown`.
    pub(super) fn after_an_unclear_one(self, times: u32) -> Self {
        Self::new(StoreErrorKind::Unknown, self.operation, self.key.as_ref()).after(times).with_source(self)
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Returns the key of the failed call, if it has one.
    pub fn key(&self) -> Option<&BlobKey> {
        self.key.as_ref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::NotFound => "it does not exist",
            StoreErrorKind::AlreadyExists => "it exists already",
            StoreErrorKind::Changed => "another version is there, or none",
            StoreErrorKind::InvalidRange => "the range does not lie within the blob",
            StoreErrorKind::TooLarge => "the blob is larger than 64 MiB",
            StoreErrorKind::PermissionDenied => "permission denied",
            StoreErrorKind::Obstructed => "something else is there",
            StoreErrorKind::Full => "no space is left",
            StoreErrorKind::Unavailable => "the store is unavailable",
            StoreErrorKind::Throttled { .. } => "the store gets too many requests",
            StoreErrorKind::Unknown => "it may or may not have happened",
            StoreErrorKind::Unsupported => "not supported by this store",
            StoreErrorKind::WrongStore => "it is not the expected store",
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
    /// Converts it to the error that users of the gallery see; `place` names the store, such as `region westeurope`.
    pub(crate) fn at(mut self, place: &str) -> Error {
        if self.kind == StoreErrorKind::WrongStore
            && let Some(source) = self.source.take()
        {
            // The source says which store it is, and which is expected.
            let problem = Problem::new(ErrorKind::Unavailable, "StorageOperationFailed", place, source.to_string());
            return Error::new(problem).with_source(self);
        }
        let (kind, what) = match self.kind {
            StoreErrorKind::Full => (ErrorKind::StorageFull, "its store is full: free space, then call again"),
            StoreErrorKind::Unknown => (
                ErrorKind::Unknown,
                "the change may or may not have happened in its store: read the state before you decide",
            ),
            // The gallery only reads blobs that were recorded as stored: a missing one is damage.
            StoreErrorKind::NotFound | StoreErrorKind::InvalidRange => {
                (ErrorKind::Corrupt, "its store has lost a blob, or a part of one: restore it, or scrub the region")
            }
            StoreErrorKind::Unsupported | StoreErrorKind::TooLarge => {
                (ErrorKind::Unsupported, "its store cannot do that: use another store")
            }
            StoreErrorKind::AlreadyExists => {
                (ErrorKind::Conflict, "its store has another blob of that name: read the state, then call again")
            }
            StoreErrorKind::Changed => (
                ErrorKind::Conflict,
                "another process has changed a blob of its store: read the state, then call again",
            ),
            StoreErrorKind::PermissionDenied => {
                (ErrorKind::Unavailable, "its store refuses this process's user: give it the right, then call again")
            }
            StoreErrorKind::Obstructed => {
                (ErrorKind::Unavailable, "something else has its place in the store: move it away, then call again")
            }
            StoreErrorKind::WrongStore => {
                (ErrorKind::Unavailable, "its store is not the expected one: mount the right one")
            }
            StoreErrorKind::Unavailable => (ErrorKind::Unavailable, "its store failed: repair it, then call again"),
            StoreErrorKind::Throttled { after } => {
                (ErrorKind::Throttled { after }, "its store gets too many requests: call again later")
            }
        };
        let code = match kind {
            ErrorKind::Throttled { .. } => "TooManyRequests",
            _ => "StorageOperationFailed",
        };
        Error::of(kind, code, place, what).with_source(self)
    }
}
