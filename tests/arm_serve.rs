//! The server under many clients, clients that stop half way, slow ones and large bodies; and its rates, by hand:
//! `cargo test --release --features serve,testkit --test arm_serve -- --ignored --nocapture`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a helper of a test may fail as the test does; a server runs in a thread of its own, and rates need a stopwatch"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use compute_gallery::GalleryService;
use compute_gallery::arm::ArmBuilder;
use compute_gallery::model::Limits;
use compute_gallery::serve::{Authority, Server, ServerLimits};
use compute_gallery::store::{BlobStore, FsStore, MemoryStore};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const GROUP: &str = "/subscriptions/dev/resourceGroups/images";
const GALLERY: &str = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/G";
const VERSION: &str = "2023-07-03";

fn service() -> GalleryService {
    service_on(MemoryStore::new())
}

fn service_on(store: impl BlobStore) -> GalleryService {
    let limits = Limits::azure_2026().with_image_definitions(1 << 20).with_galleries(1 << 20);
    let settings = GalleryService::builder().allow_all().one_store_for_all_zones().require_resource_groups();
    futures::executor::block_on(settings.limits(limits).store(store).create()).unwrap()
}

/// Serves in a thread of its own, until the process ends.
fn serve(service: GalleryService, limits: ServerLimits) -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let arm = ArmBuilder::new(service).instant().build();
            let mut server = Server::new(arm, Authority::new().unwrap()).with_limits(limits);
            sender.send(server.http("127.0.0.1:0".parse().unwrap()).await.unwrap()).unwrap();
            server.run().await.unwrap();
        });
    });
    receiver.recv().unwrap()
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path}?api-version={VERSION} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads an answer: its status and body.
fn answer(stream: &mut TcpStream) -> (u16, String) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut read = Vec::new();
    let mut part = [0; 4096];
    loop {
        if let Some((status, length, head)) = head(&read)
            && read.len() >= head + length
        {
            return (status, String::from_utf8(read[head..head + length].to_vec()).unwrap());
        }
        let count = stream.read(&mut part).unwrap();
        assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&part[..count]);
    }
}

/// Returns the status, the length of the body and that of the head, once the head is whole.
fn head(read: &[u8]) -> Option<(u16, usize, usize)> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..end]).unwrap().to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or("0");
    Some((text.get(9..12).unwrap().parse().unwrap(), length.parse().unwrap(), end))
}

fn ask(at: SocketAddr, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    answer(&mut stream)
}

