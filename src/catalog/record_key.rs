//! The keys of the records of a state, in one order: checkpoints are cut by it.

use serde::{Deserialize, Serialize};

use super::event::UploadName;
use super::operation::{Duty, OperationId};
use super::record::Number;
use crate::access::{AccessScope, AssignmentId, RoleId};
use crate::content::names::SlotId;
use crate::model::{
    GalleryId, ImageName, ManagedImageId, Region, ResourceGroupId, ResourceId, SnapshotId, VersionNumber,
};

/// The key of a record. The order of the kinds is that of the lines: parents come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum RecordKey {
    Gallery(GalleryId),
    /// Of a gallery, by its number.
    Definition(Number, ImageName),
    /// Of a definition, by its number.
    Version(Number, VersionNumber),
    ManagedImage(ManagedImageId),
    Snapshot(SnapshotId),
    Upload(UploadName),
    Announced(UploadName),
    Role(RoleId),
    Assignment(AccessScope, AssignmentId),
    Denial(AccessScope, AssignmentId),
    Claim(Region, Option<u32>),
    Condemned(Region),
    Incarnations(Region, SlotId),
    LastCondemned(Region),
    Extras(ResourceId),
    /// Of a definition, by its number.
    Incomplete(Number, VersionNumber),
    Unmodelled(ResourceId),
    ResourceGroup(ResourceGroupId),
    Named(ResourceId),
    Operation(OperationId),
    Duty(Duty),
}

impl RecordKey {
    /// The order of the kinds.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Gallery(_) => 0,
            Self::Definition(..) => 1,
            Self::Version(..) => 2,
            Self::ManagedImage(_) => 3,
            Self::Snapshot(_) => 4,
            Self::Upload(_) => 5,
            Self::Announced(_) => 6,
            Self::Role(_) => 7,
            Self::Assignment(..) => 8,
            Self::Denial(..) => 9,
            Self::Claim(..) => 10,
            Self::Condemned(_) => 11,
            Self::Incarnations(..) => 12,
            Self::LastCondemned(_) => 13,
            Self::Extras(_) => 14,
            Self::Incomplete(..) => 15,
            Self::Unmodelled(_) => 16,
            Self::ResourceGroup(_) => 17,
            Self::Named(_) => 18,
            Self::Operation(_) => 19,
            Self::Duty(_) => 20,
        }
    }
}
