//! A change of the catalog that has not started.

use std::sync::Arc;

use crate::catalog::{Changes, OperationId, OperationKind, State};
use crate::error::{Error, Result};
use crate::service::rules::refusals::deleting;
use crate::service::session::call::Call;
use crate::service::session::inner::Inner;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

type Judge = dyn Fn(&State, &Inner) -> Plan + Send + Sync;

/// A change of the catalog that has not started. Await it to make it, or call [`plan`](Self::plan) first. It is made in one
/// commit: all of it, or nothing.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::model::Gallery;
///
/// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Other".parse()?;
/// let change = session.create_gallery(Gallery::new(id, "westeurope".parse()?));
/// assert!(change.plan().await?.is_possible());
/// let gallery = change.await?;
/// assert_eq!(session.view().gallery(gallery.id())?.location(), gallery.location());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing changes before it is awaited"]
pub struct Change<T: Send + 'static>(Pending<ChangeWork<T>>);

struct ChangeWork<T> {
    session: Session,
    needs: Vec<Need>,
    judge: Arc<Judge>,
    outcome: Arc<dyn Fn(Plan) -> T + Send + Sync>,
    /// What it does to the resource of its first need.
    kind: OperationKind,
    /// Whether it is made of what is marked for deletion, too.
    of_marked: bool,
    /// The id of the operation that it is recorded as.
    operation: Option<OperationId>,
}

impl<T> Clone for ChangeWork<T> {
    fn clone(&self) -> Self {
        let Self { session, needs, judge, outcome, kind, of_marked, operation } = self;
        let (session, needs, judge, outcome) = (session.clone(), needs.clone(), judge.clone(), outcome.clone());
        Self { session, needs, judge, outcome, kind: *kind, of_marked: *of_marked, operation: *operation }
    }
}

impl<T: Send + 'static> std::fmt::Debug for Change<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Change")
    }
}

impl<T: Send + 'static> Change<T> {
    /// Makes a change from the permissions that it needs, a judge that plans it on a state, and a function that makes the
    /// answer of the plan.
    pub(crate) fn new(
        session: &Session,
        needs: Vec<Need>,
        judge: impl Fn(&State, &Inner) -> Plan + Send + Sync + 'static,
        outcome: impl Fn(Plan) -> T + Send + Sync + 'static,
    ) -> Self {
        let (session, judge, outcome) = (session.clone(), Arc::new(judge), Arc::new(outcome));
        let (kind, of_marked, operation) = (OperationKind::Update, false, None);
        Self(Pending::new(Ok(ChangeWork { session, needs, judge, outcome, kind, of_marked, operation })))
    }

    /// Makes it one of this kind. A deletion goes on where another is under way; other changes are refused there.
    pub(crate) fn of_kind(mut self, kind: OperationKind) -> Self {
        self.0.set(|work| (work.kind, work.of_marked) = (kind, kind == OperationKind::Delete));
        self
    }

    /// Makes it also where a deletion is under way: it takes access away.
    pub(crate) fn of_marked_too(mut self) -> Self {
        self.0.set(|work| work.of_marked = true);
        self
    }

    /// Records it as an operation, in the same commit, unless nothing changes.
    pub(crate) fn recorded_as(mut self, id: Option<OperationId>) -> Self {
        self.0.set(|work| work.operation = id);
        self
    }

    /// Makes a change of a resource whose id may have been given as text.
    pub(crate) fn of<I>(id: Result<I>, change: impl FnOnce(I) -> Self) -> Self {
        id.map_or_else(|error: Error| Self(Pending::new(Err(error))), change)
    }

    /// Returns the events that the change would commit now, or every problem with it.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` if the catalog cannot be read. Problems with the change are in the plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::Gallery;
    ///
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/Other".parse()?;
    /// let plan = session.create_gallery(Gallery::new(id, "atlantis".parse()?)).plan().await?;
    /// // The region does not exist.
    /// assert_eq!(plan.problems.len(), 1);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(Change<T>, T);

impl<T> ChangeWork<T> {
    fn judge(&self, state: &State) -> Plan {
        let held = self.needs.first().filter(|_| !self.of_marked);
        match held.and_then(|need| deleting(state, &need.scope)) {
            Some(deletion) => Plan::refused(vec![deletion]),
            None => (self.judge)(state, &self.session.inner),
        }
    }
}

impl<T: Send + 'static> Work for ChangeWork<T> {
    type Output = T;

    async fn plan(&self) -> Result<Plan> {
        let state = self.session.state().await?;
        Ok(match self.session.rights().require(&state, &self.needs) {
            Ok(_) => self.judge(&state),
            Err(problems) => Plan::refused(problems),
        })
    }

    fn call(&self) -> Option<Call> {
        let Some(Need { action, scope, .. }) = self.needs.first() else {
            return self.session.call("change", || "the catalog".to_owned());
        };
        let verb = if action.as_str().ends_with("/delete") { "delete" } else { "change" };
        self.session.call(verb, || scope.to_string())
    }

    async fn run(self) -> Result<T> {
        let (session, outcome) = (self.session.clone(), self.outcome.clone());
        let check = move |state: &State| {
            let authorization = self.session.authorize(state, &self.needs)?;
            let plan = self.judge(state);
            plan.check()?;
            let plan = plan.recording(state, self.operation, self.kind, self.needs.first().map(|need| &need.scope))?;
            let events = plan.events.clone();
            Ok((Changes { events, authorization }, plan))
        };
        let (_, plan) = session.inner.catalog.commit_found(&session.caller, check).await?;
        Ok(outcome(plan))
    }
}
