//! The rule book: what must hold before something is created, changed or deleted, told on a state.
//!
//! Each function returns everything that is wrong. The same functions serve a plan, the check before the first byte
//! moves, and the check at the commit. `docs/rules.md` lists every rule with its source and its test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use chrono::{DateTime, Utc};

use super::authorize::Rights;
use super::parts::Parts;
use crate::catalog::{State, VersionRecord};
use crate::error::{ErrorKind, Problem};
use crate::model::{
    DiskEncryptionSetId, EncryptionImages, Gallery, HyperVGeneration, ImageDefinition, ImageVersion, ImageVersionId,
    PublishingProfile, Region, ReplicationMode, ResourceId, SharingPermissions, SharingProfile, StorageProfile,
    SubscriptionId, differences, out_of_range,
};

/// The code of an update that would take a version out of a region against its safety profile.
pub(super) const INCOMPLETE_TARGETS: &str = "BadRequest";

const TARGET_REGIONS: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

pub(super) fn missing(id: impl Into<ResourceId>) -> Problem {
    let id = id.into();
    let (path, group) = (id.path(), id.resource_group().1);
    let what = format!("The Resource '{path}' under resource group '{group}' was not found.");
    Problem::new(ErrorKind::NotFound, "ResourceNotFound", id.to_string(), what)
}

fn parent_missing(id: impl Into<ResourceId>) -> Problem {
    let id = id.into();
    let what =
        format!("Can not perform requested operation on nested resource. Parent resource '{}' not found.", id.names());
    Problem::new(ErrorKind::NotFound, "ParentResourceNotFound", id.to_string(), what)
        .with_advice("Create it first, or correct the name.")
}

pub(super) fn already_exists(id: &dyn Display, what: &str) -> Problem {
    Problem::new(ErrorKind::AlreadyExists, "Conflict", id.to_string(), what)
}

/// What is wrong with creating a resource where `there` is already.
fn taken(id: impl Into<ResourceId>, there: &Region, wanted: &Region) -> Problem {
    let id = id.into();
    moved(&id, there, wanted)
        .unwrap_or_else(|| already_exists(&id, "it exists with other properties: update it, or choose another name"))
}

/// A resource stays in its location.
fn moved(id: &ResourceId, there: &Region, wanted: &Region) -> Option<Problem> {
    (there != wanted).then(|| {
        let what = format!(
            "The resource '{}' already exists in location '{there}' in resource group '{}'. A resource with the same name \
             cannot be created in location '{wanted}'. Please select a new resource name.",
            id.names(),
            id.resource_group().1
        );
        let kind = match id {
            ResourceId::ImageDefinition(_) => ImageDefinition::TARGET,
            ResourceId::ImageVersion(_) => ImageVersion::TARGET,
            _ => Gallery::TARGET,
        };
        Problem::new(ErrorKind::Conflict, "InvalidResourceLocation", format!("{kind}.location"), what)
    })
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
            "Operation could not be completed as it results in exceeding approved {what} quota. Additional details - \
             Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {usage}, \
             Additional Required: 1, (Minimum) New Limit Required: {}.",
            usage + 1
        );
        let advice = format!("It is the quota of subscription `{subscription}`: delete some, or raise the limit.");
        Problem::new(ErrorKind::LimitReached, "OperationNotAllowed", what, message).with_advice(advice)
    })
}

/// Dates of an end of life lie ahead when they are set.
fn end_of_life(target: &str, date: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Problem> {
    let past = date.filter(|date| *date <= now)?;
    let problem = Problem::invalid(format!("{target}.endOfLifeDate"), "EndOfLifeDate must be set to a future date.");
    Some(problem.with_advice(format!("`{past}` is not after `{now}`.")))
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
            "The gallery name '{}' is not unique within the subscription '{}'. Please pick another gallery name.",
            id.name(),
            id.subscription()
        );
        let problem = Problem::new(ErrorKind::Conflict, "OperationNotAllowed", "gallery.name", what);
        problems.push(match rights.may_see(state, &other.id().into()) {
            true => problem.with_advice(format!("`{}` has it.", other.id())),
            false => problem,
        });
    }
    problems.extend(sharing(gallery));
    problems.extend(retention(gallery));
    let [usage, ..] = state.usage(id.subscription(), location, parts.log_time());
    problems.extend(room_for("galleries", usage, parts.limits.galleries(), id.subscription(), location));
    problems
}

