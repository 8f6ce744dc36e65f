//! Publishing: disks become a version, a managed image or a snapshot.
//!
//! Intent first, then bytes, then publish: the upload is announced before its first pack, the image exists only when all
//! of it is stored, and an upload that is given up is closed in the catalog before its packs are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::new::{NewImageVersion, NewManagedImage, NewSnapshot};
use super::report::{ImportReport, Published};
use super::source::{
    Expected, ImageSource, Kind, LocalDisks, Looked, Origin, Stored, same_subscription, trusted_launch,
};
use crate::catalog::{CarriedIdentity, Changes, Event, ImageContent, State, StoreName, UploadName, VersionRecord};
use crate::content::manifest::Manifest;
use crate::content::names::{ManifestId, UploadId};
use crate::disk::source::OpenSource;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::image::import::{Import, Imported, OpenDisk};
use crate::image::scan::Scan;
use crate::model::{
    DataDiskImage, DiskImage, ImageVersion, ImageVersionId, ManagedImage, ManagedImageId, OsState, PublishingProfile,
    Region, ResourceId, Snapshot, StorageAccountType, StorageProfile,
};
use crate::progress::{OnProgress, Progress};
use crate::regions::stores::another_store;
use crate::replica::copies::ZoneCopies;
use crate::replica::holders::{Holders, is_damage};
use crate::service::change::plan::{Plan, RegionPlan};
use crate::service::rules;
use crate::service::rules::refusals::already_exists;
use crate::service::session::authority::{Need, write_action};
use crate::service::session::inner::Inner;
use crate::service::session::session::Session;

/// What is wrong with the resource in a state, its disks apart.
type Rules = dyn Fn(&State, Option<&StorageProfile>) -> Vec<Problem> + Send + Sync;
/// The resource with its disks and what the source's VM left in them, and what says in the catalog that it exists.
type Make<T> = dyn Fn(StorageProfile, ImageContent, Option<CarriedIdentity>) -> Result<(T, Vec<Event>)> + Send + Sync;

/// Something on its way: await it, or [`plan`](Self::plan) it first. Dropping it stops it; publishing the same disk
/// again then takes it up where it stopped.
#[must_use = "nothing is published before it is awaited"]
pub struct Publication<T> {
    session: Session,
    target: ResourceId,
    needs: Vec<Need>,
    location: Region,
    expected: Against,
    origin: Origin,
    disks: Disks,
    /// Where it goes, for the plan.
    profile: Option<PublishingProfile>,
    rules: Arc<Rules>,
    make: Arc<Make<T>>,
    on_progress: OnProgress,
}

/// What a source is compared with.
#[derive(Clone, Debug)]
enum Against {
    Definition(crate::model::ImageDefinitionId),
    ManagedImage(ManagedImageId, Expected),
    Anything,
}

impl Against {
    fn look(&self, origin: &Origin, state: &State, inner: &Inner, region: &Region) -> Looked {
        match self {
            Self::Definition(id) => {
                let expected = state.definition(id).map(|definition| Expected::from(&**definition));
                let mut looked = origin.look(state, inner, region, expected.as_ref());
                looked.problems.extend(same_subscription(origin, id.gallery().subscription()));
                looked.problems.extend(state.definition(id).and_then(|definition| trusted_launch(origin, definition)));
                looked
            }
            Self::ManagedImage(id, expected) => {
                let mut looked = origin.look(state, inner, region, Some(expected));
                looked.problems.extend(same_subscription(origin, id.subscription()));
                looked
            }
            Self::Anything => origin.look(state, inner, region, None),
        }
    }
}

/// Disks to import; opened at the latest when they are read.
enum Disks {
    Closed(LocalDisks),
    Open(Vec<OpenDisk>),
    /// One can't be opened, as was found out before.
    Failed(Error),
    /// Nothing is imported.
    Stored,
}