/// Bytes of memory that are in use, where the system tells.
fn resident() -> usize {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    told.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// A thousand, or what the process may open: each connection has a descriptor at both ends.
fn many() -> usize {
    let told = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft =
        told.lines().find(|line| line.starts_with("Max open files")).and_then(|line| line.split_whitespace().nth(3));
    let soft = soft.and_then(|soft| soft.parse::<usize>().ok()).unwrap_or(1024);
    1000.min((soft - 100) / 2)
}

#[test]
fn a_thousand_clients_stop_half_way_and_each_is_answered_when_it_goes_on() {
    let at = serve(service(), ServerLimits::default());
    assert_eq!(ask(at, &request("PUT", GROUP, r#"{"location": "westus"}"#)).0, 201);
    let before = resident();
    let whole = request("GET", GROUP, "");
    let (first, rest) = whole.split_at(whole.len() / 2);
    let mut streams: Vec<TcpStream> = (0..many()).map(|_| TcpStream::connect(at).unwrap()).collect();
    for stream in &mut streams {
        stream.write_all(first.as_bytes()).unwrap();
    }
    // They keep nobody out.
    assert_eq!(ask(at, &whole).0, 200);
    // What the other tests of the process hold counts as well.
    let grown = resident().saturating_sub(before);
    assert!(grown < 192 << 20, "{grown} bytes for {} connections", streams.len());
    for stream in &mut streams {
        stream.write_all(rest.as_bytes()).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(answer(stream).0, 200);
    }
    // And again on the same connections.
    for stream in &mut streams {
        stream.write_all(whole.as_bytes()).unwrap();
        assert_eq!(answer(stream).0, 200);
    }
}

#[test]
fn what_is_sent_by_half_makes_nothing() {
    let at = serve(service(), ServerLimits::default());
    assert_eq!(ask(at, &request("PUT", GROUP, r#"{"location": "westus"}"#)).0, 201);
    let whole = request("PUT", GALLERY, r#"{"location": "westus", "properties": {"description": "0123456789"}}"#);
    for length in (1..whole.len()).step_by(3) {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(&whole.as_bytes()[..length]).unwrap();
        drop(stream);
    }
    assert_eq!(ask(at, &request("GET", GALLERY, "")).0, 404);
    assert_eq!(ask(at, &whole).0, 201);
}

#[test]
fn slow_and_large_requests_end_with_a_status() {
    let quick = Duration::from_millis(200);
    let at = serve(service(), ServerLimits { body_within: quick, head_within: quick, ..ServerLimits::default() });
    let head = format!("PUT {GROUP}?api-version={VERSION} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer x\r\n");
    // A body that does not come.
    assert_eq!(ask(at, &format!("{head}Content-Length: 30\r\n\r\n{{")).0, 408);
    // One that is too large, by its announcement and without one.
    assert_eq!(ask(at, &format!("{head}Content-Length: 99999999999\r\n\r\n{{")).0, 413);
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    // The server answers before it has taken all, and takes the rest, so that the client sees the answer.
    (0..80).for_each(|_| stream.write_all(chunk.as_bytes()).unwrap());
    assert_eq!(answer(&mut stream).0, 413);
    // Headers that are too large.
    let large = format!("GET / HTTP/1.1\r\nHost: here\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(ask(at, &large).0, 431);
    // A head that does not come: the connection is closed.
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(b"GET / HT").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert!(read.is_empty() || read.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&read));
    // A connection that is kept open, and not used.
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(request("GET", GROUP, "").as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).0, 404);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
}

/// A request of a group whose line and headers have so many bytes, by so many headers.
fn with_head(bytes: usize, headers: usize) -> String {
    let start = format!("GET {GROUP}?api-version={VERSION} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer x\r\n");
    let more: String = (3..headers).map(|number| format!("X-{number}: x\r\n")).collect();
    let fill = bytes - start.len() - more.len() - "X: \r\n\r\n".len();
    format!("{start}{more}X: {}\r\n\r\n", "x".repeat(fill))
}

#[test]
fn each_limit_is_exact() {
    let limits = ServerLimits { header_bytes: 20_000, body_bytes: 5_000, ..ServerLimits::default() };
    for limits in [limits, ServerLimits { header_bytes: 700, ..limits }, ServerLimits::default()] {
        let at = serve(service(), limits);
        let head = limits.header_bytes;
        assert_eq!(ask(at, &with_head(head, 3)).0, 404, "{limits:?}");
        assert_eq!(ask(at, &with_head(head + 1, 3)).0, 431, "{limits:?}");
        if head > 2_000 {
            assert_eq!((ask(at, &with_head(2_000, 100)).0, ask(at, &with_head(2_000, 101)).0), (404, 431));
        }
        // In two parts.
        let mut stream = TcpStream::connect(at).unwrap();
        let whole = with_head(head, 3);
        let (first, rest) = whole.split_at(head - 1);
        stream.write_all(first.as_bytes()).unwrap();
        std::thread::yield_now();
        stream.write_all(rest.as_bytes()).unwrap();
        assert_eq!(answer(&mut stream).0, 404);
        let body = |bytes: usize| {
            let start = r#"{"location": "westus", "tags": {"a": ""}}"#;
            format!("{start}{}", " ".repeat(bytes - start.len()))
        };
        assert_eq!(ask(at, &request("PUT", GROUP, &body(limits.body_bytes))).0, 201);
        assert_eq!(ask(at, &request("PUT", GROUP, &body(limits.body_bytes + 1))).0, 413);
    }
}

#[test]
fn further_connections_wait() {
    let at = serve(service(), ServerLimits { connections: 2, ..ServerLimits::default() });
    let text = request("GET", GROUP, "");
    let [mut one, mut two, mut three] = [(); 3].map(|()| TcpStream::connect(at).unwrap());
    for stream in [&mut one, &mut two] {
        stream.write_all(text.as_bytes()).unwrap();
        assert_eq!(answer(stream).0, 404);
    }
    three.write_all(text.as_bytes()).unwrap();
    three.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(three.read(&mut [0; 8]).is_err());
    drop(one);
    assert_eq!(answer(&mut three).0, 404);
}

/// Sends requests over so many connections that are kept, and returns how many a second were answered.
async fn rate(at: SocketAddr, connections: usize, each: usize, text: impl Fn(usize) -> String) -> f64 {
    let started = Instant::now();
    let client = |number: usize| {
        let texts: Vec<String> = (0..each).map(|turn| text(number * each + turn)).collect();
        async move {
            let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut read, mut part) = (Vec::new(), vec![0; 16 << 10]);
            for text in texts {
                stream.write_all(text.as_bytes()).await.unwrap();
                read.clear();
                loop {
                    let count = stream.read(&mut part).await.unwrap();
                    assert_ne!(count, 0);
                    read.extend_from_slice(&part[..count]);
                    if let Some((status, length, head)) = head(&read)
                        && read.len() >= head + length
                    {
                        assert!(status < 300, "{}", String::from_utf8_lossy(&read));
                        break;
                    }
                }
            }
        }
    };
    join_all((0..connections).map(client)).await;
    (connections * each) as f64 / started.elapsed().as_secs_f64()
}

/// Answers each request with the same bytes.
fn bare(body: Vec<u8>) -> SocketAddr {
    use hyper::service::service_fn;
    let (sender, receiver) = std::sync::mpsc::channel();
    let body = bytes::Bytes::from(body);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let body = body.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |_| {
                        let body = compute_gallery::arm::ArmBody::from(body.clone());
                        async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
                    });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    hyper::server::conn::http1::Builder::new().serve_connection(io, answer).await.ok();
                });
            }
        });
    });
    receiver.recv().unwrap()
}

