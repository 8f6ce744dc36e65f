//! How a gallery can be shared beyond role assignments.

use serde::{Deserialize, Serialize};

use super::body::{from_body, from_body_by};

/// How a gallery can be shared beyond role assignments (Azure: `SharingProfile`).
///
/// It opens the way; [`Session::share_gallery`](crate::Session::share_gallery) then shares the gallery.
///
/// ```
/// use compute_gallery::model::{SharingPermissions, SharingProfile};
///
/// let profile = SharingProfile::new(SharingPermissions::Groups);
/// assert_eq!(serde_json::to_value(&profile).unwrap()["permissions"], "Groups");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharingProfile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<SharingPermissions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    community_gallery_info: Option<CommunityGalleryInfo>,
}

/// With whom a gallery can be shared.
///
/// ```
/// use compute_gallery::model::SharingPermissions;
///
/// assert_eq!(SharingPermissions::default(), SharingPermissions::Private);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SharingPermissions {
    /// With principals, by role assignments alone.
    #[default]
    Private,
    /// Also with whole subscriptions and tenants.
    Groups,
    /// Also with everybody, under a public name.
    Community,
}

impl std::fmt::Display for SharingPermissions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Private => "Private",
            Self::Groups => "Groups",
            Self::Community => "Community",
        })
    }
}

/// What a community gallery tells everybody about its publisher (Azure: `CommunityGalleryInfo`).
///
/// Exhaustive: Azure takes these four texts and needs each of them, and a literal tells them apart where arguments would not. The
/// gallery's public name is in [`GallerySharing::public_name`](crate::access::GallerySharing::public_name).
///
/// ```
/// use compute_gallery::model::{CommunityGalleryInfo, SharingPermissions, SharingProfile};
///
/// let profile = SharingProfile::community(CommunityGalleryInfo {
///     publisher_uri: "https://contoso.example".into(),
///     publisher_contact: "images@contoso.example".into(),
///     eula: "https://contoso.example/eula".into(),
///     public_name_prefix: "contoso".into(),
/// });
/// assert_eq!(profile.permissions(), SharingPermissions::Community);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommunityGalleryInfo {
    /// The publisher's web site.
    pub publisher_uri: String,
    /// The publisher's mail address.
    pub publisher_contact: String,
    /// The address of the licence agreement.
    pub eula: String,
    /// The first part of the public name; the service adds the rest, so that the name is unique.
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
    /// Returns a profile without community information.
    pub fn new(permissions: SharingPermissions) -> Self {
        Self { permissions: Some(permissions), community_gallery_info: None }
    }

    /// Returns the profile of a community gallery.
    pub fn community(info: CommunityGalleryInfo) -> Self {
        Self { permissions: Some(SharingPermissions::Community), community_gallery_info: Some(info) }
    }

    /// Returns with whom the gallery can be shared.
    pub fn permissions(&self) -> SharingPermissions {
        self.permissions.unwrap_or_default()
    }

    /// Returns what a community gallery tells everybody about its publisher.
    pub fn community_gallery_info(&self) -> Option<&CommunityGalleryInfo> {
        self.community_gallery_info.as_ref()
    }
}
