//! A VM boots from the gallery without a copy: serves an image as a network block device, until it is killed.
//!
//! `-- --store DIR --image IMAGE_ID[/versions/N] --region R --socket PATH` (or `--tcp 127.0.0.1:10809`). With `--overlay VM.qcow2` it makes
//! a file for one VM's writes, on top of the served disk. `docs/hypervisors.md` has what to type then.
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use compute_gallery::GalleryService;
use compute_gallery::deploy::ImageRef;
use compute_gallery::disk::create_overlay;
use compute_gallery::model::{Region, RegionCatalog};
use compute_gallery::nbd::NbdServer;
use compute_gallery::store::FsStore;
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
    let mut cache = 1024_u64;
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
    let service = builder.store(store).chunk_cache_bytes(cache << 20).open().await?;
    let session = service.session("boot".parse()?);
    let disk = session.deploy(image, &region).open().await?;
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
