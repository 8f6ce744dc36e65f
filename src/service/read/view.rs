//! A view of the catalog: reads that touch no store.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::access::{AccessScope, Action};
use crate::billing::{Cost, Item, Prices};
use crate::catalog::{ImageContent, State, VersionRecord};
use crate::error::{Error, Result};
use crate::model::{
    Gallery, GalleryId, ImageDefinition, ImageDefinitionId, ImageName, ImageVersion, ImageVersionId, ManagedImage,
    ManagedImageId, Region, ResourceGroupName, ResourceId, Snapshot, SnapshotId, SubscriptionId, VersionNumber, given,
};
use crate::service::rules::refusals::missing;
use crate::service::session::inner::Inner;
use crate::service::session::rights::{Need, Rights, read_action};
use crate::service::session::session::Session;

/// The catalog at one moment, as far as the caller may see it. A view does not change, and reading it touches no store.
///
/// Lists leave out resources that the caller may not read. A read by id is `Forbidden` without the permission, whether the
/// resource exists or not.
///
/// [`Session::refresh`] returns the newest view, [`Session::view`] the last that this process has seen.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let before = session.view();
/// session.delete(&version).await?;
/// assert!(before.image_version(&version).is_ok());
/// assert!(session.view().image_version(&version).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct CatalogView {
    state: Arc<State>,
    inner: Arc<Inner>,
    rights: Rights,
}

/// The resources that a list covers.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// use compute_gallery::read::ListScope;
///
/// let view = session.view();
/// let count = |scope| view.galleries(&scope, None, 100).items.len();
/// assert_eq!(count(ListScope::All), 1);
/// assert_eq!(count(ListScope::Subscription("other".parse()?)), 0);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListScope {
    /// All subscriptions.
    #[default]
    All,
    /// One subscription.
    Subscription(SubscriptionId),
    /// One resource group of a subscription.
    ResourceGroup(SubscriptionId, ResourceGroupName),
}

impl ListScope {
    pub(crate) fn holds(&self, subscription: &SubscriptionId, group: &ResourceGroupName) -> bool {
        match self {
            Self::All => true,
            Self::Subscription(wanted) => wanted == subscription,
            Self::ResourceGroup(wanted, wanted_group) => wanted == subscription && wanted_group == group,
        }
    }
}

/// One page of a list, in order. [`next`](Self::next) is the key to continue from.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// # sandbox.publish("1.0.1", vec![7; 4096]).await?;
/// let view = session.view();
/// let first = view.image_versions(image, None, 1)?;
/// let second = view.image_versions(image, first.next, 1)?;
/// assert_eq!(second.items[0].id(), &sandbox.version("1.0.1"));
/// assert_eq!(second.next, None);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage<T, K> {
    /// At most as many as were asked for, and at least one unless the list is at its end.
    pub items: Vec<Arc<T>>,
    /// The `after` of the next page; `None` on the last page.
    pub next: Option<K>,
}

impl<T, K> ListPage<T, K> {
    pub(crate) fn of<'a>(items: impl Iterator<Item = &'a Arc<T>>, limit: usize, key: impl Fn(&T) -> K) -> Self
    where
        T: 'a,
    {
        let mut items = items.cloned();
        let taken: Vec<Arc<T>> = items.by_ref().take(limit.max(1)).collect();
        let next = items.next().and(taken.last()).map(|last| key(last));
        Self { items: taken, next }
    }
}

/// The number of resources of one kind, and its quota.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// let [_, _, versions] = session.view().usage(image.gallery().subscription(), "westeurope")?;
/// assert_eq!((versions.name, versions.current_value, versions.limit), ("imageVersions", 1, 10_000));
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// `galleries`, `imageDefinitions` or `imageVersions`.
    pub name: &'static str,
    /// Soft-deleted versions count until their retention ends.
    pub current_value: usize,
    /// From [`Limits`](crate::model::Limits).
    pub limit: usize,
}

