//! Carrying an announced version through: its source becomes its content.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::lock::Mutex;

use super::announce::needs_of;
use super::publication::{Disks, PublicationWork};
use super::report::Published;
use super::resolver::resolve;
use super::source::{Facts, LocalDisks, Source, SourceState, not_found};
use super::target::{Target, look_at_version, published};
use crate::access::Action;
use crate::catalog::{Changes, Event, ImageContent, IncompleteRecord, State};
use crate::disk::format::DiskFormat;
use crate::disk::source::DiskSource;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{
    CarriedIdentity, DiskReference, ImageVersion, ImageVersionId, PublishingProfile, Region, ResourceId,
    StorageProfile, VersionSource, given,
};
use crate::progress::{OnProgress, Progress};
use crate::service::rules;
use crate::service::rules::refusals::{missing, reason_of};
use crate::service::session::call::Call;
use crate::service::session::inner::Inner;
use crate::service::session::pending::{Pending, Work, awaited};
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;
use crate::service::session::sources::ResolvedSource;

/// The work that gives an announced version its content. Await it to run it, or call [`plan`](Self::plan) first.
///
/// Dropping it stops it. Completing the same version again continues where it stopped.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::publish::LocalDisks;
/// use compute_gallery::read::ProvisioningState;
/// use compute_gallery::testkit::raw;
/// use serde_json::json;
///
/// let (id, vm) = (sandbox.version("1.0.0"), "/subscriptions/dev/resourceGroups/r/providers/Microsoft.Compute/virtualMachines/vm");
/// let body = json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"virtualMachineId": vm}}}});
/// session.put_image_version(&id, body.clone()).await?;
/// // The gallery keeps no VMs.
/// assert!(session.complete_version(&id).await.is_err());
/// assert_eq!(session.view().provisioning(&id)?.error.unwrap().code, "NotFound");
/// // The same request tries it again; these are the bytes of the VM's disk.
/// session.put_image_version(&id, body).await?;
/// session.complete_version(&id).from_disks(LocalDisks::new(raw(vec![7; 4096]))).await?;
/// assert_eq!(session.view().provisioning(&id)?.state, ProvisioningState::Succeeded);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "nothing is completed before it is awaited"]
pub struct Completion(Pending<CompletionWork>);

#[derive(Clone)]
struct CompletionWork {
    session: Session,
    id: ImageVersionId,
    disks: Arc<Mutex<Disks>>,
    has_disks: bool,
    /// What the host's resolver knows of the source.
    facts: Option<Box<Facts>>,
    on_progress: OnProgress,
}

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Completion").field(&self.0.work().map(|work| work.id.clone())).finish()
    }
}

/// # Completing versions
impl Session {
    /// Gives an announced version its content: from the managed image, the version or the snapshots that its request names, or from
    /// [disks at hand](Completion::from_disks). Replicate it then to its other replicas and regions.
    ///
    /// What would be refused again, such as an absent source or one of another OS, leaves it `Failed` with code and reason; its
    /// request tries it again. After anything else it is still `Creating`, and completing it again takes up what is stored.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish); `NotFound` if no such version was announced; `Conflict` if it is published or has failed.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// for version in session.refresh().await?.incomplete_versions() {
    ///     session.complete_version(version.version.id()).await?;
    /// }
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn complete_version(&self, id: impl TryInto<ImageVersionId, Error: Into<Error>>) -> Completion {
        let work = |id| {
            let (disks, on_progress) = (Arc::new(Mutex::new(Disks::None)), Arc::new(|_| {}));
            CompletionWork { session: self.clone(), id, disks, has_disks: false, facts: None, on_progress }
        };
        Completion(Pending::new(given(id).map(work)))
    }
}

impl Completion {
    /// Takes the bytes of these disks: the source that the request names stays its name.
    pub fn from_disks(mut self, disks: impl Into<LocalDisks>) -> Self {
        let disks = Arc::new(Mutex::new(Disks::Closed(disks.into())));
        self.0.set(|work| (work.disks, work.has_disks) = (disks, true));
        self
    }

    /// Calls `on_progress` about once for each MiB of disks at hand.
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.0.set(|work| work.on_progress = Arc::new(on_progress));
        self
    }

    /// Returns what it would do now.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt` where the catalog cannot be read. What stands against it is in the plan.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// // It was not announced.
    /// assert!(!session.complete_version(&sandbox.version("1.0.0")).plan().await?.is_possible());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn plan(&self) -> Result<Plan> {
        self.0.plan().await
    }
}

awaited!(Completion, Published<ImageVersion>);

impl Work for CompletionWork {
    type Output = Published<ImageVersion>;

    async fn plan(&self) -> Result<Plan> {
        match self.publication(&*self.session.state().await?) {
            Ok((publication, _)) => publication.plan().await,
            Err(problem) => Ok(Plan::refused(vec![problem])),
        }
    }

