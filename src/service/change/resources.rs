//! Creating and updating galleries, definitions and the target regions of versions: changes that move no bytes.

use super::pending::Change;
use crate::access::Action;
use crate::catalog::{Event, State, VersionRecord};
use crate::error::{Error, Problem, Result};
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageVersion, ImageVersionId, TargetRegion, TargetRegions, differences, given,
};
use crate::service::rules;
use crate::service::rules::refusals::missing;
use crate::service::rules::version::RegionProtection;
use crate::service::session::inner::Inner;
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::rights::{Need, Rights};
use crate::service::session::session::Session;

/// # Galleries, definitions and versions
impl Session {
    /// Creates a gallery. Creating an existing gallery with the same properties succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `Forbidden`, also if its soft-delete policy is on and the caller may not share it; `AlreadyExists` with other
    /// properties; `Conflict` if another gallery of the subscription has the name; `Invalid`; `LimitReached`;
    /// `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::{Gallery, GalleryId};
    ///
    /// let id: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Other".parse()?;
    /// session.create_gallery(Gallery::new(id.clone(), "West Europe".parse()?)).await?;
    /// assert!(session.view().gallery(&id).is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn create_gallery(&self, gallery: Gallery) -> Change<Gallery> {
        let (created, needs) = (gallery.clone(), vec![Need::new(Action::WriteGallery, gallery.id())]);
        let rights = self.clone();
        let judge = move |state: &_, inner: &_| {
            let there = crate::catalog::State::gallery(state, gallery.id());
            if there.is_some_and(|there| differences(&**there, &gallery.spelled_as(there)).is_empty()) {
                return Plan::default();
            }
            let mut problems = rules::gallery::create_gallery(state, inner, &rights.rights(), &gallery);
            if gallery.soft_delete_policy().is_enabled() {
                problems.extend(may_not_switch_soft_delete(&rights.rights(), state, gallery.id()));
            }
            Plan::of_event(problems, Event::GalleryCreated { gallery: gallery.clone() })
        };
        Change::new(self, needs, judge, move |_| created.clone())
    }

    /// Creates an image definition. Creating an existing definition with the same properties succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the gallery; `AlreadyExists` with other properties; `Conflict` if another definition
    /// of the gallery has the same publisher, offer and SKU; `Invalid`; `LimitReached`; `Unavailable`, `StorageFull`,
    /// `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::{ImageDefinition, ImageIdentifier, OsState, OsType};
    ///
    /// let id = sandbox.image().gallery().image("database".parse()?);
    /// let names = ImageIdentifier::new("Contoso", "Database", "Standard")?;
    /// let (os, state) = (OsType::Linux, OsState::Specialized);
    /// session.create_image_definition(ImageDefinition::new(id.clone(), "westeurope".parse()?, os, state, names)).await?;
    /// assert_eq!(session.view().image_definition(&id)?.os_state(), OsState::Specialized);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn create_image_definition(&self, definition: ImageDefinition) -> Change<ImageDefinition> {
        let (created, needs) = (definition.clone(), vec![Need::new(Action::WriteImage, definition.id())]);
        let rights = self.clone();
        let judge = move |state: &_, inner: &Inner| {
            let there = crate::catalog::State::definition(state, definition.id());
            if there.is_some_and(|there| differences(&**there, &definition.spelled_as(there)).is_empty()) {
                return Plan::default();
            }
            let problems = rules::definition::create_definition(state, inner, &rights.rights(), &definition);
            Plan::of_event(problems, Event::ImageDefinitionCreated { definition: definition.clone() })
        };
        Change::new(self, needs, judge, move |_| created.clone())
    }

    /// Changes the description, the tags or the soft-delete policy of a gallery.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound`; `Conflict` (`PropertyChangeNotAllowed`) for each other property that differs;
    /// `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let gallery = session.view().gallery(sandbox.image().gallery())?;
    /// session.update_gallery((*gallery).clone().with_description("Golden images")).await?;
    /// assert_eq!(session.view().gallery(gallery.id())?.description(), Some("Golden images"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn update_gallery(&self, gallery: Gallery) -> Change<Gallery> {
        let (updated, needs) = (gallery.clone(), vec![Need::new(Action::WriteGallery, gallery.id())]);
        let session = self.clone();
        let judge = move |state: &crate::catalog::State, _: &_| {
            let Some(old) = state.gallery(gallery.id()) else {
                return Plan::refused(vec![missing(gallery.id())]);
            };
            let gallery = gallery.spelled_as(old);
            if differences(&**old, &gallery).is_empty() {
                return Plan::default();
            }
            let mut problems = rules::gallery::update_gallery(state, old, &gallery);
            if old.soft_delete_policy() != gallery.soft_delete_policy() {
                problems.extend(may_not_switch_soft_delete(&session.rights(), state, gallery.id()));
            }
            Plan::of_event(problems, Event::GalleryUpdated { gallery: gallery.clone() })
        };
        Change::new(self, needs, judge, move |_| updated.clone())
    }

    /// Changes the description, tags, end of life, release notes, recommended vCPUs and memory, or disallowed disk types of
    /// a definition.
    ///
    /// # Errors
    ///
    /// As [`update_gallery`](Self::update_gallery), and `Invalid` for an end of life in the past.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let definition = session.view().image_definition(sandbox.image())?;
    /// session.update_image_definition((*definition).clone().with_description("Web servers")).await?;
    /// assert_eq!(session.view().image_definition(sandbox.image())?.description(), Some("Web servers"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn update_image_definition(&self, definition: ImageDefinition) -> Change<ImageDefinition> {
        let (updated, needs) = (definition.clone(), vec![Need::new(Action::WriteImage, definition.id())]);
        let judge = move |state: &crate::catalog::State, inner: &Inner| {
            let Some(old) = state.definition(definition.id()) else {
                return Plan::refused(vec![missing(definition.id())]);
            };
            let definition = definition.spelled_as(old);
            if differences(&**old, &definition).is_empty() {
                return Plan::default();
            }
            let problems = rules::definition::update_definition(old, &definition, inner.clock.now());
            Plan::of_event(problems, Event::ImageDefinitionUpdated { definition: definition.clone() })
        };
        Change::new(self, needs, judge, move |_| updated.clone())
    }

    /// Changes the target regions, replica counts, exclusion from latest, end of life, safety profile or tags of a version.
    /// [`replicate`](Self::replicate) then brings its bytes to the regions and replicas that were added.
    ///
    /// # Errors
    ///
    /// As [`update_gallery`](Self::update_gallery); `Invalid` if regions would be removed and the safety profile does not
    /// allow it, and as for [`publish`](Self::publish).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::model::ReplicaCount;
    ///
    /// let eastus = "eastus".parse()?;
    /// let old = session.view().image_version(&version)?;
    /// let profile = old.publishing_profile().clone().with_replicas_in(&eastus, ReplicaCount::new(3)?);
    /// session.update_image_version((*old).clone().with_publishing_profile(profile)?).await?;
    /// let report = session.replicate(&version).await?;
    /// assert_eq!(report.regions[1].replicas, 3);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn update_image_version(&self, version: ImageVersion) -> Change<ImageVersion> {
        let (updated, needs) = (version.clone(), vec![Need::new(Action::WriteVersion, version.id())]);
        let judge = move |state: &crate::catalog::State, inner: &Inner| {
            let there = state.version(version.id()).filter(|record| !state.is_gone(record, inner.log_time()));
            let Some(old) = there else {
                return Plan::refused(vec![missing(version.id())]);
            };
            // Callers cannot set the date that the service sets.
            let version = version.published_as(&old.version).spelled_as(&old.version);
            if differences(&*old.version, &version).is_empty() {
                return Plan::default();
            }
            let problems = rules::version::update_version(state, inner, old, &version, RegionProtection::Held);
            let plan = Plan::of_event(problems, Event::ImageVersionUpdated { version: version.clone() });
            Plan { regions: moves(inner, old, &version), ..plan }
        };
        Change::new(self, needs, judge, move |_| updated.clone())
    }

    /// Excludes a version from being the latest, or ends that: in all regions, also in those that have a flag of their own.
    ///
    /// # Errors
    ///
    /// As [`update_image_version`](Self::update_image_version).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// sandbox.publish("1.0.1", vec![8; 4096]).await?;
    /// session.exclude_from_latest(sandbox.version("1.0.1"), true).await?;
    /// assert_eq!(session.view().latest(sandbox.image(), "eastus")?.id(), &sandbox.version("1.0.0"));
    /// session.exclude_from_latest(sandbox.version("1.0.1"), false).await?;
    /// assert_eq!(session.view().latest(sandbox.image(), "eastus")?.id(), &sandbox.version("1.0.1"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn exclude_from_latest(
        &self,
        version: impl TryInto<ImageVersionId, Error: Into<Error>>,
        exclude: bool,
    ) -> Change<()> {
        Change::of(given(version), |id: ImageVersionId| {
            let needs = vec![Need::new(Action::WriteVersion, &id)];
            let judge = move |state: &crate::catalog::State, inner: &Inner| {
                let there = state.version(&id).filter(|record| !state.is_gone(record, inner.log_time()));
                let Some(old) = there else {
                    return Plan::refused(vec![missing(&id)]);
                };
                let version = match excluded(&old.version, exclude) {
                    Ok(version) if differences(&*old.version, &version).is_empty() => return Plan::default(),
                    Ok(version) => version,
                    Err(error) => return Plan::refused(error.into_problems()),
                };
                let problems = rules::version::update_version(state, inner, old, &version, RegionProtection::Held);
                Plan::of_event(problems, Event::ImageVersionUpdated { version })
            };
            Change::new(self, needs, judge, |_| ())
        })
    }

    /// Restores a version that was deleted in a gallery with a soft-delete policy.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` if the version does not exist or its retention is over; `Unavailable`, `StorageFull`,
    /// `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::model::SoftDeletePolicy;
    ///
    /// let gallery = session.view().gallery(image.gallery())?;
    /// session.update_gallery((*gallery).clone().with_soft_delete_policy(SoftDeletePolicy::enabled())).await?;
    /// session.delete(&version).await?;
    /// assert!(session.view().latest(image, "eastus").is_err());
    /// session.restore(&version).await?;
    /// assert_eq!(session.view().latest(image, "eastus")?.id(), &version);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn restore(&self, version: impl TryInto<ImageVersionId, Error: Into<Error>>) -> Change<()> {
        Change::of(given(version), |version| self.restored(version))
    }

    fn restored(&self, id: ImageVersionId) -> Change<()> {
        let needs = vec![Need::new(Action::WriteVersion, &id)];
        let judge = move |state: &crate::catalog::State, inner: &Inner| {
            let there = state.version(&id).filter(|record| !state.is_gone(record, inner.log_time()));
            match there.map(|record| record.soft_deleted) {
                None => Plan::refused(vec![missing(&id)]),
                Some(None) => Plan::default(),
                Some(Some(_)) => Plan::of_event(Vec::new(), Event::ImageVersionRestored { version: id.clone() }),
            }
        };
        Change::new(self, needs, judge, |_| ())
    }
}

