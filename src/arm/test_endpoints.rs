//! `/_test/`: the face as a test double over HTTP. Set the clock, seed, inject faults, reset, and read what was called.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::inner::{Inner, guid};
use crate::error::Result;
use crate::host::sync::Mutex;
use crate::host::{Clock, SystemClock};
use crate::service::session::GalleryService;

/// Calls that are kept.
const KEPT: usize = 10_000;

/// A clock that tests move: the system's, with an offset, or one that stands.
///
/// Sleepers wait in real time, and for no longer than until the clock is moved past their end: so a driver that would try again in
/// ten minutes does so when the clock is advanced by them. Time that is set, and not advanced, passes for no sleeper.
///
/// ```
/// # #[cfg(feature = "arm")] {
/// use chrono::{TimeDelta, Utc};
/// use compute_gallery::arm::TestClock;
/// use compute_gallery::host::Clock;
///
/// let clock = TestClock::default();
/// clock.advance(TimeDelta::days(8));
/// assert!(clock.now() > Utc::now() + TimeDelta::days(7));
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TestClock(Arc<Mutex<Time>>);

#[derive(Debug, Default)]
struct Time {
    offset: TimeDelta,
    stands_at: Option<DateTime<Utc>>,
    /// How far it was advanced, for those who measure time.
    advanced: Duration,
    /// Those who sleep, woken when it is advanced, and how many there ever were.
    sleepers: BTreeMap<u64, Waker>,
    slept: u64,
}

impl TestClock {
    /// Stops the clock at a time; `None` lets it run on from the system's time and the offset.
    pub fn set(&self, time: Option<DateTime<Utc>>) {
        self.0.lock().stands_at = time;
    }

    /// Moves it on.
    pub fn advance(&self, by: TimeDelta) {
        let woken = {
            let mut time = self.0.lock();
            match time.stands_at {
                Some(at) => time.stands_at = at.checked_add_signed(by).or(Some(at)),
                None => time.offset = time.offset.checked_add(&by).unwrap_or(time.offset),
            }
            // Measured time never goes back.
            time.advanced = time.advanced.saturating_add(by.to_std().unwrap_or_default());
            std::mem::take(&mut time.sleepers)
        };
        woken.into_values().for_each(Waker::wake);
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        let (stands_at, offset) = {
            let time = self.0.lock();
            (time.stands_at, time.offset)
        };
        stands_at.unwrap_or_else(|| SystemClock.now().checked_add_signed(offset).unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic().saturating_add(self.0.lock().advanced)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let until = self.monotonic().saturating_add(duration);
        let number = {
            let mut time = self.0.lock();
            time.slept += 1;
            time.slept
        };
        Sleep { clock: self.clone(), number, until, timer: SystemClock.sleep(duration) }.boxed()
    }
}

/// A sleep that the system's timer or an advance ends.
struct Sleep {
    clock: TestClock,
    number: u64,
    until: Duration,
    timer: BoxFuture<'static, ()>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Entered before the time is read: an advance in between wakes it.
        self.clock.0.lock().sleepers.insert(self.number, context.waker().clone());
        match self.clock.monotonic() >= self.until {
            true => Poll::Ready(()),
            false => self.timer.poll_unpin(context),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.clock.0.lock().sleepers.remove(&self.number);
        // Outside of the lock: it may own another sleep.
        drop(waker);
    }
}

type MakeService = dyn Fn() -> BoxFuture<'static, Result<GalleryService>> + Send + Sync;

/// What `/_test/` needs: the clock that the service was given, and a way to an empty service.
pub struct TestEndpoints {
    clock: TestClock,
    make: Arc<MakeService>,
}

impl fmt::Debug for TestEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestEndpoints").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl TestEndpoints {
    /// Takes the clock of the service, and a function that makes an empty service for `/_test/reset`.
    ///
    /// ```
    /// # #[cfg(feature = "arm")] {
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::arm::{TestClock, TestEndpoints};
    /// use compute_gallery::store::MemoryStore;
    ///
    /// let clock = TestClock::default();
    /// let of_service = clock.clone();
    /// let tests = TestEndpoints::new(clock, move || {
    ///     GalleryService::builder().allow_all().clock(of_service.clone()).store(MemoryStore::new()).create()
    /// });
    /// # let _ = tests;
    /// # }
    /// ```
    pub fn new<F>(clock: TestClock, make: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<GalleryService>> + Send + 'static,
    {
        Self { clock, make: Arc::new(move || Box::pin(make())) }
    }

    pub(super) fn clock(&self) -> &TestClock {
        &self.clock
    }
}

/// The state of the double.
pub(super) struct Tests {
    settings: TestEndpoints,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    calls: VecDeque<Value>,
}

impl fmt::Debug for Tests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tests").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A fault: which requests, and what happens to them.
#[derive(Clone, Debug)]
struct Fault {
    method: Option<String>,
    /// Must be in the path, in lower case.
    path: String,
    /// Requests that go through before.
    after: u64,
    /// Requests that it hits; `None` for all.
    times: Option<u64>,
    delay: Duration,
    status: Option<StatusCode>,
    code: String,
    message: String,
    retry_after: Option<u64>,
}

impl Fault {
    fn read(fault: &Value) -> std::result::Result<Self, Refusal> {
        let text = |name: &str| fault.get(name).and_then(Value::as_str);
        let number = |name: &str| fault.get(name).and_then(Value::as_u64);
        let wrong = |what: &str| Refusal::bad_request("InvalidFault", what);
        let status = number("status")
            .map(|status| u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()));
        if status == Some(None) {
            return Err(wrong("'status' is no status of HTTP."));
        }
        let fault = Self {
            method: text("method").map(str::to_ascii_uppercase),
            path: text("path").unwrap_or_default().to_ascii_lowercase(),
            after: number("after").unwrap_or_default(),
            times: number("times"),
            delay: Duration::from_millis(number("delayMs").unwrap_or_default().min(600_000)),
            status: status.flatten(),
            code: text("code").unwrap_or("InjectedFault").to_owned(),
            message: text("message").unwrap_or("This fault was asked for.").to_owned(),
            retry_after: number("retryAfter"),
        };
        match fault.status.is_none() && fault.delay.is_zero() {
            true => Err(wrong("A fault needs a 'status' or a 'delayMs'.")),
            false => Ok(fault),
        }
    }

