//! The three things that a publication makes.

use super::new::{NewImageVersion, NewManagedImage, NewSnapshot};
use super::source::{Expected, ImageSource, Source, SourceState, same_subscription, trusted_launch};
use crate::catalog::{Event, ImageContent, State};
use crate::error::{Error, Problem, Result};
use crate::model::{
    CarriedIdentity, DiskImage, HyperVGeneration, ImageVersion, ImageVersionId, ManagedImage, ManagedImageId, OsState,
    OsType, PublishingProfile, Region, ResourceId, SafetyProfile, Snapshot, SnapshotId, StorageAccountType,
    StorageProfile, Tags, VersionSource,
};
use crate::service::rules;
use crate::service::rules::refusals::already_exists;
use crate::service::session::inner::Inner;

/// What a publication makes, its source apart.
pub(crate) trait Target: Send + Sync {
    type Resource;

    fn id(&self) -> ResourceId;

    /// The region that the disks are imported to.
    fn location(&self) -> &Region;

    /// The regions that it goes to; `None` for what stays in one.
    fn profile(&self) -> Option<&PublishingProfile> {
        None
    }

    /// Everything that is wrong with it in `state`; with its disks, where they are known.
    fn problems(&self, inner: &Inner, state: &State, storage: Option<&StorageProfile>) -> Vec<Problem>;

    /// The source as it is in `state`, and what is wrong with it for this target.
    fn look_at(&self, source: &Source, inner: &Inner, state: &State) -> SourceState;

    /// The resource with its disks, and the events that say that it exists. `inherited` is what a source carries.
    fn make(
        &self,
        inner: &Inner,
        state: &State,
        storage: StorageProfile,
        content: ImageContent,
        inherited: Option<CarriedIdentity>,
    ) -> Result<(Self::Resource, Vec<Event>)>;
}

const ANOTHER_NAME: &str = "it exists: choose another name, or delete it first";

/// What is wrong with keeping disks in one region, outside of a gallery; `target` is the resource in a body.
fn in_one_region(inner: &Inner, region: &Region, target: &str, storage: Option<&StorageProfile>) -> Vec<Problem> {
    let unknown = inner.region_catalog.problem_with_location("Microsoft.Compute/images", region);
    let refused = unknown.or_else(|| inner.regions.problem_with(&"location", region, StorageAccountType::default()));
    let disks = storage.into_iter().flat_map(|disks| rules::version::disk_sizes(inner, target, disks, None));
    refused.into_iter().chain(disks).collect()
}

/// A version that is to be published.
pub(crate) struct VersionTarget {
    id: ImageVersionId,
    location: Region,
    profile: PublishingProfile,
    /// The source as the version names it.
    source: Result<Option<VersionSource>>,
    tags: Tags,
    safety_profile: Option<SafetyProfile>,
    carried: Option<CarriedIdentity>,
}

impl VersionTarget {
    pub(crate) fn new(new: NewImageVersion) -> (Self, ImageSource) {
        let NewImageVersion { id, location, publishing_profile: profile, source: from, tags, safety_profile, carried } =
            new;
        let source = from.source.name();
        (Self { id, location, profile, source, tags, safety_profile, carried }, from)
    }

    fn version(&self, profile: &PublishingProfile, storage: StorageProfile) -> Result<ImageVersion> {
        ImageVersion::new(self.id.clone(), self.location.clone(), profile.clone(), storage)
    }
}

/// Looks at the source of a version.
pub(super) fn look_at_version(
    id: &ImageVersionId,
    location: &Region,
    source: &Source,
    inner: &Inner,
    state: &State,
) -> SourceState {
    let definition = state.definition(id.definition());
    let expected = definition.map(|definition| Expected::from(&**definition));
    let mut looked = source.look_at(state, inner, location, expected.as_ref());
    looked.problems.extend(same_subscription(source, id.definition().gallery().subscription()));
    looked.problems.extend(definition.and_then(|definition| trusted_launch(source, definition)));
    looked
}

/// Returns the events of a version that is stored whole where it is at home.
pub(super) fn published(version: ImageVersion, content: ImageContent, carried: Option<CarriedIdentity>) -> Vec<Event> {
    let (id, region) = (version.id().clone(), version.location().clone());
    let is_complete = version.publishing_profile().replicas_in(&region) == Some(1);
    let published = Event::ImageVersionPublished { version, content, carried };
    let completed = Event::RegionCompleted { version: id, region, replicas: 1, cross_region_bytes: 0 };
    std::iter::once(published).chain(is_complete.then_some(completed)).collect()
}

impl Target for VersionTarget {
    type Resource = ImageVersion;

    fn id(&self) -> ResourceId {
        self.id.clone().into()
    }

    fn location(&self) -> &Region {
        &self.location
    }

    fn profile(&self) -> Option<&PublishingProfile> {
        Some(&self.profile)
    }

    fn problems(&self, inner: &Inner, state: &State, storage: Option<&StorageProfile>) -> Vec<Problem> {
        let Self { id, location, profile, .. } = self;
        let mut problems = rules::version::place_for_version(state, inner, id, location);
        problems.extend(rules::version::publishing_profile(state, inner, id, location, profile, storage, None));
        let disks = storage.cloned().map_or_else(|| StorageProfile::new(DiskImage::new(0), Vec::new()), Ok);
        let version = disks.and_then(|disks| self.version(profile, disks));
        let source = self.source.as_ref().err().cloned();
        problems.extend(version.err().into_iter().chain(source).flat_map(Error::into_problems));
        let disks = storage.into_iter();
        problems.extend(
            disks.flat_map(|disks| rules::version::disk_sizes(inner, ImageVersion::TARGET, disks, Some(profile))),
        );
        let definition = state.definition(id.definition());
        if self.carried.is_some() && definition.is_some_and(|one| one.os_state() == OsState::Generalized) {
            let what = "a generalized image carries no accounts and no computer name: leave them out";
            problems.push(Problem::invalid("carriedIdentity", what));
        }
        problems
    }

