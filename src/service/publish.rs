//! Publishing: a disk becomes a version.
//!
//! Intent first, then bytes, then publish: the upload is announced before its first pack, the version exists only when
//! all of it is stored, and an upload that is given up is closed in the catalog before its packs are removed.

use std::future::IntoFuture;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::checks;
use super::session::Session;
use crate::catalog::{Event, ImageContent, State, UploadName, VersionRecord};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::import::{Import, ImportStats, Imported, OpenDisk};
use crate::image::manifest::Manifest;
use crate::image::{DiskSource, Slot, UploadId};
use crate::model::{
    DataDiskImage, DiskImage, ImageVersion, ImageVersionId, PublishingProfile, Region, StorageProfile, Tags,
};
use crate::progress::{OnProgress, Progress};

/// A version to publish: where it belongs, where it goes, and its disks.
#[derive(Debug)]
pub struct NewImageVersion {
    id: ImageVersionId,
    location: Region,
    publishing_profile: PublishingProfile,
    os_disk: DiskSource,
    data_disks: Vec<(u32, DiskSource)>,
    tags: Tags,
}

impl NewImageVersion {
    /// A version with an OS disk. `location` is its source region: the disk is imported there, and it must be among the
    /// target regions.
    pub fn new(
        id: ImageVersionId,
        location: Region,
        publishing_profile: PublishingProfile,
        os_disk: DiskSource,
    ) -> Self {
        Self { id, location, publishing_profile, os_disk, data_disks: Vec::new(), tags: Tags::default() }
    }

    /// Adds a data disk with its logical unit number.
    #[must_use]
    pub fn with_data_disk(mut self, lun: u32, disk: DiskSource) -> Self {
        self.data_disks.push((lun, disk));
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }
}

/// A version that was published.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Published {
    /// The version.
    pub version: ImageVersion,
    /// What its disks hold.
    pub content: ImageContent,
    /// What importing them took.
    pub import: ImportReport,
}

/// What an import read and stored, over all disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Bytes read from the disks; holes are not read.
    pub read_bytes: u64,
    /// Chunks that were not stored before.
    pub new_chunks: u64,
    /// The bytes that these take.
    pub new_bytes: u64,
    /// The bytes that the new part of the index takes.
    pub new_index_bytes: u64,
    /// The bytes of the packs that were sent to the store; less than the new ones when an interrupted import was taken
    /// up again.
    pub sent_bytes: u64,
}

impl From<ImportStats> for ImportReport {
    fn from(stats: ImportStats) -> Self {
        Self {
            read_bytes: stats.read_bytes,
            new_chunks: stats.new_chunks,
            new_bytes: stats.new_chunk_bytes,
            new_index_bytes: stats.new_index_bytes,
            sent_bytes: stats.sent_bytes,
        }
    }
}

/// A version on its way: await it. Dropping it stops it; publishing the same disk again then takes it up where it
/// stopped.
#[must_use = "nothing is published before it is awaited"]
pub struct Publishing {
    session: Session,
    new: NewImageVersion,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publishing({})", self.new.id)
    }
}

impl Session {
    /// Imports disks into the source region and publishes them as a version. Replicate it then to its other replicas
    /// and regions: [`replicate`](Self::replicate).
    ///
    /// # Errors
    ///
    /// Before any byte moves: `Invalid` (all problems at once), `NotFound` without the definition, `AlreadyExists`,
    /// `LimitReached`, `Corrupt` or `Unsupported` for a disk file that is not what it is said to be, `Unavailable`.
    /// Later: those of reading the disk and of the store, and `Conflict` where another process was faster. Whatever
    /// fails, no half version is left, and the packs already stored are removed (where the store still answers).
    pub fn publish(&self, new: NewImageVersion) -> Publishing {
        Publishing { session: self.clone(), new, on_progress: Box::new(|_| {}) }
    }
}

impl Publishing {
    /// Is told how much of the disks is done, about once per MiB.
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }
}