/// Retention guards against mistakes, so changing it needs the share permission, as in Azure.
pub(crate) fn may_not_switch_soft_delete(rights: &Rights, state: &State, gallery: &GalleryId) -> Vec<Problem> {
    rights.require(state, &[Need::new(Action::ShareGallery, gallery)]).err().unwrap_or_default()
}

/// Returns the bytes that a changed version moves: everything to a new region, a copy for each new replica.
fn excluded(version: &ImageVersion, exclude: bool) -> Result<ImageVersion> {
    let profile = version.publishing_profile();
    let own = |target: &TargetRegion| match target.exclude_from_latest() {
        Some(_) => target.clone().with_exclude_from_latest(exclude),
        None => target.clone(),
    };
    let regions = TargetRegions::new(profile.target_regions().iter().map(own).collect())?;
    let profile = profile.clone().with_target_regions(regions).with_exclude_from_latest(exclude);
    version.clone().with_publishing_profile(profile)
}

pub(crate) fn moves(inner: &Inner, old: &VersionRecord, new: &ImageVersion) -> Vec<RegionPlan> {
    let (profile, size) = (new.publishing_profile(), old.content.stored_bytes);
    let targets = profile.target_regions().iter().map(|target| target.region());
    let plans = targets.filter_map(|region| {
        let (wanted, ready) = (profile.replicas_in(region)?, old.replicas_ready(region));
        let crossing = if ready == 0 && region != new.location() { size } else { 0 };
        let stored = size * u64::from(wanted.saturating_sub(ready));
        (stored > 0).then(|| RegionPlan::new(inner, new.location(), profile, region, (wanted, crossing, stored)))
    });
    plans.collect()
}
