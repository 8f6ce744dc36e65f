//! Who is who: told by the host.

use super::caller::Caller;
use super::principal::{ManagementGroupId, PrincipalId, PrincipalKind, TenantId};
use crate::model::SubscriptionId;

/// A caller's account in one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// The tenant.
    pub tenant: TenantId,
    /// The principal that the caller is there.
    pub principal: PrincipalId,
    /// What that is.
    pub kind: PrincipalKind,
    /// Every group that it is in, also through other groups.
    pub groups: Vec<PrincipalId>,
}

impl Membership {
    /// Returns an account that is in no group.
    pub fn new(tenant: TenantId, principal: PrincipalId, kind: PrincipalKind) -> Self {
        Self { tenant, principal, kind, groups: Vec::new() }
    }

    /// Sets the groups that the account is in, directly or through other groups.
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = PrincipalId>) -> Self {
        self.groups = groups.into_iter().collect();
        self
    }
}

/// Who is who: a host's own directory, or a [`MemoryDirectory`](super::MemoryDirectory).
///
/// It is asked at every call, so that what it says is effective for the next one; it must answer from memory.
pub trait Directory: std::fmt::Debug + Send + Sync + 'static {
    /// The accounts of a caller, at most one for each tenant; none for a caller that is not known.
    ///
    /// A user has one in their own tenant, and one as a guest in each that has invited them; an application has a
    /// service principal in each tenant that has consented to it.
    fn memberships(&self, caller: &Caller) -> Vec<Membership>;

    /// The tenant that a user, guest, group or service principal belongs to; `None` where there is no such principal.
    fn tenant_of_principal(&self, principal: &PrincipalId) -> Option<TenantId>;

    /// The tenant that a subscription belongs to.
    fn tenant_of(&self, subscription: &SubscriptionId) -> Option<TenantId>;

    /// The management groups that a subscription is in, from the nearest upwards.
    fn management_groups_of(&self, subscription: &SubscriptionId) -> Vec<ManagementGroupId>;

    /// The management groups above one, from the nearest upwards, and the tenant that it belongs to.
    fn above_management_group(&self, group: &ManagementGroupId) -> (Vec<ManagementGroupId>, Option<TenantId>);
}
