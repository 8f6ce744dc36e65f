//! Shared and community galleries, as their consumers see them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::view::CatalogView;
use crate::access::Action;
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Architecture, Gallery, HyperVGeneration, ImageDefinitionId, ImageIdentifier, ImageName, OsState, OsType, Region,
    ResourceId, StorageProfile, VersionNumber, from_text, given,
};

/// The public name of a shared image: `/SharedGalleries/{unique name}/Images/{image}` or `/CommunityGalleries/{public
/// name}/Images/{image}`, optionally with `/Versions/{number}`. Without a version, or with `/Versions/latest`, it means the
/// latest.
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
    /// `None` means the latest.
    version: Option<VersionNumber>,
}

/// The public name of a shared gallery. Comparison ignores case; the spelling is kept.
///
/// ```
/// use compute_gallery::read::PublicGallery;
///
/// let gallery = PublicGallery::Community("contoso-1f2e".into());
/// assert_eq!(gallery, PublicGallery::Community("CONTOSO-1F2E".into()));
/// assert_eq!(gallery.to_string(), "/CommunityGalleries/contoso-1f2e");
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Eq)]
pub enum PublicGallery {
    /// The unique name of a gallery that is shared with subscriptions and tenants: [`Gallery::unique_name`].
    Shared(String),
    /// The public name of a community gallery: its prefix, `-` and 32 hexadecimal digits.
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
    /// Returns the id of an image's latest version.
    ///
    /// ```
    /// use compute_gallery::PublicImageId;
    /// use compute_gallery::read::PublicGallery;
    ///
    /// let id = PublicImageId::new(PublicGallery::Shared("dev-CONTOSO".into()), "web".parse()?);
    /// assert_eq!(id.to_string(), "/SharedGalleries/dev-CONTOSO/Images/web");
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn new(gallery: PublicGallery, image: ImageName) -> Self {
        Self { gallery, image, version: None }
    }

    /// Sets the version, in place of the latest.
    ///
    /// ```
    /// use compute_gallery::PublicImageId;
    ///
    /// let id: PublicImageId = "/SharedGalleries/dev-CONTOSO/Images/web".parse()?;
    /// let id = id.with_version("1.0.0".parse()?);
    /// assert_eq!(id.to_string(), "/SharedGalleries/dev-CONTOSO/Images/web/Versions/1.0.0");
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
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

from_text!(PublicImageId);

impl FromStr for PublicImageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let rule = "the form is `/SharedGalleries/{name}/Images/{image}` or `/CommunityGalleries/…`, optionally with \
                        `/Versions/{version}`";
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

/// A gallery as its consumers see it, from [`CatalogView::public_gallery`] and [`CatalogView::shared_galleries`].
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # use compute_gallery::{access::*, model::*, read::PublicGallery};
/// # let sandbox = Sandbox::builder().empty().build().await?;
/// # let session = sandbox.session();
/// # let info = CommunityGalleryInfo {
/// #     publisher_uri: "https://contoso.example".into(),
/// #     publisher_contact: "images@contoso.example".into(),
/// #     eula: "https://contoso.example/eula".into(),
/// #     public_name_prefix: "contoso".into(),
/// # };
/// # let id = sandbox.image().gallery();
/// # let gallery = Gallery::new(id.clone(), "westeurope".parse()?).with_sharing_profile(SharingProfile::community(info));
/// # session.create_gallery(gallery).await?;
/// let sharing = session.share_gallery(id, SharingUpdate::EnableCommunity).await?;
/// let public_name = sharing.public_name.unwrap();
///
/// let seen = session.view().public_gallery(&PublicGallery::Community(public_name.clone()))?;
/// assert_eq!(seen.unique_id, format!("/CommunityGalleries/{public_name}"));
/// assert_eq!(seen.publisher_contact.as_deref(), Some("images@contoso.example"));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SharedGallery {
    /// The unique name, or the public name of a community gallery.
    pub name: String,
    /// The region that holds the gallery resource, not its replicas.
    pub location: Region,
    /// `/SharedGalleries/…` or `/CommunityGalleries/…`.
    pub unique_id: String,
    /// Set for community galleries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_uri: Option<String>,
    /// Set for community galleries: an address for questions about the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher_contact: Option<String>,
    /// Set for community galleries: the licence agreement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eula: Option<String>,
}

