//! The scopes that roles are assigned at.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::principal::{ManagementGroupId, TenantId};
use crate::model::{ResourceGroupId, ResourceGroupName, ResourceId, SubscriptionId};

/// The place that a role or denial holds at: it holds there and in everything below.
///
/// A list of resources is narrowed by a [`ListScope`](crate::read::ListScope) instead.
///
/// Exhaustive: these are all levels of Azure's hierarchy, and code that walks it has to know each.
///
/// ```
/// use compute_gallery::access::AccessScope;
/// use compute_gallery::model::GalleryId;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso";
/// let gallery: AccessScope = id.parse::<GalleryId>()?.into();
/// let group = gallery.parent().unwrap();
/// assert_eq!(group.to_string(), "/subscriptions/dev/resourceGroups/images");
/// assert_eq!(group.parent(), Some(AccessScope::Subscription("dev".parse()?)));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessScope {
    /// A tenant, with everything in it.
    TenantRoot(TenantId),
    /// A management group, with the subscriptions below it.
    ManagementGroup(ManagementGroupId),
    /// A subscription.
    Subscription(SubscriptionId),
    /// A resource group.
    ResourceGroup(SubscriptionId, ResourceGroupName),
    /// A gallery, definition, version, managed image or snapshot.
    Resource(ResourceId),
}

impl AccessScope {
    /// Returns the scope as Azure writes it: `/` for a tenant's root.
    pub(super) fn path(&self) -> String {
        match self {
            Self::TenantRoot(_) => "/".to_owned(),
            other => other.to_string(),
        }
    }

    /// Returns the scope of a resource group.
    pub fn of_group(group: &ResourceGroupId) -> Self {
        Self::ResourceGroup(group.subscription().clone(), group.name().clone())
    }

    /// Returns the scope right above; `None` from a subscription on, where the directory knows it.
    pub fn parent(&self) -> Option<Self> {
        match self {
            Self::TenantRoot(_) | Self::ManagementGroup(_) | Self::Subscription(_) => None,
            Self::ResourceGroup(subscription, _) => Some(Self::Subscription(subscription.clone())),
            Self::Resource(ResourceId::ImageVersion(id)) => Some(id.definition().into()),
            Self::Resource(ResourceId::ImageDefinition(id)) => Some(id.gallery().into()),
            Self::Resource(id) => {
                let (subscription, group) = id.resource_group();
                Some(Self::ResourceGroup(subscription.clone(), group.clone()))
            }
        }
    }

    /// Returns the subscription that the scope is in; `None` above subscriptions.
    pub fn subscription(&self) -> Option<&SubscriptionId> {
        match self {
            Self::TenantRoot(_) | Self::ManagementGroup(_) => None,
            Self::Subscription(subscription) | Self::ResourceGroup(subscription, _) => Some(subscription),
            Self::Resource(id) => Some(id.resource_group().0),
        }
    }
}

impl<T: Into<ResourceId>> From<T> for AccessScope {
    fn from(id: T) -> Self {
        Self::Resource(id.into())
    }
}

impl fmt::Display for AccessScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantRoot(tenant) => write!(f, "/ of tenant {tenant}"),
            Self::ManagementGroup(group) => {
                write!(f, "/providers/Microsoft.Management/managementGroups/{group}")
            }
            Self::Subscription(subscription) => write!(f, "/subscriptions/{subscription}"),
            Self::ResourceGroup(subscription, group) => {
                write!(f, "/subscriptions/{subscription}/resourceGroups/{group}")
            }
            Self::Resource(id) => id.fmt(f),
        }
    }
}