impl<T> std::fmt::Debug for Publication<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publication({})", self.target)
    }
}

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
    pub fn publish(&self, new: NewImageVersion) -> Publication<ImageVersion> {
        let NewImageVersion { id, location, publishing_profile, source, tags, safety_profile, carried } = new;
        let profile = Some(publishing_profile.clone());
        let name = source.0.name();
        let inner = self.inner.clone();
        let rules = {
            let (id, location, profile, inner) =
                (id.clone(), location.clone(), publishing_profile.clone(), inner.clone());
            let (name, carried) = (name.clone(), carried.clone());
            move |state: &State, storage: Option<&StorageProfile>| {
                let mut problems = rules::version::place_for_version(state, &inner, &id, &location);
                problems
                    .extend(rules::version::publishing_profile(state, &inner, &id, &location, &profile, storage, None));
                let disks = storage.cloned().map_or_else(|| StorageProfile::new(DiskImage::new(0), Vec::new()), Ok);
                let version =
                    disks.and_then(|disks| ImageVersion::new(id.clone(), location.clone(), profile.clone(), disks));
                problems.extend(version.err().into_iter().chain(name.clone().err()).flat_map(Error::into_problems));
                problems.extend(
                    storage
                        .into_iter()
                        .flat_map(|disks| rules::version::disk_sizes(&inner, ImageVersion::TARGET, disks)),
                );
                let definition = state.definition(id.definition());
                if carried.is_some() && definition.is_some_and(|one| one.os_state() == OsState::Generalized) {
                    let what = "a generalized image carries no accounts and no computer name: leave them out";
                    problems.push(Problem::invalid("carriedIdentity", what));
                }
                problems
            }
        };
        let make = {
            let (id, location) = (id.clone(), location.clone());
            move |storage: StorageProfile, content: ImageContent, inherited: Option<CarriedIdentity>| {
                let profile = publishing_profile.clone().with_published_date(inner.clock.now());
                let storage = storage.with_source(name.clone()?);
                let version =
                    ImageVersion::new(id.clone(), location.clone(), profile, storage)?.with_tags(tags.clone());
                let version = match safety_profile {
                    Some(safety) => version.with_safety_profile(safety),
                    None => version,
                };
                let (version_id, region) = (id.clone(), location.clone());
                let one = version.publishing_profile().replicas_in(&location) == Some(1);
                let complete =
                    Event::RegionCompleted { version: version_id, region, replicas: 1, cross_region_bytes: 0 };
                let (version_too, carried) = (version.clone(), carried.clone().or(inherited));
                let published = Event::ImageVersionPublished { version: version_too, content, carried };
                Ok((version, std::iter::once(published).chain(one.then_some(complete)).collect()))
            }
        };
        let expected = Against::Definition(id.definition().clone());
        self.publishing(id.into(), location, expected, source, profile, rules, make)
    }

    /// Creates a managed image: imports its disks into its region.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn create_managed_image(&self, new: NewManagedImage) -> Publication<ManagedImage> {
        let NewManagedImage { id, location, os_type, hyper_v_generation, source, tags } = new;
        let (taken, inner, place, name) = (id.clone(), self.inner.clone(), location.clone(), source.0.name());
        let rules = move |state: &State, storage: Option<&StorageProfile>| {
            let there = state.managed_image(&taken).map(|_| already_exists(&taken, ANOTHER_NAME));
            let disks =
                storage.into_iter().flat_map(|disks| rules::version::disk_sizes(&inner, ManagedImage::TARGET, disks));
            there.into_iter().chain(in_region(&inner, &place)).chain(disks).collect()
        };
        let (image_id, region) = (id.clone(), location.clone());
        let make = move |storage: StorageProfile, content: ImageContent, _: Option<CarriedIdentity>| {
            let storage = storage.with_source(name.clone()?);
            let image = ManagedImage::new(image_id.clone(), region.clone(), os_type, hyper_v_generation, storage);
            let image = image.with_tags(tags.clone());
            Ok((image.clone(), vec![Event::ManagedImageCreated { image, content }]))
        };
        let os_state = OsState::Generalized;
        let expected = Expected { os_type, os_state, hyper_v_generation, of_definition: None };
        let expected = Against::ManagedImage(id.clone(), expected);
        self.publishing(id.into(), location, expected, source, None, rules, make)
    }

    /// Creates a snapshot: imports a disk into its region.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn create_snapshot(&self, new: NewSnapshot) -> Publication<Snapshot> {
        let NewSnapshot { id, location, disk, os, tags } = new;
        let (taken, inner, place) = (id.clone(), self.inner.clone(), location.clone());
        let rules = move |state: &State, storage: Option<&StorageProfile>| {
            let there = state.snapshot(&taken).map(|_| already_exists(&taken, ANOTHER_NAME));
            let disks =
                storage.into_iter().flat_map(|disks| rules::version::disk_sizes(&inner, Snapshot::TARGET, disks));
            there.into_iter().chain(in_region(&inner, &place)).chain(disks).collect()
        };
        let (snapshot_id, region) = (id.clone(), location.clone());
        let make = move |storage: StorageProfile, content: ImageContent, _: Option<CarriedIdentity>| {
            let size = storage.os_disk_image().size_in_bytes();
            let snapshot = Snapshot::new(snapshot_id.clone(), region.clone(), size).with_os(os).with_tags(tags.clone());
            Ok((snapshot.clone(), vec![Event::SnapshotCreated { snapshot, content }]))
        };
        self.publishing(id.into(), location, Against::Anything, disk.into(), None, rules, make)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where the three kinds come together")]
    fn publishing<T>(
        &self,
        target: ResourceId,
        location: Region,
        expected: Against,
        source: ImageSource,
        profile: Option<PublishingProfile>,
        rules: impl Fn(&State, Option<&StorageProfile>) -> Vec<Problem> + Send + Sync + 'static,
        make: impl Fn(StorageProfile, ImageContent, Option<CarriedIdentity>) -> Result<(T, Vec<Event>)>
        + Send
        + Sync
        + 'static,
    ) -> Publication<T> {
        let origin = source.0.origin();
        let mut needs = vec![Need::new(write_action(&target), target.clone())];
        needs.extend(source.0.needs());
        let disks = match source.0 {
            Kind::Disks { disks, .. } => Disks::Closed(disks),
            Kind::ManagedImage(_) | Kind::ImageVersion(_) | Kind::Snapshots(_) => Disks::Stored,
        };
        Publication {
            session: self.clone(),
            target,
            needs,
            location,
            expected,
            origin,
            disks,
            profile,
            rules: Arc::new(rules),
            make: Arc::new(make),
            on_progress: Box::new(|_| {}),
        }
    }
}

