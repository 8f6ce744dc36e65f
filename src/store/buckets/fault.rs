//! From what `object_store` and the service say to what a caller can do.

use object_store::Error;

use super::answer::Answer;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::key::BlobKey;

/// What was asked of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Read,
    List,
    /// To put a blob where none is.
    Create,
    /// To put a blob, whatever is there.
    Put,
    /// To put a blob in place of a version.
    Replace,
    Delete,
    /// To remove a version.
    DeleteIf,
    Copy,
    /// To copy a blob to where none is.
    CreateCopy,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) meaning: Meaning,
    answer: Answer,
    /// `None` if the call panicked.
    source: Option<Box<Error>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Kind(StoreErrorKind),
    /// Another change of the key is in progress, or was; nothing was changed by this one.
    InProgress,
}

impl Fault {
    pub(super) fn new(asked: Asked, source: Option<Error>, answer: Answer) -> Self {
        let meaning = match &source {
            Some(error) => meaning(asked, error, &answer),
            None => Meaning::Kind(unclear(asked)),
        };
        Self { meaning, answer, source: source.map(Box::new) }
    }

    /// One that the service did not cause.
    pub(super) fn of(kind: StoreErrorKind) -> Self {
        Self { meaning: Meaning::Kind(kind), answer: Answer::default(), source: None }
    }

    pub(super) fn is(&self, kind: StoreErrorKind) -> bool {
        self.meaning == Meaning::Kind(kind)
    }

    /// An answer that is not what was asked for.
    pub(super) fn of_answer(answer: Answer) -> Self {
        Self { meaning: Meaning::Kind(StoreErrorKind::Unavailable), answer, source: None }
    }

    /// Whether the range that was asked for may lie outside of the blob: services say so in several ways, and `object_store` has
    /// none.
    pub(super) fn may_be_of_the_range(&self, are_answers_seen: bool) -> bool {
        let is_answered = match self.answer.status {
            Some(status) => (200..300).contains(&status),
            None => !are_answers_seen,
        };
        self.is(StoreErrorKind::InvalidRange) || (is_answered && self.is(StoreErrorKind::Unavailable))
    }

    /// The error of a call of the trait.
    pub(super) fn error(self, operation: &'static str, key: Option<&BlobKey>) -> StoreError {
        let kind = match self.meaning {
            Meaning::Kind(kind) => kind,
            Meaning::InProgress => StoreErrorKind::Unknown,
        };
        let mut error = StoreError::new(kind, operation, key);
        if kind == StoreErrorKind::WrongStore {
            let code = self.answer.code.unwrap_or_default();
            let what =
                format!("the bucket does not exist, or is being deleted (`{code}`): create it, or correct its name");
            return error.with_source(what);
        }
        if self.meaning == Meaning::InProgress {
            error = error.with_detail("another change of it is in progress");
        }
        match self.source {
            Some(source) => error.with_source(*source),
            None => error,
        }
    }
}

/// What a failure means that says nothing of what was done.
fn unclear(asked: Asked) -> StoreErrorKind {
    match asked {
        Asked::Read | Asked::List => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Unknown,
    }
}

/// The bucket is gone, or going, and with it a blob that "does not exist".
fn is_of_the_bucket(answer: &Answer) -> bool {
    let codes =
        ["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled", "FilesystemNotFound"];
    answer.code.as_deref().is_some_and(|code| codes.contains(&code))
}

