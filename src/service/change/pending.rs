//! What an operation would do.

use std::future::IntoFuture;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::catalog::{Changes, State};
use crate::error::Result;
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

type Judge = dyn Fn(&State, &Inner) -> Plan + Send + Sync;

/// A change of the catalog to be made: await it, or [`plan`](Self::plan) it first.
#[must_use = "nothing changes before it is awaited"]
pub struct Change<T> {
    session: Session,
    needs: Vec<Need>,
    judge: Arc<Judge>,
    outcome: Box<dyn FnOnce(Plan) -> T + Send>,
}

impl<T> std::fmt::Debug for Change<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Change")
    }
}

impl<T> Change<T> {
    /// `needs` is what the caller must be allowed to do; `judge` says what the operation comes to in a state, and
    /// `outcome` makes its answer of that.
    pub(crate) fn new(
        session: &Session,
        needs: Vec<Need>,
        judge: impl Fn(&State, &Inner) -> Plan + Send + Sync + 'static,
        outcome: impl FnOnce(Plan) -> T + Send + 'static,
    ) -> Self {
        Self { session: session.clone(), needs, judge: Arc::new(judge), outcome: Box::new(outcome) }
    }

    /// What it would do now.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog can't be read; what stands against the operation is in the plan.
    pub async fn plan(&self) -> Result<Plan> {
        let state = self.session.state().await?;
        Ok(match self.session.rights().require(&state, &self.needs) {
            Ok(_) => (self.judge)(&state, &self.session.inner),
            Err(problems) => Plan::refused(problems),
        })
    }
}

impl<T: Send + 'static> IntoFuture for Change<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { session, needs, judge, outcome } = self;
        Box::pin(async move {
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
        })
    }
}
