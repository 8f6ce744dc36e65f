//! The rules of image definitions.

use super::refusals::{changed_end_of_life, end_of_life, moved, parent_missing, room_for, taken, unchangeable};
use crate::catalog::State;
use crate::error::Problem;
use crate::model::{Gallery, HyperVGeneration, ImageDefinition, SharingPermissions, differences};
use crate::service::session::inner::Inner;
use crate::service::session::rights::Rights;
use chrono::{DateTime, Utc};

/// Returns the problems with creating a definition.
pub(crate) fn create_definition(
    state: &State,
    inner: &Inner,
    rights: &Rights,
    definition: &ImageDefinition,
) -> Vec<Problem> {
    let (id, location) = (definition.id(), definition.location());
    let Some(gallery) = state.gallery(id.gallery()) else { return vec![parent_missing(id.gallery())] };
    if let Some(there) = state.definition(id) {
        return vec![taken(id, there.location(), location)];
    }
    let kind = "Microsoft.Compute/galleries/images";
    let mut problems: Vec<Problem> = inner.region_catalog.problem_with_location(kind, location).into_iter().collect();
    problems.extend(inner.region_catalog.problem_with_cloud(gallery.location(), location, "galleryImage.location"));
    problems.extend(security_type(definition));
    problems.extend(shared_definition(gallery, definition));
    let identifier = definition.identifier();
    if let Some(other) = state.definition_by_identifier(id.gallery(), identifier) {
        // Callers who may see the other definition are told its name.
        let name = match rights.may_see(state, &other.id().into()) {
            true => format!("Gallery image: '{}'", other.id().name()),
            false => "Gallery image".to_owned(),
        };
        let what = format!(
            "{name} identified by (publisher:'{}', offer:'{}', sku:'{}') already exists. Choose a different publisher, \
             offer, sku combination.",
            identifier.publisher(),
            identifier.offer(),
            identifier.sku()
        );
        let target = "galleryImage.properties.identifier";
        problems.push(Problem::conflict(target, what));
    }
    problems.extend(end_of_life("galleryImage.properties", definition.end_of_life_date(), inner.clock.now()));
    let subscription = id.gallery().subscription();
    let [_, usage, _] = state.usage(subscription, location, inner.log_time());
    problems.extend(room_for("image definitions", usage, inner.limits.image_definitions(), subscription, location));
    problems
}

/// Trusted launch and confidential VMs boot by UEFI, which is generation V2.
pub(crate) fn security_type(definition: &ImageDefinition) -> Option<Problem> {
    let value = definition.security_type().filter(|value| !value.eq_ignore_ascii_case("Standard"))?;
    (definition.hyper_v_generation() == HyperVGeneration::V1).then(|| {
        let what =
            format!("security type `{value}` needs Hyper-V generation V2, and the definition has V1: set it to V2");
        Problem::invalid("galleryImage.properties.features", what)
    })
}

/// A community gallery has definitions of one region only, and none with a purchase plan. (Section 5.4.)
pub(crate) fn shared_definition(gallery: &Gallery, definition: &ImageDefinition) -> Vec<Problem> {
    let mut problems = Vec::new();
    if gallery.permissions() == SharingPermissions::Community {
        if definition.location() != gallery.location() {
            let what = format!(
                "a community gallery and its definitions are in one region: `{}` is not `{}`",
                definition.location(),
                gallery.location()
            );
            problems.push(Problem::invalid("galleryImage.location", what));
        }
        if definition.purchase_plan().is_some() {
            let what = "a community gallery takes no image with a marketplace purchase plan: leave the plan out, or share \
                        by roles";
            problems.push(Problem::invalid("galleryImage.properties.purchasePlan", what));
        }
    }
    problems
}

/// The properties of a definition that may change, as [`GALLERY`].
pub(crate) const DEFINITION: &[&str] = &[
    "tags",
    "properties.description",
    "properties.endOfLifeDate",
    "properties.releaseNoteUri",
    "properties.recommended",
    "properties.disallowed",
];

/// Returns the problems with changing a definition.
pub(crate) fn update_definition(old: &ImageDefinition, new: &ImageDefinition, now: DateTime<Utc>) -> Vec<Problem> {
    change_definition(old, new, now, false)
}

/// Returns the problems with changing a definition, with its `features` if that is asked for.
pub(crate) fn change_definition(
    old: &ImageDefinition,
    new: &ImageDefinition,
    now: DateTime<Utc>,
    features: bool,
) -> Vec<Problem> {
    let mut allowed = DEFINITION.to_vec();
    if features {
        allowed.push("properties.features");
    }
    let mut problems = unchangeable(ImageDefinition::TARGET, &allowed, &differences(old, new));
    problems.extend(security_type(new).filter(|_| features));
    problems.extend(moved(&old.id().into(), old.location(), new.location()));
    let (before, after) = (old.end_of_life_date(), new.end_of_life_date());
    problems.extend(changed_end_of_life("galleryImage.properties", before, after, now));
    problems
}
