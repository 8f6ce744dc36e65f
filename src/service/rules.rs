//! The rule book: what must hold before something is created, changed or deleted, told on a state.
//!
//! Each function returns everything that is wrong. The same functions serve a plan, the check before the first byte
//! moves, and the check at the commit. `docs/rules.md` lists every rule with its source and its test.

use std::fmt::Display;

use chrono::{DateTime, Utc};

use super::authorize::Rights;
use super::parts::Parts;
use crate::catalog::{State, VersionRecord};
use crate::error::{ErrorKind, Problem};
use crate::model::resource::differences;
use crate::model::{
    Gallery, ImageDefinition, ImageVersion, ImageVersionId, PublishingProfile, Region, ReplicationMode, ResourceId,
    SharingPermissions, StorageProfile, SubscriptionId,
};

/// The code of an update that would take a version out of a region against its safety profile.
pub(super) const INCOMPLETE_TARGETS: &str = "BadRequest";

const TARGET_REGIONS: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

pub(super) fn missing(id: &dyn Display) -> Problem {
    Problem::new(ErrorKind::NotFound, "ResourceNotFound", id.to_string(), "it does not exist")
}

fn parent_missing(id: &dyn Display) -> Problem {
    let what = format!(
        "Can not perform requested operation on nested resource. Parent resource '{id}' not found: create it first."
    );
    Problem::new(ErrorKind::NotFound, "ParentResourceNotFound", id.to_string(), what)
}

pub(super) fn already_exists(id: &dyn Display, what: &str) -> Problem {
    Problem::new(ErrorKind::AlreadyExists, "Conflict", id.to_string(), what)
}

/// What is wrong with creating a resource where `there` is already.
fn taken(id: &dyn Display, there: &Region, wanted: &Region) -> Problem {
    if there == wanted {
        return already_exists(id, "it exists with other properties: update it, or choose another name");
    }
    let what = format!(
        "it already exists in location '{there}'. A resource with the same name cannot be created in location \
         '{wanted}': choose another name"
    );
    Problem::new(ErrorKind::Conflict, "InvalidResourceLocation", id.to_string(), what)
}

/// The id, or no more than that there is one, to somebody who may not see it.
fn if_seen(state: &State, rights: &Rights, id: ResourceId) -> String {
    if rights.may_see(state, &id) { format!("'{id}'") } else { "another one".to_owned() }
}

/// Refuses one more of `what` where the limit is reached.
fn room_for(
    what: &str,
    usage: usize,
    limit: usize,
    subscription: &SubscriptionId,
    location: &Region,
) -> Option<Problem> {
    (usage >= limit).then(|| {
        let message = format!(
            "Operation could not be completed as it results in exceeding approved {what} quota of subscription \
             `{subscription}` in region `{location}`. Current Limit: {limit}, Current Usage: {usage}, Additional \
             Required: 1. Delete some, or raise the limit."
        );
        Problem::new(ErrorKind::LimitReached, "OperationNotAllowed", what, message)
    })
}

