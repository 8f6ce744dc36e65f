//! The directory of users, groups and tenants: supplied by the host.

use super::caller::Caller;
use super::principal::{ManagementGroupId, PrincipalId, PrincipalKind, TenantId};
use crate::model::SubscriptionId;

/// A caller's account in one tenant.
///
/// ```
/// use compute_gallery::access::{Membership, PrincipalKind};
///
/// let guest = Membership::new("fabrikam".parse()?, "ann-at-fabrikam".parse()?, PrincipalKind::Guest);
/// assert_eq!(guest.with_groups(["testers".parse()?]).groups.len(), 1);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// The tenant that the account is in.
    pub tenant: TenantId,
    /// The caller's principal in the tenant.
    pub principal: PrincipalId,
    /// A guest and an application have fewer rights to galleries that are shared with the tenant.
    pub kind: PrincipalKind,
    /// Every group that the principal is in, directly or through other groups.
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

/// Users, groups and tenants: a host's own directory, or a [`MemoryDirectory`](crate::access::MemoryDirectory).
///
/// The service asks it at every call, so a change is effective at the next one; it has to answer from memory.
///
/// ```
/// use compute_gallery::Caller;
/// use compute_gallery::access::*;
/// use compute_gallery::model::SubscriptionId;
///
/// /// One tenant with one subscription; the name of a caller is their id.
/// #[derive(Debug)]
/// struct Lab(TenantId, SubscriptionId);
///
/// impl Directory for Lab {
///     fn memberships(&self, caller: &Caller) -> Vec<Membership> {
///         let principal = caller.as_str().parse().ok();
///         principal.map(|id| Membership::new(self.0.clone(), id, PrincipalKind::User)).into_iter().collect()
///     }
///
///     fn tenant_of_principal(&self, _: &PrincipalId) -> Option<TenantId> {
///         Some(self.0.clone())
///     }
///
///     fn tenant_of(&self, subscription: &SubscriptionId) -> Option<TenantId> {
///         (*subscription == self.1).then(|| self.0.clone())
///     }
///
///     fn management_groups_of(&self, _: &SubscriptionId) -> Vec<ManagementGroupId> {
///         Vec::new()
///     }
///
///     fn above_management_group(&self, _: &ManagementGroupId) -> (Vec<ManagementGroupId>, Option<TenantId>) {
///         (Vec::new(), None)
///     }
/// }
///
/// let lab = Lab("contoso".parse()?, "dev".parse()?);
/// assert_eq!(lab.memberships(&"ann".parse()?)[0].principal, "ann".parse()?);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
pub trait Directory: std::fmt::Debug + Send + Sync + 'static {
    /// Returns the accounts of a caller, at most one for each tenant; none for an unknown caller.
    ///
    /// Azure: a user has an account in their own tenant, and one as a guest in each tenant that invited them; an application has a
    /// service principal in each tenant that consented to it.
    fn memberships(&self, caller: &Caller) -> Vec<Membership>;

    /// Returns the tenant that a principal belongs to; `None` for an unknown principal.
    fn tenant_of_principal(&self, principal: &PrincipalId) -> Option<TenantId>;

    /// Returns the tenant that a subscription belongs to; `None` for an unknown subscription.
    fn tenant_of(&self, subscription: &SubscriptionId) -> Option<TenantId>;

    /// Returns the management groups that a subscription is in, from the nearest upwards.
    fn management_groups_of(&self, subscription: &SubscriptionId) -> Vec<ManagementGroupId>;

    /// Returns the management groups above one, from the nearest upwards, and the tenant that it belongs to.
    fn above_management_group(&self, group: &ManagementGroupId) -> (Vec<ManagementGroupId>, Option<TenantId>);

    /// Returns all subscriptions, by id; none where the directory does not list them.
    fn subscriptions(&self) -> Vec<Subscription> {
        Vec::new()
    }
}

/// A subscription, as a directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The tenant that it belongs to, if that is known.
    pub tenant: Option<TenantId>,
    /// The name for people: the id by default.
    pub display_name: String,
}

impl Subscription {
    /// Returns a subscription whose name for people is its id.
    pub fn new(id: SubscriptionId, tenant: Option<TenantId>) -> Self {
        let display_name = id.to_string();
        Self { id, tenant, display_name }
    }

    /// Returns the subscription as Azure's GET answers it.
    ///
    /// ```
    /// use compute_gallery::access::Subscription;
    ///
    /// let json = Subscription::new("dev".parse()?, Some("contoso".parse()?)).json();
    /// assert_eq!((&json["id"], &json["state"]), (&"/subscriptions/dev".into(), &"Enabled".into()));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    pub fn json(&self) -> serde_json::Value {
        let Self { id, tenant, display_name } = self;
        let mut json = serde_json::json!({
            "id": format!("/subscriptions/{id}"), "subscriptionId": id, "displayName": display_name, "state": "Enabled",
        });
        if let (Some(tenant), Some(json)) = (tenant, json.as_object_mut()) {
            json.insert("tenantId".to_owned(), tenant.to_string().into());
        }
        json
    }
}
