//! With whom a gallery can be shared, beyond role assignments.

use serde::{Deserialize, Serialize};

use super::body::{from_body, from_body_by};

/// With whom a gallery can be shared, beyond role assignments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharingProfile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<SharingPermissions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    community_gallery_info: Option<CommunityGalleryInfo>,
}

/// How a gallery can be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SharingPermissions {
    /// By role assignments alone.
    #[default]
    Private,
    /// With whole subscriptions and tenants, too.
    Groups,
    /// With everybody.
    Community,
}

/// What a community gallery tells everybody about its publisher (Azure: `CommunityGalleryInfo`).
///
/// Exhaustive: Azure takes these four texts and needs each of them, and a literal tells them apart where arguments would not. The
/// gallery's public name is [`GallerySharing::public_name`](crate::access::GallerySharing::public_name).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommunityGalleryInfo {
    /// The address of its publisher.
    pub publisher_uri: String,
    /// The mail address of its publisher.
    pub publisher_contact: String,
    /// Its licence agreement.
    pub eula: String,
    /// The first part of its public name.
    pub public_name_prefix: String,
}

from_body_by!(plain: SharingPermissions);

from_body!(SharingProfile {
    optional permissions: "permissions",
    optional community_gallery_info: "communityGalleryInfo",
});

from_body!(CommunityGalleryInfo {
    required publisher_uri: "publisherUri",
    required publisher_contact: "publisherContact",
    required eula: "eula",
    required public_name_prefix: "publicNamePrefix",
});

impl SharingProfile {
    /// A profile without community information.
    pub fn new(permissions: SharingPermissions) -> Self {
        Self { permissions: Some(permissions), community_gallery_info: None }
    }

    /// The profile of a community gallery.
    pub fn community(info: CommunityGalleryInfo) -> Self {
        Self { permissions: Some(SharingPermissions::Community), community_gallery_info: Some(info) }
    }

    /// How it can be shared.
    pub fn permissions(&self) -> SharingPermissions {
        self.permissions.unwrap_or_default()
    }

    /// What everybody is told of it.
    pub fn community_gallery_info(&self) -> Option<&CommunityGalleryInfo> {
        self.community_gallery_info.as_ref()
    }
}
