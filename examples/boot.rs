//! A VM boots from the gallery without a copy: serves an image as a network block device, until it is killed.
//!
//! `-- --store DIR --image IMAGE_ID[/versions/N] --region R --socket PATH` (or `--tcp 127.0.0.1:10809`). With `--overlay VM.qcow2` it makes
//! a file for one VM's writes, on top of the served disk. `docs/hypervisors.md` has what to type then.
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    let store = Watched { store, far, requests: Arc::default() };
    if counts {
        tell_requests(store.requests.clone());
    }
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
    requests: Arc<AtomicU64>,
}

impl Watched {
    async fn ask(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !self.far.is_zero() {
            async_io::Timer::after(self.far).await;
        }
    }
}

#[async_trait]
impl BlobStore for Watched {
    async fn put(&self, key: &BlobKey, bytes: Bytes, mode: PutMode) -> StoreResult<()> {
        self.ask().await;
        self.store.put(key, bytes, mode).await
    }

    async fn get(&self, key: &BlobKey, range: Option<Range<u64>>) -> StoreResult<Bytes> {
        self.ask().await;
        self.store.get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> StoreResult<BlobMeta> {
        self.ask().await;
        self.store.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> StoreResult<()> {
        self.ask().await;
        self.store.delete(key).await
    }

    async fn list(&self, under: Option<&BlobKey>, after: Option<&BlobKey>, limit: usize) -> StoreResult<Page> {
        self.ask().await;
        self.store.list(under, after, limit).await
    }

    async fn persist(&self, under: &BlobKey) -> StoreResult<()> {
        self.store.persist(under).await
    }

    fn capabilities(&self) -> Capabilities {
        let near = self.store.capabilities();
        if self.far.is_zero() { near } else { near.with_latency(Latency::High) }
    }
}

/// Tells on standard error how many requests there were, each second that has some.
fn tell_requests(requests: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut told = 0;
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = requests.load(Ordering::Relaxed);
            if now != told {
                eprintln!("requests: {now}");
                told = now;
            }
        }
    });
}
