//! The rules of image versions.
//!
//! Each function of this chamber judges a state and returns every problem. The same functions serve a plan, the check before the
//! first byte moves, and the check at the commit. `docs/rules.md` lists every rule with its source and its test.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::refusals::{already_exists, changed_end_of_life, moved, parent_missing, room_for, unchangeable};
use crate::catalog::{State, VersionRecord};
use crate::error::{ErrorKind, Problem};
use crate::model::{
    DiskEncryptionSetId, EncryptionImages, Gallery, ImageVersion, ImageVersionId, PublishingProfile, Region,
    ReplicationMode, SharingPermissions, StorageProfile, SubscriptionId, differences, out_of_range,
};
use crate::service::session::inner::Inner;

/// Whether a safety profile keeps a version in the regions that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionProtection {
    Held,
    Lifted,
}

const TARGET_REGIONS: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

/// A gallery that is shared beyond roles has versions made in its region, without customer keys. (Section 5.4.)
pub(crate) fn shared_version(gallery: &Gallery, home: &Region, profile: &PublishingProfile) -> Vec<Problem> {
    let mut problems = Vec::new();
    let permissions = gallery.permissions();
    if permissions == SharingPermissions::Private {
        return problems;
    }
    if home != gallery.location() {
        let what = format!(
            "the versions of a gallery with permissions `{permissions}` are made in its region: `{home}` is not `{}`; name \
             other regions among the target regions",
            gallery.location()
        );
        problems.push(Problem::invalid("galleryImageVersion.location", what));
    }
    for (position, target) in profile.target_regions().iter().enumerate() {
        let encrypted = target.encryption().is_some_and(|keys| keys.disk_encryption_sets().next().is_some());
        if encrypted {
            let what = format!(
                "a gallery with permissions `{permissions}` takes no versions encrypted with customer keys: leave them out"
            );
            problems.push(Problem::invalid(format!("{TARGET_REGIONS}[{position}].encryption"), what));
        }
    }
    problems
}

