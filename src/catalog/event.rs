//! What a commit says has happened.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::features::Features;
use super::operation::{BadEnd, DriverId, Duty, Extent, OperationId, OperationKind, OperationTarget};
use crate::access::{
    AccessScope, Action, AssignmentId, DenyAssignment, GallerySharing, RoleAssignment, RoleDefinition, RoleId,
};
use crate::content::digest::Digest;
use crate::content::names::{ManifestId, UploadId};
use crate::model::{
    CarriedIdentity, Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageVersion, ImageVersionId,
    ManagedImage, ManagedImageId, NamedSource, Region, ResourceGroup, ResourceGroupId, ResourceId, Snapshot,
    SnapshotId,
};
use crate::store::BlobKey;

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Event {
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
    /// A gallery is gone, and with it what was in it; what was assigned and denied there and below has ended.
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
    /// An image definition is gone, and with it what was in it; what was assigned and denied there and below has ended.
    ImageDefinitionDeleted {
        /// The definition.
        definition: ImageDefinitionId,
    },
    /// An image version is to be made of its source: it is there from here on, and has no content yet. Announced again, it has
    /// other properties, or is tried again.
    ImageVersionAnnounced {
        /// As it is to be.
        #[serde(serialize_with = "ImageVersion::compact")]
        version: ImageVersion,
    },
    /// An image version that was announced could not be made of its source: it stays so until it is announced again.
    ImageVersionFailed {
        /// The version.
        version: ImageVersionId,
        /// The error's code.
        code: String,
        /// The error with its causes.
        reason: String,
    },
    /// A managed image, a snapshot or a disk is there by name, without bytes, or has other properties.
    SourceNamed {
        /// As it is now.
        source: NamedSource,
    },
    /// A source by name is gone, and what was assigned and denied there has ended.
    SourceForgotten {
        /// The managed image, the snapshot or the disk.
        source: ResourceId,
    },
    /// A resource group exists, or has other tags.
    ResourceGroupPut {
        /// As it is now.
        #[serde(serialize_with = "ResourceGroup::compact")]
        group: ResourceGroup,
        /// The properties of Azure's that the model does not have, as JSON.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        unmodelled: String,
    },
    /// A resource group is gone, and what was assigned and denied there has ended. What was in it was deleted before.
    ResourceGroupDeleted {
        /// The group.
        group: ResourceGroupId,
    },
    /// A resource has properties of Azure's that the model does not have.
    UnmodelledSet {
        /// The resource.
        of: ResourceId,
        /// The properties as JSON, as they came; an empty text ends them.
        properties: String,
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
    /// An import was taken up by one more publisher: the others may still be at work, or have stopped.
    UploadJoined {
        /// The import.
        upload: UploadName,
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
    /// An image version is gone, or can be restored for some time. What was assigned and denied there has ended when it is
    /// gone, and not while it can be restored.
    ImageVersionDeleted {
        /// The version.
        version: ImageVersionId,
        /// Until when it can be restored, if it can.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restorable_until: Option<DateTime<Utc>>,
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
    /// A managed image is gone, and what was assigned and denied there has ended.
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
    /// A snapshot is gone, and what was assigned and denied there has ended.
    SnapshotDeleted {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// A store is the place of a region, or of one of its zones, from here on.
    RegionStoreClaimed {
        /// The region.
        region: Region,
        /// The zone, from 1; `None` where one store is all of the region.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<u32>,
        /// The random id in the store's `owner` blob.
        store: StoreName,
    },
    /// Nothing needs these blobs in a region any more, and they are about to be removed: from here on nothing may rely on
    /// them, and their names are never used again. The number of the commit is the condemnation's epoch.
    ContentCondemned {
        /// The region.
        region: Region,
        /// The blobs of each zone.
        blobs: Vec<ZoneBlobs>,
    },
    /// Another collection goes on removing what is condemned in a region, under the number of this commit; the one before
    /// stops.
    RemovalTakenOver {
        /// The region.
        region: Region,
    },
    /// What was condemned in a region is removed.
    ContentRemoved {
        /// The region.
        region: Region,
    },
    /// A gallery is shared with others, or no longer.
    GalleryShared {
        /// The gallery.
        gallery: GalleryId,
        /// With whom it is shared now.
        sharing: GallerySharing,
    },
    /// A role of the host's own exists, or is another one now.
    RoleDefined {
        /// The role.
        role: RoleDefinition,
    },
    /// A role is gone.
    RoleDeleted {
        /// The role.
        role: RoleId,
    },
    /// A principal has a role.
    RoleAssigned {
        /// The principal, the role and the scope.
        assignment: RoleAssignment,
    },
    /// A role assignment has ended.
    RoleUnassigned {
        /// The assignment.
        assignment: AssignmentId,
        /// Where it was.
        scope: AccessScope,
    },
    /// An action is denied to principals.
    DenyAssigned {
        /// The actions, the principals and the scope.
        denial: DenyAssignment,
    },
    /// A denial has ended.
    DenyUnassigned {
        /// The deny assignment.
        denial: AssignmentId,
        /// Where it was.
        scope: AccessScope,
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
    /// The last attempt to bring a version to a region failed: it stays so until it is tried again.
    RegionFailed {
        /// The version.
        version: ImageVersionId,
        /// The region.
        region: Region,
        /// The error's code.
        code: String,
        /// The error with its causes.
        reason: String,
    },
    /// A version that failed in a region is tried again there.
    RegionRetried {
        /// The version.
        version: ImageVersionId,
        /// The region.
        region: Region,
    },
    /// A resource was put, or is to be deleted, and an operation tells what becomes of it: whatever completes, fails or deletes the
    /// resource ends it. A resource whose deletion is under way is marked for deletion: it does not change.
    OperationBegun {
        /// The operation.
        operation: OperationId,
        /// What it does.
        kind: OperationKind,
        /// What it is on.
        resource: OperationTarget,
        /// What a deletion is to delete.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extent: Option<Extent>,
        /// Whether this commit has done it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        done: bool,
    },
    /// An operation was cancelled or given up.
    OperationEnded {
        /// The operation.
        operation: OperationId,
        /// Which of both.
        status: BadEnd,
        /// The error's code.
        code: String,
        /// The error with its causes.
        reason: String,
    },
    /// A driver is at work on a duty from here on, or still; or a call that does the same.
    DutyTaken {
        /// The duty.
        duty: Duty,
        /// The driver.
        driver: DriverId,
        /// Whether it is a call, which lasts as long as its caller awaits it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_call: bool,
        /// The version that is worked on, and how far it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<(ImageVersionId, u8)>,
    },
    /// No driver is at work on a duty any more.
    DutyLaidDown {
        /// The duty.
        duty: Duty,
        /// Whether it is done for now.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        finished: bool,
    },
    /// The catalog's format has more features from here on.
    FeaturesEnabled {
        /// The features.
        features: Features,
    },
    /// A later build keeps something of a resource that this one does not know. It stays with the resource.
    ExtrasSet {
        /// The resource.
        of: ResourceId,
        /// Any text; an empty one ends it.
        extras: String,
    },
    /// An event of a newer build that this one may skip.
    #[serde(skip)]
    Newer(Newer),
}

/// An event of a newer build, as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Newer(pub(super) Arc<str>);

impl Event {
    /// The permission that a caller needs to see this event; `None` for administrators only.
    pub(crate) fn seen_by(&self) -> Option<(Action, AccessScope)> {
        Some(match self {
            Self::GalleryCreated { gallery } | Self::GalleryUpdated { gallery } => {
                (Action::ReadGallery, gallery.id().into())
            }
            Self::GalleryDeleted { gallery } | Self::GalleryShared { gallery, .. } => {
                (Action::ReadGallery, gallery.into())
            }
            Self::ImageDefinitionCreated { definition } | Self::ImageDefinitionUpdated { definition } => {
                (Action::ReadImage, definition.id().into())
            }
            Self::ImageDefinitionDeleted { definition } => (Action::ReadImage, definition.into()),
            Self::ImageVersionPublished { version, .. }
            | Self::ImageVersionUpdated { version }
            | Self::ImageVersionAnnounced { version } => (Action::ReadVersion, version.id().into()),
            Self::ResourceGroupPut { group, .. } => (Action::ReadResourceGroup, AccessScope::of_group(group.id())),
            Self::ResourceGroupDeleted { group } => (Action::ReadResourceGroup, AccessScope::of_group(group)),
            Self::SourceNamed { source } => return seen_source(source.id()),
            Self::SourceForgotten { source } => return seen_source(source),
            Self::UnmodelledSet { of, .. } => match of {
                ResourceId::Gallery(_) => (Action::ReadGallery, of.clone().into()),
                ResourceId::ImageDefinition(_) => (Action::ReadImage, of.clone().into()),
                ResourceId::ImageVersion(_) => (Action::ReadVersion, of.clone().into()),
                ResourceId::ManagedImage(_) => (Action::ReadManagedImage, of.clone().into()),
                ResourceId::Snapshot(_) => (Action::ReadSnapshot, of.clone().into()),
                ResourceId::Disk(_) | ResourceId::VirtualMachine(_) | ResourceId::StorageAccount(_) => return None,
            },
            Self::ImageVersionDeleted { version, .. }
            | Self::ImageVersionRestored { version }
            | Self::ImageVersionFailed { version, .. }
            | Self::RegionCompleted { version, .. }
            | Self::RegionFailed { version, .. }
            | Self::RegionRetried { version, .. } => (Action::ReadVersion, version.into()),
            Self::ManagedImageCreated { image, .. } => (Action::ReadManagedImage, image.id().into()),
            Self::ManagedImageDeleted { image } => (Action::ReadManagedImage, image.into()),
            Self::SnapshotCreated { snapshot, .. } => (Action::ReadSnapshot, snapshot.id().into()),
            Self::SnapshotDeleted { snapshot } => (Action::ReadSnapshot, snapshot.into()),
            Self::UploadStarted { target, .. } => match target {
                ResourceId::ManagedImage(_) => (Action::ReadManagedImage, target.clone().into()),
                ResourceId::Snapshot(_) => (Action::ReadSnapshot, target.clone().into()),
                _ => (Action::ReadVersion, target.clone().into()),
            },
            Self::RoleAssigned { assignment } => (Action::ReadRoleAssignment, assignment.scope.clone()),
            Self::DenyAssigned { denial } => (Action::ReadRoleAssignment, denial.scope.clone()),
            Self::RoleUnassigned { scope, .. } | Self::DenyUnassigned { scope, .. } => {
                (Action::ReadRoleAssignment, scope.clone())
            }
            Self::OperationBegun { resource: OperationTarget::ResourceGroup(group), .. } => {
                (Action::ReadResourceGroup, AccessScope::of_group(group))
            }
            Self::OperationBegun { resource: OperationTarget::Resource(of), .. } => match of {
                ResourceId::Gallery(_) => (Action::ReadGallery, of.clone().into()),
                ResourceId::ImageDefinition(_) => (Action::ReadImage, of.clone().into()),
                ResourceId::ImageVersion(_) => (Action::ReadVersion, of.clone().into()),
                _ => return seen_source(of),
            },
            Self::OperationEnded { .. }
            | Self::DutyTaken { .. }
            | Self::DutyLaidDown { .. }
            | Self::UploadJoined { .. }
            | Self::UploadAbandoned { .. }
            | Self::RegionStoreClaimed { .. }
            | Self::ContentCondemned { .. }
            | Self::RemovalTakenOver { .. }
            | Self::ContentRemoved { .. }
            | Self::RoleDefined { .. }
            | Self::RoleDeleted { .. }
            | Self::FeaturesEnabled { .. }
            | Self::ExtrasSet { .. }
            | Self::Newer(_) => return None,
        })
    }
}

fn seen_source(id: &ResourceId) -> Option<(Action, AccessScope)> {
    let action = match id {
        ResourceId::ManagedImage(_) => Action::ReadManagedImage,
        ResourceId::Snapshot(_) => Action::ReadSnapshot,
        _ => Action::ReadDisk,
    };
    Some((action, id.clone().into()))
}

/// What the disks of a version hold, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageContent {
    /// The upload that brought it.
    pub(crate) upload: UploadName,
    /// The hash of the manifest, which lists disks and packs.
    pub(crate) manifest: Digest,
    /// The digest of the OS disk's content: [`ImageDigest`](crate::image::ImageDigest).
    pub os_disk_digest: Digest,
    /// What one replica takes in bytes, if it is alone in its slot.
    pub stored_bytes: u64,
}

impl ImageContent {
    /// Returns whether its disks are zeros alone, of which nothing but the size is kept.
    pub fn is_zeros(&self) -> bool {
        self.stored_bytes == 0
    }

    /// The name of the manifest.
    pub(crate) fn manifest_id(&self) -> ManifestId {
        ManifestId { upload: self.upload.0, digest: self.manifest }
    }
}

/// Blobs of one zone of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ZoneBlobs {
    /// The zone, from 1; 1 also where one store is all of the region.
    pub(crate) zone: u32,
    /// Where they lie in the store.
    pub(crate) keys: Vec<BlobKey>,
}

/// The random id of a store of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StoreName(pub(crate) UploadId);

/// The name of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UploadName(pub(crate) UploadId);
