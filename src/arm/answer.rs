//! Answers and refusals, as Azure words them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Problem};

/// An answer before its common headers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Option<Value>,
}

/// A refusal is an answer, too.
pub(super) type Answered = Result<Answer, Refusal>;

/// A refusal: status, code, message, target and details of Azure's envelope.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Boxed, because most results are no refusals.
    words: Box<Words>,
}

/// What a refusal says.
#[derive(Clone, Debug)]
struct Words {
    code: String,
    message: String,
    target: Option<String>,
    details: Vec<Value>,
    /// What Azure does not say: the value, the rule, the fix.
    advice: Option<String>,
    headers: Vec<(HeaderName, String)>,
    /// Whether the front door says it, and not the provider.
    by_gateway: bool,
}

impl Answer {
    pub(super) fn new(status: StatusCode, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Some(body) }
    }

    pub(super) fn ok(body: Value) -> Self {
        Self::new(StatusCode::OK, body)
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    pub(super) fn list(items: Vec<Value>) -> Self {
        Self::ok(json!({"value": items}))
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn response(self) -> Response<Bytes> {
        // A value of JSON can always be written.
        let body = self.body.and_then(|body| serde_json::to_vec(&body).ok()).map(Bytes::from).unwrap_or_default();
        let has_body = !body.is_empty();
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        if has_body {
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        for (name, value) in self.headers {
            // A name in an address may be anything; a header is not.
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        let (code, message) = (code.into(), message.into());
        let (target, details, advice, headers, by_gateway) = (None, Vec::new(), None, Vec::new(), true);
        Self { status, words: Box::new(Words { code, message, target, details, advice, headers, by_gateway }) }
    }

    pub(super) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(super) fn of_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn at(mut self, target: impl Into<String>) -> Self {
        self.words.target = Some(target.into());
        self
    }

    pub(super) fn detailed(mut self, detail: Value) -> Self {
        self.words.details.push(detail);
        self
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.words.headers.push((name, value.into()));
        self
    }

    /// Returns what stands below `error`, in an answer or in an operation.
    pub(super) fn error(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), json!(self.words.code));
        error.insert("message".into(), json!(self.words.message));
        if let Some(target) = &self.words.target {
            error.insert("target".into(), json!(target));
        }
        if !self.words.details.is_empty() {
            error.insert("details".into(), json!(self.words.details));
        }
        if let Some(advice) = &self.words.advice {
            error.insert("innererror".into(), json!({"errordetail": advice}));
        }
        Value::Object(error)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let cause = if refusal.words.by_gateway { "gateway" } else { "service" };
        let mut answer = Self::new(refusal.status, json!({"error": refusal.error()}));
        answer.headers = refusal.words.headers;
        answer.with(HeaderName::from_static("x-ms-failure-cause"), cause)
    }
}

/// The status of a problem: by its code where the code has one of its own, else by its kind.
fn status(problem: &Problem) -> StatusCode {
    match (problem.code(), problem.kind()) {
        ("InvalidParameter" | "BadRequest" | "InvalidResourceName" | "LocationNotAvailableForResourceType", _) => {
            StatusCode::BAD_REQUEST
        }
        (_, ErrorKind::Invalid | ErrorKind::Unsupported) => StatusCode::BAD_REQUEST,
        (_, ErrorKind::NotFound) => StatusCode::NOT_FOUND,
        (_, ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::LimitReached | ErrorKind::Cancelled) => {
            StatusCode::CONFLICT
        }
        // As where a disk encryption set has lost its key.
        (_, ErrorKind::KeyMissing) => StatusCode::CONFLICT,
        (_, ErrorKind::Forbidden) => StatusCode::FORBIDDEN,
        (_, ErrorKind::Throttled { .. }) => StatusCode::TOO_MANY_REQUESTS,
        (_, ErrorKind::StorageFull) => StatusCode::INSUFFICIENT_STORAGE,
        (_, ErrorKind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, ErrorKind::Unknown | ErrorKind::Corrupt) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Azure has no target where the whole resource is meant.
fn target(problem: &Problem) -> Option<String> {
    let target = problem.target();
    let is_path = target.contains('.') && !target.contains('/');
    let is_kind =
        ["gallery", "galleryImage", "galleryImageVersion", "image", "snapshot", "osProfile"].contains(&target);
    (is_path || is_kind).then(|| target.to_owned())
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let mut problems = error.problems();
        let Some(first) = problems.next() else {
            return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", error.to_string());
        };
        let mut refusal = Self::new(status(first), first.code(), first.message());
        refusal.words.by_gateway = false;
        refusal.words.target = target(first);
        refusal.words.advice = first.advice().map(str::to_owned);
        if let ErrorKind::Throttled { after } = first.kind() {
            let seconds = after.map_or(1, |after| after.as_secs().max(1));
            refusal = refusal.with(http::header::RETRY_AFTER, seconds.to_string());
        }
        let detail = |problem: &Problem| {
            let mut detail = json!({"code": problem.code(), "message": problem.message()});
            if let (Some(target), Value::Object(detail)) = (target(problem), &mut detail) {
                detail.insert("target".into(), json!(target));
            }
            detail
        };
        refusal.words.details = problems.map(detail).collect();
        refusal
    }
}

/// Returns a refusal in Azure's envelope.
pub(crate) fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    Answer::from(Refusal::new(status, code, message)).response()
}
