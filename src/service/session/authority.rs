//! Whom the service asks.

use crate::access::{Caller, Directory};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who decides.
#[derive(Clone, Debug)]
pub(crate) enum Authority {
    /// Everybody may do everything: the host makes its own checks.
    AllowAll,
    /// Roles decide, of whom the directory knows; administrators may do everything.
    Roles { directory: Arc<dyn Directory>, administrators: BTreeSet<Caller> },
}