impl SharedGallery {
    /// Returns the id of the latest version of an image in the gallery, to deploy.
    ///
    /// # Errors
    ///
    /// `Invalid` for text that is no name of an image.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # use compute_gallery::{access::*, model::*};
    /// # let sandbox = Sandbox::builder().empty().build().await?;
    /// # let session = sandbox.session();
    /// # let id = sandbox.image().gallery();
    /// # let resource = Gallery::new(id.clone(), "westeurope".parse()?);
    /// # session.create_gallery(resource.with_sharing_profile(SharingProfile::new(SharingPermissions::Groups))).await?;
    /// # let add = SharingUpdate::Add { subscriptions: vec!["fabrikam-dev".parse()?], tenants: vec![] };
    /// # session.share_gallery(id, add).await?;
    /// # let unique_name = session.view().gallery(id)?.unique_name();
    /// # let gallery = session.view().public_gallery(&compute_gallery::read::PublicGallery::Shared(unique_name.clone()))?;
    /// assert_eq!(gallery.image("web")?.to_string(), format!("/SharedGalleries/{unique_name}/Images/web"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn image(&self, name: impl TryInto<ImageName, Error: Into<Error>>) -> Result<PublicImageId> {
        let gallery = match self.unique_id.starts_with("/CommunityGalleries/") {
            true => PublicGallery::Community(self.name.clone()),
            false => PublicGallery::Shared(self.name.clone()),
        };
        Ok(PublicImageId::new(gallery, given(name)?))
    }
}

/// An image definition as its consumers see it, from [`CatalogView::public_images`].
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # use compute_gallery::{access::*, model::*, read::PublicGallery};
/// # let sandbox = Sandbox::builder().empty().build().await?;
/// # let session = sandbox.session();
/// # let gallery = sandbox.image().gallery();
/// # let resource = Gallery::new(gallery.clone(), "westeurope".parse()?);
/// # let resource = resource.with_sharing_profile(SharingProfile::new(SharingPermissions::Groups));
/// # session.create_gallery(resource).await?;
/// # let os = (OsType::Linux, OsState::Generalized);
/// # let names = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
/// # let definition = ImageDefinition::new(sandbox.image().clone(), "westeurope".parse()?, os.0, os.1, names);
/// # session.create_image_definition(definition).await?;
/// # let add = SharingUpdate::Add { subscriptions: vec!["fabrikam-dev".parse()?], tenants: vec![] };
/// # session.share_gallery(gallery, add).await?;
/// let unique_name = session.view().gallery(gallery)?.unique_name();
/// let images = session.view().public_images(&PublicGallery::Shared(unique_name))?;
/// assert_eq!((images[0].name.as_str(), images[0].os_type), ("web", OsType::Linux));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SharedImage {
    /// The last segment of `unique_id`.
    pub name: String,
    /// The region that holds the definition, not its replicas.
    pub location: Region,
    /// `/SharedGalleries/…/Images/…` or `/CommunityGalleries/…/Images/…`, which [`PublicImageId`] reads.
    pub unique_id: String,
    /// Linux or Windows.
    pub os_type: OsType,
    /// A generalized image needs an OS profile for each VM; a specialized one takes none.
    pub os_state: OsState,
    /// The firmware: BIOS (V1) or UEFI (V2).
    pub hyper_v_generation: HyperVGeneration,
    /// Of the processor.
    pub architecture: Architecture,
    /// Publisher, offer and SKU.
    pub identifier: ImageIdentifier,
}

