//! Galleries.

use serde::{Deserialize, Serialize};

use super::body::from_body;
use super::region::Region;
use super::resource::{resource, updatable};
use super::resource_id::GalleryId;
use super::sharing_profile::{SharingPermissions, SharingProfile};
use super::soft_delete_policy::SoftDeletePolicy;
use super::tags::Tags;

/// A gallery: a repository of image definitions.
///
/// ```
/// use compute_gallery::model::{Gallery, GalleryId};
///
/// let id: GalleryId = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
/// let gallery = Gallery::new(id, "West Europe".parse()?).with_description("golden images");
/// let json = serde_json::to_value(&gallery).unwrap();
/// assert_eq!(json["properties"]["identifier"]["uniqueName"], "dev-CONTOSO");
/// assert_eq!(serde_json::from_value::<Gallery>(json).unwrap(), gallery);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
///
/// Azure: no resource is moved to another subscription or renamed, so the id has no setter:
///
/// ```compile_fail,E0599
/// # use compute_gallery::model::{Gallery, GalleryId};
/// fn rename(gallery: Gallery, id: GalleryId) { gallery.with_id(id); }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gallery {
    id: GalleryId,
    location: Region,
    tags: Tags,
    properties: Properties,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sharing_profile: Option<SharingProfile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soft_delete_policy: Option<SoftDeletePolicy>,
}

from_body!(Properties {
    optional description: "description",
    optional sharing_profile: "sharingProfile",
    optional soft_delete_policy: "softDeletePolicy",
});

impl Gallery {
    /// Returns a private gallery without a description and without soft delete.
    pub fn new(id: GalleryId, location: Region) -> Self {
        Self { id, location, tags: Tags::default(), properties: Properties::default() }
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.properties.description = Some(description.into());
        self
    }

    /// Sets how the gallery can be shared. By role assignments alone by default.
    ///
    /// Azure: `Groups` is set when a gallery is created, and stays.
    #[must_use]
    pub fn with_sharing_profile(mut self, profile: SharingProfile) -> Self {
        self.properties.sharing_profile = Some(profile);
        self
    }

    /// Sets whether deleted versions can be restored for some time. Not by default.
    ///
    /// ```
    /// use compute_gallery::model::{Gallery, SoftDeletePolicy};
    ///
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
    /// let gallery = Gallery::new(id, "westeurope".parse()?);
    /// assert!(!gallery.soft_delete_policy().is_enabled());
    /// assert!(gallery.with_soft_delete_policy(SoftDeletePolicy::enabled()).soft_delete_policy().is_enabled());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    #[must_use]
    pub fn with_soft_delete_policy(mut self, policy: SoftDeletePolicy) -> Self {
        self.properties.soft_delete_policy = Some(policy);
        self
    }

    /// Returns the description.
    pub fn description(&self) -> Option<&str> {
        self.properties.description.as_deref()
    }

    /// Returns how the gallery can be shared; `None` means by role assignments alone.
    pub fn sharing_profile(&self) -> Option<&SharingProfile> {
        self.properties.sharing_profile.as_ref()
    }

    /// Returns how the gallery can be shared: by role assignments alone by default.
    pub(crate) fn permissions(&self) -> SharingPermissions {
        self.sharing_profile().map(SharingProfile::permissions).unwrap_or_default()
    }

    /// Returns whether deleted versions can be restored, and for how long.
    pub fn soft_delete_policy(&self) -> SoftDeletePolicy {
        self.properties.soft_delete_policy.unwrap_or_default()
    }

    /// Returns the globally unique name: subscription and gallery name (Azure: `identifier.uniqueName`).
    pub fn unique_name(&self) -> String {
        format!("{}-{}", self.id.subscription(), self.id.name().as_str().to_ascii_uppercase())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UniqueName {
    unique_name: String,
}

#[derive(Serialize)]
struct ReadOnly {
    identifier: UniqueName,
}

resource!(
    Gallery,
    GalleryId,
    Properties,
    "Microsoft.Compute/galleries",
    "gallery",
    |gallery| ReadOnly { identifier: UniqueName { unique_name: gallery.unique_name() } },
    |_| Ok(())
);

updatable!(Gallery);
