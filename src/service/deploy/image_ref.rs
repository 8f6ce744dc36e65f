//! References to the image of a deployment.

use crate::error::{Error, Result};
use crate::model::{ImageDefinitionId, ImageVersionId, ManagedImageId, ResourceId, SnapshotId};
use crate::service::read::shared::PublicImageId;

/// An image to deploy. The ids of versions, definitions (the latest version in the region), managed images and snapshots
/// convert into it, and so do the public name of a shared image, and the text of each.
///
/// ```
/// use compute_gallery::deploy::ImageRef;
/// use compute_gallery::PublicImageId;
/// use compute_gallery::model::ImageVersionId;
///
/// let version: ImageVersionId =
///     "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/web/versions/1.0.0".parse()?;
/// let by_id = ImageRef::from(&version);
/// let shared: PublicImageId = "/CommunityGalleries/contoso-1f2e/Images/web/Versions/latest".parse()?;
/// let by_name = ImageRef::from(shared);
/// assert_ne!(format!("{by_id:?}"), format!("{by_name:?}"));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageRef(pub(super) Named);

#[derive(Clone, Debug)]
pub(super) enum Named {
    Id(ResourceId),
    /// A version found through its definition: it needs the permission to see the definition alone.
    Latest(ImageDefinitionId, ImageVersionId),
    Public(PublicImageId),
}

macro_rules! by_id {
    ($($id:ty),*) => {$(
        impl From<$id> for ImageRef {
            fn from(id: $id) -> Self {
                Self(Named::Id(id.into()))
            }
        }
    )*};
}

by_id!(
    ResourceId,
    ImageVersionId,
    ImageDefinitionId,
    ManagedImageId,
    SnapshotId,
    &ImageVersionId,
    &ImageDefinitionId,
    &ManagedImageId,
    &SnapshotId
);

impl From<&ResourceId> for ImageRef {
    fn from(id: &ResourceId) -> Self {
        Self(Named::Id(id.clone()))
    }
}

impl From<PublicImageId> for ImageRef {
    fn from(id: PublicImageId) -> Self {
        Self(Named::Public(id))
    }
}

impl From<&PublicImageId> for ImageRef {
    fn from(id: &PublicImageId) -> Self {
        Self(Named::Public(id.clone()))
    }
}

impl TryFrom<&str> for ImageRef {
    type Error = Error;

    /// Reads a resource id or a public id.
    fn try_from(text: &str) -> Result<Self> {
        let is_public = ["/sharedgalleries/", "/communitygalleries/"]
            .iter()
            .any(|start| text.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start)));
        Ok(Self(if is_public { Named::Public(text.parse()?) } else { Named::Id(text.parse()?) }))
    }
}

impl TryFrom<String> for ImageRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.as_str().try_into()
    }
}
