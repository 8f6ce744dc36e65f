//! Subscriptions and resource groups, and who has roles there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::view::{CatalogView, ListPage};
use crate::access::{AccessScope, Action, BuiltInRole, RoleAssignment, RoleDefinition, Subscription, with_above};
use crate::error::{Error, Result};
use crate::model::{Answer, ResourceGroup, ResourceGroupId, SubscriptionId, given};
use crate::service::rules::group::group_missing;
use crate::service::session::inner::Authority;

/// # Subscriptions, resource groups and roles
impl CatalogView {
    /// Returns a resource group.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` (`ResourceGroupNotFound`).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// let absent = sandbox.session().view().resource_group("/subscriptions/dev/resourceGroups/none").unwrap_err();
    /// assert!(absent.to_string().contains("Resource group 'none' could not be found"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap_or(());
    /// ```
    pub fn resource_group(&self, id: impl TryInto<ResourceGroupId, Error: Into<Error>>) -> Result<Arc<ResourceGroup>> {
        let id = &given(id)?;
        self.require(Action::ReadResourceGroup, AccessScope::of_group(id))?;
        let record = self.state().resource_group(id).ok_or_else(|| Error::new(group_missing(id)))?;
        Ok(record.group.clone())
    }

    /// Returns a resource group as Azure's GET answers it.
    ///
    /// # Errors
    ///
    /// As [`resource_group`](Self::resource_group).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let id = "/subscriptions/dev/resourceGroups/web";
    /// session.put_resource_group(id, serde_json::json!({"location": "westeurope", "managedBy": "me"})).await?;
    /// let json = session.view().resource_group_json(id)?;
    /// assert_eq!((&json["name"], &json["managedBy"]), (&"web".into(), &"me".into()));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn resource_group_json(
        &self,
        id: impl TryInto<ResourceGroupId, Error: Into<Error>>,
    ) -> Result<serde_json::Value> {
        let id = &given(id)?;
        let group = self.resource_group(id)?;
        let unmodelled = self.state().resource_group(id).map(|record| &*record.unmodelled);
        let regions = &self.inner().region_catalog;
        Ok(Answer { unmodelled, provisioning_state: "Succeeded", regions }.json(&*group))
    }

    /// Returns at most `limit` resource groups of a subscription after `after`, by name: those that the caller may see.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// assert!(sandbox.session().view().resource_groups(&"dev".parse()?, None, 10).items.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn resource_groups(
        &self,
        subscription: &SubscriptionId,
        after: Option<&ResourceGroupId>,
        limit: usize,
    ) -> ListPage<ResourceGroup, ResourceGroupId> {
        let groups = self.state().resource_groups(after).map(|record| &record.group);
        let inside = groups.filter(|group| group.id().subscription() == subscription);
        let readable = inside.filter(|group| self.may(Action::ReadResourceGroup, AccessScope::of_group(group.id())));
        ListPage::of(readable, limit, |group| group.id().clone())
    }

    /// Returns the subscriptions that the directory lists and in which the caller may see something; those of the catalog's
    /// resources where every caller may do everything, which have no tenant.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// assert_eq!(sandbox.session().view().subscriptions()[0].id, "dev".parse()?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn subscriptions(&self) -> Vec<Subscription> {
        let Authority::Roles { directory, .. } = &self.inner().authority else {
            let galleries = self.state().galleries(None).map(|gallery| gallery.id().subscription());
            let groups = self.state().resource_groups(None).map(|record| record.group.id().subscription());
            let all: BTreeSet<&SubscriptionId> = galleries.chain(groups).collect();
            return all.into_iter().map(|id| Subscription::new(id.clone(), None)).collect();
        };
        let mut subscriptions = directory.subscriptions();
        subscriptions.retain(|subscription| self.sees_in(&subscription.id));
        subscriptions
    }

    /// Whether the caller has a role in a subscription, above it or in it.
    fn sees_in(&self, subscription: &SubscriptionId) -> bool {
        let scope = AccessScope::Subscription(subscription.clone());
        self.may(Action::ReadResourceGroup, scope)
            || self.state().access().assignments().any(|assignment| {
                assignment.scope.subscription() == Some(subscription) && self.rights().is_theirs(assignment)
            })
    }

    /// Returns the roles that can be assigned at a scope: the built-in ones, and those of the host's own.
    ///
    /// # Errors
    ///
    /// `Forbidden`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// let roles = sandbox.session().view().role_definitions(sandbox.image().gallery())?;
    /// let reader = roles.iter().find(|role| role.role_name() == "Reader").unwrap();
    /// let json = reader.json(&sandbox.image().gallery().into());
    /// assert_eq!(json["properties"]["permissions"][0]["actions"][0], "*/read");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn role_definitions(&self, scope: impl Into<AccessScope>) -> Result<Vec<Arc<RoleDefinition>>> {
        let scope = scope.into();
        self.require(Action::ReadRoleDefinition, scope.clone())?;
        let above = self.above(&scope);
        let built_in = BuiltInRole::ALL.iter().map(|role| Arc::new(role.definition()));
        let own = self.state().access().custom_roles().filter(|role| role.problem_with(&scope, &above).is_none());
        Ok(built_in.chain(own.cloned()).collect())
    }

    /// Returns the role assignments that hold at a scope, given there or above, which the caller may see (Azure: the filter
    /// `atScope()`).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// assert!(sandbox.session().view().role_assignments_at(sandbox.image().gallery()).is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn role_assignments_at(&self, scope: impl Into<AccessScope>) -> Vec<Arc<RoleAssignment>> {
        let scope = scope.into();
        let above = self.above(&scope);
        let holds = |one: &Arc<RoleAssignment>| {
            (one.scope == scope || above.contains(&one.scope))
                && self.may(Action::ReadRoleAssignment, one.scope.clone())
                && self.rights().stands(self.state(), &one.scope)
        };
        self.state().access().assignments().filter(|one| holds(one)).cloned().collect()
    }

    /// The scopes above a scope, and itself.
    fn above(&self, scope: &AccessScope) -> Vec<AccessScope> {
        match &self.inner().authority {
            Authority::Roles { directory, .. } => with_above(&**directory, scope),
            Authority::AllowAll => std::iter::successors(Some(scope.clone()), AccessScope::parent).collect(),
        }
    }
}
