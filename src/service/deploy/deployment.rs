//! Deployments: the disk of an image, written out from one of its replicas.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use futures::io::{AsyncWrite, AsyncWriteExt};

use super::boots::{Boots, may_record};
use super::image_ref::{ImageRef, Named};
use super::pool::{Deployable, deployable};
use super::reader::{ImageReader, Opened};
use crate::content::digest::Digest;
use crate::content::manifest::{Manifest, ManifestDisk};
use crate::content::names::{FamilyId, PackId};
use crate::disk::device::open_device;
use crate::disk::format::WrittenFormat;
use crate::disk::layout::Layout;
use crate::disk::note::{DiskNote, notes_when_written};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::export::Export;
use crate::image::random_access::RandomAccess;
use crate::model::{ImageDefinitionId, ImageVersionId, Region, ResourceId, given};
use crate::placement::{Lease, PlacementRequest, Pool, ReplicaId};
use crate::progress::{OnProgress, Progress};
use crate::replica::holders::{Holders, is_damage};
use crate::replica::records::Records;
use crate::replica::slot::Slot;
use crate::service::read::shared::not_shared;
use crate::service::read::view::CatalogView;
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::session::Session;

/// What is read at a time for an asynchronous writer.
const PART_BYTES: u64 = 4 << 20;

/// A deployment that has not started. By default it writes the OS disk as raw.
///
/// Each chunk's hash is checked before it is written, and the whole disk against the published digest. A chunk that one
/// replica has damaged or lost is read from another replica, of the region or of another region, and the damaged replica is
/// mended.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::disk::DiskFormat;
///
/// let (deployed, vhd) = session.deploy(&version, "eastus").format(DiskFormat::Vhd).to_writer(Vec::new()).await?;
/// assert_eq!(deployed.virtual_size, 4096);
/// // A fixed VHD is the disk and a footer.
/// assert_eq!(&vhd[4096..4104], b"conectix");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is written before `to_path`, `to_device`, `to_writer` or `to_async_writer`"]
pub struct Deployment(Result<DeploymentWork>);

#[derive(Clone)]
struct DeploymentWork {
    session: Session,
    image: Named,
    region: Region,
    lun: Option<u32>,
    replica: Option<ReplicaId>,
    /// A share of the replica that the caller has handed over.
    lease: Option<Arc<Lease>>,
    format: WrittenFormat,
    sync: bool,
    records_boot: bool,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let image = self.0.as_ref().ok().map(|work| (&work.image, &work.region));
        f.debug_tuple("Deployment").field(&image).finish()
    }
}

/// The result of a deployment.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::image::ImageDigest;
/// use compute_gallery::testkit::raw;
///
/// let (deployed, disk) = session.deploy(&version, "eastus").to_writer(Vec::new()).await?;
/// assert_eq!(deployed.digest, ImageDigest::of(raw(disk))?);
/// assert_eq!(deployed.mended_packs, 0);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployed {
    /// The digest of the disk's content. Every written byte was checked against it, if not by this deployment then by an earlier one of the
    /// service ([`remember_verified`](crate::GalleryServiceBuilder::remember_verified)).
    pub digest: Digest,
    /// In bytes, without a VHD footer.
    pub virtual_size: u64,
    /// The number of the replica that served it, from 0.
    pub replica: u32,
    /// Packs that were found damaged, read from another replica, and mended.
    pub mended_packs: usize,
    /// Whether some of it was read in other regions, because no replica of this region had it, or answered in time: its store is away or
    /// was lost, say. A [scrub](Session::scrub) of the region fills what was lost. False for a shared image.
    pub from_other_regions: bool,
    /// Findings that the owner of the written disk should know.
    pub notes: Vec<DiskNote>,
}