/// A community gallery tells who publishes it; others have nothing to tell.
fn sharing(gallery: &Gallery) -> Vec<Problem> {
    let of_info = gallery.sharing_profile().and_then(community_info);
    of_info.into_iter().chain(public_name(gallery)).collect()
}

fn community_info(profile: &SharingProfile) -> Option<Problem> {
    let is_community = profile.permissions() == SharingPermissions::Community;
    let what = match (is_community, profile.community_gallery_info().is_some()) {
        (true, false) => "a community gallery needs communityGalleryInfo: publisher URI, contact, EULA and name prefix",
        (false, true) => "communityGalleryInfo is only for permissions `Community`: leave it out",
        _ => return None,
    };
    Some(Problem::invalid("gallery.properties.sharingProfile.communityGalleryInfo", what))
}

/// What is wrong with a community gallery's public name: the prefix and 32 digits make a name that a path can hold.
fn public_name(gallery: &Gallery) -> Option<Problem> {
    let info = gallery.sharing_profile()?.community_gallery_info()?;
    let prefix = info.public_name_prefix.as_str();
    let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let begins = prefix.starts_with(|first: char| first.is_ascii_alphanumeric());
    (!plain || !begins || prefix.len() > 64).then(|| {
        let what = format!(
            "`{}` is not allowed: it has 1 to 64 letters, digits, `-`, `_` and `.`, and begins with a letter or digit",
            prefix.escape_debug()
        );
        Problem::invalid("gallery.properties.sharingProfile.communityGalleryInfo.publicNamePrefix", what)
    })
}

/// Deleted versions are kept for a day at least.
fn retention(gallery: &Gallery) -> Option<Problem> {
    let days = gallery.soft_delete_policy().retention_period_in_days()?;
    let target = "gallery.properties.softDeletePolicy.retentionPeriodInDays";
    (days == 0).then(|| out_of_range(target, days, i32::MAX.unsigned_abs()))
}

/// What is wrong with creating a definition.
pub(super) fn create_definition(
    state: &State,
    parts: &Parts,
    rights: &Rights,
    definition: &ImageDefinition,
) -> Vec<Problem> {
    let (id, location) = (definition.id(), definition.location());
    let Some(gallery) = state.gallery(id.gallery()) else { return vec![parent_missing(id.gallery())] };
    if let Some(there) = state.definition(id) {
        return vec![taken(id, there.location(), location)];
    }
    let kind = "Microsoft.Compute/galleries/images";
    let mut problems: Vec<Problem> = parts.region_catalog.problem_with_location(kind, location).into_iter().collect();
    problems.extend(parts.region_catalog.problem_with_cloud(gallery.location(), location, "galleryImage.location"));
    problems.extend(security_type(definition));
    problems.extend(shared_definition(gallery, definition));
    let identifier = definition.identifier();
    if let Some(other) = state.definitions(id.gallery(), None).find(|other| other.identifier() == identifier) {
        // The name is told to those who may see it.
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
        problems.push(Problem::new(ErrorKind::Conflict, "OperationNotAllowed", target, what));
    }
    problems.extend(end_of_life("galleryImage.properties", definition.end_of_life_date(), parts.clock.now()));
    let subscription = id.gallery().subscription();
    let [_, usage, _] = state.usage(subscription, location, parts.log_time());
    problems.extend(room_for("image definitions", usage, parts.limits.image_definitions(), subscription, location));
    problems
}

