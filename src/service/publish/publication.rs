//! Publishing: disks become a version, a managed image or a snapshot.
//!
//! Intent first, then bytes, then publish: the upload is announced before its first pack, the image exists only when all
//! of it is stored, and an upload that is given up is closed in the catalog before its packs are removed. An image of one that
//! is stored is that one's content: nothing is sent, so nothing is announced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::lock::Mutex;

use super::new::{NewImageVersion, NewManagedImage, NewSnapshot};
use super::report::{ImportReport, Published};
use super::source::{ImageSource, LocalDisks, Source, SourceState, StoredSource};
use super::target::{ManagedImageTarget, SnapshotTarget, Target, VersionTarget};
use crate::catalog::{Changes, Event, ImageContent, State, StoreName, UploadName, VersionRecord};
use crate::content::digest::Digest;
use crate::content::extents::Extents;
use crate::content::manifest::{Manifest, ManifestDisk};
use crate::content::names::{CatalogId, ManifestId, PackId, UploadId};
use crate::content::pack::PackInfo;
use crate::disk::source::OpenSource;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::host::in_flight::all_of;
use crate::image::import::{Import, Imported, Learned, OpenDisk};
use crate::image::scan::Scan;
use crate::model::{
    CarriedIdentity, DataDiskImage, DiskImage, ImageVersion, ImageVersionId, ManagedImage, ResourceId, Snapshot,
    StorageAccountType, StorageProfile,
};
use crate::progress::{OnProgress, Progress};
use crate::regions::stores::another_store;
use crate::replica::copies::ZoneCopies;
use crate::replica::holders::{Holders, is_damage};
use crate::service::rules::refusals::deleting;
use crate::service::session::call::Call;
use crate::service::session::inner::Inner;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::rights::{Need, write_action};
use crate::service::session::session::Session;

/// A publication that has not started. Await it to run it, or call [`plan`](Self::plan) first.
///
/// Dropping it stops it. Publishing the same disk again continues where it stopped.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::testkit::raw;
///
/// let publication = session.publish(sandbox.new_version("1.0.0", "westeurope", raw(vec![7; 4096])));
/// assert!(publication.plan().await?.is_possible());
/// let published = publication.await?;
/// assert_eq!(published.resource.id(), &sandbox.version("1.0.0"));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is published before it is awaited"]
pub struct Publication<T: Send + 'static>(Pending<PublicationWork<T>>);

pub(super) struct PublicationWork<T> {
    pub(super) session: Session,
    pub(super) target: Arc<dyn Target<Resource = T>>,
    pub(super) source: Source,
    pub(super) needs: Vec<Need>,
    pub(super) disks: Arc<Mutex<Disks>>,
    pub(super) on_progress: OnProgress,
    /// Whether chunks that are there already are stored again.
    pub(super) stores_everything: bool,
}

impl<T> Clone for PublicationWork<T> {
    fn clone(&self) -> Self {
        Self {
            session: self.session.clone(),
            target: self.target.clone(),
            source: self.source.clone(),
            needs: self.needs.clone(),
            disks: self.disks.clone(),
            on_progress: self.on_progress.clone(),
            stores_everything: self.stores_everything,
        }
    }
}

/// Disks to import; opened at the latest when they are read.
pub(super) enum Disks {
    Closed(LocalDisks),
    Open(Vec<OpenDisk>),
    /// One can't be opened, as was found out before.
    Failed(Error),
    /// Nothing is imported.
    None,
}

impl<T: Send + 'static> std::fmt::Debug for Publication<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Publication").field(&self.0.work().map(|work| work.target.id())).finish()
    }
}

