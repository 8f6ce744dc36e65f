//! References to the image of a deployment.

use crate::model::{ImageDefinitionId, ImageVersionId, ManagedImageId, ResourceId, SnapshotId};
use crate::service::read::shared::PublicImageId;

/// An image to deploy. The ids of versions, definitions (the latest version in the region), managed images and snapshots
/// convert into it, and so does the public name of a shared image.
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
