//! Creating and updating what has no bytes: galleries, definitions, and where versions go.

use super::pending::Change;
use crate::access::Action;
use crate::catalog::{Event, State, VersionRecord};
use crate::error::Problem;
use crate::model::{Gallery, GalleryId, ImageDefinition, ImageVersion, ImageVersionId, differences};
use crate::service::rules;
use crate::service::rules::refusals::missing;
use crate::service::rules::version::RegionProtection;
use crate::service::session::inner::Inner;
use crate::service::session::plan::{Plan, RegionPlan};
use crate::service::session::rights::{Need, Rights};
use crate::service::session::session::Session;

impl Session {
    /// Creates a gallery. Creating again what exists with the same properties succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `Forbidden`, also where its soft-delete policy is on and the caller may not share it; `AlreadyExists` with other properties; `Conflict` where the name is taken in the subscription; `Invalid`;
    /// `LimitReached`; `Unavailable`, `StorageFull`, `Unknown`.
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
        Change::new(self, needs, judge, |_| created)
    }

    /// Creates an image definition. Creating again what exists with the same properties succeeds and changes nothing.
    ///
    /// # Errors
    ///
    /// `NotFound` without the gallery; `AlreadyExists` with other properties; `Conflict` where publisher, offer and SKU
    /// are those of another definition of the gallery; `Invalid`; `LimitReached`; `Unavailable`, `StorageFull`,
    /// `Unknown`.
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
        Change::new(self, needs, judge, |_| created)
    }

    /// Gives a gallery other properties: description, tags and soft-delete policy can change.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Conflict` (`PropertyChangeNotAllowed`) for any other property that differs, each by name;
    /// `Unavailable`, `StorageFull`, `Unknown`.
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
        Change::new(self, needs, judge, |_| updated)
    }

    /// Gives a definition other properties: description, tags, end of life, release notes, recommended vCPUs and memory,
    /// disallowed disk types can change.
    ///
    /// # Errors
    ///
    /// As [`update_gallery`](Self::update_gallery), and `Invalid` for an end of life that is past.
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
        Change::new(self, needs, judge, |_| updated)
    }

    /// Gives a version other target regions, replica counts, exclusion from latest, end of life, safety profile or tags.
    /// [`replicate`](Self::replicate) then brings its bytes to the regions and replicas that were added.
    ///
    /// # Errors
    ///
    /// As [`update_gallery`](Self::update_gallery); `Invalid` where regions would be removed and the safety profile does
    /// not allow it, and as for [`publish`](Self::publish).
    pub fn update_image_version(&self, version: ImageVersion) -> Change<ImageVersion> {
        let (updated, needs) = (version.clone(), vec![Need::new(Action::WriteVersion, version.id())]);
        let judge = move |state: &crate::catalog::State, inner: &Inner| {
            let there = state.version(version.id()).filter(|record| !state.is_gone(record, inner.log_time()));
            let Some(old) = there else {
                return Plan::refused(vec![missing(version.id())]);
            };
            // The service's own date is not the caller's to give.
            let version = version.published_as(&old.version).spelled_as(&old.version);
            if differences(&*old.version, &version).is_empty() {
                return Plan::default();
            }
            let problems = rules::version::update_version(state, inner, old, &version, RegionProtection::Held);
            let plan = Plan::of_event(problems, Event::ImageVersionUpdated { version: version.clone() });
            Plan { regions: moves(inner, old, &version), ..plan }
        };
        Change::new(self, needs, judge, |_| updated)
    }

    /// Restores a version that was deleted in a gallery with a soft-delete policy.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none, or its retention is over; `Unavailable`, `StorageFull`, `Unknown`.
    pub fn restore(&self, version: &ImageVersionId) -> Change<()> {
        let (id, needs) = (version.clone(), vec![Need::new(Action::WriteVersion, version)]);
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

/// What keeps the caller from deciding what of a gallery can be restored. What is deleted by mistake is no writer's to decide: it
/// takes the right to share, as in the service.
pub(crate) fn may_not_switch_soft_delete(rights: &Rights, state: &State, gallery: &GalleryId) -> Vec<Problem> {
    rights.require(state, &[Need::new(Action::ShareGallery, gallery)]).err().unwrap_or_default()
}

/// What changing a version moves: everything, where a region is new; a copy for each new replica.
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