    /// Whether it hits a request; counts it.
    fn hits(&mut self, method: &str, path: &str) -> bool {
        let concerns = self.method.as_deref().is_none_or(|wanted| wanted == method) && path.contains(&self.path);
        if !concerns || self.times == Some(0) {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times = self.times.map(|times| times - 1);
        true
    }

    fn refusal(&self) -> Option<Refusal> {
        let refusal = Refusal::new(self.status?, self.code.clone(), self.message.clone());
        Some(match self.retry_after {
            Some(seconds) => refusal.with(RETRY_AFTER, seconds.to_string()),
            None => refusal,
        })
    }
}

impl Tests {
    pub(super) fn new(settings: TestEndpoints) -> Self {
        Self { settings, state: Mutex::new(State::default()) }
    }

    /// Answers `/_test/` itself, and all else after the faults that are asked for.
    pub(super) async fn answer(&self, inner: &Inner, request: Request<Bytes>, id: &str) -> Answer {
        let path = request.uri().path().to_ascii_lowercase();
        if let Some(of_test) = path.strip_prefix("/_test/") {
            return self.control(inner, request, of_test).await.unwrap_or_else(Answer::from);
        }
        let (method, whole) = (request.method().to_string(), request.uri().to_string());
        let fault =
            self.state.lock().faults.iter_mut().find_map(|fault| fault.hits(&method, &path).then(|| fault.clone()));
        if let Some(delay) = fault.as_ref().map(|fault| fault.delay).filter(|delay| !delay.is_zero()) {
            SystemClock.sleep(delay).await;
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let answer = match fault.as_ref().and_then(Fault::refusal) {
            Some(refusal) => refusal.into(),
            None => inner.answer(request, id).await,
        };
        let mut call =
            json!({"method": method, "url": whole, "status": answer.status.as_u16(), "fault": fault.is_some()});
        if let (false, Value::Object(call)) = (body.is_null(), &mut call) {
            call.insert("body".into(), body);
        }
        let calls = &mut self.state.lock().calls;
        if calls.len() >= KEPT {
            calls.pop_front();
        }
        calls.push_back(call);
        answer
    }

    async fn control(&self, inner: &Inner, request: Request<Bytes>, what: &str) -> Answered {
        let body = || -> std::result::Result<Value, Refusal> {
            serde_json::from_slice(request.body()).map_err(|error| {
                Refusal::bad_request("InvalidRequestContent", format!("The body is no JSON: {error}."))
            })
        };
        let clock = &self.settings.clock;
        let time = || Answer::ok(json!({"now": clock.now()}));
        match (request.method(), what) {
            (&Method::GET, "clock") => Ok(time()),
            (&Method::PUT, "clock") => {
                let body = body()?;
                let now = body.get("now").filter(|now| !now.is_null());
                let read = now.map(|now| serde_json::from_value::<DateTime<Utc>>(now.clone())).transpose();
                let wrong =
                    |error| Refusal::bad_request("InvalidRequestContent", format!("'now' is no time: {error}."));
                clock.set(read.map_err(wrong)?);
                Ok(time())
            }
            (&Method::POST, "clock/advance") => {
                let seconds = body()?.get("seconds").and_then(Value::as_i64);
                let wrong = || Refusal::bad_request("InvalidRequestContent", "'seconds' must be a whole number.");
                clock.advance(TimeDelta::try_seconds(seconds.ok_or_else(wrong)?).ok_or_else(wrong)?);
                Ok(time())
            }
            (&Method::POST, "faults") => {
                let body = body()?;
                let faults = body.as_array().cloned().unwrap_or_else(|| vec![body]);
                let faults = faults.iter().map(Fault::read).collect::<std::result::Result<Vec<_>, _>>()?;
                self.state.lock().faults.extend(faults);
                Ok(Answer::empty(StatusCode::NO_CONTENT))
            }
            (&Method::DELETE, "faults") => {
                self.state.lock().faults.clear();
                Ok(Answer::empty(StatusCode::NO_CONTENT))
            }
            (&Method::GET, "calls") => Ok(Answer::list(self.state.lock().calls.iter().cloned().collect())),
            (&Method::DELETE, "calls") => {
                self.state.lock().calls.clear();
                Ok(Answer::empty(StatusCode::NO_CONTENT))
            }
            (&Method::POST, "seed") => self.seed(inner, body()?).await,
            (&Method::POST, "reset") => {
                let service = (self.settings.make)().await?;
                *inner.service.write() = service;
                inner.drive.restart();
                inner.operations.clear();
                inner.deployments.clear();
                clock.set(None);
                *self.state.lock() = State::default();
                Ok(Answer::empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::not_found("NotFound", format!("There is no '/_test/{what}' with this method."))),
        }
    }

    /// Puts resources: a list of `{"id", "body", "apiVersion"}`, in order.
    async fn seed(&self, inner: &Inner, body: Value) -> Answered {
        let wrong = |what: String| Refusal::bad_request("InvalidRequestContent", what);
        let resources = body.as_array().ok_or_else(|| wrong("The body must be a list of resources.".to_owned()))?;
        for (at, resource) in resources.iter().enumerate() {
            let text = |name: &str| resource.get(name).and_then(Value::as_str);
            let id = text("id").ok_or_else(|| wrong(format!("Resource {at} has no 'id'.")))?;
            let version = text("apiVersion").unwrap_or(super::versions::ApiVersion::LATEST.as_str());
            let put = Request::put(format!("{id}?api-version={version}")).header("Authorization", "Bearer seed");
            let bytes = Bytes::from(resource.get("body").cloned().unwrap_or_default().to_string());
            let put = put.body(bytes).map_err(|error| wrong(format!("Resource {at}: {error}.")))?;
            let id = guid()?;
            let answer = inner.answer(put, &id).await;
            if !answer.status.is_success() {
                return Ok(answer);
            }
        }
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }
}
