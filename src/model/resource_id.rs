//! Ids of resources, as Azure writes them.

use std::fmt;
use std::str::FromStr;

use super::body::from_body_by;
use super::name::{GalleryName, ImageName, ResourceGroupName, ResourceName, SubscriptionId};
use super::shared::{Shared, Spelled};
use super::text::{from_text, serde_as_text};
use super::top_level_id::{DiskId, ManagedImageId, SnapshotId, StorageAccountId, VirtualMachineId};
use super::version_number::VersionNumber;
use crate::error::{Error, Problem, Result};

/// The id of a gallery: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/galleries/…`.
///
/// Compared without case, as all resource ids are (Azure: ARM); written as it was given.
///
/// ```
/// use compute_gallery::model::GalleryId;
///
/// let id: GalleryId = "/subscriptions/dev/resourceGroups/Images/providers/Microsoft.Compute/galleries/Contoso".parse()?;
/// assert_eq!(id, "/SUBSCRIPTIONS/DEV/resourcegroups/images/providers/microsoft.compute/galleries/contoso".parse()?);
/// assert_eq!(id.name().as_str(), "Contoso");
///
/// let version = id.image("web".parse()?).version("1.0.0".parse()?);
/// assert!(version.to_string().ends_with("/galleries/Contoso/images/web/versions/1.0.0"));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GalleryId(Shared<GalleryPath>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct GalleryPath {
    subscription: SubscriptionId,
    resource_group: ResourceGroupName,
    name: GalleryName,
}

/// The id of an image definition: the id of its gallery, and `/images/…`.
///
/// ```
/// use compute_gallery::model::ImageDefinitionId;
///
/// let gallery = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso";
/// let id: ImageDefinitionId = format!("{gallery}/images/web").parse()?;
/// assert_eq!(id.name().as_str(), "web");
/// assert_eq!(id.gallery().to_string(), gallery);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageDefinitionId(Shared<ImageDefinitionPath>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ImageDefinitionPath {
    gallery: GalleryId,
    name: ImageName,
}

/// The id of an image version: the id of its definition, and `/versions/…`.
///
/// ```
/// use compute_gallery::model::ImageVersionId;
///
/// let web = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Contoso/images/web";
/// let id: ImageVersionId = format!("{web}/versions/1.0.0").parse()?;
/// assert_eq!(id.number(), "1.0.0".parse()?);
/// assert!(web.parse::<ImageVersionId>().unwrap_err().to_string().contains("is not the id of an image version"));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageVersionId {
    definition: ImageDefinitionId,
    number: VersionNumber,
}

/// The id of a resource in a gallery, or of one that an image version can be made from.
///
/// ```
/// use compute_gallery::model::ResourceId;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/snapshots/nightly".parse()?;
/// let ResourceId::Snapshot(snapshot) = id else { panic!("this is the id of a snapshot") };
/// assert_eq!(snapshot.name().as_str(), "nightly");
/// // An error says which segment is wrong.
/// let error = "/subscriptions/dev/groups/images".parse::<ResourceId>().unwrap_err();
/// assert!(error.to_string().contains("`groups` stands where `resourceGroups` must"));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ResourceId {
    /// A gallery.
    Gallery(GalleryId),
    /// An image definition.
    ImageDefinition(ImageDefinitionId),
    /// An image version.
    ImageVersion(ImageVersionId),
    /// A managed image.
    ManagedImage(ManagedImageId),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A managed disk.
    Disk(DiskId),
    /// A VM.
    VirtualMachine(VirtualMachineId),
    /// A storage account.
    StorageAccount(StorageAccountId),
}

impl GalleryId {
    /// Returns the id of a gallery.
    pub fn new(subscription: SubscriptionId, resource_group: ResourceGroupName, name: GalleryName) -> Self {
        Self(Shared::new(GalleryPath { subscription, resource_group, name }))
    }

    /// Returns the subscription that the gallery is in.
    pub fn subscription(&self) -> &SubscriptionId {
        &self.0.subscription
    }

    /// Returns the resource group that the gallery is in.
    pub fn resource_group(&self) -> &ResourceGroupName {
        &self.0.resource_group
    }

    /// Returns the name.
    pub fn name(&self) -> &GalleryName {
        &self.0.name
    }

