//! A driver: it takes duties, does them, and lays them down.
//!
//! A turn is one look at the catalog and at most one commit, which lays down what is done, renews what is held and takes what is free.
//! Between turns, the works of the duties run. Docs: decision 0030.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};

use super::board::{Board, Done};
use super::work::{Terms, Works, canceled, is_canceled};
use crate::catalog::{Changes, DriverId, Duty, Event, State};
use crate::content::names::UploadId;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ImageVersionId;
use crate::service::session::session::Session;
use crate::service::session::watch::Watch;

/// Carries on by itself what was asked for. Set it up, then take single [`step`](Self::step)s, or let it [`run`](Self::run).
///
/// It completes announced versions, deletes what is marked for deletion, replicates into regions that lack replicas, tries again what has failed, ends retentions, collects, and
/// scrubs where that is asked for. Any number of drivers, in any number of processes, share the work of a catalog: each takes duties of
/// a region, which others leave to it while it is alive.
///
/// Dropping it stops it at once. Its duties are taken over when they have been quiet for two minutes, and go on where they were.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::read::OperationStatus;
/// use serde_json::json;
///
/// sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let body = json!({"location": "westeurope", "properties": {
///     "publishingProfile": {"targetRegions": [{"name": "West Europe"}, {"name": "East US"}]},
///     "storageProfile": {"source": {"id": sandbox.version("1.0.0").to_string()}}}});
/// let put = session.put_image_version(sandbox.version("2.0.0"), body).await?;
///
/// let mut driver = session.driver();
/// while !driver.step().await?.is_idle() {}
/// let operation = session.view().operation(put.operation.unwrap())?;
/// assert_eq!((operation.status, operation.percent), (OperationStatus::Succeeded, 100));
/// assert_eq!(sandbox.deployed("2.0.0", "eastus").await?, [7; 4096]);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is done before `step` or `run`"]
pub struct Driver {
    works: Works,
    /// Drawn with the first turn.
    id: Option<DriverId>,
    watch: Watch,
    /// The duties that are held, each with what stops its work.
    held: BTreeMap<Duty, AbortHandle>,
    lanes: FuturesUnordered<BoxFuture<'static, (Duty, Option<bool>)>>,
    /// The duties whose work has ended, to be laid down, and whether they are done for now.
    ended: BTreeMap<Duty, bool>,
    /// When the last renewal that was answered began, by the monotonic clock.
    renewed: Duration,
    /// When the duties are to be given up.
    limit: Option<BoxFuture<'static, ()>>,
    on_done: Arc<dyn Fn(&Done) + Send + Sync>,
}

/// What a [`step`](Driver::step) has done.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// let step = sandbox.session().driver().collect_every(None).step().await?;
/// assert!(step.is_idle() && step.waiting.is_empty());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Step {
    /// What was done, in the order of its end.
    pub done: Vec<Done>,
    /// The duties that have something to do later: it is tried again, or another driver is at work on it.
    pub waiting: BTreeSet<Duty>,
}

impl Step {
    /// Returns whether nothing was done.
    pub fn is_idle(&self) -> bool {
        self.done.is_empty()
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("held", &self.held.keys()).finish_non_exhaustive()
    }
}

/// # A service that carries on by itself
impl Session {
    /// Returns a driver, which carries on what was asked for with the rights of this caller: an administrator's.
    pub fn driver(&self) -> Driver {
        let terms = Terms {
            at_once: 4,
            every: Duration::from_secs(5),
            bytes_per_second: None,
            collect_every: Some(Duration::from_secs(3_600)),
            scrub_every: None,
            end_of_life: None,
        };
        Driver {
            works: Works { session: self.clone(), terms: Arc::new(terms), board: Arc::new(Board::default()) },
            id: None,
            watch: Watch::default(),
            held: BTreeMap::new(),
            lanes: FuturesUnordered::new(),
            ended: BTreeMap::new(),
            renewed: Duration::ZERO,
            limit: None,
            on_done: Arc::new(|_| {}),
        }
    }
}

impl Driver {
    fn set(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(Arc::make_mut(&mut self.works.terms));
        self
    }

    /// Sets the number of duties that it is at work on at once: 4 by default. 0 counts as 1.
    pub fn at_once(self, duties: usize) -> Self {
        self.set(|terms| terms.at_once = duties.max(1))
    }

    /// Sets how often [`run`](Self::run) looks for something to do: every 5 seconds by default. Each look is a read of the catalog.
    pub fn look_every(self, time: Duration) -> Self {
        self.set(|terms| terms.every = time)
    }

    /// Caps the traffic of each replication into a region, and the reads of each scrub, at `rate` bytes per second; by default they are not
    /// capped. 0 counts as 1.
    pub fn bytes_per_second(self, rate: u64) -> Self {
        self.set(|terms| terms.bytes_per_second = Some(rate.max(1)))
    }

