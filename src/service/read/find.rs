//! Definitions and versions in all galleries of a scope: found by what they are called, and listed.

use std::sync::Arc;

use super::view::{CatalogView, ListPage, ListScope};
use crate::access::Action;
use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::{
    Gallery, ImageDefinition, ImageDefinitionId, ImageIdentifier, ImageVersion, ImageVersionId, Region, given,
};

/// # All galleries of a scope
impl CatalogView {
    /// Returns the definitions with a publisher, offer and SKU, of all galleries in a scope, by id: at most one of each gallery. Case does not
    /// count. Those that the caller may read.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::model::ImageIdentifier;
    /// use compute_gallery::read::ListScope;
    ///
    /// let identifier = session.view().image_definition(sandbox.image())?.identifier().clone();
    /// let found = session.view().find_images(&ListScope::All, &identifier);
    /// assert_eq!(found[0].id(), sandbox.image());
    /// assert!(session.view().find_images(&ListScope::All, &ImageIdentifier::new("Fabrikam", "Web", "1")?).is_empty());
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn find_images(&self, scope: &ListScope, identifier: &ImageIdentifier) -> Vec<Arc<ImageDefinition>> {
        let state = self.state();
        let found =
            self.galleries_in(scope).filter_map(|gallery| state.definition_by_identifier(gallery.id(), identifier));
        found.filter(|definition| self.may(Action::ReadImage, definition.id())).cloned().collect()
    }

    /// Returns the latest version in a region of the one definition with a publisher, offer and SKU, as the version `latest` of a
    /// Marketplace image is found.
    ///
    /// # Errors
    ///
    /// `NotFound` without such a definition, or if it has no version to deploy there; `Conflict` if several galleries of the scope have
    /// one; `Forbidden`; `Invalid` for a region that is none.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// use compute_gallery::read::ListScope;
    ///
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let identifier = session.view().image_definition(sandbox.image())?.identifier().clone();
    /// let latest = session.view().find_latest(&ListScope::All, &identifier, "eastus")?;
    /// assert_eq!(latest.id(), &sandbox.version("1.0.0"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn find_latest(
        &self,
        scope: &ListScope,
        identifier: &ImageIdentifier,
        region: impl TryInto<Region, Error: Into<Error>>,
    ) -> Result<Arc<ImageVersion>> {
        let (publisher, offer, sku) = (identifier.publisher(), identifier.offer(), identifier.sku());
        let urn = format!("{publisher}:{offer}:{sku}");
        match self.find_images(scope, identifier).as_slice() {
            [definition] => self.latest(definition.id(), given(region)?),
            [] => {
                let what = "no image definition that you may see has this publisher, offer and SKU";
                Err(Error::new(Problem::new(ErrorKind::NotFound, "ImageNotFound", urn, what)))
            }
            several => {
                let ids: Vec<String> =
                    several.iter().take(5).map(|definition| format!("`{}`", definition.id())).collect();
                let what = format!("{} image definitions have this publisher, offer and SKU", several.len());
                let problem = Problem::conflict(urn, what);
                Err(Error::new(problem.with_advice(format!("name a gallery, or one of {}", ids.join(", ")))))
            }
        }
    }

    /// Returns at most `limit` image definitions after `after`, by id, of all galleries in a scope, such as all subscriptions. A `limit` of 0
    /// counts as 1. Those that the caller may read.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// use compute_gallery::read::ListScope;
    ///
    /// let page = sandbox.session().view().all_image_definitions(&ListScope::All, None, 100);
    /// assert_eq!((page.items[0].id(), page.next), (sandbox.image(), None));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn all_image_definitions(
        &self,
        scope: &ListScope,
        after: Option<&ImageDefinitionId>,
        limit: usize,
    ) -> ListPage<ImageDefinition, ImageDefinitionId> {
        let from = move |gallery: &Arc<Gallery>| {
            after.filter(|after| after.gallery() == gallery.id()).map(|after| after.name())
        };
        let galleries =
            self.galleries_in(scope).filter(|gallery| after.is_none_or(|after| gallery.id() >= after.gallery()));
        let all = galleries.flat_map(|gallery| self.state().definitions(gallery.id(), from(gallery)));
        let readable = all.filter(|definition| self.may(Action::ReadImage, definition.id()));
        ListPage::of(readable, limit, |definition| definition.id().clone())
    }

    /// Returns at most `limit` image versions after `after`, by id, of all galleries in a scope, such as all subscriptions, without deleted
    /// ones. A `limit` of 0 counts as 1. Those that the caller may read.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// use compute_gallery::read::ListScope;
    ///
    /// sandbox.publish("1.0.0", vec![7; 4096]).await?;
    /// let page = sandbox.session().view().all_image_versions(&ListScope::All, None, 100);
    /// assert_eq!((page.items[0].id(), page.next), (&sandbox.version("1.0.0"), None));
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn all_image_versions(
        &self,
        scope: &ListScope,
        after: Option<&ImageVersionId>,
        limit: usize,
    ) -> ListPage<ImageVersion, ImageVersionId> {
        let state = self.state();
        let after_of = after.map(ImageVersionId::definition);
        let galleries =
            self.galleries_in(scope).filter(|gallery| after_of.is_none_or(|of| gallery.id() >= of.gallery()));
        let definitions = galleries.flat_map(|gallery| state.definitions(gallery.id(), None));
        let definitions = definitions.filter(|definition| after_of.is_none_or(|of| definition.id() >= of));
        let all = definitions.flat_map(|definition| {
            let from = after.filter(|after| after.definition() == definition.id()).map(ImageVersionId::number);
            self.versions_of(definition.id(), from)
        });
        let readable = all.filter(|version| self.may(Action::ReadVersion, version.id()));
        ListPage::of(readable, limit, |version| version.id().clone())
    }

    fn galleries_in(&self, scope: &ListScope) -> impl Iterator<Item = &Arc<Gallery>> {
        let inside = |gallery: &&Arc<Gallery>| scope.holds(gallery.id().subscription(), gallery.id().resource_group());
        self.state().galleries(None).filter(inside)
    }
}
