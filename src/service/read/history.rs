//! The audit trail: who changed what, when, and what allowed it.

use std::fmt;

use chrono::{DateTime, Utc};
use futures::stream::{Stream, TryStreamExt};

use crate::access::{AccessScope, Action, Authorization, Caller};
use crate::catalog::{Commit, Event, OperationTarget, State};
use crate::error::Result;
use crate::model::{Region, ResourceId};
use crate::service::session::plan::Plan;
use crate::service::session::rights::Rights;
use crate::service::session::session::Session;

/// One line of the audit trail.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use futures::TryStreamExt;
///
/// let all: Vec<_> = session.history(0).try_collect().await?;
/// assert!(all.is_sorted_by_key(|entry| (entry.number, entry.time)));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The number of the commit. Operations that were committed together share one.
    pub number: u64,
    /// The time of the commit. It is later than that of the commit before, whatever the clocks of the processes say.
    pub time: DateTime<Utc>,
    /// The caller of the operation.
    pub caller: Caller,
    /// What allowed it; `None` for what the service does by itself.
    pub authorization: Option<Authorization>,
    /// What happened.
    pub event: RecordedEvent,
}

/// What happened, or would happen, in short.
///
/// The catalog records more, in a format of its own that may grow; these fields stay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// The kind of event.
    pub kind: EventKind,
    /// The resource that it is about, if it is about one.
    pub resource: Option<ResourceId>,
    /// Where a role or a denial is assigned.
    pub scope: Option<AccessScope>,
    /// The region, for what happens in one.
    pub region: Option<Region>,
    /// Why a replication or the making of a version failed: the error's code and text, with its causes.
    pub reason: Option<String>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal),*) => {
        /// The kind of a [`RecordedEvent`]. It prints as in the catalog's log: `imageVersionPublished`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $kind,)*
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns the name of the kind.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// A gallery was created.
    GalleryCreated "galleryCreated",
    /// A gallery got other properties.
    GalleryUpdated "galleryUpdated",
    /// A gallery was deleted, with everything in it and every assignment at or below it.
    GalleryDeleted "galleryDeleted",
    /// A gallery is shared with others than before.
    GalleryShared "galleryShared",
    /// An image definition was created.
    ImageDefinitionCreated "imageDefinitionCreated",
    /// An image definition got other properties.
    ImageDefinitionUpdated "imageDefinitionUpdated",
    /// An image definition was deleted, with its versions and every assignment at or below it.
    ImageDefinitionDeleted "imageDefinitionDeleted",
    /// An import began.
    UploadStarted "uploadStarted",
    /// Another publisher joined an import.
    UploadJoined "uploadJoined",
    /// An import was given up.
    UploadAbandoned "uploadAbandoned",
    /// A version is to be made of its source; announced again, it has other properties or is tried again.
    ImageVersionAnnounced "imageVersionAnnounced",
    /// A version could not be made of its source.
    ImageVersionFailed "imageVersionFailed",
    /// A version was published.
    ImageVersionPublished "imageVersionPublished",
    /// A version got other properties.
    ImageVersionUpdated "imageVersionUpdated",
    /// A version was deleted; where soft deletion is on, it can be restored for a while.
    ImageVersionDeleted "imageVersionDeleted",
    /// A soft-deleted version was restored.
    ImageVersionRestored "imageVersionRestored",
    /// A managed image was created.
    ManagedImageCreated "managedImageCreated",
    /// A managed image was deleted.
    ManagedImageDeleted "managedImageDeleted",
    /// A snapshot was created.
    SnapshotCreated "snapshotCreated",
    /// A snapshot was deleted.
    SnapshotDeleted "snapshotDeleted",
    /// A store became that of a region, or of one of its zones.
    RegionStoreClaimed "regionStoreClaimed",
    /// A collection condemned blobs of a region.
    ContentCondemned "contentCondemned",
    /// Another collection took over the removal of what was condemned.
    RemovalTakenOver "removalTakenOver",
    /// The condemned blobs of a region were removed.
    ContentRemoved "contentRemoved",
    /// A role was defined, or redefined.
    RoleDefined "roleDefined",
    /// A role was deleted.
    RoleDeleted "roleDeleted",
    /// A role was assigned.
    RoleAssigned "roleAssigned",
    /// A role assignment ended.
    RoleUnassigned "roleUnassigned",
    /// Something was denied.
    DenyAssigned "denyAssigned",
    /// A denial ended.
    DenyUnassigned "denyUnassigned",
    /// A version has all its replicas in a region.
    RegionCompleted "regionCompleted",
    /// A replication to a region failed.
    RegionFailed "regionFailed",
    /// A replication that failed is tried again.
    RegionRetried "regionRetried",
    /// The put of a version began an operation.
    OperationBegun "operationBegun",
    /// An operation was cancelled or given up.
    OperationEnded "operationEnded",
    /// A driver took a duty, or renewed it.
    DutyTaken "dutyTaken",
    /// A driver laid a duty down.
    DutyLaidDown "dutyLaidDown",
    /// A newer build enabled features of the catalog's format.
    FeaturesEnabled "featuresEnabled",
    /// A managed image, a snapshot or a disk was named as a source, or got other properties.
    SourceNamed "sourceNamed",
    /// A source by name was deleted.
    SourceForgotten "sourceForgotten",
    /// A resource group was created, or got other tags.
    ResourceGroupPut "resourceGroupPut",
    /// A resource group was deleted.
    ResourceGroupDeleted "resourceGroupDeleted",
    /// A resource got properties of Azure's that the model does not have.
    UnmodelledSet "unmodelledSet",
    /// A newer build keeps something of a resource.
    ExtrasSet "extrasSet",
    /// An event of a newer build, which this build skips.
    Newer "newer"
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl RecordedEvent {
    fn new(kind: EventKind) -> Self {
        Self { kind, resource: None, scope: None, region: None, reason: None }
    }

    fn of(kind: EventKind, resource: impl Into<ResourceId>) -> Self {
        Self { resource: Some(resource.into()), ..Self::new(kind) }
    }

    fn at(kind: EventKind, scope: &AccessScope) -> Self {
        Self { scope: Some(scope.clone()), ..Self::new(kind) }
    }

    fn in_region(self, region: &Region) -> Self {
        Self { region: Some(region.clone()), ..self }
    }
}

impl From<&Event> for RecordedEvent {
    fn from(event: &Event) -> Self {
        use EventKind as Kind;
        match event {
            Event::GalleryCreated { gallery } => Self::of(Kind::GalleryCreated, gallery.id()),
            Event::GalleryUpdated { gallery } => Self::of(Kind::GalleryUpdated, gallery.id()),
            Event::GalleryDeleted { gallery } => Self::of(Kind::GalleryDeleted, gallery),
            Event::GalleryShared { gallery, .. } => Self::of(Kind::GalleryShared, gallery),
            Event::ImageDefinitionCreated { definition } => Self::of(Kind::ImageDefinitionCreated, definition.id()),
            Event::ImageDefinitionUpdated { definition } => Self::of(Kind::ImageDefinitionUpdated, definition.id()),
            Event::ImageDefinitionDeleted { definition } => Self::of(Kind::ImageDefinitionDeleted, definition),
            Event::UploadStarted { target, region, .. } => {
                Self { resource: Some(target.clone()), ..Self::new(Kind::UploadStarted) }.in_region(region)
            }
            Event::UploadJoined { .. } => Self::new(Kind::UploadJoined),
            Event::UploadAbandoned { .. } => Self::new(Kind::UploadAbandoned),
            Event::ImageVersionAnnounced { version } => Self::of(Kind::ImageVersionAnnounced, version.id()),
            Event::ImageVersionFailed { version, code, reason } => {
                let failed = Self::of(Kind::ImageVersionFailed, version);
                Self { reason: Some(format!("{code}: {reason}")), ..failed }
            }
            Event::SourceNamed { source } => Self::of(Kind::SourceNamed, source.id().clone()),
            Event::SourceForgotten { source } => Self::of(Kind::SourceForgotten, source.clone()),
            Event::ResourceGroupPut { group, .. } => {
                Self::at(Kind::ResourceGroupPut, &AccessScope::of_group(group.id()))
            }
            Event::ResourceGroupDeleted { group } => {
                Self::at(Kind::ResourceGroupDeleted, &AccessScope::of_group(group))
            }
            Event::UnmodelledSet { of, .. } => Self::of(Kind::UnmodelledSet, of.clone()),
            Event::ImageVersionPublished { version, .. } => Self::of(Kind::ImageVersionPublished, version.id()),
            Event::ImageVersionUpdated { version } => Self::of(Kind::ImageVersionUpdated, version.id()),
            Event::ImageVersionDeleted { version, .. } => Self::of(Kind::ImageVersionDeleted, version),
            Event::ImageVersionRestored { version } => Self::of(Kind::ImageVersionRestored, version),
            Event::ManagedImageCreated { image, .. } => Self::of(Kind::ManagedImageCreated, image.id()),
            Event::ManagedImageDeleted { image } => Self::of(Kind::ManagedImageDeleted, image),
            Event::SnapshotCreated { snapshot, .. } => Self::of(Kind::SnapshotCreated, snapshot.id()),
            Event::SnapshotDeleted { snapshot } => Self::of(Kind::SnapshotDeleted, snapshot),
            Event::RegionStoreClaimed { region, .. } => Self::new(Kind::RegionStoreClaimed).in_region(region),
            Event::ContentCondemned { region, .. } => Self::new(Kind::ContentCondemned).in_region(region),
            Event::RemovalTakenOver { region } => Self::new(Kind::RemovalTakenOver).in_region(region),
            Event::ContentRemoved { region } => Self::new(Kind::ContentRemoved).in_region(region),
            Event::RoleDefined { .. } => Self::new(Kind::RoleDefined),
            Event::RoleDeleted { .. } => Self::new(Kind::RoleDeleted),
            Event::RoleAssigned { assignment } => Self::at(Kind::RoleAssigned, &assignment.scope),
            Event::RoleUnassigned { scope, .. } => Self::at(Kind::RoleUnassigned, scope),
            Event::DenyAssigned { denial } => Self::at(Kind::DenyAssigned, &denial.scope),
            Event::DenyUnassigned { scope, .. } => Self::at(Kind::DenyUnassigned, scope),
            Event::RegionCompleted { version, region, .. } => {
                Self::of(Kind::RegionCompleted, version).in_region(region)
            }
            Event::RegionFailed { version, region, code, reason } => {
                let failed = Self::of(Kind::RegionFailed, version).in_region(region);
                Self { reason: Some(format!("{code}: {reason}")), ..failed }
            }
            Event::RegionRetried { version, region } => Self::of(Kind::RegionRetried, version).in_region(region),
            Event::OperationBegun { resource: OperationTarget::Resource(of), .. } => {
                Self::of(Kind::OperationBegun, of.clone())
            }
            Event::OperationBegun { resource: OperationTarget::ResourceGroup(group), .. } => {
                Self::at(Kind::OperationBegun, &AccessScope::of_group(group))
            }
            Event::OperationEnded { code, reason, .. } => {
                let reason = Some(format!("{code}: {reason}"));
                Self { reason, ..Self::new(Kind::OperationEnded) }
            }
            Event::DutyTaken { .. } => Self::new(Kind::DutyTaken),
            Event::DutyLaidDown { .. } => Self::new(Kind::DutyLaidDown),
            Event::FeaturesEnabled { .. } => Self::new(Kind::FeaturesEnabled),
            Event::ExtrasSet { of, .. } => Self::of(Kind::ExtrasSet, of.clone()),
            Event::Newer(_) => Self::new(Kind::Newer),
        }
    }
}

impl Plan {
    /// Returns what would be written into the catalog, as the audit trail would tell it; nothing where nothing would change.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::read::EventKind;
    ///
    /// let events = session.delete(&version).plan().await?.events();
    /// assert_eq!(events[0].kind, EventKind::ImageVersionDeleted);
    /// assert_eq!(events[0].resource, Some(version.into()));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn events(&self) -> Vec<RecordedEvent> {
        self.events.iter().map(RecordedEvent::from).collect()
    }
}