const ANOTHER_NAME: &str = "it exists: choose another name, or delete it first";

/// What is wrong with keeping something in a region.
fn in_region(inner: &Inner, region: &Region) -> Option<Problem> {
    let unknown = inner.region_catalog.problem_with_location("Microsoft.Compute/images", region);
    unknown.or_else(|| inner.regions.problem_with("location", region, StorageAccountType::default()))
}

impl<T: Send + 'static> Publication<T> {
    /// Is told how much of the disks is done, about once per MiB.
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Box::new(on_progress);
        self
    }

    /// What it would do now. Disks are opened and searched for holes, not read.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog can't be read; what stands against publishing is in the plan.
    pub async fn plan(&mut self) -> Result<Plan> {
        let state = self.session.state().await?;
        let (storage, problems) = self.judge(&state).await;
        let Some(_) = storage.filter(|_| problems.is_empty()) else { return Ok(Plan::refused(problems)) };
        let looked = self.look(&state);
        let mut bytes: u64 = looked.stored.iter().map(|stored| stored.content.stored_bytes).sum();
        if let Disks::Open(disks) = &self.disks {
            for disk in disks.iter().cloned() {
                let OpenSource { disk, target, .. } = disk.source;
                let failed = |error| Error::from_io(target.as_str(), "looking for holes", error);
                let measure = move || Scan::new(disk).chunk_bytes();
                bytes += self.session.inner.workers.run(measure).await.map_err(failed)?;
            }
        }
        let mut plan = Plan::default();
        if let Some(profile) = &self.profile {
            for region in profile.target_regions().iter().map(|target| target.region()) {
                let replicas = profile.replicas_in(region).unwrap_or(0);
                let crossing = if *region == self.location { 0 } else { bytes };
                let sizes = (replicas, crossing, bytes * u64::from(replicas));
                plan.regions.push(RegionPlan::new(&self.session.inner, &self.location, profile, region, sizes));
            }
        }
        Ok(plan)
    }

    fn look(&self, state: &State) -> Looked {
        self.expected.look(&self.origin, state, &self.session.inner, &self.location)
    }

    /// The disks, and everything that is wrong.
    async fn judge(&mut self, state: &State) -> (Option<StorageProfile>, Vec<Problem>) {
        // Nothing else is told to somebody who may not.
        if let Err(problems) = self.session.rights().require(state, &self.needs) {
            return (None, problems);
        }
        let looked = self.look(state);
        let storage = match self.storage_profile(&looked.stored).await {
            Ok(storage) => Ok(storage),
            // That a source is missing is told once.
            Err(_) if !looked.problems.is_empty() => Err(Vec::new()),
            Err(error) => Err(error.into_problems()),
        };
        let mut problems = (self.rules)(state, storage.as_ref().ok());
        problems.extend(looked.problems);
        match storage {
            Ok(storage) => (Some(storage), problems),
            Err(more) => {
                problems.extend(more);
                (None, problems)
            }
        }
    }

    /// Opens the disks, or reads the manifests of those that are stored.
    async fn storage_profile(&mut self, stored: &[Stored]) -> Result<StorageProfile> {
        if let Disks::Closed(_) = self.disks {
            let Disks::Closed(LocalDisks { os_disk, mut data_disks }) =
                std::mem::replace(&mut self.disks, Disks::Stored)
            else {
                return Err(closed(&self.target));
            };
            data_disks.sort_by_key(|(lun, _)| *lun);
            let data_disks = data_disks.into_iter().map(|(lun, disk)| (Some(lun), disk));
            let mut disks = Vec::new();
            for (lun, source) in std::iter::once((None, os_disk)).chain(data_disks) {
                match self.session.inner.workers.run(move || source.open()).await {
                    Ok(source) => disks.push(OpenDisk { lun, source }),
                    Err(error) => {
                        self.disks = Disks::Failed(error.clone());
                        return Err(error);
                    }
                }
            }
            self.disks = Disks::Open(disks);
        }
        let sizes: Vec<(Option<u32>, u64)> = match &self.disks {
            Disks::Open(disks) => disks.iter().map(|disk| (disk.lun, disk.size())).collect(),
            Disks::Failed(error) => return Err(error.clone()),
            Disks::Stored | Disks::Closed(_) if stored.is_empty() => return Err(closed(&self.target)),
            Disks::Stored | Disks::Closed(_) => {
                let state = self.session.state().await?;
                let manifest = gather(&self.copies(&state)?.readers(), stored).await?;
                manifest.disks.iter().map(|disk| (disk.lun, disk.size)).collect()
            }
        };
        let os_disk = sizes.iter().find(|(lun, _)| lun.is_none()).map_or(0, |(_, size)| *size);
        let data_disks =
            sizes.iter().filter_map(|(lun, size)| Some(DataDiskImage::new((*lun)?, DiskImage::new(*size))));
        StorageProfile::new(DiskImage::new(os_disk), data_disks.collect())
    }

    async fn publish(mut self) -> Result<Published<T>> {
        let state = self.session.state().await?;
        let (storage, problems) = self.judge(&state).await;
        Error::from_problems(problems)?;
        let storage = storage.ok_or_else(|| closed(&self.target))?;
        let copies = self.copies(&state)?;
        let base = self.base(&state, &copies).await?;
        let mut upload = self.announce(true).await?;
        loop {
            let error = match self.store(&state, &copies, base.as_ref(), &upload, &storage).await {
                Ok(Some(published)) => return Ok(published),
                // The disk has changed since the attempt that announced the upload: it gets one of its own.
                Ok(None) => {
                    upload = self.announce(false).await?;
                    continue;
                }
                Err(error) => error,
            };
            if is_final(error.kind()) {
                // The first failure is the one to tell; what can't be removed now is left to collection.
                let _ = self.abandon(&copies, upload.name).await;
            }
            return Err(error);
        }
    }

    /// What its replicas are stored on, where it is imported.
    fn account(&self) -> StorageAccountType {
        self.profile.as_ref().map(|profile| profile.storage_account_type_in(&self.location)).unwrap_or_default()
    }

    /// Where it is imported to.
    fn copies(&self, state: &State) -> Result<ZoneCopies> {
        let inner = &self.session.inner;
        inner.regions.first(state, &self.location, self.account())
    }

    /// The version to compare with: the one before it, else the highest that there is, if its chunks are in every place
    /// that this one goes to.
    async fn base(&self, state: &State, copies: &ZoneCopies) -> Result<Option<Base>> {
        let ResourceId::ImageVersion(id) = &self.target else { return Ok(None) };
        let Disks::Open(_) = &self.disks else { return Ok(None) };
        let regions = &self.session.inner.regions;
        let zones = regions.zones_of(&self.location, self.account());
        let here = |record: &&Arc<VersionRecord>| {
            let account = record.version.publishing_profile().storage_account_type_in(&self.location);
            // One that was made of what lies in one zone is in all of them when it has been replicated.
            let in_all = zones == 1 || record.replicas_ready(&self.location) > 0;
            *record.version.location() == self.location && in_all && regions.zones_of(&self.location, account) >= zones
        };
        // One that is deleted could be gone for good before this one exists.
        let stays = |record: &&Arc<VersionRecord>| record.soft_deleted.is_none();
        let all = || state.versions(id.definition(), None).rev().filter(here).filter(stays);
        let before = all().find(|record| record.version.id().number() < id.number());
        let Some(base) = before.or_else(|| all().next()) else { return Ok(None) };
        let manifest = match copies.readers().manifest(&base.content.manifest_id()).await {
            Ok(manifest) => manifest,
            // A damaged version is no base, and keeps nobody from publishing the next.
            Err(error) if is_damage(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !self.is_there(state, copies, &manifest, Copied::ToAll).await? {
            return Ok(None);
        }
        Ok(Some(Base { id: base.version.id().clone(), content: base.content.clone(), manifest }))
    }

    /// Whether a manifest's packs are in the store of the region: what was announced before the store was claimed may be in
    /// another one, which was lost.
    async fn is_there(&self, state: &State, copies: &ZoneCopies, manifest: &Manifest, to: Copied) -> Result<bool> {
        let claimed = state.claimed_at(&self.location);
        let is_old = |upload: &UploadId| state.announced(UploadName(*upload)).is_none_or(|number| number < claimed);
        let old: BTreeSet<UploadId> = manifest.packs.iter().map(|pack| pack.id.upload).filter(is_old).collect();
        if old.is_empty() {
            return Ok(true);
        }
        let held = copies.in_each(|slot| {
            let old = old.clone();
            async move { slot.holdings(old).await }
        });
        let held = held.await?;
        let mut packs = manifest.packs.iter().filter(|pack| old.contains(&pack.id.upload));
        Ok(packs.all(|pack| {
            let mut there = held.iter().map(|held| held.get(&pack.id).is_some_and(|there| there.has_any_of(pack)));
            match to {
                Copied::ToAll => there.all(|is_there| is_there),
                Copied::ToOne => there.any(|is_there| is_there),
            }
        }))
    }

    /// Announces an upload, or finds one that an earlier attempt has announced, if that will do.
    async fn announce(&self, adopt: bool) -> Result<Upload> {
        let session = &self.session;
        session.inner.regions.look_again(&self.location);
        let new = UploadName(UploadId::from_bytes(session.inner.draw()?));
        let (target, region, rules) = (self.target.clone(), self.location.clone(), self.rules.clone());
        let (of_caller, needs) = (self.session.clone(), self.needs.clone());
        let check = move |state: &State| {
            let authorization = of_caller.authorize(state, &needs)?;
            Error::from_problems(rules(state, None))?;
            let joined = state.upload_of(&target, &region).filter(|_| adopt);
            let event = match joined {
                Some(upload) => Event::UploadJoined { upload },
                None => Event::UploadStarted { upload: new, target: target.clone(), region: region.clone() },
            };
            // The state may have another's by the time that it is read.
            Ok((Changes { events: vec![event], authorization }, joined.unwrap_or(new)))
        };
        let (state, name) = session.inner.catalog.commit_found(&session.caller, check).await?;
        if !state.is_open(name) {
            return Err(closed(&self.target));
        }
        // ORDER: before the first pack. A catalog that is older than this upload is refused by the stores from here on.
        session.inner.regions.witness(&self.location, self.account(), &state).await?;
        let claims = session.inner.catalog.snapshot().claims_of(&self.location);
        Ok(Upload { name, resumed: name != new, claims })
    }

    /// Imports, or gathers what is stored, and publishes; `None` where the disk is not the one that the upload began
    /// with.
    async fn store(
        &self,
        state: &State,
        copies: &ZoneCopies,
        base: Option<&Base>,
        upload: &Upload,
        storage: &StorageProfile,
    ) -> Result<Option<Published<T>>> {
        let stored = self.look(state).stored;
        let (manifest, import) = match &self.disks {
            Disks::Open(disks) => {
                let import = Import {
                    copies,
                    workers: &self.session.inner.workers,
                    compression: self.session.inner.compression,
                    upload: upload.name.0,
                    resumed: upload.resumed,
                    base: base.map(|base| &base.manifest),
                    on_progress: &self.on_progress,
                };
                match import.run(disks.clone()).await? {
                    Imported::Done(manifest, stats, notes) => (manifest, ImportReport::new(stats, notes)),
                    Imported::Differs => return Ok(None),
                }
            }
            Disks::Stored | Disks::Closed(_) | Disks::Failed(_) => {
                (gather(&copies.readers(), &stored).await?, ImportReport::default())
            }
        };
        if !stored.is_empty() && !self.is_there(state, copies, &manifest, Copied::ToOne).await? {
            let what = "its source is not in the store that the region has now: scrub the region, then publish again";
            return Err(Error::unavailable(self.target.to_string(), what));
        }
        let (digest, bytes) = manifest.encode()?;
        let name = ManifestId { upload: upload.name.0, digest };
        // ORDER: all of it is durable before a commit says that it is there.
        copies
            .in_each(|slot| {
                let bytes = bytes.clone();
                async move {
                    slot.put_manifest(&name, bytes).await?;
                    slot.persist([name.upload], Some(&name)).await
                }
            })
            .await?;
        let os_disk_digest = manifest.disks.first().map(|disk| disk.digest).ok_or_else(|| closed(&self.target))?;
        let content = ImageContent {
            upload: upload.name,
            manifest: digest,
            os_disk_digest,
            stored_bytes: manifest.stored_bytes(),
        };
        let (resource, mut events) =
            (self.make)(storage.clone(), content.clone(), stored.iter().find_map(|one| one.carried.clone()))?;
        if copies.are_several() && !stored.is_empty() {
            // What is stored already may lie in one zone alone: replicating brings it to all.
            events.retain(|event| !matches!(event, Event::RegionCompleted { .. }));
        }
        let base = base.map(|base| (base.id.clone(), base.content.clone()));
        let state = self.record(storage, events, upload, base, stored).await?;
        // A log that ends before it is refused from here on. It is published all the same.
        let _ = self.session.inner.regions.witness(&self.location, self.account(), &state).await;
        Ok(Some(Published { resource, content, import, degraded: copies.have_lost_one() }))
    }

    /// The commit that makes it exist.
    async fn record(
        &self,
        storage: &StorageProfile,
        events: Vec<Event>,
        upload: &Upload,
        base: Option<(ImageVersionId, ImageContent)>,
        stored: Vec<Stored>,
    ) -> Result<Arc<State>> {
        let (rules, storage, target, inner) =
            (self.rules.clone(), storage.clone(), self.target.clone(), self.session.inner.clone());
        let (origin, location, expected) = (self.origin.clone(), self.location.clone(), self.expected.clone());
        let (of_caller, needs) = (self.session.clone(), self.needs.clone());
        let (upload, claims) = (upload.name, upload.claims.clone());
        let check = move |state: &State| {
            let authorization = of_caller.authorize(state, &needs)?;
            Error::from_problems(rules(state, Some(&storage)))?;
            if !state.still_claims(&location, &claims) {
                return Err(another_store(&location));
            }
            // The upload owns the new packs, the base and the sources the old ones: without any of them, packs may be on
            // their way out.
            let now = expected.look(&origin, state, &inner, &location);
            Error::from_problems(now.problems)?;
            let is_base = |(id, content): &(ImageVersionId, ImageContent)| {
                state.version(id).is_some_and(|record| record.content == *content)
            };
            let based = base.as_ref().is_none_or(is_base);
            if !state.is_open(upload) || !based || now.stored != stored {
                return Err(closed(&target));
            }
            Ok(Changes { events: events.clone(), authorization })
        };
        self.session.inner.catalog.commit(&self.session.caller, check).await
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

impl<T: Send + 'static> IntoFuture for Publication<T> {
    type Output = Result<Published<T>>;
    type IntoFuture = BoxFuture<'static, Result<Published<T>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.publish())
    }
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
}

/// One manifest of all that is stored already.
async fn gather(from: &Holders, stored: &[Stored]) -> Result<Manifest> {
    let (mut disks, mut packs) = (Vec::new(), BTreeMap::new());
    for Stored { lun, content, .. } in stored {
        let manifest = from.manifest(&content.manifest_id()).await?;
        packs.extend(manifest.packs.iter().map(|pack| (pack.id, *pack)));
        // A snapshot has one disk, which gets the LUN that was asked for; all others keep theirs.
        disks.extend(
            manifest
                .disks
                .into_iter()
                .map(|disk| crate::content::manifest::ManifestDisk { lun: lun.or(disk.lun), ..disk }),
        );
    }
    disks.sort_by_key(|disk| disk.lun);
    Ok(Manifest::new(disks, packs.into_values().collect()))
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
        | ErrorKind::Unsupported => false,
    }
}

fn closed(id: &ResourceId) -> Error {
    let what = "another process gave up this upload, or deleted what it builds on: publish again";
    Error::conflict(id.to_string(), what)
}
