//! Snapshots.

use serde::{Deserialize, Serialize};

use super::body::from_body;
use super::image_definition::{HyperVGeneration, OsType};
use super::region::Region;
use super::resource::{NoMore, resource};
use super::tags::Tags;
use super::top_level_id::SnapshotId;

/// A snapshot: a copy of one disk, with an operating system or without.
///
/// A session makes it with [`Session::create_snapshot`](crate::Session::create_snapshot).
///
/// ```
/// use compute_gallery::model::Snapshot;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/snapshots/nightly".parse()?;
/// let body = serde_json::json!({"location": "westeurope", "properties": {"diskSizeBytes": 4096}});
/// let snapshot = Snapshot::from_body(id, &body)?;
/// assert_eq!((snapshot.disk_size_bytes(), snapshot.os_type()), (4096, None));
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    id: SnapshotId,
    location: Region,
    tags: Tags,
    properties: Properties,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os_type: Option<OsType>,
    #[serde(default, rename = "hyperVGeneration", skip_serializing_if = "Option::is_none")]
    hyper_v_generation: Option<HyperVGeneration>,
    disk_size_bytes: u64,
}

from_body!(Properties {
    optional os_type: "osType",
    optional hyper_v_generation: "hyperVGeneration",
    required disk_size_bytes: "diskSizeBytes",
});

impl Snapshot {
    pub(crate) fn new(id: SnapshotId, location: Region, disk_size_bytes: u64) -> Self {
        let properties = Properties { os_type: None, hyper_v_generation: None, disk_size_bytes };
        Self { id, location, tags: Tags::default(), properties }
    }

    #[must_use]
    pub(crate) fn with_os(mut self, os: Option<(OsType, HyperVGeneration)>) -> Self {
        self.properties.os_type = os.map(|(os_type, _)| os_type);
        self.properties.hyper_v_generation = os.map(|(_, generation)| generation);
        self
    }

    /// Returns the operating system; `None` for a data disk.
    pub fn os_type(&self) -> Option<OsType> {
        self.properties.os_type
    }

    /// Returns the firmware that its operating system needs; `None` for a data disk.
    pub fn hyper_v_generation(&self) -> Option<HyperVGeneration> {
        self.properties.hyper_v_generation
    }

    /// Returns the size of the disk in bytes.
    pub fn disk_size_bytes(&self) -> u64 {
        self.properties.disk_size_bytes
    }
}

resource!(Snapshot, SnapshotId, Properties, "Microsoft.Compute/snapshots", "snapshot", |_snapshot| NoMore {}, |_| Ok(
    ()
));
