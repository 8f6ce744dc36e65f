//! Managed images, snapshots and disks by name: sources whose bytes the gallery does not keep.

use super::put::{Effect, Judged, Put, revision_of};
use crate::catalog::{Event, State};
use crate::error::{Error, Problem, Result};
use crate::model::{DiskId, ManagedImageId, NamedSource, Request, ResourceId, SnapshotId, differences, given};
use crate::service::rules;
use crate::service::rules::refusals::{already_exists, missing, moved, unchangeable};
use crate::service::session::inner::Inner;
use crate::service::session::plan::Plan;
use crate::service::session::rights::{Need, write_action};
use crate::service::session::session::Session;

/// # Sources by name
impl Session {
    /// Names a managed image as a source, changes its tags, or finds it as it is asked for. It has no bytes here:
    /// [`create_managed_image`](Self::create_managed_image) takes its place with bytes, and a version that names it is
    /// [completed](Self::complete_version) from disks at hand.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `Invalid`, with all problems; `Conflict` (`PropertyChangeNotAllowed`) for each property but the tags that
    /// differs; `AlreadyExists` if it has bytes; `NotFound` for a PATCH of an absent one; `Unavailable`, `StorageFull`, `Unknown`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use serde_json::json;
    ///
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden";
    /// let disk = json!({"osType": "linux", "osState": "generalized", "blobUri": "https://contoso/golden.vhd"});
    /// session.put_managed_image(id, json!({"location": "westeurope", "properties": {"storageProfile": {"osDisk": disk}}})).await?;
    /// assert_eq!(session.view().json(id)?["properties"]["storageProfile"]["osDisk"]["osType"], "Linux");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn put_managed_image(
        &self,
        id: impl TryInto<ManagedImageId, Error: Into<Error>>,
        request: impl Into<Request>,
    ) -> Put<NamedSource> {
        self.named(given(id).map(Into::into), request.into())
    }

    /// Names a snapshot as a source, as [`put_managed_image`](Self::put_managed_image). All but `creationData` may change.
    ///
    /// # Errors
    ///
    /// As [`put_managed_image`](Self::put_managed_image).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// use serde_json::json;
    ///
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/snapshots/nightly";
    /// let creation = json!({"createOption": "Copy", "sourceResourceId": id.replace("snapshots", "disks")});
    /// let body = json!({"location": "westeurope", "properties": {"creationData": creation}});
    /// sandbox.session().put_snapshot(id, body).await?;
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn put_snapshot(
        &self,
        id: impl TryInto<SnapshotId, Error: Into<Error>>,
        request: impl Into<Request>,
    ) -> Put<NamedSource> {
        self.named(given(id).map(Into::into), request.into())
    }

    /// Names a disk as a source, as [`put_managed_image`](Self::put_managed_image). All but `creationData` may change.
    ///
    /// # Errors
    ///
    /// As [`put_managed_image`](Self::put_managed_image).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// use serde_json::json;
    ///
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/disks/os";
    /// let properties = json!({"creationData": {"createOption": "Empty"}, "diskSizeGB": 4});
    /// sandbox.session().put_disk(id, json!({"location": "westeurope", "properties": properties})).await?;
    /// sandbox.session().delete(id).await?;
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn put_disk(
        &self,
        id: impl TryInto<DiskId, Error: Into<Error>>,
        request: impl Into<Request>,
    ) -> Put<NamedSource> {
        self.named(given(id).map(Into::into), request.into())
    }

    fn named(&self, id: Result<ResourceId>, request: Request) -> Put<NamedSource> {
        Put::of(id, |id: ResourceId| {
            let needs = vec![Need::new(write_action(&id), id.clone())];
            let (target, revision) = (id.clone(), revision_of(&id));
            Put::new(self, needs, target, revision, move |state, inner| judged(state, inner, &id, &request))
        })
    }
}

fn judged(state: &State, inner: &Inner, id: &ResourceId, request: &Request) -> Result<Judged<NamedSource>> {
    let has_bytes = match id {
        ResourceId::ManagedImage(image) => state.managed_image(image).is_some(),
        ResourceId::Snapshot(snapshot) => state.snapshot(snapshot).is_some(),
        _ => false,
    };
    if has_bytes {
        return Err(Error::new(already_exists(id, "it has bytes here, and does not change: delete it first")));
    }
    let there = state.named_source(id).map(|record| &*record.source);
    if request.is_patch() && there.is_none() {
        return Err(Error::new(missing(id.clone())));
    }
    let source = request.read_named(id.clone(), there)?;
    let event = |source: &NamedSource| Event::SourceNamed { source: source.clone() };
    let Some(old) = there else {
        let unknown = inner.region_catalog.problem_with_location("Microsoft.Compute/images", source.location());
        let nowhere = rules::group::place(state, inner, id.clone());
        let problems: Vec<Problem> = nowhere.or(unknown).into_iter().collect();
        let plan = Plan::of_event(problems, event(&source));
        return Ok(Judged { resource: source, effect: Effect::Created, plan });
    };
    let source = source.spelled_as(old);
    let changed = differences(&old.body(), &source.body());
    if changed.is_empty() {
        return Ok(Judged::unchanged(old.clone()));
    }
    let target = NamedSource::target(id);
    let fixed = |path: &&String| match id {
        ResourceId::ManagedImage(_) => !path.starts_with("tags"),
        _ => path.starts_with("properties.creationData"),
    };
    let fixed: Vec<String> = changed.iter().filter(fixed).cloned().collect();
    let mut problems = unchangeable(target, &[], &fixed);
    problems.extend(moved(id, old.location(), source.location()));
    let plan = Plan::of_event(problems, event(&source));
    Ok(Judged { resource: source, effect: Effect::Updated, plan })
}
