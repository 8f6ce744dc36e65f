//! The face: from a request to its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use chrono::{Datelike, Timelike};
use http::header::{CACHE_CONTROL, EXPIRES, HeaderName, PRAGMA, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::answer::refusal;
use super::body::ArmBody;
use super::inner::{Inner, guid};
use super::test_endpoints::Tests;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");
const ROUTING_ID: HeaderName = HeaderName::from_static("x-ms-routing-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const RETURN_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-return-client-request-id");

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
pub struct Arm {
    pub(super) inner: Arc<Inner>,
    pub(super) tests: Option<Arc<Tests>>,
}

impl Arm {
    /// Answers a request whose body was read.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let inner = &self.inner;
        let asked = Asked::of(request.headers());
        let is_head = request.method() == Method::HEAD;
        let id = guid().unwrap_or_else(|_no_randomness| "00000000-0000-0000-0000-000000000000".to_owned());
        let mut response = match &self.tests {
            Some(tests) => tests.answer(inner, request, &id).await,
            None => inner.answer(request, &id).await,
        }
        .response();
        common(inner, asked, &id, response.headers_mut());
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
        let response = match whole(body, self.inner.settings.body_bytes).await {
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

/// The headers of a request that come back in its answer.
#[derive(Debug)]
struct Asked {
    correlation: Option<HeaderValue>,
    /// Where it is to come back.
    client: Option<HeaderValue>,
}

impl Asked {
    fn of(headers: &HeaderMap) -> Self {
        let returns = headers.get(RETURN_CLIENT_REQUEST_ID);
        let returns = returns.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
        let client = headers.get(CLIENT_REQUEST_ID).filter(|_| returns);
        Self { correlation: headers.get(CORRELATION_ID).cloned(), client: client.cloned() }
    }
}

/// Adds what every answer has.
fn common(inner: &Inner, asked: Asked, id: &str, headers: &mut HeaderMap) {
    const PLAIN: [(HeaderName, &str); 5] = [
        (CACHE_CONTROL, "no-cache"),
        (PRAGMA, "no-cache"),
        (EXPIRES, "-1"),
        (STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    headers.reserve(12);
    headers.extend(PLAIN.map(|(name, value)| (name, HeaderValue::from_static(value))));
    let now = inner.now();
    let (date, time) = (now.date_naive(), now.time());
    let routing = format!(
        "LOCAL:{:04}{:02}{:02}T{:02}{:02}{:02}Z:{id}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    if let (Ok(id), Ok(routing)) = (HeaderValue::from_str(id), HeaderValue::try_from(routing)) {
        headers.insert(CORRELATION_ID, asked.correlation.unwrap_or_else(|| id.clone()));
        headers.insert(REQUEST_ID, id);
        headers.insert(ROUTING_ID, routing);
    }
    if let Some(client) = asked.client {
        headers.insert(CLIENT_REQUEST_ID, client);
    }
}
