//! Shared and community galleries, as their consumers see them: no more than is for them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::view::CatalogView;
use crate::access::Action;
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Architecture, Gallery, HyperVGeneration, ImageDefinitionId, ImageIdentifier, ImageName, OsState, OsType, Region,
    ResourceId, StorageProfile, VersionNumber,
};

/// The name of an image for those that a gallery is shared with: `/SharedGalleries/{unique name}/Images/{image}`, or
/// `/CommunityGalleries/{public name}/Images/{image}`, and `/Versions/{version or latest}`.
///
/// ```
/// use compute_gallery::PublicImageId;
///
/// let id: PublicImageId = "/SharedGalleries/dev-CONTOSO/Images/web/Versions/latest".parse()?;
/// assert_eq!(id.to_string(), "/SharedGalleries/dev-CONTOSO/Images/web");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicImageId {
    gallery: PublicGallery,
    image: ImageName,
    /// The latest where there is none.
    version: Option<VersionNumber>,
}

/// How a gallery is called by those that it is shared with. Compared without case, written as it was given.
#[derive(Clone, Debug, Eq)]
pub enum PublicGallery {
    /// A gallery shared with subscriptions and tenants, by its unique name.
    Shared(String),
    /// A community gallery, by its public name.
    Community(String),
}

impl PublicGallery {
    fn folded(&self) -> (bool, String) {
        match self {
            Self::Shared(name) => (false, name.to_ascii_lowercase()),
            Self::Community(name) => (true, name.to_ascii_lowercase()),
        }
    }
}

impl PartialEq for PublicGallery {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl std::hash::Hash for PublicGallery {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl PublicImageId {
    /// The latest version of an image.
    pub fn new(gallery: PublicGallery, image: ImageName) -> Self {
        Self { gallery, image, version: None }
    }

    /// One version of it.
    #[must_use]
    pub fn with_version(mut self, version: VersionNumber) -> Self {
        self.version = Some(version);
        self
    }
}

impl fmt::Display for PublicGallery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared(name) => write!(f, "/SharedGalleries/{name}"),
            Self::Community(name) => write!(f, "/CommunityGalleries/{name}"),
        }
    }
}

impl fmt::Display for PublicImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/Images/{}", self.gallery, self.image)?;
        self.version.map_or(Ok(()), |version| write!(f, "/Versions/{version}"))
    }
}

impl FromStr for PublicImageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let rule = "it is like `/SharedGalleries/{name}/Images/{image}` or `/CommunityGalleries/…`, with \
                        `/Versions/{version}` if you like";
            Error::invalid("imageReference", format!("`{}` names no shared image: {rule}", text.escape_debug()))
        };
        let is = |segment: &str, word: &str| segment.eq_ignore_ascii_case(word);
        let segments: Vec<&str> = text.split('/').collect();
        let (kind, name, images, image, version) = match segments.as_slice() {
            ["", kind, name, images, image] => (*kind, *name, *images, *image, None),
            ["", kind, name, images, image, versions, version] if is(versions, "Versions") => {
                (*kind, *name, *images, *image, Some(*version).filter(|version| !is(version, "latest")))
            }
            _ => return Err(wrong()),
        };
        let gallery = match () {
            () if name.is_empty() || !is(images, "Images") => return Err(wrong()),
            () if is(kind, "SharedGalleries") => PublicGallery::Shared(name.to_owned()),
            () if is(kind, "CommunityGalleries") => PublicGallery::Community(name.to_owned()),
            () => return Err(wrong()),
        };
        Ok(Self { gallery, image: image.parse()?, version: version.map(str::parse).transpose()? })
    }
}

/// A gallery as its consumers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SharedGallery {
    /// Its unique name, or its public one.
    pub name: String,
    /// The region that it is managed in.
    pub location: Region,
    /// `/SharedGalleries/…` or `/CommunityGalleries/…`.
    pub unique_id: String,
    /// Of a community gallery: its publisher's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_uri: Option<String>,
    /// Of a community gallery: its publisher's contact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_contact: Option<String>,
    /// Of a community gallery: its licence agreement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eula: Option<String>,
}

/// An image definition as its consumers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SharedImage {
    /// Its name.
    pub name: String,
    /// The region that it is managed in.
    pub location: Region,
    /// `/SharedGalleries/…/Images/…` or `/CommunityGalleries/…/Images/…`.
    pub unique_id: String,
    /// The operating system.
    pub os_type: OsType,
    /// Whether it is generalized.
    pub os_state: OsState,
    /// The firmware.
    pub hyper_v_generation: HyperVGeneration,
    /// The processor.
    pub architecture: Architecture,
    /// Publisher, offer and SKU.
    pub identifier: ImageIdentifier,
}

/// An image version as its consumers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SharedImageVersion {
    /// Its number.
    pub name: String,
    /// The region that it was asked for in.
    pub location: Region,
    /// Its image's, and `/Versions/…`.
    pub unique_id: String,
    /// When it was published.
    pub published_date: Option<DateTime<Utc>>,
    /// The end of its life.
    pub end_of_life_date: Option<DateTime<Utc>>,
    /// Whether it is never the latest in the region.
    pub exclude_from_latest: bool,
    /// The size of its OS disk in bytes.
    pub os_disk_bytes: u64,
    /// Its data disks: logical unit number and size in bytes.
    pub data_disks: Vec<(u32, u64)>,
}

/// The same, whether there is no such gallery or it is not for the caller.
pub(crate) fn not_shared(id: &dyn fmt::Display) -> Error {
    let what = format!("The gallery image {id} is not available: there is none, or it is not shared with you.");
    Error::of(ErrorKind::NotFound, "GalleryImageNotFound", id.to_string(), what)
}

