//! What a commit says has happened.

use serde::{Deserialize, Serialize};

use crate::image::{Digest, UploadId};
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageVersion, ImageVersionId, ManagedImage, ManagedImageId,
    Region, ResourceId, Snapshot, SnapshotId,
};

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// A gallery exists.
    GalleryCreated {
        /// As it was created.
        #[serde(serialize_with = "Gallery::compact")]
        gallery: Gallery,
    },
    /// A gallery has other properties.
    GalleryUpdated {
        /// As it is now.
        #[serde(serialize_with = "Gallery::compact")]
        gallery: Gallery,
    },
    /// A gallery is gone.
    GalleryDeleted {
        /// The gallery.
        gallery: GalleryId,
    },
    /// An image definition exists.
    ImageDefinitionCreated {
        /// As it was created.
        #[serde(serialize_with = "ImageDefinition::compact")]
        definition: ImageDefinition,
    },
    /// An image definition has other properties.
    ImageDefinitionUpdated {
        /// As it is now.
        #[serde(serialize_with = "ImageDefinition::compact")]
        definition: ImageDefinition,
    },
    /// An image definition is gone.
    ImageDefinitionDeleted {
        /// The definition.
        definition: ImageDefinitionId,
    },
    /// An import begins: from here on its packs belong to it, and nothing else may remove them.
    UploadStarted {
        /// The import.
        upload: UploadName,
        /// What it is to become.
        target: ResourceId,
        /// Where its packs go.
        region: Region,
    },
    /// An import was given up, and its packs may be removed.
    UploadAbandoned {
        /// The import.
        upload: UploadName,
    },
    /// An image version exists; its imports are over.
    ImageVersionPublished {
        /// As it was created.
        #[serde(serialize_with = "ImageVersion::compact")]
        version: ImageVersion,
        /// What its disks hold.
        content: ImageContent,
        /// What the VM that it was made from left in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carried: Option<CarriedIdentity>,
    },
    /// An image version has other properties.
    ImageVersionUpdated {
        /// As it is now.
        #[serde(serialize_with = "ImageVersion::compact")]
        version: ImageVersion,
    },
    /// An image version is gone, or can be restored for some time.
    ImageVersionDeleted {
        /// The version.
        version: ImageVersionId,
        /// Whether it can be restored.
        soft: bool,
    },
    /// An image version that was deleted is there again.
    ImageVersionRestored {
        /// The version.
        version: ImageVersionId,
    },
    /// A managed image exists.
    ManagedImageCreated {
        /// As it was created.
        #[serde(serialize_with = "ManagedImage::compact")]
        image: ManagedImage,
        /// What its disks hold.
        content: ImageContent,
    },
    /// A managed image is gone.
    ManagedImageDeleted {
        /// The image.
        image: ManagedImageId,
    },
    /// A snapshot exists.
    SnapshotCreated {
        /// As it was created.
        #[serde(serialize_with = "Snapshot::compact")]
        snapshot: Snapshot,
        /// What its disk holds.
        content: ImageContent,
    },
    /// A snapshot is gone.
    SnapshotDeleted {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// A version has all its replicas in a region, and can be deployed there.
    RegionCompleted {
        /// The version.
        version: ImageVersionId,
        /// The region.
        region: Region,
        /// How many slots hold it whole.
        replicas: u32,
        /// What crossed the region's border for it.
        #[serde(default)]
        cross_region_bytes: u64,
    },
}

/// What the disks of a version hold, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageContent {
    /// The hash of the manifest, which lists disks and packs.
    pub manifest: Digest,
    /// The digest of the OS disk's content: [`ImageDigest`](crate::image::ImageDigest).
    pub os_disk_digest: Digest,
    /// What one replica takes in bytes, if it is alone in its slot.
    pub stored_bytes: u64,
}

/// What the VM that a specialized image was made from left in it: every VM made of it has the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CarriedIdentity {
    /// The VM's computer name.
    pub computer_name: String,
    /// The accounts that can log in.
    #[serde(default)]
    pub accounts: Vec<String>,
}

/// The name of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadName(pub(crate) UploadId);
