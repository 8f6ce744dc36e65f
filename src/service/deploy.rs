//! Deploying: a version's disk, written out from one of its replicas.

use std::io::Write;
use std::path::Path;

use super::session::Session;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::export::{Ending, Export};
use crate::image::manifest::{Manifest, ManifestDisk};
use crate::image::{Digest, DiskFormat, Slot};
use crate::model::{ImageVersionId, Region};
use crate::placement::{Lease, Pool};
use crate::progress::{OnProgress, Progress};

/// A deployment to be made: of the OS disk, as raw, unless it is told otherwise.
///
/// Every chunk's hash is checked before it is written, and the whole against the digest that was published.
#[must_use = "nothing is written before `to_path` or `to_writer`"]
pub struct Deployment {
    session: Session,
    version: ImageVersionId,
    region: Region,
    lun: Option<u32>,
    format: DiskFormat,
    sync: bool,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deployment({} in {})", self.version, self.region)
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
    /// Writes out a disk of a version from a region where it is complete.
    pub fn deploy(&self, version: &ImageVersionId, region: &Region) -> Deployment {
        Deployment {
            session: self.clone(),
            version: version.clone(),
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
        let record = view.record(&self.version)?;
        let replicas = record.replicas_ready(&self.region);
        if replicas == 0 {
            let complete = record.ready_regions().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
            let what = format!(
                "The gallery image {} is not available in {} region. Please contact image owner to replicate to this \
                 region, or change your requested region. It is complete in {}.",
                self.version,
                self.region,
                if complete.is_empty() { "no region yet" } else { complete.as_str() }
            );
            let problem = Problem::new(ErrorKind::NotFound, "GalleryImageNotFound", self.version.to_string(), what);
            return Err(Error::new(problem));
        }
        let parts = &self.session.parts;
        let lease = parts.pool(&self.version, &self.region, replicas).place();
        let lease = lease.ok_or_else(|| Error::corrupt(self.version.to_string(), "it has no replica there"))?;
        let slot = parts.regions.slot(&self.region, lease.replica())?;
        let manifest: Manifest = slot.read_manifest(&record.content.manifest).await?;
        let disk = manifest.disks.into_iter().find(|disk| disk.lun == self.lun).ok_or_else(|| {
            let what = format!(
                "The value of parameter imageReference is invalid: `{}` has no data disk with LUN `{}`",
                self.version,
                self.lun.unwrap_or_default()
            );
            Error::new(Problem::new(ErrorKind::NotFound, "InvalidParameter", "imageReference.lun", what))
        })?;
        Ok(Source { slot, disk, lease })
    }
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
        Deployed { digest: self.disk.digest, virtual_size: self.disk.size, replica: self.lease.replica() }
    }
}

impl super::builder::Parts {
    /// The loads of a version's replicas in a region, kept for this process.
    fn pool(&self, version: &ImageVersionId, region: &Region, replicas: u32) -> std::sync::Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pools.entry((version.clone(), region.clone())).or_insert_with(|| Pool::new(replicas)).clone()
    }
}
