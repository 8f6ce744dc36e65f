//! Deletions: of one resource, or of a resource and its children.

use chrono::{DateTime, Utc};

use super::pending::Change;
use super::resources::may_not_switch_soft_delete;
use crate::catalog::{Changes, Event, Extent, OperationId, OperationKind, OperationRecord, State, VersionRecord};
use crate::error::{Error, Problem, Result};
use crate::model::{
    GalleryId, ImageDefinitionId, ImageVersionId, ResourceGroupId, ResourceGroupName, ResourceId, SoftDeletePolicy,
    SubscriptionId, given,
};
use crate::service::rules;
use crate::service::rules::refusals::{deleting, has_children};
use crate::service::session::call::Call;
use crate::service::session::inner::Inner;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::rights::{Need, Rights, delete_action};
use crate::service::session::session::Session;

/// A deletion that has not started. Await it to run it, or call [`plan`](Self::plan) first. It resolves to the deleted
/// resources, children first; to none if the resource did not exist.
///
/// Nothing can be deployed from a deleted resource. Its bytes stay until a [collection](crate::Session::collect).
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let deleted = session.delete(image).cascade().await?;
/// assert_eq!(deleted, [version.into(), image.into()]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is deleted before it is awaited"]
pub struct Deletion(Pending<DeletionWork>);

#[derive(Clone)]
struct DeletionWork {
    session: Session,
    id: ResourceId,
    how: Extent,
    /// The id of the operation that it is recorded as.
    operation: Option<OperationId>,
    /// The operation that has announced it: it is made only while that is under way.
    announced_as: Option<OperationId>,
}

impl std::fmt::Debug for Deletion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Deletion").field(&self.0.work().map(|work| (&work.id, work.how))).finish()
    }
}

/// # Deleting
impl Session {
    /// Deletes a gallery, definition, version, managed image or snapshot. Deleting a resource that does not exist succeeds.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Conflict` if it has children (`CannotDeleteResource`) or its safety profile forbids it; `Unsupported`
    /// for a disk or VM, which the gallery does not keep; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// session.delete(&version).await?;
    /// assert!(session.view().image_version(&version).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn delete(&self, id: impl TryInto<ResourceId, Error: Into<Error>>) -> Deletion {
        let (how, operation, announced_as) = (Extent::default(), None, None);
        let work = |id| DeletionWork { session: self.clone(), id, how, operation, announced_as };
        Deletion(Pending::new(given(id).map(work)))
    }
}