/// # Deploying
impl Session {
    /// Deploys a disk of `image` from `region`, where the image must be complete.
    ///
    /// `image` is the id of a version, of a definition (its latest version in the region), of a managed image or of a
    /// snapshot, or the [`PublicImageId`](crate::PublicImageId) of an image that another gallery shares.
    ///
    /// # Errors
    ///
    /// Those of [`Deployment::to_path`], once the deployment is run.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let (deployed, disk) = session.deploy(image, "eastus").to_writer(Vec::new()).await?;
    /// assert_eq!(disk, [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn deploy(
        &self,
        image: impl TryInto<ImageRef, Error: Into<Error>>,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Deployment {
        let (image, region) = (given::<ImageRef, _>(image), given(region));
        Deployment(image.and_then(|image| Ok(DeploymentWork::new(self, image.0, region?))))
    }
}

/// # Placement
impl Session {
    /// Returns the replica pool of an image in a region, as this process uses it: deployments take their replica from it.
    /// With it a host places VMs and scale sets itself, waits in the queue, and observes the load.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` if the image cannot be deployed in the region; `Unavailable`, `Corrupt`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let pool = session.pool(&version, "eastus").await?;
    /// let lease = pool.place_vms(1)?;
    /// // Reads from the leased replica.
    /// session.deploy(&version, "eastus").on_replica(lease.replica()).to_writer(Vec::new()).await?;
    /// assert_eq!(pool.replicas().len(), 1);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn pool(
        &self,
        image: impl TryInto<ResourceId, Error: Into<Error>>,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Result<Pool> {
        let (image, region) = (given(image)?, &given(region)?);
        let view = self.refresh().await?;
        view.require_linked(&image)?;
        let id = match &image {
            ResourceId::ImageDefinition(definition) => {
                let latest = view.latest(definition, region)?;
                view.require_linked_through(definition, latest.id())?;
                latest.id().into()
            }
            other => other.clone(),
        };
        Ok(self.inner.pool(&id, region, &deployable(&view, &id, region)?))
    }
}

impl Deployment {
    pub(crate) fn of_latest(
        session: &Session,
        definition: ImageDefinitionId,
        version: ImageVersionId,
        region: &Region,
    ) -> Self {
        Self(Ok(DeploymentWork::new(session, Named::Latest(definition, version), region.clone())))
    }

    fn set(mut self, change: impl FnOnce(&mut DeploymentWork)) -> Self {
        if let Ok(work) = &mut self.0 {
            change(work);
        }
        self
    }

