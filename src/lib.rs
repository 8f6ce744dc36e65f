//! A Shared Image Gallery (today: Azure Compute Gallery) to embed: versioned VM disk images on your own disks, replicated to
//! regions, and deployed byte for byte from the replica with the lowest load. There is no service to run, no async runtime to
//! choose and no account to create.
//!
//! ```
//! use compute_gallery::disk::{DiskFormat, DiskSource};
//! use compute_gallery::image::ImageDigest;
//! use compute_gallery::model::*;
//! use compute_gallery::store::MemoryStore;
//! use compute_gallery::{GalleryService, NewImageVersion};
//!
//! # futures::executor::block_on(async {
//! // One store for everything. `FsStore` keeps it on a disk, and each region can have a store of its own.
//! let service = GalleryService::builder().allow_all().store(MemoryStore::new()).create().await?;
//! let session = service.session("docs".parse()?);
//!
//! // A gallery, an image definition, a version.
//! let gallery: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
//! let (home, away): (Region, Region) = ("West Europe".parse()?, "eastus".parse()?);
//! session.create_gallery(Gallery::new(gallery.clone(), home.clone())).await?;
//! let web = gallery.image("web".parse()?);
//! let identifier = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
//! let definition = ImageDefinition::new(web.clone(), home.clone(), OsType::Linux, OsState::Generalized, identifier);
//! session.create_image_definition(definition).await?;
//!
//! let disk = vec![7; 1 << 20];
//! let version = web.version("1.0.0".parse()?);
//! let profile = PublishingProfile::new("westeurope=2,eastus=1".parse()?);
//! let source = DiskSource::bytes(disk.clone(), DiskFormat::Raw);
//! let published = session.publish(NewImageVersion::new(version.clone(), home, profile, source)).await?;
//!
//! // A version can be deployed in a region exactly when it is complete there.
//! assert!(session.deploy(&version, &away).to_writer(Vec::new()).await.is_err());
//! session.replicate(&version).await?;
//! let latest = session.refresh().await?.latest(&web, &away)?;
//! let (deployed, bytes) = session.deploy(latest.id(), &away).to_writer(Vec::new()).await?;
//! assert_eq!(bytes, disk);
//! assert_eq!(deployed.digest, ImageDigest::of(DiskSource::bytes(disk, DiskFormat::Raw))?);
//! # Ok::<(), compute_gallery::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Model
//!
//! - A **gallery** holds **image definitions** (an OS, a generation, an identifier), and these hold **versions**: disks that never
//!   change once they are published. [`model`] has them in Azure's terms and JSON.
//! - A version has **target regions**, each with a number of **replicas**. [`publish`](Session::publish) imports its disks into
//!   the first replica of the source region; [`replicate`](Session::replicate) makes all others, also those of the source region;
//!   [`deploy`](Session::deploy) writes or reads a disk in a region that is complete: one that has all its replicas.
//! - Bytes lie in stores ([`store::BlobStore`]): one for the catalog and one for each region, or one for all. A version stores
//!   the chunks that the version before it in the same definition lacks. What is imported into different definitions
//!   shares none.
//! - The **catalog** is a log of commits, replayed into one immutable state. A [`CatalogView`] is such a state: it reads without I/O,
//!   and its answers agree with each other. Any number of processes may use one catalog.
//! - [`prelude`] has the types that most programs name.
//! - A [`GalleryService`] is built from stores; a [`Session`] is one caller's way into it. [`access`] decides what the caller may do.
//! - **Pending work** does nothing before it is awaited: [`Publication`], [`Replication`], [`Deployment`], [`Change`],
//!   [`Deletion`], [`Put`](change::Put), [`Completion`](publish::Completion), [`Collection`], [`Scrub`]. A
//!   [`Plan`](Change::plan) makes the same checks and reports the outcome or all problems.
//! - An [`Error`] has a [kind](ErrorKind) to act on, Azure's code and sentence, the place, and the fix.
//! - [`placement`] chooses the replica that serves a creation; it works without a service, too.
//! - [`host`] is what your program supplies: clock, randomness, worker threads.
//!
//! # Where to go from here
//!
//! | | |
//! |---|---|
//! | how do I …? | the [cookbook](docs::cookbook) |
//! | how do I test my application against it? | [tests](docs::testing) |
//! | what differs from Azure? | [differences](docs::azure_differences) |
//! | which of Azure's rules hold, and what is Azure's code for them? | the [rule book](docs::rules) |
//! | what does a crash leave at each step? | the [commit protocol](docs::commit_protocol) |
//! | which bytes and keys are on disk? | the [format](docs::format) |
//! | what do I type for QEMU, Hyper-V, Azure, VMware? | [your hypervisor](docs::hypervisors) |
//! | how fast is it, and how much memory does it take? | the [benchmarks](docs::benchmarks) |
//! | why is it as it is? | the [decisions](docs::decisions) |
//!
//! # Features
//!
//! | feature | by default | adds |
//! |---|---|---|
//! | `testkit` | off | the module `testkit`, for tests: a gallery in one line (`Sandbox`), stores with faults, a clock that the test moves, seeded randomness, and the conformance suite for a store of your own |
//! | `object-store`, `aws`, `azure`, `gcp` | off | `store::ObjectStoreBlobs`: the gallery in [buckets](docs::buckets), with a client of your own or of one service |
//! | `encryption` | off | `GalleryServiceBuilder::encryption`: content is encrypted with keys that the host wraps, by `ring` |
//! | `arm` | off | the module `arm`: Azure's wire protocol, for a web server of yours |
//! | `serve` | off | the module `serve`: a small server for it, with https and a proxy |
//! | `blocking` | off | `blocking::Wait`: every operation for programs without async |
//! | `tracing` | off | a span for each piece of work; `host::Metrics` needs no feature |
//! | `nbd` | off | the module `nbd`: a block device server, from which a hypervisor boots without a copy (2 more crates) |

/// Compiles and runs the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod access;
#[cfg(feature = "arm")]
pub mod arm;
pub mod billing;
#[cfg(feature = "blocking")]
pub mod blocking;
pub mod cache;
mod catalog;
pub mod content;
pub mod disk;
#[cfg(doc)]
pub mod docs;
mod error;
mod holes;
pub mod host;
pub mod image;
pub mod keys;
pub mod model;
#[cfg(feature = "nbd")]
pub mod nbd;
mod persistent_map;
pub mod placement;
pub mod prelude;
mod progress;
mod regions;
mod replica;
mod replication;
#[cfg(feature = "serve")]
pub mod serve;
mod service;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use access::Caller;
pub use error::{Error, ErrorKind, Problem, Result};
pub use progress::Progress;
pub use service::change::{Change, Deletion, Plan};
pub use service::deploy::{Deployment, ImageReader, ImageRef};
pub use service::publish::{ImageSource, NewImageVersion, Publication, Published};
pub use service::read::{CatalogView, PublicImageId};
pub use service::replicate::{Replication, ReplicationStatus};
pub use service::session::{GalleryService, GalleryServiceBuilder, Session};
pub use service::upkeep::{Collection, Scrub};
pub use service::{change, deploy, drive, publish, read, replicate, upkeep};