/// Trusted launch and confidential VMs boot by UEFI.
fn security_type(definition: &ImageDefinition) -> Option<Problem> {
    let value = definition.security_type().filter(|value| !value.eq_ignore_ascii_case("Standard"))?;
    (definition.hyper_v_generation() == HyperVGeneration::V1).then(|| {
        let what =
            format!("SecurityType `{value}` takes Hypervisor generation V2, and the definition's is V1: set it to V2");
        Problem::invalid("galleryImage.properties.features", what)
    })
}

/// What a community gallery takes no definition with. (Section 5.4: one region, nothing that was bought.)
fn shared_definition(gallery: &Gallery, definition: &ImageDefinition) -> Vec<Problem> {
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
            let what = "a community gallery holds nothing that was bought in the marketplace: leave the plan out, or share \
                        by roles";
            problems.push(Problem::invalid("galleryImage.properties.purchasePlan", what));
        }
    }
    problems
}

/// What a gallery that is shared beyond roles takes no version with. (Section 5.4: made in its region, not encrypted.)
fn shared_version(gallery: &Gallery, home: &Region, profile: &PublishingProfile) -> Vec<Problem> {
    let mut problems = Vec::new();
    let permissions = gallery.permissions();
    if permissions == SharingPermissions::Private {
        return problems;
    }
    if home != gallery.location() {
        let what = format!(
            "the versions of a gallery with permissions `{permissions:?}` are made in its region: `{home}` is not `{}`; name \
             other regions among the target regions",
            gallery.location()
        );
        problems.push(Problem::invalid("galleryImageVersion.location", what));
    }
    for (position, target) in profile.target_regions().iter().enumerate() {
        let encrypted = target.encryption().is_some_and(|keys| keys.disk_encryption_sets().next().is_some());
        if encrypted {
            let what = format!(
                "a gallery with permissions `{permissions:?}` holds no versions encrypted with keys of one's own"
            );
            problems.push(Problem::invalid(format!("{TARGET_REGIONS}[{position}].encryption"), what));
        }
    }
    problems
}

/// What is wrong with the keys that a version is said to be encrypted with. `luns` are those of its data disks, where they
/// are known.
fn encryption(
    subscription: &SubscriptionId,
    profile: &PublishingProfile,
    luns: Option<&BTreeSet<u32>>,
) -> Vec<Problem> {
    const OS_DISK: &str = "galleryArtifactVersion.properties.publishingProfile.targetRegions.encryption.osDiskImage.\
                           diskEncryptionSetId";
    let mut problems = Vec::new();
    let regions = || profile.target_regions().iter().enumerate();
    // Each disk that is encrypted in some region: how it is called, with which key, and where.
    let mut used = BTreeMap::new();
    for (_, target) in regions() {
        let Some(keys) = target.encryption() else { continue };
        for lun in keys.luns().map(Some).chain([None]) {
            if let Some(set) = key_of(keys, lun) {
                used.entry(lun).or_insert((set, target.region()));
            }
        }
    }
    for (position, target) in regions() {
        let at = |below: &str| format!("{TARGET_REGIONS}[{position}].encryption{below}");
        let keys = target.encryption();
        for set in keys.into_iter().flat_map(|keys| keys.disk_encryption_sets()) {
            if set.subscription() != subscription {
                let what = format!(
                    "The disk encryption set '{set}' must be in the same subscription '{subscription}' as the gallery resource."
                );
                problems.push(Problem::invalid(at(""), what));
            }
        }
        let mut seen = BTreeSet::new();
        for lun in keys.into_iter().flat_map(|keys| keys.luns()) {
            if !seen.insert(lun) {
                let what = format!(
                    "Duplicate luns '{lun}' were specified in target region '{}' encryption.dataDiskImages.",
                    target.region()
                );
                problems.push(Problem::invalid(at(".dataDiskImages"), what));
            }
            if let Some(luns) = luns.filter(|luns| !luns.contains(&lun)) {
                let luns = luns.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                let what = format!(
                    "An invalid lun [{lun}] was specified in encryption.dataDiskImages. The lun must be one of the following \
                     values ['{luns}']."
                );
                problems.push(Problem::invalid(at(".dataDiskImages"), what));
            }
        }
        for (lun, (set, elsewhere)) in &used {
            if keys.and_then(|keys| key_of(keys, *lun)).is_none() {
                let disk = lun.map_or(OS_DISK.to_owned(), |lun| format!("LUN {lun}"));
                let what = format!(
                    "A disk encryption set is required for disk '{disk}' in target region '{}' since disk encryption set \
                     '{set}' is used for the corresponding disk in region '{elsewhere}'",
                    target.region()
                );
                problems.push(Problem::invalid(at(""), what));
            }
        }
    }
    problems
}

