//! The one error of the crate's public face.
//!
//! One convention holds for every error of the crate: `{}` is its own words, which say what to do and leave out what is
//! below it; [`source`](std::error::Error::source) is the cause; `{:#}` and `{:?}` are both, each cause told once. So
//! a caller that walks the chain tells nothing twice, and one that prints a line has the choice.

use std::error::Error as StdError;
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
    /// Its caller has stopped it, or the time that it was given is up: call again, and it goes on.
    Cancelled,
    /// Stored or given bytes are not what they must be: restore them from another copy.
    Corrupt,
    /// This build or this input's variant is not supported: the message names what is.
    Unsupported,
}

/// One thing that is wrong with a request: where, what and how to mend it; what caused it is its
/// [`source`](std::error::Error::source), and `{:#}` tells that too.
///
/// Two problems are equal where their words are: their causes are not compared.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ErrorKind,
    code: &'static str,
    target: String,
    message: String,
    advice: Option<String>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl PartialEq for Problem {
    fn eq(&self, other: &Self) -> bool {
        let words = |problem: &Self| (problem.kind, problem.code);
        words(self) == words(other)
            && self.target == other.target
            && self.message == other.message
            && self.advice == other.advice
    }
}

impl Eq for Problem {}

impl Problem {
    pub(crate) fn new(
        kind: ErrorKind,
        code: &'static str,
        target: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, code, target: target.into(), message: message.into(), advice: None, cause: None }
    }

    /// The same problem as one of something larger, which is at `target`: its words and its cause are told there.
    pub(crate) fn of_larger(self, code: &'static str, target: String, doing: &str) -> Self {
        let message = match self.target == target {
            true => format!("{doing}: {}", self.message),
            false => format!("{doing}: `{}`: {}", self.target, self.message),
        };
        Self { code, target, message, ..self }
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
            None => {}
            Some(advice) if self.message.ends_with('.') => write!(f, " {advice}")?,
            Some(advice) => write!(f, ": {advice}")?,
        }
        if f.alternate() { write_causes(f, &self.message, StdError::source(self)) } else { Ok(()) }
    }
}

impl StdError for Problem {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// Writes a cause and what is below it behind the words of what it caused. A foreign error may have the words of its own
/// cause at its end: those are told there.
pub(crate) fn write_causes(
    f: &mut fmt::Formatter<'_>,
    words: &str,
    cause: Option<&(dyn StdError + 'static)>,
) -> fmt::Result {
    let (mut above, mut next) = (words.to_owned(), cause);
    while let Some(cause) = next {
        let words = cause.to_string();
        if !above.ends_with(&words) {
            write!(f, ": {words}")?;
        }
        (above, next) = (words, cause.source());
    }
    Ok(())
}

/// Why the gallery refused or failed: a [kind](ErrorKind) to act on, [problems](Error::problems) to show, and the
/// cause below the first of them as [`source`](std::error::Error::source). Cheap to clone.
///
/// `{}` is the problems' own words; `{:#}` and `{:?}` tell the causes too, as a log wants it.
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
        Self(Arc::new(Inner { first: problem, others: Vec::new() }))
    }

    /// `Ok` where there is no problem, else one error that tells of all of them.
    pub(crate) fn from_problems(problems: Vec<Problem>) -> Result<()> {
        let mut problems = problems.into_iter();
        match problems.next() {
            None => Ok(()),
            Some(first) => Err(Self(Arc::new(Inner { first, others: problems.collect() }))),
        }
    }

    /// Its problems, each with its cause.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let Inner { first, others } = Arc::unwrap_or_clone(self.0);
        std::iter::once(first).chain(others).collect()
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
        use std::io::ErrorKind as Io;
        let (kind, code, why) = match source.kind() {
            Io::NotFound => (ErrorKind::NotFound, "ResourceNotFound", "it is not there: correct the path"),
            Io::AlreadyExists => {
                (ErrorKind::AlreadyExists, "OperationNotAllowed", "it is there already: choose another path")
            }
            Io::StorageFull | Io::QuotaExceeded => {
                (ErrorKind::StorageFull, "OperationNotAllowed", "no space is left: free some, then call again")
            }
            Io::IsADirectory => (ErrorKind::Invalid, "InvalidParameter", "it is a directory: name a file"),
            Io::NotADirectory => {
                (ErrorKind::Invalid, "InvalidParameter", "its path goes through a file: correct the path")
            }
            Io::PermissionDenied => {
                let what = "this process's user may not: give it the right, or choose another path";
                (ErrorKind::Unavailable, "OperationNotAllowed", what)
            }
            Io::ReadOnlyFilesystem => {
                let what = "its file system is read-only: mount it writable, or choose another path";
                (ErrorKind::Unavailable, "OperationNotAllowed", what)
            }
            _ => (ErrorKind::Unavailable, "OperationNotAllowed", "mend what the system says, then call again"),
        };
        Self::new(Problem::new(kind, code, target, format!("{doing} failed: {why}"))).with_source(source)
    }

    /// The cause of the first problem.
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).first.cause = Some(Arc::from(source.into()));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems().enumerate() {
            f.write_str(if position == 0 { "" } else { "; " })?;
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {self:#}", self.kind(), self.code())
    }
}

impl StdError for Error {
    /// The cause of the first problem that has one.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.problems().find_map(StdError::source)
    }
}