    /// Deploys the data disk with this logical unit number, instead of the OS disk.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let missing = session.deploy(&version, "eastus").data_disk(0).to_writer(Vec::new()).await;
    /// assert!(missing.unwrap_err().to_string().contains("no data disk with LUN `0`"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn data_disk(self, lun: u32) -> Self {
        self.set(|work| work.lun = Some(lun))
    }

    /// Reads from this replica first. The caller holds a lease of it from the image's [pool](Session::pool): for scale
    /// sets, queues and placement strategies of the host. Without it the deployment takes one VM's share of the least
    /// loaded replica, and is throttled if all are full. The lease is not checked: it distributes load, and does not decide
    /// access.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let pool = session.pool(image, "eastus").await?;
    /// let lease = pool.place_vms(1)?;
    /// let deployment = session.deploy(&version, "eastus").on_replica(lease.replica());
    /// let (deployed, _) = deployment.to_writer(Vec::new()).await?;
    /// assert_eq!(deployed.replica, lease.replica().number());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_replica(self, replica: ReplicaId) -> Self {
        self.set(|work| work.replica = Some(replica))
    }

    /// Reads from the replica of a lease first, and holds the lease for as long as the deployment takes: for as long as the disk is read, if
    /// it is [opened](Self::open). A lease for several VMs is [split](Lease::split_vm) into those of each.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let pool = session.pool(&version, "eastus").await?;
    /// let deployment = session.deploy(&version, "eastus").on_lease(pool.place_vms(1)?);
    /// let reader = deployment.open().await?;
    /// assert_ne!(pool.replicas()[0].load, 0);
    /// drop(reader);
    /// assert_eq!(pool.replicas()[0].load, 0);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_lease(self, lease: Lease) -> Self {
        self.set(|work| (work.replica, work.lease) = (Some(lease.replica()), Some(Arc::new(lease))))
    }

    /// Sets the format to write: [`Raw`](WrittenFormat::Raw) by default. A [`DiskFormat`](crate::disk::DiskFormat) says it as well: `Vhd`
    /// is a fixed one.
    ///
    /// A format that leaves zeros out (all but raw and a fixed VHD) has its tables before its data: the index of the image is read
    /// once more, and nothing else.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::disk::DiskFormat;
    ///
    /// let (_, vhd) = session.deploy(&version, "eastus").format(DiskFormat::Vhd).to_writer(Vec::new()).await?;
    /// assert_eq!(vhd.len(), 4096 + 512);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn format(self, format: impl TryInto<WrittenFormat, Error: Into<Error>>) -> Self {
        Self(self.0.and_then(|work| Ok(DeploymentWork { format: given(format)?, ..work })))
    }

    /// Sets whether a file is made durable before the deployment completes: by default it is, and a power cut leaves no
    /// file or all of it. With `false` a power cut may leave a file with holes in place of data. That is faster, and enough
    /// for a file that does not outlive the machine's run; the image in the gallery is safe either way.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let directory = tempfile::tempdir().unwrap();
    /// let path = directory.path().join("web.raw");
    /// session.deploy(&version, "eastus").sync(false).to_path(&path).await?;
    /// assert_eq!(std::fs::read(&path).unwrap(), [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn sync(self, sync: bool) -> Self {
        self.set(|work| work.sync = sync)
    }

    /// Calls `on_progress` about every 2 MiB of disk.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let written = Arc::new(AtomicU64::new(0));
    /// let told = written.clone();
    /// let deployment = session.deploy(&version, "eastus");
    /// deployment.on_progress(move |progress| told.store(progress.done, Ordering::Relaxed)).to_writer(Vec::new()).await?;
    /// assert_eq!(written.load(Ordering::Relaxed), 4096);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_progress(self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.set(|work| work.on_progress = Arc::new(on_progress))
    }

    /// Writes a file with holes in place of zeros, and replaces an existing file once the new one is whole. Dropping the
    /// future stops the deployment and leaves no file. An unfinished file is `<name>.partial-<16 digits>` in the same
    /// directory. After a kill, the next deployment of the same disk in the same format to the same path goes on with it: each chunk
    /// that is there is checked against its hash, and the others are read from the gallery. A deployment of something else removes it.
    ///
    /// # Errors
    ///
    /// - `NotFound` without the image, or if it is not complete in the region; `Forbidden`.
    /// - `Invalid` without the data disk.
    /// - `Conflict` if the path is something else than a regular file, or another deployment writes the same disk to the
    ///   same path.
    /// - `Unknown` if the file was written and its directory could not be synced.
    /// - `Corrupt` if every replica is damaged; `StorageFull`; `Unavailable`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let directory = tempfile::tempdir().unwrap();
    /// let path = directory.path().join("web.raw");
    /// session.deploy(&version, "eastus").to_path(&path).await?;
    /// assert_eq!(std::fs::read(&path).unwrap(), [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn to_path(self, path: impl AsRef<Path>) -> Result<Deployed> {
        let (work, path) = (self.0?, path.as_ref());
        let deploying = async {
            let source = work.source().await?;
            let layout = source.layout(&work).await?;
            source.export(&work, &told(&source, &work)).to_path(path, &layout, work.sync).await?;
            Ok(source.deployed(&work).await)
        };
        work.told_of(Box::pin(deploying)).await
    }

    /// Writes over a block device, such as a logical volume, as raw. Where the disk is zero, the device reads as zeros afterwards: it is
    /// discarded where that is so, or zeros are written. What the device has behind the disk stays. The device must not be in use by
    /// the system (mounted, a member of an array). After an error or a kill, its content is undefined: deploy again.
    ///
    /// # Errors
    ///
    /// As [`to_path`](Self::to_path), and `Conflict` if the path is no block device or it is in use; `Invalid` if it is smaller than the
    /// disk, or another format than raw was set.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let error = session.deploy(&version, "eastus").to_device("/dev/null").await.unwrap_err();
    /// assert!(error.to_string().contains("no block device"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn to_device(self, path: impl AsRef<Path>) -> Result<Deployed> {
        let work = self.0?;
        if work.format != WrittenFormat::Raw {
            let what = "a device takes the disk as raw, and another format is asked for: leave the format out";
            return Err(Error::invalid("format", what));
        }
        let path = path.as_ref();
        let deploying = async {
            let source = work.source().await?;
            let (device, size) = (path.to_owned(), source.disk.size);
            let device = work.session.inner.workers.run(move || open_device(&device, size)).await?;
            let layout = source.layout(&work).await?;
            source.export(&work, &told(&source, &work)).to_device(device, path, &layout, work.sync).await?;
            Ok(source.deployed(&work).await)
        };
        work.told_of(Box::pin(deploying)).await
    }

    /// Writes to `writer`, including zeros, and returns it. A worker's thread does the writing.
    ///
    /// # Errors
    ///
    /// As [`to_path`](Self::to_path). After an error, part of the disk has been written.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let (deployed, disk) = session.deploy(&version, "eastus").to_writer(Vec::new()).await?;
    /// assert_eq!(disk.len() as u64, deployed.virtual_size);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn to_writer<W: Write + Send + 'static>(self, writer: W) -> Result<(Deployed, W)> {
        let work = &self.0?;
        let deploying = async move {
            let source = work.source().await?;
            let layout = source.layout(work).await?;
            let writer = source.export(work, &told(&source, work)).to_writer(writer, &layout).await?;
            Ok((source.deployed(work).await, writer))
        };
        work.told_of(Box::pin(deploying)).await
    }

    /// Writes the disk as raw to an asynchronous writer, including zeros, and returns the result and the writer: for the body of an answer, or a socket. A writer of
    /// tokio's goes through `tokio_util::compat`. The next part is read while one is written.
    ///
    /// # Errors
    ///
    /// As [`to_path`](Self::to_path); `Invalid` if another format than raw was set. After an error, part of the disk has been written.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let (deployed, body) = session.deploy(&version, "eastus").to_async_writer(Vec::new()).await?;
    /// assert_eq!((deployed.virtual_size, body.as_slice()), (4096, [7; 4096].as_slice()));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn to_async_writer<W: AsyncWrite + Unpin>(self, mut writer: W) -> Result<(Deployed, W)> {
        let work = self.0?;
        if work.format != WrittenFormat::Raw {
            let what =
                "an asynchronous writer takes the disk as raw, and another format is asked for: leave the format out";
            return Err(Error::invalid("format", what));
        }
        let source = work.told_of(Box::pin(work.source())).await?;
        let reader = source.open(&work, None);
        let failed = |error| Error::from_io("writer", "writing the disk", error);
        let (mut at, total) = (0, reader.size());
        let part = |from: u64| from..(from + PART_BYTES).min(total);
        let mut read = reader.read_at(part(0)).await.map_err(|error| source.unread(&work, error))?;
        while at < total {
            let next = at + read.len() as u64;
            let (written, ahead) = futures::join!(writer.write_all(&read), reader.read_at(part(next)));
            written.map_err(failed)?;
            (at, read) = (next, ahead.map_err(|error| source.unread(&work, error))?);
            (work.on_progress)(Progress { done: at, total });
        }
        writer.flush().await.map_err(failed)?;
        Ok((source.deployed(&work).await, writer))
    }

    /// Notes which chunks are read first from the disk that [`open`](Self::open) returns, so that
    /// [`ImageReader::save_boot_set`] can store them for the boots to come; an `NbdServer` (feature `nbd`) does so. It has
    /// no effect on copies and data disks.
    ///
    /// The caller needs the permission to change the image
    /// ([`WriteVersion`](crate::access::Action::WriteVersion) for a version), since what is stored is read ahead by every host of the
    /// region.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 1 << 20]).await?;
    /// let reader = session.deploy(&version, "eastus").record_boot().open().await?;
    /// reader.read_at(0..4096).await?;
    /// assert!(reader.save_boot_set().await?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn record_boot(mut self) -> Self {
        if let Ok(work) = &mut self.0 {
            work.records_boot = true;
        }
        self
    }

    /// Opens the disk for reads in place, without writing it out. Access is decided now: the reader outlives a permission
    /// that is removed later, as a copy would.
    ///
    /// # Errors
    ///
    /// As [`to_path`](Self::to_path).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let reader = session.deploy(&version, "eastus").open().await?;
    /// assert_eq!(reader.size(), 4096);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn open(self) -> Result<ImageReader> {
        let work = self.0?;
        let mut source = work.told_of(Box::pin(work.source())).await?;
        let boots = source.boots.take();
        Ok(source.open(&work, boots))
    }

    /// Returns what it would read: the disk of which image version, from how many replicas. No replica is taken for it.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog or the manifest cannot be read. What stands against the deployment is in the
    /// plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let plan = session.deploy(&version, "eastus").plan().await?;
    /// assert_eq!(plan.regions[0].read_bytes, 4096);
    /// // The version has no replica there.
    /// assert!(!session.deploy(&version, "japaneast").plan().await?.is_possible());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        match &self.0 {
            Ok(work) => work.plan().await,
            Err(error) => Ok(Plan::refused(error.clone().into_problems())),
        }
    }
}