    /// Returns the id of an image definition in the gallery.
    pub fn image(&self, name: ImageName) -> ImageDefinitionId {
        ImageDefinitionId(Shared::new(ImageDefinitionPath { gallery: self.clone(), name }))
    }
}

impl GalleryPath {
    fn names(&self) -> [&str; 3] {
        [self.subscription.as_str(), self.resource_group.as_str(), self.name.as_str()]
    }
}

impl Spelled for GalleryId {
    fn is_spelled_as(&self, other: &Self) -> bool {
        self.0.is_same(&other.0) || self.0.names() == other.0.names()
    }
}

impl Spelled for ImageDefinitionId {
    fn is_spelled_as(&self, other: &Self) -> bool {
        let is_same = || self.name().as_str() == other.name().as_str() && self.gallery().is_spelled_as(other.gallery());
        self.0.is_same(&other.0) || is_same()
    }
}

impl Spelled for ImageVersionId {
    fn is_spelled_as(&self, other: &Self) -> bool {
        self.number == other.number && self.definition.is_spelled_as(&other.definition)
    }

    fn share(&mut self, other: &Self) {
        self.definition.share(&other.definition);
    }
}

impl ImageDefinitionId {
    /// Returns the gallery that the definition is in.
    pub fn gallery(&self) -> &GalleryId {
        &self.0.gallery
    }

    /// Returns the name.
    pub fn name(&self) -> &ImageName {
        &self.0.name
    }

    /// Returns the id of a version of the definition.
    pub fn version(&self, number: VersionNumber) -> ImageVersionId {
        ImageVersionId { definition: self.clone(), number }
    }
}

impl ImageVersionId {
    /// Returns the definition that this is a version of.
    pub fn definition(&self) -> &ImageDefinitionId {
        &self.definition
    }

    /// Returns the version's number, which is its name.
    pub fn number(&self) -> VersionNumber {
        self.number
    }
}

impl ResourceId {
    /// Returns the part from the provider on: `Microsoft.Compute/galleries/…`.
    pub(crate) fn path(&self) -> String {
        let id = self.to_string();
        id.split_once("/providers/").map_or_else(String::new, |(_, path)| path.to_owned())
    }

    /// Returns the names of its parents and its own: `gallery/image/1.0.0`.
    pub(crate) fn names(&self) -> String {
        let path = self.path();
        // Provider and kind, then a name for every other segment.
        path.split('/').skip(2).step_by(2).collect::<Vec<_>>().join("/")
    }

    /// Returns the subscription and the resource group that the resource is in.
    pub fn resource_group(&self) -> (&SubscriptionId, &ResourceGroupName) {
        match self {
            Self::Gallery(id) => (id.subscription(), id.resource_group()),
            Self::ImageDefinition(id) => (id.gallery().subscription(), id.gallery().resource_group()),
            Self::ImageVersion(id) => {
                let gallery = id.definition().gallery();
                (gallery.subscription(), gallery.resource_group())
            }
            Self::ManagedImage(id) => (id.subscription(), id.resource_group()),
            Self::Snapshot(id) => (id.subscription(), id.resource_group()),
            Self::Disk(id) => (id.subscription(), id.resource_group()),
            Self::VirtualMachine(id) => (id.subscription(), id.resource_group()),
            Self::StorageAccount(id) => (id.subscription(), id.resource_group()),
        }
    }
}

/// The segments of an id, taken one after the other.
struct Segments<'a> {
    id: &'a str,
    rest: std::str::Split<'a, char>,
}

/// Makes an id of a kind that lies right in a resource group.
type TopLevelKind = fn(SubscriptionId, ResourceGroupName, ResourceName) -> ResourceId;

impl<'a> Segments<'a> {
    fn wrong(&self, what: &str) -> Error {
        let sentence = format!(
            "Property id '{}' at path 'id' is invalid. Expect fully qualified resource Id that start with \
             '/subscriptions/{{subscriptionId}}' or '/providers/{{resourceProviderNamespace}}/'.",
            self.id.escape_debug()
        );
        Error::new(Problem::invalid("id", sentence).with_advice(what))
    }

