//! The blobs of a service, and what requests do to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::http::{Answer, Request, decoded};

#[derive(Clone, Debug)]
pub struct Object {
    pub bytes: Arc<Vec<u8>>,
    generation: u64,
    modified: DateTime<Utc>,
}

impl Object {
    fn date(&self) -> String {
        self.modified.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    fn tag(&self) -> String {
        format!("\"0x{:X}\"", self.generation)
    }
}

/// The source's bytes, and how often the copy is asked after before it is done.
type Pending = (Arc<Vec<u8>>, u32);

#[derive(Debug, Default)]
pub struct Objects {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    hidden: BTreeSet<String>,
    generation: u64,
    /// Copies that are answered and not done.
    pending: BTreeMap<(String, String), Pending>,
}

impl Objects {
    pub fn with_buckets(names: &[&str]) -> Self {
        let buckets = names.iter().map(|name| ((*name).to_owned(), BTreeMap::new())).collect();
        Self { buckets, ..Self::default() }
    }

    pub fn put(&mut self, bucket: &str, key: &str, bytes: Vec<u8>) -> Object {
        self.store(bucket, key, Arc::new(bytes))
    }

    fn store(&mut self, bucket: &str, key: &str, bytes: Arc<Vec<u8>>) -> Object {
        self.generation += 1;
        let object = Object { bytes, generation: self.generation, modified: Utc::now() };
        self.buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), object.clone());
        object
    }

    pub fn get(&self, bucket: &str, key: &str) -> Option<&Object> {
        self.buckets.get(bucket)?.get(key)
    }

    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.buckets.get(bucket).map(|objects| objects.keys().cloned().collect()).unwrap_or_default()
    }

    pub fn clear(&mut self, bucket: &str) {
        self.buckets.insert(bucket.to_owned(), BTreeMap::new());
    }

    pub fn hide(&mut self, bucket: &str, is_hidden: bool) {
        if is_hidden {
            self.hidden.insert(bucket.to_owned());
        } else {
            self.hidden.remove(bucket);
        }
    }

    pub fn answer_reordered(&mut self, request: &Request) -> Answer {
        self.list(request, true)
    }

    /// A copy that is answered before it is done.
    pub fn answer_pending(&mut self, request: &Request, times: u32) -> Answer {
        let Some((_, _, object)) = self.source(request) else { return self.answer(request, false) };
        let target = (request.bucket().to_owned(), request.key());
        self.pending.insert(target.clone(), (object.bytes, times));
        self.put(&target.0, &target.1, Vec::new());
        Answer::new(202, "").with("x-ms-copy-status", "pending")
    }

    pub fn answer(&mut self, request: &Request, careless: bool) -> Answer {
        let bucket = request.bucket().to_owned();
        if !self.buckets.contains_key(&bucket) || self.hidden.contains(&bucket) {
            let code = if request.is_azure() { "ContainerNotFound" } else { "NoSuchBucket" };
            return Answer::refusal(request, 404, code);
        }
        match request.method.as_str() {
            "GET" if request.is_list() => self.list(request, false),
            "GET" | "HEAD" => self.read(request),
            "PUT" => self.change(request, careless),
            "DELETE" => self.delete(request, careless),
            "POST" if request.is_azure() => self.batch(request),
            "POST" => self.delete_many(request),
            other => panic!("{other} of {}", request.key()),
        }
    }

    fn missing(request: &Request) -> Answer {
        Answer::refusal(request, 404, if request.is_azure() { "BlobNotFound" } else { "NoSuchKey" })
    }

    fn read(&mut self, request: &Request) -> Answer {
        let at = (request.bucket().to_owned(), request.key());
        let mut copy = None;
        if let Some((bytes, left)) = self.pending.remove(&at) {
            if left == 0 {
                self.store(&at.0, &at.1, bytes);
                copy = Some("success");
            } else {
                self.pending.insert(at.clone(), (bytes, left - 1));
                copy = Some("pending");
            }
        }
        let Some(object) = self.get(&at.0, &at.1) else { return Self::missing(request) };
        let all = &object.bytes;
        let range = request.header("range").or_else(|| request.header("x-ms-range"));
        let answer = match range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
            None => Answer::new(200, all.as_slice()),
            Some((start, end)) => {
                let start: usize = start.parse().unwrap();
                let end = end.parse::<usize>().map_or(all.len(), |end| (end + 1).min(all.len()));
                if start >= all.len() {
                    return Answer::refusal(request, 416, "InvalidRange");
                }
                let range = format!("bytes {start}-{}/{}", end - 1, all.len());
                Answer::new(206, &all[start..end]).with("Content-Range", range)
            }
        };
        let answer = answer
            .with("ETag", object.tag())
            .with("Last-Modified", object.date())
            .with("x-goog-generation", object.generation);
        match copy {
            Some(status) => answer.with("x-ms-copy-status", status),
            None => answer,
        }
    }

    /// The refusal of a condition that is not met.
    fn refused(&self, request: &Request) -> Option<Answer> {
        let there = self.get(request.bucket(), &request.key());
        if request.header("if-none-match") == Some("*") && there.is_some() {
            return Some(match request.is_azure() {
                true => Answer::refusal(request, 409, "BlobAlreadyExists"),
                false => Answer::refusal(request, 412, "PreconditionFailed"),
            });
        }
        let generation = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
        if let Some(wanted) = request.header("x-goog-if-generation-match").map(generation)
            && wanted != there.map_or(0, |object| object.generation)
        {
            let is_gone = request.method == "DELETE" && there.is_none();
            return Some(if is_gone {
                Self::missing(request)
            } else {
                Answer::refusal(request, 412, "PreconditionFailed")
            });
        }
        if let Some(wanted) = request.header("if-match") {
            return match there {
                None if request.is_azure() => Some(Answer::refusal(request, 412, "ConditionNotMet")),
                None => Some(Self::missing(request)),
                Some(object) if object.tag() != wanted => Some(Answer::refusal(request, 412, "PreconditionFailed")),
                Some(_) => None,
            };
        }
        None
    }

    /// The blob that a copy is from.
    fn source(&self, request: &Request) -> Option<(String, String, Object)> {
        let said = request
            .header("x-amz-copy-source")
            .or_else(|| request.header("x-goog-copy-source"))
            .map(str::to_owned)
            .or_else(|| {
                // An address.
                let (_, rest) = request.header("x-ms-copy-source")?.split_once("//")?;
                rest.split_once('/').map(|(_, path)| path.to_owned())
            })?;
        let said = decoded(&said);
        let (bucket, key) = said.trim_start_matches('/').split_once('/')?;
        Some((bucket.to_owned(), key.to_owned(), self.get(bucket, key)?.clone()))
    }

    fn change(&mut self, request: &Request, careless: bool) -> Answer {
        if let Some(refused) = self.refused(request).filter(|_| !careless) {
            return refused;
        }
        let (bucket, key) = (request.bucket().to_owned(), request.key());
        if request.kind() == "copy" {
            let Some((_, _, object)) = self.source(request) else { return Self::missing(request) };
            let copied = self.store(&bucket, &key, object.bytes);
            let body = format!("<CopyObjectResult><ETag>{}</ETag></CopyObjectResult>", copied.tag());
            return match request.is_azure() {
                true => Answer::new(202, "").with("x-ms-copy-status", "success"),
                false => Answer::new(200, body),
            };
        }
        let object = self.put(&bucket, &key, request.body.clone());
        Answer::new(if request.is_azure() { 201 } else { 200 }, "")
            .with("ETag", object.tag())
            .with("x-goog-generation", object.generation)
    }

    fn delete(&mut self, request: &Request, careless: bool) -> Answer {
        if let Some(refused) = self.refused(request).filter(|_| !careless) {
            return refused;
        }
        match self.remove(request.bucket(), &request.key()) {
            None if request.is_google() => Self::missing(request),
            _ => Answer::new(204, ""),
        }
    }

    fn remove(&mut self, bucket: &str, key: &str) -> Option<Object> {
        self.buckets.get_mut(bucket)?.remove(key)
    }

    fn delete_many(&mut self, request: &Request) -> Answer {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| key);
        let mut answer = "<DeleteResult>".to_owned();
        for key in keys {
            self.remove(request.bucket(), key);
            answer.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
        }
        Answer::new(200, answer + "</DeleteResult>")
    }

    fn batch(&mut self, request: &Request) -> Answer {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let mut answer = String::new();
        for (number, line) in body.lines().filter(|line| line.starts_with("DELETE ")).enumerate() {
            let path = line.split(' ').nth(1).unwrap().trim_start_matches('/');
            let (bucket, key) = path.split_once('/').unwrap();
            let status = match self.remove(bucket, &decoded(key)) {
                Some(_) => "202 Accepted",
                None => "404 The specified blob does not exist.",
            };
            answer.push_str(&format!(
                "--batch\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\nx-ms-version: 1\r\n\r\n\r\n"
            ));
        }
        Answer::new(202, answer + "--batch--\r\n").with("Content-Type", "multipart/mixed; boundary=batch")
    }

    fn list(&self, request: &Request, is_reordered: bool) -> Answer {
        let prefix = request.parameter("prefix").unwrap_or_default();
        let most = request.parameter("max-keys").or(request.parameter("maxresults"));
        let most = most.and_then(|most| most.parse().ok()).unwrap_or(1_000_usize).min(1_000);
        // Tokens are names; Azure's `startFrom` is a name that may be listed itself.
        let token = request.parameter("continuation-token").or(request.parameter("marker"));
        let from = match (token, request.parameter("start-after"), request.parameter("startFrom")) {
            (Some(token), _, _) => Bound::Excluded(token),
            (_, Some(after), _) => Bound::Excluded(after),
            (_, _, Some(from)) => Bound::Included(from),
            _ => Bound::Unbounded,
        };
        let objects = &self.buckets[request.bucket()];
        let mut all = objects.range((from, Bound::Unbounded)).filter(|(key, _)| key.starts_with(&prefix));
        let mut page: Vec<(&String, &Object)> = all.by_ref().take(most).collect();
        let token = all.next().and(page.last()).map(|(key, _)| (*key).clone());
        if is_reordered {
            page.reverse();
        }
        let mut body = String::new();
        for (key, object) in page {
            let (tag, size) = (object.tag().replace('"', "&quot;"), object.bytes.len());
            let (date, time) = (object.date(), object.modified.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
            body.push_str(&match request.is_azure() {
                true => format!(
                    "<Blob><Name>{key}</Name><Properties><Last-Modified>{date}</Last-Modified><Etag>{}</Etag>\
                     <Content-Length>{size}</Content-Length><Content-Type>x/y</Content-Type></Properties></Blob>",
                    // Without the marks that it has elsewhere.
                    object.tag().trim_matches('"')
                ),
                false => format!(
                    "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>{tag}</ETag>\
                     <Size>{size}</Size></Contents>"
                ),
            });
        }
        let body = match (request.is_azure(), token) {
            (true, token) => format!(
                "<EnumerationResults><Blobs>{body}</Blobs><NextMarker>{}</NextMarker></EnumerationResults>",
                token.unwrap_or_default()
            ),
            (false, None) => format!("<ListBucketResult>{body}</ListBucketResult>"),
            (false, Some(token)) => {
                format!(
                    "<ListBucketResult>{body}<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
                )
            }
        };
        Answer::new(200, body)
    }
}
