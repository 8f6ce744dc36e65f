//! Who decides access, and the rights of a caller.

use super::inner::Inner;
use crate::access::{
    AccessScope, Action, BuiltInRole, Caller, Decision, Directory, GallerySharing, Grant, Membership, PrincipalKind,
    Principals, TenantId, with_above,
};
use crate::catalog::{Authorization, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{ResourceId, SubscriptionId};
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

/// A permission that an operation needs.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) action: Action,
    pub(crate) scope: AccessScope,
    pub(crate) of: Of,
}

/// The part of an operation that needs the permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// The target.
    Operation,
    /// A source.
    Source,
    /// A source whose use another permission allows: it only must not be denied.
    UndeniedSource,
}

impl Need {
    pub(crate) fn new(action: Action, scope: impl Into<AccessScope>) -> Self {
        Self { action, scope: scope.into(), of: Of::Operation }
    }

    pub(crate) fn linked(action: Action, scope: impl Into<AccessScope>) -> Self {
        Self { action, scope: scope.into(), of: Of::Source }
    }

    /// Needs that reading a source is not denied, where another permission than that to read it allows its use.
    pub(crate) fn undenied(action: Action, scope: impl Into<AccessScope>) -> Self {
        Self { action, scope: scope.into(), of: Of::UndeniedSource }
    }
}

/// The rights of a caller. The directory is asked once.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    pub(crate) caller: Caller,
    pub(crate) inner: Arc<Inner>,
    pub(crate) principals: Principals,
}

/// A caller as a consumer of directly shared galleries: Azure asks for the right to see them at a subscription of the
/// caller.
#[derive(Debug)]
pub(crate) struct Consumer<'a> {
    rights: &'a Rights,
    state: &'a State,
    /// The tenants that the caller is a user of.
    tenants: BTreeSet<TenantId>,
}

impl Rights {
    pub(crate) fn decide(&self, state: &State, action: Action, scope: &AccessScope) -> Decision {
        match &self.inner.authority {
            Authority::AllowAll => Decision::Allowed(Grant::AllowAll),
            Authority::Roles { administrators, .. } if administrators.contains(&self.caller) => {
                Decision::Allowed(Grant::Administrator)
            }
            Authority::Roles { directory, .. } => {
                let scopes = with_above(&**directory, scope);
                state.access().decide_for(&self.principals, action, &scopes, self.stands(state, scope))
            }
        }
    }

    /// Decides, and leaves out names that the caller may not know.
    pub(crate) fn explain(&self, state: &State, action: Action, scope: &AccessScope) -> Decision {
        match self.decide(state, action, scope) {
            Decision::Denied { id, scope, whole } if self.may(state, Action::ReadRoleAssignment, &scope) => {
                Decision::Denied { id, scope, whole }
            }
            decision => decision.without_names(),
        }
    }

    /// Whether assignments and denials at this scope itself are still in force.
    pub(crate) fn stands(&self, state: &State, scope: &AccessScope) -> bool {
        !(state.access().stands_at(scope) && state.has_ended(scope, self.inner.log_time()))
    }

    /// Whether `action` is denied to the caller by name or as one of everybody, even where sharing allows it without a
    /// role.
    pub(crate) fn is_denied(&self, state: &State, action: Action, scope: impl Into<AccessScope>) -> bool {
        let Authority::Roles { directory, administrators } = &self.inner.authority else { return false };
        let scope = scope.into();
        let scopes = with_above(&**directory, &scope);
        !administrators.contains(&self.caller)
            && state.access().denies(&self.principals, action, &scopes, self.stands(state, &scope))
    }

    /// Whether the caller may do everything.
    pub(crate) fn is_administrator(&self) -> bool {
        match &self.inner.authority {
            Authority::AllowAll => true,
            Authority::Roles { administrators, .. } => administrators.contains(&self.caller),
        }
    }

    pub(crate) fn may(&self, state: &State, action: Action, scope: &AccessScope) -> bool {
        self.decide(state, action, scope).is_allowed()
    }

    /// Whether the caller may see the resource.
    pub(crate) fn may_see(&self, state: &State, id: &ResourceId) -> bool {
        self.may(state, read_action(id), &id.clone().into())
    }

    /// Returns the grant of the first of `needs`, or everything that is refused.
    pub(crate) fn require(&self, state: &State, needs: &[Need]) -> Result<Option<Authorization>, Vec<Problem>> {
        let (mut problems, mut first) = (Vec::new(), None);
        for need in needs {
            match self.explain(state, need.action, &need.scope) {
                Decision::Allowed(grant) => {
                    first.get_or_insert(grant);
                }
                Decision::NotGranted { .. } if need.of == Of::UndeniedSource => {}
                refused => problems.push(self.refused(need, &refused)),
            }
        }
        if problems.is_empty() { Ok(first.map(Into::into)) } else { Err(problems) }
    }

    /// Requires one permission.
    pub(crate) fn require_one(&self, state: &State, action: Action, scope: impl Into<AccessScope>) -> Result<()> {
        self.require(state, &[Need::new(action, scope)]).map(drop).or_else(Error::from_problems)
    }

