//! All roles and assignments, and the decision on a call.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::action::{Action, ActionSet};
use super::assignment::{DeniedTo, DenyAssignment, RoleAssignment};
use super::decision::{Decision, Denial, Grant};
use super::directory::{Directory, Membership};
use super::principal::{AssignmentId, PrincipalId, TenantId};
use super::role::{BuiltInRole, RoleDefinition, RoleId};
use super::scope::AccessScope;
use crate::error::{Error, ErrorKind, Problem, Result};

/// All roles and assignments, with one decision: [`decide`](Self::decide).
///
/// The cost of a decision grows with the depth of the scope and the number of the caller's groups, not with the number of
/// assignments.
///
/// ```
/// use compute_gallery::access::{AccessPolicy, AccessScope, Action, RoleAssignment, RoleDefinition};
///
/// let mut policy = AccessPolicy::new();
/// policy.put_role(RoleDefinition::new("publisher", "Publisher")?.with_actions(["Microsoft.Compute/galleries/images/*"])?);
/// let dev = AccessScope::Subscription("dev".parse()?);
/// policy.assign(RoleAssignment::new("1", "ann".parse()?, "publisher".parse()?, dev.clone())?);
/// let may = |action| policy.decide(&"ann".parse().unwrap(), &[], action, &[dev.clone()]).is_allowed();
/// assert!(may(Action::WriteVersion) && !may(Action::ShareGallery));
/// // A role is not removed while it is assigned.
/// assert!(policy.clone().remove_role(&"publisher".parse()?).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AccessPolicy {
    roles: BTreeMap<RoleId, Arc<RoleDefinition>>,
    assignments: BTreeMap<Key, Arc<RoleAssignment>>,
    denials: BTreeMap<Key, Arc<DenyAssignment>>,
    /// A small number for each principal that an assignment names, so that a decision compares numbers.
    numbers: HashMap<PrincipalId, u32>,
    scopes: HashMap<AccessScope, AtScope>,
}

/// The key of an assignment.
type Key = (AccessScope, AssignmentId);

/// An assignment, with the actions that it allows.
type Allowed = (ActionSet, Arc<RoleAssignment>);

/// The assignments and denials at one scope.
#[derive(Clone, Debug, Default)]
struct AtScope {
    grants: HashMap<u32, Vec<Allowed>, BuildHasherDefault<Identity>>,
    denials: Vec<(ActionSet, Arc<DenyAssignment>)>,
}

/// Consecutive numbers need no hashing.
#[derive(Clone, Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        // The table takes its place from the upper bits, too.
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number);
    }
}

/// The accounts of a caller at one moment: at most one in each tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Principals(pub(crate) Vec<Membership>);

impl AccessPolicy {
    /// Returns a policy with the built-in roles and without an assignment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a role, built-in or custom.
    pub fn role(&self, id: &RoleId) -> Option<Arc<RoleDefinition>> {
        let built_in = || BuiltInRole::ALL.iter().find(|role| role.id() == *id);
        self.roles.get(id).cloned().or_else(|| built_in().map(|role| Arc::new(role.definition())))
    }

    /// Iterates over the custom roles, by id.
    pub fn custom_roles(&self) -> impl Iterator<Item = &Arc<RoleDefinition>> {
        self.roles.values()
    }

    /// Iterates over the role assignments, by scope and id.
    pub fn assignments(&self) -> impl Iterator<Item = &Arc<RoleAssignment>> {
        self.assignments.values()
    }

    /// Iterates over the deny assignments, by scope and id.
    pub fn denials(&self) -> impl Iterator<Item = &Arc<DenyAssignment>> {
        self.denials.values()
    }

    /// Returns a role assignment.
    pub fn assignment(&self, scope: &AccessScope, id: &AssignmentId) -> Option<&Arc<RoleAssignment>> {
        self.assignments.get(&(scope.clone(), id.clone()))
    }

    /// Returns a deny assignment.
    pub fn denial(&self, scope: &AccessScope, id: &AssignmentId) -> Option<&Arc<DenyAssignment>> {
        self.denials.get(&(scope.clone(), id.clone()))
    }