/// A deleted version that can be restored. Its gallery has a [`SoftDeletePolicy`](crate::model::SoftDeletePolicy).
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
/// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
/// use compute_gallery::model::SoftDeletePolicy;
///
/// let gallery = session.view().gallery(image.gallery())?;
/// session.update_gallery((*gallery).clone().with_soft_delete_policy(SoftDeletePolicy::enabled())).await?;
/// session.delete(&version).await?;
///
/// let deleted = session.view().soft_deleted_versions(image)?;
/// assert!(deleted[0].restorable_until > deleted[0].soft_deleted_time);
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoftDeletedVersion {
    /// As it was published or last updated.
    pub version: Arc<ImageVersion>,
    /// When it was deleted.
    pub soft_deleted_time: DateTime<Utc>,
    /// Until then it is deployed by its id, as before.
    pub consumption_end: DateTime<Utc>,
    /// Until then it can be restored: later than `consumption_end` by the grace period.
    pub restorable_until: DateTime<Utc>,
}

/// # Reading
impl Session {
    /// Returns the catalog as this process has last seen it, without asking a store.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert!(session.view().image_definition(sandbox.image()).is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn view(&self) -> CatalogView {
        CatalogView { state: self.inner.catalog.snapshot(), inner: self.inner.clone(), rights: self.rights() }
    }

    /// Returns the newest catalog: it has every change that was acknowledged before this call, in any process.
    ///
    /// # Errors
    ///
    /// `Unavailable`; `Corrupt` if the log is damaged.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// // Another process on the same stores.
    /// let other = sandbox.reopen().build().await?;
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let version = sandbox.version("1.0.0");
    /// assert!(other.session().view().image_version(&version).is_err());
    /// assert!(other.session().refresh().await?.image_version(&version).is_ok());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn refresh(&self) -> Result<CatalogView> {
        Ok(CatalogView { state: self.state().await?, inner: self.inner.clone(), rights: self.rights() })
    }
}

/// # Resources
impl CatalogView {
    pub(crate) fn require(&self, action: Action, scope: impl Into<AccessScope>) -> Result<()> {
        self.rights.require_one(&self.state, action, scope)
    }

    /// Requires the permission to see an image that a disk or VM is made from.
    pub(crate) fn require_linked(&self, image: &ResourceId) -> Result<()> {
        let need = Need::linked(read_action(image), image.clone());
        self.rights.require(&self.state, &[need]).map(drop).or_else(Error::from_problems)
    }

    /// Requires the permission to see the definition that leads to a version, and that the version is not denied.
    pub(crate) fn require_linked_through(
        &self,
        definition: &ImageDefinitionId,
        version: &ImageVersionId,
    ) -> Result<()> {
        self.require_linked(&definition.into())?;
        if self.is_denied(Action::ReadVersion, version) { self.require_linked(&version.into()) } else { Ok(()) }
    }

    /// As [`require_linked_through`](Self::require_linked_through), for a read.
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

