//! What was decided, and why.

use std::fmt;
use std::sync::Arc;

use super::action::Action;
use super::assignment::{DenyAssignment, RoleAssignment};
use super::principal::{AssignmentId, PrincipalId};
use super::role::BuiltInRole;
use super::scope::AccessScope;
use crate::model::SubscriptionId;

/// Whether something may be done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allowed(Grant),
    /// A deny assignment stands against it.
    Denied {
        /// Its name.
        id: AssignmentId,
        /// Where it stands.
        scope: AccessScope,
        /// The whole of it, for those who may read role assignments there: it names other principals.
        whole: Option<Denial>,
    },
    /// No role allows it.
    NotGranted {
        /// What would have to be allowed.
        action: Action,
        /// Where, or above.
        scope: AccessScope,
    },
    /// The caller has no principal in the tenant of the resource.
    NotInTenant {
        /// The resource's subscription. Which tenant it is in, and whether there is one, is not told.
        subscription: Option<SubscriptionId>,
    },
}

/// A deny assignment, and how it concerns the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// The deny assignment.
    pub denial: Arc<DenyAssignment>,
    /// The group through which it concerns the caller, if it does not name them.
    pub through: Option<PrincipalId>,
}

/// Why something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// The service was built to allow everything.
    AllowAll,
    /// The caller is an administrator of the service.
    Administrator,
    /// A role was assigned.
    Role {
        /// The assignment: which role, where.
        assignment: Arc<RoleAssignment>,
        /// The group that it was assigned to, if it was not to the caller.
        through: Option<PrincipalId>,
    },
    /// The gallery is shared with the caller's tenant, or with a subscription in which they may see what is shared.
    Shared,
    /// The gallery is a community gallery.
    Community,
}

impl Decision {
    /// Whether it may be done.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Without the names of others.
    pub(crate) fn without_names(self) -> Self {
        match self {
            Self::Denied { id, scope, .. } => Self::Denied { id, scope, whole: None },
            other => other,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowAll => f.write_str("everything is allowed to everybody"),
            Self::Administrator => f.write_str("the caller is an administrator"),
            Self::Role { assignment, through } => {
                write!(f, "assignment `{}` of role `{}` at `{}`", assignment.id, assignment.role, assignment.scope)?;
                through.as_ref().map_or(Ok(()), |group| write!(f, " to group `{group}`"))
            }
            Self::Shared => f.write_str("the gallery is shared with the caller's tenant or subscription"),
            Self::Community => f.write_str("the gallery is a community gallery"),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(grant) => write!(f, "allowed by {grant}"),
            Self::Denied { id, scope, whole } => {
                write!(f, "denied by deny assignment `{id}` at `{scope}`")?;
                let group = whole.as_ref().and_then(|whole| whole.through.as_ref());
                group.map_or(Ok(()), |group| write!(f, " to group `{group}`"))
            }
            Self::NotGranted { action, scope } => {
                write!(f, "no role allows `{action}` at `{scope}` or above")?;
                match BuiltInRole::least_for(*action) {
                    Some(role) => write!(f, ": assign one that does, such as `{}`", role.definition().role_name()),
                    None => f.write_str(": assign one that does"),
                }
            }
            Self::NotInTenant { .. } => f.write_str(
                "the caller has no account in the tenant of the subscription, or there is none: the tenant must consent to \
                 the application, or invite the user",
            ),
        }
    }
}
