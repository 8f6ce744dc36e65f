//! Deploying: a version's disk, written out from one of its replicas.

use std::io::Write;
use std::path::Path;

use super::image_ref::{ImageRef, Named};
use super::pool::{Deployable, deployable};
use super::reader::ImageReader;
use crate::content::digest::Digest;
use crate::content::manifest::{Manifest, ManifestDisk};
use crate::disk::ending::Ending;
use crate::disk::format::DiskFormat;
use crate::disk::note::{DiskNote, notes_when_written};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::export::Export;
use crate::image::random_access::RandomAccess;
use crate::model::{ImageDefinitionId, ImageVersionId, Region, ResourceId};
use crate::placement::{Lease, PlacementRequest, Pool, ReplicaId};
use crate::progress::{OnProgress, Progress};
use crate::replica::holders::Holders;
use crate::replica::slot::Slot;
use crate::service::read::shared::not_shared;
use crate::service::read::view::CatalogView;
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::session::Session;

/// A deployment to be made: of the OS disk, as raw, unless it is told otherwise.
///
/// Every chunk's hash is checked before it is written, and the whole against the digest that was published. What one replica
/// has damaged or lost is taken from another, of the region or of another region, and the damaged one is mended.
#[must_use = "nothing is written before `to_path` or `to_writer`"]
pub struct Deployment {
    session: Session,
    image: Named,
    region: Region,
    lun: Option<u32>,
    replica: Option<ReplicaId>,
    format: DiskFormat,
    sync: bool,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deployment({:?} in {})", self.image, self.region)
    }
}

/// What was deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployed {
    /// The digest of the disk's content, which every written byte was checked against.
    pub digest: Digest,
    /// The size of the disk in bytes.
    pub virtual_size: u64,
    /// The replica that served it.
    pub replica: u32,
    /// How many packs were found damaged, served by another replica, and mended.
    pub mended_packs: usize,
    /// What the owner of the file will want to know of it.
    pub notes: Vec<DiskNote>,
}

impl Session {
    /// Deploys a disk of `image` from `region`, where it must be complete.
    ///
    /// An image is a version, a definition (its latest version there), a managed image or a snapshot, by its id; or an image
    /// that another gallery shares, by its [`PublicImageId`](crate::PublicImageId).
    pub fn deploy(&self, image: impl Into<ImageRef>, region: &Region) -> Deployment {
        Deployment::new(self, image.into().0, region)
    }
}

impl Session {
    /// The replicas of an image in a region and what they are doing, for this process: the pool that deployments take their
    /// replica from. By it a host places VMs and scale sets itself, waits in a queue, or looks on.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` where it can't be deployed there; `Unavailable`, `Corrupt`.
    pub async fn pool(&self, image: impl Into<ResourceId>, region: &Region) -> Result<Pool> {
        let (view, image) = (self.refresh().await?, image.into());
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
    fn new(session: &Session, image: Named, region: &Region) -> Self {
        Self {
            session: session.clone(),
            image,
            region: region.clone(),
            lun: None,
            replica: None,
            format: DiskFormat::Raw,
            sync: true,
            on_progress: Box::new(|_| {}),
        }
    }

    pub(crate) fn of_latest(
        session: &Session,
        definition: ImageDefinitionId,
        version: ImageVersionId,
        region: &Region,
    ) -> Self {
        Self::new(session, Named::Latest(definition, version), region)
    }

    /// The data disk with that logical unit number, instead of the OS disk.
    pub fn data_disk(mut self, lun: u32) -> Self {
        self.lun = Some(lun);
        self
    }

    /// Reads from that replica first, of which the caller holds a lease from the image's [pool](Session::pool): for scale
    /// sets, queues and strategies of your own. Without it the deployment takes a VM's share of the replica with the least
    /// to do, throttled where all are full. That a lease is held is the host's to see to: it is a matter of load, not of access,
    /// which is decided all the same.
    pub fn on_replica(mut self, replica: ReplicaId) -> Self {
        self.replica = Some(replica);
        self
    }

    /// The format to write: [`Raw`](DiskFormat::Raw), or [`Vhd`](DiskFormat::Vhd) for a fixed VHD.
    pub fn format(mut self, format: DiskFormat) -> Self {
        self.format = format;
        self
    }

    /// Whether a file is durable before its deployment is done: by default it is, so that a power cut leaves no file or all of
    /// it. With `false` it may leave a file with holes where data was, which is quicker and enough for a file that does not
    /// outlive the machine's run; the image itself is safe in the gallery either way.
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Is told how much of the disk is done, about once for 2 MiB.
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }

    /// Writes a file; an old one of that name is replaced when the new one is whole. Its zeros are holes. Dropping the
    /// future stops it and leaves no file. Until it is whole it is beside its place, as `<name>.partial-<16 digits>`; what a
    /// killed process leaves of that goes with the next deployment to the same path.
    ///
    /// # Errors
    ///
    /// `NotFound` without the version, or where it is not complete in the region; `Invalid` without the data disk; `Conflict`
    /// where something that is not a regular file is in the way, or another deployment writes the same disk to the same path;
    /// `Unknown` where the file is there and its directory could not be synced; `Corrupt` where every replica is damaged; `StorageFull`;
    /// `Unavailable`.
    pub async fn to_path(self, path: impl AsRef<Path>) -> Result<Deployed> {
        let source = self.source().await?;
        let ending = self.ending(&source.disk)?;
        source.export(&self).to_path(path.as_ref(), ending, self.sync).await?;
        Ok(source.deployed(&self).await)
    }