    /// Returns the number of the last commit in the view; 0 in a new catalog.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert_eq!(session.view().number(), 2);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn number(&self) -> u64 {
        self.state.number()
    }

    /// Returns at most `limit` galleries after `after`, ordered by id. A `limit` of 0 counts as 1.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::ListScope;
    ///
    /// let page = session.view().galleries(&ListScope::All, None, 100);
    /// assert_eq!(page.items[0].id(), sandbox.image().gallery());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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

    /// Returns a gallery.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let gallery = session.view().gallery(sandbox.image().gallery())?;
    /// assert_eq!(gallery.location().as_str(), "westeurope");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn gallery(&self, id: impl TryInto<GalleryId, Error: Into<Error>>) -> Result<Arc<Gallery>> {
        let id = &given(id)?;
        self.require(Action::ReadGallery, id)?;
        self.state.gallery(id).cloned().ok_or_else(|| Error::new(missing(id)))
    }

    /// Returns at most `limit` image definitions of a gallery after `after`, ordered by name. A `limit` of 0 counts as 1.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the gallery.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let page = session.view().image_definitions(sandbox.image().gallery(), None, 100)?;
    /// assert_eq!(page.items[0].id().name().as_str(), "web");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn image_definitions(
        &self,
        gallery: impl TryInto<GalleryId, Error: Into<Error>>,
        after: Option<&ImageName>,
        limit: usize,
    ) -> Result<ListPage<ImageDefinition, ImageName>> {
        let gallery = &given(gallery)?;
        let readable = |definition: &&Arc<ImageDefinition>| self.may(Action::ReadImage, definition.id());
        // A caller may see a definition and not its gallery.
        if self.state.definitions(gallery, None).find(readable).is_none() {
            self.gallery(gallery)?;
        }
        let definitions = self.state.definitions(gallery, after).filter(readable);
        Ok(ListPage::of(definitions, limit, |definition| definition.id().name().clone()))
    }

    /// Returns an image definition.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::OsType;
    ///
    /// assert_eq!(session.view().image_definition(sandbox.image())?.os_type(), OsType::Linux);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn image_definition(
        &self,
        id: impl TryInto<ImageDefinitionId, Error: Into<Error>>,
    ) -> Result<Arc<ImageDefinition>> {
        let id = &given(id)?;
        self.require(Action::ReadImage, id)?;
        self.state.definition(id).cloned().ok_or_else(|| Error::new(missing(id)))
    }

    /// Returns at most `limit` versions of a definition after `after`, in numeric order, without deleted ones. A `limit` of
    /// 0 counts as 1.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let page = session.view().image_versions(image, None, 100)?;
    /// assert_eq!(page.items[0].id(), &version);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn image_versions(
        &self,
        definition: impl TryInto<ImageDefinitionId, Error: Into<Error>>,
        after: Option<VersionNumber>,
        limit: usize,
    ) -> Result<ListPage<ImageVersion, VersionNumber>> {
        let definition = &given(definition)?;
        // A caller may see a version and not its definition.
        let readable = |record: &&Arc<VersionRecord>| self.may(Action::ReadVersion, record.version.id());
        let now = self.inner.log_time();
        let readable_one = |version: &&Arc<ImageVersion>| self.may(Action::ReadVersion, version.id());
        let incomplete = || self.state.incomplete_of(definition, None).map(|record| &record.version);
        let mut kept = self.state.versions(definition, None).filter(|record| !self.state.is_gone(record, now));
        if kept.find(readable).is_none() && incomplete().find(readable_one).is_none() {
            self.image_definition(definition)?;
        }
        let there = self.versions_of(definition, after).filter(readable_one);
        Ok(ListPage::of(there, limit, |version| version.id().number()))
    }

    /// Returns the deleted versions of a definition that can be restored, in numeric order.
    ///
    /// # Errors
    ///
    /// `Forbidden`; `NotFound` without the definition.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// assert!(session.view().soft_deleted_versions(image)?.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn soft_deleted_versions(
        &self,
        definition: impl TryInto<ImageDefinitionId, Error: Into<Error>>,
    ) -> Result<Vec<SoftDeletedVersion>> {
        let definition = &given(definition)?;
        self.image_definition(definition)?;
        let now = self.inner.log_time();
        let readable = |record: &&Arc<VersionRecord>| self.may(Action::ReadVersion, record.version.id());
        let there = self.state.versions(definition, None).filter(readable);
        let deleted = there.filter(|record| !self.state.is_gone(record, now)).filter_map(|record| {
            let (soft_deleted_time, restorable_until) = record.deleted.zip(record.soft_deleted)?;
            let (version, consumption_end) = (record.version.clone(), self.state.consumption_end(record)?);
            Some(SoftDeletedVersion { version, soft_deleted_time, consumption_end, restorable_until })
        });
        Ok(deleted.collect())
    }

    /// Returns an image version, including a deleted one that can be restored.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let profile = session.view().image_version(&version)?.publishing_profile().clone();
    /// assert_eq!(profile.replicas_in(&"eastus".parse()?), Some(1));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn image_version(&self, id: impl TryInto<ImageVersionId, Error: Into<Error>>) -> Result<Arc<ImageVersion>> {
        let id = &given(id)?;
        self.require(Action::ReadVersion, id)?;
        match self.state.incomplete(id) {
            Some(record) => Ok(record.version.clone()),
            None => self.record(id).map(|record| record.version.clone()),
        }
    }

    /// Returns the digests and the stored size of a version's disks.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::image::ImageDigest;
    /// use compute_gallery::testkit::raw;
    ///
    /// let content = session.view().image_content(&version)?;
    /// assert_eq!(content.os_disk_digest, ImageDigest::of(raw(vec![7; 4096]))?);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn image_content(&self, id: impl TryInto<ImageVersionId, Error: Into<Error>>) -> Result<ImageContent> {
        let id = &given(id)?;
        self.require(Action::ReadVersion, id)?;
        self.record(id).map(|record| record.content.clone())
    }

    /// The versions of a definition after `after`, announced ones too, without deleted ones.
    pub(super) fn versions_of(
        &self,
        definition: &ImageDefinitionId,
        after: Option<VersionNumber>,
    ) -> impl Iterator<Item = &Arc<ImageVersion>> {
        let there = self.state.versions(definition, after).filter(|record| record.soft_deleted.is_none());
        let incomplete = self.state.incomplete_of(definition, after).map(|record| &record.version);
        merged(there.map(|record| &record.version), incomplete)
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

    /// Returns what versions cost: their stored bytes per month now, and the bytes that have crossed borders for them.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// # let (image, version) = (sandbox.image(), sandbox.version("1.0.0"));
    /// # sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// use compute_gallery::billing::Prices;
    ///
    /// // 0.05 per GiB and month, 0.02 per GiB across a border.
    /// let cost = session.view().cost(&Prices::new(50_000, 20_000), [&version])?;
    /// // One disk in each of three regions.
    /// assert_eq!((cost.disks, cost.lines.len()), (3, 3));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn cost<'a>(&self, prices: &Prices, versions: impl IntoIterator<Item = &'a ImageVersionId>) -> Result<Cost> {
        let mut items = Vec::new();
        for id in versions {
            self.require(Action::ReadVersion, id)?;
            let record = self.record(id)?;
            let profile = record.version.publishing_profile();
            for region in record.ready_regions() {
                let replicas = record.replicas_ready(region);
                let storage = record.version.storage_profile();
                let data_disks = storage.data_disk_images().iter().map(|disk| disk.size_in_bytes());
                let sizes: Vec<u64> =
                    std::iter::once(storage.os_disk_image().size_in_bytes()).chain(data_disks).collect();
                items.push(Item {
                    region: region.clone(),
                    account: self.inner.regions.kept_on(region, profile.storage_account_type_in(region)),
                    from: record.version.location().clone(),
                    replicas,
                    disks: sizes.len() as u64,
                    disk_bytes: sizes.iter().sum::<u64>().saturating_mul(u64::from(replicas)),
                    stored_bytes: record.content.stored_bytes * u64::from(replicas),
                    cross_region_bytes: record.crossed(region),
                });
            }
        }
        Ok(Cost::of(prices, items))
    }

    /// Returns at most `limit` managed images after `after`, ordered by id. A `limit` of 0 counts as 1.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::ListScope;
    ///
    /// assert!(session.view().managed_images(&ListScope::All, None, 100).items.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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

    /// Returns a managed image.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::ErrorKind;
    ///
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/images/golden";
    /// assert_eq!(session.view().managed_image(id).unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn managed_image(&self, id: impl TryInto<ManagedImageId, Error: Into<Error>>) -> Result<Arc<ManagedImage>> {
        let id = &given(id)?;
        self.require(Action::ReadManagedImage, id)?;
        self.state.managed_image(id).map(|record| record.resource.clone()).ok_or_else(|| Error::new(missing(id)))
    }

    /// Returns at most `limit` snapshots after `after`, ordered by id. A `limit` of 0 counts as 1.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::ListScope;
    ///
    /// assert!(session.view().snapshots(&ListScope::All, None, 100).items.is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
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

    /// Returns a snapshot.
    ///
    /// # Errors
    ///
    /// `Forbidden`, `NotFound`.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::ErrorKind;
    ///
    /// let id = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/snapshots/data";
    /// assert_eq!(session.view().snapshot(id).unwrap_err().kind(), ErrorKind::NotFound);
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn snapshot(&self, id: impl TryInto<SnapshotId, Error: Into<Error>>) -> Result<Arc<Snapshot>> {
        let id = &given(id)?;
        self.require(Action::ReadSnapshot, id)?;
        self.state.snapshot(id).map(|record| record.resource.clone()).ok_or_else(|| Error::new(missing(id)))
    }

    /// Returns how many galleries, definitions and versions a subscription has in a region, with their quotas.
    ///
    /// # Errors
    ///
    /// `Forbidden` without the permission to see the subscription's galleries.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// let [galleries, ..] = session.view().usage("dev", "westeurope")?;
    /// assert_eq!((galleries.current_value, galleries.limit), (1, 100));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn usage(
        &self,
        subscription: impl TryInto<SubscriptionId, Error: Into<Error>>,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Result<[Usage; 3]> {
        let (subscription, region) = (&given(subscription)?, &given(region)?);
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

/// Merges two lists of versions in numeric order.
fn merged<'a>(
    one: impl Iterator<Item = &'a Arc<ImageVersion>>,
    other: impl Iterator<Item = &'a Arc<ImageVersion>>,
) -> impl Iterator<Item = &'a Arc<ImageVersion>> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(first), Some(second)) if second.id().number() < first.id().number() => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
