//! A resource as Azure's GET answers it, and how far it is.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::view::{CatalogView, ListPage, ListScope};
use crate::access::Action;
use crate::catalog::{IncompleteRecord, VersionRecord};
use crate::error::{Error, Result};
use crate::model::{Answer, ImageVersion, NamedSource, ResourceId, given};
use crate::service::rules::refusals::missing;
use crate::service::session::rights::read_action;

/// How far a resource is (Azure: `provisioningState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProvisioningState {
    /// A version was announced, and is not yet made of its source.
    Creating,
    /// The regions or replica counts of a version were changed, and not all replicas are there yet.
    Updating,
    /// It is marked for deletion, or what it is in: a driver deletes it.
    Deleting,
    /// A version could not be made of its source, or not be brought to one of its regions.
    Failed,
    /// It is there.
    Succeeded,
}

impl fmt::Display for ProvisioningState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "Creating",
            Self::Updating => "Updating",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
            Self::Succeeded => "Succeeded",
        })
    }
}

/// How far a resource is, and why no further.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provisioning {
    /// How far it is.
    pub state: ProvisioningState,
    /// Why it failed, if it did.
    pub error: Option<ProvisioningError>,
}

/// Why a resource could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProvisioningError {
    /// Azure's code.
    pub code: String,
    /// The error with its causes.
    pub message: String,
}

/// A version that was announced and has no content: [`Session::complete_version`](crate::Session::complete_version) carries it through.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IncompleteVersion {
    /// The version as it is to be; the sizes of its disks are 0.
    pub version: Arc<ImageVersion>,
    /// `Creating`, or `Failed` with its reason.
    pub provisioning: Provisioning,
    /// When it was announced first.
    pub announced: DateTime<Utc>,
    /// The number of the commit that announced it or last changed it.
    pub revision: u64,
}

impl Provisioning {
    fn of(state: ProvisioningState) -> Self {
        Self { state, error: None }
    }

    fn of_incomplete(record: &IncompleteRecord) -> Self {
        match &record.failure {
            None => Self::of(ProvisioningState::Creating),
            Some(failure) => {
                let error = ProvisioningError { code: failure.code.clone(), message: failure.reason.clone() };
                Self { state: ProvisioningState::Failed, error: Some(error) }
            }
        }
    }

    fn of_version(record: &VersionRecord) -> Self {
        let targets = record.version.publishing_profile().target_regions();
        let reason = targets.iter().find_map(|target| {
            let why = record.failure_in(target.region())?;
            Some(format!("{{region: {}, detail: {why}}}", target.region()))
        });
        if let Some(reason) = reason {
            let message = format!("replication failed in one or more regions: {reason}");
            let error = ProvisioningError { code: "ReplicationJobFailed".to_owned(), message };
            return Self { state: ProvisioningState::Failed, error: Some(error) };
        }
        let is_complete = targets.iter().all(|target| record.is_complete_in(target.region()));
        let is_updated = record.is_changed_since(record.published);
        Self::of(if is_updated && !is_complete { ProvisioningState::Updating } else { ProvisioningState::Succeeded })
    }
}

