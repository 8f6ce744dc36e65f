//! A directory in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

use super::caller::Caller;
use super::directory::{Directory, Membership, Subscription};
use super::principal::{ManagementGroupId, PrincipalId, PrincipalKind, TenantId};
use crate::error::{Error, ErrorKind, Result};
use crate::host::sync::RwLock;
use crate::model::SubscriptionId;

/// A directory in memory. Clones share one directory, so that a program changes it while a service uses it.
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
/// assert!(directory.add_member("publishers", "everybody").is_err(), "a group cannot be in itself");
/// assert_eq!(directory.memberships(&"ann".parse()?)[0].groups.len(), 2);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryDirectory(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    principals: BTreeMap<PrincipalId, (TenantId, PrincipalKind)>,
    /// The accounts of each caller, by the caller's name.
    accounts: BTreeMap<String, Vec<PrincipalId>>,
    /// The groups that a principal is a direct member of.
    groups: BTreeMap<PrincipalId, BTreeSet<PrincipalId>>,
    subscriptions: BTreeMap<SubscriptionId, (TenantId, Option<ManagementGroupId>)>,
    management_groups: BTreeMap<ManagementGroupId, (TenantId, Option<ManagementGroupId>)>,
}

fn wrong(target: &str, what: String) -> Error {
    Error::of(ErrorKind::Conflict, "InvalidParameter", target, what)
}

fn no_management_group(id: &ManagementGroupId) -> Error {
    Error::not_found(id.to_string(), "the management group does not exist: add it first, or correct the id")
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
        found
            .map(|found| (principal, found))
            .ok_or_else(|| Error::not_found(id, "the principal does not exist: add it first, or correct the id"))
    }

    /// Refuses a management group of another tenant than `tenant`.
    fn in_tenant(&self, group: Option<&ManagementGroupId>, tenant: &TenantId) -> Result<()> {
        let Some(group) = group else { return Ok(()) };
        let (theirs, _) = self.management_groups.get(group).ok_or_else(|| no_management_group(group))?;
        if theirs != tenant {
            return Err(wrong(
                "managementGroupId",
                format!("`{group}` is in tenant `{theirs}`, not in `{tenant}`: name a group of that tenant"),
            ));
        }
        Ok(())
    }

    /// Returns a management group and those above it.
    fn upwards(&self, first: Option<ManagementGroupId>) -> Vec<ManagementGroupId> {
        let above =
            |group: &ManagementGroupId| self.management_groups.get(group).and_then(|(_, parent)| parent.clone());
        std::iter::successors(first, above).collect()
    }

    /// Returns every group that a principal is in, directly or through other groups.
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
    /// Returns an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write()
    }

    /// Adds a user to their own tenant. The id is also their name as a [`Caller`].
    ///
    /// # Errors
    ///
    /// `Conflict` where the id is taken; `Invalid` for a malformed id.
    pub fn add_user(&self, id: &str, tenant: &TenantId) -> Result<PrincipalId> {
        let mut inner = self.write();
        let principal = inner.add(id, tenant, PrincipalKind::User)?;
        inner.accounts.insert(id.to_owned(), vec![principal.clone()]);
        Ok(principal)
    }

    /// Adds a user of another tenant to `tenant` as a guest, with an id of their own there.
    ///
    /// # Errors
    ///
    /// `NotFound` without the user; `Conflict` where they have an account in the tenant, or the id is taken; `Invalid` for a
    /// malformed id.
    pub fn add_guest(&self, id: &str, tenant: &TenantId, user: &str) -> Result<PrincipalId> {
        self.add_account(id, tenant, user, PrincipalKind::Guest)
    }

    /// Adds an application, with a service principal in its own tenant. The id is also its name as a [`Caller`].
    ///
    /// # Errors
    ///
    /// `Conflict` where the id is taken; `Invalid` for a malformed id.
    pub fn add_application(&self, id: &str, tenant: &TenantId) -> Result<PrincipalId> {
        let mut inner = self.write();
        let principal = inner.add(id, tenant, PrincipalKind::ServicePrincipal)?;
        inner.accounts.insert(id.to_owned(), vec![principal.clone()]);
        Ok(principal)
    }

    /// Consents to an application of another tenant: adds a service principal for it to `tenant`.
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
        let accounts = accounts.ok_or_else(|| {
            Error::not_found(caller, "the user or application does not exist: add it first, or correct the name")
        })?;
        let is_there = |account: &PrincipalId| inner.principals.get(account).is_some_and(|(other, _)| other == tenant);
        if accounts.iter().any(is_there) {
            return Err(wrong("tenantId", format!("`{caller}` already has an account in tenant `{tenant}`: use it")));
        }
        let principal = inner.add(id, tenant, kind)?;
        inner.accounts.entry(caller.to_owned()).or_default().push(principal.clone());
        Ok(principal)
    }

    /// Adds an empty group.
    ///
    /// # Errors
    ///
    /// `Conflict` where the id is taken; `Invalid` for a malformed id.
    pub fn add_group(&self, id: &str, tenant: &TenantId) -> Result<PrincipalId> {
        self.write().add(id, tenant, PrincipalKind::Group)
    }

    /// Adds a principal to a group; the principal may be a group itself.
    ///
    /// # Errors
    ///
    /// `NotFound` without the group or the principal; `Conflict` where `group` is not a group, is in another tenant than the
    /// principal, or would be in itself.
    pub fn add_member(&self, group: &str, member: &str) -> Result<()> {
        let mut inner = self.write();
        let (group, (tenant, kind)) = inner.known(group)?;
        let (member, (other, _)) = inner.known(member)?;
        if *kind != PrincipalKind::Group {
            return Err(wrong("group", format!("`{group}` is not a group: name one")));
        }
        if tenant != other {
            return Err(wrong(
                "tenantId",
                format!("`{member}` is in tenant `{other}`, `{group}` in `{tenant}`: add a guest of that tenant"),
            ));
        }
        if group == member || inner.groups_of(&group).contains(&member) {
            return Err(wrong(
                "group",
                format!("`{group}` would be in itself through `{member}`: remove one of the memberships"),
            ));
        }
        inner.groups.entry(member).or_default().insert(group);
        Ok(())
    }

    /// Removes a principal from a group; changes nothing where it is not a member.
    ///
    /// # Errors
    ///
    /// `NotFound` without the group or the principal.
    pub fn remove_member(&self, group: &str, member: &str) -> Result<()> {
        let mut inner = self.write();
        let (group, (member, _)) = (inner.known(group)?.0, inner.known(member)?);
        inner.groups.entry(member).or_default().remove(&group);
        Ok(())
    }

    /// Adds a management group, below `parent` or right below the root of its tenant.
    ///
    /// # Errors
    ///
    /// `NotFound` without the parent; `Conflict` where the id is taken, or the parent is in another tenant; `Invalid` for a
    /// malformed id.
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

    /// Moves a management group, with all that it holds, below `parent` or right below the root of its tenant.
    ///
    /// # Errors
    ///
    /// `NotFound` without the group or the parent; `Conflict` where the parent is in another tenant, or below the group.
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

    /// Adds a subscription to a tenant, in a management group or right below the root; moves it where it exists.
    ///
    /// # Errors
    ///
    /// `NotFound` without the management group; `Conflict` where that is in another tenant.
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

    fn subscriptions(&self) -> Vec<Subscription> {
        let inner = self.read();
        let all = inner.subscriptions.iter();
        all.map(|(id, (tenant, _))| Subscription::new(id.clone(), Some(tenant.clone()))).collect()
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