impl IntoFuture for Publishing {
    type Output = Result<Published>;
    type IntoFuture = BoxFuture<'static, Result<Published>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.session.publish_now(self.new, self.on_progress).await })
    }
}

/// An upload under way.
struct Upload {
    name: UploadName,
    /// Whether an earlier attempt announced it.
    resumed: bool,
}

impl Session {
    async fn publish_now(&self, new: NewImageVersion, on_progress: OnProgress) -> Result<Published> {
        let parts = &self.parts;
        let NewImageVersion { id, location, publishing_profile, os_disk, data_disks, tags } = new;
        checks::place_for_version(&*self.state().await?, &parts.limits, &id, &location)?;
        let disks = self.open_disks(os_disk, data_disks).await?;
        let profile = publishing_profile.with_published_date(parts.clock.now());
        let version = ImageVersion::new(id, location, profile, storage_profile(&disks)?)?.with_tags(tags);
        checks::version_fits(&version, &parts.limits, &parts.regions)?;

        let slot = parts.regions.slot(version.location(), 0)?;
        let base = self.base_for(&version, &slot).await?;
        let mut upload = self.announce(&version, true).await?;
        loop {
            let again = disks.iter().map(OpenDisk::again).collect();
            let attempt = self.import(&version, &slot, base.as_ref(), &upload, again, &on_progress).await;
            let error = match attempt {
                Ok(Some(published)) => return Ok(published),
                // The disk has changed since the attempt that announced the upload: it gets one of its own.
                Ok(None) => {
                    upload = self.announce(&version, false).await?;
                    continue;
                }
                Err(error) => error,
            };
            // An unknown outcome may be a success: nothing is cleaned up after it.
            if error.kind() != ErrorKind::Unknown {
                // The first failure is the one to tell; what can't be removed now is left to collection.
                let _ = self.abandon(&slot, upload.name).await;
            }
            return Err(error);
        }
    }

    /// Opens the disks; headers and sizes are checked here.
    async fn open_disks(&self, os_disk: DiskSource, data_disks: Vec<(u32, DiskSource)>) -> Result<Vec<OpenDisk>> {
        let mut data_disks = data_disks;
        data_disks.sort_by_key(|(lun, _)| *lun);
        let sources =
            std::iter::once((None, os_disk)).chain(data_disks.into_iter().map(|(lun, disk)| (Some(lun), disk)));
        let mut disks = Vec::new();
        for (lun, source) in sources {
            let target = source.target().to_owned();
            let disk = self.parts.workers.run(move || source.open()).await?;
            disks.push(OpenDisk { lun, disk, target });
        }
        Ok(disks)
    }

    /// The version to compare with: the one before it, else the highest that there is, if its chunks are in the slot
    /// that this one goes to.
    async fn base_for(&self, version: &ImageVersion, slot: &Slot) -> Result<Option<(ImageVersionId, Manifest)>> {
        let state = self.state().await?;
        let here = |record: &&Arc<VersionRecord>| record.version.location() == version.location();
        let all = || state.versions(version.id().definition()).rev().filter(here);
        let before = all().find(|record| record.version.id().number() < version.id().number());
        let Some(base) = before.or_else(|| all().next()) else { return Ok(None) };
        let manifest = slot.read_manifest(&base.content.manifest).await?;
        Ok(Some((base.version.id().clone(), manifest)))
    }

    /// Announces an upload, or finds one that an earlier attempt has announced, if that will do.
    async fn announce(&self, version: &ImageVersion, adopt: bool) -> Result<Upload> {
        let new = UploadName(UploadId::from_bytes(self.parts.draw()?));
        let (id, region, parts) = (version.id().clone(), version.location().clone(), self.parts.clone());
        let check = move |state: &State| {
            checks::place_for_version(state, &parts.limits, &id, &region)?;
            if adopt && state.upload_of(&id, &region).is_some() {
                return Ok(Vec::new());
            }
            Ok(vec![Event::UploadStarted { upload: new, version: id.clone(), region: region.clone() }])
        };
        let state = self.parts.catalog.commit(&self.caller, check).await?;
        let announced = if state.is_open(new) { Some(new) } else { state.upload_of(version.id(), version.location()) };
        let name = announced.ok_or_else(|| closed(version.id()))?;
        Ok(Upload { name, resumed: name != new })
    }

