//! Listeners and connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::limits::ServerLimits;
use super::lingering::Lingering;
use super::sign_in::SignIn;
use crate::arm::{Arm, ArmBody, refusal};
use crate::error::{Error, Result};

/// Tells the service whether a connection has TLS: its absolute addresses follow from it.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Bytes of a CONNECT request.
const CONNECT_BYTES: usize = 8 << 10;

/// A server of the [ARM face](crate::arm::Arm): http, https, and a proxy in which clients reach it as any host.
///
/// ```
/// # #[cfg(feature = "serve")] {
/// use compute_gallery::GalleryService;
/// use compute_gallery::arm::Arm;
/// use compute_gallery::serve::{Authority, Server};
/// use compute_gallery::store::MemoryStore;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
/// let mut server = Server::new(Arm::new(service), Authority::new()?);
/// let address = server.http("127.0.0.1:0".parse().unwrap()).await?;
/// assert_ne!(address.port(), 0);
/// // `server.run()` serves until it is dropped.
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    front: Arc<Front>,
    listeners: Vec<(TcpListener, Wire)>,
}

/// What a listener's clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Http,
    Https,
    Proxy,
}

/// What all connections share.
#[derive(Debug)]
struct Front {
    arm: Arm,
    sign_in: SignIn,
    authority: Arc<Authority>,
    limits: ServerLimits,
}

impl Server {
    /// Returns a server without listeners.
    pub fn new(arm: Arm, authority: Authority) -> Self {
        let (limits, sign_in) = (ServerLimits::default(), SignIn);
        let front = Front { arm, sign_in, authority: Arc::new(authority), limits };
        Self { front: Arc::new(front), listeners: Vec::new() }
    }

    /// Replaces the limits, before the first listener.
    #[must_use]
    pub fn with_limits(self, limits: ServerLimits) -> Self {
        let Front { arm, sign_in, authority, .. } = &*self.front;
        let front = Front { arm: arm.clone(), sign_in: *sign_in, authority: authority.clone(), limits };
        Self { front: Arc::new(front), ..self }
    }

    /// Listens for http. Returns the address with the port that was taken, which differs if port 0 was asked for.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the address is taken or not this machine's.
    pub async fn http(&mut self, address: SocketAddr) -> Result<SocketAddr> {
        self.listen(address, Wire::Http).await
    }

    /// Listens for https. Otherwise as [`http`](Self::http).
    ///
    /// # Errors
    ///
    /// As [`http`](Self::http).
    pub async fn https(&mut self, address: SocketAddr) -> Result<SocketAddr> {
        self.listen(address, Wire::Https).await
    }

    /// Listens as a proxy: the server answers CONNECT for every host and port, and is that host. Nothing is forwarded.
    ///
    /// # Errors
    ///
    /// As [`http`](Self::http).
    pub async fn proxy(&mut self, address: SocketAddr) -> Result<SocketAddr> {
        self.listen(address, Wire::Proxy).await
    }

    async fn listen(&mut self, address: SocketAddr, wire: Wire) -> Result<SocketAddr> {
        let wrong = |error| Error::from_io(address.to_string(), "the address cannot be listened on", error);
        let listener = TcpListener::bind(address).await.map_err(wrong)?;
        let taken = listener.local_addr().map_err(wrong)?;
        self.listeners.push((listener, wire));
        Ok(taken)
    }

    /// Serves on all listeners until it is dropped, on the tokio runtime that polls it.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the certificates' settings cannot be made. An error of a connection ends that connection alone.
    pub async fn run(self) -> Result<()> {
        let Self { front, listeners } = self;
        let tls = TlsAcceptor::from(front.authority.tls()?);
        let places = Arc::new(Semaphore::new(front.limits.connections));
        let accepting = listeners.into_iter().map(|(listener, wire)| {
            let (front, tls, places) = (front.clone(), tls.clone(), places.clone());
            async move {
                loop {
                    let Ok(place) = places.clone().acquire_owned().await else { return };
                    let (stream, _) = match listener.accept().await {
                        Ok(accepted) => accepted,
                        // Out of descriptors, or the client has gone: the next one may do.
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                            continue;
                        }
                    };
                    let (front, tls) = (front.clone(), tls.clone());
                    tokio::spawn(async move {
                        connection(&front, &tls, stream, wire).await;
                        drop(place);
                    });
                }
            }
        });
        futures::future::join_all(accepting).await;
        Ok(())
    }
}