/// The key of a data disk, or of the OS disk.
fn key_of(keys: &EncryptionImages, lun: Option<u32>) -> Option<&DiskEncryptionSetId> {
    lun.map_or_else(|| keys.os_disk_encryption_set(), |lun| keys.data_disk_encryption_set(lun))
}

/// What is wrong with the place that a version is to have in the catalog.
pub(super) fn place_for_version(state: &State, parts: &Parts, id: &ImageVersionId, location: &Region) -> Vec<Problem> {
    let parents = state.gallery(id.definition().gallery()).zip(state.definition(id.definition()));
    let Some((gallery, _)) = parents else { return vec![parent_missing(id.definition())] };
    let now = parts.log_time();
    if let Some(there) = state.version(id).filter(|there| !state.is_gone(there, now)) {
        let (first, given) = (there.version.id().number().to_string(), id.number().to_string());
        return vec![match there.soft_deleted {
            None if first != given => already_exists(
                id,
                &format!(
                    "version `{first}` has these numbers, leading zeros do not count: publish under the next number"
                ),
            ),
            None => already_exists(id, "a published version never changes: publish under the next number"),
            Some(_) => already_exists(id, "it was deleted and can be restored: restore it, or take another number"),
        }];
    }
    let subscription = id.definition().gallery().subscription();
    let [_, _, usage] = state.usage(subscription, location, now);
    let room = room_for("image versions", usage, parts.limits.image_versions(), subscription, location);
    let cloud = parts.region_catalog.problem_with_cloud(gallery.location(), location, "galleryImageVersion.location");
    room.into_iter().chain(cloud).collect()
}

/// What is wrong with where a version goes.
///
/// `disks` are the version's, where they are known.
pub(super) fn publishing_profile(
    state: &State,
    parts: &Parts,
    id: &ImageVersionId,
    home: &Region,
    profile: &PublishingProfile,
    disks: Option<&StorageProfile>,
) -> Vec<Problem> {
    let now = parts.clock.now();
    let luns = disks.map(|disks| disks.data_disk_images().iter().map(|disk| disk.lun()).collect::<BTreeSet<u32>>());
    let mut problems = Vec::new();
    let subscription = id.definition().gallery().subscription();
    for (position, target) in profile.target_regions().iter().enumerate() {
        let (at, region) = (format!("{TARGET_REGIONS}[{position}]"), target.region());
        let account = profile.storage_account_type_in(region);
        let mut refused = parts.region_catalog.problems_with_target(&at, subscription, home, region, account);
        // A region that there is none of has no store either: that is not to be told as well.
        if refused.is_empty() {
            refused.extend(parts.regions.problem_with(&at, region, account));
        }
        problems.extend(refused);
        let replicas = profile.replicas_in(region).unwrap_or(0);
        let shallow = profile.replication_mode() == ReplicationMode::Shallow;
        let most = if shallow { 1 } else { parts.limits.replicas_per_region() };
        if replicas > most {
            let why = if shallow { ", in replication mode Shallow" } else { "" };
            let name = match target.regional_replica_count() {
                Some(_) => format!("{at}.regionalReplicaCount"),
                None => "galleryImageVersion.properties.publishingProfile.replicaCount".to_owned(),
            };
            let problem = out_of_range(name, replicas, most);
            problems.push(problem.with_advice(format!("It is the count of region `{region}`{why}.")));
        }
    }
    problems.extend(end_of_life("galleryImageVersion.properties.publishingProfile", profile.end_of_life_date(), now));
    problems.extend(encryption(subscription, profile, luns.as_ref()));
    if let Some(gallery) = state.gallery(id.definition().gallery()) {
        problems.extend(shared_version(gallery, home, profile));
    }
    problems
}

