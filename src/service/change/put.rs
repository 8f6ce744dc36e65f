//! Create or update: one operation for a resource that is there or not.

use std::sync::Arc;

use super::resources::may_not_switch_soft_delete;
use crate::access::Action;
use crate::catalog::{Changes, Event, OperationId, OperationKind, State};
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, Readable, Request, Requested, ResourceId, differences,
    given,
};
use crate::service::rules;
use crate::service::rules::refusals::{deleting, missing};
use crate::service::session::inner::Inner;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// The creation or update of a resource, which has not started. Await it to make it, or call [`plan`](Self::plan) first. It is
/// decided and made in one commit.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::change::Effect;
/// use serde_json::json;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Other";
/// let put = |text: &str| session.put_gallery(id, json!({"location": "westeurope", "properties": {"description": text}}));
/// assert_eq!(put("Golden images").await?.effect, Effect::Created);
/// let there = put("Golden images").await?;
/// assert_eq!(there.effect, Effect::Unchanged);
/// put("Images of the web team").await?;
/// // Another has changed it since.
/// let late = put("Silver images").if_unchanged_since(there.revision).await.unwrap_err();
/// assert_eq!(late.code(), "PreconditionFailed");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing changes before it is awaited"]
pub struct Put<T: Send + 'static>(Pending<PutWork<T>>);

/// What a [`Put`] has come to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Applied<T> {
    /// The resource as it is now.
    pub resource: T,
    /// Whether it was created, changed, or there already.
    pub effect: Effect,
    /// The number of the commit that created it or last changed it.
    pub revision: u64,
    /// What tells how far it is, for a version that is not [`Unchanged`](Effect::Unchanged), or is under way. Other resources are there at once.
    pub operation: Option<OperationId>,
}

/// What became of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It was not there.
    Created,
    /// It has other properties now.
    Updated,
    /// It was there and equal: nothing was written.
    Unchanged,
}

/// What a put would do to a state.
pub(crate) struct Judged<T> {
    pub(crate) resource: T,
    pub(crate) effect: Effect,
    pub(crate) plan: Plan,
}

type Judge<T> = dyn Fn(&State, &Inner) -> Result<Judged<T>> + Send + Sync;

type Revision = dyn Fn(&State) -> Option<u64> + Send + Sync;

struct PutWork<T> {
    session: Session,
    needs: Vec<Need>,
    judge: Arc<Judge<T>>,
    /// The revision of the resource in a state.
    revision: Arc<Revision>,
    target: Arc<str>,
    unchanged_since: Option<u64>,
    /// The id of the operation that it is recorded as.
    operation: Option<OperationId>,
}

impl<T> Clone for PutWork<T> {
    fn clone(&self) -> Self {
        let Self { session, needs, judge, revision, target, unchanged_since, operation } = self;
        let (judge, revision, target) = (judge.clone(), revision.clone(), target.clone());
        let (session, needs, unchanged_since) = (session.clone(), needs.clone(), *unchanged_since);
        Self { session, needs, judge, revision, target, unchanged_since, operation: *operation }
    }
}

impl<T: Send + 'static> std::fmt::Debug for Put<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Put").field(&self.0.work().map(|work| work.target.clone())).finish()
    }
}

impl<T: Send + 'static> Put<T> {
    /// Makes a put of the resource `target`, from the permissions that it needs, its revision in a state, and a judge.
    pub(crate) fn new(
        session: &Session,
        needs: Vec<Need>,
        target: impl std::fmt::Display,
        revision: impl Fn(&State) -> Option<u64> + Send + Sync + 'static,
        judge: impl Fn(&State, &Inner) -> Result<Judged<T>> + Send + Sync + 'static,
    ) -> Self {
        let (session, target) = (session.clone(), target.to_string().into());
        let (judge, revision) = (Arc::new(judge), Arc::new(revision));
        let (unchanged_since, operation) = (None, None);
        Self(Pending::new(Ok(PutWork { session, needs, judge, revision, target, unchanged_since, operation })))
    }

    /// Makes a put of a resource whose id may have been given as text.
    pub(crate) fn of<I>(id: Result<I>, put: impl FnOnce(I) -> Self) -> Self {
        id.map_or_else(|error: Error| Self(Pending::new(Err(error))), put)
    }

    /// Refuses it with `Conflict` (`PreconditionFailed`) if the resource was changed after commit `revision`, or is not there.
    /// Azure has no such condition.
    pub fn if_unchanged_since(mut self, revision: u64) -> Self {
        self.0.set(|work| work.unchanged_since = Some(revision));
        self
    }

    /// Records it as an operation, in the same commit, unless nothing changes. The operation of a version has an id of its own.
    #[cfg(feature = "arm")]
    pub(crate) fn recorded_as(mut self, id: OperationId) -> Self {
        self.0.set(|work| work.operation = Some(id));
        self
    }

    /// Returns what would be committed now, or every problem with it.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` if the catalog cannot be read. Problems with the request are in the plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let body = serde_json::json!({"properties": {"osType": "linux", "osState": "frozen"}});
    /// let plan = session.put_image_definition(sandbox.image().gallery().image("db".parse()?), body).plan().await?;
    /// // No location, no such state, no identifier.
    /// assert_eq!(plan.problems.len(), 3);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(Put<T>, Applied<T>);

