//! The one error of the crate's public face.
//!
//! One convention holds for every error of the crate: `{}` is the error's own message, which says what to do and leaves out
//! its causes; [`source`](std::error::Error::source) is the cause; `{:#}` and `{:?}` write both, each cause once. A caller that
//! walks the chain repeats nothing, and one that prints a line has the choice.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of the gallery's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
///
/// A kind is added when a caller can act in a new way: a match on it needs a wildcard arm.
///
/// ```
/// use compute_gallery::{Error, ErrorKind};
/// use std::time::Duration;
///
/// /// How long to wait before the same call is made again; `None` if a person or the program has to act first.
/// fn delay(error: &Error) -> Option<Duration> {
///     match error.kind() {
///         ErrorKind::Throttled { after } => Some(after.unwrap_or(Duration::from_secs(5))),
///         ErrorKind::Unavailable => Some(Duration::from_secs(1)),
///         _ => None,
///     }
/// }
///
/// let error = "1.0".parse::<compute_gallery::model::VersionNumber>().unwrap_err();
/// assert_eq!((error.kind(), delay(&error)), (ErrorKind::Invalid, None));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request breaks a rule: change it. [`Error::problems`] lists everything that is wrong with it.
    Invalid,
    /// The request names a resource that does not exist: create it first, or correct the name.
    NotFound,
    /// The resource to be created exists: use it, or choose another name.
    AlreadyExists,
    /// The request is well formed, and the present state refuses it: read the state, then decide.
    Conflict,
    /// The caller lacks a permission: get a role that has it. The error does not say whether the resource exists.
    Forbidden,
    /// A limit is reached: delete something, or raise the limit.
    LimitReached,
    /// A store gets more requests than it accepts, and nothing was changed: call again after a delay.
    Throttled {
        /// The delay that the store asks for, if it names one.
        after: Option<Duration>,
    },
    /// The file system or bucket is full: free space, then call again. A publish keeps the content that it has stored, and
    /// the next one goes on from there.
    StorageFull,
    /// A store, a file or the catalog could not be reached, and nothing was changed: call again. If it fails again, the
    /// message names what to repair.
    Unavailable,
    /// The change may or may not have happened, because the answer was lost and could not be looked up: read the state
    /// before you decide.
    Unknown,
    /// The caller cancelled the operation, or its time is up: call again to resume it.
    Cancelled,
    /// Stored or given bytes fail their check: restore them from another copy.
    Corrupt,
    /// Content is encrypted with a key that the key provider does not have, or has another one for: give it the key that the message
    /// names. Nothing is damaged, and nothing was changed.
    KeyMissing,
    /// This build, or this variant of the input, is not supported: the message names what is.
    Unsupported,
}

impl ErrorKind {
    /// Whether the same call can succeed later without a change by the caller.
    fn is_retryable(self) -> bool {
        match self {
            Self::Unavailable | Self::Throttled { .. } => true,
            Self::Invalid
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Conflict
            | Self::Forbidden
            | Self::LimitReached
            | Self::StorageFull
            | Self::Unknown
            | Self::Cancelled
            | Self::Corrupt
            | Self::KeyMissing
            | Self::Unsupported => false,
        }
    }
}

/// One thing that is wrong with a request: where, what, and how to fix it.
///
/// `{}` writes target, message and advice. Its cause is its [`source`](std::error::Error::source), and `{:#}` writes that too.
/// Equality compares everything but the cause.
///
/// ```
/// use compute_gallery::{ErrorKind, Problem, model::VersionNumber};
///
/// let error = "1.0".parse::<VersionNumber>().unwrap_err();
/// let problem = error.problems().next().unwrap();
/// assert_eq!((problem.kind(), problem.code()), (ErrorKind::Invalid, "InvalidParameter"));
/// assert_eq!(problem.target(), "galleryImageVersion.name");
/// assert!(problem.message().ends_with('.'), "Azure's sentence: {}", problem.message());
/// assert!(problem.advice().unwrap().contains("`1.0`"), "and what it leaves out");
/// ```
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

    /// Makes it a problem of a larger thing at `target`; the message and the cause stay.
    pub(crate) fn of_larger(self, code: &'static str, target: String, doing: &str) -> Self {
        let message = match self.target == target {
            true => format!("{doing}: {}", self.message),
            false => format!("{doing}: `{}`: {}", self.target, self.message),
        };
        Self { code, target, message, ..self }
    }

    /// Adds what Azure does not say: the value, the rule, the fix. Printing makes a sentence of it.
    #[must_use]
    pub(crate) fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Moves it to another target, such as the path of the value in a body, in its message too.
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

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns Azure's error code, such as `InvalidParameter`.
    ///
    /// It is for logs and for clients of Azure's API: decide by [`kind`](Self::kind).
    pub fn code(&self) -> &str {
        self.code
    }

    /// Returns the field, resource, key or file that the problem is about.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns what is wrong: Azure's sentence if Azure has one for it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what Azure's sentence leaves out: the value, the rule, the fix. It begins in lower case and has no final period;
    /// `{}` of the problem writes it as a sentence.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Another problem or a cause may follow, so the last sentence has no period.
        write!(f, "`{}`: {}", self.target, self.message.strip_suffix('.').unwrap_or(&self.message))?;
        if let Some(advice) = &self.advice {
            // Azure's message may be several sentences, so the advice is one more.
            let mut rest = advice.chars();
            let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
            write!(f, ". {first}{}", rest.as_str())?;
        }
        if f.alternate() { write_causes(f, &self.message, StdError::source(self)) } else { Ok(()) }
    }
}