fn definition(number: usize) -> Value {
    json!({"location": "westus", "properties": {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V1",
        "identifier": {"publisher": "p", "offer": "o", "sku": format!("s{number}")},
    }})
}

#[test]
#[ignore = "measures rates"]
fn rates_of_reads_and_writes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let at = serve(service(), ServerLimits::default());
    assert_eq!(ask(at, &request("PUT", GROUP, r#"{"location": "westus"}"#)).0, 201);
    assert_eq!(ask(at, &request("PUT", GALLERY, r#"{"location": "westus"}"#)).0, 201);
    let (_, body) = ask(at, &request("GET", GALLERY, ""));
    let bare = bare(body.into_bytes());
    for _ in 0..3 {
        let get = |_| request("GET", GALLERY, "");
        let (plain, ours) =
            runtime.block_on(async { (rate(bare, 50, 1000, get).await, rate(at, 50, 1000, get).await) });
        println!("GET: {ours:.0} a second, bare hyper {plain:.0}: {:.2}", ours / plain);
    }
    for round in 0..3 {
        let name = |number: usize| format!("{GALLERY}/images/i{}", round * 10_000 + number);
        let put = |number| request("PUT", &name(number), &definition(round * 10_000 + number).to_string());
        let ours = runtime.block_on(rate(at, 50, 40, put));
        let session = service().session("admin".parse().unwrap());
        let commits = runtime.block_on(async {
            session.put_resource_group(GROUP, json!({"location": "westus"})).await.unwrap();
            session.put_gallery(GALLERY, json!({"location": "westus"})).await.unwrap();
            let started = Instant::now();
            let (session, name) = (&session, &name);
            let client = |client: usize| async move {
                for turn in 0..40 {
                    let number = client * 40 + turn;
                    session
                        .put_image_definition(name(number).as_str(), definition(round * 10_000 + number))
                        .await
                        .unwrap();
                }
            };
            join_all((0..50).map(client)).await;
            2000.0 / started.elapsed().as_secs_f64()
        });
        println!("PUT: {ours:.0} a second, commits {commits:.0}: {:.2}", ours / commits);
    }
    let folder = tempfile::tempdir().unwrap();
    let at = serve(service_on(FsStore::create(folder.path().join("store")).unwrap()), ServerLimits::default());
    assert_eq!(ask(at, &request("PUT", GROUP, r#"{"location": "westus"}"#)).0, 201);
    assert_eq!(ask(at, &request("PUT", GALLERY, r#"{"location": "westus"}"#)).0, 201);
    for round in 0..3 {
        let number = |number: usize| round * 10_000 + number;
        let put =
            |at| request("PUT", &format!("{GALLERY}/images/i{}", number(at)), &definition(number(at)).to_string());
        println!("PUT: {:.0} a second, on a durable store", runtime.block_on(rate(at, 50, 40, put)));
    }
}
