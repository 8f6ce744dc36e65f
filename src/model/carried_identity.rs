//! What a specialized image carries of the VM that it was made from.

use serde::{Deserialize, Serialize};

/// The identity that every VM made from a specialized image starts with: that of the VM that the image was made from.
///
/// ```
/// use compute_gallery::model::CarriedIdentity;
///
/// let carried = CarriedIdentity::new("golden-01").with_accounts(["ops".to_owned()]);
/// assert_eq!(carried.computer_name, "golden-01");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CarriedIdentity {
    /// The VM's computer name.
    pub computer_name: String,
    /// The accounts that can log in.
    #[serde(default)]
    pub accounts: Vec<String>,
}

impl CarriedIdentity {
    /// Returns the identity of a VM of that computer name, without accounts.
    pub fn new(computer_name: impl Into<String>) -> Self {
        Self { computer_name: computer_name.into(), accounts: Vec::new() }
    }

    /// Sets the accounts that can log in.
    #[must_use]
    pub fn with_accounts(mut self, accounts: impl IntoIterator<Item = String>) -> Self {
        self.accounts = accounts.into_iter().collect();
        self
    }
}