    fn literal(&mut self, expected: &str) -> Result<()> {
        match self.rest.next() {
            Some("") if self.rest.clone().next().is_none() => Err(self.wrong("it ends with a `/`: leave that out")),
            Some(segment) if segment.eq_ignore_ascii_case(expected) => Ok(()),
            Some(segment) => Err(self.wrong(&format!("`{}` stands where `{expected}` must", segment.escape_debug()))),
            None => Err(self.wrong(&format!("it ends where `{expected}` must follow"))),
        }
    }

    /// Takes the provider and the name of a kind that lies right in a resource group, if they come next.
    fn top_level_kind(&mut self) -> Option<TopLevelKind> {
        let mut ahead = self.rest.clone();
        let (provider, next) = (ahead.next()?, ahead.next()?);
        let kinds: [(&str, &str, TopLevelKind); 5] = [
            ("Microsoft.Compute", "images", |a, b, c| ManagedImageId::new(a, b, c).into()),
            ("Microsoft.Compute", "snapshots", |a, b, c| SnapshotId::new(a, b, c).into()),
            ("Microsoft.Compute", "disks", |a, b, c| DiskId::new(a, b, c).into()),
            ("Microsoft.Compute", "virtualMachines", |a, b, c| VirtualMachineId::new(a, b, c).into()),
            ("Microsoft.Storage", "storageAccounts", |a, b, c| StorageAccountId::new(a, b, c).into()),
        ];
        let is = |(of, name, _): &(&str, &str, TopLevelKind)| {
            provider.eq_ignore_ascii_case(of) && next.eq_ignore_ascii_case(name)
        };
        let (_, _, kind) = kinds.into_iter().find(is)?;
        self.rest = ahead;
        Some(kind)
    }

    fn value<T: FromStr<Err = Error>>(&mut self, what: &str) -> Result<T> {
        let segment = self.rest.next().ok_or_else(|| self.wrong(&format!("it ends where the {what} must follow")))?;
        segment.parse().map_err(|error: Error| {
            let why = error.problems().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            self.wrong(&format!("its {what} is wrong: {why}"))
        })
    }

    /// Refuses further segments.
    fn end(&mut self, last: &str) -> Result<()> {
        match self.rest.next() {
            None => Ok(()),
            Some("") => Err(self.wrong("it ends with a `/`: leave that out")),
            Some(extra) => Err(self.wrong(&format!("`{}` follows the {last}", extra.escape_debug()))),
        }
    }
}

impl FromStr for ResourceId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        let mut segments = Segments { id, rest: id.split('/') };
        if segments.rest.next() != Some("") {
            return Err(segments.wrong("it must start with `/subscriptions/`"));
        }
        segments.literal("subscriptions")?;
        let subscription = segments.value("subscription")?;
        segments.literal("resourceGroups")?;
        let resource_group = segments.value("resource group")?;
        segments.literal("providers")?;
        if let Some(kind) = segments.top_level_kind() {
            let name = segments.value("name")?;
            let id = kind(subscription, resource_group, name);
            return segments.end("name").map(|()| id);
        }
        segments.literal("Microsoft.Compute")?;
        segments.literal("galleries")?;
        let gallery = GalleryId::new(subscription, resource_group, segments.value("gallery name")?);
        if segments.rest.clone().next().is_none() {
            return Ok(Self::Gallery(gallery));
        }
        segments.literal("images")?;
        let definition = gallery.image(segments.value("image definition name")?);
        if segments.rest.clone().next().is_none() {
            return Ok(Self::ImageDefinition(definition));
        }
        segments.literal("versions")?;
        let version = definition.version(segments.value("version")?);
        segments.end("version").map(|()| Self::ImageVersion(version))
    }
}

/// Implements `FromStr` for one kind of id, through that of all kinds.
macro_rules! one_kind {
    ($type:ident, $kind:ident, $what:literal) => {
        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match text.parse()? {
                    ResourceId::$kind(id) => Ok(id),
                    other => {
                        let what = format!(concat!("`{}` is not the id of ", $what), other);
                        Err(Error::invalid("id", what))
                    }
                }
            }
        }

        impl From<$type> for ResourceId {
            fn from(id: $type) -> Self {
                Self::$kind(id)
            }
        }

        impl From<&$type> for ResourceId {
            fn from(id: &$type) -> Self {
                Self::$kind(id.clone())
            }
        }

        serde_as_text!($type);
        from_text!($type);
        from_body_by!(text: $type);
    };
}

