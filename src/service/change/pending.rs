//! A change of the catalog that has not started.

use std::sync::Arc;

use crate::catalog::{Changes, State};
use crate::error::{Error, Result};
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
}

impl<T> Clone for ChangeWork<T> {
    fn clone(&self) -> Self {
        let Self { session, needs, judge, outcome } = self;
        Self { session: session.clone(), needs: needs.clone(), judge: judge.clone(), outcome: outcome.clone() }
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
        Self(Pending::new(Ok(ChangeWork { session, needs, judge, outcome })))
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

impl<T: Send + 'static> Work for ChangeWork<T> {
    type Output = T;

    async fn plan(&self) -> Result<Plan> {
        let state = self.session.state().await?;
        Ok(match self.session.rights().require(&state, &self.needs) {
            Ok(_) => (self.judge)(&state, &self.session.inner),
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
        let Self { session, needs, judge, outcome } = self;
        let of_caller = session.clone();
        let check = move |state: &State| {
            let authorization = of_caller.authorize(state, &needs)?;
            let plan = judge(state, &of_caller.inner);
            plan.check()?;
            let events = plan.events.clone();
            Ok((Changes { events, authorization }, plan))
        };
        let (_, plan) = session.inner.catalog.commit_found(&session.caller, check).await?;
        Ok(outcome(plan))
    }
}
