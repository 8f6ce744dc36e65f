//! Whether deleted versions can be restored.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::body::from_body;

/// Whether the deleted versions of a gallery can be restored, and for how long (Azure: `softDeletePolicy`).
///
/// During retention a deleted version still deploys by its id and can be restored; it is never the latest. During the grace period that
/// follows it can be restored, and not be deployed. By default a deleted version cannot be restored, and there is no grace period.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_period_in_days: Option<u32>,
}

from_body!(SoftDeletePolicy {
    optional is_soft_delete_enabled: "isSoftDeleteEnabled",
    optional retention_period_in_days: "retentionPeriodInDays",
    optional grace_period_in_days: "gracePeriodInDays",
});

/// Azure: fixed before api-version 2026-03-03 let a gallery choose.
const RETENTION_DAYS: u32 = 7;

impl SoftDeletePolicy {
    /// Returns a policy with a retention of 7 days.
    pub fn enabled() -> Self {
        Self { is_soft_delete_enabled: Some(true), retention_period_in_days: None, grace_period_in_days: None }
    }

    /// Sets the retention in days. 7 by default.
    #[must_use]
    pub fn with_retention_period_in_days(mut self, days: u32) -> Self {
        self.retention_period_in_days = Some(days);
        self
    }

    /// Sets the days after the retention in which a deleted version can be restored, and not be deployed. None by default.
    ///
    /// ```
    /// use chrono::TimeDelta;
    /// use compute_gallery::model::SoftDeletePolicy;
    ///
    /// let policy = SoftDeletePolicy::enabled().with_grace_period_in_days(30);
    /// assert_eq!((policy.retention(), policy.grace()), (TimeDelta::days(7), TimeDelta::days(30)));
    /// ```
    #[must_use]
    pub fn with_grace_period_in_days(mut self, days: u32) -> Self {
        self.grace_period_in_days = Some(days);
        self
    }

    /// Returns the grace period.
    pub fn grace(&self) -> TimeDelta {
        let days = self.grace_period_in_days.unwrap_or_default();
        TimeDelta::try_days(i64::from(days)).unwrap_or(TimeDelta::MAX)
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
