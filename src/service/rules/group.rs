//! The rules of subscriptions and resource groups.

use crate::catalog::State;
use crate::error::{ErrorKind, Problem};
use crate::model::{ResourceGroup, ResourceGroupId, ResourceId, SubscriptionId};
use crate::service::session::inner::{Authority, Inner};

/// Returns the problem with creating a resource in a group that is not there, if groups are required.
pub(crate) fn place(state: &State, inner: &Inner, id: impl Into<ResourceId>) -> Option<Problem> {
    if !inner.requires_groups {
        return None;
    }
    let id = id.into();
    let (subscription, group) = id.resource_group();
    let group = ResourceGroupId::new(subscription.clone(), group.clone());
    let missing = || state.resource_group(&group).is_none().then(|| group_missing(&group));
    subscription_missing(inner, subscription).or_else(missing)
}

pub(crate) fn group_missing(id: &ResourceGroupId) -> Problem {
    let what = format!("Resource group '{}' could not be found.", id.name());
    Problem::new(ErrorKind::NotFound, "ResourceGroupNotFound", id.to_string(), what)
}

/// Returns the problem with a subscription that the directory does not know, if groups are required.
pub(crate) fn subscription_missing(inner: &Inner, id: &SubscriptionId) -> Option<Problem> {
    let Authority::Roles { directory, .. } = &inner.authority else { return None };
    (inner.requires_groups && directory.tenant_of(id).is_none()).then(|| {
        let what = format!("The subscription '{id}' could not be found.");
        Problem::new(ErrorKind::NotFound, "SubscriptionNotFound", id.to_string(), what)
    })
}

/// A group cannot change its location.
pub(crate) fn moved(old: &ResourceGroup, new: &ResourceGroup) -> Option<Problem> {
    (old.location() != new.location()).then(|| {
        let what = format!(
            "Invalid resource group location '{}'. The Resource group already exists in location '{}'.",
            new.location(),
            old.location()
        );
        Problem::new(ErrorKind::Conflict, "InvalidResourceGroupLocation", "resourceGroup.location", what)
    })
}
