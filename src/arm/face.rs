//! The face: from a request to its answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CACHE_CONTROL, EXPIRES, HeaderName, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::answer::{Answer, Answered, Refusal, refusal};
use super::authenticator::Authenticator;
use super::body::ArmBody;
use super::builder::{ArmBuilder, Settings, guid};
use super::call::{Address, Call};
use super::operations::Operations;
use super::shape::Shape;
use super::test_endpoints::Tests;
use super::versions::ApiVersion;
use super::{galleries, groups, roles, shared};
use crate::access::Caller;
use crate::host::Clock;
use crate::host::sync::RwLock;
use crate::model::RegionCatalog;
use crate::service::session::GalleryService;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");
const ROUTING_ID: HeaderName = HeaderName::from_static("x-ms-routing-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const RETURN_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-return-client-request-id");
const AUXILIARY: HeaderName = HeaderName::from_static("x-ms-authorization-auxiliary");

/// Azure's wire protocol over a gallery. A clone is cheap and is the same face.
///
/// ```
/// # #[cfg(feature = "arm")] {
/// use bytes::Bytes;
/// use compute_gallery::GalleryService;
/// use compute_gallery::arm::Arm;
/// use compute_gallery::store::MemoryStore;
/// use http::{Request, StatusCode};
///
/// # futures::executor::block_on(async {
/// let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
/// let arm = Arm::new(service);
/// let request = |method, path: &str, body: &'static str| {
///     let path = format!("/subscriptions/dev/resourceGroups/images{path}");
///     Request::builder().method(method).uri(path).header("Authorization", "Bearer x").body(Bytes::from(body)).unwrap()
/// };
/// let group = request("PUT", "?api-version=2024-11-01", r#"{"location": "westeurope"}"#);
/// assert_eq!(arm.answer(group).await.status(), StatusCode::CREATED);
///
/// let gallery = "/providers/Microsoft.Compute/galleries/Contoso?api-version=2023-07-03";
/// let created = arm.answer(request("PUT", gallery, r#"{"location": "westeurope"}"#)).await;
/// assert_eq!(created.status(), StatusCode::CREATED);
/// assert!(created.headers().contains_key("azure-asyncoperation"));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// # }
/// ```
///
/// It is a [`tower_service::Service`] of every request whose body has bytes, so a host mounts it as it is:
/// `axum::Router::new().fallback_service(arm)`, or `hyper_util::service::TowerToHyperService::new(arm)`.
#[derive(Clone, Debug)]
pub struct Arm(pub(super) Arc<Inner>);

/// What all clones share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) service: RwLock<GalleryService>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) regions: RegionCatalog,
    pub(super) settings: Settings,
    pub(super) operations: Operations,
    pub(super) tests: Option<Tests>,
}

impl Inner {
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn shape(&self, version: ApiVersion) -> Shape<'_> {
        Shape { version, regions: &self.regions, operations: &self.operations, now: self.now() }
    }
}

impl Arm {
    /// Returns a face with the [default settings](ArmBuilder::new): any token is the caller `admin`'s.
    pub fn new(service: GalleryService) -> Self {
        ArmBuilder::new(service).build()
    }

    /// Answers a request whose body was read.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let inner = &self.0;
        let asked = request.headers().clone();
        let is_head = request.method() == Method::HEAD;
        let id = guid().unwrap_or_else(|_no_randomness| "00000000-0000-0000-0000-000000000000".to_owned());
        let mut response = match &inner.tests {
            Some(tests) => tests.answer(inner, request, &id).await,
            None => inner.answer(request, &id).await,
        }
        .response();
        inner.common(&asked, &id, response.headers_mut());
        if is_head {
            *response.body_mut() = Bytes::new();
        }
        response
    }

    async fn read_and_answer<B>(self, request: Request<B>) -> Response<ArmBody>
    where
        B: Body,
    {
        let (head, body) = request.into_parts();
        let response = match whole(body, self.0.settings.body_bytes).await {
            Ok(body) => self.answer(Request::from_parts(head, body)).await,
            Err((status, code, message)) => refusal(status, code, message),
        };
        response.map(ArmBody::from)
    }
}

/// Reads a body up to a limit.
async fn whole<B: Body>(body: B, most: usize) -> Result<Bytes, (StatusCode, &'static str, &'static str)> {
    use bytes::Buf;
    let too_large = || {
        let what = "The request body is larger than the server accepts.";
        (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", what)
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut read = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(frame) = frame else {
            let what = "The request body ended before its announced length.";
            return Err((StatusCode::BAD_REQUEST, "BadRequest", what));
        };
        let Ok(mut data) = frame.into_data() else { continue };
        if read.len() + data.remaining() > most {
            return Err(too_large());
        }
        while data.has_remaining() {
            let part = data.chunk();
            read.extend_from_slice(part);
            let taken = part.len();
            data.advance(taken);
        }
    }
    Ok(read.into())
}

impl<B> Service<Request<B>> for Arm
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<ArmBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let arm = self.clone();
        Box::pin(async move { Ok(arm.read_and_answer(request).await) })
    }
}

