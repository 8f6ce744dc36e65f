//! Whether deleted versions can be restored.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::body::from_body;

/// Whether the deleted versions of a gallery can be restored, and for how long (Azure: `softDeletePolicy`).
///
/// During retention a deleted version still deploys by its id and can be restored; it is never the latest. By default a deleted
/// version cannot be restored.
///
/// ```
/// use chrono::TimeDelta;
/// use compute_gallery::model::SoftDeletePolicy;
///
/// assert!(!SoftDeletePolicy::default().is_enabled());
/// assert_eq!(SoftDeletePolicy::enabled().retention(), TimeDelta::days(7));
/// assert_eq!(SoftDeletePolicy::enabled().with_retention_period_in_days(30).retention(), TimeDelta::days(30));
/// ```
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

/// Azure: fixed before api-version 2026-03-03 let a gallery choose.
const RETENTION_DAYS: u32 = 7;

impl SoftDeletePolicy {
    /// Returns a policy with a retention of 7 days.
    pub fn enabled() -> Self {
        Self { is_soft_delete_enabled: Some(true), retention_period_in_days: None }
    }

    /// Sets the retention in days. 7 by default.
    #[must_use]
    pub fn with_retention_period_in_days(mut self, days: u32) -> Self {
        self.retention_period_in_days = Some(days);
        self
    }

    /// Returns whether deleted versions can be restored.
    pub fn is_enabled(&self) -> bool {
        self.is_soft_delete_enabled.unwrap_or(false)
    }

    /// Returns the retention that was set, in days; `None` means 7.
    pub fn retention_period_in_days(&self) -> Option<u32> {
        self.retention_period_in_days
    }

    /// Returns the retention.
    pub fn retention(&self) -> TimeDelta {
        let days = self.retention_period_in_days.unwrap_or(RETENTION_DAYS);
        TimeDelta::try_days(i64::from(days)).unwrap_or(TimeDelta::MAX)
    }
}