    /// Sets how often the catalog's drivers [collect](Session::collect): once an hour by default, and when a retention is over; with `None`
    /// never. If the service compresses later, it does so then.
    pub fn collect_every(self, time: Option<Duration>) -> Self {
        self.set(|terms| terms.collect_every = time)
    }

    /// Deletes what has passed the end of its life for longer than `grace`, before each collection:
    /// [`Session::delete_after_end_of_life`], whose plan tells what that would be. By default nothing is deleted.
    pub fn delete_after_end_of_life(self, grace: chrono::TimeDelta) -> Self {
        self.set(|terms| terms.end_of_life = Some(grace))
    }

    /// Sets how often the catalog's drivers [scrub](Session::scrub) each region; by default never.
    pub fn scrub_every(self, time: Duration) -> Self {
        self.set(|terms| terms.scrub_every = Some(time))
    }

    /// Calls `on_done` with each thing that is done or has failed.
    pub fn on_done(mut self, on_done: impl Fn(&Done) + Send + Sync + 'static) -> Self {
        self.on_done = Arc::new(on_done);
        self
    }

    /// Takes duties that have something to do now, does them, and lays them down. In virtual time, it is deterministic.
    ///
    /// A version that is announced in one step is replicated in the next: a gallery is at rest when a step
    /// [is idle](Step::is_idle) and nothing is [waiting](Step::waiting).
    ///
    /// # Errors
    ///
    /// `Forbidden` for callers who are not administrators; `Unavailable`, `Corrupt`, `Unknown` if the catalog cannot be read or written. What
    /// fails in the work itself is in the step. The next step carries on.
    pub async fn step(&mut self) -> Result<Step> {
        let waiting = self.turn(true).await?;
        while !self.held.is_empty() || !self.ended.is_empty() {
            if self.ended.is_empty() {
                self.pause().await;
            }
            match self.turn(false).await {
                Err(error) if self.lanes.is_empty() => return Err(error),
                _ => {}
            }
        }
        Ok(Step { done: self.tell(), waiting })
    }