impl<T: Send + 'static> PutWork<T> {
    fn judge(&self, state: &State) -> Result<Judged<T>> {
        if let Some(known) = self.unchanged_since {
            let now = (self.revision)(state);
            if now.is_none_or(|now| now > known) {
                let what = match now {
                    Some(now) => format!("it was changed by commit `{now}`, after `{known}`"),
                    None => "it is not there".to_owned(),
                };
                let problem = Problem::new(ErrorKind::Conflict, "PreconditionFailed", &*self.target, what);
                return Err(Error::new(problem.with_advice("read it again, and decide anew")));
            }
        }
        if let Some(deletion) = self.needs.first().and_then(|need| deleting(state, &need.scope)) {
            return Err(Error::new(deletion));
        }
        let judged = (self.judge)(state, &self.session.inner)?;
        judged.plan.check()?;
        Ok(judged)
    }
}

impl<T: Send + 'static> Work for PutWork<T> {
    type Output = Applied<T>;

    async fn plan(&self) -> Result<Plan> {
        let state = self.session.state().await?;
        if let Err(problems) = self.session.rights().require(&state, &self.needs) {
            return Ok(Plan::refused(problems));
        }
        Ok(self.judge(&state).map_or_else(|error| Plan::refused(error.into_problems()), |judged| judged.plan))
    }

    async fn run(self) -> Result<Applied<T>> {
        let (session, work) = (self.session.clone(), self);
        let check = move |state: &State| {
            let authorization = work.session.authorize(state, &work.needs)?;
            let Judged { resource, effect, plan } = work.judge(state)?;
            let next = state.number() + 1;
            let revision = match effect {
                Effect::Unchanged => (work.revision)(state).unwrap_or(next),
                Effect::Created | Effect::Updated => next,
            };
            let kind = if effect == Effect::Created { OperationKind::Create } else { OperationKind::Update };
            let plan = plan.recording(state, work.operation, kind, work.needs.first().map(|need| &need.scope))?;
            let operation = plan.operation;
            Ok((Changes { events: plan.events, authorization }, Applied { resource, effect, revision, operation }))
        };
        let (_, applied) = session.inner.catalog.commit_found(&session.caller, check).await?;
        Ok(applied)
    }
}

impl Plan {
    /// Adds what the model does not have of a resource, where it differs from what is kept; a changed resource is written first.
    pub(crate) fn keeping(mut self, state: &State, id: ResourceId, unmodelled: &str) -> Self {
        if state.unmodelled(&id).unwrap_or_default() != unmodelled && self.is_possible() {
            self.events.push(Event::UnmodelledSet { of: id, properties: unmodelled.to_owned() });
        }
        self
    }
}

impl Request {
    /// Reads the request for a resource that is `there` in a state; a PATCH of an absent one is refused.
    pub(crate) fn judged<T: Readable>(&self, state: &State, id: &T::Id, there: Option<&T>) -> Result<Requested<T>>
    where
        T::Id: Into<ResourceId>,
    {
        if self.is_patch() && there.is_none() {
            return Err(Error::new(missing(id.clone())));
        }
        let resource: ResourceId = id.clone().into();
        self.read(id.clone(), there.map(|there| (there, state.unmodelled(&resource))))
    }
}

