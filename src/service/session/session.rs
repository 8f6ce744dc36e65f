//! The session of a caller.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::inner::Inner;
use crate::access::{Caller, TenantId};
use crate::catalog::State;
use crate::error::Result;

/// The gallery as one caller uses it. Access is decided on every call. A clone is cheap and is the same caller's.
///
/// | purpose | methods |
/// |---|---|
/// | create or update, as Azure | [`put_gallery`](Self::put_gallery), [`put_image_definition`](Self::put_image_definition), [`put_image_version`](Self::put_image_version), [`complete_version`](Self::complete_version), [`put_resource_group`](Self::put_resource_group), … |
/// | change resources | [`create_gallery`](Self::create_gallery), [`create_image_definition`](Self::create_image_definition), [`update_image_version`](Self::update_image_version), [`delete`](Self::delete), … |
/// | add images | [`publish`](Self::publish), [`replicate`](Self::replicate), [`create_managed_image`](Self::create_managed_image), [`create_snapshot`](Self::create_snapshot) |
/// | use images | [`deploy`](Self::deploy), [`boot_image`](Self::boot_image), [`pool`](Self::pool) |
/// | read | [`refresh`](Self::refresh) and [`view`](Self::view), which return a [`CatalogView`](crate::CatalogView); [`history`](Self::history) |
/// | manage access | [`assign_role`](Self::assign_role), [`deny`](Self::deny), [`share_gallery`](Self::share_gallery), [`explain_access`](Self::explain_access) |
/// | maintain | [`collect`](Self::collect), [`scrub`](Self::scrub) |
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let sandbox = Sandbox::new().await?;
/// # let session = sandbox.session();
/// // Each change can be planned before it is awaited.
/// let gallery = sandbox.image().gallery();
/// let plan = session.delete(gallery).cascade().plan().await?;
/// assert_eq!(plan.deletes, [sandbox.image().into(), gallery.into()]);
///
/// session.delete(gallery).cascade().await?;
/// assert!(session.view().gallery(gallery).is_err());
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) inner: Arc<Inner>,
    pub(crate) caller: Caller,
    /// Those in which the caller's account counts; `None` for all.
    pub(crate) tenants: Option<Arc<BTreeSet<TenantId>>>,
}

/// # Caller and history
impl Session {
    /// Returns the caller that the session works for.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
    /// # use compute_gallery::testkit::Sandbox;
    /// # let sandbox = Sandbox::new().await?;
    /// # let session = sandbox.session();
    /// assert_eq!(session.caller().as_str(), "test");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Limits the caller to the accounts that they have in `tenants`, as one that has shown a token of each. By default all of their accounts
    /// count.
    ///
    /// ```
    /// use compute_gallery::GalleryService;
    /// use compute_gallery::access::MemoryDirectory;
    /// use compute_gallery::store::MemoryStore;
    ///
    /// # futures::executor::block_on(async {
    /// let (directory, contoso) = (MemoryDirectory::new(), "contoso".parse()?);
    /// directory.add_user("ann", &contoso)?;
    /// directory.add_subscription("dev".parse()?, contoso, None)?;
    /// let service = GalleryService::builder().store(MemoryStore::new()).directory(directory).create().await?;
    /// let session = service.session("ann".parse()?).in_tenants(["fabrikam".parse()?]);
    /// let refused = session.put_resource_group("/subscriptions/dev/resourceGroups/a", serde_json::json!({"location": "westus"})).await;
    /// assert_eq!(refused.unwrap_err().code(), "AuthorizationFailed");
    /// # Ok::<(), compute_gallery::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn in_tenants(self, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self { tenants: Some(Arc::new(tenants.into_iter().collect())), ..self }
    }

    /// The newest state.
    pub(crate) async fn state(&self) -> Result<Arc<State>> {
        self.inner.catalog.refresh().await
    }
}