one_kind!(GalleryId, Gallery, "a gallery");
one_kind!(ImageDefinitionId, ImageDefinition, "an image definition");
one_kind!(ImageVersionId, ImageVersion, "an image version");
one_kind!(ManagedImageId, ManagedImage, "a managed image");
one_kind!(SnapshotId, Snapshot, "a snapshot");
one_kind!(DiskId, Disk, "a managed disk");
one_kind!(VirtualMachineId, VirtualMachine, "a VM");
one_kind!(StorageAccountId, StorageAccount, "a storage account");
serde_as_text!(ResourceId);
from_text!(ResourceId);
from_body_by!(text: ResourceId);

impl fmt::Display for GalleryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GalleryPath { subscription, resource_group, name } = &*self.0;
        write!(f, "/subscriptions/{subscription}/resourceGroups/{resource_group}")?;
        write!(f, "/providers/Microsoft.Compute/galleries/{name}")
    }
}

impl fmt::Display for ImageDefinitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/images/{}", self.gallery(), self.name())
    }
}

impl fmt::Display for ImageVersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/versions/{}", self.definition, self.number)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gallery(id) => id.fmt(f),
            Self::ImageDefinition(id) => id.fmt(f),
            Self::ImageVersion(id) => id.fmt(f),
            Self::ManagedImage(id) => id.fmt(f),
            Self::Snapshot(id) => id.fmt(f),
            Self::Disk(id) => id.fmt(f),
            Self::VirtualMachine(id) => id.fmt(f),
            Self::StorageAccount(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "_properties")]
    use proptest::prelude::*;

    use super::*;

    const VERSION: &str = "/subscriptions/dev/resourceGroups/Images/providers/Microsoft.Compute/galleries/Contoso/images/web/versions/1.2.3";

    #[test]
    fn the_wrong_segment_is_named() {
        for (id, named) in [
            ("subscriptions/dev", "must start with `/subscriptions/`"),
            ("/subscriptions/dev/groups/a", "`groups` stands where `resourceGroups` must"),
            ("/subscriptions/dev", "it ends where `resourceGroups` must follow"),
            (&format!("{VERSION}/"), "it ends with a `/`"),
            ("/subscriptions/dev/resourceGroups/a/providers/Microsoft.Compute/galleries/g/", "it ends with a `/`"),
            (&format!("{VERSION}/x"), "follows the version"),
            (&VERSION.replace("1.2.3", "1.2"), "its version is wrong"),
            (&VERSION.replace("Contoso", "my-gallery"), "its gallery name is wrong"),
            (&VERSION.replace("/dev", "/"), "its subscription is wrong"),
            (
                "/subscriptions/dev/resourceGroups/a/providers/Microsoft.Storage/disks/a",
                "`Microsoft.Storage` stands where",
            ),
        ] {
            let error = id.parse::<ResourceId>().unwrap_err();
            assert!(error.problems().any(|problem| problem.advice().unwrap().contains(named)), "{id}: {error}");
        }
        assert!(VERSION.parse::<GalleryId>().unwrap_err().to_string().contains("is not the id of a gallery"));
    }

    #[cfg(feature = "_properties")]
    proptest! {
        #[test]
        fn an_id_is_written_back_as_it_was_parsed_and_compared_without_case(
            parts in "/subscriptions/[a-zA-Z0-9-]{1,8}/resourceGroups/[a-zA-Z0-9(]{1,8}/providers/Microsoft\\.Compute/galleries/[a-zA-Z0-9]{1,8}(/images/[a-zA-Z0-9]{1,8}(/versions/[1-9]\\.0\\.[1-9])?)?"
        ) {
            let id: ResourceId = parts.parse().unwrap();
            prop_assert_eq!(id.to_string(), parts.clone());
            prop_assert_eq!(id, parts.to_ascii_uppercase().parse().unwrap());
        }

        #[test]
        fn parsing_never_panics(text in "(/subscriptions/a/resourceGroups)?.*") {
            if let Ok(id) = text.parse::<ResourceId>() {
                prop_assert!(id.to_string().eq_ignore_ascii_case(&text));
            }
        }
    }
}
