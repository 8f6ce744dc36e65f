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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AccessScope;
    use crate::content::names::UploadId;

    /// As `removed` has them in the deltas of checkpoints: frozen, as is the order of the kinds.
    #[test]
    fn each_kind_of_key_is_written_as_it_was() {
        const GALLERY: &str = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/galleries/g";
        let gallery: GalleryId = GALLERY.parse().unwrap();
        let (of, upload) = (ResourceId::from(gallery.clone()), UploadName(UploadId::from_bytes([7; 16])));
        let (region, scope): (Region, _) = ("eastus".parse().unwrap(), AccessScope::from(of.clone()));
        let compute = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute";
        let number: VersionNumber = "1.2.3".parse().unwrap();
        let keys = [
            RecordKey::Gallery(gallery),
            RecordKey::Definition(4, "web".parse().unwrap()),
            RecordKey::Version(5, number),
            RecordKey::ManagedImage(format!("{compute}/images/i").parse().unwrap()),
            RecordKey::Snapshot(format!("{compute}/snapshots/i").parse().unwrap()),
            RecordKey::Upload(upload),
            RecordKey::Announced(upload),
            RecordKey::Role("reader".parse().unwrap()),
            RecordKey::Assignment(scope.clone(), "a".parse().unwrap()),
            RecordKey::Denial(scope, "d".parse().unwrap()),
            RecordKey::Claim(region.clone(), Some(2)),
            RecordKey::Condemned(region.clone()),
            RecordKey::Incarnations(region.clone(), SlotId { zone: 1, number: 2 }),
            RecordKey::LastCondemned(region.clone()),
            RecordKey::Extras(of.clone()),
            RecordKey::Incomplete(6, number),
            RecordKey::Unmodelled(of.clone()),
            RecordKey::ResourceGroup("/subscriptions/s/resourceGroups/r".parse().unwrap()),
            RecordKey::Named(of),
            RecordKey::Operation(OperationId::from_bytes([8; 16])),
            RecordKey::Duty(Duty::Scrub(region)),
        ];
        let written: Vec<String> = keys.iter().map(|key| serde_json::to_string(key).unwrap()).collect();
        assert_eq!(written, include_str!("record_keys.txt").lines().collect::<Vec<_>>());
        for (rank, (key, text)) in keys.iter().zip(&written).enumerate() {
            assert_eq!((key.rank(), serde_json::from_str::<RecordKey>(text).as_ref().ok()), (rank as u8, Some(key)));
        }
    }
}