/// Dates of an end of life lie ahead when they are set.
fn end_of_life(target: &str, date: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Problem> {
    let past = date.filter(|date| *date <= now)?;
    let what = format!("EndOfLifeDate must be set to a future date: `{past}` is not after `{now}`.");
    Some(Problem::invalid(format!("{target}.endOfLifeDate"), what))
}

/// What is wrong with creating a gallery.
pub(super) fn create_gallery(state: &State, parts: &Parts, rights: &Rights, gallery: &Gallery) -> Vec<Problem> {
    let (id, location) = (gallery.id(), gallery.location());
    if let Some(there) = state.gallery(id) {
        return vec![taken(id, there.location(), location)];
    }
    let mut problems: Vec<Problem> =
        parts.region_catalog.problem_with_location("Microsoft.Compute/galleries", location).into_iter().collect();
    let same_name = |other: &&std::sync::Arc<Gallery>| {
        other.id().subscription() == id.subscription() && other.id().name() == id.name()
    };
    if let Some(other) = state.galleries(None).find(same_name) {
        let what = format!(
            "gallery name `{}` is not unique within the subscription: {} has it; choose another",
            id.name(),
            if_seen(state, rights, other.id().into())
        );
        problems.push(Problem::new(ErrorKind::Conflict, "OperationNotAllowed", "gallery.name", what));
    }
    problems.extend(sharing(gallery));
    let [usage, ..] = state.usage(id.subscription(), location, parts.log_time());
    problems.extend(room_for("galleries", usage, parts.limits.galleries(), id.subscription(), location));
    problems
}

/// A community gallery tells who publishes it; others have nothing to tell.
fn sharing(gallery: &Gallery) -> Option<Problem> {
    let profile = gallery.sharing_profile()?;
    let is_community = profile.permissions() == SharingPermissions::Community;
    let what = match (is_community, profile.community_gallery_info().is_some()) {
        (true, false) => "a community gallery needs communityGalleryInfo: publisher URI, contact, EULA and name prefix",
        (false, true) => "communityGalleryInfo is only for permissions `Community`: leave it out",
        _ => return None,
    };
    Some(Problem::invalid("gallery.properties.sharingProfile.communityGalleryInfo", what))
}

/// What is wrong with creating a definition.
pub(super) fn create_definition(
    state: &State,
    parts: &Parts,
    rights: &Rights,
    definition: &ImageDefinition,
) -> Vec<Problem> {
    let (id, location) = (definition.id(), definition.location());
    if state.gallery(id.gallery()).is_none() {
        return vec![parent_missing(id.gallery())];
    }
    if let Some(there) = state.definition(id) {
        return vec![taken(id, there.location(), location)];
    }
    let kind = "Microsoft.Compute/galleries/images";
    let mut problems: Vec<Problem> = parts.region_catalog.problem_with_location(kind, location).into_iter().collect();
    let identifier = definition.identifier();
    if let Some(other) = state.definitions(id.gallery(), None).find(|other| other.identifier() == identifier) {
        let what = format!(
            "Gallery image: {} identified by (publisher:'{}', offer:'{}', sku:'{}') already exists. Choose a \
             different publisher, offer, sku combination.",
            if_seen(state, rights, other.id().into()),
            identifier.publisher(),
            identifier.offer(),
            identifier.sku()
        );
        let target = "galleryImage.properties.identifier";
        problems.push(Problem::new(ErrorKind::Conflict, "OperationNotAllowed", target, what));
    }
    problems.extend(end_of_life("galleryImage.properties", definition.end_of_life_date(), parts.clock.now()));
    let subscription = id.gallery().subscription();
    let [_, usage, _] = state.usage(subscription, location, parts.log_time());
    problems.extend(room_for("image definitions", usage, parts.limits.image_definitions(), subscription, location));
    problems
}

/// What is wrong with the place that a version is to have in the catalog.
pub(super) fn place_for_version(state: &State, parts: &Parts, id: &ImageVersionId, location: &Region) -> Vec<Problem> {
    if state.definition(id.definition()).is_none() {
        return vec![parent_missing(id.definition())];
    }
    let now = parts.log_time();
    if let Some(there) = state.version(id).filter(|there| !state.is_gone(there, now)) {
        return vec![match there.soft_deleted {
            None => already_exists(id, "a published version never changes: publish under the next number"),
            Some(_) => already_exists(id, "it was deleted and can be restored: restore it, or take another number"),
        }];
    }
    let subscription = id.definition().gallery().subscription();
    let [_, _, usage] = state.usage(subscription, location, now);
    room_for("image versions", usage, parts.limits.image_versions(), subscription, location).into_iter().collect()
}

/// What is wrong with where a version goes.
pub(super) fn publishing_profile(
    parts: &Parts,
    now: DateTime<Utc>,
    id: &ImageVersionId,
    home: &Region,
    profile: &PublishingProfile,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let subscription = id.definition().gallery().subscription();
    for target in profile.target_regions().iter() {
        let region = target.region();
        let account = profile.storage_account_type_in(region);
        let refused = parts.region_catalog.problems_with_target(subscription, home, region, account);
        // A region that there is none of has no store either: that is not to be told as well.
        if refused.is_empty() {
            problems.extend(parts.regions.problem_with(region));
        }
        problems.extend(refused);
        let replicas = profile.replicas_in(region).unwrap_or(0);
        let shallow = profile.replication_mode() == ReplicationMode::Shallow;
        let most = if shallow { 1 } else { parts.limits.replicas_per_region() };
        if replicas > most {
            let why = if shallow { " in replication mode Shallow" } else { "" };
            let what = format!(
                "The value '{replicas}' of parameter 'regionalReplicaCount' for region `{region}` is out of range. The \
                 value must be between '1' and '{most}', inclusive{why}."
            );
            problems.push(Problem::invalid(TARGET_REGIONS, what));
        }
    }
    problems.extend(end_of_life("galleryImageVersion.properties.publishingProfile", profile.end_of_life_date(), now));
    problems
}

/// What is wrong with the sizes of disks.
pub(super) fn disk_sizes(parts: &Parts, target: &str, storage: &StorageProfile) -> Vec<Problem> {
    let os_disk = std::iter::once(("osDiskImage".to_owned(), storage.os_disk_image().size_in_bytes()));
    let data_disks = storage.data_disk_images().iter();
    let data_disks = data_disks.map(|disk| (format!("dataDiskImages[{}]", disk.lun()), disk.size_in_bytes()));
    let most = parts.limits.max_disk_bytes();
    let too_large = os_disk.chain(data_disks).filter(|(_, size)| *size > most);
    too_large.map(|(disk, size)| disk_size(&format!("{target}.properties.storageProfile.{disk}"), size, most)).collect()
}

fn disk_size(target: &str, size: u64, most: u64) -> Problem {
    let what = format!(
        "the source resource size {size} exceeds the max size {most} supported, in bytes: shrink the disk, or raise the \
         limit"
    );
    Problem::new(ErrorKind::Invalid, "GallerySourceResourceExceedsMaxSize", target, what)
}

/// The properties that may change once a gallery exists. Everything else is refused by name.
const GALLERY: &[&str] = &["tags", "properties.description", "properties.softDeletePolicy"];

/// As [`GALLERY`], for a definition.
const DEFINITION: &[&str] = &[
    "tags",
    "properties.description",
    "properties.endOfLifeDate",
    "properties.releaseNoteUri",
    "properties.recommended",
    "properties.disallowed",
];

/// As [`GALLERY`], for a version.
const VERSION: &[&str] = &[
    "tags",
    "properties.publishingProfile.targetRegions",
    "properties.publishingProfile.replicaCount",
    "properties.publishingProfile.excludeFromLatest",
    "properties.publishingProfile.endOfLifeDate",
    "properties.safetyProfile",
];

/// One problem for each property that differs and must not.
fn unchangeable(target: &str, allowed: &[&str], changed: &[String]) -> Vec<Problem> {
    let may = |path: &&String| allowed.iter().any(|allowed| path.strip_prefix(allowed).is_some_and(is_below));
    let refused = changed.iter().filter(|path| !may(path));
    let problems = refused.map(|path| {
        let property = format!("{target}.{path}");
        let what = format!("Changing property '{property}' is not allowed: create another resource instead.");
        Problem::new(ErrorKind::Conflict, "PropertyChangeNotAllowed", property, what)
    });
    problems.collect()
}

fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

/// What is wrong with changing a gallery.
pub(super) fn update_gallery(old: &Gallery, new: &Gallery) -> Vec<Problem> {
    let mut problems = unchangeable(Gallery::TARGET, GALLERY, &differences(old, new));
    problems.extend(sharing(new));
    problems
}

/// What is wrong with changing a definition.
pub(super) fn update_definition(old: &ImageDefinition, new: &ImageDefinition, now: DateTime<Utc>) -> Vec<Problem> {
    let mut problems = unchangeable(ImageDefinition::TARGET, DEFINITION, &differences(old, new));
    let (before, after) = (old.end_of_life_date(), new.end_of_life_date());
    problems.extend(changed_end_of_life("galleryImage.properties", before, after, now));
    problems
}

/// A date that is set again lies ahead, and one that was set is not taken away.
fn changed_end_of_life(
    target: &str,
    old: Option<DateTime<Utc>>,
    new: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<Problem> {
    match (old, new) {
        (Some(_), None) => {
            let target = format!("{target}.endOfLifeDate");
            let what = "an end-of-life date cannot be unset once it is set: set a later one".to_owned();
            Some(Problem::new(ErrorKind::Conflict, "PropertyChangeNotAllowed", target, what))
        }
        _ if old == new => None,
        _ => end_of_life(target, new, now),
    }
}

/// What is wrong with changing a version.
pub(super) fn update_version(
    parts: &Parts,
    now: DateTime<Utc>,
    old: &VersionRecord,
    new: &ImageVersion,
) -> Vec<Problem> {
    let (id, was) = (new.id(), &old.version);
    if old.soft_deleted.is_some() {
        let what = format!(
            "Operation 'Update Gallery Image Version' is not allowed on {} since it is marked for deletion: restore it \
             first.",
            id.number()
        );
        return vec![Problem::new(ErrorKind::Conflict, "OperationNotAllowed", id.to_string(), what)];
    }
    let mut problems = unchangeable(ImageVersion::TARGET, VERSION, &differences(&**was, new));
    let (before, after) = (was.publishing_profile(), new.publishing_profile());
    let mut fresh = publishing_profile(parts, now, id, was.location(), after);
    if before.end_of_life_date() == after.end_of_life_date() {
        // A date that has passed since it was set stays as it is.
        fresh.retain(|problem| !problem.target().ends_with("endOfLifeDate"));
    }
    problems.extend(fresh);
    if before.end_of_life_date().is_some() && after.end_of_life_date().is_none() {
        let (old, new) = (before.end_of_life_date(), None);
        let target = "galleryImageVersion.properties.publishingProfile";
        problems.extend(changed_end_of_life(target, old, new, now));
    }
    let regions = || before.target_regions().iter().map(|target| target.region());
    let removed: Vec<_> = regions().filter(|region| after.target_regions().find(region).is_none()).collect();
    if !removed.is_empty() && !new.safety_profile().allows_deletion_of_replicated_locations() {
        let removed = removed.iter().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
        let what = format!(
            "Complete set of target locations not specified while updating gallery artifact '{}': {removed} would be \
             removed; name them too, or set safetyProfile.allowDeletionOfReplicatedLocations",
            id.number()
        );
        problems.push(Problem::new(ErrorKind::Conflict, INCOMPLETE_TARGETS, TARGET_REGIONS, what));
    }
    for region in regions().filter(|region| after.target_regions().find(region).is_some()) {
        let encryption = |profile: &PublishingProfile| {
            profile.target_regions().find(region).and_then(|target| target.encryption().cloned())
        };
        if encryption(before) != encryption(after) {
            let what = format!("the encryption of the existing target region '{region}' cannot be changed on update");
            problems.push(Problem::new(ErrorKind::Conflict, "InvalidParameter", TARGET_REGIONS, what));
        }
        let (had, has) = (before.storage_account_type_in(region), after.storage_account_type_in(region));
        if had != has {
            let what = format!(
                "the storage account type {has:?} does not match the one in the existing target region '{region}': \
                 specify {had:?}, or take the region out and in again"
            );
            problems.push(Problem::new(ErrorKind::Conflict, "InvalidParameter", TARGET_REGIONS, what));
        }
    }
    problems
}

/// Children go first.
pub(super) fn has_children(id: &dyn Display, count: usize, seen: &[ResourceId]) -> Option<Problem> {
    let first = seen.iter().take(5).map(|child| format!("'{child}'")).collect::<Vec<_>>().join(", ");
    (count > 0).then(|| {
        let first = if first.is_empty() { "that you may not see".to_owned() } else { format!("such as {first}") };
        let what = format!(
            "Cannot delete resource while nested resources exist, {first}. Please delete all nested resources first, or \
             delete with cascade."
        );
        Problem::new(ErrorKind::Conflict, "CannotDeleteResource", id.to_string(), what)
    })
}

/// What keeps a version from being deleted.
pub(super) fn delete_version(version: &ImageVersion, now: DateTime<Utc>) -> Option<Problem> {
    if !version.safety_profile().blocks_deletion_before_end_of_life() {
        return None;
    }
    let ends = version.publishing_profile().end_of_life_date();
    if ends.is_some_and(|date| date <= now) {
        return None;
    }
    let until = ends.map_or("it has no end-of-life date".to_owned(), |date| format!("its end of life is {date}"));
    let what = format!(
        "deletion is not allowed, end of life not reached: {until}; unset safetyProfile.blockDeletionBeforeEndOfLife to \
         delete it all the same"
    );
    let code = "DeleteGalleryImageVersionBlockedBeforeEndOfLife";
    Some(Problem::new(ErrorKind::Conflict, code, version.id().to_string(), what))
}
