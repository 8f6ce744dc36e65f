//! Refusals that several resources share.

use crate::access::AccessScope;
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Problem};
use crate::model::{Gallery, ImageDefinition, ImageVersion, Region, ResourceId, SubscriptionId};
use chrono::{DateTime, Utc};
use std::fmt::Display;

pub(crate) fn missing(id: impl Into<ResourceId>) -> Problem {
    let id = id.into();
    let (path, group) = (id.path(), id.resource_group().1);
    let what = format!("The Resource '{path}' under resource group '{group}' was not found.");
    Problem::not_found(id.to_string(), what)
}

pub(crate) fn parent_missing(id: impl Into<ResourceId>) -> Problem {
    let id = id.into();
    let what =
        format!("Can not perform requested operation on nested resource. Parent resource '{}' not found.", id.names());
    Problem::new(ErrorKind::NotFound, "ParentResourceNotFound", id.to_string(), what)
        .with_advice("create it first, or correct the name")
}

pub(crate) fn already_exists(id: &dyn Display, what: &str) -> Problem {
    Problem::new(ErrorKind::AlreadyExists, "Conflict", id.to_string(), what)
}

/// Returns the problem with a change of what is marked for deletion, or of something in it.
pub(crate) fn deleting(state: &State, scope: &AccessScope) -> Option<Problem> {
    let deletion = state.deletion_of(scope)?;
    let what = format!(
        "`{}` is marked for deletion: it does not change, and takes no part in anything new",
        deletion.resource
    );
    let advice = format!("wait for operation `{}`, or cancel it", deletion.id);
    Some(Problem::conflict(scope.to_string(), what).with_advice(advice))
}

/// Returns the problem with creating a resource that exists.
pub(crate) fn taken(id: impl Into<ResourceId>, there: &Region, wanted: &Region) -> Problem {
    let id = id.into();
    moved(&id, there, wanted)
        .unwrap_or_else(|| already_exists(&id, "it exists with other properties: update it, or choose another name"))
}

/// A resource cannot change its location.
pub(crate) fn moved(id: &ResourceId, there: &Region, wanted: &Region) -> Option<Problem> {
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

/// Refuses one more of `what` at the limit.
pub(crate) fn room_for(
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
        let advice =
            format!("it is the quota of subscription `{subscription}`: delete some {what}, or raise the limit");
        Problem::limit_reached(what, message).with_advice(advice)
    })
}

/// An end of life is in the future when it is set.
pub(crate) fn end_of_life(target: &str, date: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Problem> {
    let past = date.filter(|date| *date <= now)?;
    let problem = Problem::invalid(format!("{target}.endOfLifeDate"), "EndOfLifeDate must be set to a future date.");
    Some(problem.with_advice(format!("`{past}` is not after `{now}`: set a later date")))
}

/// Returns a problem for each changed property that must not change.
pub(crate) fn unchangeable(target: &str, allowed: &[&str], changed: &[String]) -> Vec<Problem> {
    let may = |path: &&String| allowed.iter().any(|allowed| path.strip_prefix(allowed).is_some_and(is_below));
    // A changed location has its own code.
    let refused = changed.iter().filter(|path| !may(path) && *path != "location");
    let problems = refused.map(|path| {
        let property = format!("{target}.{path}");
        let what = format!("Changing property '{property}' is not allowed.");
        let problem = Problem::new(ErrorKind::Conflict, "PropertyChangeNotAllowed", property, what);
        problem.with_advice("create another resource instead")
    });
    problems.collect()
}

pub(crate) fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
}

/// An end of life is in the future when it is changed, and cannot be unset.
pub(crate) fn changed_end_of_life(
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
            Some(problem.with_advice("an end-of-life date cannot be unset once it is set: set a later one"))
        }
        _ if old == new => None,
        _ => end_of_life(target, new, now),
    }
}

/// Children are deleted first.
pub(crate) fn has_children(id: &dyn Display, count: usize, seen: &[ResourceId]) -> Option<Problem> {
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
            0 => "delete them first, or delete with cascade".to_owned(),
            _ => "delete them first, or delete with cascade; you may not see all of them".to_owned(),
        };
        Problem::new(ErrorKind::Conflict, "CannotDeleteResource", id.to_string(), what).with_advice(advice)
    })
}

/// The longest reason of a failure that the catalog keeps.
const REASON_BYTES: usize = 1 << 10;

/// Returns the reason of a failure as the catalog keeps it: the error with its causes, at most [`REASON_BYTES`] of it.
pub(crate) fn reason_of(error: &Error) -> String {
    let mut reason = format!("{error:#}");
    if reason.len() > REASON_BYTES {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES));
    }
    reason
}
