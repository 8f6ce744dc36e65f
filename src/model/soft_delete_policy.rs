//! Whether a deleted version can be restored.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::body::from_body;

/// Whether deleted versions can be restored, and for how long.
///
/// In the retention period a deleted version can still be deployed by its id, and restored; it is never the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SoftDeletePolicy {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_soft_delete_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_period_in_days: Option<u32>,
}

from_body!(SoftDeletePolicy {
    optional is_soft_delete_enabled: "isSoftDeleteEnabled",
    optional retention_period_in_days: "retentionPeriodInDays",
});

/// What the service had before the period could be chosen.
const RETENTION_DAYS: u32 = 7;

impl SoftDeletePolicy {
    /// Deleted versions can be restored for 7 days.
    pub fn enabled() -> Self {
        Self { is_soft_delete_enabled: Some(true), retention_period_in_days: None }
    }

    /// Sets for how many days.
    #[must_use]
    pub fn with_retention_period_in_days(mut self, days: u32) -> Self {
        self.retention_period_in_days = Some(days);
        self
    }

    /// Whether deleted versions can be restored.
    pub fn is_enabled(&self) -> bool {
        self.is_soft_delete_enabled.unwrap_or(false)
    }

    /// For how many days, where that is said.
    pub fn retention_period_in_days(&self) -> Option<u32> {
        self.retention_period_in_days
    }

    /// For how long.
    pub fn retention(&self) -> TimeDelta {
        let days = self.retention_period_in_days.unwrap_or(RETENTION_DAYS);
        TimeDelta::try_days(i64::from(days)).unwrap_or(TimeDelta::MAX)
    }
}