    /// Runs until it cannot go on: for good. Let the host's runtime poll it, and drop it to stop.
    ///
    /// Returns why it cannot go on: `Forbidden`, or `Unsupported` where this build may not change the catalog. Everything else, such as a
    /// catalog that does not answer, it waits out.
    pub async fn run(mut self) -> Error {
        loop {
            match self.turn(true).await {
                Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Unsupported) => return error,
                _ => {}
            }
            drop(self.tell());
            self.pause().await;
        }
    }

    /// Runs until nothing is left to do, now or later: for as long as something fails, it tries again.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    #[cfg(feature = "testkit")]
    pub(crate) async fn run_until_idle(&mut self) -> Result<()> {
        loop {
            // What has ended in a turn is looked at again in the next.
            let was_at_rest = self.held.is_empty() && self.ended.is_empty();
            let turn = self.turn(true).await;
            drop(self.tell());
            match turn {
                Ok(_) if !was_at_rest && self.held.is_empty() && self.ended.is_empty() => continue,
                Ok(waiting) if waiting.is_empty() && self.held.is_empty() && self.ended.is_empty() => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Unsupported) => {
                    return Err(error);
                }
                _ => {}
            }
            self.pause().await;
        }
    }

    /// Tells what is done.
    fn tell(&self) -> Vec<Done> {
        let done = self.works.board.take();
        done.iter().for_each(|done| (self.on_done)(done));
        done
    }

    /// Polls the works of all duties.
    fn poll_lanes(&mut self, context: &mut Context<'_>) {
        if let Some(limit) = &mut self.limit
            && limit.poll_unpin(context).is_ready()
        {
            self.limit = None;
        }
        if !self.held.is_empty() && self.works.now().saturating_sub(self.renewed) >= self.works.session.inner.quiet / 2
        {
            // Another may take them over soon.
            self.held.values().for_each(AbortHandle::abort);
        }
        while let Poll::Ready(Some((duty, outcome))) = self.lanes.poll_next_unpin(context) {
            self.held.remove(&duty);
            self.works.board.rest(&duty);
            // One that is lost was another's before it ended.
            self.ended.insert(duty, outcome.unwrap_or(false));
        }
    }

    /// Waits for something while the works go on.
    async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        poll_fn(|context| {
            self.poll_lanes(context);
            other.as_mut().poll(context)
        })
        .await
    }

    /// Lets the works go on until one ends, or it is time to look again.
    async fn pause(&mut self) {
        let every = match self.held.is_empty() {
            true => self.works.terms.every,
            false => self.works.terms.every.min(self.works.session.inner.quiet / 4),
        };
        let mut sleep = self.works.session.inner.clock.sleep(every);
        poll_fn(|context| {
            self.poll_lanes(context);
            if self.ended.is_empty() { sleep.poll_unpin(context) } else { Poll::Ready(()) }
        })
        .await;
    }

    fn id(&mut self) -> Result<DriverId> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        let id = DriverId(UploadId::from_bytes(self.works.session.inner.draw()?));
        Ok(*self.id.insert(id))
    }

    /// Looks at the catalog, and commits what is due: lays down, renews, and takes new duties if it `takes` any. Returns the duties that
    /// have something to do and are not this driver's.
    async fn turn(&mut self, takes: bool) -> Result<BTreeSet<Duty>> {
        let session = self.works.session.clone();
        session.require_administrator("drive the gallery")?;
        session.inner.catalog.refuse_change()?;
        let (id, quiet) = (self.id()?, self.works.session.inner.quiet);
        let before = self.works.now();
        let state = self.beside(session.state()).await?;
        let after = self.works.now();
        let others = state.duties().filter(|record| record.driver.is_some_and(|driver| driver != id));
        self.watch.look(others.map(|record| &**record), (before, after), quiet / 4);
        self.stop_what_is_not_to_go_on(&state, id);
        self.works.forget(&state);
        // Taken by a commit that got no answer.
        let own = state.duties().filter(|record| record.driver == Some(id) && !self.held.contains_key(&record.duty));
        own.for_each(|record| *self.ended.entry(record.duty.clone()).or_default() |= false);

        let mut waiting = if takes { self.works.all(&state) } else { BTreeSet::new() };
        waiting.retain(|duty| !self.held.contains_key(duty) && !self.ended.contains_key(duty));
        let room = self.works.terms.at_once.saturating_sub(self.held.len());
        let wanted: Vec<(Duty, Option<u64>)> = waiting
            .iter()
            .filter(|duty| room > 0 && self.is_free(&state, duty) && self.works.is_due(&state, duty))
            .map(|duty| (duty.clone(), state.duty(duty).map(|record| record.beat)))
            .collect();
        let renews = !self.held.is_empty() && after.saturating_sub(self.renewed) >= quiet / 4;
        let held: Vec<(Duty, Option<(ImageVersionId, u8)>)> = match renews || !wanted.is_empty() {
            true => self.held.keys().map(|duty| (duty.clone(), self.works.board.at(duty))).collect(),
            false => Vec::new(),
        };
        let ended = self.ended.clone();
        if wanted.is_empty() && held.is_empty() && ended.is_empty() {
            return Ok(waiting);
        }
        let is_own = move |state: &State, duty: &Duty| state.duty(duty).is_some_and(|record| record.driver == Some(id));
        let check_ended = ended.clone();
        let check = move |state: &State| {
            let mut events = Vec::new();
            for (duty, finished) in check_ended.iter().filter(|(duty, _)| is_own(state, duty)) {
                events.push(Event::DutyLaidDown { duty: duty.clone(), finished: *finished });
            }
            for (duty, at) in held.iter().filter(|(duty, _)| is_own(state, duty)) {
                events.push(Event::DutyTaken { duty: duty.clone(), driver: id, by_call: false, at: at.clone() });
            }
            let as_seen = |(duty, beat): &&(Duty, Option<u64>)| state.duty(duty).map(|record| record.beat) == *beat;
            let taken: Vec<Duty> = wanted.iter().filter(as_seen).take(room).map(|(duty, _)| duty.clone()).collect();
            events.extend(taken.iter().map(|duty| Event::DutyTaken {
                duty: duty.clone(),
                driver: id,
                by_call: false,
                at: None,
            }));
            Ok((Changes { events, authorization: None }, taken))
        };
        let (catalog, caller) = (session.inner.catalog.clone(), session.caller.clone());
        let began = self.works.now();
        let (_, taken) = self.beside(catalog.commit_found(&caller, check)).await?;
        self.ended.retain(|duty, _| !ended.contains_key(duty));
        if renews || !taken.is_empty() {
            self.renewed = began;
            self.limit = Some(session.inner.clock.timeout(quiet / 2));
        }
        for duty in taken {
            waiting.remove(&duty);
            let (abort, registration) = AbortHandle::new_pair();
            self.held.insert(duty.clone(), abort);
            let work = Abortable::new(self.works.clone().work(duty.clone()), registration);
            self.lanes.push(Box::pin(async move { (duty, work.await.ok()) }));
        }
        Ok(waiting)
    }

    /// Returns whether a duty is no other driver's, or abandoned.
    fn is_free(&self, state: &State, duty: &Duty) -> bool {
        let holder = state.duty(duty).and_then(|record| record.driver);
        holder.is_none() || self.watch.quiet(duty) >= self.works.session.inner.quiet
    }

    /// Stops the work of duties that another has taken over, and of operations that were cancelled.
    fn stop_what_is_not_to_go_on(&mut self, state: &State, id: DriverId) {
        for (duty, abort) in &self.held {
            if state.duty(duty).is_none_or(|record| record.driver != Some(id)) {
                abort.abort();
            }
        }
        let canceled = canceled(state);
        self.works.board.stop(|version| {
            state.deletion_of(&version.into()).is_some()
                || state.version(version).is_some_and(|record| is_canceled(&canceled, record))
                || state.incomplete(version).is_some_and(|record| record.failure.is_some())
        });
    }
}
