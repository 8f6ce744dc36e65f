//! Deploying: a version's disk, written out from one of its replicas.

use std::io::Write;
use std::path::Path;

use super::rules::missing;
use super::session::Session;
use super::view::CatalogView;
use crate::catalog::ImageContent;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::export::{Ending, Export};
use crate::image::manifest::{Manifest, ManifestDisk};
use crate::image::{Digest, DiskFormat, Slot};
use crate::model::{Region, ResourceId};
use crate::placement::{Lease, Request};
use crate::progress::{OnProgress, Progress};

/// A deployment to be made: of the OS disk, as raw, unless it is told otherwise.
///
/// Every chunk's hash is checked before it is written, and the whole against the digest that was published.
#[must_use = "nothing is written before `to_path` or `to_writer`"]
pub struct Deployment {
    session: Session,
    image: ResourceId,
    region: Region,
    lun: Option<u32>,
    format: DiskFormat,
    sync: bool,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deployment({} in {})", self.image, self.region)
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
}

impl Session {
    /// Writes out a disk of an image from a region where it is complete: of a version, a definition (its latest version
    /// there), a managed image or a snapshot.
    pub fn deploy(&self, image: impl Into<ResourceId>, region: &Region) -> Deployment {
        Deployment {
            session: self.clone(),
            image: image.into(),
            region: region.clone(),
            lun: None,
            format: DiskFormat::Raw,
            sync: false,
            on_progress: Box::new(|_| {}),
        }
    }
}

impl Deployment {
    /// The data disk with that logical unit number, instead of the OS disk.
    pub fn data_disk(mut self, lun: u32) -> Self {
        self.lun = Some(lun);
        self
    }

    /// The format to write: [`Raw`](DiskFormat::Raw), or [`Vhd`](DiskFormat::Vhd) for a fixed VHD.
    pub fn format(mut self, format: DiskFormat) -> Self {
        self.format = format;
        self
    }

    /// Whether a file is durable before its deployment is done. Not by default: like `cp`, which leaves it to the
    /// system; the image itself is safe in the gallery.
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
    /// future stops it and leaves no file.
    ///
    /// # Errors
    ///
    /// `NotFound` without the version or the data disk, or where the version is not complete in the region; `Conflict`
    /// where something that is not a regular file is in the way; `Corrupt` where a replica is damaged; `StorageFull`;
    /// `Unavailable`.
    pub async fn to_path(self, path: impl AsRef<Path>) -> Result<Deployed> {
        let source = self.source().await?;
        let token = u64::from_be_bytes(self.session.parts.draw()?);
        let ending = self.ending(&source.disk)?;
        source.export(&self).to_path(path.as_ref(), ending, self.sync, &format!("{token:016x}")).await?;
        Ok(source.deployed())
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
        Ok((source.deployed(), writer))
    }

    fn ending(&self, disk: &ManifestDisk) -> Result<Ending> {
        let parts = &self.session.parts;
        Ending::of(self.format, disk.size, parts.clock.now().timestamp(), parts.draw()?)
    }

    /// The replica to read from.
    async fn source(&self) -> Result<Source> {
        let view = self.session.refresh().await?;
        let id = match &self.image {
            ResourceId::ImageDefinition(definition) => view.latest(definition, &self.region)?.id().into(),
            other => other.clone(),
        };
        let (content, replicas) = place(&view, &id, &self.region)?;
        let parts = &self.session.parts;
        let lease = parts.pool(&id, &self.region, replicas).place(Request::vm().or_throttled())?;
        let slot = parts.regions.slot(&self.region, lease.replica().number())?;
        let manifest: Manifest = slot.read_manifest(&content.manifest).await?;
        let disk = manifest.disks.into_iter().find(|disk| disk.lun == self.lun).ok_or_else(|| {
            let what = format!(
                "The value of parameter imageReference is invalid: `{id}` has no data disk with LUN `{}`",
                self.lun.unwrap_or_default()
            );
            Error::new(Problem::new(ErrorKind::NotFound, "InvalidParameter", "imageReference.lun", what))
        })?;
        Ok(Source { slot, disk, lease })
    }
}

/// What an image holds, and how many replicas of it a region can deploy from.
pub(super) fn place(view: &CatalogView, id: &ResourceId, region: &Region) -> Result<(ImageContent, u32)> {
    let state = view.state();
    let (content, replicas, elsewhere) = match id {
        ResourceId::ImageVersion(id) => {
            let record = view.record(id)?;
            let elsewhere = record.ready_regions().cloned().collect();
            (Some(record.content.clone()), record.replicas_ready(region), elsewhere)
        }
        ResourceId::ManagedImage(id) => {
            let record = state.managed_image(id).ok_or_else(|| Error::new(missing(id)))?;
            let home = record.resource.location();
            (Some(record.content.clone()), u32::from(home == region), vec![home.clone()])
        }
        ResourceId::Snapshot(id) => {
            let record = state.snapshot(id).ok_or_else(|| Error::new(missing(id)))?;
            let home = record.resource.location();
            (Some(record.content.clone()), u32::from(home == region), vec![home.clone()])
        }
        _ => (None, 0, Vec::new()),
    };
    let Some(content) = content else {
        let what = "only image versions, definitions, managed images and snapshots have disks to deploy";
        return Err(Error::new(Problem::new(ErrorKind::Unsupported, "InvalidParameter", id.to_string(), what)));
    };
    if replicas == 0 {
        let complete = elsewhere.iter().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
        let what = format!(
            "The gallery image {id} is not available in {region} region. Please contact image owner to replicate to this \
             region, or change your requested region. It is complete in {}.",
            if complete.is_empty() { "no region yet" } else { complete.as_str() }
        );
        return Err(Error::new(Problem::new(ErrorKind::NotFound, "GalleryImageNotFound", id.to_string(), what)));
    }
    Ok((content, replicas))
}

/// A disk in the slot that serves it.
struct Source {
    slot: Slot,
    disk: ManifestDisk,
    lease: Lease,
}

impl Source {
    fn export<'a>(&'a self, deployment: &'a Deployment) -> Export<'a> {
        Export {
            slot: &self.slot,
            workers: &deployment.session.parts.workers,
            disk: &self.disk,
            on_progress: &deployment.on_progress,
        }
    }

    fn deployed(&self) -> Deployed {
        Deployed { digest: self.disk.digest, virtual_size: self.disk.size, replica: self.lease.replica().number() }
    }
}