    /// Imports and publishes; `None` where the disk is not the one that the upload began with.
    async fn import(
        &self,
        version: &ImageVersion,
        slot: &Slot,
        base: Option<&(ImageVersionId, Manifest)>,
        upload: &Upload,
        disks: Vec<OpenDisk>,
        on_progress: &OnProgress,
    ) -> Result<Option<Published>> {
        let import = Import {
            slot,
            workers: &self.parts.workers,
            upload: upload.name.0,
            resumed: upload.resumed,
            base: base.map(|(_, manifest)| manifest),
            on_progress,
        };
        let (manifest, stats) = match import.run(disks).await? {
            Imported::Done(manifest, stats) => (manifest, stats),
            Imported::Differs => return Ok(None),
        };
        let (digest, bytes) = manifest.encode()?;
        slot.put_manifest(&digest, bytes).await?;
        // ORDER: all of it is durable before a commit says that it is there.
        slot.persist([upload.name.0]).await?;
        let os_disk_digest = manifest.disks.first().map(|disk| disk.digest).ok_or_else(|| closed(version.id()))?;
        let content = ImageContent { manifest: digest, os_disk_digest, stored_bytes: manifest.stored_bytes() };
        let base = base.map(|(id, _)| id.clone());
        self.record(version.clone(), content.clone(), upload.name, base).await?;
        Ok(Some(Published { version: version.clone(), content, import: stats.into() }))
    }

    /// The commit that makes the version exist.
    async fn record(
        &self,
        version: ImageVersion,
        content: ImageContent,
        upload: UploadName,
        base: Option<ImageVersionId>,
    ) -> Result<()> {
        let parts = self.parts.clone();
        let check = move |state: &State| {
            let id = version.id();
            checks::place_for_version(state, &parts.limits, id, version.location())?;
            // The upload owns the new packs and the base the old ones: without either, packs may be on their way out.
            if !state.is_open(upload) || base.as_ref().is_some_and(|base| state.version(base).is_none()) {
                return Err(closed(id));
            }
            let mut events = vec![Event::ImageVersionPublished { version: version.clone(), content: content.clone() }];
            let region = version.location();
            if version.publishing_profile().replicas_in(region) == Some(1) {
                events.push(Event::RegionCompleted { version: id.clone(), region: region.clone(), replicas: 1 });
            }
            Ok(events)
        };
        self.parts.catalog.commit(&self.caller, check).await.map(drop)
    }

    /// Gives an upload up: first in the catalog, so that nobody can publish it, then its packs go.
    async fn abandon(&self, slot: &Slot, upload: UploadName) -> Result<()> {
        let check = move |state: &State| match state.is_open(upload) {
            true => Ok(vec![Event::UploadAbandoned { upload }]),
            // Published after all, or given up by another: not ours to clean up.
            false => Err(Error::not_found("upload", "the upload is over already")),
        };
        self.parts.catalog.commit(&self.caller, check).await?;
        slot.remove_upload(upload.0).await
    }
}

fn closed(id: &ImageVersionId) -> Error {
    let what = "another process gave up this upload, or deleted the version that it builds on: publish again";
    Error::new(Problem::new(ErrorKind::Conflict, "OperationNotAllowed", id.to_string(), what))
}

fn storage_profile(disks: &[OpenDisk]) -> Result<StorageProfile> {
    let os_disk = disks.iter().find(|disk| disk.lun.is_none()).map_or(0, |disk| disk.disk.size());
    let data_disks =
        disks.iter().filter_map(|disk| Some(DataDiskImage::new(disk.lun?, DiskImage::new(disk.disk.size()))));
    StorageProfile::new(DiskImage::new(os_disk), data_disks.collect())
}
