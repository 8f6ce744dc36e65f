//! Requests and answers of HTTP/1.1.

use std::io::Read;
use std::net::TcpStream;

/// A request, with its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    path: String,
    pub query: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Reads the next request; `None` at the end of the connection.
pub(super) fn read(stream: &mut TcpStream, rest: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    let mut buffer = vec![0; 64 << 10];
    let head = loop {
        if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            read => rest.extend_from_slice(&buffer[..read]),
        }
    };
    let text = String::from_utf8_lossy(&rest[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, path: path.to_owned(), query: query.to_owned(), headers, body: Vec::new() };
    let length: usize = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while rest.len() < head + length {
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            read => rest.extend_from_slice(&buffer[..read]),
        }
    }
    request.body = rest[head..head + length].to_vec();
    rest.drain(..head + length);
    Ok(Some(request))
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn bucket(&self) -> &str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or_default()
    }

    pub fn key(&self) -> String {
        let rest = self.path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        decoded(rest)
    }

    pub fn parameter(&self, name: &str) -> Option<String> {
        let of = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| decoded(&value.replace('+', " ")))
        };
        self.query.split('&').find_map(of)
    }

    pub fn is_azure(&self) -> bool {
        self.header("x-ms-version").is_some()
    }

    pub fn is_google(&self) -> bool {
        self.header("authorization").is_some_and(|said| said.starts_with("Bearer")) && !self.is_azure()
    }

    pub fn is_list(&self) -> bool {
        self.parameter("list-type").is_some() || self.parameter("comp").as_deref() == Some("list")
    }

    /// The name of what is asked for, in counts.
    pub fn kind(&self) -> String {
        let copies = ["x-amz-copy-source", "x-goog-copy-source", "x-ms-copy-source"];
        if self.is_list() {
            "list".to_owned()
        } else if self.method == "POST" {
            "delete many".to_owned()
        } else if copies.iter().any(|name| self.header(name).is_some()) {
            "copy".to_owned()
        } else {
            self.method.to_ascii_lowercase()
        }
    }
}

pub fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        let value = (*first == b'%' && after.len() >= 2)
            .then(|| u8::from_str_radix(&String::from_utf8_lossy(&after[..2]), 16).ok())
            .flatten();
        bytes.push(value.unwrap_or(*first));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}

/// An answer, with its body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// A refusal in the words of the request's service.
    pub fn refusal(request: &Request, status: u16, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
        let refusal = Self::new(status, body);
        if request.is_azure() { refusal.with("x-ms-error-code", code) } else { refusal }
    }

    pub(super) fn bytes(&self, request: &Request) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} x\r\nContent-Length: {}\r\n", self.status, self.length());
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if request.method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    fn length(&self) -> usize {
        self.body.len()
    }
}
