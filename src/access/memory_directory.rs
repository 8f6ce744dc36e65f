//! A directory in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::caller::Caller;
use super::directory::{Directory, Membership};
use super::principal::{ManagementGroupId, PrincipalId, PrincipalKind, TenantId};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::SubscriptionId;

/// A directory in memory. Clones are one directory.
///
/// ```
/// use compute_gallery::access::{Directory, MemoryDirectory};
///
/// let directory = MemoryDirectory::new();
/// let (contoso, fabrikam) = ("contoso".parse()?, "fabrikam".parse()?);
/// directory.add_user("ann", &contoso)?;
/// directory.add_guest("ann-at-fabrikam", &fabrikam, "ann")?;
/// directory.add_group("publishers", &contoso)?;
/// directory.add_group("everybody", &contoso)?;
/// directory.add_member("publishers", "ann")?;
/// directory.add_member("everybody", "publishers")?;
/// assert!(directory.add_member("publishers", "everybody").is_err(), "a group is not in itself");
/// assert_eq!(directory.memberships(&"ann".parse()?)[0].groups.len(), 2);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryDirectory(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    principals: BTreeMap<PrincipalId, (TenantId, PrincipalKind)>,
    /// The accounts of each caller.
    accounts: BTreeMap<String, Vec<PrincipalId>>,
    /// The groups that a principal is a member of, directly.
    groups: BTreeMap<PrincipalId, BTreeSet<PrincipalId>>,
    subscriptions: BTreeMap<SubscriptionId, (TenantId, Option<ManagementGroupId>)>,
    management_groups: BTreeMap<ManagementGroupId, (TenantId, Option<ManagementGroupId>)>,
}

fn wrong(target: &str, what: String) -> Error {
    Error::new(Problem::new(ErrorKind::Conflict, "InvalidParameter", target, what))
}

fn no_management_group(id: &ManagementGroupId) -> Error {
    Error::not_found(id.to_string(), "there is no such management group: add it first, or correct the id")
}

impl Inner {
    fn add(&mut self, id: &str, tenant: &TenantId, kind: PrincipalKind) -> Result<PrincipalId> {
        let principal: PrincipalId = id.parse()?;
        if self.principals.contains_key(&principal) {
            return Err(wrong("principalId", format!("`{principal}` exists: choose another id")));
        }
        self.principals.insert(principal.clone(), (tenant.clone(), kind));
        Ok(principal)
    }

    fn known(&self, id: &str) -> Result<(PrincipalId, &(TenantId, PrincipalKind))> {
        let principal: PrincipalId = id.parse()?;
        let found = self.principals.get(&principal);
        found.map(|found| (principal, found)).ok_or_else(|| Error::not_found(id, "there is no such principal"))
    }

    /// What is above something of `tenant` must be of it, too.
    fn in_tenant(&self, group: Option<&ManagementGroupId>, tenant: &TenantId) -> Result<()> {
        let Some(group) = group else { return Ok(()) };
        let (theirs, _) = self.management_groups.get(group).ok_or_else(|| no_management_group(group))?;
        if theirs != tenant {
            return Err(wrong("managementGroupId", format!("`{group}` is of tenant `{theirs}`, not of `{tenant}`")));
        }
        Ok(())
    }

    /// A management group and all above it.
    fn upwards(&self, first: Option<ManagementGroupId>) -> Vec<ManagementGroupId> {
        let above =
            |group: &ManagementGroupId| self.management_groups.get(group).and_then(|(_, parent)| parent.clone());
        std::iter::successors(first, above).collect()
    }

    /// Every group that a principal is in.
    fn groups_of(&self, principal: &PrincipalId) -> BTreeSet<PrincipalId> {
        let mut found = BTreeSet::new();
        let mut ahead: Vec<&PrincipalId> = vec![principal];
        while let Some(next) = ahead.pop() {
            for group in self.groups.get(next).into_iter().flatten() {
                if found.insert(group.clone()) {
                    ahead.push(group);
                }
            }
        }
        found
    }
}

