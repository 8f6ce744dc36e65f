//! Announcing a version: it is there from its PUT, and its bytes come later.

use serde_json::Value;

use crate::access::Action;
use crate::catalog::{Event, OperationKind, State, VersionRecord};
use crate::error::{Error, Result};
use crate::model::{
    Answer, DiskReference, ImageVersion, ImageVersionId, Request, Requested, VersionSource, differences, given,
};
use crate::service::change::put::{Effect, Judged, Put, revision_of};
use crate::service::change::resources::moves;
use crate::service::publish::source::{Source, same_subscription, trusted_launch};
use crate::service::rules;
use crate::service::rules::version::RegionProtection;
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::Need;
use crate::service::session::session::Session;

/// # Create or update versions
impl Session {
    /// Creates a version, changes it, or finds it as it is asked for.
    ///
    /// A new one is announced: it is there at once, `Creating` and without content, and [`complete_version`](Self::complete_version) makes it of the
    /// source that the request names. Until then it is read and listed, counts towards the limits, and is neither the latest nor
    /// deployed. One that `Failed` is tried again by the same request. One that is there gets other regions, counts and tags, as with
    /// [`update_image_version`](Self::update_image_version); with `restore` one that is soft-deleted is restored.
    ///
    /// What cannot be changed and is left out of the body stays as it is, and so do the target regions. Those of a new version are
    /// its location by default.
    ///
    /// # Errors
    ///
    /// Those of [`publish`](Self::publish) that are known without the source, all problems at once, each with the path of its
    /// property; `Forbidden` if the caller may not use the source; `NotFound` for a PATCH of an absent version.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::ProvisioningState;
    /// use serde_json::json;
    ///
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let (source, id) = (sandbox.version("1.0.0").to_string(), sandbox.version("2.0.0"));
    /// let body = json!({"location": "westeurope", "properties": {"storageProfile": {"source": {"id": source}}}});
    /// session.put_image_version(&id, body).await?;
    /// assert_eq!(session.view().provisioning(&id)?.state, ProvisioningState::Creating);
    /// session.complete_version(&id).await?;
    /// assert_eq!(session.view().latest(sandbox.image(), "westeurope")?.id(), &id);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn put_image_version(
        &self,
        id: impl TryInto<ImageVersionId, Error: Into<Error>>,
        request: impl Into<Request>,
    ) -> Put<ImageVersion> {
        let request = request.into();
        Put::of(given(id), |id: ImageVersionId| {
            let needs = vec![Need::new(Action::WriteVersion, &id)];
            let (target, revision) = (id.clone(), revision_of(&id));
            let judge = Judge { session: self.clone(), id, request };
            Put::new(self, needs, target, revision, move |state, inner| judge.judge(state, inner))
        })
    }
}

struct Judge {
    session: Session,
    id: ImageVersionId,
    request: Request,
}

impl Judge {
    fn judge(&self, state: &State, inner: &Inner) -> Result<Judged<ImageVersion>> {
        let id = &self.id;
        if let Some(record) = state.incomplete(id) {
            let Requested { resource, unmodelled } = self.request.judged(state, id, Some(&*record.version))?;
            let version = resource.spelled_as(&record.version);
            if record.failure.is_none() && self.is_as(state, inner, &record.version, &version, &unmodelled) {
                return Ok(self.unchanged(state, &record.version));
            }
            // It is asked for anew: who asks may be another than who named the source, or have lost the right to use it.
            self.may_use_source(state, &record.version)?;
            let held = RegionProtection::Lifted;
            let problems = rules::version::change_version(state, inner, &record.version, &version, held);
            let plan = Plan::of_event(problems, Event::ImageVersionAnnounced { version: version.clone() });
            let plan = plan.keeping(state, id.into(), &unmodelled).beginning(inner, OperationKind::Create, id)?;
            return Ok(Judged { resource: version, effect: Effect::Updated, plan });
        }
        match state.version(id).filter(|record| !state.is_gone(record, inner.log_time())) {
            Some(record) if record.soft_deleted.is_some() && self.request.asks_for("restore") => {
                let plan = Plan::of_event(Vec::new(), Event::ImageVersionRestored { version: id.clone() });
                Ok(Judged { resource: ImageVersion::clone(&record.version), effect: Effect::Updated, plan })
            }
            Some(record) => self.change(state, inner, record),
            None => self.announce(state, inner),
        }
    }

