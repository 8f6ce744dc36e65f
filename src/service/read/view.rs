//! What exists, at one moment: reads that touch no store.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::access::{AccessScope, Action};
use crate::billing::{Cost, Item, Prices};
use crate::catalog::{ImageContent, State, VersionRecord};
use crate::error::{Error, Result};
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageName, ImageVersion, ImageVersionId, ManagedImage,
    ManagedImageId, Region, ResourceGroupName, ResourceId, Snapshot, SnapshotId, SubscriptionId, VersionNumber,
};
use crate::service::rules::refusals::missing;
use crate::service::session::inner::Inner;
use crate::service::session::rights::{Need, Rights, read_action};
use crate::service::session::session::Session;

/// What exists, at one moment, as far as the caller may see it. It does not change, and reading it touches no store.
///
/// Lists leave out what may not be read. Asking for it by its id is `Forbidden`, whether it exists or not.
///
/// [`Session::refresh`] gives the newest, [`Session::view`] the last that this process has seen.
#[derive(Clone, Debug)]
pub struct CatalogView {
    state: Arc<State>,
    inner: Arc<Inner>,
    rights: Rights,
}

/// What a list is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListScope {
    /// Everything that the caller may see, over all subscriptions.
    #[default]
    All,
    /// What is in one subscription.
    Subscription(SubscriptionId),
    /// What is in one resource group.
    ResourceGroup(SubscriptionId, ResourceGroupName),
}

impl ListScope {
    fn holds(&self, subscription: &SubscriptionId, group: &ResourceGroupName) -> bool {
        match self {
            Self::All => true,
            Self::Subscription(wanted) => wanted == subscription,
            Self::ResourceGroup(wanted, wanted_group) => wanted == subscription && wanted_group == group,
        }
    }
}

/// A part of a list, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage<T, K> {
    /// The items.
    pub items: Vec<Arc<T>>,
    /// Give this as `after` for the next page; `None` on the last.
    pub next: Option<K>,
}

impl<T, K> ListPage<T, K> {
    fn of<'a>(items: impl Iterator<Item = &'a Arc<T>>, limit: usize, key: impl Fn(&T) -> K) -> Self
    where
        T: 'a,
    {
        let mut items = items.cloned();
        let taken: Vec<Arc<T>> = items.by_ref().take(limit.max(1)).collect();
        let next = items.next().and(taken.last()).map(|last| key(last));
        Self { items: taken, next }
    }
}

/// How many resources there are, and how many there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What is counted: `galleries`, `imageDefinitions` or `imageVersions`.
    pub name: &'static str,
    /// How many there are.
    pub current_value: usize,
    /// How many there may be.
    pub limit: usize,
}

/// A version that was deleted and can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftDeletedVersion {
    /// The version.
    pub version: Arc<ImageVersion>,
    /// When it was deleted.
    pub soft_deleted_time: DateTime<Utc>,
    /// Until when it can be deployed by its id and restored.
    pub restorable_until: DateTime<Utc>,
}

impl Session {
    /// What exists, as this process has seen it last; no store is asked.
    pub fn view(&self) -> CatalogView {
        CatalogView { state: self.inner.catalog.snapshot(), inner: self.inner.clone(), rights: self.rights() }
    }

    /// What exists now: everything that was acknowledged before this call, by anybody.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn refresh(&self) -> Result<CatalogView> {
        Ok(CatalogView { state: self.state().await?, inner: self.inner.clone(), rights: self.rights() })
    }
}

impl CatalogView {
    pub(crate) fn require(&self, action: Action, scope: impl Into<AccessScope>) -> Result<()> {
        self.rights.require_one(&self.state, action, scope)
    }

    /// Who makes a disk or VM of an image needs the right to see it: on something else than what is made.
    pub(crate) fn require_linked(&self, image: &ResourceId) -> Result<()> {
        let need = Need::linked(read_action(image), image.clone());
        self.rights.require(&self.state, &[need]).map(drop).or_else(Error::from_problems)
    }

    /// The same by a definition: who finds a version by it must not be denied the version.
    pub(crate) fn require_linked_through(
        &self,
        definition: &ImageDefinitionId,
        version: &ImageVersionId,
    ) -> Result<()> {
        self.require_linked(&definition.into())?;
        if self.is_denied(Action::ReadVersion, version) { self.require_linked(&version.into()) } else { Ok(()) }
    }