    /// Returns the problem of an assignment; `above` are the scopes above its own.
    pub(crate) fn problem_with(&self, assignment: &RoleAssignment, above: &[AccessScope]) -> Option<Problem> {
        match self.role(&assignment.role) {
            Some(role) => role.problem_with(&assignment.scope, above),
            None => {
                let what =
                    format!("role `{}` does not exist: create it first, or name a built-in one", assignment.role);
                Some(Problem::new(ErrorKind::NotFound, "RoleDefinitionDoesNotExist", "roleAssignment.role", what))
            }
        }
    }

    /// Returns the assignments of a role.
    pub(crate) fn assignments_of(&self, role: &RoleId) -> impl Iterator<Item = &Arc<RoleAssignment>> {
        self.assignments.values().filter(move |assignment| assignment.role == *role)
    }

    /// Returns whether an assignment or denial is at the scope itself.
    pub(crate) fn stands_at(&self, scope: &AccessScope) -> bool {
        let is_used = |at: &AtScope| !at.denials.is_empty() || at.grants.values().any(|grants| !grants.is_empty());
        self.scopes.get(scope).is_some_and(is_used)
    }

    /// Removes every role assignment and deny assignment at a scope, such as one of a deleted resource.
    pub fn end(&mut self, scope: &AccessScope) {
        let Some(at) = self.scopes.remove(scope) else { return };
        for (_, assignment) in at.grants.into_values().flatten() {
            self.assignments.remove(&(scope.clone(), assignment.id.clone()));
        }
        for (_, denial) in at.denials {
            self.denials.remove(&(scope.clone(), denial.id.clone()));
        }
    }

    /// Adds a custom role, or replaces it: its assignments then allow what the new one allows.
    pub fn put_role(&mut self, role: RoleDefinition) {
        let (id, set) = (role.id().clone(), role.set());
        self.roles.insert(id.clone(), Arc::new(role));
        for at in self.scopes.values_mut() {
            let grants = at.grants.values_mut().flatten();
            grants.filter(|(_, assignment)| assignment.role == id).for_each(|(allowed, _)| *allowed = set);
        }
    }

    /// Removes a custom role.
    ///
    /// # Errors
    ///
    /// `Conflict` while the role is assigned.
    pub fn remove_role(&mut self, id: &RoleId) -> Result<()> {
        if let Some(assignment) = self.assignments_of(id).next() {
            let what =
                format!("it is assigned (`{}` at `{}`): delete the assignment first", assignment.id, assignment.scope);
            let problem = Problem::new(ErrorKind::Conflict, "RoleDefinitionHasAssignments", id.to_string(), what);
            return Err(Error::new(problem));
        }
        self.roles.remove(id);
        Ok(())
    }

    /// Removes a custom role whose assignments are removed as well.
    pub(crate) fn forget_role(&mut self, id: &RoleId) {
        self.roles.remove(id);
    }

    /// Returns a custom role.
    pub(crate) fn custom_role(&self, id: &RoleId) -> Option<&Arc<RoleDefinition>> {
        self.roles.get(id)
    }

    /// Returns the ids of the role assignments and of the deny assignments at the scope itself.
    pub(crate) fn ids_at(&self, scope: &AccessScope) -> [Vec<AssignmentId>; 2] {
        let Some(at) = self.scopes.get(scope) else { return Default::default() };
        let assignments = at.grants.values().flatten().map(|(_, assignment)| assignment.id.clone());
        [assignments.collect(), at.denials.iter().map(|(_, denial)| denial.id.clone()).collect()]
    }

