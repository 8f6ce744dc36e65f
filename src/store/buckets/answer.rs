//! What a service said: `object_store` keeps statuses, codes and delays to itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

tokio::task_local! {
    /// The call that the requests of this task are made for.
    static CALL: Arc<Call>;
}

/// A call of the store: what its requests carry, and what the service said last.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// A header that makes a deletion depend on a version, which `object_store` has no word for.
    condition: Option<(&'static str, String)>,
    /// The bucket that a copy is from, if it is another one: `object_store` copies inside a bucket alone.
    source: Option<String>,
    answer: Mutex<Answer>,
}

/// The last answer to a call. All is empty where the store makes no requests that this crate sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    /// The service's own word for it, such as `SlowDown`.
    pub(super) code: Option<String>,
    /// The delay that it asks for.
    pub(super) after: Option<Duration>,
    /// No connection was made, so it did not hear of the request.
    pub(super) is_unsent: bool,
    /// How far a copy is that the service makes by and by.
    pub(super) copy: Option<String>,
}

impl Call {
    /// A deletion that depends on a header.
    pub(super) fn if_matches(header: &'static str, version: &str) -> Self {
        Self { condition: Some((header, version.to_owned())), ..Self::default() }
    }

    /// A copy from another bucket.
    pub(super) fn from_bucket(bucket: &str) -> Self {
        Self { source: Some(bucket.to_owned()), ..Self::default() }
    }

    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    pub(super) fn answer(&self) -> Answer {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn condition(&self) -> Option<(&'static str, &str)> {
        self.condition.as_ref().map(|(header, version)| (*header, version.as_str()))
    }
}

/// Makes `requests` in the name of `call`.
pub(super) async fn during<T>(call: Arc<Call>, requests: impl Future<Output = T>) -> T {
    CALL.scope(call, requests).await
}

/// The call that the running task makes requests for, if it is one of a store.
pub(super) fn current() -> Option<Arc<Call>> {
    CALL.try_with(Arc::clone).ok()
}

/// Keeps an answer for the call.
pub(super) fn note(call: Option<&Arc<Call>>, answer: Answer) {
    if let Some(call) = call {
        *call.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}