    /// Whether a version is as it is asked for, whether its regions have values of their own or inherit them.
    fn is_as(&self, state: &State, inner: &Inner, old: &ImageVersion, new: &ImageVersion, unmodelled: &str) -> bool {
        let answer = Answer { unmodelled: None, provisioning_state: "", regions: &inner.region_catalog };
        let is_kept = state.unmodelled(&(&self.id).into()).unwrap_or_default() == unmodelled;
        let effective = |version: &ImageVersion| {
            let (mut json, profile) = (answer.json(version), version.publishing_profile());
            let regions = json.pointer_mut("/properties/publishingProfile/targetRegions").and_then(Value::as_array_mut);
            let regions = regions.into_iter().flatten().filter_map(Value::as_object_mut);
            for (target, region) in profile.target_regions().iter().zip(regions) {
                let is_excluded = profile.is_excluded_from_latest_in(target.region());
                region.insert("excludeFromLatest".to_owned(), is_excluded.into());
            }
            json
        };
        is_kept && differences(&effective(old), &effective(new)).is_empty()
    }

    fn change(&self, state: &State, inner: &Inner, old: &VersionRecord) -> Result<Judged<ImageVersion>> {
        let Requested { resource, unmodelled } = self.request.judged(state, &self.id, Some(&*old.version))?;
        // Callers cannot set the date that the service sets.
        let version = resource.published_as(&old.version).spelled_as(&old.version);
        if old.soft_deleted.is_none() && self.is_as(state, inner, &old.version, &version, &unmodelled) {
            return Ok(self.unchanged(state, &old.version));
        }
        let problems = rules::version::update_version(state, inner, old, &version, RegionProtection::Held);
        let plan = Plan::of_event(problems, Event::ImageVersionUpdated { version: version.clone() });
        let plan = plan.keeping(state, (&self.id).into(), &unmodelled);
        let plan = plan.beginning(inner, OperationKind::Update, &self.id)?;
        let regions = moves(inner, old, &version);
        Ok(Judged { resource: version, effect: Effect::Updated, plan: Plan { regions, ..plan } })
    }

    fn announce(&self, state: &State, inner: &Inner) -> Result<Judged<ImageVersion>> {
        let (id, none) = (&self.id, None::<&ImageVersion>);
        let Requested { resource: version, unmodelled } = self.request.judged(state, id, none)?;
        self.may_use_source(state, &version)?;
        let storage = version.storage_profile();
        let (location, profile) = (version.location(), version.publishing_profile());
        let mut problems = rules::version::place_for_version(state, inner, id, location);
        problems.extend(rules::version::publishing_profile(state, inner, id, location, profile, None, None));
        if let Some(source) = storage.source().map(Source::named) {
            let subscription = id.definition().gallery().subscription();
            problems.extend(same_subscription(&source, subscription));
            let definition = state.definition(id.definition());
            problems.extend(definition.and_then(|definition| trusted_launch(&source, definition)));
        }
        let plan = Plan::of_event(problems, Event::ImageVersionAnnounced { version: version.clone() });
        let plan = plan.keeping(state, id.into(), &unmodelled).beginning(inner, OperationKind::Create, id)?;
        Ok(Judged { resource: version, effect: Effect::Created, plan })
    }

    fn may_use_source(&self, state: &State, version: &ImageVersion) -> Result<()> {
        let needs = version.storage_profile().source().map(needs_of).unwrap_or_default();
        self.session.rights().require(state, &needs).map(drop).or_else(Error::from_problems)
    }

    /// Nothing is to be done; what was asked for before may be under way.
    fn unchanged(&self, state: &State, version: &ImageVersion) -> Judged<ImageVersion> {
        let plan = Plan { operation: state.operation_of(&self.id).map(|open| open.id), ..Plan::default() };
        Judged { resource: version.clone(), effect: Effect::Unchanged, plan }
    }
}

/// The permissions that the use of a source needs.
pub(crate) fn needs_of(source: &VersionSource) -> Vec<Need> {
    let VersionSource::Disks(disks) = source else { return Source::named(source).needs() };
    let all = std::iter::once(disks.os_disk()).chain(disks.data_disks().iter().map(|(_, disk)| disk));
    let needs = all.flat_map(|disk| match disk.reference() {
        DiskReference::Snapshot(id) => {
            // The service asks for write; who may not read it must not get to read it by a version, either.
            vec![Need::linked(Action::WriteSnapshot, id), Need::undenied(Action::ReadSnapshot, id)]
        }
        DiskReference::Disk(id) => vec![Need::linked(Action::WriteDisk, id)],
        DiskReference::Vhd { storage_account: Some(account), .. } => {
            vec![Need::linked(Action::ListStorageKeys, account)]
        }
        DiskReference::Vhd { .. } => Vec::new(),
    });
    needs.collect()
}