    /// Whoever finds a version by its definition needs the right to see the definition, and must not be denied the version.
    pub(crate) fn require_through(&self, definition: &ImageDefinitionId, version: &ImageVersionId) -> Result<()> {
        self.require(Action::ReadImage, definition)?;
        if self.is_denied(Action::ReadVersion, version) { self.require(Action::ReadVersion, version) } else { Ok(()) }
    }

    pub(crate) fn is_denied(&self, action: Action, scope: impl Into<AccessScope>) -> bool {
        self.rights.is_denied(&self.state, action, scope)
    }

    pub(crate) fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(crate) fn may(&self, action: Action, id: impl Into<AccessScope>) -> bool {
        self.rights.may(&self.state, action, &id.into())
    }

    /// The number of the last commit in it.
    pub fn number(&self) -> u64 {
        self.state.number()
    }

    /// Galleries by id: at most `limit` of them, behind `after`.
    pub fn galleries(
        &self,
        scope: &ListScope,
        after: Option<&GalleryId>,
        limit: usize,
    ) -> ListPage<Gallery, GalleryId> {
        let inside = |gallery: &&Arc<Gallery>| scope.holds(gallery.id().subscription(), gallery.id().resource_group());
        let readable = |gallery: &&Arc<Gallery>| self.may(Action::ReadGallery, gallery.id());
        let galleries = self.state.galleries(after).filter(inside).filter(readable);
        ListPage::of(galleries, limit, |gallery| gallery.id().clone())
    }