    /// Writes to a writer, zeros and all, and gives it back. It is written to on a worker's thread.
    ///
    /// # Errors
    ///
    /// As [`to_path`](Self::to_path); after an error the writer has been written to in part.
    pub async fn to_writer<W: Write + Send + 'static>(self, writer: W) -> Result<(Deployed, W)> {
        let source = self.source().await?;
        let ending = self.ending(&source.disk)?;
        let writer = source.export(&self).to_writer(writer, ending).await?;
        Ok((source.deployed(&self).await, writer))
    }

    /// Opens the disk to be read where it lies, without writing it out. Access is decided now: a right that is
    /// taken away later does not close the reader, as it would not take back a copy.
    ///
    /// # Errors
    ///
    /// As [`to_path`](Self::to_path).
    pub async fn open(self) -> Result<ImageReader> {
        let Source { replicas, disk, lease, .. } = self.source().await?;
        let inner = &self.session.inner;
        let disk = RandomAccess::new(replicas, disk, inner.workers.clone(), inner.chunks.clone());
        Ok(ImageReader::new(disk, lease))
    }

    fn ending(&self, disk: &ManifestDisk) -> Result<Ending> {
        let inner = &self.session.inner;
        Ending::of(self.format, disk.size, inner.clock.now().timestamp(), inner.draw()?)
    }

    /// Where to read from: the replica that was chosen, then the others of the region, then those of other regions.
    fn slots(&self, view: &CatalogView, id: &ResourceId, chosen: u32, placed: &Deployable) -> Result<Vec<Slot>> {
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
        if let ResourceId::ImageVersion(id) = id {
            let elsewhere = regions.holders(view.state(), view.record(id)?);
            slots.extend(
                elsewhere
                    .into_iter()
                    .filter(|slot| !slots.iter().any(|one| one.label() == slot.label()))
                    .collect::<Vec<_>>(),
            );
        }
        Ok(slots)
    }

    /// Returns what it would read: the disk of which image version, from how many replicas. No replica is taken for it.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog or the manifest cannot be read. What stands against the deployment is in the
    /// plan.
    pub async fn plan(&self) -> Result<Plan> {
        let view = self.session.refresh().await?;
        let planned = async {
            let id = self.named(&view)?;
            let placed = deployable(&view, &id, &self.region)?;
            let holders = Holders::new(self.slots(&view, &id, 0, &placed)?);
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
                // By a definition, the right to see it is needed; by a version, that to see the version.
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
            let advice = format!("`{id}` has no data disk with LUN `{}`.", self.lun.unwrap_or_default());
            Error::new(problem.with_advice(advice))
        })?;
        Ok(disk.clone())
    }

    /// The replica to read from.
    async fn source(&self) -> Result<Source> {
        let view = self.session.refresh().await?;
        match &self.image {
            // Whether it is shared is told as it is; what is wrong behind that is the owner's.
            Named::Public(_) => self.source_of(&view, self.named(&view)?).await.map_err(|error| self.told(error)),
            _ => self.source_of(&view, self.named(&view)?).await,
        }
    }

    async fn source_of(&self, view: &CatalogView, id: ResourceId) -> Result<Source> {
        let placed = deployable(view, &id, &self.region)?;
        let lease = match self.replica {
            Some(_) => None,
            None => Some(
                self.session.inner.pool(&id, &self.region, &placed).place(PlacementRequest::vm().with_throttling())?,
            ),
        };
        let chosen = lease.as_ref().map(Lease::replica).or(self.replica).map_or(0, |replica| replica.number());
        let replicas = Holders::new(self.slots(view, &id, chosen, &placed)?);
        let manifest = replicas.manifest(&placed.content.manifest_id()).await?;
        let disk = self.disk_of(&id, &manifest)?;
        Ok(Source { replicas, manifest, disk, chosen, lease })
    }
}

/// A disk in the slot that serves it.
struct Source {
    replicas: Holders,
    manifest: Manifest,
    disk: ManifestDisk,
    chosen: u32,
    lease: Option<Lease>,
}

impl Source {
    fn export<'a>(&'a self, deployment: &'a Deployment) -> Export<'a> {
        Export {
            holders: &self.replicas,
            workers: &deployment.session.inner.workers,
            disk: &self.disk,
            on_progress: &deployment.on_progress,
        }
    }

    /// What was deployed; replicas that were found damaged meanwhile are mended first.
    async fn deployed(&self, deployment: &Deployment) -> Deployed {
        let mended_packs = self.replicas.mend(&self.manifest, &deployment.session.inner.workers).await;
        let (digest, virtual_size) = (self.disk.digest, self.disk.size);
        let notes = notes_when_written(deployment.format, virtual_size);
        Deployed { digest, virtual_size, replica: self.chosen, mended_packs, notes }
    }
}