impl MemoryDirectory {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a person to their tenant; the id is their name as a caller, too.
    ///
    /// # Errors
    ///
    /// `Conflict` where the id is taken; `Invalid`.
    pub fn add_user(&self, id: &str, tenant: &TenantId) -> Result<PrincipalId> {
        let mut inner = self.write();
        let principal = inner.add(id, tenant, PrincipalKind::User)?;
        inner.accounts.insert(id.to_owned(), vec![principal.clone()]);
        Ok(principal)
    }

    /// Invites a person of another tenant to this one.
    ///
    /// # Errors
    ///
    /// `NotFound` without the person; `Conflict` where they have an account in the tenant, or the id is taken; `Invalid`.
    pub fn add_guest(&self, id: &str, tenant: &TenantId, user: &str) -> Result<PrincipalId> {
        self.add_account(id, tenant, user, PrincipalKind::Guest)
    }

    /// Adds an application, with a service principal in its own tenant; the id is its name as a caller, too.
    ///
    /// # Errors
    ///
    /// `Conflict` where the id is taken; `Invalid`.
    pub fn add_application(&self, id: &str, tenant: &TenantId) -> Result<PrincipalId> {
        let mut inner = self.write();
        let principal = inner.add(id, tenant, PrincipalKind::ServicePrincipal)?;
        inner.accounts.insert(id.to_owned(), vec![principal.clone()]);
        Ok(principal)
    }

    /// A tenant consents to an application of another: it gets a service principal there.
    ///
    /// # Errors
    ///
    /// As [`add_guest`](Self::add_guest).
    pub fn consent(&self, id: &str, tenant: &TenantId, application: &str) -> Result<PrincipalId> {
        self.add_account(id, tenant, application, PrincipalKind::ServicePrincipal)
    }

    fn add_account(&self, id: &str, tenant: &TenantId, caller: &str, kind: PrincipalKind) -> Result<PrincipalId> {
        let mut inner = self.write();
        let accounts = inner.accounts.get(caller);
        let accounts = accounts.ok_or_else(|| Error::not_found(caller, "there is no such user or application"))?;
        let is_there = |account: &PrincipalId| inner.principals.get(account).is_some_and(|(other, _)| other == tenant);
        if accounts.iter().any(is_there) {
            return Err(wrong("tenantId", format!("`{caller}` has an account in tenant `{tenant}` already")));
        }
        let principal = inner.add(id, tenant, kind)?;
        inner.accounts.entry(caller.to_owned()).or_default().push(principal.clone());
        Ok(principal)
    }

    /// Adds a group.
    ///
    /// # Errors
    ///
    /// `Conflict` where the id is taken; `Invalid`.
    pub fn add_group(&self, id: &str, tenant: &TenantId) -> Result<PrincipalId> {
        self.write().add(id, tenant, PrincipalKind::Group)
    }

    /// Puts a principal into a group; the principal may be a group itself.
    ///
    /// # Errors
    ///
    /// `NotFound` for either; `Conflict` where the group is none, is of another tenant, or would be in itself.
    pub fn add_member(&self, group: &str, member: &str) -> Result<()> {
        let mut inner = self.write();
        let (group, (tenant, kind)) = inner.known(group)?;
        let (member, (other, _)) = inner.known(member)?;
        if *kind != PrincipalKind::Group {
            return Err(wrong("group", format!("`{group}` is no group")));
        }
        if tenant != other {
            return Err(wrong("tenantId", format!("`{member}` is of tenant `{other}`, `{group}` of `{tenant}`")));
        }
        if group == member || inner.groups_of(&group).contains(&member) {
            return Err(wrong("group", format!("`{group}` would be in itself through `{member}`")));
        }
        inner.groups.entry(member).or_default().insert(group);
        Ok(())
    }