/// # Create or update, as Azure's PUT and PATCH
impl Session {
    /// Creates a gallery, changes it, or finds it as it is asked for. A body without `sharingProfile` or `softDeletePolicy` leaves
    /// them as they are.
    ///
    /// # Errors
    ///
    /// Those of [`create_gallery`](Self::create_gallery) and [`update_gallery`](Self::update_gallery), all problems at once, each
    /// with the path of its property; `NotFound` for a PATCH of an absent gallery.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::Request;
    /// use serde_json::json;
    ///
    /// let id = sandbox.image().gallery();
    /// let put = session.put_gallery(id, Request::patch(json!({"tags": {"team": "web"}}))).await?;
    /// assert_eq!(put.resource.tags().iter().next(), Some(("team", "web")));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn put_gallery(
        &self,
        id: impl TryInto<GalleryId, Error: Into<Error>>,
        request: impl Into<Request>,
    ) -> Put<Gallery> {
        let request = request.into();
        Put::of(given(id), |id: GalleryId| {
            let (needs, target, rights) = (vec![Need::new(Action::WriteGallery, &id)], id.clone(), self.clone());
            let revision = revision_of(&id);
            let judge = move |state: &State, inner: &Inner| {
                let there = state.gallery(&id);
                let Requested { resource, unmodelled } = request.judged(state, &id, there.map(|there| &**there))?;
                let rights = rights.rights();
                let Some(old) = there else {
                    let mut problems = rules::gallery::create_gallery(state, inner, &rights, &resource);
                    if resource.soft_delete_policy().is_enabled() {
                        problems.extend(may_not_switch_soft_delete(&rights, state, &id));
                    }
                    let plan = Plan::of_event(problems, Event::GalleryCreated { gallery: resource.clone() });
                    let plan = plan.keeping(state, id.clone().into(), &unmodelled);
                    return Ok(Judged { resource, effect: Effect::Created, plan });
                };
                let gallery = resource.spelled_as(old);
                let is_kept = state.unmodelled(&id.clone().into()).unwrap_or_default() == unmodelled;
                if differences(&**old, &gallery).is_empty() && is_kept {
                    return Ok(Judged::unchanged(Gallery::clone(old)));
                }
                let mut problems = rules::gallery::update_gallery(state, old, &gallery);
                if old.soft_delete_policy() != gallery.soft_delete_policy() {
                    problems.extend(may_not_switch_soft_delete(&rights, state, &id));
                }
                let plan = Plan::of_event(problems, Event::GalleryUpdated { gallery: gallery.clone() });
                let plan = plan.keeping(state, id.clone().into(), &unmodelled);
                Ok(Judged { resource: gallery, effect: Effect::Updated, plan })
            };
            Put::new(self, needs, target, revision, judge)
        })
    }

    /// Creates an image definition, changes it, or finds it as it is asked for. What cannot be changed and is left out of the body
    /// stays as it is. Features change with `allowUpdateImage`, as in Azure.
    ///
    /// # Errors
    ///
    /// Those of [`create_image_definition`](Self::create_image_definition) and
    /// [`update_image_definition`](Self::update_image_definition), all problems at once, each with the path of its property;
    /// `NotFound` for a PATCH of an absent definition.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::OsType;
    /// use serde_json::json;
    ///
    /// let id = sandbox.image().gallery().image("database".parse()?);
    /// let identifier = json!({"publisher": "Contoso", "offer": "Database", "sku": "Standard"});
    /// let properties = json!({"osType": "linux", "osState": "generalized", "identifier": identifier, "features": null});
    /// let put = session.put_image_definition(&id, json!({"location": "West Europe", "properties": properties})).await?;
    /// assert_eq!(put.resource.os_type(), OsType::Linux);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn put_image_definition(
        &self,
        id: impl TryInto<ImageDefinitionId, Error: Into<Error>>,
        request: impl Into<Request>,
    ) -> Put<ImageDefinition> {
        let request = request.into();
        Put::of(given(id), |id: ImageDefinitionId| {
            let (needs, target, rights) = (vec![Need::new(Action::WriteImage, &id)], id.clone(), self.clone());
            let revision = revision_of(&id);
            let judge = move |state: &State, inner: &Inner| {
                let there = state.definition(&id);
                let Requested { resource, unmodelled } = request.judged(state, &id, there.map(|there| &**there))?;
                let Some(old) = there else {
                    let problems = rules::definition::create_definition(state, inner, &rights.rights(), &resource);
                    let plan = Plan::of_event(problems, Event::ImageDefinitionCreated { definition: resource.clone() });
                    let plan = plan.keeping(state, id.clone().into(), &unmodelled);
                    return Ok(Judged { resource, effect: Effect::Created, plan });
                };
                let definition = resource.spelled_as(old);
                let is_kept = state.unmodelled(&id.clone().into()).unwrap_or_default() == unmodelled;
                if differences(&**old, &definition).is_empty() && is_kept {
                    return Ok(Judged::unchanged(ImageDefinition::clone(old)));
                }
                let features = request.asks_for("allowUpdateImage");
                let problems = rules::definition::change_definition(old, &definition, inner.clock.now(), features);
                let event = Event::ImageDefinitionUpdated { definition: definition.clone() };
                let plan = Plan::of_event(problems, event).keeping(state, id.clone().into(), &unmodelled);
                Ok(Judged { resource: definition, effect: Effect::Updated, plan })
            };
            Put::new(self, needs, target, revision, judge)
        })
    }
}

/// The revision of a resource in a state.
pub(crate) fn revision_of<I: Into<ResourceId> + Clone>(
    id: &I,
) -> impl Fn(&State) -> Option<u64> + Send + Sync + 'static {
    let id: ResourceId = id.clone().into();
    move |state| state.revision(&id)
}

impl<T> Judged<T> {
    /// Nothing is to be done.
    pub(crate) fn unchanged(resource: T) -> Self {
        Self { resource, effect: Effect::Unchanged, plan: Plan::default() }
    }
}
