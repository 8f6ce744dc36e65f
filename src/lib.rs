//! A Shared Image Gallery (today: Azure Compute Gallery) to embed: versioned VM disk images on your own disks or buckets,
//! replicated to regions, deployed from the replica with the least to do. No service to run, no async runtime chosen for
//! you, no account anywhere.
//!
//! ```
//! use compute_gallery::disk::{DiskFormat, DiskSource};
//! use compute_gallery::image::ImageDigest;
//! use compute_gallery::model::*;
//! use compute_gallery::store::MemoryStore;
//! use compute_gallery::{GalleryService, NewImageVersion};
//!
//! # futures::executor::block_on(async {
//! // One store for everything; `FsStore` keeps it on a disk, and each region can have its own.
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
//! // It can be deployed in a region exactly when it is complete there.
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
//! # How it fits together
//!
//! - A [`GalleryService`] is built from stores: one for the catalog, one for each region, or one for all. Any number of
//!   services, in any number of processes, may work on the same stores.
//! - A [`Session`] is a caller's way in: create, [`publish`](Session::publish), [`replicate`](Session::replicate),
//!   [`deploy`](Session::deploy), [`delete`](Session::delete), [`collect`](Session::collect), [`scrub`](Session::scrub), [`history`](Session::history); and, as a [`CatalogView`],
//!   all that can be read: lists, usage, [`latest`](CatalogView::latest).
//! - Everything that changes something can be planned first: [`Change::plan`], [`Publication::plan`], [`Deletion::plan`]
//!   make the same checks and say all that is wrong, or what would happen.
//! - [`access`] is who may do it: roles that a directory of yours gives meaning to, or `allow_all`.
//! - [`placement`] chooses the replica that serves each creation, and can be used, simulated and replaced by itself.
//! - [`model`] is what exists, in Azure's terms and JSON; [`image`] is where disks come from; [`store`] is where bytes
//!   go; [`host`] is what your program supplies: clock, randomness, threads.
//! - An [`Error`] says what is wrong, where, by which rule and how to mend it, has a [kind](ErrorKind) to act on and
//!   Azure's code.
//!
//! # What it does not do yet
//!
//! An HTTP face for Azure's clients. Disks are raw or VHD; convert others first.
//!
//! # Features
//!
//! - `testkit`: for tests. The conformance suite for a store of yours, a store with injected faults, a clock that you
//!   move by hand, seeded randomness.

/// Compiles and runs the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod access;
pub mod billing;
mod catalog;
pub mod content;
pub mod disk;
mod error;
mod holes;
pub mod host;
pub mod image;
pub mod model;
pub mod placement;
mod progress;
mod regions;
mod replica;
mod replication;
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
pub use service::{change, deploy, publish, read, replicate, upkeep};
