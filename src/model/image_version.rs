//! Image versions.

use serde::{Deserialize, Serialize};

use super::{ImageVersionId, PublishingProfile, Region, StorageProfile, Tags};
use crate::error::{Error, Result};

/// An image version: what a VM is made from.
///
/// Its location, the source region, is among its target regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Json", into = "Json")]
pub struct ImageVersion {
    id: ImageVersionId,
    location: Region,
    tags: Tags,
    properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    publishing_profile: PublishingProfile,
    storage_profile: StorageProfile,
}

impl ImageVersion {
    /// A version.
    ///
    /// # Errors
    ///
    /// `Invalid` where the location is not among the target regions.
    pub fn new(
        id: ImageVersionId,
        location: Region,
        publishing_profile: PublishingProfile,
        storage_profile: StorageProfile,
    ) -> Result<Self> {
        let regions = publishing_profile.target_regions();
        if regions.find(&location).is_none() {
            let what = format!(
                "Gallery image version publishing profile regions '{regions}' must contain the location of image version \
                 '{location}'."
            );
            return Err(Error::invalid("galleryImageVersion.properties.publishingProfile.targetRegions", what));
        }
        Ok(Self { id, location, tags: Tags::default(), properties: Properties { publishing_profile, storage_profile } })
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Its id.
    pub fn id(&self) -> &ImageVersionId {
        &self.id
    }

    /// Its source region.
    pub fn location(&self) -> &Region {
        &self.location
    }

    /// Its tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Where it goes.
    pub fn publishing_profile(&self) -> &PublishingProfile {
        &self.properties.publishing_profile
    }

    /// Its disks.
    pub fn storage_profile(&self) -> &StorageProfile {
        &self.properties.storage_profile
    }
}

#[derive(Serialize, Deserialize)]
struct Json {
    id: ImageVersionId,
    #[serde(default, skip_deserializing)]
    name: String,
    #[serde(default, rename = "type", skip_deserializing)]
    kind: &'static str,
    location: Region,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
    properties: Properties,
}

impl From<ImageVersion> for Json {
    fn from(version: ImageVersion) -> Self {
        let ImageVersion { id, location, tags, properties } = version;
        let (name, kind) = (id.number().to_string(), "Microsoft.Compute/galleries/images/versions");
        Self { name, kind, id, location, tags, properties }
    }
}

impl TryFrom<Json> for ImageVersion {
    type Error = Error;

    fn try_from(json: Json) -> Result<Self> {
        let Properties { publishing_profile, storage_profile } = json.properties;
        Ok(Self::new(json.id, json.location, publishing_profile, storage_profile)?.with_tags(json.tags))
    }
}