/// Returns the problems with the encryption keys of a version. `luns` are those of its data disks, if they are known.
fn encryption(
    subscription: &SubscriptionId,
    profile: &PublishingProfile,
    luns: Option<&BTreeSet<u32>>,
) -> Vec<Problem> {
    const OS_DISK: &str = "galleryArtifactVersion.properties.publishingProfile.targetRegions.encryption.osDiskImage.\
                           diskEncryptionSetId";
    let mut problems = Vec::new();
    let regions = || profile.target_regions().iter().enumerate();
    // Each disk that is encrypted in some region: its LUN, the key, and the region.
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

/// A region that asks for a disk encryption set in a catalog that encrypts nothing. One that was accepted before stays.
fn unencrypted(profile: &PublishingProfile, before: Option<&PublishingProfile>) -> Vec<Problem> {
    let asks = |profile: &PublishingProfile, region: &Region| {
        let keys = profile.target_regions().find(region).and_then(|target| target.encryption());
        keys.is_some_and(|keys| keys.disk_encryption_sets().next().is_some())
    };
    let asked = profile.target_regions().iter().enumerate().filter(|(_, target)| {
        asks(profile, target.region()) && before.is_none_or(|before| !asks(before, target.region()))
    });
    let refused = asked.map(|(position, target)| {
        let what = format!(
            "region `{}` asks for a disk encryption set, and the catalog is not encrypted: open it with a key provider, \
             leave the set out, or let the service record it with `record_disk_encryption_sets`",
            target.region()
        );
        Problem::invalid(format!("{TARGET_REGIONS}[{position}].encryption"), what)
    });
    refused.collect()
}

/// Returns the key of a data disk, or of the OS disk.
fn key_of(keys: &EncryptionImages, lun: Option<u32>) -> Option<&DiskEncryptionSetId> {
    lun.map_or_else(|| keys.os_disk_encryption_set(), |lun| keys.data_disk_encryption_set(lun))
}

/// Returns the problems with the id and location of a new version.
pub(crate) fn place_for_version(state: &State, inner: &Inner, id: &ImageVersionId, location: &Region) -> Vec<Problem> {
    let parents = state.gallery(id.definition().gallery()).zip(state.definition(id.definition()));
    let Some((gallery, _)) = parents else { return vec![parent_missing(id.definition())] };
    let now = inner.log_time();
    if let Some(there) = state.version(id).filter(|there| !state.is_gone(there, now)) {
        let (first, given) = (there.version.id().number().to_string(), id.number().to_string());
        return vec![match there.soft_deleted {
            None if first != given => already_exists(
                id,
                &format!(
                    "version `{first}` has this number, as leading zeros do not count: publish under the next number"
                ),
            ),
            None => already_exists(id, "a published version never changes: publish under the next number"),
            Some(_) => {
                already_exists(id, "it was deleted and can be restored: restore it, or publish under another number")
            }
        }];
    }
    if state.incomplete(id).is_some() {
        let what = "it was announced and is not complete: complete it, or delete it first";
        return vec![already_exists(id, what)];
    }
    let subscription = id.definition().gallery().subscription();
    let [_, _, usage] = state.usage(subscription, location, now);
    let room = room_for("image versions", usage, inner.limits.image_versions(), subscription, location);
    let cloud = inner.region_catalog.problem_with_cloud(gallery.location(), location, "galleryImageVersion.location");
    room.into_iter().chain(cloud).collect()
}

/// Returns the problems with the target regions of a version. `disks` are its disks, if they are known.
pub(crate) fn publishing_profile(
    state: &State,
    inner: &Inner,
    id: &ImageVersionId,
    home: &Region,
    profile: &PublishingProfile,
    disks: Option<&StorageProfile>,
    before: Option<&PublishingProfile>,
) -> Vec<Problem> {
    let now = inner.clock.now();
    let luns = disks.map(|disks| disks.data_disk_images().iter().map(|disk| disk.lun()).collect::<BTreeSet<u32>>());
    let mut problems = Vec::new();
    let subscription = id.definition().gallery().subscription();
    for (position, target) in profile.target_regions().iter().enumerate() {
        let (at, region) = (format_args!("{TARGET_REGIONS}[{position}]"), target.region());
        let account = profile.storage_account_type_in(region);
        let mut refused = inner.region_catalog.problems_with_target(&at, subscription, home, region, account);
        // An unknown region has no store either: one problem is enough.
        if refused.is_empty() {
            refused.extend(inner.regions.problem_with(&at, region, account));
        }
        problems.extend(refused);
        let replicas = profile.replicas_in(region).unwrap_or(0);
        let shallow = profile.replication_mode() == ReplicationMode::Shallow;
        let most = if shallow { 1 } else { inner.limits.replicas_per_region() };
        if replicas > most {
            let why = if shallow { ", in replication mode Shallow" } else { "" };
            let name = match target.regional_replica_count() {
                Some(_) => format!("{at}.regionalReplicaCount"),
                None => "galleryImageVersion.properties.publishingProfile.replicaCount".to_owned(),
            };
            let problem = out_of_range(name, replicas, most);
            problems.push(problem.with_advice(format!("it is the count of region `{region}`{why}")));
        }
    }
    let target = "galleryImageVersion.properties.publishingProfile";
    let was = before.and_then(PublishingProfile::end_of_life_date);
    problems.extend(changed_end_of_life(target, was, profile.end_of_life_date(), now));
    problems.extend(encryption(subscription, profile, luns.as_ref()));
    if !inner.records_encryption_sets && inner.regions.keyring().is_none() {
        problems.extend(unencrypted(profile, before));
    }
    if let Some(gallery) = state.gallery(id.definition().gallery()) {
        problems.extend(shared_version(gallery, home, profile));
    }
    problems
}

/// Returns the problems with the sizes of disks.
pub(crate) fn disk_sizes(
    inner: &Inner,
    target: &str,
    storage: &StorageProfile,
    profile: Option<&PublishingProfile>,
) -> Vec<Problem> {
    let os_disk = std::iter::once(("osDiskImage".to_owned(), storage.os_disk_image().size_in_bytes()));
    let data_disks = storage.data_disk_images().iter().enumerate();
    let data_disks = data_disks.map(|(place, disk)| (format!("dataDiskImages[{place}]"), disk.size_in_bytes()));
    let most = match profile.map(PublishingProfile::replication_mode) {
        Some(ReplicationMode::Shallow) => inner.limits.max_shallow_disk_bytes(),
        _ => inner.limits.max_disk_bytes(),
    };
    let too_large = os_disk.chain(data_disks).filter(|(_, size)| *size > most);
    too_large.map(|(disk, size)| disk_size(&format!("{target}.properties.storageProfile.{disk}"), size, most)).collect()
}

fn disk_size(target: &str, size: u64, most: u64) -> Problem {
    let what = format!(
        "The GalleryImageVersion source resource size {} exceeds the max size {} supported.",
        size.div_ceil(1 << 30),
        most >> 30
    );
    let advice = format!("these are GiB: `{size}` bytes are more than `{most}`; shrink the disk, or raise the limit");
    Problem::new(ErrorKind::Invalid, "GallerySourceResourceExceedsMaxSize", target, what).with_advice(advice)
}

/// The properties of a version that may change, as [`GALLERY`].
const VERSION: &[&str] = &[
    "tags",
    "properties.publishingProfile.targetRegions",
    "properties.publishingProfile.replicaCount",
    "properties.publishingProfile.excludeFromLatest",
    "properties.publishingProfile.endOfLifeDate",
    "properties.safetyProfile",
];

/// What is wrong with changing a version.
pub(crate) fn update_version(
    state: &State,
    inner: &Inner,
    old: &VersionRecord,
    new: &ImageVersion,
    protection: RegionProtection,
) -> Vec<Problem> {
    let id = new.id();
    if old.soft_deleted.is_some() {
        let what = format!(
            "Operation 'Update Gallery Image Version' is not allowed on {} since it is marked for deletion. You can only \
             retry the Delete operation (or wait for an ongoing one to complete).",
            id.number()
        );
        let problem = Problem::conflict(id.to_string(), what);
        return vec![problem.with_advice("it can be restored here: restore it first")];
    }
    change_version(state, inner, &old.version, new, protection)
}

/// Returns the problems with giving a version other properties.
pub(crate) fn change_version(
    state: &State,
    inner: &Inner,
    was: &ImageVersion,
    new: &ImageVersion,
    protection: RegionProtection,
) -> Vec<Problem> {
    let id = new.id();
    let mut problems = unchangeable(ImageVersion::TARGET, VERSION, &differences(was, new));
    problems.extend(moved(&was.id().into(), was.location(), new.location()));
    let (before, after) = (was.publishing_profile(), new.publishing_profile());
    let disks = Some(was.storage_profile());
    problems.extend(publishing_profile(state, inner, id, was.location(), after, disks, Some(before)));
    let regions = || before.target_regions().iter().map(|target| target.region());
    let removed: Vec<_> = regions().filter(|region| after.target_regions().find(region).is_none()).collect();
    let is_held = protection == RegionProtection::Held;
    if is_held && !removed.is_empty() && !new.safety_profile().allows_deletion_of_replicated_locations() {
        let removed = removed.iter().map(|region| format!("`{region}`")).collect::<Vec<_>>().join(", ");
        let what = format!(
            "Complete set of target locations not specified while updating gallery artifact '{}' and type \
             'GalleryImageVersion'.",
            id.number()
        );
        let advice = format!(
            "{removed} would be removed: name them too, or set safetyProfile.allowDeletionOfReplicatedLocations"
        );
        let problem = Problem::new(ErrorKind::Invalid, "BadRequest", TARGET_REGIONS, what);
        problems.push(problem.with_advice(advice));
    }
    for (position, target) in after.target_regions().iter().enumerate() {
        let (at, region) = (format_args!("{TARGET_REGIONS}[{position}]"), target.region());
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
            let advice = format!("the request has `{has}`: keep `{had}`, or remove the region and add it again");
            problems.push(problem.with_advice(advice));
        }
    }
    problems
}

/// Returns the reason why a version may not be deleted.
pub(crate) fn delete_version(version: &ImageVersion, now: DateTime<Utc>) -> Option<Problem> {
    if !version.safety_profile().blocks_deletion_before_end_of_life() {
        return None;
    }
    let ends = version.publishing_profile().end_of_life_date();
    if ends.is_some_and(|date| date <= now) {
        return None;
    }
    let until = ends.map_or("it has no end-of-life date".to_owned(), |date| format!("its end of life is {date}"));
    let what = "The deletion of the gallery image version is not allowed: end of life not reached.";
    let advice = format!("{until}: unset safetyProfile.blockDeletionBeforeEndOfLife to delete it all the same");
    let code = "DeleteGalleryImageVersionBlockedBeforeEndOfLife";
    Some(Problem::new(ErrorKind::Conflict, code, version.id().to_string(), what).with_advice(advice))
}