    fn look_at(&self, source: &Source, inner: &Inner, state: &State) -> SourceState {
        look_at_version(&self.id, &self.location, source, inner, state)
    }

    fn make(
        &self,
        inner: &Inner,
        _: &State,
        storage: StorageProfile,
        content: ImageContent,
        inherited: Option<CarriedIdentity>,
    ) -> Result<(ImageVersion, Vec<Event>)> {
        let profile = self.profile.clone().with_published_date(inner.clock.now());
        let version = self.version(&profile, storage.with_source(self.source.clone()?))?.with_tags(self.tags.clone());
        let version = match self.safety_profile {
            Some(safety) => version.with_safety_profile(safety),
            None => version,
        };
        let carried = self.carried.clone().or(inherited);
        Ok((version.clone(), published(version, content, carried)))
    }
}

/// A managed image that is to be created.
pub(crate) struct ManagedImageTarget {
    id: ManagedImageId,
    location: Region,
    os_type: OsType,
    hyper_v_generation: HyperVGeneration,
    source: Result<Option<VersionSource>>,
    tags: Tags,
}

impl ManagedImageTarget {
    pub(crate) fn new(new: NewManagedImage) -> (Self, ImageSource) {
        let NewManagedImage { id, location, os_type, hyper_v_generation, source: from, tags } = new;
        let source = from.source.name();
        (Self { id, location, os_type, hyper_v_generation, source, tags }, from)
    }
}

impl Target for ManagedImageTarget {
    type Resource = ManagedImage;

    fn id(&self) -> ResourceId {
        self.id.clone().into()
    }

    fn location(&self) -> &Region {
        &self.location
    }

    fn problems(&self, inner: &Inner, state: &State, storage: Option<&StorageProfile>) -> Vec<Problem> {
        if let Some(nowhere) = rules::group::place(state, inner, &self.id) {
            return vec![nowhere];
        }
        let there = state.managed_image(&self.id).map(|_| already_exists(&self.id, ANOTHER_NAME));
        there.into_iter().chain(in_one_region(inner, &self.location, ManagedImage::TARGET, storage)).collect()
    }

    fn look_at(&self, source: &Source, inner: &Inner, state: &State) -> SourceState {
        let expected = Expected {
            os_type: self.os_type,
            os_state: OsState::Generalized,
            hyper_v_generation: self.hyper_v_generation,
            of_definition: None,
        };
        let mut looked = source.look_at(state, inner, &self.location, Some(&expected));
        looked.problems.extend(same_subscription(source, self.id.subscription()));
        looked
    }

    fn make(
        &self,
        _: &Inner,
        _: &State,
        storage: StorageProfile,
        content: ImageContent,
        _: Option<CarriedIdentity>,
    ) -> Result<(ManagedImage, Vec<Event>)> {
        let (id, location) = (self.id.clone(), self.location.clone());
        let storage = storage.with_source(self.source.clone()?);
        let image = ManagedImage::new(id, location, self.os_type, self.hyper_v_generation, storage);
        let image = image.with_tags(self.tags.clone());
        Ok((image.clone(), vec![Event::ManagedImageCreated { image, content }]))
    }
}

/// A snapshot that is to be created.
pub(crate) struct SnapshotTarget {
    id: SnapshotId,
    location: Region,
    os: Option<(OsType, HyperVGeneration)>,
    tags: Tags,
}

impl SnapshotTarget {
    pub(crate) fn new(new: NewSnapshot) -> (Self, ImageSource) {
        let NewSnapshot { id, location, disk, os, tags } = new;
        (Self { id, location, os, tags }, disk.into())
    }
}

impl Target for SnapshotTarget {
    type Resource = Snapshot;

    fn id(&self) -> ResourceId {
        self.id.clone().into()
    }

    fn location(&self) -> &Region {
        &self.location
    }

    fn problems(&self, inner: &Inner, state: &State, storage: Option<&StorageProfile>) -> Vec<Problem> {
        if let Some(nowhere) = rules::group::place(state, inner, &self.id) {
            return vec![nowhere];
        }
        let there = state.snapshot(&self.id).map(|_| already_exists(&self.id, ANOTHER_NAME));
        there.into_iter().chain(in_one_region(inner, &self.location, Snapshot::TARGET, storage)).collect()
    }

    fn look_at(&self, source: &Source, inner: &Inner, state: &State) -> SourceState {
        source.look_at(state, inner, &self.location, None)
    }

    fn make(
        &self,
        _: &Inner,
        _: &State,
        storage: StorageProfile,
        content: ImageContent,
        _: Option<CarriedIdentity>,
    ) -> Result<(Snapshot, Vec<Event>)> {
        let size = storage.os_disk_image().size_in_bytes();
        let snapshot = Snapshot::new(self.id.clone(), self.location.clone(), size);
        let snapshot = snapshot.with_os(self.os).with_tags(self.tags.clone());
        Ok((snapshot.clone(), vec![Event::SnapshotCreated { snapshot, content }]))
    }
}