impl PublicGallery {
    fn find<'a>(&self, view: &'a CatalogView) -> Result<&'a std::sync::Arc<Gallery>> {
        let state: &State = view.state();
        let consumer = view.rights().consumer(state);
        let found = state.galleries(None).find(|gallery| {
            let Some(sharing) = state.sharing(gallery.id()) else { return false };
            match self {
                Self::Shared(name) => gallery.unique_name().eq_ignore_ascii_case(name) && consumer.reaches(sharing),
                Self::Community(name) => {
                    sharing.public_name.as_ref().is_some_and(|public| public.eq_ignore_ascii_case(name))
                }
            }
        });
        // Sharing gives what a role would give; it takes back nothing that is denied.
        let found = found.filter(|gallery| !view.is_denied(Action::ReadGallery, gallery.id()));
        found.ok_or_else(|| not_shared(self))
    }

    fn describe(&self, gallery: &Gallery) -> SharedGallery {
        let info = gallery.sharing_profile().and_then(|profile| profile.community_gallery_info());
        let info = info.filter(|_| matches!(self, Self::Community(_)));
        let (Self::Shared(name) | Self::Community(name)) = self;
        SharedGallery {
            name: name.clone(),
            location: gallery.location().clone(),
            unique_id: self.to_string(),
            publisher_uri: info.map(|info| info.publisher_uri.clone()),
            publisher_contact: info.map(|info| info.publisher_contact.clone()),
            eula: info.map(|info| info.eula.clone()),
        }
    }
}

impl CatalogView {
    /// The galleries that are shared with the caller: with a tenant that they are a user of, or with a subscription in which
    /// they may see what is shared (`Microsoft.Compute/locations/sharedGalleries/read`). A guest or an application is a user
    /// of a tenant where it may see that at the tenant's root, or in a management group or subscription of it. What is denied to
    /// them, or to everybody, is left out here and everywhere below.
    pub fn shared_galleries(&self) -> Vec<SharedGallery> {
        let state = self.state();
        let consumer = self.rights().consumer(state);
        let shared = state.galleries(None).filter(|gallery| {
            let sharing = state.sharing(gallery.id());
            sharing.is_some_and(|sharing| consumer.reaches(sharing))
                && !self.is_denied(Action::ReadGallery, gallery.id())
        });
        shared.map(|gallery| PublicGallery::Shared(gallery.unique_name()).describe(gallery)).collect()
    }

    /// A shared gallery, or a community gallery, which everybody may see.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none or it is not shared with the caller.
    pub fn public_gallery(&self, gallery: &PublicGallery) -> Result<SharedGallery> {
        Ok(gallery.describe(gallery.find(self)?))
    }

    /// The images of a shared or community gallery.
    ///
    /// # Errors
    ///
    /// As [`public_gallery`](Self::public_gallery).
    pub fn public_images(&self, gallery: &PublicGallery) -> Result<Vec<SharedImage>> {
        let found = gallery.find(self)?;
        let images = self.state().definitions(found.id(), None);
        let images = images.filter(|image| !self.is_denied(Action::ReadImage, image.id())).map(|image| SharedImage {
            name: image.id().name().to_string(),
            location: image.location().clone(),
            unique_id: PublicImageId::new(gallery.clone(), image.id().name().clone()).to_string(),
            os_type: image.os_type(),
            os_state: image.os_state(),
            hyper_v_generation: image.hyper_v_generation(),
            architecture: image.architecture(),
            identifier: image.identifier().clone(),
        });
        Ok(images.collect())
    }

    /// The versions of a shared or community image that can be deployed in a region, in numeric order.
    ///
    /// # Errors
    ///
    /// As [`public_gallery`](Self::public_gallery).
    pub fn public_versions(&self, image: &PublicImageId, region: &Region) -> Result<Vec<SharedImageVersion>> {
        let definition = self.definition_of(image)?;
        let there = self.state().versions(&definition, None);
        let there = there.filter(|record| record.soft_deleted.is_none() && record.replicas_ready(region) > 0);
        let there = there.filter(|record| !self.is_denied(Action::ReadVersion, record.version.id()));
        let versions = there.map(|record| {
            let (version, profile) = (&record.version, record.version.publishing_profile());
            let disks: &StorageProfile = version.storage_profile();
            let number = version.id().number();
            SharedImageVersion {
                name: number.to_string(),
                location: region.clone(),
                unique_id: image.clone().with_version(number).to_string(),
                published_date: profile.published_date(),
                end_of_life_date: profile.end_of_life_date(),
                exclude_from_latest: profile.is_excluded_from_latest_in(region),
                os_disk_bytes: disks.os_disk_image().size_in_bytes(),
                data_disks: disks.data_disk_images().iter().map(|disk| (disk.lun(), disk.size_in_bytes())).collect(),
            }
        });
        Ok(versions.collect())
    }

    fn definition_of(&self, image: &PublicImageId) -> Result<ImageDefinitionId> {
        let definition = image.gallery.find(self)?.id().image(image.image.clone());
        let is_there = self.state().definition(&definition).is_some();
        match is_there && !self.is_denied(Action::ReadImage, &definition) {
            true => Ok(definition),
            false => Err(not_shared(image)),
        }
    }

    /// The version that a public id means in a region.
    pub(crate) fn resolve(&self, image: &PublicImageId, region: &Region) -> Result<ResourceId> {
        let definition = self.definition_of(image)?;
        let record = match image.version {
            Some(number) => self.state().version(&definition.version(number)),
            None => self.state().latest(&definition, region),
        };
        let record = record.ok_or_else(|| not_shared(image))?;
        let there = self.record(record.version.id()).map_err(|_untold| not_shared(image))?;
        if self.is_denied(Action::ReadVersion, there.version.id()) {
            return Err(not_shared(image));
        }
        Ok(there.version.id().into())
    }
}
