//! The rules of galleries.

use super::definition::shared_definition;
use super::refusals::{moved, room_for, taken, unchangeable};
use super::version::shared_version;
use crate::catalog::State;
use crate::error::Problem;
use crate::model::{Gallery, SharingPermissions, SharingProfile, differences, out_of_range};
use crate::service::session::inner::Inner;
use crate::service::session::rights::Rights;

/// Returns the problems with creating a gallery.
pub(crate) fn create_gallery(state: &State, inner: &Inner, rights: &Rights, gallery: &Gallery) -> Vec<Problem> {
    let (id, location) = (gallery.id(), gallery.location());
    if let Some(nowhere) = super::group::place(state, inner, id) {
        return vec![nowhere];
    }
    if let Some(there) = state.gallery(id) {
        return vec![taken(id, there.location(), location)];
    }
    let mut problems: Vec<Problem> =
        inner.region_catalog.problem_with_location("Microsoft.Compute/galleries", location).into_iter().collect();
    if let Some(other) = state.gallery_named(id.subscription(), id.name()) {
        let what = format!(
            "The gallery name '{}' is not unique within the subscription '{}'. Please pick another gallery name.",
            id.name(),
            id.subscription()
        );
        let problem = Problem::conflict("gallery.name", what);
        problems.push(match rights.may_see(state, &other.into()) {
            true => problem.with_advice(format!("`{other}` has this name")),
            false => problem,
        });
    }
    problems.extend(sharing(gallery));
    problems.extend(retention(gallery));
    let [usage, ..] = state.usage(id.subscription(), location, inner.log_time());
    problems.extend(room_for("galleries", usage, inner.limits.galleries(), id.subscription(), location));
    problems
}

/// Returns the problems with a sharing profile: community galleries name their publisher, and no others do.
pub(crate) fn sharing(gallery: &Gallery) -> Vec<Problem> {
    let of_info = gallery.sharing_profile().and_then(community_info);
    of_info.into_iter().chain(public_name(gallery)).collect()
}

pub(crate) fn community_info(profile: &SharingProfile) -> Option<Problem> {
    let is_community = profile.permissions() == SharingPermissions::Community;
    let what = match (is_community, profile.community_gallery_info().is_some()) {
        (true, false) => "a community gallery needs communityGalleryInfo: publisher URI, contact, EULA and name prefix",
        (false, true) => "communityGalleryInfo is only for permissions `Community`: leave it out",
        _ => return None,
    };
    Some(Problem::invalid("gallery.properties.sharingProfile.communityGalleryInfo", what))
}

/// Returns the problem with a community gallery's public name. The prefix and 32 digits must be one segment of a path.
pub(crate) fn public_name(gallery: &Gallery) -> Option<Problem> {
    let info = gallery.sharing_profile()?.community_gallery_info()?;
    let prefix = info.public_name_prefix.as_str();
    let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let begins = prefix.starts_with(|first: char| first.is_ascii_alphanumeric());
    (!plain || !begins || prefix.len() > 64).then(|| {
        let what = format!(
            "`{}` is not allowed: use 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit",
            prefix.escape_debug()
        );
        Problem::invalid("gallery.properties.sharingProfile.communityGalleryInfo.publicNamePrefix", what)
    })
}

/// The retention of deleted versions is at least a day.
pub(crate) fn retention(gallery: &Gallery) -> Option<Problem> {
    let days = gallery.soft_delete_policy().retention_period_in_days()?;
    let target = "gallery.properties.softDeletePolicy.retentionPeriodInDays";
    (days == 0).then(|| out_of_range(target, days, i32::MAX.unsigned_abs()))
}

/// The properties of a gallery that may change. Any other change is refused by name.
pub(crate) const GALLERY: &[&str] = &["tags", "properties.description", "properties.softDeletePolicy"];

/// Returns the problems with changing a gallery.
pub(crate) fn update_gallery(state: &State, old: &Gallery, new: &Gallery) -> Vec<Problem> {
    let mut changed = differences(old, new);
    let is_public = state.sharing(old.id()).is_some_and(|sharing| sharing.public_name.is_some());
    // A gallery may become a community gallery, or stop being one, while it has no public name.
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
