//! The seam between `object_store` and the network: it counts requests, and keeps what the answers say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, HeaderMap, Result};

use super::answer::{Answer, current, note};

/// Makes clients whose requests are counted and whose answers are kept.
#[derive(Clone, Debug)]
pub(super) struct Connector(pub(super) Arc<AtomicU64>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Wire { client, requests: self.0.clone() }))
    }
}

/// Google's requests carry a token, which covers no header.
const COPY_SOURCE: &str = "x-goog-copy-source";

#[derive(Debug)]
struct Wire {
    client: HttpClient,
    requests: Arc<AtomicU64>,
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, mut request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let call = current();
        // Not for a token that is fetched on the way.
        if let Some((header, version)) = call.as_ref().and_then(|call| call.condition())
            && request.method().as_str() == "DELETE"
        {
            let version = version.parse().map_err(|error| {
                note(call.as_ref(), Answer { is_unsent: true, ..Answer::default() });
                HttpError::new::<<object_store::HeaderValue as std::str::FromStr>::Err>(HttpErrorKind::Unknown, error)
            })?;
            request.headers_mut().insert(header, version);
        }
        if let Some(bucket) = call.as_ref().and_then(|call| call.source())
            && let Some((_, name)) = text(request.headers(), COPY_SOURCE).and_then(|source| source.split_once('/'))
            && let Ok(source) = format!("{bucket}/{name}").parse()
        {
            request.headers_mut().insert(COPY_SOURCE, source);
        }
        let query = request.uri().query().unwrap_or_default();
        let is_listing = query.contains("list-type=2") || query.contains("comp=list");
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = match self.client.execute(request).await {
            Ok(response) => response,
            Err(error) => {
                let is_unsent = error.kind() == HttpErrorKind::Connect;
                note(call.as_ref(), Answer { is_unsent, ..Answer::default() });
                return Err(error);
            }
        };
        let mut answer = Answer {
            status: Some(response.status().as_u16()),
            code: text(response.headers(), "x-ms-error-code").map(str::to_owned),
            after: delay(response.headers()),
            copy: text(response.headers(), "x-ms-copy-status").map(str::to_owned),
            is_unsent: false,
        };
        note(call.as_ref(), answer.clone());
        let is_failure = response.status().as_u16() >= 400;
        if !is_failure && !is_listing {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        if is_failure {
            answer.code = element(&body, "Code").or(answer.code);
            note(call.as_ref(), answer);
            return Ok(HttpResponse::from_parts(parts, body.into()));
        }
        Ok(HttpResponse::from_parts(parts, readable(body).into()))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After`: seconds, or a date, which the answer's own date is before.
fn delay(headers: &HeaderMap) -> Option<Duration> {
    let said = text(headers, "retry-after")?;
    if let Ok(seconds) = said.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let (then, now) = (DateTime::parse_from_rfc2822(said), DateTime::parse_from_rfc2822(text(headers, "date")?));
    (then.ok()? - now.ok()?).to_std().ok()
}

/// The text of the first `<name>`.
fn element(body: &[u8], name: &str) -> Option<String> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(text, _)| text.trim().to_owned())
}

/// A listing without the blobs whose names `object_store` refuses with the whole page (`a//b`, `../a`), or takes for another name
/// (`a/`, which consoles make for a folder). They are foreign: none can be the name of a blob of this crate.
fn readable(body: Bytes) -> Bytes {
    let Ok(page) = std::str::from_utf8(&body) else { return body };
    let tag = if page.contains("<Contents>") { "Contents" } else { "Blob" };
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let is_readable = |name: &str| !name.split('/').any(|segment| matches!(segment, "" | "." | ".."));
    let mut kept = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, (entry, after))) =
        rest.split_once(&open).and_then(|(before, after)| Some((before, after.split_once(&close)?)))
    {
        kept.push_str(before);
        let name = element(entry.as_bytes(), "Key").or_else(|| element(entry.as_bytes(), "Name"));
        if name.as_deref().is_none_or(is_readable) {
            kept.extend([&open, entry, &close]);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_in_seconds_or_until_a_date() {
        let delay_of = |said: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", said.parse().unwrap());
            if let Some(date) = date {
                headers.insert("date", date.parse().unwrap());
            }
            delay(&headers)
        };
        assert_eq!(delay_of("7", None), Some(Duration::from_secs(7)));
        let (then, now) = ("Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(delay_of(then, Some(now)), Some(Duration::from_secs(30)));
        assert_eq!(delay_of(now, Some(then)), None, "it is over");
        assert_eq!(delay_of(then, None), None);
        assert_eq!(delay_of("soon", None), None);
    }

    #[test]
    fn a_listing_keeps_what_has_a_name() {
        let page = |names: &[&str]| {
            let entry = |name: &&str| format!("<Contents><Key>{name}</Key><Size>1</Size></Contents>");
            format!("<List><Name>bucket</Name>{}<More/></List>", names.iter().map(entry).collect::<String>())
        };
        let read = |names: &[&str]| readable(page(names).into());
        assert_eq!(read(&["a", "folder/", "a//b", "/a", "a/../b", "Z", "z/a"]), page(&["a", "Z", "z/a"]));
        assert_eq!(read(&["folder/"]), page(&[]));
        assert_eq!(read(&[]), page(&[]));
        let azure = "<Blobs><Blob><Name>a/</Name></Blob><Blob><Name>a/b</Name></Blob></Blobs>";
        assert_eq!(readable(azure.into()), "<Blobs><Blob><Name>a/b</Name></Blob></Blobs>");
    }
}