impl DeploymentWork {
    fn new(session: &Session, image: Named, region: Region) -> Self {
        Self {
            session: session.clone(),
            image,
            region,
            lun: None,
            replica: None,
            lease: None,
            format: WrittenFormat::Raw,
            sync: true,
            records_boot: false,
            on_progress: Arc::new(|_| {}),
        }
    }

    fn image_name(&self) -> String {
        match &self.image {
            Named::Id(id) => id.to_string(),
            Named::Latest(_, version) => version.to_string(),
            Named::Public(image) => image.to_string(),
        }
    }

    /// Tells of the deployment those who watch the service.
    async fn told_of<T>(&self, deploying: Pin<Box<impl Future<Output = Result<T>>>>) -> Result<T> {
        match self.session.call("deploy", || self.image_name()) {
            Some(call) => call.around(deploying).await,
            None => deploying.await,
        }
    }

    /// Returns the slots to read from: the chosen replica, then the region's others, then those of other regions. And how many are the
    /// region's.
    fn slots(
        &self,
        view: &CatalogView,
        id: &ResourceId,
        chosen: u32,
        placed: &Deployable,
    ) -> Result<(Vec<Slot>, usize)> {
        let regions = &self.session.inner.regions;
        let others = (0..placed.replicas).filter(|number| *number != chosen);
        let mut slots = Vec::new();
        for number in std::iter::once(chosen).chain(others) {
            let mut copies = regions.copies(view.state(), &self.region, number, placed.account)?;
            // Holders begin in different zones, so that each zone gets its share.
            let zones = copies.len().max(1);
            copies.rotate_left(number as usize % zones);
            slots.extend(copies);
        }
        let of_region = slots.len();
        if let ResourceId::ImageVersion(id) = id
            && !self.session.inner.within_region
        {
            let elsewhere = regions.holders(view.state(), view.record(id)?);
            slots.extend(
                elsewhere
                    .into_iter()
                    .filter(|slot| !slots.iter().any(|one| one.label() == slot.label()))
                    .collect::<Vec<_>>(),
            );
            let family = FamilyId::of(&id.definition().to_string());
            slots = slots.into_iter().map(|slot| slot.in_family(family)).collect();
        }
        Ok((slots, of_region))
    }

