//! The rules that an operation must keep, made on a state. Each is made before any byte moves and again at the commit.

use super::regions::Regions;
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{Gallery, ImageDefinition, ImageVersion, ImageVersionId, Limits, Region, SubscriptionId};

/// Whether `wanted` is to be created: false where the very same is there.
fn is_new<T: PartialEq>(there: Option<&T>, wanted: &T, id: &dyn std::fmt::Display) -> Result<bool> {
    match there {
        None => Ok(true),
        Some(there) if there == wanted => Ok(false),
        Some(_) => {
            Err(already_exists(id, "it exists with other properties: choose another name, or use what is there"))
        }
    }
}

fn already_exists(id: &dyn std::fmt::Display, what: &str) -> Error {
    Error::new(Problem::new(ErrorKind::AlreadyExists, "Conflict", id.to_string(), what))
}

fn parent_missing(id: &dyn std::fmt::Display) -> Error {
    Error::new(Problem::new(
        ErrorKind::NotFound,
        "ParentResourceNotFound",
        id.to_string(),
        "it does not exist: create it first",
    ))
}

/// Refuses one more of `what` where the limit is reached.
fn room_for(what: &str, usage: usize, limit: usize, subscription: &SubscriptionId, location: &Region) -> Result<()> {
    if usage < limit {
        return Ok(());
    }
    let message = format!(
        "subscription `{subscription}` has `{usage}` {what} in region `{location}` and may have at most {limit}: \
         delete some, or raise the limit"
    );
    Err(Error::new(Problem::new(ErrorKind::LimitReached, "QuotaExceeded", what, message)))
}

/// Whether the gallery is to be created.
pub(super) fn create_gallery(state: &State, limits: &Limits, gallery: &Gallery) -> Result<bool> {
    let id = gallery.id();
    if !is_new(state.gallery(id), gallery, id)? {
        return Ok(false);
    }
    let same_name = |other: &&Gallery| other.id().subscription() == id.subscription() && other.id().name() == id.name();
    if let Some(other) = state.galleries().find(same_name) {
        let what = format!(
            "gallery name `{}` is not unique within the subscription: `{}` has it; choose another",
            id.name(),
            other.id()
        );
        return Err(Error::new(Problem::new(ErrorKind::Conflict, "OperationNotAllowed", "gallery.name", what)));
    }
    let [usage, ..] = state.usage(id.subscription(), gallery.location());
    room_for("galleries", usage, limits.galleries(), id.subscription(), gallery.location())?;
    Ok(true)
}

/// Whether the definition is to be created.
pub(super) fn create_definition(state: &State, limits: &Limits, definition: &ImageDefinition) -> Result<bool> {
    let id = definition.id();
    if state.gallery(id.gallery()).is_none() {
        return Err(parent_missing(id.gallery()));
    }
    if !is_new(state.definition(id), definition, id)? {
        return Ok(false);
    }
    let identifier = definition.identifier();
    if let Some(other) = state.definitions(id.gallery()).find(|other| other.identifier() == identifier) {
        let what = format!(
            "gallery image: `{}` identified by (publisher:`{}`, offer:`{}`, sku:`{}`) already exists: choose a \
             different publisher, offer, sku combination",
            other.id().name(),
            identifier.publisher(),
            identifier.offer(),
            identifier.sku()
        );
        let target = "galleryImage.properties.identifier";
        return Err(Error::new(Problem::new(ErrorKind::Conflict, "OperationNotAllowed", target, what)));
    }
    let subscription = id.gallery().subscription();
    let [_, usage, _] = state.usage(subscription, definition.location());
    room_for("image definitions", usage, limits.image_definitions(), subscription, definition.location())?;
    Ok(true)
}

/// Refuses a version that has no place in the catalog.
pub(super) fn place_for_version(state: &State, limits: &Limits, id: &ImageVersionId, location: &Region) -> Result<()> {
    if state.definition(id.definition()).is_none() {
        return Err(parent_missing(id.definition()));
    }
    if state.version(id).is_some() {
        return Err(already_exists(id, "a published version never changes: publish under the next number"));
    }
    let subscription = id.definition().gallery().subscription();
    let [_, _, usage] = state.usage(subscription, location);
    room_for("image versions", usage, limits.image_versions(), subscription, location)
}

/// Refuses a version that this service can't hold: everything that is wrong with it.
pub(super) fn version_fits(version: &ImageVersion, limits: &Limits, regions: &Regions) -> Result<()> {
    let mut problems = Vec::new();
    let profile = version.publishing_profile();
    for target in profile.target_regions().iter() {
        problems.extend(regions.problem_with(target.region()));
        let replicas = profile.replicas_in(target.region()).unwrap_or(0);
        let most = limits.replicas_per_region();
        if replicas > most {
            let what = format!(
                "the value '{replicas}' of parameter 'regionalReplicaCount' for region `{}` is out of range. The value \
                 must be between '1' and '{most}', inclusive.",
                target.region()
            );
            let target = "galleryImageVersion.properties.publishingProfile.targetRegions";
            problems.push(Problem::invalid(target, what));
        }
    }
    let storage = version.storage_profile();
    let os_disk = std::iter::once(("osDiskImage".to_owned(), storage.os_disk_image().size_in_bytes()));
    let data_disks = storage.data_disk_images().iter();
    let data_disks = data_disks.map(|disk| (format!("dataDiskImages[{}]", disk.lun()), disk.size_in_bytes()));
    for (disk, size) in os_disk.chain(data_disks) {
        let most = limits.max_disk_bytes();
        if size > most {
            let what =
                format!("the disk has `{size}` bytes, at most {most} are allowed: shrink it, or raise the limit");
            let target = format!("galleryImageVersion.properties.storageProfile.{disk}");
            problems.push(Problem::new(ErrorKind::Invalid, "GallerySourceResourceExceedsMaxSize", target, what));
        }
    }
    Error::from_problems(problems)
}
