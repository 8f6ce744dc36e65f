//! Where something is allowed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::principal::{ManagementGroupId, TenantId};
use crate::model::{ResourceGroupName, ResourceId, SubscriptionId};

/// Where a role holds: there and in everything below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessScope {
    /// Everything in a tenant.
    TenantRoot(TenantId),
    /// All subscriptions below a management group.
    ManagementGroup(ManagementGroupId),
    /// A subscription.
    Subscription(SubscriptionId),
    /// A resource group.
    ResourceGroup(SubscriptionId, ResourceGroupName),
    /// A gallery, definition, version, managed image or snapshot.
    Resource(ResourceId),
}

impl AccessScope {
    /// The scope right above, as far as ids tell: a subscription's is told by the directory.
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

    /// The subscription that it is in.
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