    fn call(&self) -> Option<Call> {
        self.session.call("complete", || self.id.to_string())
    }

    async fn run(mut self) -> Result<Published<ImageVersion>> {
        let state = self.session.state().await?;
        let (mut publication, record) = self.publication(&state).map_err(Error::new)?;
        if self.resolve(&state, &record).await? {
            (publication, _) = self.publication(&state).map_err(Error::new)?;
        }
        let error = match publication.clone().run().await {
            Ok(published) => return Ok(published),
            Err(error) => error,
        };
        if let Some(refusal) = publication.refusal().await {
            // The error is the one to tell; what cannot be recorded leaves the version `Creating`, to be completed again.
            let _ = self.fail(&record, &refusal).await;
        }
        Err(error)
    }
}

impl CompletionWork {
    /// Returns the publication of the version that was announced.
    fn publication(&self, state: &State) -> Result<(PublicationWork<ImageVersion>, Arc<IncompleteRecord>), Problem> {
        let (session, id) = (&self.session, &self.id);
        let needs = [Need::new(Action::WriteVersion, id)];
        session.rights().require(state, &needs).map_err(first)?;
        let Some(record) = state.incomplete(id) else {
            let there = state.version(id).filter(|there| !state.is_gone(there, session.inner.log_time()));
            return Err(match there {
                Some(_) => Problem::conflict(id.to_string(), "it is published: there is nothing to complete"),
                None => missing(id),
            });
        };
        if let Some(failure) = &record.failure {
            let what = format!("it has failed with `{}`: put it again, which tries it again", failure.code);
            return Err(Problem::conflict(id.to_string(), what));
        }
        let named = record.version.storage_profile().source();
        let source = match named {
            Some(named) if self.has_disks => match &self.facts {
                Some(facts) => Source::Disks(facts.clone(), Some(named.clone())),
                None => Source::standing_for(state, named),
            },
            Some(named) => Source::named(named),
            None => Source::Disks(Box::default(), None),
        };
        let (version, announced) = (record.version.clone(), record.announced);
        let target = Announced { version, announced, has_disks: self.has_disks };
        let mut needs = needs.to_vec();
        needs.extend(named.into_iter().flat_map(needs_of));
        let (disks, on_progress) = (self.disks.clone(), self.on_progress.clone());
        let (session, target) = (session.clone(), Arc::new(target));
        let stores_everything = false;
        Ok((PublicationWork { session, target, source, needs, disks, on_progress, stores_everything }, record.clone()))
    }

    /// Asks the host for the source, if the catalog has no bytes of it. Returns whether it is known.
    async fn resolve(&mut self, state: &State, record: &IncompleteRecord) -> Result<bool> {
        let resolver = self.session.inner.sources.clone().filter(|_| !self.has_disks);
        let named = record.version.storage_profile().source().filter(|named| !Source::is_stored(state, named));
        let Some((resolver, named)) = resolver.zip(named) else { return Ok(false) };
        let mut stored = Vec::new();
        if let VersionSource::Disks(disks) = named {
            let data_disks = disks.data_disks().iter().map(|(lun, disk)| (Some(*lun), disk));
            for (lun, disk) in std::iter::once((None, disks.os_disk())).chain(data_disks) {
                stored.extend(self.stored(state, record, disk.reference()).await?.map(|source| (lun, source)));
            }
        }
        let Some((facts, disks)) = resolve(&*resolver, named, stored).await? else { return Ok(false) };
        (self.facts, self.has_disks) = (Some(Box::new(facts)), true);
        self.disks = Arc::new(Mutex::new(Disks::Closed(disks)));
        Ok(true)
    }

    /// Returns a snapshot that the catalog has, beside disks that it has not: its bytes go through a file without a name.
    async fn stored(
        &self,
        state: &State,
        record: &IncompleteRecord,
        disk: &DiskReference,
    ) -> Result<Option<ResolvedSource>> {
        let DiskReference::Snapshot(id) = disk else { return Ok(None) };
        let Some(snapshot) = state.snapshot(id).map(|record| &record.resource) else { return Ok(None) };
        if is_another(state, record, &id.into()) {
            return Err(Error::new(another(&id.into())));
        }
        let reader = self.session.deploy(id, snapshot.location()).open().await?;
        let size = reader.size();
        let disk = DiskSource::spooled(reader, DiskFormat::Raw, std::env::temp_dir(), size).await?;
        let mut source = ResolvedSource::new(disk.with_any_raw_content());
        source.location = Some(snapshot.location().clone());
        source.os_type = snapshot.os_type();
        source.hyper_v_generation = snapshot.hyper_v_generation();
        Ok(Some(source))
    }

