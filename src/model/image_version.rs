//! Image versions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::body::{Fields, FromBody, from_body};
use super::publishing_profile::PublishingProfile;
use super::region::Region;
use super::resource::{Body, NoMore, resource, updatable};
use super::resource_id::ImageVersionId;
use super::safety_profile::SafetyProfile;
use super::security_profile::SecurityProfile;
use super::shared::Spelled;
use super::storage_profile::StorageProfile;
use super::tags::Tags;
use super::version_source::{STORAGE_PROFILE, SourceJson, StorageJson, VersionSource, one_source};
use crate::error::{Error, Result};

const TARGET_REGIONS: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

/// An image version: the disks that VMs are made from, and the regions that they are in.
///
/// A session makes it with [`Session::publish`](crate::Session::publish). Azure: its location, the source region, is one of its
/// target regions.
///
/// ```
/// use compute_gallery::model::{DiskImage, ImageVersion, ImageVersionId, PublishingProfile, StorageProfile};
///
/// let id: ImageVersionId =
///     "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso/images/web/versions/1.0.0".parse()?;
/// let disks = StorageProfile::new(DiskImage::new(4 << 30), vec![])?;
/// let profile = |regions: &str| Ok::<_, compute_gallery::Error>(PublishingProfile::new(regions.parse()?));
///
/// let version = ImageVersion::new(id.clone(), "westeurope".parse()?, profile("westeurope=2,eastus")?, disks.clone())?;
/// assert_eq!(version.publishing_profile().replicas_in(&"eastus".parse()?), Some(1));
/// // Elsewhere alone: its own location is missing.
/// assert!(ImageVersion::new(id, "westeurope".parse()?, profile("eastus")?, disks).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    safety_profile: Option<SafetyProfile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    security_profile: Option<Box<SecurityProfile>>,
}

from_body!(Properties {
    required publishing_profile: "publishingProfile",
    required storage_profile: "storageProfile",
    optional safety_profile: "safetyProfile",
    optional security_profile: "securityProfile",
});

/// Checks that the location is one of the target regions.
fn is_at_home(location: &Region, profile: &PublishingProfile) -> Result<()> {
    let regions = profile.target_regions();
    if regions.find(location).is_some() {
        return Ok(());
    }
    let what = format!(
        "Gallery image version publishing profile regions '{regions}' must contain the location of image version \
         '{location}'."
    );
    Err(Error::invalid(TARGET_REGIONS, what))
}

impl ImageVersion {
    /// Returns a version without optional properties.
    ///
    /// # Errors
    ///
    /// `Invalid` where the location is not one of the target regions.
    pub fn new(
        id: ImageVersionId,
        location: Region,
        publishing_profile: PublishingProfile,
        storage_profile: StorageProfile,
    ) -> Result<Self> {
        let properties =
            Properties { publishing_profile, storage_profile, safety_profile: None, security_profile: None };
        Self::assemble(id, location, Tags::default(), properties)
    }

    /// Replaces the publishing profile.
    ///
    /// # Errors
    ///
    /// `Invalid` where the location is not one of the target regions.
    pub fn with_publishing_profile(mut self, profile: PublishingProfile) -> Result<Self> {
        is_at_home(&self.location, &profile)?;
        self.properties.publishing_profile = profile;
        Ok(self)
    }

    /// Sets the protection against early deletion.
    #[must_use]
    pub fn with_safety_profile(mut self, profile: SafetyProfile) -> Self {
        self.properties.safety_profile = Some(profile);
        self
    }

    /// Returns this version with the date of publication of `other`.
    pub(crate) fn published_as(&self, other: &Self) -> Self {
        let mut version = self.clone();
        let date = other.properties.publishing_profile.published_date();
        version.properties.publishing_profile.set_published_date(date);
        version
    }

    /// Returns a version that has everything in common with this one but its id and its date of publication.
    pub(crate) fn published_as_another(&self, id: ImageVersionId, date: Option<DateTime<Utc>>) -> Self {
        let mut version = Self { id, ..self.clone() };
        version.properties.publishing_profile.set_published_date(date);
        version
    }

    /// Replaces the disks.
    pub(crate) fn with_storage_profile(mut self, storage_profile: StorageProfile) -> Self {
        self.properties.storage_profile = storage_profile;
        self
    }

    /// Returns the regions that the version goes to, with their replica counts and flags.
    pub fn publishing_profile(&self) -> &PublishingProfile {
        &self.properties.publishing_profile
    }

    /// Returns the disks.
    pub fn storage_profile(&self) -> &StorageProfile {
        &self.properties.storage_profile
    }

    /// Returns the protection against early deletion.
    pub fn safety_profile(&self) -> SafetyProfile {
        self.properties.safety_profile.unwrap_or_default()
    }

    /// Returns the firmware settings for VMs.
    pub fn security_profile(&self) -> Option<&SecurityProfile> {
        self.properties.security_profile.as_deref()
    }

    /// Lets equal parts of two versions share memory: those of one definition have most in common.
    pub(crate) fn share(&mut self, other: &Self) {
        self.id.share(&other.id);
        self.location.share(&other.location);
        self.properties.publishing_profile.share(&other.properties.publishing_profile);
        self.properties.storage_profile.share(&other.properties.storage_profile);
    }
}

resource!(
    ImageVersion,
    ImageVersionId,
    Properties,
    "Microsoft.Compute/galleries/images/versions",
    "galleryImageVersion",
    |_version| NoMore {},
    |version| is_at_home(&version.location, &version.properties.publishing_profile)
);

updatable!(ImageVersion);