fn meaning(asked: Asked, error: &Error, answer: &Answer) -> Meaning {
    let code = answer.code.as_deref().unwrap_or_default();
    if is_of_the_bucket(answer) {
        return Meaning::Kind(StoreErrorKind::WrongStore);
    }
    let kind = match error {
        Error::NotFound { .. } => match asked {
            Asked::Read | Asked::Copy | Asked::CreateCopy | Asked::Delete | Asked::DeleteIf => StoreErrorKind::NotFound,
            Asked::Replace => StoreErrorKind::Changed,
            Asked::List | Asked::Create | Asked::Put => StoreErrorKind::Unavailable,
        },
        Error::AlreadyExists { .. } => return exists(asked, answer),
        Error::Precondition { .. } => match asked {
            Asked::Create | Asked::CreateCopy => StoreErrorKind::AlreadyExists,
            Asked::Replace | Asked::DeleteIf => StoreErrorKind::Changed,
            // A lease.
            _ => StoreErrorKind::Obstructed,
        },
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => refused(code),
        Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => {
            StoreErrorKind::Unsupported
        }
        _ => {
            // The request for several deletions succeeds as a whole.
            let of_one = if asked == Asked::Delete { by_words(error) } else { None };
            of_one.or_else(|| by_status(asked, answer)).unwrap_or(unclear(asked))
        }
    };
    Meaning::Kind(kind)
}

/// A status of 409, or a creation that found a blob.
fn exists(asked: Asked, answer: &Answer) -> Meaning {
    let code = answer.code.as_deref().unwrap_or_default();
    let kind = match (asked, answer.status, code) {
        // A store whose answers are not seen may say so for either.
        (Asked::Create | Asked::CreateCopy, None, _) => return Meaning::InProgress,
        (Asked::Create | Asked::CreateCopy, Some(412), _) => StoreErrorKind::AlreadyExists,
        (Asked::Create | Asked::CreateCopy, _, "BlobAlreadyExists" | "UnauthorizedBlobOverwrite") => {
            StoreErrorKind::AlreadyExists
        }
        (_, _, "BlobImmutableDueToPolicy" | "SnapshotsPresent" | "InvalidBlobType") => StoreErrorKind::Obstructed,
        (Asked::Read | Asked::List, _, _) => StoreErrorKind::Unavailable,
        (Asked::Create | Asked::Replace | Asked::DeleteIf, _, _) => return Meaning::InProgress,
        _ => StoreErrorKind::Unknown,
    };
    Meaning::Kind(kind)
}

fn refused(code: &str) -> StoreErrorKind {
    match code {
        "QuotaExceeded" | "StorageQuotaExceeded" => StoreErrorKind::Full,
        _ => StoreErrorKind::PermissionDenied,
    }
}

/// The services' words for "not now", which they say before they do anything.
const NOT_NOW: [&str; 6] =
    ["SlowDown", "SlowDownRead", "SlowDownWrite", "ServerBusy", "RequestLimitExceeded", "TooManyRequests"];

fn by_status(asked: Asked, answer: &Answer) -> Option<StoreErrorKind> {
    let code = answer.code.as_deref().unwrap_or_default();
    let throttled = StoreErrorKind::Throttled { after: answer.after };
    if answer.is_unsent {
        return Some(StoreErrorKind::Unavailable);
    }
    Some(match answer.status? {
        // It has begun to answer.
        ..400 => unclear(asked),
        400 => match code {
            "EntityTooLarge" => StoreErrorKind::TooLarge,
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "AuthorizationHeaderMalformed" => {
                StoreErrorKind::PermissionDenied
            }
            // The body did not arrive; or it was a request for a token.
            "RequestTimeout" | "IncompleteBody" | "" => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Unsupported,
        },
        401 | 403 | 407 => refused(code),
        404 => StoreErrorKind::Unavailable,
        405 | 501 => StoreErrorKind::Unsupported,
        413 => StoreErrorKind::TooLarge,
        416 => StoreErrorKind::InvalidRange,
        429 => throttled,
        500 | 503 if NOT_NOW.contains(&code) => throttled,
        503 if matches!(asked, Asked::Read | Asked::List) => throttled,
        507 => StoreErrorKind::Full,
        _ => unclear(asked),
    })
}

