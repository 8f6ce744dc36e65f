//! Time of a sandbox, and what goes on in it by itself.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::background::Flag;
use super::sandbox::Sandbox;
use crate::error::Result;
use crate::host::Clock;
use crate::service::drive::Done;

/// What has only failed for so long is left alone.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3_600);

/// # Time, and what goes on by itself
///
/// Azure carries on by itself what it was asked for. So does the sandbox, in its own time: announced versions get their bytes and go to
/// their regions, what has failed is tried again. It works while one of these is awaited, and time passes in them as fast as there is
/// something to do. With the stores in memory that a sandbox has by default, the same seed makes the same run.
///
/// Each returns what was done or has failed in it, in order, as [`Driver::step`](crate::drive::Driver::step) does. Errors are those of
/// [`Driver::run`](crate::drive::Driver::run): the sandbox was given settings of the service with which it may not go on.
impl Sandbox {
    /// Returns the time.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock().now()
    }

    /// Lets this much time pass, exactly.
    ///
    /// ```
    /// use compute_gallery::disk::DiskSource;
    /// use compute_gallery::testkit::Sandbox;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// // A disk of 36,000 MiB takes 2 hours to East US.
    /// let sandbox = Sandbox::builder().bytes_per_second("eastus", 5 << 20).build().await?;
    /// let version = sandbox.new_version("1.0.0", "westeurope,eastus", DiskSource::zeros(36_000 << 20)?);
    /// sandbox.session().publish(version).await?;
    ///
    /// sandbox.advance(Duration::from_secs(1_800)).await?;
    /// assert_eq!(sandbox.progress("1.0.0", "eastus").await?, 25);
    /// sandbox.advance(Duration::from_secs(5_400)).await?;
    /// assert_eq!(sandbox.progress("1.0.0", "eastus").await?, 100);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn advance(&self, duration: Duration) -> Result<Vec<Done>> {
        let _held = self.clock().hold();
        let until = TimeDelta::from_std(duration).ok().and_then(|duration| self.now().checked_add_signed(duration));
        let until = until.unwrap_or(DateTime::<Utc>::MAX_UTC);
        self.background().take_done();
        let outer = outer_waker().await;
        loop {
            self.background().wake();
            self.background().settle(&outer)?;
            let next = self.clock().next_wakeup().filter(|next| *next <= until);
            match next {
                Some(_) => drop(self.clock().advance_to_next()),
                None if self.now() < until => {
                    self.clock().advance(until.signed_duration_since(self.now()).to_std().unwrap_or_default());
                }
                None => return Ok(self.background().take_done()),
            }
        }
    }

    /// Lets time pass until the next thing is done or has failed. Returns it, with all of the same moment; nothing, and at once, if there
    /// is nothing to do.
    ///
    /// ```
    /// use compute_gallery::disk::DiskSource;
    /// use compute_gallery::drive::Duty;
    /// use compute_gallery::testkit::Sandbox;
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::builder().bytes_per_second("eastus", 1 << 20).build().await?;
    /// let version = sandbox.new_version("1.0.0", "westeurope,eastus,northeurope", DiskSource::zeros(1 << 30)?);
    /// sandbox.session().publish(version).await?;
    ///
    /// let began = sandbox.now();
    /// assert_eq!(sandbox.advance_to_next().await?[0].duty, Duty::Replicate("northeurope".parse()?));
    /// assert_eq!(sandbox.now(), began);
    /// assert_eq!(sandbox.advance_to_next().await?[0].duty, Duty::Replicate("eastus".parse()?));
    /// assert_eq!((sandbox.now() - began).num_seconds(), 1_024);
    /// assert!(sandbox.advance_to_next().await?.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn advance_to_next(&self) -> Result<Vec<Done>> {
        let _held = self.clock().hold();
        self.background().take_done();
        let outer = outer_waker().await;
        self.background().wake();
        loop {
            self.background().settle(&outer)?;
            let done = self.background().take_done();
            if !done.is_empty() || !self.background().is_at_work() || self.clock().advance_to_next().is_none() {
                return Ok(done);
            }
        }
    }

    /// Lets time pass until there is nothing more to do. What has only failed for an hour, and for as long as a fault is still to begin or
    /// end, is left as it is.
    ///
    /// ```
    /// use compute_gallery::testkit::{Sandbox, raw};
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::new().await?;
    /// let in_an_hour = sandbox.now() + std::time::Duration::from_secs(3_600);
    /// sandbox.outage("eastus", sandbox.now()..in_an_hour);
    /// sandbox.session().publish(sandbox.new_version("1.0.0", "westeurope,eastus", raw(vec![7; 4096]))).await?;
    ///
    /// let done = sandbox.run_until_idle().await?;
    /// assert!(done[0].outcome.is_err() && done.last().unwrap().outcome.is_ok());
    /// assert!(sandbox.now() >= in_an_hour);
    /// assert_eq!(sandbox.deployed("1.0.0", "eastus").await?, [7; 4096]);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// See above.
    pub async fn run_until_idle(&self) -> Result<Vec<Done>> {
        let _held = self.clock().hold();
        self.background().take_done();
        let outer = outer_waker().await;
        self.background().wake();
        let (mut all, mut last) = (Vec::new(), self.now());
        loop {
            self.background().settle(&outer)?;
            let done = self.background().take_done();
            if done.iter().any(|one| one.outcome.is_ok()) || self.script().is_travelling() {
                last = self.now();
            }
            all.extend(done);
            let hopeful = self.script().last_change().map_or(last, |change| change.max(last));
            let is_given_up =
                self.now().signed_duration_since(hopeful).to_std().is_ok_and(|quiet| quiet >= GIVEN_UP_AFTER);
            if is_given_up || !self.background().is_at_work() || self.clock().advance_to_next().is_none() {
                return Ok(all);
            }
        }
    }

    /// Runs the code under test, and lets the gallery go on beside it: for an application that waits for a version. Time passes while the
    /// code sleeps by the sandbox's [`clock`](Self::clock), or waits for the gallery.
    ///
    /// ```
    /// use compute_gallery::read::ProvisioningState;
    /// use compute_gallery::testkit::Sandbox;
    /// use std::time::Duration;
    ///
    /// # futures::executor::block_on(async {
    /// let sandbox = Sandbox::builder().any_source(30 << 30).bytes_per_second("westeurope", 10 << 20).build().await?;
    /// let vm = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/virtualMachines/golden";
    /// let body = serde_json::json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"virtualMachineId": vm}}}});
    /// let put = sandbox.session().put_image_version(sandbox.version("1.0.0"), body).await?;
    /// let state = |view: &compute_gallery::CatalogView| view.provisioning(sandbox.version("1.0.0")).map(|now| now.state);
    /// assert_eq!(state(&sandbox.session().view())?, ProvisioningState::Creating);
    ///
    /// sandbox.run(sandbox.session().wait_for_operation(put.operation.unwrap())).await??;
    /// assert_eq!(state(&sandbox.session().view())?, ProvisioningState::Succeeded);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// See above; what the code returns is returned.
    pub async fn run<T>(&self, code: impl IntoFuture<Output = T>) -> Result<T> {
        let _held = self.clock().hold();
        let mut code = pin!(code.into_future());
        let mut looked = None;
        poll_fn(move |context| {
            loop {
                let (flag, waker) = Flag::raised_by(context.waker());
                if let Poll::Ready(out) = code.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(Ok(out));
                }
                // A driver at rest looks again after a change, and after a while.
                let now = (self.session().view().number(), self.now());
                if looked.is_none_or(|looked| is_worth_a_look(looked, now)) {
                    looked = Some(now);
                    self.background().wake();
                }
                if let Err(error) = self.background().settle(context.waker()) {
                    return Poll::Ready(Err(error));
                }
                if flag.is_raised() {
                    continue;
                }
                if self.clock().advance_to_next().is_none() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

/// How long a driver at rest does not look, where nothing has changed.
const LOOKS_EVERY: TimeDelta = TimeDelta::seconds(5);

fn is_worth_a_look((number, time): (u64, DateTime<Utc>), now: (u64, DateTime<Utc>)) -> bool {
    number != now.0 || now.1.signed_duration_since(time) >= LOOKS_EVERY
}

/// The waker of the task around.
async fn outer_waker() -> Waker {
    poll_fn(|context| Poll::Ready(context.waker().clone())).await
}