/// A request that creates a version: all of the version but its disks, and the source of the disks in their place.
///
/// It reads and writes the body of Azure's PUT, for programs that speak Azure's protocol. A program that has the disks at hand
/// publishes a [`NewImageVersion`](crate::NewImageVersion).
///
/// ```
/// use compute_gallery::model::{ImageVersionRequest, PublishingProfile, VersionSource};
///
/// let image = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden".parse()?;
/// let profile = PublishingProfile::new("westeurope,eastus".parse()?);
/// let request = ImageVersionRequest::new("westeurope".parse()?, profile, VersionSource::ManagedImage(image))?;
/// let body = request.body();
/// assert!(body["properties"]["storageProfile"]["source"]["id"].as_str().unwrap().ends_with("/images/golden"));
/// assert_eq!(ImageVersionRequest::from_body(&body)?, request);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageVersionRequest {
    /// The source region: one of the target regions.
    pub location: Region,
    /// Tags of the version.
    pub tags: Tags,
    /// The regions that the version goes to.
    pub publishing_profile: PublishingProfile,
    /// The source of the disks. Azure: a PATCH leaves it out.
    pub source: VersionSource,
    /// The protection against early deletion.
    pub safety_profile: Option<SafetyProfile>,
    /// The firmware settings for VMs.
    pub security_profile: Option<SecurityProfile>,
    /// Whether the source is where the api-versions 2018-06-01 and 2019-03-01 have it: in the publishing profile.
    legacy: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestProperties {
    publishing_profile: RequestProfile,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_profile: Option<StorageJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_profile: Option<SafetyProfile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security_profile: Option<SecurityProfile>,
}

#[derive(Serialize)]
struct RequestProfile {
    #[serde(flatten)]
    profile: PublishingProfile,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<LegacySource>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LegacySource {
    managed_image: SourceJson,
}

from_body!(LegacySource { required managed_image: "managedImage" });

from_body!(RequestProperties {
    required publishing_profile: "publishingProfile",
    optional storage_profile: "storageProfile",
    optional safety_profile: "safetyProfile",
    optional security_profile: "securityProfile",
});

impl FromBody for RequestProfile {
    fn from_body(path: &str, value: &serde_json::Value) -> Result<Self> {
        let mut fields = Fields::of(path, value)?;
        let source = fields.optional("source");
        let (profile, wrong) = match PublishingProfile::from_body(path, value) {
            Ok(profile) => (Some(profile), Vec::new()),
            Err(error) => (None, error.into_problems()),
        };
        fields.add(wrong);
        fields.end(profile.map(|profile| Self { profile, source }))
    }
}

impl ImageVersionRequest {
    /// Returns a request without tags and without optional profiles.
    ///
    /// # Errors
    ///
    /// `Invalid` where the location is not one of the target regions.
    pub fn new(location: Region, publishing_profile: PublishingProfile, source: VersionSource) -> Result<Self> {
        is_at_home(&location, &publishing_profile)?;
        let (safety_profile, security_profile) = (None, None);
        let tags = Tags::default();
        Ok(Self { location, tags, publishing_profile, source, safety_profile, security_profile, legacy: false })
    }

    /// Sets the tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }

    /// Sets the protection against early deletion.
    #[must_use]
    pub fn with_safety_profile(mut self, profile: SafetyProfile) -> Self {
        self.safety_profile = Some(profile);
        self
    }

    /// Sets the firmware settings.
    #[must_use]
    pub fn with_security_profile(mut self, profile: SecurityProfile) -> Self {
        self.security_profile = Some(profile);
        self
    }

    /// Reads the body of Azure's PUT.
    ///
    /// # Errors
    ///
    /// `Invalid`, with all problems, each with the path of its property.
    pub fn from_body(body: &serde_json::Value) -> Result<Self> {
        let Body { location, tags, properties } = Body::from_body(ImageVersion::TARGET, body)?;
        let RequestProperties { publishing_profile, storage_profile, safety_profile, security_profile } = properties;
        let RequestProfile { profile, source: old } = publishing_profile;
        let new = VersionSource::read(STORAGE_PROFILE, &storage_profile.unwrap_or_default())?;
        let old = old.map(|old| StorageJson { source: Some(old.managed_image), ..StorageJson::default() });
        let old = old.map(|old| VersionSource::read(STORAGE_PROFILE, &old)).transpose()?.flatten();
        let legacy = old.is_some();
        let source = match (old, new) {
            (Some(source), None) | (None, Some(source)) => source,
            (None, None) => {
                return Err(Error::new(one_source(
                    SOURCE,
                    "the body has no source: name a managed image, version, VM or disks",
                )));
            }
            (Some(_), Some(_)) => {
                let advice = "name the source once: in storageProfile, or in publishingProfile as api-versions until 2019-03-01 did";
                return Err(Error::new(one_source(SOURCE, advice)));
            }
        };
        let request = Self::new(location, profile, source)?;
        Ok(Self { tags, safety_profile, security_profile, legacy, ..request })
    }

    /// Returns the body of the request.
    pub fn body(&self) -> serde_json::Value {
        let storage = self.source.write();
        let (source, storage_profile) = match storage.source.clone().filter(|_| self.legacy) {
            Some(managed_image) => (Some(LegacySource { managed_image }), None),
            None => (None, Some(storage)),
        };
        let properties = RequestProperties {
            publishing_profile: RequestProfile { profile: self.publishing_profile.clone(), source },
            storage_profile,
            safety_profile: self.safety_profile,
            security_profile: self.security_profile.clone(),
        };
        let json = Body { location: self.location.clone(), tags: self.tags.clone(), properties };
        serde_json::to_value(json).unwrap_or_default()
    }
}

const SOURCE: &str = "galleryImageVersion.properties.storageProfile.source";
