//! A request, read.

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{Method, Request};
use serde_json::Value;

use super::answer::Refusal;
use super::segments::Segments;
use super::text::{percent_decoded, percent_encoded};
use super::versions::{ApiVersion, is_well_formed};
use crate::service::session::Session;

/// A request whose address and body were read, with the session of its caller.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) segments: Segments,
    /// The names in lower case, the values as they were written.
    query: Vec<(String, String)>,
    /// Scheme and host, without a slash at the end.
    pub(super) base: String,
    /// As it was written.
    pub(super) api_version: String,
    /// What the body is, or why it is not JSON.
    body: Bytes,
    pub(super) session: Session,
    /// Whether a deployment sends it, which goes on with what it makes.
    pub(super) is_of_deployment: bool,
}

/// The address of a request, without its session.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) segments: Segments,
    pub(super) query: Vec<(String, String)>,
}

impl Address {
    pub(super) fn of(request: &Request<Bytes>) -> Self {
        let query = request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(name).to_ascii_lowercase(), percent_decoded(&value.replace('+', " ")))
        };
        Self { segments: Segments::of(request.uri().path()), query: query.map(pair).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Call {
    pub(super) fn new(request: Request<Bytes>, address: Address, session: Session) -> Result<Self, Refusal> {
        let api_version = address.get("api-version").filter(|version| !version.is_empty());
        let Some(api_version) = api_version.map(str::to_owned) else {
            let what = "The api-version query parameter (?api-version=) is required for all requests.";
            return Err(Refusal::bad_request("MissingApiVersionParameter", what));
        };
        let base = base_of(&request);
        let (head, body) = request.into_parts();
        let Address { segments, query } = address;
        let is_of_deployment = false;
        Ok(Self { method: head.method, segments, query, base, api_version, body, session, is_of_deployment })
    }

    /// The same, sent by a deployment.
    pub(super) fn of_deployment(self) -> Self {
        Self { is_of_deployment: true, ..self }
    }

    /// Returns a read of another resource by the same caller.
    pub(super) fn get(&self, path: &str) -> Result<Self, Refusal> {
        let encoded: Vec<String> = path.split('/').map(percent_encoded).collect();
        let url = format!("{}?api-version={}", encoded.join("/"), percent_encoded(&self.api_version));
        let request = Request::builder().uri(url).body(Bytes::new());
        let wrong = |error| Refusal::bad_request("InvalidResourceId", format!("'{path}' is no address: {error}"));
        let request = request.map_err(wrong)?;
        let address = Address::of(&request);
        Ok(Self { base: self.base.clone(), ..Self::new(request, address, self.session.clone())? })
    }

    /// Returns a parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns the parameters of the query, in their order.
    pub(super) fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a parameter has this value, or it is in its list.
    pub(super) fn asks_for(&self, name: &str, value: &str) -> bool {
        let is = |part: &str| part.trim().eq_ignore_ascii_case(value);
        self.parameter(name).is_some_and(|list| list.split(',').any(is))
    }

    pub(super) fn segment(&self, at: usize) -> &str {
        self.segments.get(at)
    }

    /// Returns the first segments as an id: with the fixed words as Azure writes them.
    pub(super) fn id(&self, segments: usize) -> String {
        let mut id = String::with_capacity(160);
        for (at, (written, lower)) in self.segments.iter().zip(self.segments.lower()).enumerate().take(segments) {
            id.push('/');
            id.push_str(match (at, lower) {
                (0, _) => "subscriptions",
                (2, "resourcegroups") => "resourceGroups",
                (5, "microsoft.compute") => "Microsoft.Compute",
                (4, "providers") => "providers",
                (6 | 8 | 10, lower) => lower,
                _ => written,
            });
        }
        id
    }

    /// Returns the bytes of the body.
    pub(super) fn raw(&self) -> &[u8] {
        &self.body
    }

    /// Reads the body.
    pub(super) fn body(&self) -> Result<Value, Refusal> {
        Self::parsed(&self.body)
    }

    /// Reads a body.
    pub(super) fn parsed(body: &[u8]) -> Result<Value, Refusal> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        if body.iter().all(u8::is_ascii_whitespace) {
            let what = "The request content was invalid and could not be deserialized: 'A body is required.'.";
            return Err(Refusal::bad_request("InvalidRequestContent", what));
        }
        let read: Value = serde_json::from_slice(body).map_err(|error| {
            let what = format!("The request content was invalid and could not be deserialized: '{error}'.");
            Refusal::bad_request("InvalidRequestContent", what)
        })?;
        match read.is_object() {
            true => Ok(read),
            false => {
                let what = "The request content was invalid and could not be deserialized: 'An object is expected.'.";
                Err(Refusal::bad_request("InvalidRequestContent", what))
            }
        }
    }

    /// Returns the gallery's version that the request speaks. For a read, an unknown one is the nearest older; `strict` refuses
    /// that, too.
    pub(super) fn gallery_version(&self, kind: &str, strict: bool) -> Result<ApiVersion, Refusal> {
        let reads = self.method == Method::GET || self.method == Method::HEAD;
        let nearest =
            || Some(&self.api_version).filter(|_| reads && !strict).and_then(|text| ApiVersion::nearest(text));
        ApiVersion::of(&self.api_version).filter(|_| is_well_formed(&self.api_version)).or_else(nearest).ok_or_else(|| {
            let versions: Vec<&str> = ApiVersion::ALL.iter().map(|version| version.as_str()).collect();
            let what = format!(
                "No registered resource provider found for location 'global' and API version '{}' for type '{kind}'. The \
                 supported api-versions are '{}'. The supported locations are all that the gallery has.",
                self.api_version.escape_debug(),
                versions.join(", ")
            );
            Refusal::bad_request("NoRegisteredProviderFound", what)
        })
    }

    /// Checks the version of a neighbour's type: any date will do.
    pub(super) fn any_version(&self) -> Result<(), Refusal> {
        if is_well_formed(&self.api_version) {
            return Ok(());
        }
        let what = format!(
            "The api-version '{}' is invalid. The supported versions are dates such as '2024-11-01'.",
            self.api_version.escape_debug()
        );
        Err(Refusal::bad_request("InvalidApiVersionParameter", what))
    }
}

/// Scheme and host by which the client reached the server.
pub(crate) fn base_of(request: &Request<Bytes>) -> String {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let proto = header(HeaderName::from_static("x-forwarded-proto")).or(request.uri().scheme_str());
    let proto = proto.filter(|proto| matches!(*proto, "http" | "https")).unwrap_or("http");
    let host = header(HOST).or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let plain = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    format!("{proto}://{}", host.filter(plain).unwrap_or("localhost"))
}