/// The outcome of one of several deletions, which has no status of its own but in the words of its error.
fn by_words(error: &Error) -> Option<StoreErrorKind> {
    let words = error.to_string();
    let (_, code) = words.rsplit_once("(code: ")?;
    match code.split_once(')')?.0 {
        "AccessDenied" | "403" => Some(StoreErrorKind::PermissionDenied),
        "404" | "NoSuchKey" => Some(StoreErrorKind::NotFound),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn generic() -> Error {
        Error::Generic { store: "S3", source: "words".into() }
    }

    fn said(status: u16, code: &str) -> Answer {
        Answer { status: Some(status), code: Some(code.to_owned()), ..Answer::default() }
    }

    fn of(asked: Asked, error: &Error, answer: &Answer) -> Meaning {
        meaning(asked, error, answer)
    }

    fn kind(asked: Asked, answer: &Answer) -> StoreErrorKind {
        match of(asked, &generic(), answer) {
            Meaning::Kind(kind) => kind,
            Meaning::InProgress => panic!("in progress"),
        }
    }

    #[test]
    fn a_change_has_not_happened_only_where_the_service_says_so() {
        for asked in [Asked::Create, Asked::Put, Asked::Replace, Asked::Delete, Asked::Copy] {
            for status in [500, 502, 503, 504, 200, 408] {
                assert_eq!(kind(asked, &said(status, "InternalError")), StoreErrorKind::Unknown, "{asked:?} {status}");
            }
            assert_eq!(kind(asked, &Answer::default()), StoreErrorKind::Unknown, "no answer");
            let unsent = Answer { is_unsent: true, ..Answer::default() };
            assert_eq!(kind(asked, &unsent), StoreErrorKind::Unavailable);
            let busy = Answer { after: Some(Duration::from_secs(3)), ..said(503, "SlowDown") };
            assert_eq!(kind(asked, &busy), StoreErrorKind::Throttled { after: Some(Duration::from_secs(3)) });
        }
        for status in [500, 502, 504, 200] {
            assert_eq!(kind(Asked::Read, &said(status, "InternalError")), StoreErrorKind::Unavailable);
        }
    }

    #[test]
    fn a_blob_of_a_bucket_that_is_gone_is_not_a_lost_blob() {
        let gone = Error::NotFound { path: "a".into(), source: "words".into() };
        for code in ["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"] {
            let meant = of(Asked::Read, &gone, &said(404, code));
            assert_eq!(meant, Meaning::Kind(StoreErrorKind::WrongStore), "{code}");
        }
        assert_eq!(of(Asked::Read, &gone, &said(404, "NoSuchKey")), Meaning::Kind(StoreErrorKind::NotFound));
    }

    #[test]
    fn a_conflict_is_another_change_and_not_a_blob() {
        let exists = Error::AlreadyExists { path: "a".into(), source: "words".into() };
        assert_eq!(of(Asked::Create, &exists, &said(409, "ConditionalRequestConflict")), Meaning::InProgress);
        let there = Meaning::Kind(StoreErrorKind::AlreadyExists);
        assert_eq!(of(Asked::Create, &exists, &said(412, "PreconditionFailed")), there);
        assert_eq!(of(Asked::Create, &exists, &said(409, "BlobAlreadyExists")), there);
        assert_eq!(of(Asked::Put, &exists, &said(409, "OperationAborted")), Meaning::Kind(StoreErrorKind::Unknown));
    }

    #[test]
    fn credentials_that_ran_out_are_told_apart_from_trouble() {
        for (status, code) in [(400, "ExpiredToken"), (403, "AccessDenied"), (401, "AuthenticationFailed")] {
            assert_eq!(kind(Asked::Create, &said(status, code)), StoreErrorKind::PermissionDenied, "{code}");
        }
        assert_eq!(kind(Asked::Put, &said(403, "QuotaExceeded")), StoreErrorKind::Full);
        assert_eq!(kind(Asked::Create, &said(501, "NotImplemented")), StoreErrorKind::Unsupported);
    }
}