    async fn plan(&self) -> Result<Plan> {
        let view = self.session.refresh().await?;
        let planned = async {
            let id = self.named(&view)?;
            self.may_record(&view, &id)?;
            let placed = deployable(&view, &id, &self.region)?;
            let holders = Holders::new(self.slots(&view, &id, 0, &placed)?.0);
            let manifest = holders.manifest(&placed.content.manifest_id()).await?;
            let disk = self.disk_of(&id, &manifest)?;
            Ok(RegionPlan::read(&self.region, placed.account, placed.replicas, disk.size))
        };
        let planned = planned.await.map_err(|error: Error| self.told(error));
        match planned {
            Ok(region) => Ok(Plan { regions: vec![region], ..Plan::default() }),
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt) => Err(error),
            Err(error) => Ok(Plan::refused(error.into_problems())),
        }
    }

    /// The image that is to be deployed, which the caller may deploy.
    fn named(&self, view: &CatalogView) -> Result<ResourceId> {
        match &self.image {
            Named::Public(image) => view.resolve(image, &self.region),
            Named::Latest(definition, version) => {
                view.require_linked_through(definition, version)?;
                Ok(version.into())
            }
            Named::Id(id) => {
                // A definition needs the permission to see the definition, a version that to see the version.
                view.require_linked(id)?;
                match id {
                    ResourceId::ImageDefinition(definition) => {
                        let latest = view.latest(definition, &self.region)?;
                        view.require_linked_through(definition, latest.id())?;
                        Ok(latest.id().into())
                    }
                    other => Ok(other.clone()),
                }
            }
        }
    }

    /// An error for the caller: a consumer of a shared image is told nothing of the owner's.
    fn told(&self, error: Error) -> Error {
        let Named::Public(image) = &self.image else { return error };
        match error.kind() {
            ErrorKind::NotFound => not_shared(image),
            kind => {
                let what = "it can't be read at present: ask the gallery's owner";
                Error::of(kind, "GalleryImageNotAvailable", image.to_string(), what)
            }
        }
    }

    fn disk_of(&self, id: &ResourceId, manifest: &Manifest) -> Result<ManifestDisk> {
        let disk = manifest.disks.iter().find(|disk| disk.lun == self.lun).ok_or_else(|| {
            let problem = Problem::invalid("imageReference.lun", "The value of parameter imageReference is invalid.");
            let advice = format!(
                "`{id}` has no data disk with LUN `{}`: name the LUN of one that it has",
                self.lun.unwrap_or_default()
            );
            Error::new(problem.with_advice(advice))
        })?;
        Ok(disk.clone())
    }

    /// Requires what a recorded boot needs.
    fn may_record(&self, view: &CatalogView, id: &ResourceId) -> Result<()> {
        match &self.image {
            _ if !self.records_boot => Ok(()),
            Named::Public(image) => {
                let what = "a boot of a shared image is recorded by its owner alone: leave `record_boot` out";
                Err(Error::of(ErrorKind::Forbidden, "AuthorizationFailed", image.to_string(), what))
            }
            _ => may_record(view, id),
        }
    }

    /// The replica to read from.
    async fn source(&self) -> Result<Source> {
        let view = self.session.refresh().await?;
        // Whether it is shared is told as it is; what is wrong behind that is the owner's.
        let id = self.named(&view)?;
        self.session.inner.refused("deploy", || format!("{id} in {}", self.region))?;
        self.may_record(&view, &id)?;
        self.source_of(&view, id).await.map_err(|error| self.told(error))
    }

    async fn source_of(&self, view: &CatalogView, id: ResourceId) -> Result<Source> {
        let placed = deployable(view, &id, &self.region)?;
        let lease = match self.replica {
            Some(_) => self.lease.clone(),
            None => {
                let pool = self.session.inner.pool(&id, &self.region, &placed);
                Some(Arc::new(pool.place(PlacementRequest::vm().with_throttling())?))
            }
        };
        let chosen = lease.as_ref().map(|lease| lease.replica()).or(self.replica).map_or(0, |replica| replica.number());
        let (slots, of_region) = self.slots(view, &id, chosen, &placed)?;
        let replicas = Holders::new(slots);
        let manifest = replicas.manifest(&placed.content.manifest_id()).await?;
        let disk = self.disk_of(&id, &manifest)?;
        let content = Records::new(replicas.clone(), &manifest);
        // That of a region lies with its first replica.
        let slots = self.session.inner.regions.copies(view.state(), &self.region, 0, placed.account)?;
        let boots = Some(Boots::new(slots, placed.content.manifest_id()));
        Ok(Source { replicas, of_region, content, manifest, disk, chosen, lease, boots })
    }
}

