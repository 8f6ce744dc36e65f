//! A VM boots from the gallery without a copy: serves an image as a network block device, until it is killed.
//!
//! `-- --store DIR --image IMAGE_ID[/versions/N] --region R --socket PATH` (or `--tcp 127.0.0.1:10809`). With `--overlay VM.qcow2` it makes
//! a file for one VM's writes, on top of the served disk. `docs/hypervisors.md` has what to type then.
#![allow(clippy::disallowed_methods, reason = "a program may read the clock, and start a thread")]

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use compute_gallery::GalleryService;
use compute_gallery::deploy::ImageRef;
use compute_gallery::disk::create_overlay;
use compute_gallery::model::{Region, RegionCatalog};
use compute_gallery::nbd::NbdServer;
use compute_gallery::store::{
    BlobKey, BlobMeta, BlobStore, Capabilities, FsStore, Latency, Page, PutMode, StoreResult,
};
use lexopt::ValueExt;

const USAGE: &str = "\
Serves an image of a gallery as a network block device, read-only.

usage: boot --store DIR --image ID --region R (--socket PATH | --tcp ADDR:PORT) [options]

  --store DIR       the gallery's directory
  --image ID        the id of an image definition (its latest version) or of a version
  --region R        the region to read from
  --socket PATH     listen on a Unix socket
  --tcp ADDR:PORT   listen on a port of the loopback interface
  --overlay PATH    make a qcow2 on top of the served disk, for one VM's writes
  --cache MIB       memory for verified chunks (default: 1024)
  --no-record       leave the boot set as it is: what this boot reads is not stored for the next ones
  --far MS          try a store that is far away: each of its answers takes so much longer
  --count           tell the requests to the store on standard error, each second that has some
  -h, --help        this text";

enum Listen {
    Socket(PathBuf),
    Tcp(SocketAddr),
}

fn main() {
    if let Err(error) = async_io::block_on(run()) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let (mut store, mut image, mut region, mut listen, mut overlay) = (None, None, None, None, None);
    let (mut cache, mut records, mut far, mut counts) = (1024_u64, true, Duration::ZERO, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("store") => store = Some(PathBuf::from(arguments.value()?)),
            lexopt::Arg::Long("image") => image = Some(ImageRef::try_from(arguments.value()?.string()?)?),
            lexopt::Arg::Long("region") => region = Some(arguments.value()?.string()?.parse::<Region>()?),
            lexopt::Arg::Long("socket") => listen = Some(Listen::Socket(PathBuf::from(arguments.value()?))),
            lexopt::Arg::Long("tcp") => listen = Some(Listen::Tcp(arguments.value()?.parse()?)),
            lexopt::Arg::Long("overlay") => overlay = Some(PathBuf::from(arguments.value()?)),
            lexopt::Arg::Long("cache") => cache = arguments.value()?.parse()?,
            lexopt::Arg::Long("no-record") => records = false,
            lexopt::Arg::Long("far") => far = Duration::from_millis(arguments.value()?.parse()?),
            lexopt::Arg::Long("count") => counts = true,
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                println!("{USAGE}");
                return Ok(());
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    let missing = |name: &str| format!("--{name} is missing\n{USAGE}");
    let store = FsStore::open(store.ok_or_else(|| missing("store"))?)?;
    let (image, region) = (image.ok_or_else(|| missing("image"))?, region.ok_or_else(|| missing("region"))?);
    let listen = listen.ok_or_else(|| missing("socket, or --tcp,"))?;

    let builder = GalleryService::builder().allow_all().region_catalog(RegionCatalog::azure_2026());
    let store = Watched { store, far, asked: Arc::default() };
    let asked = store.asked.clone();
    let service = builder.store(store).chunk_cache_bytes(cache << 20).open().await?;
    let session = service.session("boot".parse()?);
    let deployment = session.deploy(image, &region);
    let disk = if records { deployment.record_boot() } else { deployment }.open().await?;
    let (size, address) = (
        disk.size(),
        match &listen {
            Listen::Socket(path) => format!("nbd+unix:///?socket={}", std::path::absolute(path)?.display()),
            Listen::Tcp(address) => format!("nbd://{address}"),
        },
    );
    if let Some(overlay) = &overlay {
        create_overlay(overlay, size, &address)?;
        println!("made {}, on top of it", overlay.display());
    }
    if counts {
        tell_requests(asked, far);
    }
    println!("serving {size} bytes at {address}");
    std::io::stdout().flush()?;
    let server = NbdServer::new("", disk);
    match listen {
        Listen::Socket(path) => server.listen_unix(path).await?,
        Listen::Tcp(address) => server.listen_tcp(address).await?,
    }
    Ok(())
}

/// The store, as far away as it is told to be, with its requests counted.
#[derive(Debug)]
struct Watched {
    store: FsStore,
    far: Duration,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Debug, Default)]
struct Asked {
    requests: u64,
    under_way: u64,
    /// The times at which there was a request and none before it.
    waits: u64,
    since: Option<Instant>,
    waited: Duration,
}

impl Watched {
    async fn ask<T>(&self, request: impl Future<Output = T>) -> T {
        let change = |change: fn(&mut Asked)| change(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        change(|asked| {
            asked.requests += 1;
            asked.under_way += 1;
            if asked.under_way == 1 {
                asked.waits += 1;
                asked.since = Some(Instant::now());
            }
        });
        if !self.far.is_zero() {
            async_io::Timer::after(self.far).await;
        }
        let answer = request.await;
        change(|asked| {
            asked.under_way -= 1;
            if asked.under_way == 0 {
                asked.waited += asked.since.take().map(|since| since.elapsed()).unwrap_or_default();
            }
        });
        answer
    }
}

#[async_trait]
impl BlobStore for Watched {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.ask(self.store.put(key, bytes, mode)).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.ask(self.store.get(key, range)).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.ask(self.store.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.ask(self.store.delete(key)).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.ask(self.store.list(under, after, limit)).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.store.persist(under).await
    }

    fn capabilities(&self) -> Capabilities {
        let near = self.store.capabilities();
        if self.far.is_zero() { near } else { near.with_latency(Latency::High) }
    }
}

/// Tells on standard error how many requests there were since now, each second that has some, and how many round trips they took:
/// the times at which some were waited for, and of a store that is far away the waiting in its units.
fn tell_requests(asked: Arc<Mutex<Asked>>, far: Duration) {
    std::thread::spawn(move || {
        let state = || {
            let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            (asked.requests, asked.waits, asked.waited)
        };
        let (before, mut told) = (state(), 0);
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = state();
            let (requests, waits, waited) = (now.0 - before.0, now.1 - before.1, now.2 - before.2);
            let round_trips =
                if far.is_zero() { waits } else { waits.max((waited.as_millis() / far.as_millis()) as u64) };
            if requests != told {
                eprintln!("requests: {requests}, round trips: {round_trips}");
                told = requests;
            }
        }
    });
}
