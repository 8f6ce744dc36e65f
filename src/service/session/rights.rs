//! What a caller may do.

use super::inner::{Authority, Inner};
use crate::access::{
    AccessScope, Action, Authorization, BuiltInRole, Caller, Decision, GallerySharing, Grant, Membership,
    PrincipalKind, Principals, RoleAssignment, TenantId, with_above,
};
use crate::catalog::State;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{ResourceId, SubscriptionId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that an operation needs to be allowed to do.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) action: Action,
    pub(crate) scope: AccessScope,
    pub(crate) of: Of,
}

/// What a need is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// What the operation is on.
    Operation,
    /// A source of it.
    Source,
    /// A source, of which it is enough that nothing denies it.
    UndeniedSource,
}

impl Need {
    pub(crate) fn new(action: Action, scope: impl Into<AccessScope>) -> Self {
        Self { action, scope: scope.into(), of: Of::Operation }
    }

    pub(crate) fn linked(action: Action, scope: impl Into<AccessScope>) -> Self {
        Self { action, scope: scope.into(), of: Of::Source }
    }

    /// That reading a source is not denied, where another right than that to read it allows its use.
    pub(crate) fn undenied(action: Action, scope: impl Into<AccessScope>) -> Self {
        Self { action, scope: scope.into(), of: Of::UndeniedSource }
    }
}

/// What the caller may do in one state: they are looked up in the directory once.
#[derive(Clone, Debug)]
pub(crate) struct Rights {
    pub(crate) caller: Caller,
    pub(crate) inner: Arc<Inner>,
    pub(crate) principals: Principals,
}

/// Where a caller sees what is shared directly: Azure asks for the right to see it at a subscription of theirs.
#[derive(Debug)]
pub(crate) struct Consumer<'a> {
    rights: &'a Rights,
    state: &'a State,
    /// The tenants that they are users of.
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

    /// The decision as the caller may be told it.
    pub(crate) fn explain(&self, state: &State, action: Action, scope: &AccessScope) -> Decision {
        match self.decide(state, action, scope) {
            Decision::Denied { id, scope, whole } if self.may(state, Action::ReadRoleAssignment, &scope) => {
                Decision::Denied { id, scope, whole }
            }
            decision => decision.without_names(),
        }
    }

    /// Whether what was assigned and denied at a scope itself holds still.
    pub(crate) fn stands(&self, state: &State, scope: &AccessScope) -> bool {
        !(state.access().stands_at(scope) && state.has_ended(scope, self.inner.log_time()))
    }

    /// Whether it is denied to them, though sharing may need no role: whether to them by name, or to everybody.
    pub(crate) fn is_denied(&self, state: &State, action: Action, scope: impl Into<AccessScope>) -> bool {
        let Authority::Roles { directory, administrators, .. } = &self.inner.authority else { return false };
        let scope = scope.into();
        let scopes = with_above(&**directory, &scope);
        !administrators.contains(&self.caller)
            && state.access().denies(&self.principals, action, &scopes, self.stands(state, &scope))
    }

    /// Whether a role is assigned to them, or to a group of theirs.
    pub(crate) fn is_theirs(&self, assignment: &RoleAssignment) -> bool {
        self.principals
            .0
            .iter()
            .any(|account| assignment.principal == account.principal || account.groups.contains(&assignment.principal))
    }

    /// Whether they may do everything.
    pub(crate) fn is_administrator(&self) -> bool {
        match &self.inner.authority {
            Authority::AllowAll => true,
            Authority::Roles { administrators, .. } => administrators.contains(&self.caller),
        }
    }

    /// Whether they may do what keeps the stores in order.
    pub(crate) fn is_janitor(&self) -> bool {
        match &self.inner.authority {
            Authority::AllowAll => true,
            Authority::Roles { administrators, janitors, .. } => {
                administrators.contains(&self.caller) || janitors.contains(&self.caller)
            }
        }
    }

    pub(crate) fn may(&self, state: &State, action: Action, scope: &AccessScope) -> bool {
        self.decide(state, action, scope).is_allowed()
    }

    /// Whether they may see the resource.
    pub(crate) fn may_see(&self, state: &State, id: &ResourceId) -> bool {
        self.may(state, read_action(id), &id.clone().into())
    }

    /// Everything that is needed, or why not.
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

    /// The same for reading one thing.
    pub(crate) fn require_one(&self, state: &State, action: Action, scope: impl Into<AccessScope>) -> Result<()> {
        self.require(state, &[Need::new(action, scope)]).map(drop).or_else(Error::from_problems)
    }

    fn refused(&self, need: &Need, decision: &Decision) -> Problem {
        let (caller, action, scope) = (&self.caller, need.action, &need.scope);
        let advice = match (decision, BuiltInRole::least_for(action)) {
            (Decision::NotGranted { .. }, Some(role)) => {
                let role = role.definition();
                format!("no role allows it there or above: assign one that does, such as `{}`", role.role_name())
            }
            _ => decision.to_string(),
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

    /// The caller as a consumer of what others share.
    pub(crate) fn consumer<'a>(&'a self, state: &'a State) -> Consumer<'a> {
        let tenants = self.principals.0.iter().filter(|account| self.is_user(state, account));
        Consumer { rights: self, state, tenants: tenants.map(|account| account.tenant.clone()).collect() }
    }

    /// Whether an account makes them a user of its tenant: it is a user's own, or may see what is shared somewhere there.
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
    /// Whether a gallery is shared with them: with a tenant that they are users of, or with a subscription in which they
    /// may see what is shared.
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

/// What is needed to see a resource.
pub(crate) fn read_action(id: &ResourceId) -> Action {
    match id {
        ResourceId::Gallery(_) => Action::ReadGallery,
        ResourceId::ImageDefinition(_) => Action::ReadImage,
        ResourceId::ImageVersion(_) => Action::ReadVersion,
        ResourceId::ManagedImage(_) => Action::ReadManagedImage,
        ResourceId::Snapshot(_) => Action::ReadSnapshot,
        ResourceId::Disk(_) => Action::ReadDisk,
        ResourceId::VirtualMachine(_) => Action::WriteVirtualMachine,
        ResourceId::StorageAccount(_) => Action::ListStorageKeys,
    }
}

/// What is needed to create or change a resource.
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

/// What is needed to delete a resource.
pub(crate) fn delete_action(id: &ResourceId) -> Action {
    match id {
        ResourceId::Gallery(_) => Action::DeleteGallery,
        ResourceId::ImageDefinition(_) => Action::DeleteImage,
        ResourceId::ImageVersion(_) => Action::DeleteVersion,
        ResourceId::ManagedImage(_) => Action::DeleteManagedImage,
        ResourceId::Snapshot(_) => Action::DeleteSnapshot,
        ResourceId::Disk(_) => Action::DeleteDisk,
        ResourceId::VirtualMachine(_) => Action::WriteVirtualMachine,
        ResourceId::StorageAccount(_) => Action::ListStorageKeys,
    }
}
