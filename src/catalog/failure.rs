//! Why something failed, as the catalog keeps it.

use serde::{Deserialize, Serialize};

/// Why a version could not be made, or an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) reason: String,
}
