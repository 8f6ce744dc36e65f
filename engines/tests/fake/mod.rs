//! A scripted service on the loopback address, with the protocols of S3, Azure Blob Storage and Google Cloud Storage on one set of
//! blobs. What it does is decided by the test, request by request.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper of a test may fail as the test does"
)]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]
#![expect(clippy::disallowed_methods, reason = "a server has a clock and threads")]

mod http;
mod objects;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use compute_gallery::store::ObjectStoreBlobs;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;

use http::Answer;
use objects::Objects;

/// The protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    S3,
    Azure,
    Google,
}

pub const PROTOCOLS: [Protocol; 3] = [Protocol::S3, Protocol::Azure, Protocol::Google];

/// What the service does with a request instead of answering it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is refused with a status and the service's word, and not done.
    Refused(u16, &'static str),
    /// As refused, with seconds to wait.
    RefusedFor(u16, &'static str, u64),
    /// It is done, and answered as a failure.
    DoneAndFailed(u16, &'static str),
    /// It is done, and never answered.
    DoneAndSilent,
    /// It is not done and not answered.
    Silent,
    /// It is done, and the connection closed.
    DoneAndClosed,
    /// The connection closes in the middle of the body.
    Truncated,
    /// A listing in descending order.
    Reordered,
    /// It takes longer.
    Slow(Duration),
    /// A copy is answered before it is done, and done when it is asked after so often.
    Pending(u32),
    /// The conditions are ignored.
    Careless,
}

/// What a request is about: its number since the service began, its method, bucket and key.
#[derive(Clone, Debug)]
pub struct Asked {
    pub number: u64,
    pub method: String,
    pub bucket: String,
    pub key: String,
    pub query: String,
}

type Script = Box<dyn Fn(&Asked) -> Option<Trouble> + Send + Sync>;

struct Shared {
    objects: Mutex<Objects>,
    script: Mutex<Arc<Script>>,
    /// How often each kind of request was made.
    counts: Mutex<BTreeMap<String, u64>>,
    number: AtomicU64,
    latency: Mutex<Duration>,
    /// Bytes a second of a request; unlimited at zero.
    rate: AtomicU64,
    is_over: AtomicBool,
}

/// A service that runs until it is dropped.
pub struct Fake {
    shared: Arc<Shared>,
    port: u16,
    listener: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts it, with the buckets `catalog`, `west` and `east`.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            objects: Mutex::new(Objects::with_buckets(&["catalog", "west", "east"])),
            script: Mutex::new(Arc::new(Box::new(|_: &Asked| None))),
            counts: Mutex::default(),
            number: AtomicU64::new(0),
            latency: Mutex::new(Duration::ZERO),
            rate: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let of_listener = shared.clone();
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_listener.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, stream) = (of_listener.clone(), stream.unwrap());
                // A client that goes away ends its thread.
                std::thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        Self { shared, port, listener: Some(listener) }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Decides what happens to each request from now on.
    pub fn script(&self, script: impl Fn(&Asked) -> Option<Trouble> + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(Box::new(script));
    }

    /// Makes trouble for the next request of this method whose key has this part.
    pub fn once(&self, method: &'static str, part: &'static str, trouble: Trouble) {
        self.times(1, method, part, trouble);
    }

    pub fn times(&self, times: u64, method: &'static str, part: &'static str, trouble: Trouble) {
        let left = AtomicU64::new(times);
        self.script(move |asked| {
            let is_it = asked.method == method && asked.key.contains(part);
            let spend = |left: u64| left.checked_sub(1);
            (is_it && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_ok()).then(|| trouble.clone())
        });
    }

    /// Each answer takes at least so long.
    pub fn latency(&self, latency: Duration) {
        *self.shared.latency.lock().unwrap() = latency;
    }

    /// A request moves at most so many bytes a second.
    pub fn rate(&self, bytes_per_second: u64) {
        self.shared.rate.store(bytes_per_second, Ordering::SeqCst);
    }

    /// The number of requests, and of each kind, since the last look.
    pub fn counted(&self) -> (u64, BTreeMap<String, u64>) {
        let counts = std::mem::take(&mut *self.shared.counts.lock().unwrap());
        (counts.values().sum(), counts)
    }

    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        self.shared.objects.lock().unwrap().put(bucket, key, bytes.to_vec());
    }

    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.shared.objects.lock().unwrap().get(bucket, key).map(|object| object.bytes.to_vec())
    }

    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.shared.objects.lock().unwrap().keys(bucket)
    }

    pub fn clear(&self, bucket: &str) {
        self.shared.objects.lock().unwrap().clear(bucket);
    }

    pub fn remove_bucket(&self, bucket: &str) {
        self.shared.objects.lock().unwrap().hide(bucket, true);
    }

    pub fn restore_bucket(&self, bucket: &str) {
        self.shared.objects.lock().unwrap().hide(bucket, false);
    }

    /// Opens a bucket.
    pub fn open(&self, protocol: Protocol, bucket: &str, prefix: &str) -> ObjectStoreBlobs {
        match protocol {
            Protocol::S3 => {
                let builder = AmazonS3Builder::new()
                    .with_endpoint(self.address())
                    .with_allow_http(true)
                    .with_access_key_id("id")
                    .with_secret_access_key("secret")
                    .with_bucket_name(bucket);
                ObjectStoreBlobs::s3(builder, prefix).unwrap()
            }
            Protocol::Azure => {
                let builder = MicrosoftAzureBuilder::new()
                    .with_endpoint(self.address())
                    .with_allow_http(true)
                    .with_account("account")
                    .with_access_key("c2VjcmV0")
                    .with_container_name(bucket);
                ObjectStoreBlobs::azure(builder, prefix).unwrap()
            }
            Protocol::Google => {
                let builder = GoogleCloudStorageBuilder::new()
                    .with_base_url(&self.address())
                    .with_bearer_token("token")
                    .with_config("google_allow_http".parse().unwrap(), "true")
                    .with_bucket_name(bucket);
                ObjectStoreBlobs::google(builder, prefix).unwrap()
            }
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // The listener looks up.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
    }
}

