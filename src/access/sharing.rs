//! With whom a gallery is shared, beyond role assignments.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::principal::TenantId;
use crate::model::SubscriptionId;

/// With whom a gallery is shared, beyond role assignments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GallerySharing {
    /// Subscriptions: who may see there what is shared with it (`Microsoft.Compute/locations/sharedGalleries/read`) may
    /// deploy.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subscriptions: BTreeSet<SubscriptionId>,
    /// Tenants: the users of one may deploy; its guests and applications where they may see in a subscription of it, or
    /// above, what is shared.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tenants: BTreeSet<TenantId>,
    /// The name under which everybody finds a community gallery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_name: Option<String>,
}

/// A change of a gallery's sharing: Azure's share operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharingUpdate {
    /// Shares it with these, too.
    Add {
        /// Subscriptions.
        subscriptions: Vec<SubscriptionId>,
        /// Tenants.
        tenants: Vec<TenantId>,
    },
    /// No longer shares it with these.
    Remove {
        /// Subscriptions.
        subscriptions: Vec<SubscriptionId>,
        /// Tenants.
        tenants: Vec<TenantId>,
    },
    /// No longer shares it with anybody.
    Reset,
    /// Lets everybody find it, under a public name.
    EnableCommunity,
}

impl GallerySharing {
    /// Whether it is shared with nobody.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As it is after a change; `public_name` is the one that it gets if it is to be a community gallery.
    #[must_use]
    pub fn after(&self, update: &SharingUpdate, public_name: &str) -> Self {
        let mut next = self.clone();
        match update {
            SharingUpdate::Add { subscriptions, tenants } => {
                next.subscriptions.extend(subscriptions.iter().cloned());
                next.tenants.extend(tenants.iter().cloned());
            }
            SharingUpdate::Remove { subscriptions, tenants } => {
                next.subscriptions.retain(|subscription| !subscriptions.contains(subscription));
                next.tenants.retain(|tenant| !tenants.contains(tenant));
            }
            SharingUpdate::Reset => next = Self::default(),
            SharingUpdate::EnableCommunity => {
                next.public_name.get_or_insert_with(|| public_name.to_owned());
            }
        }
        next
    }
}