    fn refused(&self, need: &Need, decision: &Decision) -> Problem {
        let (caller, action, scope) = (&self.caller, need.action, &need.scope);
        let advice = match (decision, BuiltInRole::least_for(action)) {
            (Decision::NotGranted { .. }, Some(role)) => {
                let role = role.definition();
                format!("No role allows it there or above: one that does is `{}`.", role.role_name())
            }
            _ => format!("Why: {decision}."),
        };
        let (code, what) = match decision {
            Decision::NotInTenant { subscription: Some(subscription) } if need.of != Of::Operation => {
                let what = format!(
                    "The client '{caller}' has permission to perform action '{action}' on scope '{scope}', however the current \
                     tenant is not authorized to access linked subscription '{subscription}'."
                );
                ("LinkedAuthorizationFailed", what)
            }
            _ if need.of != Of::Operation => {
                let what = format!(
                    "The client '{caller}' has permission on the scope of the operation; however, it does not have permission \
                     to perform action '{action}' on the linked scope(s) '{scope}' or the linked scope(s) are invalid."
                );
                ("LinkedAuthorizationFailed", what)
            }
            _ => {
                let what = format!(
                    "The client '{caller}' does not have authorization to perform action '{action}' over scope \
                     '{scope}' or the scope is invalid. If access was recently granted, please refresh your \
                     credentials."
                );
                ("AuthorizationFailed", what)
            }
        };
        Problem::new(ErrorKind::Forbidden, code, action.as_str(), what).with_advice(advice)
    }

    /// Returns the caller as a consumer of shared galleries.
    pub(crate) fn consumer<'a>(&'a self, state: &'a State) -> Consumer<'a> {
        let tenants = self.principals.0.iter().filter(|account| self.is_user(state, account));
        Consumer { rights: self, state, tenants: tenants.map(|account| account.tenant.clone()).collect() }
    }

    /// Whether an account makes the caller a user of its tenant: a user account, or one that may see shared galleries
    /// somewhere in the tenant.
    fn is_user(&self, state: &State, account: &Membership) -> bool {
        let at_root = self.decide(state, Action::ReadSharedGallery, &AccessScope::TenantRoot(account.tenant.clone()));
        match at_root {
            Decision::Allowed(_) => true,
            Decision::Denied { .. } => false,
            _ if account.kind == PrincipalKind::User => true,
            _ => state.access().assignments().any(|assignment| {
                let theirs =
                    assignment.principal == account.principal || account.groups.contains(&assignment.principal);
                let is_of_subscriptions =
                    matches!(assignment.scope, AccessScope::Subscription(_) | AccessScope::ManagementGroup(_));
                theirs
                    && is_of_subscriptions
                    && self.is_of_tenant(&assignment.scope, &account.tenant)
                    && self.may(state, Action::ReadSharedGallery, &assignment.scope)
            }),
        }
    }

    fn is_of_tenant(&self, scope: &AccessScope, tenant: &TenantId) -> bool {
        let Authority::Roles { directory, .. } = &self.inner.authority else { return true };
        with_above(&**directory, scope).contains(&AccessScope::TenantRoot(tenant.clone()))
    }
}

impl Consumer<'_> {
    /// Whether a gallery is shared with the caller: with a tenant that they are a user of, or with a subscription in which
    /// they may see shared galleries.
    pub(crate) fn reaches(&self, sharing: &GallerySharing) -> bool {
        let may_see = |subscription: &SubscriptionId| {
            let scope = AccessScope::Subscription(subscription.clone());
            self.rights.may(self.state, Action::ReadSharedGallery, &scope)
        };
        let is_shared = !sharing.subscriptions.is_empty() || !sharing.tenants.is_empty();
        is_shared
            && (self.rights.is_administrator()
                || !self.tenants.is_disjoint(&sharing.tenants)
                || sharing.subscriptions.iter().any(may_see))
    }
}

/// Returns the permission to see a resource.
pub(crate) fn read_action(id: &ResourceId) -> Action {
    match id {
        ResourceId::Gallery(_) => Action::ReadGallery,
        ResourceId::ImageDefinition(_) => Action::ReadImage,
        ResourceId::ImageVersion(_) => Action::ReadVersion,
        ResourceId::ManagedImage(_) => Action::ReadManagedImage,
        ResourceId::Snapshot(_) => Action::ReadSnapshot,
        ResourceId::Disk(_) => Action::WriteDisk,
        ResourceId::VirtualMachine(_) => Action::WriteVirtualMachine,
        ResourceId::StorageAccount(_) => Action::ListStorageKeys,
    }
}

/// Returns the permission to create or change a resource.
pub(crate) fn write_action(id: &ResourceId) -> Action {
    match id {
        ResourceId::Gallery(_) => Action::WriteGallery,
        ResourceId::ImageDefinition(_) => Action::WriteImage,
        ResourceId::ImageVersion(_) => Action::WriteVersion,
        ResourceId::ManagedImage(_) => Action::WriteManagedImage,
        ResourceId::Snapshot(_) => Action::WriteSnapshot,
        ResourceId::Disk(_) => Action::WriteDisk,
        ResourceId::VirtualMachine(_) => Action::WriteVirtualMachine,
        ResourceId::StorageAccount(_) => Action::ListStorageKeys,
    }
}

/// Returns the permission to delete a resource.
pub(crate) fn delete_action(id: &ResourceId) -> Action {
    match id {
        ResourceId::Gallery(_) => Action::DeleteGallery,
        ResourceId::ImageDefinition(_) => Action::DeleteImage,
        ResourceId::ImageVersion(_) => Action::DeleteVersion,
        ResourceId::ManagedImage(_) => Action::DeleteManagedImage,
        ResourceId::Snapshot(_) => Action::DeleteSnapshot,
        ResourceId::Disk(_) => Action::WriteDisk,
        ResourceId::VirtualMachine(_) => Action::WriteVirtualMachine,
        ResourceId::StorageAccount(_) => Action::ListStorageKeys,
    }
}