/// # The audit trail
impl Session {
    /// Returns every change after commit `after`, oldest first, read from the log: who did what, when, and what allowed it. 0 is
    /// the beginning.
    ///
    /// A caller gets the changes of what it may see now. Which assignment allowed a change is told to callers who may read
    /// assignments where it stands.
    ///
    /// # Errors
    ///
    /// An item is an error where the log cannot be read: `Unavailable`, or `Corrupt` with the blob to restore. It is `NotFound`
    /// where the history begins later: see [`history_begins_after`](Self::history_begins_after).
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::read::EventKind;
    /// use futures::TryStreamExt;
    ///
    /// let all: Vec<_> = session.history(0).try_collect().await?;
    /// let published = all.iter().find(|entry| entry.event.kind == EventKind::ImageVersionPublished).unwrap();
    /// assert_eq!(published.event.resource, Some(version.into()));
    /// assert_eq!(published.caller.as_str(), "test");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn history(&self, after: u64) -> impl Stream<Item = Result<HistoryEntry>> {
        let (rights, state) = (self.rights(), self.inner.catalog.snapshot());
        self.inner.catalog.history(after).try_filter_map(move |commit| {
            let is_seen = match commit.event.seen_by() {
                Some((action, scope)) => rights.may(&state, action, &scope),
                None => rights.is_administrator(),
            };
            std::future::ready(Ok(is_seen.then(|| told(commit, &rights, &state))))
        })
    }
}

/// A commit without the names that the reader may not know.
fn told(commit: Commit, rights: &Rights, state: &State) -> HistoryEntry {
    let Commit { number, time, caller, authorization, event } = commit;
    let tell = |authorization: Authorization| match &authorization.scope {
        Some(scope) if !rights.may(state, Action::ReadRoleAssignment, scope) => authorization.without_names(),
        _ => authorization,
    };
    HistoryEntry { number, time, caller, authorization: authorization.map(tell), event: RecordedEvent::from(&event) }
}