    /// One gallery.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn gallery(&self, id: &GalleryId) -> Result<Arc<Gallery>> {
        self.require(Action::ReadGallery, id)?;
        self.state.gallery(id).cloned().ok_or_else(|| Error::new(missing(id)))
    }

    /// The image definitions of a gallery by name: at most `limit` of them, behind `after`.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the gallery.
    pub fn image_definitions(
        &self,
        gallery: &GalleryId,
        after: Option<&ImageName>,
        limit: usize,
    ) -> Result<ListPage<ImageDefinition, ImageName>> {
        let readable = |definition: &&Arc<ImageDefinition>| self.may(Action::ReadImage, definition.id());
        // Somebody may see a definition and not its gallery.
        if self.state.definitions(gallery, None).find(readable).is_none() {
            self.gallery(gallery)?;
        }
        let definitions = self.state.definitions(gallery, after).filter(readable);
        Ok(ListPage::of(definitions, limit, |definition| definition.id().name().clone()))
    }

    /// One image definition.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn image_definition(&self, id: &ImageDefinitionId) -> Result<Arc<ImageDefinition>> {
        self.require(Action::ReadImage, id)?;
        self.state.definition(id).cloned().ok_or_else(|| Error::new(missing(id)))
    }

    /// The versions of a definition in numeric order: at most `limit` of them, behind `after`. Those that were deleted
    /// are not among them.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition.
    pub fn image_versions(
        &self,
        definition: &ImageDefinitionId,
        after: Option<VersionNumber>,
        limit: usize,
    ) -> Result<ListPage<ImageVersion, VersionNumber>> {
        // Somebody may see a version and not its definition.
        let readable = |record: &&Arc<VersionRecord>| self.may(Action::ReadVersion, record.version.id());
        let now = self.inner.log_time();
        let mut kept = self.state.versions(definition, None).filter(|record| !self.state.is_gone(record, now));
        if kept.find(readable).is_none() {
            self.image_definition(definition)?;
        }
        let there = self.state.versions(definition, after).filter(|record| record.soft_deleted.is_none());
        let there = there.filter(readable);
        Ok(ListPage::of(there.map(|record| &record.version), limit, |version| version.id().number()))
    }

    /// The versions of a definition that were deleted and can be restored, in numeric order.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition.
    pub fn soft_deleted_versions(&self, definition: &ImageDefinitionId) -> Result<Vec<SoftDeletedVersion>> {
        self.image_definition(definition)?;
        let now = self.inner.log_time();
        let readable = |record: &&Arc<VersionRecord>| self.may(Action::ReadVersion, record.version.id());
        let there = self.state.versions(definition, None).filter(readable);
        let deleted = there.filter(|record| !self.state.is_gone(record, now)).filter_map(|record| {
            let (soft_deleted_time, restorable_until) = record.deleted.zip(record.soft_deleted)?;
            Some(SoftDeletedVersion { version: record.version.clone(), soft_deleted_time, restorable_until })
        });
        Ok(deleted.collect())
    }

    /// One image version; also one that was deleted, as long as it can be restored.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn image_version(&self, id: &ImageVersionId) -> Result<Arc<ImageVersion>> {
        self.require(Action::ReadVersion, id)?;
        self.record(id).map(|record| record.version.clone())
    }

    /// What the disks of a version hold.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn image_content(&self, id: &ImageVersionId) -> Result<ImageContent> {
        self.require(Action::ReadVersion, id)?;
        self.record(id).map(|record| record.content.clone())
    }

    pub(crate) fn record(&self, id: &ImageVersionId) -> Result<&Arc<VersionRecord>> {
        let now = self.inner.log_time();
        let record = self.state.version(id).filter(|record| !self.state.is_gone(record, now));
        record.ok_or_else(|| Error::new(missing(id)))
    }

    pub(crate) fn shared_state(&self) -> Arc<State> {
        self.state.clone()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// What versions cost: what is stored of them now, and what has crossed borders for them.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn cost<'a>(&self, prices: &Prices, versions: impl IntoIterator<Item = &'a ImageVersionId>) -> Result<Cost> {
        let mut items = Vec::new();
        for id in versions {
            self.require(Action::ReadVersion, id)?;
            let record = self.record(id)?;
            let profile = record.version.publishing_profile();
            for region in record.ready_regions() {
                let replicas = record.replicas_ready(region);
                items.push(Item {
                    region: region.clone(),
                    account: self.inner.regions.kept_on(region, profile.storage_account_type_in(region)),
                    from: record.version.location().clone(),
                    replicas,
                    stored_bytes: record.content.stored_bytes * u64::from(replicas),
                    cross_region_bytes: record.crossed(region),
                });
            }
        }
        Ok(Cost::of(prices, items))
    }

    /// Managed images by id: at most `limit` of them, behind `after`.
    pub fn managed_images(
        &self,
        scope: &ListScope,
        after: Option<&ManagedImageId>,
        limit: usize,
    ) -> ListPage<ManagedImage, ManagedImageId> {
        let images = self.state.managed_images(after).map(|record| &record.resource);
        let inside = |image: &&Arc<ManagedImage>| scope.holds(image.id().subscription(), image.id().resource_group());
        let readable = |image: &&Arc<ManagedImage>| self.may(Action::ReadManagedImage, image.id());
        ListPage::of(images.filter(inside).filter(readable), limit, |image| image.id().clone())
    }

    /// One managed image.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn managed_image(&self, id: &ManagedImageId) -> Result<Arc<ManagedImage>> {
        self.require(Action::ReadManagedImage, id)?;
        self.state.managed_image(id).map(|record| record.resource.clone()).ok_or_else(|| Error::new(missing(id)))
    }

    /// Snapshots by id: at most `limit` of them, behind `after`.
    pub fn snapshots(
        &self,
        scope: &ListScope,
        after: Option<&SnapshotId>,
        limit: usize,
    ) -> ListPage<Snapshot, SnapshotId> {
        let snapshots = self.state.snapshots(after).map(|record| &record.resource);
        let inside = |one: &&Arc<Snapshot>| scope.holds(one.id().subscription(), one.id().resource_group());
        let readable = |one: &&Arc<Snapshot>| self.may(Action::ReadSnapshot, one.id());
        ListPage::of(snapshots.filter(inside).filter(readable), limit, |snapshot| snapshot.id().clone())
    }

    /// One snapshot.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Arc<Snapshot>> {
        self.require(Action::ReadSnapshot, id)?;
        self.state.snapshot(id).map(|record| record.resource.clone()).ok_or_else(|| Error::new(missing(id)))
    }

    /// How many resources a subscription has in a region, and may have.
    ///
    /// # Errors
    ///
    /// `Forbidden` without the right to see the subscription's galleries.
    pub fn usage(&self, subscription: &SubscriptionId, region: &Region) -> Result<[Usage; 3]> {
        self.require(Action::ReadGallery, AccessScope::Subscription(subscription.clone()))?;
        let [galleries, definitions, versions] = self.state.usage(subscription, region, self.inner.log_time());
        let limits = &self.inner.limits;
        Ok([
            Usage { name: "galleries", current_value: galleries, limit: limits.galleries() },
            Usage { name: "imageDefinitions", current_value: definitions, limit: limits.image_definitions() },
            Usage { name: "imageVersions", current_value: versions, limit: limits.image_versions() },
        ])
    }
}