impl StdError for Problem {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// Constructors of the problems that occur in many places, and of the errors with such a problem alone.
macro_rules! common {
    ($($(#[$doc:meta])* $name:ident: $kind:ident, $code:literal;)*) => {
        impl Problem {
            $($(#[$doc])*
            pub(crate) fn $name(target: impl Into<String>, message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, $code, target, message)
            })*
        }

        impl Error {
            $($(#[$doc])*
            pub(crate) fn $name(target: impl Into<String>, message: impl Into<String>) -> Self {
                Self::new(Problem::$name(target, message))
            })*
        }
    };
}

common! {
    /// A value breaks a rule.
    invalid: Invalid, "InvalidParameter";
    /// A resource does not exist.
    not_found: NotFound, "ResourceNotFound";
    /// The present state refuses the request.
    conflict: Conflict, "OperationNotAllowed";
    /// The caller lacks a permission.
    forbidden: Forbidden, "AuthorizationFailed";
    /// A limit is reached.
    limit_reached: LimitReached, "OperationNotAllowed";
    /// Something that the service needs is missing or fails.
    unavailable: Unavailable, "OperationNotAllowed";
    /// Others were faster, or the time is up, and nothing was changed: the same call can succeed at once.
    busy: Unavailable, "RetryableError";
    /// The outcome of a change could not be looked up.
    unknown: Unknown, "InternalError";
    /// This build does not support it.
    unsupported: Unsupported, "OperationNotAllowed";
}

/// Writes a cause and the causes below it after `words`, the message of what it caused. A foreign error may end in the message of
/// its own cause, which is then left out.
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

/// A refusal or failure of the gallery: a [kind](ErrorKind) to act on, [problems](Error::problems) to show, and the cause of the
/// first problem that has one as [`source`](std::error::Error::source). Cheap to clone.
///
/// `{}` writes the problems; `{:#}` and `{:?}` write their causes too, for a log.
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
    /// Returns what the caller can do about the first problem.
    pub fn kind(&self) -> ErrorKind {
        self.0.first.kind
    }

    /// Returns whether the same call, unchanged, can succeed later: true if every problem is
    /// [`Unavailable`](ErrorKind::Unavailable) or [`Throttled`](ErrorKind::Throttled).
    ///
    /// An [`Unknown`](ErrorKind::Unknown) change may have happened, so the caller reads the state before it decides. A
    /// [`Cancelled`](ErrorKind::Cancelled) operation was stopped on purpose. A [full store](ErrorKind::StorageFull) needs space
    /// first. None of them is for a retry loop.
    ///
    /// ```
    /// use compute_gallery::{Result, model::VersionNumber};
    ///
    /// /// Makes a call up to `times` times.
    /// fn retried<T>(times: u32, mut call: impl FnMut() -> Result<T>) -> Result<T> {
    ///     for _ in 1..times {
    ///         match call() {
    ///             Err(error) if error.is_retryable() => {} // and wait a moment
    ///             outcome => return outcome,
    ///         }
    ///     }
    ///     call()
    /// }
    ///
    /// let mut calls = 0;
    /// let refused = retried(3, || {
    ///     calls += 1;
    ///     "1.0".parse::<VersionNumber>()
    /// });
    /// assert!(!refused.unwrap_err().is_retryable());
    /// assert_eq!(calls, 1, "the same version number is wrong each time");
    /// ```
    pub fn is_retryable(&self) -> bool {
        self.problems().all(|problem| problem.kind.is_retryable())
    }

    /// Returns Azure's error code of the first problem.
    ///
    /// It is for logs and for clients of Azure's API: decide by [`kind`](Self::kind).
    pub fn code(&self) -> &str {
        self.0.first.code()
    }

    /// Returns the field, resource, key or file of the first problem.
    pub fn target(&self) -> &str {
        self.0.first.target()
    }

    /// Returns everything that is wrong, in the order of the request; at least one problem.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        std::iter::once(&self.0.first).chain(&self.0.others)
    }

    pub(crate) fn new(problem: Problem) -> Self {
        Self(Arc::new(Inner { first: problem, others: Vec::new() }))
    }

    /// Returns `Ok` if `problems` is empty, else one error with all of them.
    pub(crate) fn from_problems(problems: Vec<Problem>) -> Result<()> {
        let mut problems = problems.into_iter();
        match problems.next() {
            None => Ok(()),
            Some(first) => Err(Self(Arc::new(Inner { first, others: problems.collect() }))),
        }
    }

    /// Returns its problems, each with its cause.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let Inner { first, others } = Arc::unwrap_or_clone(self.0);
        std::iter::once(first).chain(others).collect()
    }

    pub(crate) fn of(
        kind: ErrorKind,
        code: &'static str,
        target: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Problem::new(kind, code, target, message))
    }