impl Deletion {
    /// Deletes the children too, and versions permanently: see [`bypass_soft_delete`](Self::bypass_soft_delete).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// assert!(session.delete(image).await.is_err());
    /// assert_eq!(session.delete(image).cascade().await?.len(), 2);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn cascade(mut self) -> Self {
        self.0.set(|work| work.how.cascade = true);
        self
    }

    /// Deletes versions permanently, even if the gallery's policy would keep them restorable or they are restorable
    /// already. It needs the permission to switch the policy.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// session.delete(&version).bypass_soft_delete().await?;
    /// assert!(session.view().soft_deleted_versions(image)?.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn bypass_soft_delete(mut self) -> Self {
        self.0.set(|work| work.how.bypass_soft_delete = true);
        self
    }

    /// Makes it the one that an operation has announced. Once that has ended it deletes nothing: it was cancelled, or what has the id now is
    /// another resource.
    pub(crate) fn announced_by(mut self, operation: &OperationRecord) -> Self {
        let (how, id) = (operation.extent.unwrap_or_default(), operation.id);
        self.0.set(|work| (work.how, work.announced_as) = (how, Some(id)));
        self
    }

    /// Records it as an operation, in the same commit, unless nothing is deleted.
    #[cfg(feature = "arm")]
    pub(crate) fn recorded_as(mut self, id: OperationId) -> Self {
        self.0.set(|work| work.operation = Some(id));
        self
    }

    /// Marks the resource for deletion, and returns the operation that tells what becomes of it: `None` if there is no such resource.
    /// A [driver](crate::drive::Driver) deletes it.
    ///
    /// Until then it is `Deleting`, with all that is in it: it is read and listed, it does not change, nothing is created in it or made of it, and it is
    /// neither the latest nor deployed. Access to it can be taken away. If it cannot be deleted after all, the operation fails, and it is as it was.
    ///
    /// # Errors
    ///
    /// Those of the deletion; `Conflict` if it is marked already, for a deletion that can be undone, and is to be deleted permanently.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::{OperationStatus, ProvisioningState};
    ///
    /// let version = sandbox.version("1.0.0");
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let operation = session.delete(&version).begin().await?.unwrap();
    /// assert_eq!(session.view().provisioning(&version)?.state, ProvisioningState::Deleting);
    /// session.driver().step().await?;
    /// assert_eq!(session.view().operation(operation)?.status, OperationStatus::Succeeded);
    /// assert!(session.view().image_version(&version).is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn begin(self) -> Result<Option<OperationId>> {
        let work = self.0.into_work()?;
        let (session, drawn) = (work.session.clone(), OperationId::from_bytes(work.session.inner.draw()?));
        let check = move |state: &State| {
            let needs = vec![Need::new(delete_action(&work.id), work.id.clone())];
            let authorization = work.session.authorize(state, &needs)?;
            let none = Changes { events: Vec::new(), authorization: authorization.clone() };
            let open = state.operation_of(work.id.clone()).filter(|open| open.kind == OperationKind::Delete);
            if let Some(open) = open {
                // It would keep what is to be gone for good.
                let is_less = work.how.bypass_soft_delete && !open.extent.unwrap_or_default().bypass_soft_delete;
                Error::from_problems(
                    deleting(state, &work.id.clone().into()).filter(|_| is_less).into_iter().collect(),
                )?;
                return Ok((none, Some(open.id)));
            }
            let plan = Judge::new(state, &work.session.inner, work.how, work.session.rights()).delete(&work.id);
            plan.check()?;
            if plan.deletes.is_empty() {
                return Ok((none, None));
            }
            let (kind, resource, extent) = (OperationKind::Delete, work.id.clone().into(), Some(work.how));
            let begun = Event::OperationBegun { operation: drawn, kind, resource, extent, done: false };
            Ok((Changes { events: vec![begun], authorization }, Some(drawn)))
        };
        let (_, operation) = session.inner.catalog.commit_found(&session.caller, check).await?;
        Ok(operation)
    }

    /// Returns the resources that would be deleted, or every problem.
    ///
    /// # Errors
    ///
    /// As [`Change::plan`].
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let plan = session.delete(&version).plan().await?;
    /// assert_eq!(plan.deletes, [version.clone().into()]);
    /// // Nothing was deleted.
    /// assert!(session.view().image_version(&version).is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(Deletion, Vec<ResourceId>);

impl DeletionWork {
    fn change(&self) -> Change<Vec<ResourceId>> {
        let (id, how, session, announced_as) = (self.id.clone(), self.how, self.session.clone(), self.announced_as);
        let needs = vec![Need::new(delete_action(&id), id.clone())];
        let judge = move |state: &State, inner: &Inner| match announced_as {
            Some(operation) if !state.is_under_way(operation) => Plan::default(),
            _ => Judge::new(state, inner, how, session.rights()).delete(&id),
        };
        let change = Change::new(&self.session, needs, judge, |plan| plan.deletes).of_kind(OperationKind::Delete);
        change.recorded_as(self.operation)
    }
}

impl Work for DeletionWork {
    type Output = Vec<ResourceId>;

    async fn plan(&self) -> Result<Plan> {
        self.change().plan().await
    }

    fn call(&self) -> Option<Call> {
        // The change that it becomes is told of.
        None
    }

    async fn run(self) -> Result<Self::Output> {
        self.change().await
    }
}

pub(super) struct Judge<'a> {
    state: &'a State,
    /// A time that has surely passed.
    now: DateTime<Utc>,
    /// The latest time of any clock.
    clock: DateTime<Utc>,
    how: Extent,
    rights: Rights,
}

impl<'a> Judge<'a> {
    pub(super) fn new(state: &'a State, inner: &Inner, how: Extent, rights: Rights) -> Self {
        Self { state, now: inner.log_time(), clock: inner.catalog.latest_time(), how, rights }
    }