    fn number(&mut self, principal: &PrincipalId) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(principal.clone()).or_insert(next)
    }

    /// Adds a role assignment, in place of one with the same scope and id. An assignment of an unknown role allows nothing.
    pub fn assign(&mut self, assignment: RoleAssignment) {
        self.unassign(&assignment.scope, &assignment.id);
        let set = self.role(&assignment.role).map(|role| role.set()).unwrap_or_default();
        let (number, assignment) = (self.number(&assignment.principal), Arc::new(assignment));
        self.assignments.insert((assignment.scope.clone(), assignment.id.clone()), assignment.clone());
        let at = self.scopes.entry(assignment.scope.clone()).or_default();
        at.grants.entry(number).or_default().push((set, assignment));
    }

    /// Removes a role assignment.
    pub fn unassign(&mut self, scope: &AccessScope, id: &AssignmentId) {
        let Some(assignment) = self.assignments.remove(&(scope.clone(), id.clone())) else { return };
        let number = self.numbers.get(&assignment.principal);
        let at = self.scopes.get_mut(scope);
        if let Some((at, number)) = at.zip(number)
            && let Some(grants) = at.grants.get_mut(number)
        {
            grants.retain(|(_, other)| other.id != *id);
        }
    }

    /// Adds a deny assignment, in place of one with the same scope and id.
    pub fn deny(&mut self, denial: DenyAssignment) {
        self.undeny(&denial.scope, &denial.id);
        let (set, denial) = (denial.set(), Arc::new(denial));
        self.denials.insert((denial.scope.clone(), denial.id.clone()), denial.clone());
        self.scopes.entry(denial.scope.clone()).or_default().denials.push((set, denial));
    }

    /// Removes a deny assignment.
    pub fn undeny(&mut self, scope: &AccessScope, id: &AssignmentId) {
        if self.denials.remove(&(scope.clone(), id.clone())).is_none() {
            return;
        }
        if let Some(at) = self.scopes.get_mut(scope) {
            at.denials.retain(|(_, other)| other.id != *id);
        }
    }

    /// Decides whether an account may take `action` at the first of `scopes`; the others are the scopes above it.
    ///
    /// Azure: a denial wins over every role; roles of all scopes and groups add up.
    ///
    /// ```
    /// use compute_gallery::access::*;
    ///
    /// let mut policy = AccessPolicy::new();
    /// let subscription = AccessScope::Subscription("dev".parse()?);
    /// let readers: PrincipalId = "readers".parse()?;
    /// policy.assign(RoleAssignment::new("1", readers.clone(), BuiltInRole::Reader.id(), subscription.clone())?);
    ///
    /// let decide = |action| policy.decide(&"ann".parse().unwrap(), &[readers.clone()], action, &[subscription.clone()]);
    /// let Decision::Allowed(Grant::Role { through, .. }) = decide(Action::ReadVersion) else { panic!() };
    /// assert_eq!(through, Some(readers.clone()));
    /// assert!(!decide(Action::WriteVersion).is_allowed());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn decide(
        &self,
        principal: &PrincipalId,
        groups: &[PrincipalId],
        action: Action,
        scopes: &[AccessScope],
    ) -> Decision {
        let mut grant = None;
        let who = || std::iter::once((None, principal)).chain(groups.iter().map(|group| (Some(group), group)));
        // A principal that no assignment names decides nothing.
        let mut numbers = [(0, None); 16];
        let mut known = 0;
        let named = who().filter_map(|(through, id)| Some((*self.numbers.get(id)?, through)));
        let mut more = Vec::new();
        for entry in named {
            match numbers.get_mut(known) {
                Some(place) => *place = entry,
                None => more.push(entry),
            }
            known += 1;
        }
        let numbers = || numbers.iter().take(known).chain(&more);
        for scope in scopes {
            let Some(at) = self.scopes.get(scope) else { continue };
            for (_, denial) in at.denials.iter().filter(|(set, _)| set.contains(action)) {
                let named = |list: &[PrincipalId]| who().find(|(_, id)| list.contains(id));
                let concerned = match &denial.to {
                    DeniedTo::EverybodyBut(_) => Some((None, principal)),
                    DeniedTo::Principals { principals, .. } => named(principals.as_slice()),
                };
                if let Some((through, _)) = concerned
                    && named(denial.to.except()).is_none()
                {
                    let (id, scope) = (denial.id.clone(), denial.scope.clone());
                    let whole = Some(Denial { denial: denial.clone(), through: through.cloned() });
                    return Decision::Denied { id, scope, whole };
                }
            }
            if grant.is_none() && !at.grants.is_empty() {
                grant = numbers().find_map(|(number, through)| {
                    let mut of_principal = at.grants.get(number)?.iter();
                    of_principal.find(|(set, _)| set.contains(action)).map(|(_, assignment)| (assignment, *through))
                });
            }
        }
        match (grant, scopes.first()) {
            (Some((assignment, through)), _) => {
                let (assignment, through) = (assignment.clone(), through.cloned());
                Decision::Allowed(Grant::Role { assignment, through })
            }
            (None, Some(scope)) => Decision::NotGranted { action, scope: scope.clone() },
            (None, None) => Decision::NotInTenant { subscription: None },
        }
    }

    /// Decides whether a caller may take `action` at the first of `scopes`; the others are the scopes above it. The caller's
    /// account in the tenant at the top decides. Assignments at the first scope itself count only where it still `stands`.
    pub(crate) fn decide_for(
        &self,
        caller: &Principals,
        action: Action,
        scopes: &[AccessScope],
        stands: bool,
    ) -> Decision {
        let decision = match caller.in_tenant(tenant_of(scopes)) {
            Some(account) => self.decide(&account.principal, &account.groups, action, standing(scopes, stands)),
            None => {
                Decision::NotInTenant { subscription: scopes.first().and_then(|scope| scope.subscription().cloned()) }
            }
        };
        match (decision, scopes.first()) {
            (Decision::NotGranted { action, .. }, Some(scope)) => Decision::NotGranted { action, scope: scope.clone() },
            (decision, _) => decision,
        }
    }

    /// Returns whether `action` is denied to a caller at the first of `scopes`, as by [`decide_for`](Self::decide_for). A caller
    /// without an account in the tenant is subject to denials to everybody, too.
    pub(crate) fn denies(&self, caller: &Principals, action: Action, scopes: &[AccessScope], stands: bool) -> bool {
        if caller.in_tenant(tenant_of(scopes)).is_some() {
            return matches!(self.decide_for(caller, action, scopes, stands), Decision::Denied { .. });
        }
        let mut denials =
            standing(scopes, stands).iter().filter_map(|scope| self.scopes.get(scope)).flat_map(|at| &at.denials);
        denials.any(|(set, denial)| set.contains(action) && denial.to.is_everybody())
    }
}