    /// Stored or given bytes fail their check.
    pub(crate) fn corrupt(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Corrupt, "InternalError", target, message)
    }

    /// A file outside of the stores failed: a disk to import, or the target of a deployment.
    pub(crate) fn from_io(target: impl Into<String>, doing: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, code, why) = match source.kind() {
            Io::NotFound => (ErrorKind::NotFound, "ResourceNotFound", "it does not exist: correct the path"),
            Io::AlreadyExists => (ErrorKind::AlreadyExists, "OperationNotAllowed", "it exists: choose another path"),
            Io::StorageFull | Io::QuotaExceeded => {
                (ErrorKind::StorageFull, "OperationNotAllowed", "no space is left: free some, then call again")
            }
            Io::IsADirectory => (ErrorKind::Invalid, "InvalidParameter", "it is a directory: name a file"),
            Io::NotADirectory => {
                (ErrorKind::Invalid, "InvalidParameter", "its path goes through a file: correct the path")
            }
            Io::PermissionDenied => {
                let what = "this process's user lacks the right: give it the right, or choose another path";
                (ErrorKind::Unavailable, "OperationNotAllowed", what)
            }
            Io::ReadOnlyFilesystem => {
                let what = "its file system is read-only: mount it writable, or choose another path";
                (ErrorKind::Unavailable, "OperationNotAllowed", what)
            }
            _ => (ErrorKind::Unavailable, "OperationNotAllowed", "repair what the system reports, then call again"),
        };
        Self::new(Problem::new(kind, code, target, format!("{doing} failed: {why}"))).with_source(source)
    }

    /// Sets the cause of the first problem.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_changed_nothing_and_needs_no_repair_is_retryable() {
        let all = [
            (ErrorKind::Invalid, false),
            (ErrorKind::NotFound, false),
            (ErrorKind::AlreadyExists, false),
            (ErrorKind::Conflict, false),
            (ErrorKind::Forbidden, false),
            (ErrorKind::LimitReached, false),
            (ErrorKind::Throttled { after: None }, true),
            (ErrorKind::Throttled { after: Some(Duration::from_secs(1)) }, true),
            (ErrorKind::StorageFull, false),
            (ErrorKind::Unavailable, true),
            (ErrorKind::Unknown, false),
            (ErrorKind::Cancelled, false),
            (ErrorKind::Corrupt, false),
            (ErrorKind::Unsupported, false),
        ];
        for (kind, is_retryable) in all {
            assert_eq!(Error::of(kind, "Code", "target", "message").is_retryable(), is_retryable, "{kind:?}");
        }
    }

    #[test]
    fn message_and_advice_are_printed_as_sentences_without_a_last_period() {
        let azures = || Problem::invalid("a.b", "The value is bad. It must be good.");
        let ours = Problem::invalid("c", "the list is empty: name one");
        assert_eq!(azures().to_string(), "`a.b`: The value is bad. It must be good");
        let advised = azures().with_advice("write a good one");
        assert_eq!(advised.to_string(), "`a.b`: The value is bad. It must be good. Write a good one");
        let larger = advised.clone().of_larger("Code", "d".to_owned(), "it failed");
        assert_eq!(larger.to_string(), "`d`: it failed: `a.b`: The value is bad. It must be good. Write a good one");
        assert_eq!(
            azures().with_advice("`x` is bad").to_string(),
            "`a.b`: The value is bad. It must be good. `x` is bad"
        );
        let error = Error::from_problems(vec![azures(), ours]).unwrap_err();
        assert_eq!(error.to_string(), "`a.b`: The value is bad. It must be good; `c`: the list is empty: name one");
        let caused = Error::new(advised).with_source("the cause");
        assert_eq!(format!("{caused:#}"), "`a.b`: The value is bad. It must be good. Write a good one: the cause");
    }

    #[test]
    fn an_error_is_retryable_if_all_of_its_problems_are() {
        let of = |kinds: &[ErrorKind]| {
            let problems = kinds.iter().map(|kind| Problem::new(*kind, "Code", "target", "message")).collect();
            Error::from_problems(problems).unwrap_err()
        };
        assert!(of(&[ErrorKind::Unavailable, ErrorKind::Throttled { after: None }]).is_retryable());
        assert!(!of(&[ErrorKind::Unavailable, ErrorKind::Invalid]).is_retryable());
        assert!(!of(&[ErrorKind::Unavailable, ErrorKind::Unknown]).is_retryable());
    }
}