    /// Records that the version cannot be made, if it is still as it was.
    async fn fail(&self, record: &IncompleteRecord, error: &Error) -> Result<()> {
        let (id, revision) = (self.id.clone(), record.revision);
        let (code, reason) = (error.code().to_owned(), reason_of(error));
        let check = move |state: &State| {
            let is_same = state.incomplete(&id).is_some_and(|now| now.revision == revision && now.failure.is_none());
            let (code, reason) = (code.clone(), reason.clone());
            let event = is_same.then(|| Event::ImageVersionFailed { version: id.clone(), code, reason });
            Ok(Changes { events: event.into_iter().collect(), authorization: None })
        };
        self.session.inner.catalog.commit(&self.session.caller, check).await.map(drop)
    }
}

impl PublicationWork<ImageVersion> {
    /// Why the newest state refuses it, if publishing the same again would be refused again.
    async fn refusal(&self) -> Option<Error> {
        let state = self.session.state().await.ok()?;
        let mut all = std::iter::once(self.target.id()).chain(self.source.stored());
        if all.any(|id| state.deletion_of(&id.into()).is_some()) {
            // A deletion that is cancelled leaves everything as it was.
            return None;
        }
        let error = Error::from_problems(self.judge(&state).await.err()?).err()?;
        let is_final = matches!(
            error.kind(),
            ErrorKind::Invalid
                | ErrorKind::Conflict
                | ErrorKind::NotFound
                | ErrorKind::LimitReached
                | ErrorKind::Unsupported
        );
        is_final.then_some(error)
    }
}

/// Whether a source was made after it was named. Who named it was asked for the right to use the one of then, and a driver has all rights.
fn is_another(state: &State, record: &IncompleteRecord, source: &ResourceId) -> bool {
    state.made_at(source).is_some_and(|made| made > record.revision)
}

fn another(id: &ResourceId) -> Problem {
    let advice =
        "it was made after the version was put, and is another than the one that was named: put the version again";
    not_found(id).with_advice(advice)
}

fn first(problems: Vec<Problem>) -> Problem {
    let none = || Problem::forbidden("complete", "it is not allowed");
    problems.into_iter().next().unwrap_or_else(none)
}

/// A version that was announced.
struct Announced {
    /// As it was when its completion began: its regions and tags may change until the end.
    version: Arc<ImageVersion>,
    /// When it was announced. One that was deleted and announced again under the same id is another, of another source.
    announced: DateTime<Utc>,
    has_disks: bool,
}

impl Announced {
    fn now<'a>(&self, state: &'a State) -> Option<&'a Arc<IncompleteRecord>> {
        let there = state.incomplete(self.version.id());
        there.filter(|record| record.failure.is_none() && record.announced == self.announced)
    }
}

impl Target for Announced {
    type Resource = ImageVersion;

    fn id(&self) -> ResourceId {
        self.version.id().into()
    }

    fn location(&self) -> &Region {
        self.version.location()
    }

    fn profile(&self) -> Option<&PublishingProfile> {
        Some(self.version.publishing_profile())
    }

    fn problems(&self, inner: &Inner, state: &State, storage: Option<&StorageProfile>) -> Vec<Problem> {
        let Some(record) = self.now(state) else {
            let what = "it was completed, deleted or failed meanwhile: read it again";
            return vec![Problem::conflict(self.version.id().to_string(), what)];
        };
        let (id, home, profile) = (self.version.id(), self.version.location(), record.version.publishing_profile());
        let before = Some(profile);
        let mut problems = rules::version::publishing_profile(state, inner, id, home, profile, storage, before);
        let disks = storage.into_iter();
        problems.extend(disks.flat_map(|disks| rules::version::disk_sizes(inner, ImageVersion::TARGET, disks, before)));
        problems
    }

    fn look_at(&self, source: &Source, inner: &Inner, state: &State) -> SourceState {
        let mut looked = look_at_version(self.version.id(), self.version.location(), source, inner, state);
        if let Some(record) = self.now(state) {
            let others = looked.stored.iter().filter(|stored| is_another(state, record, &stored.id));
            looked.problems.extend(others.map(|stored| another(&stored.id)).collect::<Vec<_>>());
        }
        if let (false, Source::Disks(_, named)) = (self.has_disks, source) {
            let name = named.as_ref().map_or_else(|| self.version.id().to_string(), ToString::to_string);
            looked.problems.push(not_found(&name));
        }
        looked
    }

    fn make(
        &self,
        inner: &Inner,
        state: &State,
        storage: StorageProfile,
        content: ImageContent,
        inherited: Option<CarriedIdentity>,
    ) -> Result<(ImageVersion, Vec<Event>)> {
        let record = self.now(state).ok_or_else(|| Error::new(missing(self.version.id())))?;
        let version = record.version.published_as_another(self.version.id().clone(), Some(inner.clock.now()));
        let storage = storage.made_as(version.storage_profile());
        let version = version.with_storage_profile(storage);
        Ok((version.clone(), published(version, content, inherited)))
    }
}