/// # Publishing
impl Session {
    /// Publishes a version: imports its disks into the source region, or takes them from where they are there already.
    /// Replicate it then to its other replicas and regions: [`replicate`](Self::replicate).
    ///
    /// # Errors
    ///
    /// Before any byte moves: `Invalid`, `Conflict` where the source does not match the definition (all problems at
    /// once), `NotFound` without the definition or the source, `AlreadyExists`, `LimitReached`, `Corrupt` or
    /// `Unsupported` for a disk file that is not what it is said to be, `Unavailable`. Later: those of reading the disk
    /// and of the store, and `Conflict` where another process was faster, or a disk changed while it was read. Whatever fails, no half version is left. What is
    /// stored already is kept where publishing again can succeed: that takes it up and sends what is missing; a
    /// [collection](Self::collect) removes it when nobody has for a week. After a refusal it is removed at once.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::NewImageVersion;
    /// use compute_gallery::disk::{DiskFormat, DiskSource};
    /// use compute_gallery::model::PublishingProfile;
    ///
    /// let id = sandbox.image().version("1.0.0".parse()?);
    /// let profile = PublishingProfile::new("westeurope=1,eastus=2".parse()?);
    /// let disk = DiskSource::bytes(vec![7; 4096], DiskFormat::Raw);
    /// let published = session.publish(NewImageVersion::new(id, "westeurope".parse()?, profile, disk)).await?;
    /// assert_eq!(published.resource.storage_profile().os_disk_image().size_in_bytes(), 4096);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn publish(&self, new: NewImageVersion) -> Publication<ImageVersion> {
        let (target, source) = VersionTarget::new(new);
        self.publication(Arc::new(target), source)
    }

    /// Creates a managed image: imports its disks into its region.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::{ManagedImageId, OsType};
    /// use compute_gallery::publish::NewManagedImage;
    /// use compute_gallery::testkit::raw;
    ///
    /// let id = ManagedImageId::new("dev".parse()?, "images".parse()?, "golden".parse()?);
    /// let new = NewManagedImage::new(id.clone(), "westeurope".parse()?, OsType::Linux, raw(vec![7; 4096]));
    /// session.create_managed_image(new).await?;
    /// let (_, disk) = session.deploy(&id, "westeurope").to_writer(Vec::new()).await?;
    /// assert_eq!(disk, [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn create_managed_image(&self, new: NewManagedImage) -> Publication<ManagedImage> {
        let (target, source) = ManagedImageTarget::new(new);
        self.publication(Arc::new(target), source)
    }

    /// Creates a snapshot: imports a disk into its region.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::SnapshotId;
    /// use compute_gallery::publish::{NewSnapshot, SnapshotDisks};
    /// use compute_gallery::testkit::raw;
    ///
    /// let id = SnapshotId::new("dev".parse()?, "images".parse()?, "nightly".parse()?);
    /// session.create_snapshot(NewSnapshot::of_data_disk(id.clone(), "westeurope".parse()?, raw(vec![7; 4096]))).await?;
    /// assert_eq!(session.view().snapshot(&id)?.disk_size_bytes(), 4096);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn create_snapshot(&self, new: NewSnapshot) -> Publication<Snapshot> {
        let (target, source) = SnapshotTarget::new(new);
        self.publication(Arc::new(target), source)
    }

    fn publication<T: Send + 'static>(
        &self,
        target: Arc<dyn Target<Resource = T>>,
        from: ImageSource,
    ) -> Publication<T> {
        let ImageSource { source, disks } = from;
        let mut needs = vec![Need::new(write_action(&target.id()), target.id())];
        needs.extend(source.needs());
        let disks = Arc::new(Mutex::new(disks.map_or(Disks::None, Disks::Closed)));
        let (session, on_progress) = (self.clone(), Arc::new(|_| {}));
        Publication(Pending::new(Ok(PublicationWork {
            session,
            target,
            source,
            needs,
            disks,
            on_progress,
            stores_everything: false,
        })))
    }
}

/// What is to be published, and how it looks at the moment.
pub(super) struct Judged {
    storage: StorageProfile,
    /// Disks to import.
    disks: Option<Vec<OpenDisk>>,
    /// The sources that are stored already.
    stored: Vec<StoredSource>,
    /// One manifest of all that is stored already, if nothing is imported.
    gathered: Option<Gathered>,
}

impl Judged {
    /// Returns the content, if it is that of one source, which is stored.
    fn whole(&self) -> Option<&ImageContent> {
        match (&self.disks, &*self.stored) {
            // With another LUN it is another image.
            (None, [StoredSource { lun: None, content, .. }]) => Some(content),
            _ => None,
        }
    }
}

impl<T: Send + 'static> Publication<T> {
    /// Calls `on_progress` about once for each MiB of the disks.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use compute_gallery::testkit::raw;
    ///
    /// let read = Arc::new(AtomicU64::new(0));
    /// let told = read.clone();
    /// let publication = session.publish(sandbox.new_version("1.0.0", "westeurope", raw(vec![7; 4096])));
    /// publication.on_progress(move |progress| told.store(progress.done, Ordering::Relaxed)).await?;
    /// assert_eq!(read.load(Ordering::Relaxed), 4096);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.0.set(|work| work.on_progress = Arc::new(on_progress));
        self
    }

    /// Stores every chunk of the disks again, also those that the version before it has.
    ///
    /// By default a chunk that the version before has is not stored again, and not read either: if it was damaged since in all replicas,
    /// the new version is damaged with it. A service that has met such damage, by a scrub or by a deployment that writes a disk, compares
    /// with that version no more; this is for other processes. A version that is made from another image takes that image's content as it
    /// is.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::testkit::raw;
    ///
    /// let new = |number: &str| sandbox.new_version(number, "westeurope", raw(vec![7; 4096]));
    /// session.publish(new("1.0.0")).await?;
    /// assert_eq!(session.publish(new("1.0.1")).await?.import.new_chunks, 0);
    /// assert_eq!(session.publish(new("1.0.2")).store_everything().await?.import.new_chunks, 1);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn store_everything(mut self) -> Self {
        self.0.set(|work| work.stores_everything = true);
        self
    }

    /// Returns what it would do now. Disks are opened and searched for holes, not read.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog cannot be read. What stands against publishing is in the plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::testkit::raw;
    ///
    /// let new = |regions| sandbox.new_version("1.0.0", regions, raw(vec![7; 4096]));
    /// let plan = session.publish(new("westeurope,eastus=2")).plan().await?;
    /// assert_eq!(plan.regions[1].stored_bytes, 2 * plan.regions[0].stored_bytes);
    /// let plan = session.publish(new("westeurope,atlantis")).plan().await?;
    /// assert!(plan.problems[0].to_string().contains("atlantis"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(Publication<T>, Published<T>);

