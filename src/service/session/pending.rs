//! Pending work: planned, or run once by polling it.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use super::call::Call;
use super::plan::Plan;
use crate::error::Result;
use crate::host::sync::Mutex;

/// The work of a public type that is awaited, with its settings.
pub(crate) trait Work: Clone + Send + Sync + 'static {
    type Output: Send;

    fn plan(&self) -> impl Future<Output = Result<Plan>> + Send;

    fn run(self) -> impl Future<Output = Result<Self::Output>> + Send;

    /// The call to tell of, if there is anybody to be told.
    fn call(&self) -> Option<Call>;
}

/// Work that starts when it is polled for the first time.
pub(crate) struct Pending<W: Work> {
    /// An error if an id was given as text that is none: a plan has it as a problem, a run returns it.
    work: Result<W>,
    /// Behind a mutex that is never locked: it makes pending work `Sync`, so that the future of a plan can go from thread to
    /// thread.
    stage: Mutex<Stage<W::Output>>,
}

enum Stage<T> {
    NotBegun,
    Running(BoxFuture<'static, Result<T>>),
    Done(Option<Result<T>>),
}

// Nothing in it is pinned but the future in its box.
impl<W: Work> Unpin for Pending<W> {}

impl<W: Work> Pending<W> {
    pub(crate) fn new(work: Result<W>) -> Self {
        Self { work, stage: Mutex::new(Stage::NotBegun) }
    }

    /// The work that is set up; `None` if it cannot be.
    pub(crate) fn work(&self) -> Option<&W> {
        self.work.as_ref().ok()
    }

    /// Returns the work that is set up, to do something else with it.
    pub(crate) fn into_work(self) -> Result<W> {
        self.work
    }

    /// Changes a setting. Work that has begun keeps those that it began with.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut W)) {
        if let Ok(work) = &mut self.work {
            change(work);
        }
    }

    /// Changes a setting that may have been given as text.
    pub(crate) fn try_set<T>(&mut self, value: Result<T>, change: impl FnOnce(&mut W, T)) {
        match (&mut self.work, value) {
            (Ok(work), Ok(value)) => change(work, value),
            (Ok(_), Err(error)) => self.work = Err(error),
            (Err(_), _) => {}
        }
    }

    pub(crate) async fn plan(&self) -> Result<Plan> {
        match &self.work {
            Ok(work) => work.plan().await,
            Err(error) => Ok(Plan::refused(error.clone().into_problems())),
        }
    }

    /// Runs the work, and keeps its outcome for [`poll`](Self::poll).
    pub(crate) fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let stage = self.stage.get_mut();
        if let Stage::NotBegun = stage {
            let work = self.work.clone();
            *stage = Stage::Running(Box::pin(async move {
                let work = work?;
                let (call, running) = (work.call(), Box::pin(work.run()));
                match call {
                    Some(call) => call.around(running).await,
                    None => running.await,
                }
            }));
        }
        if let Stage::Running(running) = stage {
            let outcome = std::task::ready!(Pin::new(running).poll(context));
            *stage = Stage::Done(Some(outcome));
        }
        Poll::Ready(())
    }

    /// Runs the work to its outcome. Once that was returned it is pending for ever, as a fused future.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<W::Output>> {
        std::task::ready!(self.poll_work(context));
        match self.stage.get_mut() {
            Stage::Done(outcome) => outcome.take().map_or(Poll::Pending, Poll::Ready),
            Stage::NotBegun | Stage::Running(_) => Poll::Pending,
        }
    }
}

/// Makes a type around `Pending` a future.
macro_rules! awaited {
    ($type:ident $(<$param:ident>)?, $output:ty) => {
        impl $(<$param: Send + 'static>)? Future for $type $(<$param>)? {
            type Output = $crate::error::Result<$output>;

            fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
                self.0.poll(context)
            }
        }
    };
}
pub(crate) use awaited;