/// Returns the tenant at the top of `scopes`.
fn tenant_of(scopes: &[AccessScope]) -> Option<&TenantId> {
    scopes.iter().find_map(|scope| match scope {
        AccessScope::TenantRoot(tenant) => Some(tenant),
        _ => None,
    })
}

/// Returns the scopes whose assignments count.
fn standing(scopes: &[AccessScope], stands: bool) -> &[AccessScope] {
    scopes.get(usize::from(!stands)..).unwrap_or_default()
}

impl Principals {
    pub(crate) fn in_tenant(&self, tenant: Option<&TenantId>) -> Option<&Membership> {
        self.0.iter().find(|account| Some(&account.tenant) == tenant)
    }
}

/// Returns a scope and all above it, up to the root of its tenant.
pub(crate) fn with_above(directory: &dyn Directory, scope: &AccessScope) -> Vec<AccessScope> {
    let mut scopes: Vec<AccessScope> = std::iter::successors(Some(scope.clone()), AccessScope::parent).collect();
    let (groups, tenant) = match scope {
        AccessScope::ManagementGroup(group) => directory.above_management_group(group),
        _ => match scope.subscription() {
            Some(subscription) => (directory.management_groups_of(subscription), directory.tenant_of(subscription)),
            None => (Vec::new(), None),
        },
    };
    scopes.extend(groups.into_iter().map(AccessScope::ManagementGroup));
    scopes.extend(tenant.map(AccessScope::TenantRoot));
    scopes
}