impl<T: Send + 'static> Work for PublicationWork<T> {
    type Output = Published<T>;

    async fn plan(&self) -> Result<Plan> {
        let state = self.session.state().await?;
        let judged = match self.judge(&state).await {
            Ok(judged) => judged,
            Err(problems) => return Ok(Plan::refused(problems)),
        };
        let mut bytes: u64 = judged.stored.iter().map(|stored| stored.content.stored_bytes).sum();
        for disk in judged.disks.into_iter().flatten() {
            let OpenSource { disk, target, .. } = disk.source;
            let failed = |error| Error::from_io(target.as_str(), "looking for holes", error);
            let measure = move || Scan::new(disk).chunk_bytes();
            bytes += self.session.inner.workers.run(measure).await.map_err(failed)?;
        }
        let (mut plan, home) = (Plan::default(), self.target.location());
        if let Some(profile) = self.target.profile() {
            for region in profile.target_regions().iter().map(|target| target.region()) {
                let replicas = profile.replicas_in(region).unwrap_or(0);
                let crossing = if region == home { 0 } else { bytes };
                let sizes = (replicas, crossing, bytes * u64::from(replicas));
                plan.regions.push(RegionPlan::new(&self.session.inner, home, profile, region, sizes));
            }
        }
        Ok(plan)
    }

    fn call(&self) -> Option<Call> {
        self.session.call("publish", || self.target.id().to_string())
    }

    /// Judge, announce, store, record; give up what is refused for good.
    async fn run(mut self) -> Result<Published<T>> {
        // The state that is known will do: announcing finds out whether it is the newest.
        let mut state = self.session.inner.catalog.snapshot();
        let judged = match self.judge(&state).await {
            Ok(judged) => Ok(judged),
            Err(_) => {
                state = self.session.state().await?;
                self.judge(&state).await
            }
        };
        let mut judged = judged.map_err(|problems| refused(&self.target.id(), problems))?;
        // In boxes: a caller's stack has room for one of them, and not for all.
        Box::pin(self.travel(&judged.storage)).await?;
        while let Some(whole) = judged.whole().filter(|_| !state.claims_of(self.target.location()).is_empty()) {
            let error = match Box::pin(self.publish_stored(&state, &judged, whole)).await {
                Ok(published) => return Ok(published),
                Err(error) => error,
            };
            let newest = self.session.state().await?;
            if error.kind() != ErrorKind::Conflict || newest.number() == state.number() {
                return Err(error);
            }
            // Others have committed since: the source may be another.
            judged = Box::pin(self.judge(&newest)).await.map_err(|problems| refused(&self.target.id(), problems))?;
            state = newest;
        }
        let mut copies = self.copies(&state)?;
        let (mut based, announced) = futures::join!(self.learn_base(&state, &copies), self.announce(true));
        let mut upload = match (announced, &based) {
            (Ok(upload), _) => upload,
            // What keeps it from being read would be met again.
            (Err(_), Err(error)) => return Err(error.clone()),
            (Err(error), Ok(_)) => return Err(error),
        };
        if upload.state.number() != state.number() + 1 {
            // Others have committed since: the base or the source may be another.
            state = upload.state.clone();
            judged = match self.judge(&state).await {
                Ok(judged) => judged,
                Err(problems) => {
                    let error = refused(&self.target.id(), problems);
                    return Err(self.given_up(&copies, &upload, error).await);
                }
            };
            copies = self.copies(&state)?;
            based = self.learn_base(&state, &copies).await;
        }
        let (base, mut learned) = match based {
            Ok(based) => based,
            Err(error) => return Err(self.given_up(&copies, &upload, error).await),
        };
        loop {
            let storing = self.store(&state, &copies, base.as_ref(), learned.take(), &upload, &judged);
            let error = match Box::pin(storing).await {
                Ok(Some(published)) => return Ok(published),
                // The disk has changed since the attempt that announced the upload: it gets one of its own.
                Ok(None) => {
                    upload = self.announce(false).await?;
                    continue;
                }
                Err(error) => error,
            };
            return Err(self.given_up(&copies, &upload, error).await);
        }
    }
}