/// Serves one connection to its end. Its errors are the client's: it is closed.
async fn connection(front: &Arc<Front>, tls: &TlsAcceptor, mut stream: TcpStream, wire: Wire) {
    stream.set_nodelay(true).ok();
    let within = front.limits.handshake_within;
    if wire == Wire::Proxy && !matches!(tokio::time::timeout(within, connect(&mut stream)).await, Ok(Ok(true))) {
        return;
    }
    let is_tls = match wire {
        Wire::Http => false,
        Wire::Https => true,
        // A handshake begins with a record of type 22.
        Wire::Proxy => {
            let mut first = [0];
            let peeked = tokio::time::timeout(within, stream.peek(&mut first)).await;
            if !matches!(peeked, Ok(Ok(1))) {
                return;
            }
            first == [22]
        }
    };
    match is_tls {
        false => requests(front, stream, "http").await,
        true => {
            if let Ok(Ok(stream)) = tokio::time::timeout(within, tls.accept(stream)).await {
                requests(front, stream, "https").await;
            }
        }
    }
}

/// Answers CONNECT for any host; returns whether a tunnel was opened.
async fn connect(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut head = Vec::new();
    // Byte by byte would be slow, and more would take bytes of the tunnel: a client sends nothing before the answer.
    while !head.ends_with(b"\r\n\r\n") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await?;
        head.extend(part.iter().take(read));
        if read == 0 || head.len() > CONNECT_BYTES {
            return Ok(false);
        }
    }
    if head.starts_with(b"CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        return Ok(true);
    }
    let body = "This proxy opens tunnels alone: use it as HTTPS_PROXY.\n";
    let head = "HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    Ok(false)
}

/// Serves the requests of a connection.
async fn requests(front: &Arc<Front>, stream: impl AsyncRead + AsyncWrite + Unpin, scheme: &'static str) {
    let limits = front.limits;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_within);
    http.max_header_size(limits.header_bytes).max_buf_size(limits.header_bytes.max(8192));
    let front = front.clone();
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(request, scheme).await) }
    });
    // A client that goes away in between is no news.
    drop(http.serve_connection(TokioIo::new(Lingering::new(stream)), service).await);
}

impl Front {
    async fn answer(&self, request: Request<Incoming>, scheme: &'static str) -> Response<ArmBody> {
        let (mut head, body) = request.into_parts();
        let body = match body.is_end_stream() {
            true => Bytes::new(),
            false => {
                let reading = whole(body, self.limits.body_bytes);
                match tokio::time::timeout(self.limits.body_within, reading).await {
                    Ok(Ok(body)) => body,
                    Ok(Err(status)) => return closing(status),
                    Err(_) => return closing(StatusCode::REQUEST_TIMEOUT),
                }
            }
        };
        head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
        let request = Request::from_parts(head, body);
        match self.sign_in.answer(&request) {
            Some(response) => response.map(ArmBody::from),
            None => self.arm.answer(request).await.map(ArmBody::from),
        }
    }
}

/// Reads a whole body, or says with which status it is refused.
async fn whole(mut body: Incoming, most: usize) -> std::result::Result<Bytes, StatusCode> {
    if body.size_hint().lower() > most as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut read = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return Err(StatusCode::BAD_REQUEST) };
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > most {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.into())
}

/// A refusal after which the rest of the body is not read.
fn closing(status: StatusCode) -> Response<ArmBody> {
    let (code, message) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("RequestEntityTooLarge", "The request body is larger than the server accepts.")
        }
        StatusCode::REQUEST_TIMEOUT => ("RequestTimeout", "The request body did not arrive in time."),
        _ => ("BadRequest", "The request body ended before its announced length."),
    };
    let mut response = refusal(status, code, message).map(ArmBody::from);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