    /// Deletes a resource group with what the catalog has in it.
    pub(super) fn group(&self, id: &ResourceGroupId) -> Plan {
        let mut plan = Plan::default();
        let inside = |subscription: &SubscriptionId, name: &ResourceGroupName| {
            (subscription, name) == (id.subscription(), id.name())
        };
        let galleries = self.state.galleries(None).map(|gallery| gallery.id());
        let galleries: Vec<_> =
            galleries.filter(|gallery| inside(gallery.subscription(), gallery.resource_group())).collect();
        for gallery in galleries {
            self.may_delete(&gallery.into(), &mut plan);
            self.gallery(gallery, &mut plan);
        }
        let images = self.state.managed_images(None).map(|record| record.resource.id());
        for image in images.filter(|image| inside(image.subscription(), image.resource_group())) {
            self.may_delete(&image.into(), &mut plan);
            plan.delete(image.into(), Event::ManagedImageDeleted { image: image.clone() });
        }
        let snapshots = self.state.snapshots(None).map(|record| record.resource.id());
        for snapshot in snapshots.filter(|snapshot| inside(snapshot.subscription(), snapshot.resource_group())) {
            self.may_delete(&snapshot.into(), &mut plan);
            plan.delete(snapshot.into(), Event::SnapshotDeleted { snapshot: snapshot.clone() });
        }
        let named = self.state.all_named(None).map(|record| record.source.id());
        for id in named.filter(|id| inside(id.resource_group().0, id.resource_group().1)) {
            self.may_delete(id, &mut plan);
            self.named(id, &mut plan);
        }
        plan.events.push(Event::ResourceGroupDeleted { group: id.clone() });
        if !plan.problems.is_empty() {
            (plan.events, plan.deletes) = (Vec::new(), Vec::new());
        }
        plan
    }
}