/// What is wrong with the sizes of disks.
pub(super) fn disk_sizes(parts: &Parts, target: &str, storage: &StorageProfile) -> Vec<Problem> {
    let os_disk = std::iter::once(("osDiskImage".to_owned(), storage.os_disk_image().size_in_bytes()));
    let data_disks = storage.data_disk_images().iter().enumerate();
    let data_disks = data_disks.map(|(place, disk)| (format!("dataDiskImages[{place}]"), disk.size_in_bytes()));
    let most = parts.limits.max_disk_bytes();
    let too_large = os_disk.chain(data_disks).filter(|(_, size)| *size > most);
    too_large.map(|(disk, size)| disk_size(&format!("{target}.properties.storageProfile.{disk}"), size, most)).collect()
}

fn disk_size(target: &str, size: u64, most: u64) -> Problem {
    let what = format!(
        "The GalleryImageVersion source resource size {} exceeds the max size {} supported.",
        size.div_ceil(1 << 30),
        most >> 30
    );
    let advice =
        format!("In GiB; exactly, `{size}` bytes are more than `{most}`: shrink the disk, or raise the limit.");
    Problem::new(ErrorKind::Invalid, "GallerySourceResourceExceedsMaxSize", target, what).with_advice(advice)
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
    // A location has a code of its own.
    let refused = changed.iter().filter(|path| !may(path) && *path != "location");
    let problems = refused.map(|path| {
        let property = format!("{target}.{path}");
        let what = format!("Changing property '{property}' is not allowed.");
        let problem = Problem::new(ErrorKind::Conflict, "PropertyChangeNotAllowed", property, what);
        problem.with_advice("Create another resource instead.")
    });
    problems.collect()
}

fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

/// What is wrong with changing a gallery.
pub(super) fn update_gallery(state: &State, old: &Gallery, new: &Gallery) -> Vec<Problem> {
    let mut changed = differences(old, new);
    let is_public = state.sharing(old.id()).is_some_and(|sharing| sharing.public_name.is_some());
    // A gallery becomes one for the community, or ceases to be one, as long as nobody knows its public name.
    let is_groups = |gallery: &Gallery| gallery.permissions() == SharingPermissions::Groups;
    let community = !is_public && !is_groups(old) && !is_groups(new);
    if community {
        changed.retain(|path| !path.starts_with("properties.sharingProfile"));
    }
    let mut problems = unchangeable(Gallery::TARGET, GALLERY, &changed);
    problems.extend(moved(&old.id().into(), old.location(), new.location()));
    problems.extend(sharing(new));
    problems.extend(retention(new));
    if community && old.permissions() != new.permissions() {
        for definition in state.definitions(old.id(), None) {
            problems.extend(shared_definition(new, definition));
            for record in state.versions(definition.id(), None) {
                let version = &record.version;
                problems.extend(shared_version(new, version.location(), version.publishing_profile()));
            }
        }
    }
    problems
}

/// What is wrong with changing a definition.
pub(super) fn update_definition(old: &ImageDefinition, new: &ImageDefinition, now: DateTime<Utc>) -> Vec<Problem> {
    let mut problems = unchangeable(ImageDefinition::TARGET, DEFINITION, &differences(old, new));
    problems.extend(moved(&old.id().into(), old.location(), new.location()));
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
            let what = format!("Changing property '{target}' is not allowed.");
            let problem = Problem::new(ErrorKind::Conflict, "PropertyChangeNotAllowed", target, what);
            Some(problem.with_advice("An end-of-life date cannot be unset once it is set: set a later one."))
        }
        _ if old == new => None,
        _ => end_of_life(target, new, now),
    }
}