/// Makes an error of the content one for the caller.
fn told(source: &Source, deployment: &DeploymentWork) -> impl Fn(Error) -> Error + Sync {
    |error| source.unread(deployment, error)
}

/// A disk and the slots that serve it.
struct Source {
    replicas: Holders,
    /// How many of the slots are the region's; they come first.
    of_region: usize,
    content: Records,
    manifest: Manifest,
    disk: ManifestDisk,
    chosen: u32,
    lease: Option<Arc<Lease>>,
    boots: Option<Boots>,
}

impl Source {
    fn export<'a>(&'a self, deployment: &'a DeploymentWork, told: &'a (dyn Fn(Error) -> Error + Sync)) -> Export<'a> {
        Export {
            told,
            copy_within: deployment.session.inner.copy_within,
            content: &self.content,
            workers: &deployment.session.inner.workers,
            disk: &self.disk,
            on_progress: &deployment.on_progress,
            memory: &deployment.session.inner.memory,
        }
    }

    /// The layout of the file to write.
    async fn layout(&self, deployment: &DeploymentWork) -> Result<Layout> {
        let inner = &deployment.session.inner;
        self.export(deployment, &told(self, deployment))
            .layout(deployment.format, inner.clock.now().timestamp(), inner.draw()?)
            .await
    }

    /// An error of the content, for the caller. What every replica has damaged is noted, so that no publication relies on it.
    fn unread(&self, deployment: &DeploymentWork, error: Error) -> Error {
        let (damaged, slots) = (self.replicas.take_damaged(), self.replicas.slots().len());
        let is_in_all = |pack: &PackId| (0..slots).all(|slot| damaged.contains(&(slot, *pack)));
        let packs: BTreeSet<PackId> = damaged.iter().map(|(_, pack)| *pack).filter(is_in_all).collect();
        let is_lost = !packs.is_empty() && is_damage(&error);
        if !is_lost {
            return deployment.told(error);
        }
        // Of other regions it is known only if they were asked.
        let region = (slots == self.of_region).then_some(&deployment.region);
        deployment.session.inner.regions.lost().note(region, packs);
        let what = format!(
            "no replica that was read has all of the disk, `{}` for one: scrub region `{}`, which mends from any region; if the scrub \
             reports it as damaged, publish its disk anew, in another process with `store_everything`",
            error.target(),
            deployment.region
        );
        deployment.told(Error::corrupt(deployment.image_name(), what).with_source(error))
    }

    /// Opens the disk in place.
    fn open(&self, deployment: &DeploymentWork, boots: Option<Boots>) -> ImageReader {
        let (inner, boots) = (&deployment.session.inner, boots.filter(|_| self.disk.lun.is_none()));
        let (content, disk) = (self.content.clone(), self.disk.clone());
        let disk = RandomAccess::new(content, disk, inner.workers.clone(), inner.chunks.clone());
        let disk = if deployment.records_boot { disk.record() } else { disk };
        ImageReader::new(Opened {
            disk,
            boots,
            #[cfg(feature = "nbd")]
            clock: inner.clock.clone(),
            _lease: self.lease.clone(),
        })
    }

    /// Mends replicas that were found damaged, and reports.
    async fn deployed(&self, deployment: &DeploymentWork) -> Deployed {
        let mended_packs =
            self.replicas.mend(&self.manifest, &deployment.session.inner.workers, &*deployment.session.inner).await;
        let (digest, virtual_size) = (self.disk.digest, self.disk.size);
        let notes = notes_when_written(deployment.format, virtual_size);
        // A consumer of a shared image learns nothing of the owner's stores.
        let is_own = !matches!(deployment.image, Named::Public(_));
        let from_other_regions = is_own && self.replicas.have_served_from(self.of_region);
        Deployed { digest, virtual_size, replica: self.chosen, mended_packs, from_other_regions, notes }
    }
}