    /// Takes a principal out of a group; it may not have been in it.
    ///
    /// # Errors
    ///
    /// `NotFound` for either.
    pub fn remove_member(&self, group: &str, member: &str) -> Result<()> {
        let mut inner = self.write();
        let (group, (member, _)) = (inner.known(group)?.0, inner.known(member)?);
        inner.groups.entry(member).or_default().remove(&group);
        Ok(())
    }

    /// Adds a management group, below another or right below its tenant's root.
    ///
    /// # Errors
    ///
    /// `NotFound` without the parent; `Conflict` where the id is taken, or the parent is of another tenant; `Invalid`.
    pub fn add_management_group(
        &self,
        id: &str,
        tenant: &TenantId,
        parent: Option<&ManagementGroupId>,
    ) -> Result<ManagementGroupId> {
        let (mut inner, group): (_, ManagementGroupId) = (self.write(), id.parse()?);
        inner.in_tenant(parent, tenant)?;
        if inner.management_groups.contains_key(&group) {
            return Err(wrong("managementGroupId", format!("`{group}` exists: choose another id")));
        }
        inner.management_groups.insert(group.clone(), (tenant.clone(), parent.cloned()));
        Ok(group)
    }

    /// Moves a management group, and all in it, below another or right below its tenant's root.
    ///
    /// # Errors
    ///
    /// `NotFound` for either; `Conflict` where the parent is of another tenant, or is below it.
    pub fn move_management_group(&self, id: &ManagementGroupId, parent: Option<&ManagementGroupId>) -> Result<()> {
        let mut inner = self.write();
        let there = inner.management_groups.get(id).ok_or_else(|| no_management_group(id))?;
        let tenant = there.0.clone();
        inner.in_tenant(parent, &tenant)?;
        if inner.upwards(parent.cloned()).contains(id) {
            return Err(wrong("managementGroupId", format!("`{id}` would be in itself: move it elsewhere")));
        }
        inner.management_groups.insert(id.clone(), (tenant, parent.cloned()));
        Ok(())
    }

    /// Puts a subscription into a tenant and, perhaps, a management group of it; or moves it.
    ///
    /// # Errors
    ///
    /// `NotFound` without the management group; `Conflict` where it is of another tenant.
    pub fn add_subscription(
        &self,
        subscription: SubscriptionId,
        tenant: TenantId,
        management_group: Option<ManagementGroupId>,
    ) -> Result<()> {
        let mut inner = self.write();
        inner.in_tenant(management_group.as_ref(), &tenant)?;
        inner.subscriptions.insert(subscription, (tenant, management_group));
        Ok(())
    }
}

impl Directory for MemoryDirectory {
    fn memberships(&self, caller: &Caller) -> Vec<Membership> {
        let inner = self.read();
        let accounts = inner.accounts.get(caller.as_str()).into_iter().flatten();
        let memberships = accounts.filter_map(|principal| {
            let (tenant, kind) = inner.principals.get(principal)?.clone();
            Some(Membership::new(tenant, principal.clone(), kind).with_groups(inner.groups_of(principal)))
        });
        memberships.collect()
    }

    fn tenant_of_principal(&self, principal: &PrincipalId) -> Option<TenantId> {
        self.read().principals.get(principal).map(|(tenant, _)| tenant.clone())
    }

    fn tenant_of(&self, subscription: &SubscriptionId) -> Option<TenantId> {
        self.read().subscriptions.get(subscription).map(|(tenant, _)| tenant.clone())
    }

    fn management_groups_of(&self, subscription: &SubscriptionId) -> Vec<ManagementGroupId> {
        let inner = self.read();
        let first = inner.subscriptions.get(subscription).and_then(|(_, group)| group.clone());
        inner.upwards(first)
    }

    fn above_management_group(&self, group: &ManagementGroupId) -> (Vec<ManagementGroupId>, Option<TenantId>) {
        let inner = self.read();
        match inner.management_groups.get(group).cloned() {
            Some((tenant, parent)) => (inner.upwards(parent), Some(tenant)),
            None => (Vec::new(), None),
        }
    }
}