/// How long a request that is never answered is held: longer than a test waits.
const SILENCE: Duration = Duration::from_secs(20);

fn serve(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut rest = Vec::new();
    while let Some(request) = http::read(&mut stream, &mut rest)? {
        let asked = Asked {
            number: shared.number.fetch_add(1, Ordering::SeqCst),
            method: request.method.clone(),
            bucket: request.bucket().to_owned(),
            key: request.key(),
            query: request.query.clone(),
        };
        *shared.counts.lock().unwrap().entry(request.kind()).or_default() += 1;
        let latency = *shared.latency.lock().unwrap();
        let started = Instant::now();
        let script = shared.script.lock().unwrap().clone();
        let trouble = script(&asked);
        let perform = |careless| shared.objects.lock().unwrap().answer(&request, careless);
        let answer = match trouble.clone() {
            Some(Trouble::Refused(status, code)) => Answer::refusal(&request, status, code),
            Some(Trouble::RefusedFor(status, code, seconds)) => {
                Answer::refusal(&request, status, code).with("Retry-After", seconds)
            }
            Some(Trouble::DoneAndFailed(status, code)) => {
                perform(false);
                Answer::refusal(&request, status, code)
            }
            Some(Trouble::DoneAndSilent) => {
                perform(false);
                return silent(&mut stream);
            }
            Some(Trouble::Silent) => return silent(&mut stream),
            Some(Trouble::DoneAndClosed) => {
                perform(false);
                return Ok(());
            }
            Some(Trouble::Slow(time)) => {
                std::thread::sleep(time);
                perform(false)
            }
            Some(Trouble::Reordered) => shared.objects.lock().unwrap().answer_reordered(&request),
            Some(Trouble::Pending(times)) => shared.objects.lock().unwrap().answer_pending(&request, times),
            Some(Trouble::Careless) => perform(true),
            Some(Trouble::Truncated) | None => perform(false),
        };
        let moved = (request.body.len() + answer.body.len()) as u64;
        let moving = moved.saturating_mul(1_000_000).checked_div(shared.rate.load(Ordering::SeqCst)).unwrap_or(0);
        std::thread::sleep((latency + Duration::from_micros(moving)).saturating_sub(started.elapsed()));
        let mut bytes = answer.bytes(&request);
        if trouble == Some(Trouble::Truncated) {
            bytes.truncate(bytes.len() - answer.body.len() / 2 - 1);
            stream.write_all(&bytes)?;
            return Ok(());
        }
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// Holds the connection until the client closes it.
fn silent(stream: &mut TcpStream) -> std::io::Result<()> {
    use std::io::Read;
    stream.set_read_timeout(Some(SILENCE))?;
    let _ = stream.read(&mut [0; 1]);
    Ok(())
}
