//! Resource groups: created, changed, and deleted with everything in them.

use super::delete::Judge;
use super::pending::Change;
use super::put::{Effect, Judged, Put};
use crate::access::{AccessScope, Action};
use crate::catalog::{Event, Extent, OperationKind, State};
use crate::error::Error;
use crate::model::{Request, Requested, ResourceGroup, ResourceGroupId, ResourceId, differences, given};
use crate::service::rules::group::{group_missing, moved, subscription_missing};
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// # Resource groups
impl Session {
    /// Creates a resource group, changes its tags, or finds it as it is asked for.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Invalid`, with all problems; `Conflict` (`InvalidResourceGroupLocation`) for another location; `NotFound` for a
    /// PATCH of an absent group, and for a subscription that the directory does not know if groups are required; `Unavailable`,
    /// `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let id = "/subscriptions/dev/resourceGroups/web";
    /// session.put_resource_group(id, serde_json::json!({"location": "westeurope", "tags": {"team": "web"}})).await?;
    /// assert_eq!(session.view().resource_group(id)?.location().as_str(), "westeurope");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn put_resource_group(
        &self,
        id: impl TryInto<ResourceGroupId, Error: Into<Error>>,
        request: impl Into<Request>,
    ) -> Put<ResourceGroup> {
        let request = request.into();
        Put::of(given(id), |id: ResourceGroupId| {
            let needs = vec![Need::new(Action::WriteResourceGroup, AccessScope::of_group(&id))];
            let (target, of) = (id.clone(), id.clone());
            let revision = move |state: &State| state.resource_group(&of).map(|record| record.revision);
            let judge = move |state: &State, inner: &Inner| {
                let there = state.resource_group(&id);
                if request.is_patch() && there.is_none() {
                    return Err(Error::new(group_missing(&id)));
                }
                let known = there.map(|record| (&*record.group, Some(&*record.unmodelled)));
                let Requested { resource, unmodelled } = request.read(id.clone(), known)?;
                let Some(record) = there else {
                    let kind = "Microsoft.Resources/resourceGroups";
                    let problems = subscription_missing(inner, id.subscription()).into_iter();
                    let unknown = inner.region_catalog.problem_with_location(kind, resource.location());
                    let event = Event::ResourceGroupPut { group: resource.clone(), unmodelled };
                    let plan = Plan::of_event(problems.chain(unknown).collect(), event);
                    return Ok(Judged { resource, effect: Effect::Created, plan });
                };
                let group = resource.spelled_as(&record.group);
                if differences(&*record.group, &group).is_empty() && *record.unmodelled == *unmodelled {
                    return Ok(Judged::unchanged(ResourceGroup::clone(&record.group)));
                }
                let problems = moved(&record.group, &group).into_iter().collect();
                let plan = Plan::of_event(problems, Event::ResourceGroupPut { group: group.clone(), unmodelled });
                Ok(Judged { resource: group, effect: Effect::Updated, plan })
            };
            Put::new(self, needs, target, revision, judge)
        })
    }

    /// Deletes a resource group with everything in it that the catalog has, in one commit; returns what was deleted, children first.
    /// Versions in it cannot be restored.
    ///
    /// # Errors
    ///
    /// `Forbidden` if the caller may not delete all of it; `NotFound` (`ResourceGroupNotFound`); `Conflict` for a version that is
    /// protected, and for a community gallery; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let gallery = sandbox.image().gallery();
    /// let id = format!("/subscriptions/{}/resourceGroups/{}", gallery.subscription(), gallery.resource_group());
    /// session.put_resource_group(&*id, serde_json::json!({"location": "westeurope"})).await?;
    /// let deleted = session.delete_resource_group(&*id).await?;
    /// assert_eq!(deleted, [sandbox.image().into(), gallery.into()]);
    /// assert_eq!(session.view().resource_group(&*id).unwrap_err().code(), "ResourceGroupNotFound");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn delete_resource_group(
        &self,
        id: impl TryInto<ResourceGroupId, Error: Into<Error>>,
    ) -> Change<Vec<ResourceId>> {
        Change::of(given(id), |id: ResourceGroupId| {
            let (session, needs) =
                (self.clone(), vec![Need::new(Action::DeleteResourceGroup, AccessScope::of_group(&id))]);
            let judge = move |state: &State, inner: &Inner| {
                if state.resource_group(&id).is_none() {
                    return Plan::refused(vec![group_missing(&id)]);
                }
                let how = Extent { cascade: true, bypass_soft_delete: true };
                Judge::new(state, inner, how, session.rights()).group(&id)
            };
            Change::new(self, needs, judge, |plan| plan.deletes).of_kind(OperationKind::Delete)
        })
    }
}