/// An image version as its consumers see it, from [`CatalogView::public_versions`].
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # use compute_gallery::{PublicImageId, access::*, model::*, read::PublicGallery, testkit::raw};
/// # let sandbox = Sandbox::builder().empty().build().await?;
/// # let session = sandbox.session();
/// # let gallery = sandbox.image().gallery();
/// # let resource = Gallery::new(gallery.clone(), "westeurope".parse()?);
/// # let resource = resource.with_sharing_profile(SharingProfile::new(SharingPermissions::Groups));
/// # session.create_gallery(resource).await?;
/// # let os = (OsType::Linux, OsState::Generalized);
/// # let names = ImageIdentifier::new("Contoso", "Web", "Frontend")?;
/// # let definition = ImageDefinition::new(sandbox.image().clone(), "westeurope".parse()?, os.0, os.1, names);
/// # session.create_image_definition(definition).await?;
/// # let add = SharingUpdate::Add { subscriptions: vec!["fabrikam-dev".parse()?], tenants: vec![] };
/// # session.share_gallery(gallery, add).await?;
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// # let unique_name = session.view().gallery(gallery)?.unique_name();
/// let image = PublicImageId::new(PublicGallery::Shared(unique_name), "web".parse()?);
/// let versions = session.view().public_versions(&image, "eastus")?;
/// assert_eq!((versions[0].name.as_str(), versions[0].os_disk_bytes), ("1.0.0", 4096));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SharedImageVersion {
    /// The version number.
    pub name: String,
    /// The region that was asked about.
    pub location: Region,
    /// The image's `unique_id`, and `/Versions/…`.
    pub unique_id: String,
    /// When the owner published it.
    pub published_date: Option<DateTime<Utc>>,
    /// Advisory: the version can be deployed after it.
    pub end_of_life_date: Option<DateTime<Utc>>,
    /// Whether the version is never the latest in the region.
    pub exclude_from_latest: bool,
    /// Virtual size.
    pub os_disk_bytes: u64,
    /// Logical unit number and virtual size in bytes.
    pub data_disks: Vec<(u32, u64)>,
}

/// One answer for "does not exist" and "not shared with you", so that neither leaks.
pub(crate) fn not_shared(id: &dyn fmt::Display) -> Error {
    let what = format!(
        "gallery image `{id}` is not available: it does not exist, or it is not shared with you; ask its owner"
    );
    Error::of(ErrorKind::NotFound, "GalleryImageNotFound", id.to_string(), what)
}

impl PublicGallery {
    fn find<'a>(&self, view: &'a CatalogView) -> Result<&'a Arc<Gallery>> {
        let state: &State = view.state();
        let consumer = view.rights().consumer(state);
        let reached = |gallery: &&Arc<Gallery>| state.sharing(gallery.id()).is_some_and(|of| consumer.reaches(of));
        let found = match self {
            Self::Shared(name) => state.gallery_by_unique_name(name).filter(reached),
            Self::Community(name) => state.gallery_by_public_name(name),
        };
        // Sharing grants what a role would grant; a denial beats both.
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

/// # Shared and community galleries
///
/// Galleries, images and versions that are denied to the caller, by name or as one of everybody, are left out.
impl CatalogView {
    /// Returns the galleries that are shared with the caller directly: with a tenant that the caller is a user of, or with
    /// a subscription in which they may read shared galleries (`Microsoft.Compute/locations/sharedGalleries/read`). A guest
    /// or an application counts as a user of a tenant if it has that permission at the tenant's root or in a management
    /// group or subscription of the tenant.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// // The sandbox's gallery is private.
    /// assert!(session.view().shared_galleries().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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

    /// Returns a gallery that is shared with the caller, or a community gallery, which every caller may see.
    ///
    /// # Errors
    ///
    /// `NotFound` if it does not exist or is not shared with the caller.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::ErrorKind;
    /// use compute_gallery::read::PublicGallery;
    ///
    /// let error = session.view().public_gallery(&PublicGallery::Shared("dev-G".into())).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn public_gallery(&self, gallery: &PublicGallery) -> Result<SharedGallery> {
        Ok(gallery.describe(gallery.find(self)?))
    }

    /// Returns the images of a shared or community gallery. [`SharedImage`] has an example.
    ///
    /// # Errors
    ///
    /// As [`public_gallery`](Self::public_gallery).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::PublicGallery;
    ///
    /// assert!(session.view().public_images(&PublicGallery::Shared("dev-G".into())).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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

    /// Returns the versions of a shared or community image that can be deployed in a region, in numeric order.
    /// [`SharedImageVersion`] has an example.
    ///
    /// # Errors
    ///
    /// As [`public_gallery`](Self::public_gallery).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert!(session.view().public_versions("/SharedGalleries/dev-G/Images/web", "eastus").is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn public_versions(
        &self,
        image: impl TryInto<PublicImageId, Error: Into<Error>>,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Result<Vec<SharedImageVersion>> {
        let (image, region) = (&given(image)?, &given(region)?);
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

    /// Returns the version that a public id means in a region.
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