/// # Resources as Azure answers them
impl CatalogView {
    /// Returns a resource as Azure's GET answers it: with its provisioning state, counts and storage in each region, regions as
    /// they are displayed, and the properties that the model does not have as they came.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound`; `Invalid` for a malformed id.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let json = session.view().json(&sandbox.version("1.0.0"))?;
    /// assert_eq!(json["properties"]["provisioningState"], "Succeeded");
    /// assert_eq!(json["properties"]["publishingProfile"]["targetRegions"][0]["name"], "West Europe");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn json(&self, id: impl TryInto<ResourceId, Error: Into<Error>>) -> Result<serde_json::Value> {
        let id = given(id)?;
        let state = self.provisioning(&id)?.state.to_string();
        let answer = Answer {
            unmodelled: self.state().unmodelled(&id),
            provisioning_state: &state,
            regions: &self.inner().region_catalog,
        };
        match &id {
            ResourceId::Gallery(id) => self.gallery(id).map(|gallery| answer.json(&*gallery)),
            ResourceId::ImageDefinition(id) => self.image_definition(id).map(|definition| answer.json(&*definition)),
            ResourceId::ImageVersion(id) => self.image_version(id).map(|version| answer.json(&*version)),
            named if self.state().named_source(named).is_some() => self.named_source(named).map(|source| source.json()),
            ResourceId::ManagedImage(id) => self.managed_image(id).map(|image| plain(&*image)),
            ResourceId::Snapshot(id) => self.snapshot(id).map(|snapshot| plain(&*snapshot)),
            ResourceId::Disk(_) | ResourceId::VirtualMachine(_) | ResourceId::StorageAccount(_) => {
                Err(Error::new(missing(id)))
            }
        }
    }

    /// Returns how far a resource is. Galleries, definitions, managed images and snapshots are there at once, and
    /// `Deleting` while a deletion is under way.
    ///
    /// # Errors
    ///
    /// As [`json`](Self::json).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::ProvisioningState;
    ///
    /// assert_eq!(session.view().provisioning(sandbox.image())?.state, ProvisioningState::Succeeded);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn provisioning(&self, id: impl TryInto<ResourceId, Error: Into<Error>>) -> Result<Provisioning> {
        let id = given(id)?;
        self.require(read_action(&id), id.clone())?;
        self.state().revision(&id).ok_or_else(|| Error::new(missing(id.clone())))?;
        if self.state().deletion_of(&id.clone().into()).is_some() {
            return Ok(Provisioning::of(ProvisioningState::Deleting));
        }
        let ResourceId::ImageVersion(version) = &id else { return Ok(Provisioning::of(ProvisioningState::Succeeded)) };
        match self.state().incomplete(version) {
            Some(record) => Ok(Provisioning::of_incomplete(record)),
            None => self.record(version).map(|record| Provisioning::of_version(record)),
        }
    }

    /// Returns the number of the commit that created a resource or last changed it, for
    /// [`if_unchanged_since`](crate::change::Put::if_unchanged_since).
    ///
    /// # Errors
    ///
    /// As [`json`](Self::json).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let view = session.view();
    /// assert!(view.revision(sandbox.image())? <= view.number());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn revision(&self, id: impl TryInto<ResourceId, Error: Into<Error>>) -> Result<u64> {
        let id = given(id)?;
        self.require(read_action(&id), id.clone())?;
        if let ResourceId::ImageVersion(version) = &id
            && self.state().incomplete(version).is_none()
        {
            self.record(version)?;
        }
        self.state().revision(&id).ok_or_else(|| Error::new(missing(id)))
    }

    /// Returns a managed image, a snapshot or a disk that is a source by name, without bytes here.
    ///
    /// # Errors
    ///
    /// As [`json`](Self::json).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/disks/os";
    /// assert_eq!(sandbox.session().view().named_source(id).unwrap_err().code(), "ResourceNotFound");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn named_source(&self, id: impl TryInto<ResourceId, Error: Into<Error>>) -> Result<Arc<NamedSource>> {
        let id = given(id)?;
        self.require(read_action(&id), id.clone())?;
        let record = self.state().named_source(&id).ok_or_else(|| Error::new(missing(id.clone())))?;
        Ok(record.source.clone())
    }

    /// Returns at most `limit` managed images, snapshots and disks without bytes after `after`, by id: those that the caller may see.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// use compute_gallery::read::ListScope;
    ///
    /// assert!(sandbox.session().view().named_sources(&ListScope::All, None, 10).items.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn named_sources(
        &self,
        scope: &ListScope,
        after: Option<&ResourceId>,
        limit: usize,
    ) -> ListPage<NamedSource, ResourceId> {
        let named = self.state().all_named(after).map(|record| &record.source);
        let inside = |source: &&Arc<NamedSource>| {
            let (subscription, group) = source.id().resource_group();
            scope.holds(subscription, group)
        };
        let readable = |source: &&Arc<NamedSource>| self.may(read_action(source.id()), source.id().clone());
        ListPage::of(named.filter(inside).filter(readable), limit, |source| source.id().clone())
    }

    /// Returns the versions that were announced and have no content, of those that the caller may read: `Creating` or `Failed`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert!(session.view().incomplete_versions().is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn incomplete_versions(&self) -> Vec<IncompleteVersion> {
        let readable = |record: &&Arc<IncompleteRecord>| self.may(Action::ReadVersion, record.version.id());
        let versions = self.state().all_incomplete().filter(readable).map(|record| IncompleteVersion {
            version: record.version.clone(),
            provisioning: Provisioning::of_incomplete(record),
            announced: record.announced,
            revision: record.revision,
        });
        versions.collect()
    }
}

fn plain(resource: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(resource).unwrap_or_default()
}