impl<T: Send + 'static> PublicationWork<T> {
    /// Publishes the content of another image as this one's.
    async fn publish_stored(&self, state: &State, judged: &Judged, content: &ImageContent) -> Result<Published<T>> {
        let (copies, home, stored) = (self.copies(state)?, self.target.location(), judged.stored.clone());
        self.require_there(state, &copies, judged.gathered.iter().flat_map(Gathered::needs)).await?;
        let made = self.made(judged, &copies, content.clone());
        let regions = &self.session.inner.regions;
        // The catalog has the claims, and the content is the source's: a look at the stores only keeps the witness from a wrong one.
        let (recorded, ()) = futures::join!(
            self.record(made, None, state.claims_of(home), None, stored),
            regions.recheck_beside_reads(home)
        );
        let (state, resource) = recorded?;
        // A log that ends before it is refused from here on. It is published all the same.
        let _ = regions.witness(home, self.account(), &state).await;
        let (content, import) = (content.clone(), ImportReport::default());
        Ok(Published { resource, content, import, degraded: copies.have_lost_one() })
    }

    /// Refuses sources that are not in the store that the region has now.
    async fn require_there(
        &self,
        state: &State,
        copies: &ZoneCopies,
        needed: impl Iterator<Item = (PackInfo, Extents)>,
    ) -> Result<()> {
        if self.is_there(state, copies, needed, Copied::ToOne).await? {
            return Ok(());
        }
        let what = "its source is not in the store that the region has now: scrub the region, then publish again";
        Err(Error::unavailable(self.target.id().to_string(), what))
    }

    /// What is to be recorded of `content`.
    fn made(&self, judged: &Judged, copies: &ZoneCopies, content: ImageContent) -> Made {
        Made {
            storage: judged.storage.clone(),
            content,
            inherited: judged.stored.iter().find_map(|one| one.carried.clone()),
            // What is stored already may lie in one zone alone: replicating brings it to all.
            is_everywhere: !copies.are_several() || judged.stored.is_empty(),
        }
    }

    /// Takes the time that a simulation wants; that has a progress of its own.
    async fn travel(&mut self, disks: &StorageProfile) -> Result<()> {
        if self.session.inner.simulation.is_none() {
            return Ok(());
        }
        let on_progress = std::mem::replace(&mut self.on_progress, Arc::new(|_| {}));
        let is_told = AtomicBool::new(false);
        let tell = |done, total| {
            is_told.store(true, Ordering::Relaxed);
            on_progress(Progress { done, total });
        };
        let travelled = self.session.inner.travel(self.target.id(), self.target.location(), disks, &tell).await;
        if !is_told.into_inner() {
            self.on_progress = on_progress;
        }
        travelled
    }

    /// Gives an upload up after an error that would repeat, and returns the error.
    async fn given_up(&self, copies: &ZoneCopies, upload: &Upload, error: Error) -> Error {
        if is_final(error.kind()) {
            // The first failure is the one to tell; what can't be removed now is left to collection.
            let _ = self.abandon(copies, upload.name).await;
        }
        error
    }

    /// Returns the version to compare with, and what its indexes say.
    async fn learn_base(&self, state: &State, copies: &ZoneCopies) -> Result<(Option<Base>, Option<Learned>)> {
        let Some(base) = self.base(state, copies).await? else { return Ok((None, None)) };
        match Learned::of(copies, &base.manifest).await {
            Ok(learned) => Ok((Some(base), Some(learned))),
            // A damaged version is no base, nor is one that is deleted and collected meanwhile.
            Err(error) if is_damage(&error) => Ok((None, None)),
            Err(error) => Err(error),
        }
    }

    /// Opens the disks and looks at the source, or tells everything that is wrong.
    pub(super) async fn judge(&self, state: &State) -> Result<Judged, Vec<Problem>> {
        // A caller without the rights learns nothing else.
        self.session.rights().require(state, &self.needs)?;
        let inner = &self.session.inner;
        let SourceState { stored, mut problems } = self.target.look_at(&self.source, inner, state);
        let opened = match self.open_disks().await {
            Ok(disks) => {
                let profile = self.storage_profile(state, disks.as_deref(), &stored).await;
                profile.map(|(storage, gathered)| (storage, gathered, disks))
            }
            Err(error) => Err(error),
        };
        let storage = opened.as_ref().ok().map(|(storage, ..)| storage);
        let wrong = problems_with(&*self.target, inner, state, storage);
        let is_missing = !problems.is_empty();
        problems.splice(0..0, wrong);
        match opened {
            Ok((storage, gathered, disks)) if problems.is_empty() => Ok(Judged { storage, disks, stored, gathered }),
            // That a source is missing is told once.
            Err(error) if !is_missing => {
                problems.extend(error.into_problems());
                Err(problems)
            }
            _ => Err(problems),
        }
    }

    /// Opens the disks to import, once; `None` if the source is stored.
    async fn open_disks(&self) -> Result<Option<Vec<OpenDisk>>> {
        let mut disks = self.disks.lock().await;
        let LocalDisks { os_disk, mut data_disks } = match std::mem::replace(&mut *disks, Disks::None) {
            Disks::Closed(closed) => closed,
            Disks::Open(open) => {
                *disks = Disks::Open(open.clone());
                return Ok(Some(open));
            }
            Disks::Failed(error) => {
                *disks = Disks::Failed(error.clone());
                return Err(error);
            }
            Disks::None => return Ok(None),
        };
        data_disks.sort_by_key(|(lun, _)| *lun);
        let data_disks = data_disks.into_iter().map(|(lun, disk)| (Some(lun), disk));
        let mut open = Vec::new();
        for (lun, source) in std::iter::once((None, os_disk)).chain(data_disks) {
            match self.session.inner.workers.run(move || source.open()).await {
                Ok(source) => open.push(OpenDisk { lun, source }),
                Err(error) => {
                    *disks = Disks::Failed(error.clone());
                    return Err(error);
                }
            }
        }
        *disks = Disks::Open(open.clone());
        Ok(Some(open))
    }

    /// The sizes of the disks; of those that are stored, by their manifests.
    async fn storage_profile(
        &self,
        state: &State,
        disks: Option<&[OpenDisk]>,
        stored: &[StoredSource],
    ) -> Result<(StorageProfile, Option<Gathered>)> {
        let gathered = match disks {
            Some(_) => None,
            None if stored.is_empty() => return Err(closed(&self.target.id())),
            None => Some(Gathered::of(&self.copies(state)?.readers(), stored).await?),
        };
        let imported = disks.into_iter().flatten().map(|disk| (disk.lun, disk.size()));
        let there = gathered.iter().flat_map(|gathered| &gathered.disks).map(|disk| (disk.lun, disk.size));
        let sizes: Vec<(Option<u32>, u64)> = imported.chain(there).collect();
        let os_disk = sizes.iter().find(|(lun, _)| lun.is_none()).map_or(0, |(_, size)| *size);
        let data_disks =
            sizes.iter().filter_map(|(lun, size)| Some(DataDiskImage::new((*lun)?, DiskImage::new(*size))));
        Ok((StorageProfile::new(DiskImage::new(os_disk), data_disks.collect())?, gathered))
    }

    /// What its replicas are stored on, where it is imported.
    fn account(&self) -> StorageAccountType {
        let profile = self.target.profile();
        profile.map(|profile| profile.storage_account_type_in(self.target.location())).unwrap_or_default()
    }

    /// Where it is imported to.
    fn copies(&self, state: &State) -> Result<ZoneCopies> {
        let inner = &self.session.inner;
        inner.regions.first(state, self.target.location(), self.account())
    }

    /// The version to compare with: the one before it, else the highest that there is, if its chunks are in every place
    /// that this one goes to.
    async fn base(&self, state: &State, copies: &ZoneCopies) -> Result<Option<Base>> {
        let ResourceId::ImageVersion(id) = self.target.id() else { return Ok(None) };
        if !matches!(self.source, Source::Disks(..)) || self.stores_everything {
            return Ok(None);
        }
        let home = self.target.location();
        let regions = &self.session.inner.regions;
        let zones = regions.zones_of(home, self.account());
        let here = |record: &&Arc<VersionRecord>| {
            let account = record.version.publishing_profile().storage_account_type_in(home);
            // One that was made of what lies in one zone is in all of them when it has been replicated.
            let in_all = zones == 1 || record.replicas_ready(home) > 0;
            record.version.location() == home && in_all && regions.zones_of(home, account) >= zones
        };
        // One that is deleted could be gone for good before this one exists.
        let stays = |record: &&Arc<VersionRecord>| record.soft_deleted.is_none();
        let before = state.versions_before(id.definition(), id.number()).rev().filter(here).find(stays);
        let highest = || state.versions(id.definition(), None).rev().filter(here).find(stays);
        let Some(base) = before.or_else(highest) else { return Ok(None) };
        let manifest = match copies.readers().manifest(&base.content.manifest_id()).await {
            Ok(manifest) => manifest,
            // A damaged version is no base, and keeps nobody from publishing the next.
            Err(error) if is_damage(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if regions.lost().has_any_of(&manifest.packs, home)
            || !self.is_there(state, copies, manifest.lines(), Copied::ToAll).await?
        {
            return Ok(None);
        }
        Ok(Some(Base { id: base.version.id().clone(), content: base.content.clone(), manifest }))
    }

    /// Whether records are in the store of the region: what was announced before the store was claimed may be in another one,
    /// which was lost.
    async fn is_there(
        &self,
        state: &State,
        copies: &ZoneCopies,
        needed: impl Iterator<Item = (PackInfo, Extents)>,
        to: Copied,
    ) -> Result<bool> {
        let (home, regions) = (self.target.location(), &self.session.inner.regions);
        let claimed = state.claimed_at(home);
        // What was sent to all zones may have missed the only one in which this is kept: it may have been away.
        let is_in_one = !copies.are_several() && regions.zones_of(home, StorageAccountType::StandardZrs) > 1;
        let is_doubtful = |(pack, _): &(PackInfo, Extents)| {
            is_in_one || state.announced(UploadName(pack.id.upload)).is_none_or(|number| number < claimed)
        };
        let needed: Vec<(PackInfo, Extents)> = needed.filter(is_doubtful).collect();
        if needed.is_empty() {
            return Ok(true);
        }
        let uploads: BTreeSet<UploadId> = needed.iter().map(|(pack, _)| pack.id.upload).collect();
        let held = copies.in_each(|slot| {
            let uploads = uploads.clone();
            async move { slot.holdings(&uploads).await }
        });
        let held = held.await?;
        Ok(needed.iter().all(|(pack, needed)| {
            let mut there =
                held.iter().map(|held| held.get(&pack.id).is_some_and(|it| it.lacks(pack, needed).is_empty()));
            match to {
                Copied::ToAll => there.all(|is_there| is_there),
                Copied::ToOne => there.any(|is_there| is_there),
            }
        }))
    }

    /// Announces an upload, or finds one that an earlier attempt has announced, if that will do.
    async fn announce(&self, adopt: bool) -> Result<Upload> {
        let (session, home) = (&self.session, self.target.location());
        let new = UploadName(UploadId::from_bytes(session.inner.draw()?));
        let target = self.target.clone();
        let (of_caller, needs) = (self.session.clone(), self.needs.clone());
        let check = move |state: &State| {
            let authorization = of_caller.authorize(state, &needs)?;
            Error::from_problems(problems_with(&*target, &of_caller.inner, state, None))?;
            let (id, region) = (target.id(), target.location().clone());
            let joined = state.upload_of(&id, &region).filter(|_| adopt);
            let event = match joined {
                Some(upload) => Event::UploadJoined { upload },
                None => Event::UploadStarted { upload: new, target: id, region },
            };
            // The state may have another's by the time that it is read.
            Ok((Changes { events: vec![event], authorization }, joined.unwrap_or(new)))
        };
        let commit = session.inner.catalog.commit_found(&session.caller, check);
        let regions = &session.inner.regions;
        let is_first = session.inner.catalog.snapshot().claims_of(home).is_empty();
        let recheck = async {
            match is_first {
                true => regions.recheck(home),
                false => regions.recheck_beside_reads(home).await,
            }
        };
        let (announced, ()) = futures::join!(commit, recheck);
        let (state, name) = announced?;
        if !state.is_open(name) {
            return Err(closed(&self.target.id()));
        }
        let mut claims = state.claims_of(home);
        let is_witnessed = claims.is_empty();
        if is_witnessed {
            // The first image of the region: its stores are claimed before anything is sent to them.
            regions.witness(home, self.account(), &state).await?;
            claims = session.inner.catalog.snapshot().claims_of(home);
        }
        Ok(Upload { name, resumed: name != new, claims, state, is_witnessed })
    }

    /// Imports, or gathers what is stored, and publishes; `None` where the disk is not the one that the upload began
    /// with.
    async fn store(
        &self,
        state: &State,
        copies: &ZoneCopies,
        base: Option<&Base>,
        learned: Option<Learned>,
        upload: &Upload,
        judged: &Judged,
    ) -> Result<Option<Published<T>>> {
        // The last commit compares the sources with these.
        let stored = judged.stored.clone();
        let sent = async {
            let (manifest, import) = match &judged.disks {
                Some(disks) => {
                    let import = Import {
                        copies,
                        workers: &self.session.inner.workers,
                        compression: self.session.inner.compression,
                        catalog: self.session.inner.catalog.id(),
                        upload: upload.name.0,
                        resumed: upload.resumed,
                        base: base.map(|base| &base.manifest),
                        on_progress: &self.on_progress,
                        memory: &self.session.inner.memory,
                        clock: &*self.session.inner.clock,
                    };
                    match import.run(disks.clone(), learned).await? {
                        Imported::Done(manifest, stats, notes) => (*manifest, ImportReport::new(stats, notes)),
                        Imported::Differs => return Ok(None),
                    }
                }
                None => match &judged.gathered {
                    Some(gathered) => {
                        let catalog = self.session.inner.catalog.id();
                        (gathered.clone().manifest(catalog, upload.name.0), ImportReport::default())
                    }
                    None => return Err(closed(&self.target.id())),
                },
            };
            if !stored.is_empty() {
                self.require_there(state, copies, manifest.lines()).await?;
            }
            let id = manifest.id();
            let new = &manifest;
            copies
                .in_each(|slot| async move {
                    slot.put_new_manifest(new).await?;
                    slot.persist([id.upload], [id.upload]).await
                })
                .await?;
            Ok(Some((manifest, id.digest, import)))
        };
        // Beside the bytes: until the upload is published, a catalog that is older than it calls them foreign and leaves them.
        let witness = async {
            match upload.is_witnessed {
                true => Ok(()),
                false => {
                    let regions = &self.session.inner.regions;
                    regions.witness(self.target.location(), self.account(), &upload.state).await
                }
            }
        };
        // ORDER: all of it is durable before a commit says that it is there.
        let ((), sent) = futures::try_join!(witness, sent)?;
        let Some((manifest, digest, import)) = sent else { return Ok(None) };
        let os_disk_digest = manifest.disks.first().map(|disk| disk.digest).ok_or_else(|| closed(&self.target.id()))?;
        let content = ImageContent {
            upload: upload.name,
            manifest: digest,
            os_disk_digest,
            stored_bytes: manifest.stored_bytes(),
        };
        let base = base.map(|base| (base.id.clone(), base.content.clone()));
        let made = self.made(judged, copies, content.clone());
        let (state, resource) = self.record(made, Some(upload.name), upload.claims.clone(), base, stored).await?;
        // A log that ends before it is refused from here on. It is published all the same.
        let _ = self.session.inner.regions.witness(self.target.location(), self.account(), &state).await;
        Ok(Some(Published { resource, content, import, degraded: copies.have_lost_one() }))
    }

    /// The commit that makes it exist, of an upload or without one.
    async fn record(
        &self,
        made: Made,
        upload: Option<UploadName>,
        claims: Vec<StoreName>,
        base: Option<(ImageVersionId, ImageContent)>,
        stored: Vec<StoredSource>,
    ) -> Result<(Arc<State>, T)> {
        let (target, source) = (self.target.clone(), self.source.clone());
        let (of_caller, needs) = (self.session.clone(), self.needs.clone());
        let check = move |state: &State| {
            let authorization = of_caller.authorize(state, &needs)?;
            let inner = &of_caller.inner;
            Error::from_problems(problems_with(&*target, inner, state, Some(&made.storage)))?;
            if !state.still_claims(target.location(), &claims) {
                return Err(another_store(target.location()));
            }
            // The upload owns the new packs, the base and the sources the old ones: without any of them, packs may be on
            // their way out.
            let now = target.look_at(&source, inner, state);
            Error::from_problems(now.problems)?;
            let is_base = |(id, content): &(ImageVersionId, ImageContent)| {
                state.version(id).is_some_and(|record| record.content == *content)
            };
            let based = base.as_ref().is_none_or(is_base);
            let is_open = upload.is_none_or(|upload| state.is_open(upload));
            if !is_open || !based || now.stored != stored {
                return Err(closed(&target.id()));
            }
            let Made { storage, content, inherited, is_everywhere } = made.clone();
            let (resource, mut events) = target.make(inner, state, storage, content, inherited)?;
            if !is_everywhere {
                events.retain(|event| !matches!(event, Event::RegionCompleted { .. }));
            }
            Ok((Changes { events, authorization }, resource))
        };
        self.session.inner.catalog.commit_found(&self.session.caller, check).await
    }

    /// Gives an upload up, if no other publisher has joined it: first in the catalog, so that nobody can publish it, then
    /// its packs go.
    async fn abandon(&self, copies: &ZoneCopies, upload: UploadName) -> Result<()> {
        let check = move |state: &State| match state.is_of_one_publisher(upload) {
            true => Ok(Changes { events: vec![Event::UploadAbandoned { upload }], authorization: None }),
            // Another may be at work on it; or it was published after all, or given up by another.
            false => Err(Error::not_found("upload", "the upload is over, or another's too")),
        };
        self.session.inner.catalog.commit(&self.session.caller, check).await?;
        // Also where something failed before: what is there is to go.
        let removed = futures::future::join_all(copies.slots().iter().map(|slot| slot.remove_upload(upload.0))).await;
        removed.into_iter().collect()
    }
}

/// The error of what is wrong before the first byte moves.
/// Returns what keeps a target from being made in a state.
fn problems_with<T>(
    target: &dyn Target<Resource = T>,
    inner: &Inner,
    state: &State,
    storage: Option<&StorageProfile>,
) -> Vec<Problem> {
    deleting(state, &target.id().into()).into_iter().chain(target.problems(inner, state, storage)).collect()
}

fn refused(id: &ResourceId, problems: Vec<Problem>) -> Error {
    Error::from_problems(problems).err().unwrap_or_else(|| closed(id))
}

/// What was stored, to be recorded.
#[derive(Clone)]
struct Made {
    storage: StorageProfile,
    content: ImageContent,
    /// The identity that a stored source carries.
    inherited: Option<CarriedIdentity>,
    /// Whether it is in every place of its region.
    is_everywhere: bool,
}

/// The version that an import compares with.
struct Base {
    id: ImageVersionId,
    content: ImageContent,
    manifest: Manifest,
}

/// In which of the copies of a replica something must be.
#[derive(Clone, Copy)]
enum Copied {
    ToAll,
    ToOne,
}

/// An upload under way.
struct Upload {
    name: UploadName,
    /// Whether an earlier attempt announced it.
    resumed: bool,
    /// The stores of the region that its packs go to.
    claims: Vec<StoreName>,
    /// The state after its announcement.
    state: Arc<State>,
    /// Whether the stores have seen that state.
    is_witnessed: bool,
}

/// What is stored already of an image that is made of others.
#[derive(Clone, Default)]
struct Gathered {
    disks: Vec<ManifestDisk>,
    packs: BTreeMap<PackId, (PackInfo, Extents)>,
    /// The pages of their manifests, each with the upload that wrote it.
    pages: BTreeMap<Digest, UploadId>,
}

impl Gathered {
    async fn of(from: &Holders, stored: &[StoredSource]) -> Result<Self> {
        let mut gathered = Self::default();
        let ids: Vec<ManifestId> = stored.iter().map(|one| one.content.manifest_id()).collect();
        let manifests = all_of(ids.iter().map(|id| from.manifest(id)).collect()).await?;
        for (StoredSource { lun, .. }, manifest) in stored.iter().zip(manifests) {
            for (pack, needed) in manifest.lines() {
                let (_, all) = gathered.packs.entry(pack.id).or_insert((pack, Extents::default()));
                *all = all.union(&needed);
            }
            gathered.pages.extend(manifest.known_pages());
            // A snapshot has one disk, which gets the LUN that was asked for; all others keep theirs.
            let disks = manifest.disks.into_iter().map(|disk| ManifestDisk { lun: lun.or(disk.lun), ..disk });
            gathered.disks.extend(disks);
        }
        gathered.disks.sort_by_key(|disk| disk.lun);
        Ok(gathered)
    }

    /// Returns its packs, each with the records that it needs.
    fn needs(&self) -> impl Iterator<Item = (PackInfo, Extents)> {
        self.packs.values().cloned()
    }

    /// Returns the one manifest of it all.
    fn manifest(self, catalog: CatalogId, upload: UploadId) -> Manifest {
        Manifest::new(catalog, upload, self.disks, self.packs.into_values().collect(), &self.pages)
    }
}

/// Whether publishing the same again would fail again, so that nobody has a use for what is stored of it. After anything else
/// the upload stays open: the next attempt takes it up, and sends what is missing.
fn is_final(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Invalid
        | ErrorKind::Conflict
        | ErrorKind::AlreadyExists
        | ErrorKind::NotFound
        | ErrorKind::Forbidden
        | ErrorKind::LimitReached => true,
        // An unknown outcome may be a success, too.
        ErrorKind::Unknown
        | ErrorKind::Unavailable
        | ErrorKind::Throttled { .. }
        | ErrorKind::StorageFull
        | ErrorKind::Cancelled
        | ErrorKind::Corrupt
        | ErrorKind::KeyMissing
        | ErrorKind::Unsupported => false,
    }
}

fn closed(id: &ResourceId) -> Error {
    let what = "another process gave up this upload, or deleted what it builds on: publish again";
    Error::conflict(id.to_string(), what)
}
