//! What a commit says has happened.

use serde::{Deserialize, Serialize};

use crate::image::{Digest, UploadId};
use crate::model::{Gallery, ImageDefinition, ImageVersion, ImageVersionId, Region};

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// A gallery exists.
    GalleryCreated {
        /// As it was created.
        gallery: Gallery,
    },
    /// An image definition exists.
    ImageDefinitionCreated {
        /// As it was created.
        definition: ImageDefinition,
    },
    /// An import begins: from here on its packs belong to it, and nothing else may remove them.
    UploadStarted {
        /// The import.
        upload: UploadName,
        /// The version that it is to become.
        version: ImageVersionId,
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
        version: ImageVersion,
        /// What its disks hold.
        content: ImageContent,
    },
    /// A version has all its replicas in a region, and can be deployed there.
    RegionCompleted {
        /// The version.
        version: ImageVersionId,
        /// The region.
        region: Region,
        /// How many slots hold it whole.
        replicas: u32,
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

/// The name of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadName(pub(crate) UploadId);
