//! Sharing of galleries beyond role assignments.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::principal::TenantId;
use crate::model::SubscriptionId;

/// The subscriptions and tenants that a gallery is shared with, beyond role assignments.
///
/// ```
/// use compute_gallery::access::{GallerySharing, SharingUpdate};
///
/// let add = SharingUpdate::Add { subscriptions: vec!["fabrikam-dev".parse()?], tenants: vec![] };
/// let sharing = GallerySharing::default().after(&add, "contoso-1");
/// assert_eq!(sharing.subscriptions.len(), 1);
/// assert!(sharing.after(&SharingUpdate::Reset, "contoso-1").is_empty());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GallerySharing {
    /// Callers who may read shared galleries in one of these (`Microsoft.Compute/locations/sharedGalleries/read`) may deploy.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub subscriptions: BTreeSet<SubscriptionId>,
    /// Users of one of these may deploy; its guests and applications may if they may read shared galleries in a subscription of the
    /// tenant, or above.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tenants: BTreeSet<TenantId>,
    /// The name that everybody finds a community gallery by; `None` while it is not public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_name: Option<String>,
}

/// A change to the sharing of a gallery (Azure: POST `share`).
///
/// ```
/// use compute_gallery::access::{GallerySharing, SharingUpdate};
///
/// let public = GallerySharing::default().after(&SharingUpdate::EnableCommunity, "contoso-1");
/// assert_eq!(public.public_name.as_deref(), Some("contoso-1"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharingUpdate {
    /// Shares it with further subscriptions and tenants.
    Add {
        /// Any number; may be empty.
        subscriptions: Vec<SubscriptionId>,
        /// Any number; may be empty.
        tenants: Vec<TenantId>,
    },
    /// Stops sharing it with these.
    Remove {
        /// Any number; may be empty.
        subscriptions: Vec<SubscriptionId>,
        /// Any number; may be empty.
        tenants: Vec<TenantId>,
    },
    /// Stops all sharing, the public name included.
    Reset,
    /// Gives it a public name, by which everybody finds it.
    EnableCommunity,
}

impl GallerySharing {
    /// Returns whether the gallery is not shared.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the sharing after a change. `public_name` is for [`SharingUpdate::EnableCommunity`], where it has none yet.
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
