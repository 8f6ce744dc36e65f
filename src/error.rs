//! The one error of the crate's public face.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of everything that the gallery does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
///
/// It grows when a caller could act in a new way, so a match on it needs a wildcard arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong in itself: change it. [`Error::problems`] lists everything that is wrong.
    Invalid,
    /// What the request names does not exist: create it first, or correct the name.
    NotFound,
    /// What the request would create exists: use it, or choose another name.
    AlreadyExists,
    /// The request is well formed but the present state refuses it: look at the state, then decide.
    Conflict,
    /// The caller may not do it: get a role that allows it. Whether what it names exists is not told.
    Forbidden,
    /// A limit is reached: free something, or raise the limit.
    LimitReached,
    /// A store is asked for more than it takes, and nothing was changed: call again later.
    Throttled {
        /// How long the store wants to be left alone, if it said so.
        after: Option<Duration>,
    },
    /// The file system or bucket is full: free space, then call again. Of a publish, what is stored already is kept for
    /// that.
    StorageFull,
    /// A store or file could not be reached or read and nothing was changed: mend it, then call again.
    Unavailable,
    /// The change may or may not have happened, because the answer was lost and could not be looked up: read the
    /// state before you decide.
    Unknown,
    /// Whoever asked for it has stopped it, or the time that it was given is up: call again, and it goes on.
    Cancelled,
    /// Stored or given bytes are not what they must be: restore them from another copy.
    Corrupt,
    /// This build or this input's variant is not supported: the message names what is.
    Unsupported,
}

/// One thing that is wrong with a request: where, what and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ErrorKind,
    code: &'static str,
    target: String,
    message: String,
    advice: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        kind: ErrorKind,
        code: &'static str,
        target: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, code, target: target.into(), message: message.into(), advice: None }
    }

    /// A value that breaks a rule.
    pub(crate) fn invalid(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, "InvalidParameter", target, message)
    }

    /// Adds what Azure does not say: the value, the rule, the fix.
    #[must_use]
    pub(crate) fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same problem at another place, such as the path of the value in a body. Its message names the place, too.
    #[must_use]
    pub(crate) fn at(mut self, target: &str) -> Self {
        // Azure's sentences name a path without the resource's kind, and a parameter with it.
        let below = target.split_once('.').map_or(target, |(_, below)| below);
        let named = format!("'{}'", self.target);
        self.message = self.message.replace(&format!("ath {named}"), &format!("ath '{below}'"));
        self.message = self.message.replace(&named, &format!("'{target}'"));
        target.clone_into(&mut self.target);
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Azure's error code, such as `InvalidParameter`.
    pub fn code(&self) -> &str {
        self.code
    }

    /// The field, resource, key or file that the problem is about.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What is wrong. Where Azure has a sentence for it, that sentence alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What Azure's sentence leaves out: the value, the rule, the fix.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.target, self.message)?;
        match &self.advice {
            None => Ok(()),
            Some(advice) if self.message.ends_with('.') => write!(f, " {advice}"),
            Some(advice) => write!(f, ": {advice}"),
        }
    }
}

/// Why the gallery refused or failed: a [kind](ErrorKind) to act on, [problems](Error::problems) to show, and the
/// cause below it as [`source`](std::error::Error::source). Cheap to clone.
///
/// ```
/// use compute_gallery::{ErrorKind, model::VersionNumber};
///
/// let error = "1.0".parse::<VersionNumber>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert_eq!(error.code(), "InvalidParameter");
/// assert!(error.to_string().contains("`1.0`"));
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    first: Problem,
    others: Vec<Problem>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// What the caller can do about the first problem.
    pub fn kind(&self) -> ErrorKind {
        self.0.first.kind
    }

    /// Azure's error code of the first problem.
    pub fn code(&self) -> &str {
        self.0.first.code()
    }

    /// The field, resource, key or file of the first problem.
    pub fn target(&self) -> &str {
        self.0.first.target()
    }

    /// Everything that is wrong, in the order of the request; never empty.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        std::iter::once(&self.0.first).chain(&self.0.others)
    }

    pub(crate) fn new(problem: Problem) -> Self {
        Self(Arc::new(Inner { first: problem, others: Vec::new(), source: None }))
    }

    /// `Ok` where there is no problem, else one error that tells of all of them.
    pub(crate) fn from_problems(problems: Vec<Problem>) -> Result<()> {
        let mut problems = problems.into_iter();
        match problems.next() {
            None => Ok(()),
            Some(first) => Err(Self(Arc::new(Inner { first, others: problems.collect(), source: None }))),
        }
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems().cloned().collect()
    }

    /// A value that breaks a rule.
    pub(crate) fn invalid(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Problem::invalid(target, message))
    }

    /// A resource that is not there.
    pub(crate) fn not_found(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Problem::new(ErrorKind::NotFound, "ResourceNotFound", target, message))
    }

    /// Bytes that are not what they must be.
    pub(crate) fn corrupt(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Problem::new(ErrorKind::Corrupt, "InternalError", target, message))
    }

    /// A failure of a file outside the stores: a disk to import, a place to deploy to.
    pub(crate) fn from_io(target: impl Into<String>, doing: &str, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
            std::io::ErrorKind::IsADirectory | std::io::ErrorKind::NotADirectory => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        Self::new(Problem::new(kind, "OperationNotAllowed", target, format!("{doing} failed"))).with_source(source)
    }

    /// Adds the cause of another error, if that has one.
    pub(crate) fn with_source_of(mut self, other: &Self) -> Self {
        Arc::make_mut(&mut self.0).source = other.0.source.clone();
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        match &self.0.source {
            None => Ok(()),
            Some(source) => write!(f, ": {source}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {self}", self.kind(), self.code())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