/// What is wrong with changing a version.
pub(super) fn update_version(state: &State, parts: &Parts, old: &VersionRecord, new: &ImageVersion) -> Vec<Problem> {
    let (id, was, now) = (new.id(), &old.version, parts.clock.now());
    if old.soft_deleted.is_some() {
        let what = format!(
            "Operation 'Update Gallery Image Version' is not allowed on {} since it is marked for deletion. You can only \
             retry the Delete operation (or wait for an ongoing one to complete).",
            id.number()
        );
        let problem = Problem::new(ErrorKind::Conflict, "OperationNotAllowed", id.to_string(), what);
        return vec![problem.with_advice("Here it can be restored: restore it first.")];
    }
    let mut problems = unchangeable(ImageVersion::TARGET, VERSION, &differences(&**was, new));
    problems.extend(moved(&was.id().into(), was.location(), new.location()));
    let (before, after) = (was.publishing_profile(), new.publishing_profile());
    let mut fresh = publishing_profile(state, parts, id, was.location(), after, Some(was.storage_profile()));
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
            "Complete set of target locations not specified while updating gallery artifact '{}' and type \
             'GalleryImageVersion'.",
            id.number()
        );
        let advice = format!(
            "{removed} would be removed: name them too, or set safetyProfile.allowDeletionOfReplicatedLocations."
        );
        let problem = Problem::new(ErrorKind::Invalid, INCOMPLETE_TARGETS, TARGET_REGIONS, what);
        problems.push(problem.with_advice(advice));
    }
    for (position, target) in after.target_regions().iter().enumerate() {
        let (at, region) = (format!("{TARGET_REGIONS}[{position}]"), target.region());
        if before.target_regions().find(region).is_none() {
            continue;
        }
        let encryption = |profile: &PublishingProfile| {
            profile.target_regions().find(region).and_then(|target| target.encryption().cloned())
        };
        if encryption(before) != encryption(after) {
            let what = format!("the encryption of the existing target region '{region}' cannot be changed on update");
            problems.push(Problem::new(ErrorKind::Conflict, "InvalidParameter", format!("{at}.encryption"), what));
        }
        let (had, has) = (before.storage_account_type_in(region), after.storage_account_type_in(region));
        if had != has {
            let what = format!(
                "Global storage account type does not match the storage account type in the existing TargetRegion: \
                 '{region}'. Please specify '{had}'."
            );
            let problem =
                Problem::new(ErrorKind::Conflict, "InvalidParameter", format!("{at}.storageAccountType"), what);
            problems.push(problem.with_advice(format!("It is `{has}`; or take the region out and in again.")));
        }
    }
    problems
}

/// Children go first.
pub(super) fn has_children(id: &dyn Display, count: usize, seen: &[ResourceId]) -> Option<Problem> {
    let first = seen.iter().take(5).map(|child| format!("'{child}'")).collect::<Vec<_>>().join(", ");
    (count > 0).then(|| {
        let some = match first.is_empty() {
            true => String::new(),
            false => format!(" Some existing nested resource IDs include: {first}."),
        };
        let what = format!(
            "Cannot delete resource while nested resources exist.{some} Please delete all nested resources before deleting \
             this resource."
        );
        let unseen = count - seen.len();
        let advice = match unseen {
            0 => "Or delete with cascade.".to_owned(),
            _ => "Or delete with cascade; there are some that you may not see.".to_owned(),
        };
        Problem::new(ErrorKind::Conflict, "CannotDeleteResource", id.to_string(), what).with_advice(advice)
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
    let until = ends.map_or("It has no end-of-life date".to_owned(), |date| format!("Its end of life is {date}"));
    let what = "The deletion of the gallery image version is not allowed: end of life not reached.";
    let advice = format!("{until}: unset safetyProfile.blockDeletionBeforeEndOfLife to delete it all the same.");
    let code = "DeleteGalleryImageVersionBlockedBeforeEndOfLife";
    Some(Problem::new(ErrorKind::Conflict, code, version.id().to_string(), what).with_advice(advice))
}
