//! Protection of versions against early deletion.

use serde::{Deserialize, Serialize};

use super::body::from_body;

/// The protection of a version against early deletion (Azure: `GalleryImageVersionSafetyProfile`).
///
/// ```
/// use compute_gallery::model::SafetyProfile;
///
/// let profile = SafetyProfile::default();
/// assert!(!profile.allows_deletion_of_replicated_locations());
/// assert!(!profile.blocks_deletion_before_end_of_life());
/// assert!(profile.with_block_deletion_before_end_of_life(true).blocks_deletion_before_end_of_life());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SafetyProfile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow_deletion_of_replicated_locations: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_deletion_before_end_of_life: Option<bool>,
}

from_body!(SafetyProfile {
    optional allow_deletion_of_replicated_locations: "allowDeletionOfReplicatedLocations",
    optional block_deletion_before_end_of_life: "blockDeletionBeforeEndOfLife",
});

impl SafetyProfile {
    /// Sets whether a change may take the version out of a region. Not by default.
    #[must_use]
    pub fn with_deletion_of_replicated_locations(mut self, allow: bool) -> Self {
        self.allow_deletion_of_replicated_locations = Some(allow);
        self
    }

    /// Sets whether the version cannot be deleted before its end of life. Not by default.
    #[must_use]
    pub fn with_block_deletion_before_end_of_life(mut self, block: bool) -> Self {
        self.block_deletion_before_end_of_life = Some(block);
        self
    }

    /// Returns whether a change may take the version out of a region.
    pub fn allows_deletion_of_replicated_locations(&self) -> bool {
        self.allow_deletion_of_replicated_locations.unwrap_or(false)
    }

    /// Returns whether the version cannot be deleted before its end of life.
    pub fn blocks_deletion_before_end_of_life(&self) -> bool {
        self.block_deletion_before_end_of_life.unwrap_or(false)
    }
}
