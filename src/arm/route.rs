//! From a request to the one who answers it.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};

use super::answer::{Answer, Answered, Refusal};
use super::call::{Address, Call};
use super::inner::{Inner, only};
use super::{galleries, groups, roles, shape, shared, template};
use crate::access::TenantId;
use crate::model::ResourceId;
use crate::service::read::{Operation, OperationKind, OperationTarget};
use crate::service::session::Session;

const AUXILIARY: HeaderName = HeaderName::from_static("x-ms-authorization-auxiliary");

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
        let session = self.session(request.headers())?;
        let address = Address::of(&request);
        Call::new(request, address, session)
    }

    /// Makes a caller of the request's token, with those of other tenants beside it, which must be good, too.
    fn session(&self, headers: &HeaderMap) -> Result<Session, Refusal> {
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
        let caller = self.authenticator.caller(token).ok_or_else(invalid)?;
        let mut tenants: Option<Vec<TenantId>> = self.authenticator.tenant(token).map(|tenant| vec![tenant]);
        for auxiliary in headers.get_all(AUXILIARY) {
            let tokens = auxiliary.to_str().unwrap_or_default().split([',', ';']);
            for text in tokens.filter(|text| !text.trim().is_empty()) {
                let token = bearer(text).ok_or_else(invalid)?;
                self.authenticator.caller(token).ok_or_else(invalid)?;
                if let Some(tenants) = &mut tenants {
                    tenants.extend(self.authenticator.tenant(token));
                }
            }
        }
        let session = self.service.read().session(caller);
        Ok(match tenants {
            Some(tenants) => session.in_tenants(tenants),
            None => session,
        })
    }

    /// Answers a poll of an operation.
    pub(super) async fn poll(&self, call: &Call, operation: &str) -> Answered {
        let result = async |operation: &Operation| self.result(call, operation).await;
        self.operations.poll(call, operation, self.now(), result).await
    }

    /// Returns what an operation that has succeeded has come to: its resource, as a GET answers it.
    async fn result(&self, call: &Call, operation: &Operation) -> Answered {
        match operation.kind {
            OperationKind::Delete => Ok(Answer::empty(StatusCode::NO_CONTENT)),
            OperationKind::Share => {
                let view = call.session.refresh().await?;
                let OperationTarget::Resource(ResourceId::Gallery(gallery)) = &operation.resource else {
                    return Ok(Answer::empty(StatusCode::NO_CONTENT));
                };
                Ok(Answer::ok(shape::sharing_update(&view.gallery_sharing(gallery)?)))
            }
            _ => self.route(&call.get(&operation.resource.to_string())?, "").await,
        }
    }

    /// Finds who answers.
    pub(super) fn route<'a>(&'a self, call: &'a Call, id: &'a str) -> BoxFuture<'a, Answered> {
        Box::pin(async move {
            let path = call.segments.lower();
            if let Some(at) = path.windows(2).rposition(|two| two == ["providers", "microsoft.authorization"]) {
                return roles::answer(self, call, at, &path).await;
            }
            match path.as_slice() {
                [_, _, "providers", "microsoft.compute", "locations", _, "capsoperations", operation] => {
                    call.any_version()?;
                    only(call, &[Method::GET])?;
                    self.poll(call, operation).await
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
                [_, _, "resourcegroups", _, "providers", "microsoft.resources", "deployments", ..]
                | [_, _, "resourcegroups", _, "deployments", _, "operations", ..] => {
                    template::answer(self, call, &path, id).await
                }
                ["providers", "microsoft.resourcegraph", "resources"] => shared::graph(call).await,
                _ => groups::answer(self, call, &path, id).await,
            }
        })
    }
}

/// Returns the token of a header.
fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
