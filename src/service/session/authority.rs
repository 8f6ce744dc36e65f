//! Whom the service asks.

use crate::access::{Caller, Directory};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who decides access.
#[derive(Clone, Debug)]
pub(crate) enum Authority {
    /// Every caller may do everything: the host checks access itself.
    AllowAll,
    /// Roles decide, of principals that the directory knows; administrators may do everything.
    Roles { directory: Arc<dyn Directory>, administrators: BTreeSet<Caller> },
}