impl Judge<'_> {
    /// A child may be denied to a caller who may delete the parent.
    fn may_delete(&self, id: &ResourceId, plan: &mut Plan) {
        let needs = [Need::new(delete_action(id), id.clone())];
        let Err(refused) = self.rights.require(self.state, &needs) else { return };
        if self.rights.may_see(self.state, id) {
            plan.problems.extend(refused);
        } else if !plan.problems.iter().any(|problem| problem.target() == "cascade") {
            let what = "it contains a resource that you may neither see nor delete: ask its owner";
            plan.problems.push(Problem::forbidden("cascade", what));
        }
    }

    fn seen(&self, children: Vec<ResourceId>) -> (usize, Vec<ResourceId>) {
        let count = children.len();
        (count, children.into_iter().filter(|id| self.rights.may_see(self.state, id)).collect())
    }

    pub(super) fn delete(&self, id: &ResourceId) -> Plan {
        let mut plan = Plan::default();
        match id {
            ResourceId::Gallery(id) => self.gallery(id, &mut plan),
            ResourceId::ImageDefinition(id) => self.definition(id, &mut plan),
            ResourceId::ImageVersion(version) => {
                let there = self.state.version(version).filter(|record| !self.state.is_gone(record, self.now));
                if let Some(record) = there {
                    self.version(record, self.how.bypass_soft_delete, &mut plan);
                } else if self.state.incomplete(version).is_some() {
                    self.incomplete(version, &mut plan);
                }
            }
            ResourceId::ManagedImage(image) => {
                if self.state.managed_image(image).is_some() {
                    plan.delete(id.clone(), Event::ManagedImageDeleted { image: image.clone() });
                } else {
                    self.named(id, &mut plan);
                }
            }
            ResourceId::Snapshot(snapshot) => {
                if self.state.snapshot(snapshot).is_some() {
                    plan.delete(id.clone(), Event::SnapshotDeleted { snapshot: snapshot.clone() });
                } else {
                    self.named(id, &mut plan);
                }
            }
            ResourceId::Disk(_) => self.named(id, &mut plan),
            ResourceId::VirtualMachine(_) | ResourceId::StorageAccount(_) => {
                let what = "the gallery keeps no VMs and storage accounts: delete it with the service that keeps it";
                plan.problems.push(Problem::unsupported(id.to_string(), what));
            }
        }
        if !plan.problems.is_empty() {
            (plan.events, plan.deletes) = (Vec::new(), Vec::new());
        }
        plan
    }

    fn gallery(&self, id: &GalleryId, plan: &mut Plan) {
        if self.state.gallery(id).is_none() {
            return;
        }
        if self.state.sharing(id).is_some_and(|sharing| sharing.public_name.is_some()) {
            let what = "it is a community gallery: reset its sharing first";
            let problem = Problem::conflict(id.to_string(), what);
            plan.problems.push(problem);
        }
        let children: Vec<_> = self.state.definitions(id, None).map(|definition| definition.id().clone()).collect();
        if self.how.cascade {
            children.iter().for_each(|child| self.definition(child, plan));
        } else {
            let children: Vec<ResourceId> = children.into_iter().map(Into::into).collect();
            let (count, seen) = self.seen(children);
            plan.problems.extend(has_children(id, count, &seen));
        }
        plan.delete(id.clone().into(), Event::GalleryDeleted { gallery: id.clone() });
    }

    fn definition(&self, id: &ImageDefinitionId, plan: &mut Plan) {
        if self.state.definition(id).is_none() {
            return;
        }
        let children = || self.state.versions(id, None).filter(|record| !self.state.is_gone(record, self.now));
        if self.how.cascade {
            // A version cannot be restored into a deleted definition.
            children().for_each(|record| self.version(record, true, plan));
            self.state.incomplete_of(id, None).for_each(|record| self.incomplete(record.version.id(), plan));
        } else {
            let children = children().map(|record| record.version.id());
            let incomplete = self.state.incomplete_of(id, None).map(|record| record.version.id());
            let children: Vec<ResourceId> = children.chain(incomplete).map(|id| id.clone().into()).collect();
            let (count, seen) = self.seen(children);
            plan.problems.extend(has_children(id, count, &seen));
        }
        self.may_delete(&id.into(), plan);
        plan.delete(id.clone().into(), Event::ImageDefinitionDeleted { definition: id.clone() });
    }

    fn named(&self, id: &ResourceId, plan: &mut Plan) {
        if self.state.named_source(id).is_some() {
            plan.delete(id.clone(), Event::SourceForgotten { source: id.clone() });
        }
    }

    /// Deletes a version that has no content yet: there is nothing to restore.
    fn incomplete(&self, id: &ImageVersionId, plan: &mut Plan) {
        self.may_delete(&id.into(), plan);
        plan.delete(id.into(), Event::ImageVersionDeleted { version: id.clone(), restorable_until: None });
    }

    fn version(&self, record: &VersionRecord, for_good: bool, plan: &mut Plan) {
        let id = record.version.id();
        let gallery = self.state.gallery(id.definition().gallery());
        let policy = gallery.map(|gallery| gallery.soft_delete_policy()).filter(|policy| policy.is_enabled());
        let keeps = policy.filter(|_| !for_good);
        if keeps.is_some() && record.soft_deleted.is_some() {
            return;
        }
        if keeps.is_none() && (policy.is_some() || record.soft_deleted.is_some()) {
            // A restorable version would be deleted permanently.
            let refused = may_not_switch_soft_delete(&self.rights, self.state, id.definition().gallery());
            plan.problems.extend(refused.into_iter().filter(|one| !plan.problems.contains(one)).collect::<Vec<_>>());
        }
        // Not by this machine's clock alone, which may be behind: late is safe, early is not.
        let from = self.clock.max(self.state.time());
        let until =
            |policy: SoftDeletePolicy| from.checked_add_signed(policy.retention())?.checked_add_signed(policy.grace());
        let restorable_until = keeps.map(|policy| until(policy).unwrap_or(DateTime::<Utc>::MAX_UTC));
        self.may_delete(&id.into(), plan);
        plan.problems.extend(rules::version::delete_version(&record.version, self.now));
        plan.delete(id.clone().into(), Event::ImageVersionDeleted { version: id.clone(), restorable_until });
    }
}

impl Plan {
    fn delete(&mut self, id: ResourceId, event: Event) {
        self.deletes.push(id);
        self.events.push(event);
    }
}
