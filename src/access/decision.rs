//! Decisions, and the reasons for them.

use std::fmt;
use std::sync::Arc;

use super::action::Action;
use super::assignment::{DenyAssignment, RoleAssignment};
use super::principal::{AssignmentId, PrincipalId};
use super::role::BuiltInRole;
use super::scope::AccessScope;
use crate::model::SubscriptionId;

/// Whether a caller may take an action, and why. `Display` tells it in a sentence, with the fix.
///
/// Exhaustive: code that overlooks a verdict would guess whether the action is allowed.
///
/// ```
/// use compute_gallery::access::{AccessPolicy, AccessScope, Action, Decision};
///
/// let dev = AccessScope::Subscription("dev".parse()?);
/// let decision = AccessPolicy::new().decide(&"ann".parse()?, &[], Action::ReadVersion, &[dev]);
/// assert!(matches!(decision, Decision::NotGranted { action: Action::ReadVersion, .. }));
/// assert_eq!(
///     decision.to_string(),
///     "no role allows `Microsoft.Compute/galleries/images/versions/read` at `/subscriptions/dev` or above: assign one \
///      that does, such as `Compute Gallery Image Reader`"
/// );
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The action is allowed.
    Allowed(Grant),
    /// A deny assignment denies it.
    Denied {
        /// The id of the deny assignment.
        id: AssignmentId,
        /// The scope of the deny assignment.
        scope: AccessScope,
        /// The deny assignment, for callers who may read role assignments at its scope: it names other principals.
        whole: Option<Denial>,
    },
    /// No role allows it.
    NotGranted {
        /// The action that a role has to allow.
        action: Action,
        /// A role has to be assigned here or above.
        scope: AccessScope,
    },
    /// The caller has no principal in the tenant of the resource.
    NotInTenant {
        /// The subscription of the resource. Its tenant is not told, and neither is whether it has one.
        subscription: Option<SubscriptionId>,
    },
}

/// A deny assignment that applies to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// The deny assignment that denied the action.
    pub denial: Arc<DenyAssignment>,
    /// The caller's group that it names; `None` where it names the caller, or everybody.
    pub through: Option<PrincipalId>,
}

/// The reason why an action is allowed.
///
/// ```
/// use compute_gallery::access::{Decision, Grant};
///
/// let decision = Decision::Allowed(Grant::Administrator);
/// assert_eq!(decision.to_string(), "allowed: the caller is an administrator");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grant {
    /// The service was built with `allow_all`.
    AllowAll,
    /// The caller is an administrator of the service.
    Administrator,
    /// A role is assigned to the caller or to a group of theirs.
    Role {
        /// The assignment, with role and scope.
        assignment: Arc<RoleAssignment>,
        /// The caller's group that has the role; `None` where the caller has it.
        through: Option<PrincipalId>,
    },
    /// The gallery is shared with the caller's tenant, or with a subscription where the caller may read shared galleries.
    Shared,
    /// The gallery is a community gallery.
    Community,
}

impl Decision {
    /// Returns whether the action is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Removes the names of other principals.
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
            Self::Allowed(grant) => write!(f, "allowed: {grant}"),
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
                "the caller has no account in the tenant of the subscription, or the subscription has no tenant: the tenant \
                 must consent to the application, or invite the user",
            ),
        }
    }
}