impl Inner {
    /// Answers a request; a refusal is an answer.
    pub(super) async fn answer(&self, request: Request<Bytes>, id: &str) -> Answer {
        let call = match self.call(request) {
            Ok(call) => call,
            Err(refusal) => return refusal.into(),
        };
        self.route(&call, id).await.unwrap_or_else(Answer::from)
    }

    fn call(&self, request: Request<Bytes>) -> Result<Call, Refusal> {
        let caller = self.caller(request.headers())?;
        let session = self.service.read().session(caller);
        let address = Address::of(&request);
        Call::new(request, address, session)
    }

    /// Makes a caller of the request's token. Those of other tenants must be good, too.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let bearer = |text: &str| {
            let (scheme, token) = text.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        };
        let refused = |error: &str, code: &str, what: &str| {
            let challenge =
                format!("Bearer authorization_uri=\"https://login.microsoftonline.com/common\", error=\"{error}\"");
            Refusal::new(StatusCode::UNAUTHORIZED, code, what).with(WWW_AUTHENTICATE, challenge)
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let Some(token) = given else {
            let what = "Authentication failed. The 'Authorization' header is missing or has no bearer token.";
            return Err(refused("invalid_request", "AuthenticationFailed", what));
        };
        let invalid = || refused("invalid_token", "InvalidAuthenticationToken", "The access token is invalid.");
        let caller = self.authenticator.caller(&token).ok_or_else(invalid)?;
        for auxiliary in headers.get_all(AUXILIARY) {
            let tokens =
                auxiliary.to_str().unwrap_or_default().split([',', ';']).filter(|text| !text.trim().is_empty());
            for token in tokens {
                bearer(token).and_then(|token| self.authenticator.caller(&token)).ok_or_else(invalid)?;
            }
        }
        Ok(caller)
    }

    /// Finds who answers.
    fn route<'a>(&'a self, call: &'a Call, id: &'a str) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let lower = call.lower();
            let path: Vec<&str> = lower.iter().map(String::as_str).collect();
            if let Some(at) = path.windows(2).rposition(|two| two == ["providers", "microsoft.authorization"]) {
                return roles::answer(self, call, at, &path).await;
            }
            match path.as_slice() {
                [_, _, "providers", "microsoft.compute", "locations", _, "capsoperations", operation] => {
                    call.any_version()?;
                    only(call, &[Method::GET])?;
                    self.operations.poll(call, operation, self.now())
                }
                [
                    _,
                    _,
                    "providers",
                    "microsoft.compute",
                    "locations",
                    _,
                    "sharedgalleries" | "communitygalleries",
                    ..,
                ] => shared::answer(self, call, &path).await,
                [_, _, "providers", "microsoft.compute", "galleries", ..]
                | [_, _, "resourcegroups", _, "providers", "microsoft.compute", "galleries", ..] => {
                    galleries::answer(self, call, &path, id).await
                }
                _ => groups::answer(self, call, &path, id).await,
            }
        })
    }

    /// Adds what every answer has.
    fn common(&self, asked: &HeaderMap, id: &str, headers: &mut HeaderMap) {
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(CACHE_CONTROL, "no-cache");
        set(PRAGMA, "no-cache");
        set(EXPIRES, "-1");
        set(HeaderName::from_static("strict-transport-security"), "max-age=31536000; includeSubDomains");
        set(HeaderName::from_static("x-content-type-options"), "nosniff");
        set(REQUEST_ID, id);
        let text = |name: HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
        let correlation = text(CORRELATION_ID).unwrap_or(id);
        set(CORRELATION_ID, correlation);
        set(ROUTING_ID, &format!("LOCAL:{}:{id}", self.now().format("%Y%m%dT%H%M%SZ")));
        let returns = text(RETURN_CLIENT_REQUEST_ID).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if let (true, Some(client)) = (returns, text(CLIENT_REQUEST_ID)) {
            set(CLIENT_REQUEST_ID, client);
        }
    }
}

/// Refuses another method than these.
pub(super) fn only(call: &Call, methods: &[Method]) -> Result<(), Refusal> {
    if methods.contains(&call.method) {
        return Ok(());
    }
    let allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let what = format!("The requested resource does not support http method '{}'.", call.method);
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", what);
    Err(refusal.with(http::header::ALLOW, allowed.join(", ")))
}
