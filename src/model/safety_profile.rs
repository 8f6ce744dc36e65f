//! What must not be deleted too early.

use serde::{Deserialize, Serialize};

use super::body::from_body;

/// What of a version must not be deleted too early.
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
    /// Sets whether the version may be taken out of a region again. Not by default.
    #[must_use]
    pub fn with_deletion_of_replicated_locations(mut self, allow: bool) -> Self {
        self.allow_deletion_of_replicated_locations = Some(allow);
        self
    }

    /// Sets whether the version is kept until its end of life. Not by default.
    #[must_use]
    pub fn with_block_deletion_before_end_of_life(mut self, block: bool) -> Self {
        self.block_deletion_before_end_of_life = Some(block);
        self
    }

    /// Whether the version may be taken out of a region again.
    pub fn allows_deletion_of_replicated_locations(&self) -> bool {
        self.allow_deletion_of_replicated_locations.unwrap_or(false)
    }

    /// Whether the version is kept until its end of life.
    pub fn blocks_deletion_before_end_of_life(&self) -> bool {
        self.block_deletion_before_end_of_life.unwrap_or(false)
    }
}
